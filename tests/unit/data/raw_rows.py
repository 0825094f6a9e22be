"""What tests of formats share: generated conversations, and rows with anything at all in their columns."""

import string
from typing import Any

from hypothesis import strategies as st

from labeling.votes import Vote, pool
from pipeline.data.formats.coded import Codes, with_meanings
from pipeline.data.formats.detection import format_named
from pipeline.data.formats.judgement import Judgement, Marked, Pair
from pipeline.data.formats.table import DEMONSTRATIONS, JUDGEMENTS, demonstrations_in, judgements_in
from pipeline.data.judgements.pairs import as_preference
from pipeline.data.rows import Demonstration, Message, Preference, Ranking

U, A, S, T = "user", "assistant", "system", "tool"

words = st.text(string.ascii_letters + "äé日", min_size=1, max_size=6)
texts = st.lists(words, min_size=1, max_size=4).map(" ".join)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def said(*turns: tuple[str, str]) -> list[Message]:
    return [Message(role=role, content=content) for role, content in turns]


def demonstration(name: str, row: dict[str, Any], mend: bool = False) -> Demonstration:
    """The one demonstration of a row in the format of that name."""
    form = format_named(name, DEMONSTRATIONS)
    codes = Codes(MEANINGS, "data.codes")
    codes.add([row], form.codes_of)
    settled = with_meanings(row, form.codes_of, codes.settle("the row"))
    ((found, mended),) = demonstrations_in(settled, form, mend)
    assert mend or not mended
    return found


MEANINGS = {"1": "good", "0": "bad", "-1": "bad"}
"""What marks mean that one row by itself does not settle."""


def judged(name: str, *rows: dict[str, Any], codes: dict[str, str] | None = None) -> list[Judgement]:
    """What all rows of a file in the format of that name hold, with its codes settled. Raises BadRow."""
    form = format_named(name, JUDGEMENTS)
    settling = Codes(codes or {})
    settling.add(rows, form.codes_of)
    meanings = settling.settle("the rows")
    return [one for row in rows for one in judgements_in(with_meanings(row, form.codes_of, meanings), form)]


def ranking_of(name: str, *rows: dict[str, Any], codes: dict[str, str] | None = None) -> Ranking:
    """The one ranking that the votes in all rows come to."""
    found = judged(name, *rows, codes=codes)
    (ranking,) = pool(one for one in found if isinstance(one, Vote)).rankings
    return ranking


def pair_of(name: str, row: dict[str, Any], codes: dict[str, str] | None = None) -> Preference:
    """The one pair of a row."""
    (pair,) = judged(name, row, codes=codes)
    assert isinstance(pair, Pair)
    return as_preference(pair)


def mark_of(name: str, *rows: dict[str, Any], codes: dict[str, str] | None = None) -> Marked:
    """The marked answer of the first row; the others help to settle its codes."""
    mark = judged(name, *rows, codes=codes)[0]
    assert isinstance(mark, Marked)
    return mark


@st.composite
def conversations(draw: st.DrawFn, system: bool = True, tools: bool = False, turns: int = 4) -> list[Message]:
    """Messages in order: an optional system turn, then exchanges, in which tools may be called."""
    messages = said((S, draw(texts))) if system and draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, turns))):
        messages += said((U, draw(texts)), (A, draw(texts)))
        while tools and draw(st.booleans()):
            messages += said(*[(T, draw(texts)) for _ in range(draw(st.integers(1, 2)))], (A, draw(texts)))
    return messages
