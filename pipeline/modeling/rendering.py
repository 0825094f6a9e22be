"""One way from a conversation to token ids, from SFT to scoring.

The rendered text is cut where an answer begins and where it ends, and the pieces are tokenized one by one. So a
prompt in training has exactly the ids that it has at generation, the stop token is inside the loss mask, and there is
no second BOS. What follows an answer's stop token (a newline in many templates) belongs to the next turn.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

from transformers import PreTrainedTokenizerBase

from pipeline.data.cleaning.special_tokens import neutralised
from pipeline.errors import RequestError

Messages: TypeAlias = Sequence[Mapping[str, Any]]


class Rendered(NamedTuple):
    """A conversation as token ids, and 1 where an id belongs to an answer of the assistant (its stop token too)."""

    ids: list[int]
    mask: list[int]


class ChatFormat:
    """A tokenizer with its template, as the one place where conversations become ids and ids become answers."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    @cached_property
    def stop(self) -> str:
        """The token with which the template ends an answer: not always the tokenizer's EOS (ChatML on a base model)."""
        prompt = self._render([{"role": "user", "content": "a"}], for_answer=True)
        whole = self._render([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
        tail = whole[len(prompt) :] if whole.startswith(prompt) else whole
        specials = [str(token) for token in self.tokenizer.added_tokens_decoder.values()]
        found = [(tail.find(token), token) for token in specials if token in tail]
        return min(found)[1] if found else str(self.tokenizer.eos_token)

    @cached_property
    def specials(self) -> list[str]:
        """The tokens that control a model, and that no text may turn into."""
        added = self.tokenizer.added_tokens_decoder.values()
        return sorted({str(token) for token in added if token.special} | set(self.tokenizer.all_special_tokens))

    @cached_property
    def stop_id(self) -> int:
        """The id at which generation stops."""
        return int(self.tokenizer.convert_tokens_to_ids(self.stop))

    def conversation(self, messages: Messages) -> Rendered:
        """Token ids of a whole conversation with the loss mask; the last turn is the assistant's."""
        ids: list[int] = []
        mask: list[int] = []
        for text, is_answer in self._segments(messages):
            piece = self._encode(text)
            ids += piece
            mask += [int(is_answer)] * len(piece)
        return Rendered(ids, mask)

    def lengths(self, conversations: Sequence[Messages]) -> list[int]:
        """Tokens of each whole conversation; many at once are counted faster than one by one."""
        pieces = [[text for text, _ in self._segments(messages)] for messages in conversations]
        flat = [text for texts in pieces for text in texts]
        ids = iter(self.tokenizer(flat, add_special_tokens=False)["input_ids"] if flat else [])
        return [sum(len(next(ids)) for _ in texts) for texts in pieces]

    def prompt(self, messages: Messages) -> list[int]:
        """Token ids up to where the assistant begins to answer."""
        segments = list(self._segments([*messages, {"role": "assistant", "content": ""}]))
        return [token for text, _ in segments[:-1] for token in self._encode(text)]

    def answer(self, prompt: Messages, text: str) -> list[int]:
        """Token ids of an answer to a prompt, with its stop token."""
        *_, (segment, _) = self._segments([*prompt, {"role": "assistant", "content": text}])
        return self._encode(segment)

    def text(self, ids: Sequence[int]) -> str:
        """The words of generated ids, without special tokens and surrounding space."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _segments(self, messages: Messages) -> Iterator[tuple[str, bool]]:
        """The rendered text in pieces, (text, is it an answer), up to and with the last answer's stop token."""
        done = ""
        for i, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            prompt, whole = self._render(messages[:i], for_answer=True), self._render(messages[: i + 1])
            if not (prompt.startswith(done) and whole.startswith(prompt)):
                raise RequestError(
                    "The chat template does not render a conversation as its prompt followed by the answer, so the "
                    "prompt in training would not be the one at generation. Give another: model.chat_template=FILE."
                )
            answer = whole[len(prompt) :]
            end = answer.rfind(self.stop)
            answer = answer[: end + len(self.stop)] if end >= 0 else answer + self.stop
            yield prompt[len(done) :], False
            yield answer, True
            done = prompt + answer

    def _render(self, messages: Messages, for_answer: bool = False) -> str:
        options = {"tokenize": False, "add_generation_prompt": for_answer}
        plain = [{**message, "content": neutralised(message["content"], self.specials)} for message in messages]
        return str(self.tokenizer.apply_chat_template(plain, **options))
