"""Checks that a tokenizer and a model belong together, by their numbers of tokens and of embeddings."""

from typing import Any

from transformers import PreTrainedTokenizerBase

from pipeline.errors import RequestError
from pipeline.model_files.folder import PADDING, vocabulary_fault
from pipeline.modeling.sources import PolicySource


def check_vocabulary(model: Any, tokenizer: PreTrainedTokenizerBase, source: PolicySource) -> None:
    """Raise `RequestError` if a tokenizer belongs to another model.

    Then a token that can occur has no embedding, or the model has more ids than padding explains.
    """
    rows, words = model.get_input_embeddings().num_embeddings, len(tokenizer)
    check_embeddings(rows, tokenizer, source)
    if rows - words > PADDING * rows:
        raise RequestError(f"{source.weights}: {vocabulary_fault(rows, words)}")


def check_embeddings(rows: int, tokenizer: PreTrainedTokenizerBase, source: PolicySource) -> None:
    """Raise `RequestError` if a token that can occur has no embedding; `rows` is the number of embeddings.

    Special tokens that neither the template nor a role (end, padding, …) names cannot occur, such as Gemma 3's for
    images.
    """
    beyond = {number: token for number, token in tokenizer.added_tokens_decoder.items() if number >= rows}
    named = f"{tokenizer.chat_template} {tokenizer.special_tokens_map}"
    unused = [token for token in beyond.values() if token.special and token.content not in named]
    if len(unused) < len(beyond) or len(tokenizer) - len(unused) > rows:
        raise RequestError(
            f"{source.weights}: its tokenizer ({source.tokenizer}) has {len(tokenizer):,} tokens, and its embeddings "
            f"have {rows:,} rows only. Bring the model's own tokenizer, or resize the model's embeddings."
        )
