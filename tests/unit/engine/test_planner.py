"""Planning: what a version depends on, and what is wrong with a request."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.engine.planner import Planner, Step
from pipeline.errors import RequestError
from pipeline.stages import STAGES
from pipeline.store import hashing
from pipeline.store.artifacts import Store
from pipeline.store.hashing import content_hash
from tests.conftest import configured
from tests.unit.model_files.folders import model

Plan = Callable[..., dict[str, Step]]


RANKED = ["base", "data", "sft", "sample", "publish", "collect", "preferences"]


CHAIN = [*RANKED, "dpo", "reward", "ppo", "judge", "evaluate", "compare"]


AFTER_DPO = {"dpo", "evaluate", "compare"}


AFTER_PPO = {"ppo", "evaluate", "compare"}


AFTER_REWARD = {"reward", "judge", *AFTER_PPO}


AFTER_COLLECT = {"collect", "preferences", *AFTER_DPO, *AFTER_REWARD}


AFTER_SAMPLE = {"sample", "publish", *AFTER_COLLECT}


AFTER_SFT = {"sft", *AFTER_SAMPLE}


def versions(steps: dict[str, Step]) -> dict[str, str]:
    return {name: step.version for name, step in steps.items()}


def changed(plan: Plan, *overrides: str) -> set[str]:
    before, after = versions(plan()), versions(plan(*overrides))
    return {name for name in after if after[name] != before.get(name)}


def demonstrations(file: Path, text: str = "hello") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'{{"instruction": "greet", "output": "{text}"}}\n')
    return file


def test_the_chain_is_planned_upstream_first(planned: Plan) -> None:
    steps = planned()
    assert sorted(steps) == sorted(CHAIN)
    order = list(steps)
    for step in steps.values():
        for given in (one for one in step.inputs.values() if isinstance(one, Step)):
            assert order.index(given.name) < order.index(step.name)


def test_the_same_request_has_the_same_versions(planned: Plan) -> None:
    assert versions(planned()) == versions(planned())
    assert versions(planned("dpo.beta=0.37", "sft.epochs=2")) == versions(planned("sft.epochs=2", "dpo.beta=0.37"))


def test_a_hash_is_the_same_in_every_process_and_release() -> None:
    """Pinned: were this to change, everybody's artifacts would have to be made again."""
    assert content_hash({"a": [1.5, None, True, "ü"], "b": {"c": 1}}) == "89db1222cb97"
    assert content_hash({"b": {"c": 1}, "a": [1.5, None, True, "ü"]}) == "89db1222cb97"
    assert content_hash({"a": [1.5, None, 1, "ü"], "b": {"c": 1}}) != "89db1222cb97"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=1", {"base", *AFTER_SFT}),
        ("base.steps=30", {"base", *AFTER_SFT}),
        ("data.seed=1", set(CHAIN)),
        ("data.world.demonstrations=100", {"data", *AFTER_SFT}),
        ("sft.learning_rate=0.5", AFTER_SFT),
        ("sft.trainer.max_grad_norm=0.5", AFTER_SFT),
        ("sft.seed=7", AFTER_SFT),
        ("peft=lora", AFTER_SFT),
        ("peft.rank=3", AFTER_SFT),
        ("peft@sft.peft=lora", AFTER_SFT),
        ("sample.answers=3", AFTER_SAMPLE),
        ("sample.policies=[sft,base]", AFTER_SAMPLE),
        ("publish.seed=9", {"publish", *AFTER_COLLECT}),
        ("labeling.noise=0.9", AFTER_COLLECT),
        ("labeling.simulated=2", AFTER_COLLECT),
        ("preferences.test_fraction=0.5", {"preferences", *AFTER_DPO, *AFTER_REWARD}),
        ("preferences.judge_fraction=0.5", {"preferences", *AFTER_DPO, *AFTER_REWARD}),
        ("dpo.beta=0.37", AFTER_DPO),
        ("dpo.seed=1", AFTER_DPO),
        ("dpo.peft.rank=3", AFTER_DPO),
        ("peft@dpo.peft=qlora", AFTER_DPO),
        ("reward.learning_rate=0.5", AFTER_REWARD),
        ("peft@reward.peft=qlora", AFTER_REWARD),
        ("ppo.iterations=7", AFTER_PPO),
        ("evaluate.prompts=7", {"evaluate", "compare"}),
        ("compare.examples=2", {"compare"}),
        ("launch.device=cpu", set()),
        ("launch=small_gpu", set()),
        ("threads=3", set()),
        ("tracking=off", set()),
        ("tracking.project=other", set()),
        ("project=other", set()),
        ("plan=true", set()),
        ("tag=friday", set()),
        ("export.merge=false", set()),
    ],
)
def test_a_change_makes_new_versions_of_what_depends_on_it_and_of_nothing_else(
    planned: Plan, override: str, expected: set[str]
) -> None:
    assert changed(planned, override) == expected


