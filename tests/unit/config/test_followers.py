"""A stage whose options follow another stage's: the judge is trained as the reward model is."""

import dataclasses
from collections.abc import Iterator
from operator import attrgetter
from typing import cast

import pytest

from pipeline.config import compose
from pipeline.config.nodes.learning import RewardConfig
from pipeline.config.nodes.models import PeftConfig
from pipeline.config.schema import PipelineConfig
from pipeline.errors import RequestError

OTHER = {  # a value that no default has, by the kind of the option
    "seed": "17", "learning_rate": "0.0123", "schedule": "constant_with_warmup", "trainer": "{adam_beta1: 0.5}",
    "inputs": "{policy: sft@friday}", "warmup": "0.77", "weight_decay": "0.33", "batch_size": "48",
}  # fmt: skip


def other_value(key: str, default: object) -> str:
    name = key.rpartition(".")[2]
    if name in OTHER:
        return OTHER[name]
    if isinstance(default, bool):
        return str(not default).lower()
    return {"method": "lora", "target_modules": "q_proj"}.get(name, "0.5" if name in ("dropout", "alpha") else "9")


def test_every_option_of_reward_reaches_the_judge_unless_the_judge_has_its_own() -> None:
    """Each of them, also one that is added later: the judge's version would else not be of what was asked for."""
    names = [item.name for item in dataclasses.fields(RewardConfig) if item.name != "peft"]
    names += [f"peft.{item.name}" for item in dataclasses.fields(PeftConfig)]
    plain = compose.load([])
    values = {name: other_value(name, attrgetter(f"reward.{name}")(plain)) for name in names}
    followed = compose.load([f"reward.{name}={value}" for name, value in values.items()])
    apart = compose.load([f"judge.{name}={value}" for name, value in values.items()])
    assert apart.reward == plain.reward
    assert dataclasses.asdict(followed.judge) == dataclasses.asdict(followed.reward)
    for name in names:
        own, other = attrgetter(f"judge.{name}")(apart), attrgetter(f"reward.{name}")(followed)
        assert own == other != attrgetter(f"reward.{name}")(plain), f"{name}={values[name]}"


def test_trainer_options_of_both_are_the_judges() -> None:
    config = compose.load(["reward.trainer.adam_beta1=0.5", "judge.trainer.max_grad_norm=2"])
    assert config.judge.trainer == {**config.reward.trainer, "max_grad_norm": 2}
    assert "max_grad_norm" not in config.reward.trainer


def test_a_judge_that_is_tuned_in_another_way_has_the_rate_of_that_way() -> None:
    own = ["model.path=owner/name"]
    assert compose.load([*own, "peft@judge.peft=lora"]).judge.learning_rate == 1e-4
    assert compose.load([*own, "peft@judge.peft=lora"]).reward.learning_rate == 1e-5
    assert compose.load([*own, "reward.learning_rate=3e-5"]).judge.learning_rate == 3e-5
    assert compose.load([*own, "peft=lora"]).judge.learning_rate == 1e-4


def test_a_fault_that_the_judge_follows_is_said_once() -> None:
    for key in ("reward.epochs", "judge.epochs"):
        with pytest.raises(RequestError) as raised:
            compose.load([f"{key}=-1"])
        assert str(raised.value).count("out of range") == 1
        assert f"{key}=-1" in str(raised.value)


def test_the_former_key_of_the_judge_is_refused_with_its_stage() -> None:
    with pytest.raises(RequestError, match=r"reward\.as_judge: no such key.*stage=judge"):
        compose.load(["stage=reward", "reward.as_judge=true"])


def test_what_is_set_in_a_mapping_that_follows_another_is_not_set_in_the_other() -> None:
    given = ["preferences.columns.prompt=Frage", "preferences.codes={1: first}", "labeling.path=votes.csv"]
    config = compose.load([*given, "labeling.columns.chosen=gut"])
    assert config.preferences.columns == {"prompt": "Frage", "chosen": "gut"}
    assert config.labeling.columns == {"chosen": "gut"}
    assert (config.preferences.codes, config.labeling.codes) == ({1: "first"}, {})


def test_a_list_is_copied_from_the_one_that_it_follows_unless_it_is_set() -> None:
    config = compose.load(["abtest.between=[ppo,dpo]"])
    assert config.blind.between == ["ppo", "dpo"]
    assert config.blind.between is not config.abtest.between
    apart = compose.load(["abtest.between=[ppo,dpo]", "blind.between=[sft,dpo]"])
    assert (apart.abtest.between, apart.blind.between) == (["ppo", "dpo"], ["sft", "dpo"])


def test_no_mapping_or_list_is_an_interpolation() -> None:
    """It would be the other one itself: an entry that is set here would be set there, too."""

    def interpolated(node: type, prefix: str) -> Iterator[str]:
        for item in dataclasses.fields(node):
            if dataclasses.is_dataclass(item.type):
                yield from interpolated(cast(type, item.type), f"{prefix}{item.name}.")
            elif str(item.type).startswith(("dict", "list")) and "${" in str(item.default):
                yield prefix + item.name

    assert list(interpolated(PipelineConfig, "")) == []
