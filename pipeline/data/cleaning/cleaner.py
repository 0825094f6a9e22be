"""Applies the cleaning rules to one conversation at a time."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pipeline.data.cleaning.answers import lacks_content, repeats_itself
from pipeline.data.cleaning.characters import mend_encoding, mend_invisible
from pipeline.data.cleaning.language import check_languages, in_other_language
from pipeline.data.cleaning.markup import mend_markup
from pipeline.data.cleaning.personal import find_personal_data, mask_personal_data
from pipeline.data.cleaning.refusals import is_refusal
from pipeline.data.cleaning.special_tokens import break_tokens, has_token
from pipeline.data.cleaning.table import Mode, checked_modes
from pipeline.data.faults import BadRow
from pipeline.data.rows import Message, is_learned

Mend = Callable[[Sequence[str]], list[str]]
Find = Callable[[Sequence[Message]], BadRow | None]


@dataclass(frozen=True)
class Cleaned:
    """A conversation after all rules, or after the rules up to the one that drops it."""

    messages: list[Message]  # after cleaning
    changed: tuple[str, ...] = ()  # rules that changed a text
    texts: tuple[tuple[str, str], ...] = ()  # per rule in `changed`, its first changed text: (before, after)
    flagged: tuple[str, ...] = ()  # rules that found something and kept it
    dropped: str | None = None  # the reason for dropping the row: a phrase that rows share
    field: str | None = None  # the place of the fault, such as "messages[3].content"
    role: str | None = None


class Cleaner:
    """Cleans conversations; built once per run and process, and picklable."""

    def __init__(
        self, modes: Mapping[str, Mode], special_tokens: Sequence[str] = (), languages: Sequence[str] = ()
    ) -> None:
        """Without special tokens or languages, their rules do nothing. A rule without a mode uses its default.

        Raises ValueError for an unknown rule, mode or language.
        """
        tokens = tuple(special_tokens)
        menders: dict[str, Mend] = {
            "encoding": partial(_each, mend_encoding),
            "invisible": partial(_each, mend_invisible),
            "markup": mend_markup,
            "special_tokens": partial(_each, partial(break_tokens, tokens=tokens)),
            "personal_data": partial(_each, mask_personal_data),
        }
        has_any = partial(has_token, tokens=tokens)
        finders: dict[str, Find] = {
            "special_tokens": partial(_find, has_any, _all, "a special token of the model is in the text"),
            "empty": partial(
                _find, lacks_content, _user_and_assistant_turns, "the text has no letter, number or symbol"
            ),
            "refusals": partial(_find, is_refusal, _last_answer, "the answer is nothing but a refusal"),
            "personal_data": partial(_find, _has_personal_data, _all, "personal data is in the text"),
            "language": partial(_find_language, tuple(languages)),
            "repetition": partial(_find, repeats_itself, _answers, "the answer repeats itself"),
        }
        unused = {"special_tokens": not tokens, "language": not languages}
        active = {name: mode for name, mode in checked_modes(modes).items() if mode != "off" and not unused.get(name)}
        if "language" in active:
            check_languages(languages)
        self._steps = [
            (name, mode, menders[name] if mode in ("mend", "mask") else None, finders.get(name))
            for name, mode in active.items()
        ]

    def __call__(self, messages: Sequence[Message]) -> Cleaned:
        """The conversation after all rules that are on, in the order of the table."""
        changed: dict[str, tuple[str, str]] = {}
        flagged: list[str] = []
        cleaned = list(messages)
        for name, mode, mend, find in self._steps:
            if mend is not None:
                texts = [text for message in cleaned for text in _texts(message)]
                corrected = mend(texts)
                if corrected != texts:
                    changed[name] = next(pair for pair in zip(texts, corrected, strict=True) if pair[0] != pair[1])
                    cleaned = _with_texts(cleaned, corrected)
            elif find is not None and (fault := find(cleaned)) is not None:
                if mode == "drop":
                    place = (fault.reason, fault.field, fault.role)
                    return Cleaned(cleaned, tuple(changed), tuple(changed.values()), tuple(flagged), *place)
                flagged.append(name)
        return Cleaned(cleaned, tuple(changed), tuple(changed.values()), tuple(flagged))


def _texts(message: Message) -> list[str]:
    """The text of a message, and its reasoning where it has some."""
    return [message["content"], *([message["reasoning_content"]] if "reasoning_content" in message else [])]


def _with_texts(messages: Sequence[Message], texts: Sequence[str]) -> list[Message]:
    """The messages with new texts; each takes as many as `_texts` gives."""
    rest, changed = iter(texts), []
    for message in messages:
        copy = message.copy()
        copy["content"] = next(rest)
        if "reasoning_content" in message:
            copy["reasoning_content"] = next(rest)
        changed.append(copy)
    return changed


def _each(mend: Callable[[str], str], texts: Sequence[str]) -> list[str]:
    return [mend(text) for text in texts]


def _find(
    is_so: Callable[[str], bool],
    among: Callable[[Sequence[Message]], Iterable[int]],
    reason: str,
    messages: Sequence[Message],
) -> BadRow | None:
    """The first of the chosen messages for which `is_so` holds, as a fault."""
    for index in among(messages):
        if any(map(is_so, _texts(messages[index]) if among is _all else [messages[index]["content"]])):
            return BadRow(f"messages[{index}].content", messages[index]["role"], reason)
    return None


def _find_language(languages: Sequence[str], messages: Sequence[Message]) -> BadRow | None:
    other = in_other_language([message["content"] for message in messages], languages)
    return BadRow(None, None, f"not in {', '.join(languages)}") if other else None


def _has_personal_data(text: str) -> bool:
    return bool(find_personal_data(text))


def _all(messages: Sequence[Message]) -> Iterable[int]:
    return range(len(messages))


def _user_and_assistant_turns(messages: Sequence[Message]) -> list[int]:
    return [index for index, message in enumerate(messages) if message["role"] in ("user", "assistant")]


def _answers(messages: Sequence[Message]) -> list[int]:
    return [index for index, message in enumerate(messages) if is_learned(message)]


def _last_answer(messages: Sequence[Message]) -> list[int]:
    return _answers(messages)[-1:]
