"""Keys of PPO with groups of answers: what contradicts them is refused when a run is planned, with one message."""

import pytest

from pipeline.config import compose
from pipeline.config.nodes.learning import PpoConfig
from pipeline.config.schema import content
from pipeline.errors import RequestError


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("ppo.group=1",), ("ppo.group=1", "ppo.advantage=rloo", "ppo.group=4")),
        (("ppo.group=3",), ("ppo.rollouts=16", "ppo.group=3", "ppo.rollouts=18")),
        (("ppo.group=0",), ("ppo.group=0", "at least 1")),
        (("ppo.value_warmup=1",), ("ppo.value_warmup=1", "value model", "ppo.advantage=gae")),
        (("ppo.value_coefficient=0.5",), ("ppo.value_coefficient=0.5", "value model")),
        (("ppo.value_learning_rate=1e-4",), ("ppo.value_learning_rate=0.0001", "value model")),
        (("ppo.value_clip=0.1",), ("ppo.value_clip=0.1", "value model")),
        (("ppo.lam=0.9",), ("ppo.lam=0.9", "single tokens", "ppo.advantage=gae")),
        (("ppo.gamma=0.9",), ("ppo.gamma=0.9", "single tokens")),
        (("ppo.whiten_rewards=true",), ("ppo.whiten_rewards=True", "single tokens")),
        (("ppo.inputs.value=ppo@latest",), ("ppo.inputs.value", "value model")),
        (("ppo.advantage=gae", "ppo.group=3"), ("ppo.rollouts=16", "ppo.group=3")),
    ],
)
def test_what_groups_of_answers_cannot_use_is_refused(given: tuple[str, ...], words: tuple[str, ...]) -> None:
    with pytest.raises(RequestError) as error:
        compose.load(["ppo.advantage=rloo", "ppo.group=4", "ppo.rollouts=16", *given])
    assert [word for word in words if word not in str(error.value)] == []
    assert str(error.value).startswith("This request is wrong:"), "in one place"


def test_what_counts_by_default_keeps_its_version() -> None:
    """Earlier runs of PPO are found again: defaults of the new keys are not hashed."""
    assert {"advantage", "group"}.isdisjoint(content(PpoConfig()))
