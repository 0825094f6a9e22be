"""What people type by habit, and what they are told: the right way to write it."""

import shlex

import pytest

from pipeline.config import compose
from pipeline.config.names import HABITS, STAGE_HABITS, all_names, nearest, split_flags
from pipeline.config.schema import stage_names
from pipeline.errors import RequestError


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("--stage sft", "'stage=sft'"),
        ("--stage=sft", "'stage=sft'"),
        ("-stage sft", "'stage=sft'"),
        ("--sft", "'stage=sft'"),
        ("--status", "'status'"),
        ("--dry-run", "'plan=true'"),
        ("--project mine stage=sft", "'project=mine'"),
        ("--model Qwen/Qwen2.5-0.5B", "'model.path=Qwen/Qwen2.5-0.5B'"),
        ("--model hub", "'model=hub'"),
        ("--data rows.jsonl", "'data.path=rows.jsonl'"),
        ("--train_file=rows.jsonl", "'data.path=rows.jsonl'"),
        ("--learning-rate 1e-4", "'sft.learning_rate=1e-4', 'dpo.learning_rate=1e-4'"),
        ("--output_dir out", "'outputs=out'"),
        ("stage sft", "'stage=sft'"),
        ("stage = sft", "'stage=sft'"),
        ("sft", "'stage=sft'"),
        ("help", "'--help'"),
        ("rows.jsonl", "'data.path=rows.jsonl'"),
        ("data=rows.jsonl", "'data.path=rows.jsonl'"),
        ("labeling=votes.csv", "'labeling.path=votes.csv'"),
        ("model=Qwen/Qwen2.5-0.5B", "'model.path=Qwen/Qwen2.5-0.5B'"),
        ("data.file=rows.jsonl", "'data.path'"),
        ("stage=SFT", "'sft'"),
        ("stage=train", "'sft'"),
        ("stage=rlhf", "'ppo'"),
        ("eval", "'stage=evaluate'"),
        ("stage=sft,dpo", "what it needs is made first"),
        ("lr=1e-4", "'sft.learning_rate', 'dpo.learning_rate'"),
        ("sft.lr=1e-4", "'sft.learning_rate'"),
        ("epochs=3", "'sft.epochs', 'dpo.epochs'"),
        ("lora_r=8", "'peft.rank'"),
        ("preferences=pairs.jsonl", "takes no value"),
    ],
)
def test_a_habit_is_answered_with_our_way_to_write_it(typed: str, told: str) -> None:
    with pytest.raises(RequestError) as raised:
        compose.load(split_flags(shlex.split(typed))[1])
    assert told in str(raised.value)
    assert raised.value.status == 2


def test_all_wrong_flags_are_named_at_once() -> None:
    with pytest.raises(RequestError) as raised:
        split_flags(["--stage", "sft", "--epochs=3", "seed=1"])
    assert "in 2 places" in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "flags", "overrides"),
    [
        (["-m", "dpo.beta=0.1,0.3"], ["-m"], ["dpo.beta=0.1,0.3"]),
        (["dpo.beta=1", "--cfg", "job", "seed=1"], ["--cfg", "job"], ["dpo.beta=1", "seed=1"]),
        (["--help", "dpo"], ["--help"], ["dpo"]),
        (["data.path=-x.jsonl", "seed=-1"], [], ["data.path=-x.jsonl", "seed=-1"]),
    ],
)
def test_hydras_flags_are_told_from_overrides(arguments: list[str], flags: list[str], overrides: list[str]) -> None:
    assert split_flags(arguments) == (flags, overrides)


def test_every_habit_leads_to_a_key_that_exists() -> None:
    names = all_names()
    last = {key.rpartition(".")[2] for key in names.keys}
    assert [key for key in HABITS.values() if not {key.partition("=")[0]} & {*names.keys, *names.groups, *last}] == []


def test_every_habit_about_stages_leads_to_one() -> None:
    assert set(STAGE_HABITS.values()) <= {"all", *stage_names()}
    assert not set(STAGE_HABITS) & set(stage_names())


def test_a_hint_about_a_hundred_names_does_not_list_them() -> None:
    assert nearest("x", [f"name{n}" for n in range(100)]) == "None of the 100 names is near it."
    assert nearest("NAME7", [f"name{n}" for n in range(100)]) == "Did you mean 'name7'?"
