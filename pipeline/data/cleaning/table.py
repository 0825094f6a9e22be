"""The rules of cleaning: what each is for, what it may do, and what it does unless it is told otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass

Mode = str


@dataclass(frozen=True)
class Rule:
    """A rule by name. `why` is its line in the report."""

    name: str
    modes: tuple[Mode, ...]
    default: Mode
    why: str


RULES = (
    Rule("encoding", ("off", "mend"), "mend", "text that was decoded wrongly teaches letters nobody writes"),
    Rule("invisible", ("off", "mend"), "mend", "characters nobody sees split words and hide instructions"),
    Rule("markup", ("off", "mend"), "mend", "tags and labels of a scraped page are no part of what was said"),
    Rule("special_tokens", ("off", "mend", "drop"), "mend", "the model's own tokens in a text end or forge turns"),
    Rule("empty", ("off", "drop"), "drop", "a turn that says nothing teaches to say nothing"),
    Rule("refusals", ("off", "flag", "drop"), "flag", "bare refusals (in English) teach to refuse what is harmless"),
    Rule("personal_data", ("off", "flag", "mask", "drop"), "flag", "people's addresses and numbers would be memorised"),
    Rule("language", ("off", "drop"), "drop", "conversations in other languages than those that were asked for"),
    Rule("repetition", ("off", "flag", "drop"), "flag", "answers that go round in circles teach to do so"),
)


def defaults() -> dict[str, Mode]:
    """What each rule does unless it is told otherwise."""
    return {rule.name: rule.default for rule in RULES}


def checked(modes: Mapping[str, Mode]) -> dict[str, Mode]:
    """A mode for every rule, its default where none is given. Raises ValueError for an unknown rule or mode."""
    allowed = {rule.name: rule.modes for rule in RULES}
    for name, mode in modes.items():
        if name not in allowed:
            raise ValueError(f"unknown cleaning rule {name!r}; the rules are {', '.join(allowed)}")
        if mode not in allowed[name]:
            raise ValueError(f"cleaning rule {name!r} has no mode {mode!r}; it may be {', '.join(allowed[name])}")
    return {**defaults(), **modes}
