"""Tokenizers as users bring them, made fit for chat training: a token to pad with, a chat template that is settled.

A template is only added where there is none, and embeddings are never resized: a model without a pad token gets an
unused one of its own. Only where it has none does EOS pad; attention masks and labels say what is real in any case.
"""

import re

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from pipeline.errors import RequestError, Unrenderable
from pipeline.modeling.chat.templates import renderer, settle

# For tokenizers without a template: plain words for the roles, the tokenizer's own EOS to end an answer.
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
    """A tokenizer ready for training, its template settled, and a remark for each thing that had to be set.

    Raises `RequestError` where the folder has no tokenizer, or one without an end-of-sequence token, and as `settle`.
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
        remarks.append(_said_of_padding(tokenizer))
    tokenizer.padding_side = "left"
    return tokenizer, remarks


def _own_template(tokenizer: PreTrainedTokenizerBase, path: str) -> str | None:
    """The template that the tokenizer came with; of several that have names, the one for chats."""
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
    """A token to pad with: a reserved one, else `unk`, else another control token that the template does not use.

    EOS where there is none of these: attention masks and labels say what is real, so any id can pad.
    """
    in_use = {tokenizer.eos_token, tokenizer.bos_token}
    specials = [str(t) for t in tokenizer.added_tokens_decoder.values() if t.special and str(t) not in in_use]
    free = [token for token in specials if token not in tokenizer.chat_template and token != tokenizer.unk_token]
    reserved = [token for token in free if RESERVED.search(token)]
    unknown = [tokenizer.unk_token] if tokenizer.unk_token and tokenizer.unk_token not in in_use else []
    return str([*reserved, *unknown, *free, tokenizer.eos_token][0])


def _said_of_padding(tokenizer: PreTrainedTokenizerBase) -> str:
    if tokenizer.pad_token == tokenizer.eos_token:
        return "the tokenizer has no token to spare for padding: EOS pads, and attention masks say what is real"
    return f"the tokenizer has no pad token of its own: {tokenizer.pad_token} is used (never EOS)"


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
