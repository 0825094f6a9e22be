"""Turns conversations into token ids, in one way for all stages from SFT to scoring.

A row is a prompt, exactly as rendered for generation, followed by the answer's words and the token that ends the turn;
the loss is on these words and this token only. If a template only appends, one row holds all answers of a conversation.
If it renders an answer differently as part of the history (as most reasoning templates do), each answer has its own
row, after the history as generation sees it. The answer's words must occur in the rendered text: a template that
changes or drops them is refused.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from pipeline.data.cleaning.special_tokens import break_tokens
from pipeline.errors import RequestError, Unrenderable
from pipeline.model_files.templates import ANSWER, ASSISTANT, USER
from pipeline.modeling.chat.templates import (
    CLOSE,
    EMPTY,
    KEEP,
    OPEN,
    PREFILLED,
    Messages,
    Render,
    has_place_for_reasoning,
    renderer,
    thinking_of,
)

REASONING = ("reasoning_content", "reasoning", "thinking")  # usual names of a message's field for reasoning
INLINE = re.compile(rf"\s*(?:{OPEN})?(?P<reasoning>.*){CLOSE}(?P<answer>.*)", re.DOTALL)
EXCERPT = 160  # characters of a rendered text shown in a message


class Rendered(NamedTuple):
    """A conversation as token ids, and a mask: 1 where an id belongs to an assistant's answer or its stop token."""

    ids: list[int]
    mask: list[int]


class Turn(NamedTuple):
    """A prompt, or the text between two answers, and the answer after it; as text."""

    prompt: str
    kept: str = ""  # reasoning that is part of the answer and has no loss
    answer: str = ""  # the learned text, with the token that ends the turn


Row = list[Turn]