def test_where_outputs_lie_is_not_part_of_a_version(planned: Plan, tmp_path: Path) -> None:
    elsewhere = configured(tmp_path / "elsewhere")
    steps = Planner(elsewhere, Store(tmp_path / "elsewhere", "playground")).plan()
    assert {step.name: step.version for step in steps} == versions(planned())


def test_a_stage_whose_meaning_changed_is_made_again(planned: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    before = versions(planned())
    monkeypatch.setitem(STAGES, "dpo", dataclasses.replace(STAGES["dpo"], version=STAGES["dpo"].version + 1))
    after = versions(planned())
    assert {name for name in after if after[name] != before[name]} == AFTER_DPO


def test_the_users_data_counts_by_content_not_by_name_or_place(planned: Plan, tmp_path: Path) -> None:
    def version(file: Path) -> str:
        return planned("stage=data", "data=files", f"data.path={file}")["data"].version

    here = version(demonstrations(tmp_path / "a.jsonl"))
    assert version(demonstrations(tmp_path / "far" / "away" / "b.jsonl")) == here
    assert version(demonstrations(tmp_path / "c.jsonl", "hallo")) != here


def test_a_file_that_was_edited_is_noticed_in_spite_of_the_cache(planned: Plan, tmp_path: Path) -> None:
    file = demonstrations(tmp_path / "a.jsonl")
    request = ("stage=data", "data=files", f"data.path={file}")
    before = planned(*request)["data"].version
    demonstrations(file, "hallo")  # as long as before
    assert planned(*request)["data"].version != before


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"%s": 3}', '{"%s": [1]}'])
def test_a_broken_cache_costs_time_only(
    planned: Plan, outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(hashing, "LARGE", 0)
    file = demonstrations(tmp_path / "a.jsonl")
    request = ("stage=data", "data=files", f"data.path={file}")
    before = planned(*request)["data"].version
    cache = outputs / ".cache" / "hashes.json"
    cache.write_text(text.replace("%s", str(file)))
    assert planned(*request)["data"].version == before
    assert str(file) in cache.read_text()  # and it is mended


def test_a_model_folder_counts_by_content(planned: Plan, tmp_path: Path) -> None:
    def version(folder: Path, *more: str) -> str:
        return planned("stage=sft", f"model.path={folder}", *more)["sft"].version

    shutil.copytree(model(tmp_path / "one"), tmp_path / "two")
    model(tmp_path / "three", {"rope_theta": 2.0})
    template = tmp_path / "chat.jinja"
    template.write_text("{{ messages }}")
    one = version(tmp_path / "one")
    assert version(tmp_path / "two") == one
    assert version(tmp_path / "three") != one
    assert version(tmp_path / "one", "model.dtype=float32") != one
    assert version(tmp_path / "one", f"model.chat_template={template}") != one


def test_all_that_is_not_there_is_named_at_once_with_its_key(planned: Plan, tmp_path: Path) -> None:
    demonstrations(tmp_path / "rows.jsonl")
    wrong = {
        "data.path": tmp_path / "row.jsonl",
        "data.test_path": tmp_path / "test.jsonl",
        "model.path": tmp_path / "model",
        "model.chat_template": tmp_path / "chat.jinja",
        "labeling.path": tmp_path / "votes.jsonl",
        "dpo.inputs.policy": tmp_path / "sft",
        "ppo.inputs.value": tmp_path / "reward",
    }
    with pytest.raises(RequestError) as raised:
        planned(*(f"{key}={path}" for key, path in wrong.items()))
    head, *faults = str(raised.value).splitlines()
    assert head == f"This request is wrong in {len(wrong)} places:"
    for key, path in wrong.items():
        assert [fault for fault in faults if fault.strip().startswith(key) and str(path) in fault], key
    assert f"Did you mean {tmp_path / 'rows.jsonl'}?" in str(raised.value)
    assert str(raised.value).count("rows.jsonl") == 1  # the same ending alone is no likeness


def test_what_no_stage_needs_yet_is_named_beside_what_is_wrong(planned: Plan, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"(?s)data\.path.*labeling\.gold"):
        planned("stage=data", f"data.path={tmp_path / 'a'}", f"labeling.gold={tmp_path / 'b'}")


def test_one_path_that_is_named_twice_is_one_fault(planned: Plan, tmp_path: Path) -> None:
    with pytest.raises(RequestError) as raised:
        planned("stage=dpo", f"data.path={tmp_path / 'a'}", f"labeling.path={tmp_path / 'a'}")
    assert str(raised.value).startswith("labeling.path, data.path: No such file")


def test_a_refused_plan_leaves_nothing_behind(
    planned: Plan, tmp_path: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "LARGE", 0)
    file = demonstrations(tmp_path / "a.jsonl")
    with pytest.raises(RequestError):
        planned(f"data.path={file}", "labeling.path=nowhere.jsonl")
    assert not outputs.exists()


def planner(outputs: Path, *overrides: str) -> Planner:
    made = Planner(configured(outputs, *overrides), Store(outputs, "playground"))
    made.plan()
    return made
