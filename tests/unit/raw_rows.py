"""What tests of formats share: generated conversations, and rows with anything at all in their columns."""

import string
from typing import Any

from hypothesis import strategies as st

from pipeline.data.formats.detection import format_named
from pipeline.data.formats.table import DEMONSTRATIONS, demonstrations_in
from pipeline.data.rows import Demonstration, Message

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
    ((found, mended),) = demonstrations_in(row, format_named(name, DEMONSTRATIONS), mend)
    assert mend or not mended
    return found


@st.composite
def conversations(draw: st.DrawFn, system: bool = True, tools: bool = False, turns: int = 4) -> list[Message]:
    """Messages in order: an optional system turn, then exchanges, in which tools may be called."""
    messages = said((S, draw(texts))) if system and draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, turns))):
        messages += said((U, draw(texts)), (A, draw(texts)))
        while tools and draw(st.booleans()):
            messages += said(*[(T, draw(texts)) for _ in range(draw(st.integers(1, 2)))], (A, draw(texts)))
    return messages
