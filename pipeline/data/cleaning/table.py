"""The table of cleaning rules: purpose, allowed modes and default mode of each."""

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
    Rule("encoding", ("off", "mend"), "mend", "wrongly decoded text teaches garbled letters"),
    Rule("invisible", ("off", "mend"), "mend", "invisible characters split words and hide instructions"),
    Rule("markup", ("off", "mend"), "mend", "tags and labels of a scraped page are not part of the conversation"),
    Rule("special_tokens", ("off", "mend", "drop"), "mend", "the model's own tokens in a text end or forge turns"),
    Rule("empty", ("off", "drop"), "drop", "a turn without content teaches empty answers"),
    Rule("refusals", ("off", "flag", "drop"), "flag", "bare refusals (in English) teach to refuse harmless requests"),
    Rule("personal_data", ("off", "flag", "mask", "drop"), "flag", "people's addresses and numbers would be memorised"),
    Rule("language", ("off", "drop"), "drop", "conversations in languages other than the configured ones"),
    Rule("repetition", ("off", "flag", "drop"), "flag", "answers that repeat themselves teach repetition"),
)


def default_modes() -> dict[str, Mode]:
    """The default mode of each rule."""
    return {rule.name: rule.default for rule in RULES}


def checked_modes(modes: Mapping[str, Mode]) -> dict[str, Mode]:
    """A mode for every rule; missing ones get the default. Raises ValueError for an unknown rule or mode."""
    allowed = {rule.name: rule.modes for rule in RULES}
    for name, mode in modes.items():
        if name not in allowed:
            raise ValueError(f"unknown cleaning rule {name!r}; the rules are {', '.join(allowed)}")
        if mode not in allowed[name]:
            raise ValueError(f"cleaning rule {name!r} has no mode {mode!r}; it may be {', '.join(allowed[name])}")
    return {**default_modes(), **modes}
