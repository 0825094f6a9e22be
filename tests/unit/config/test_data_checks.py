"""Keys about files that contradict each other are refused when a request is composed, each with a line of its own."""

import pytest

from pipeline.config import compose
from pipeline.errors import RequestError

MIXED = "data.sources=[{path: a.jsonl}, {path: b.jsonl}]"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((MIXED, "data.path=c.jsonl"), "give either data.path or data.sources"),
        ((MIXED, "data.format=alpaca"), "data.format=alpaca: it belongs to data.path"),
        ((MIXED, "data.part=test"), "data.part=test: it belongs to data.path"),
        (("data.sources=[{path: a.jsonl, name: 'a b'}]",), "its name 'a b' has to have letters"),
        (("data.sources=[{path: a.jsonl, name: tokenizer}]",), "'tokenizer' means something else here"),
        (("data.sources=[{path: a.jsonl}, {path: x/a.jsonl}]",), "another source is called 'a', too"),
        (("data.path=a.jsonl", "data.cleaning.languages=[klingon]"), "data.cleaning.languages:"),
        (("data.path=a.jsonl", "data.split.test=0.6", "data.split.rl=0.5"), "nothing is left for SFT"),
    ],
)
def test_the_key_and_what_to_do_are_named(given: tuple[str, ...], told: str) -> None:
    with pytest.raises(RequestError) as refused:
        compose.load(["data=files", *given])
    assert told in str(refused.value)
