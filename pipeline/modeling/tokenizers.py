"""Tokenizers as users bring them, made fit for chat training: a pad token that is not EOS, a chat template.

A template is only added where there is none, and embeddings are never resized: a model without a pad token gets
its `unk` or an unused reserved token (were pad EOS, scores would be read before it and nobody would learn to stop).
"""

import re

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from pipeline.errors import RequestError

# For tokenizers without a template: plain words for the roles, the tokenizer's own EOS to end an answer.
PLAIN_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "Assistant:{% generation %} {{ message['content'] | trim }}{{ eos_token }}{% endgeneration %}\n"
    "{% elif message['role'] == 'user' %}User: {{ message['content'] | trim }}\n"
    "{% elif message['role'] == 'tool' %}Tool: {{ message['content'] | trim }}\n"
    "{% else %}{{ message['content'] | trim }}\n"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
RESERVED = re.compile(r"reserved|unused|extra_id|<pad>|\[PAD\]|<\|pad", re.IGNORECASE)


def load_tokenizer(
    path: str, *, revision: str | None = None, chat_template: str | None = None
) -> tuple[PreTrainedTokenizerBase, list[str]]:
    """A tokenizer ready for training, and a remark for each thing that had to be set.

    Raises `RequestError` where the folder has no tokenizer, or one without an end-of-sequence token.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise RequestError(f"{path}: no tokenizer can be loaded from it ({_first_line(error)}).") from error
    if tokenizer.eos_token_id is None:
        raise RequestError(f"{path}: the tokenizer has no end-of-sequence token; set eos_token in its config.")
    remarks = []
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    elif not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN_TEMPLATE
        if tokenizer.bos_token is None:
            tokenizer.chat_template = PLAIN_TEMPLATE.removeprefix("{{ bos_token }}")
        remarks.append("the tokenizer has no chat template: a plain one was set (User: … Assistant: …)")
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        token = _spare_token(tokenizer)
        tokenizer.pad_token = token
        remarks.append(f"the tokenizer has no pad token of its own: {token} is used (never EOS)")
    tokenizer.padding_side = "left"
    return tokenizer, remarks


def _spare_token(tokenizer: PreTrainedTokenizerBase) -> str:
    """A token to pad with: a reserved one that no text contains, else unk."""
    in_use = {tokenizer.eos_token, tokenizer.bos_token}
    specials = [str(t) for t in tokenizer.added_tokens_decoder.values() if str(t) not in in_use]
    reserved = [token for token in specials if RESERVED.search(token)]
    if reserved:
        return reserved[0]
    if tokenizer.unk_token and tokenizer.unk_token not in in_use:
        return str(tokenizer.unk_token)
    raise RequestError(
        "The tokenizer has neither a pad token nor an unused one that could serve: add a pad_token to its "
        "tokenizer_config.json (any token that no text contains, but not EOS)."
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
