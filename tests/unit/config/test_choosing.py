"""An active choice of what people are asked about: what it needs, and what it does not go with."""

import pytest

from pipeline.config import compose
from pipeline.config.schema import content
from pipeline.errors import RequestError
from pipeline.stages import STAGES

REWARD = "sample.inputs.reward=reward@ab12"
ACTIVE = ("sample.choose=active", "sample.prompts=20", REWARD)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([REWARD], "sample.inputs.reward=reward@ab12: it is about an active choice: give sample.choose=active, too."),
        (["sample.drawn=6"], "sample.drawn=6: it is about an active choice: give sample.choose=active, too."),
        (["sample.candidates=6"], "sample.candidates=6: it is about an active choice: give sample.choose=active, too."),
        (
            ["sample.disagreement=avoid"],
            "sample.disagreement=avoid: it is about an active choice: give sample.choose=active, too.",
        ),
        (["sample.choose=active", REWARD], "say how many prompts people are asked about: sample.prompts=100."),
        ([*ACTIVE, "sample.candidates=19"], "sample.candidates=19: fewer than sample.prompts=20 to choose from them."),
        ([*ACTIVE, "sample.drawn=3"], "sample.drawn=3: fewer than sample.answers=4 to choose from them."),
    ],
)
def test_what_would_be_ignored_or_leaves_nothing_to_choose_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(RequestError) as raised:
        compose.check(overrides)
    assert raised.value.status == 2
    assert message in str(raised.value)


def test_a_whole_request_is_taken() -> None:
    compose.check([*ACTIVE, "sample.candidates=100", "sample.drawn=8"])


@pytest.mark.parametrize("reward", [(), ("sample.inputs.reward=reward",)])
def test_without_a_reward_model_of_an_earlier_round_it_is_refused(reward: tuple[str, ...]) -> None:
    """The chain's own reward model would learn from the very answers that are to be chosen."""
    config = compose.load([*ACTIVE[:2], *reward])
    with pytest.raises(RequestError, match=r"Name its version: sample\.inputs\.reward=reward@VERSION") as raised:
        STAGES["sample"].inputs(config)
    assert raised.value.status == 2


def test_answers_that_are_chosen_as_before_keep_their_version() -> None:
    before = content(compose.load([]).sample)
    assert not before.keys() & {"choose", "candidates", "drawn", "disagreement"}
    assert content(compose.load([*ACTIVE]).sample)["choose"] == "active"