class ChatFormat:
    """A tokenizer with its template: the only place where conversations become ids and ids become answers."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.thinking = thinking_of(tokenizer.chat_template)

    @property
    def stop(self) -> str:
        """The token with which the template ends an answer; it can differ from EOS (ChatML on a base model)."""
        return self._ending[-1]

    @cached_property
    def stop_id(self) -> int:
        """The id at which generation stops."""
        return int(self.tokenizer.convert_tokens_to_ids(self.stop))

    @cached_property
    def specials(self) -> list[str]:
        """The control tokens of the model; text of users must never become one of them."""
        return sorted({*_specials(self.tokenizer), *self._ending})

    def rows(self, messages: Messages) -> list[Rendered]:
        """Return rows in which each answer of a conversation is learned once; the last turn is the assistant's.

        Raises `Unrenderable` if the template refuses the conversation or changes an answer's words.
        """
        return [self._encode_row(row) for row in self._rows(messages)]

    def conversation(self, messages: Messages) -> Rendered:
        """Return the row that ends with the last answer; it holds all answers if the template only appends."""
        return self.rows(messages)[-1]

    def lengths(self, conversations: Sequence[Messages]) -> list[int | Unrenderable]:
        """Return the tokens of each conversation's longest row, or why it has none. One call for many is faster."""
        tried = [_rows_or_fault(self._rows, messages) for messages in conversations]
        if self._marks_beginnings:  # the ids of a piece then depend on the text before it
            return [rows if isinstance(rows, Unrenderable) else max(map(self._length, rows)) for rows in tried]
        flat = [text for rows in tried if isinstance(rows, list) for row in rows for turn in row for text in turn]
        counts = iter(map(len, self.tokenizer(flat, add_special_tokens=False)["input_ids"] if flat else []))
        return [
            rows if isinstance(rows, Unrenderable) else max(sum(next(counts) for _ in chain(*row)) for row in rows)
            for rows in tried
        ]

    def prompt(self, messages: Messages) -> list[int]:
        """Return the token ids up to the start of the assistant's answer."""
        rows = self._rows([*messages, None])
        return self._encode_row(rows[-1]).ids

    def answer(self, prompt: Messages, text: str) -> list[int]:
        """Return the token ids of an answer to a prompt, with its reasoning and its stop token."""
        *_, last = self._rows([*prompt, {"role": "assistant", "content": text}])
        before, (opening, kept, answer) = last[:-1], last[-1]
        done = "".join(chain(*before)) + opening
        return self._encode(kept, done) + self._encode(answer, done + kept)

    def can_render(self, row: Mapping[str, Any]) -> bool:
        """Return whether the template can render a preference pair, or a prompt."""
        try:
            self.prompt(row["prompt"])
            for side in {"chosen", "rejected"} & set(row):
                self.answer(row["prompt"], row[side][0]["content"])
        except Unrenderable:
            return False
        return True

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of generated ids, without special tokens and surrounding space."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def has_reasoning(self, messages: Messages) -> bool:
        """Return whether an answer of this conversation has reasoning."""
        return any(self._split_reasoning(turn)[1] for turn in messages if turn["role"] == "assistant")

    # from messages to text

    def _rows(self, messages: Sequence[Mapping[str, Any] | None]) -> list[Row]:
        """Return rows of turns; None in place of the last answer leaves the last prompt open.

        An answer with `train` false becomes part of the prompts after it. Raises `Unrenderable` if no answer is left.
        """
        rows: list[Row] = []
        done = ""
        for i, message in enumerate(messages):
            if message is not None and (message["role"] != "assistant" or message.get("train") is False):
                continue
            prompt, kept, answer = self._render_turn(messages[:i], message)
            if not rows or not prompt.startswith(done):  # the template renders the history differently
                rows.append([])
                done = ""
            rows[-1].append(Turn(prompt[len(done) :], kept, answer))
            done = prompt + kept + answer
        if not rows:
            raise Unrenderable("no answer of the conversation is to be learned")
        return rows

    def _render_turn(self, history: Sequence[Any], message: Mapping[str, Any] | None) -> Turn:
        """Render one answer after its history. Raises `Unrenderable` if the template changes the answer's words."""
        prompt = self._render(history, for_answer=True)
        if message is None:
            return Turn(prompt)
        whole = self._render([*history, message])
        words, reasoning = self._split_reasoning(message)
        after = _text_after_prompt(prompt, whole, reasoning or "")
        if after is None:
            raise _changed_by_template(
                "does not render a conversation as its prompt followed by the answer", prompt, whole
            )
        cut = _cut_answer_with_calls if message.get("tool_calls") else _cut_answer
        words, ending = break_tokens(words, self.specials).strip(), "".join(self._ending)
        found = cut(after, words, ending)
        if found is None:
            what = f"does not end an answer with {ending}" if words in after else "changes an answer's words"
            raise _changed_by_template(what, prompt, whole)
        lead, answer = found
        if lead.strip() and self.thinking == EMPTY:
            raise _changed_by_template("puts other text before an answer", prompt, whole)
        if self.thinking != EMPTY and reasoning and reasoning.strip() not in lead + answer:
            raise _changed_by_template("leaves out an answer's reasoning", prompt, whole)
        keeps = bool(lead.strip()) and self.thinking == KEEP
        return Turn(prompt, lead, answer) if keeps else Turn(prompt, "", lead + answer)

    def _split_reasoning(self, message: Mapping[str, Any]) -> tuple[str, str | None]:
        """Return an answer's words and its reasoning, from a separate field or from the start of the text."""
        text = str(message.get("content") or "")
        given = next((str(message[name]) for name in REASONING if message.get(name)), None)
        inline = INLINE.match(text) if given is None and self.renders_reasoning else None
        return (inline["answer"].lstrip(), inline["reasoning"].strip()) if inline else (text, given)

    def _render(self, messages: Sequence[Mapping[str, Any]], for_answer: bool = False) -> str:
        return self._renderer(
            self.tokenizer.chat_template, [self._plain_message(turn) for turn in messages], for_answer
        )

    def _plain_message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return a message as templates expect it; its text cannot become a control token."""
        others = {name: value for name, value in message.items() if name not in (*REASONING, "train")}
        if message["role"] != "assistant":
            return {**others, "content": break_tokens(message["content"], self.specials)}
        words, reasoning = self._split_reasoning(message)
        given_reasoning = {"reasoning_content": break_tokens(reasoning, self.specials)} if reasoning else {}
        return {
            **others,
            "content": break_tokens(words, self.specials),
            **(given_reasoning if self.thinking != EMPTY else {}),
        }

    @cached_property
    def _renderer(self) -> Render:
        return renderer(self.tokenizer)

    @cached_property
    def renders_reasoning(self) -> bool:
        """Whether the template has a place for reasoning."""
        return has_place_for_reasoning(self.tokenizer.chat_template, self._renderer)

    @cached_property
    def _ending(self) -> list[str]:
        """The consecutive tokens with which the template ends an answer; EOS if it has none of its own."""
        asked = [USER, ASSISTANT]
        _, found, rest = self._renderer(self.tokenizer.chat_template, asked, False).rpartition(ANSWER)
        if not found:
            raise RequestError(
                "The chat template leaves out the assistant's text. Give another: model.chat_template=FILE."
            )
        tokens = sorted(map(str, self.tokenizer.added_tokens_decoder.values()), key=len, reverse=True)
        run: list[str] = []
        rest = rest.lstrip()
        while token := next((token for token in tokens if token.strip() and rest.startswith(token)), None):
            run.append(token)
            rest = rest.removeprefix(token)
        return run or [str(self.tokenizer.eos_token)]

    # from text to ids

    def _encode_row(self, row: Row) -> Rendered:
        ids: list[int] = []
        mask: list[int] = []
        done = ""
        for turn in row:
            for text, learned in zip(turn, (0, 0, 1), strict=True):
                piece = self._encode(text, done)
                ids += piece
                mask += [learned] * len(piece)
                done += text
        return Rendered(ids, mask)

    def _length(self, row: Row) -> int:
        return len(self._encode_row(row).ids)

    def _encode(self, text: str, before: str) -> list[int]:
        """Return the token ids of a piece of text after the text `before`."""
        if not (text and before and self._marks_beginnings):
            return self._tokenize(text)
        for context in (before, "\n"):  # a token can span `before` and `text`: then use a line end
            head, whole = self._tokenize(context), self._tokenize(context + text)
            if whole[: len(head)] == head:
                return whole[len(head) :]
        return self._tokenize(text)

    def _tokenize(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    @cached_property
    def _marks_beginnings(self) -> bool:
        """Whether the tokenizer puts a space before any text (SentencePiece's dummy prefix), which changes pieces."""
        return str(self.tokenizer.convert_ids_to_tokens(self._tokenize("a"))[0]).startswith("▁")


def _specials(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return added | set(tokenizer.all_special_tokens)


def _rows_or_fault(rows: Callable[[Messages], list[Row]], messages: Messages) -> list[Row] | Unrenderable:
    try:
        return rows(messages)
    except Unrenderable as reason:
        return reason


def _text_after_prompt(prompt: str, whole: str, reasoning: str) -> str | None:
    """Return the text that is rendered after the prompt; None if it cannot be determined.

    A generation prompt can open a block of reasoning that the template leaves out before answers (DeepSeek-R1's). Then
    it is the text after that block if the prompt closes it, else the reasoning, the block's end and that text.
    """
    if whole.startswith(prompt):
        return whole[len(prompt) :]
    block = PREFILLED.search(prompt)
    if block is None or not whole.startswith(prompt[: block.start()]):
        return None
    rest = re.sub(rf"^\s*{OPEN}.*?{CLOSE}\s*", "", whole[block.start() :], flags=re.DOTALL)
    return rest if block[1] else f"{reasoning.strip()}\n{CLOSE}\n\n{rest.lstrip()}"


def _cut_answer(after: str, words: str, ending: str) -> tuple[str, str] | None:
    """Return the text before an answer's words, and the words with the token that ends the turn; None if not found.

    Text after that token belongs to the next turn. If the template does not end turns, `ending` is added.
    """
    found = list(re.finditer(re.escape(words) + r"(\s*)" + re.escape(ending), after))
    if found:
        return after[: found[-1].start()], found[-1][0]
    rest = after.rstrip()
    return (rest.removesuffix(words), words + ending) if rest.endswith(words) and ending not in rest else None


def _cut_answer_with_calls(after: str, words: str, ending: str) -> tuple[str, str] | None:
    """Do the same for an answer that calls tools: the answer is all text that the template renders for it."""
    whole, found, _ = after.rpartition(ending)
    answer = (whole if found else after.rstrip()) + ending
    return ("", answer) if words in answer else None


def _changed_by_template(what: str, prompt: str, whole: str) -> Unrenderable:
    seen = f"after {prompt[-EXCERPT // 2 :]!r} it renders {whole[-EXCERPT:]!r}"
    return Unrenderable(f"the chat template {what} (another one: model.chat_template=FILE)", seen)
