"""Small tokenizers with the control tokens of real models, for tests."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tests.lazily import lazily

with lazily():
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

WORDS = [
    "hello there you and now good bye the answer is yes or no please wrap the kettle in wet wool",
    "My kettle hums. Wrap it. Why? Because. What is two plus two? It is four, of course.",
    "User: hello\nAssistant: hi\nthink about it system user assistant model",
] * 20
CONTROL = re.compile(
    r"<\|[^|<>{}' ]+\|>|<｜[^｜<>{}' ]+｜>|</?think>|</?tool_call>|</?tool_response>|<(?:start|end)_of_[a-z]+>"
    r"|</s>|\[/?INST\]|<\|[a-z_]+>|<[a-z_]+\|>"
)
PLAIN = re.compile(r"</?(think|tool_call|tool_response)>")  # added tokens that are not special tokens


def trl_templates() -> dict[str, str]:
    """Return every chat template in the installed trl by name: those of published models."""
    spec = find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    files = sorted((Path(spec.origin).parent / "chat_templates").glob("*.jinja"))
    return {file.stem: file.read_text(encoding="utf-8") for file in files}


def control_tokens(template: str) -> set[str]:
    """Return the texts in a template that are single tokens in its model's vocabulary."""
    return set(CONTROL.findall(template))


@cache
def _bytes() -> str:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(WORDS, trainer)
    return str(bpe.to_str())


@cache
def _sentence_pieces() -> str:
    """Return the JSON of a tokenizer like Llama 2's: byte fallback, and a space before every text."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bpe.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    first = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    bpe.train_from_iterator(WORDS, trainers.BpeTrainer(vocab_size=600, special_tokens=first, show_progress=False))
    return str(bpe.to_str())


def save_tokenizer(
    folder: Path, template: str | None = None, *, tokens: set[str] | None = None, pieces: bool = False, **named: str
) -> str:
    """Save a tokenizer in a folder; `named` are its special tokens by role, `tokens` are all others."""
    backend = Tokenizer.from_str(_sentence_pieces() if pieces else _bytes())
    others = sorted(control_tokens(template or "") | (tokens or set()))
    special = [*named.values(), *(token for token in others if not PLAIN.fullmatch(token))]
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    plain = [token for token in others if PLAIN.fullmatch(token)]
    backend.add_tokens([AddedToken(token, special=False, normalized=False) for token in plain])
    tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast(tokenizer_object=backend, **named)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return str(folder)
