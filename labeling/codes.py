"""Settles the meanings of a coded column's values, over the whole column, never cell by cell. Pure functions.

A *choice* tells which of two answers is better: first, second, tie, or none (no judgement). A *mark* tells how good one
answer is: higher is better, and a thumb is 0 or 1. Words and published codes have known meanings. Numbers do only if a
single reading is common; the meaning of other values must be given.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final, Literal

from labeling.flags import FALSE_WORDS, TRUE_WORDS

Choice = Literal["first", "second", "tie", "none"]

CHOICES: Final[tuple[Choice, ...]] = ("first", "second", "tie", "none")
MARKS: Final = {"good": 1.0, "bad": 0.0}
"""Names for marks that users may give, beside numbers and `none`."""

NO_MARK: Final = float("nan")
"""The mark of a value without a judgement."""

_SHOWN = 12  # distinct values in an error
_LONGEST = 40  # characters of a value in an error
_KINDS = (
    "model|assistant|response|answer|output|completion|option|candidate|text|reply|side|human|chat|bot"
    "|antwort|réponse|reponse|respuesta|risposta|resposta|antwoord|modell|modelo|modèle|modello"
)
_SIDES = {
    **dict.fromkeys(("a", "1", "one", "first", "1st", "left"), "first"),
    **dict.fromkeys(("b", "2", "two", "second", "2nd", "right"), "second"),
}
_SIDE = rf"(?:the )?(?:(?:{_KINDS})s? ?)?\(?({'|'.join(_SIDES)})\)?(?: (?:{_KINDS}))?"
_BETTER = re.compile(rf"{_SIDE}(?: (?:is|was|wins|won)?(?: ?(?:much|slightly|significantly|a bit|clearly))? ?better)?")
_THAN = re.compile(rf"(.+ better) than {_SIDE}")
_WINS = re.compile(rf"{_SIDE} (?:wins|won|preferred|is preferred|chosen)")
_PREFERS = re.compile(
    rf"(?:i )?(?:(?:much|strongly|slightly|weakly|moderately|somewhat|clearly) )?(?:prefers?|favou?rs?) {_SIDE}"
)
_OVER = re.compile(rf"{_SIDE} ?(>+|<+|=+|[~≈]) ?{_SIDE}")
_TIES = (
    *(
        "tie",
        "tied",
        "ties",
        "draw",
        "equal",
        "equally good",
        "equally bad",
        "same",
        "both",
        "neither",
        "no preference",
    ),
    *("both good", "both bad", "bothbad", "tie bothbad", "tie both bad", "about the same", "no difference", "a=b"),
    *(
        "neutral",
        "no clear preference",
        "no winner",
        "equivalent",
        "about equal",
        "they are equal",
        "they are the same",
    ),
    *("both fine", "both are fine", "both responses are good", "both responses are bad", "both are bad"),
    *("unentschieden", "gleich", "gleich gut", "égalité", "egalité", "empate", "pareggio", "gelijkspel", "ничья"),
    *("引き分け", "平局", "平手"),
    *("both equal", "both are equal", "both are good", "neither is better", "indifferent", "even"),
)
_NO_JUDGEMENT = ("skip", "skipped", "n/a", "na", "nan", "unsure", "not sure", "i don't know", "invalid")
_GOOD = (
    *TRUE_WORDS,
    *("up", "thumb up", "thumbs up", "thumbsup", "thumb_up", "good", "like", "liked", "positive"),
    *("accept", "accepted", "desirable", "helpful", "upvote", "upvoted", "approve", "approved", "👍", "+1 vote"),
    *("chosen", "preferred", "correct", "satisfied", "😀", "🙂", "😊", "❤", "✅", "✔"),
)
_BAD = (
    *FALSE_WORDS,
    *("down", "thumb down", "thumbs down", "thumbsdown", "bad", "dislike", "disliked", "negative"),
    *("reject", "rejected", "undesirable", "not helpful", "unhelpful", "downvote", "downvoted", "disapprove", "👎"),
    *("not desirable", "not good", "not accepted", "disapproved", "incorrect", "wrong", "dissatisfied", "☹", "🙁"),
    *("😞", "😠", "❌", "✘"),
)
_EMOJI_VARIANTS = "\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"  # colour presentation and skin tones
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?")


class UnsettledCodes(Exception):
    """Some values of a column have no known meaning; `seen` counts all values, `meanings` are the possible ones.

    `taken` are the meanings of the column's other values.
    """

    def __init__(
        self,
        seen: Mapping[str, int],
        unsettled: set[str],
        meanings: tuple[str, ...],
        reason: str,
        taken: Collection[str] = (),
    ) -> None:
        super().__init__(reason)
        self._taken = taken
        self.seen = dict(sorted(seen.items(), key=lambda item: _position(item[0])))
        self.unsettled = [value for value in self.seen if value in unsettled]
        self.meanings = meanings
        self.reason = reason

    def values(self) -> str:
        """The values and their counts."""
        listed = [f"{_short(value)!r} ({count:,} times)" for value, count in list(self.seen.items())[:_SHOWN]]
        more = len(self.seen) - len(listed)
        return ", ".join([*listed, *([f"and {more:,} more"] if more else [])])

    def line(self, option: str) -> str:
        """The option that settles them, quoted for a shell; its meanings are an example to check."""
        example = dict(zip(self.unsettled[:_SHOWN], self._example(), strict=False))
        if all(map(_is_writable, example)):
            pairs = ", ".join(f"{_as_key(value)}: {meaning}" for value, meaning in example.items())
            return f"'{option}={{{pairs}}}'"
        group, _, key = option.rpartition(".")
        pairs = ", ".join(f'"{value}": {meaning}' for value, meaning in example.items())
        return f"{group}: {{{key}: {{{pairs}}}}} in an experiment file"

    def _example(self) -> list[str]:
        """An example meaning for each value: from low to high, or a scale from one answer to the other."""
        count = len(self.unsettled)
        if "good" in self.meanings:
            return ["bad" if 2 * place + 1 < count else "good" for place in range(count)]
        free = [choice for choice in CHOICES if choice not in self._taken]
        counted = all(value.isdecimal() or not is_number(value) for value in self.unsettled)
        if counted and count < len(free):
            return list(free[:count])
        scale = [float(value) if is_number(value) else place for place, value in enumerate(self.unsettled)]
        middle = (min(scale) + max(scale)) / 2
        return ["tie" if place == middle else "first" if place < middle else "second" for place in scale]


def canonical(value: object) -> str:
    """A coded value in comparable form: 1, 1.0, "1" and " 1 " are equal, so are True and "true"; blank is ""."""
    if value is None or value != value:  # NaN
        return ""
    word = " ".join(str(value).split()).casefold().rstrip(_EMOJI_VARIANTS)
    if is_number(word):
        number = float(word)
        return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
    return word


def is_number(word: str) -> bool:
    """Whether a canonical value is a number."""
    return _NUMBER.fullmatch(word) is not None


def choice_of_word(word: str) -> Choice | None:
    """The choice of a canonical value that is a known word; None for other words and for numbers."""
    if is_number(word):
        return None
    plain = " ".join(word.strip("[]().!\"' ").replace("_", " ").replace("-", " ").split())
    if plain in _TIES or " ".join(plain.replace("(", " ").replace(")", " ").split()) in _TIES:
        return "tie"
    if plain in _NO_JUDGEMENT:
        return "none"
    if word == "[[c]]":  # model judges write a tie so
        return "tie"
    if over := _OVER.fullmatch(plain):
        return _choice_of_relation(_SIDES[over[1]], over[2][0], _SIDES[over[3]])
    than = _THAN.fullmatch(plain)
    if than and (than[2] in _SIDES):
        better = _BETTER.fullmatch(than[1])
        return None if better is None or _SIDES[better[1]] == _SIDES[than[2]] else _as_choice(_SIDES[better[1]])
    better = _BETTER.fullmatch(plain) or _WINS.fullmatch(plain) or _PREFERS.fullmatch(plain)
    return _as_choice(_SIDES[better[1]]) if better else None


def mark_of_word(word: str) -> float | None:
    """1 or 0 for a canonical value that means good or bad, NaN for no judgement; None for other words and numbers."""
    if is_number(word):
        return None
    plain = " ".join(word.strip(":.! ").replace("_", " ").replace("-", " ").split())
    if plain in _NO_JUDGEMENT:
        return NO_MARK
    return 1.0 if plain in _GOOD else 0.0 if plain in _BAD else None


def settle_choices(seen: Mapping[str, int], given: Mapping[str, str]) -> dict[str, Choice]:
    """Canonical value -> choice, from all values of a column and the given meanings.

    1 and 2 mean first and second if both occur and all other values are words for ties or none. Raises UnsettledCodes.
    """
    settled: dict[str, Choice] = {value: choice for value, word in given.items() if (choice := _given_choice(word))}
    settled |= {
        value: choice for value in seen if value not in settled and (choice := choice_of_word(value)) is not None
    }
    left = {value for value in seen if value not in settled}
    words = {settled[value] for value in seen if value in settled and value not in given}
    if left == {"1", "2"} and words <= {"tie", "none"}:
        return settled | {"1": "first", "2": "second"}
    if left:
        reason = "it is unclear which answer each value means"
        raise UnsettledCodes(seen, left, CHOICES, reason, {settled[value] for value in seen if value in settled})
    return settled


def settle_marks(seen: Mapping[str, int], given: Mapping[str, str], scores: bool = False) -> dict[str, float]:
    """Canonical value -> mark, from all values of a column and the given meanings.

    Thumbs are 0 and 1, as words or as the numbers 0 and 1, or -1 and 1, if both occur and no other number does. With
    `scores`, numbers keep their value: higher is better. Raises UnsettledCodes.
    """
    settled = {value: mark for value, word in given.items() if (mark := _given_mark(word)) is not None}
    settled |= {value: mark for value in seen if value not in settled and (mark := mark_of_word(value)) is not None}
    left = {value for value in seen if value not in settled}
    words = {settled[value] for value in seen if value in settled and value not in given} - {NO_MARK}
    thumbs = next((pair for pair in ({"0", "1"}, {"-1", "1"}) if left == pair), None)
    if thumbs:
        return settled | {value: float(value == "1") for value in thumbs}
    if scores and all(map(is_number, left)) and not words:
        return settled | {value: float(value) for value in left}
    if left:
        raise UnsettledCodes(seen, left, ("good", "bad", "none"), "it is unclear which values mean a good answer")
    return settled


def _choice_of_relation(left: str, sign: str, right: str) -> Choice | None:
    if left == right:
        return None
    return "tie" if sign in "=~≈" else _as_choice(left if sign == ">" else right)


def _as_choice(side: str) -> Choice:
    return "first" if side == "first" else "second"


def _given_choice(word: str) -> Choice | None:
    return next((choice for choice in CHOICES if choice == word.strip().lower()), None)


def _given_mark(word: str) -> float | None:
    plain = word.strip().lower()
    if plain == "none":
        return NO_MARK
    return float(plain) if is_number(plain) else MARKS.get(plain)


def _is_writable(value: str) -> bool:
    """Whether Hydra's grammar accepts the value as a key."""
    return re.fullmatch(r"[\w ()\[\]{}:=,/\\+.$%*@?|-]+", value, re.ASCII) is not None


def _as_key(value: str) -> str:
    return re.sub(r"([()\[\]{}:=,\\])", r"\\\1", value)


def _position(value: str) -> tuple[bool, float, str]:
    """A sort key: numbers from low to high, then words."""
    return (False, float(value), "") if is_number(value) else (True, 0.0, value)


def _short(value: str) -> str:
    return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…"
