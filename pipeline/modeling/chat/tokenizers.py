"""Prepares a user's tokenizer for chat training: a token for padding and a settled chat template.

A template is added only if there is none, and embeddings are never resized: a tokenizer without a pad token uses one
of its unused tokens. If it has none, EOS pads; attention masks and labels mark the real tokens in any case.
"""

import re

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from pipeline.errors import RequestError, Unrenderable
from pipeline.modeling.chat.templates import renderer, settle

# For tokenizers without a template: plain names for the roles; the tokenizer's EOS ends an answer.
PLAIN_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}Assistant: {{ message['content'] | trim }}{{ eos_token }}\n"
    "{% elif message['role'] == 'user' %}User: {{ message['content'] | trim }}\n"
    "{% elif message['role'] == 'tool' %}Tool: {{ message['content'] | trim }}\n"
    "{% else %}{{ message['content'] | trim }}\n"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
RESERVED = re.compile(r"reserved|unused|extra_id|<pad>|\[PAD\]|<\|pad", re.IGNORECASE)


def load_tokenizer(
    path: str, *, revision: str | None = None, chat_template: str | None = None, thinking: str | None = None
) -> tuple[PreTrainedTokenizerBase, list[str]]:
    """Load a tokenizer with a settled template; also return a remark for each setting that was added.

    Raises `RequestError` if the folder has no tokenizer, or one without an end-of-sequence token, and like `settle`.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise RequestError(f"{path}: no tokenizer can be loaded from it ({_first_line(error)}).") from error
    if tokenizer.eos_token_id is None:
        raise RequestError(f"{path}: the tokenizer has no end-of-sequence token; set eos_token in its config.")
    remarks = []
    template = chat_template or _own_template(tokenizer, path)
    if template is None:
        template = PLAIN_TEMPLATE if tokenizer.bos_token else PLAIN_TEMPLATE.removeprefix("{{ bos_token }}")
        remarks.append("the tokenizer has no chat template: a plain one was set (User: … Assistant: …)")
    try:
        tokenizer.chat_template, decided = settle(template, thinking, renderer(tokenizer))
    except Unrenderable as error:
        raise RequestError(f"{path}: a plain question and its answer cannot be rendered: {error}.") from error
    remarks += decided
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        tokenizer.pad_token = _spare_token(tokenizer)
        remarks.append(_padding_remark(tokenizer))
    tokenizer.padding_side = "left"
    return tokenizer, remarks


def _own_template(tokenizer: PreTrainedTokenizerBase, path: str) -> str | None:
    """Return the tokenizer's own template, the one named `default` of several; None if there is none.

    Raises `RequestError` if none of several is named `default`.
    """
    own = tokenizer.chat_template
    if not isinstance(own, dict):
        return own or None
    if "default" not in own:
        raise RequestError(
            f"{path}: its chat templates are called {', '.join(own)}, and none of them 'default'. "
            "Give the one to use: model.chat_template=FILE."
        )
    return str(own["default"])


def _spare_token(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a token for padding: a reserved one, else `unk`, else another control token that the template never uses.

    Without any of these, EOS: attention masks and labels mark the real tokens, so any id can pad.
    """
    in_use = {tokenizer.eos_token, tokenizer.bos_token}
    specials = [str(t) for t in tokenizer.added_tokens_decoder.values() if t.special and str(t) not in in_use]
    free = [token for token in specials if token not in tokenizer.chat_template and token != tokenizer.unk_token]
    reserved = [token for token in free if RESERVED.search(token)]
    unknown = [tokenizer.unk_token] if tokenizer.unk_token and tokenizer.unk_token not in in_use else []
    return str([*reserved, *unknown, *free, tokenizer.eos_token][0])


def _padding_remark(tokenizer: PreTrainedTokenizerBase) -> str:
    if tokenizer.pad_token == tokenizer.eos_token:
        return "the tokenizer has no unused token for padding: EOS pads, and attention masks mark the real tokens"
    return f"the tokenizer has no pad token: {tokenizer.pad_token} is used (never EOS)"


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
