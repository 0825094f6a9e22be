"""An active choice of what people are asked about: what it needs, and what it does not go with."""

from pathlib import Path

import pytest

from pipeline.config import compose
from pipeline.config.schema import content
from pipeline.errors import RequestError
from pipeline.stages import STAGES
from pipeline.stages.sample import judged_prompts
from pipeline.store.artifact import Artifact

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


@pytest.mark.parametrize("has_preferences", [True, False])
def test_a_reward_model_that_does_not_know_people_s_disagreement_is_refused(
    tmp_path: Path, has_preferences: bool
) -> None:
    """Its preferences are gone, or of a version that did not keep it: the choice must not go on without."""
    made = {"preferences": Artifact("preferences", "cd34", tmp_path)} if has_preferences else {}
    with pytest.raises(RequestError, match=r"how far people disagreed is not known of reward@ab12") as raised:
        judged_prompts(Artifact("reward", "ab12", tmp_path, inputs=made))
    assert raised.value.status == 2
    (tmp_path / "disagreement.jsonl").write_text('{"prompt": [], "share": 0.5, "comparisons": 3}\n')
    if has_preferences:
        assert [one.disagreement for one in judged_prompts(Artifact("reward", "ab12", tmp_path, inputs=made))] == [0.5]
