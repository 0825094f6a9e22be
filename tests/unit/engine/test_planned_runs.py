"""Planning: what runs, and why."""

import dataclasses
from pathlib import Path

import pytest

from pipeline.config.schema import content
from pipeline.engine.planner import Step, observed_fingerprint
from pipeline.errors import PipelineError, RequestError
from pipeline.stages import STAGES
from pipeline.store.artifacts import Store
from tests.conftest import commit, finish
from tests.unit.engine.test_planner import AFTER_DPO, Plan, demonstrations, planner


def test_nothing_runs_when_all_is_there(outputs: Path, finished: dict[str, Step]) -> None:
    made = planner(outputs)
    assert made.to_run() == []
    assert {step.why for step in made.steps.values()} == {"up to date"}


def test_only_what_changed_and_what_follows_it_runs(outputs: Path, finished: dict[str, Step]) -> None:
    assert {step.name for step in planner(outputs, "dpo.beta=0.37").to_run()} == AFTER_DPO
    assert {step.name for step in planner(outputs, "stage=evaluate", "dpo.beta=0.37").to_run()} == {"dpo", "evaluate"}


def test_what_nothing_that_runs_needs_stays_away(outputs: Path, store: Store, finished: dict[str, Step]) -> None:
    """The sampled answers are gone; the pairs that came of them are still there."""
    store.remove("sample", finished["sample"].version)
    assert planner(outputs).to_run() == []
    assert [step.name for step in planner(outputs, "dpo.beta=0.37").to_run()] == ["dpo", "evaluate", "compare"]
    assert [step.name for step in planner(outputs, "publish.seed=5").to_run()][:2] == ["sample", "publish"]


def test_why_says_the_default_of_an_option_that_no_manifest_has(planned: Plan, finished: dict[str, Step]) -> None:
    """Options that came later are left out of manifests at their defaults, so that versions stay."""
    before = finished["ppo"].version
    groups = planned("ppo.advantage=rloo", "ppo.group=4", "stage=ppo")["ppo"]
    assert groups.why.startswith(f"differs from {before[:4]}: advantage gae -> rloo, group 1 -> 4")


def test_why_says_what_differs(planned: Plan, finished: dict[str, Step]) -> None:
    steps = planned("dpo.beta=0.37", "dpo.peft.rank=3", "sft.trainer.max_grad_norm=0.5")
    sft, before = steps["sft"], finished["sft"].version
    assert sft.why == f"differs from {before[:4]}: trainer.max_grad_norm None -> 0.5"
    was = finished["dpo"].config
    assert f"beta {was.beta} -> 0.37" in steps["dpo"].why
    assert f"peft.rank {was.peft.rank} -> 3" in steps["dpo"].why
    assert f"policy {before[:4]} -> {sft.version[:4]}" in steps["dpo"].why


def test_why_tells_inputs_that_are_new_or_gone(planned: Plan, finished: dict[str, Step], tmp_path: Path) -> None:
    steps = planned("stage=data", "data=files", f"data.path={demonstrations(tmp_path / 'a.jsonl')}")
    assert "files none -> " in steps["data"].why
    fewer = planned("stage=evaluate", "evaluate.policies=[base,sft]")["evaluate"].why
    assert f"dpo {finished['dpo'].version[:4]} -> none" in fewer


def test_why_tells_unfinished_from_not_made(planned: Plan, store: Store) -> None:
    assert planned()["sft"].why == "not made yet"
    with store.writing("sft", planned()["sft"].version):
        pass
    assert planned()["sft"].why.startswith("unfinished")


def test_a_damaged_neighbour_does_not_stop_planning(planned: Plan, store: Store) -> None:
    commit(store, "sft", "aa11")
    (store.directory("sft", "aa11") / "manifest.json").write_text("{")
    assert "damaged" in planned()["sft"].why


def test_people_are_not_asked_again_because_their_round_is_damaged(planned: Plan, store: Store) -> None:
    """Were a round whose manifest is cut off skipped, a chain would publish anew, or go on with an older round."""
    people = ("labeling=embedded", "labeling.annotators=[ann,bob]")
    metrics = {"rankings": 6, "annotators": 2, "complete": 1}
    commit(store, "publish", "bb11")
    commit(store, "collect", "cc11", inputs={"publish": {"stage": "publish", "version": "bb11"}}, metrics=metrics)
    assert planned(*people)["collect"].version == "cc11"
    manifest = store.directory("collect", "cc11") / "manifest.json"
    whole = manifest.read_text()
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        manifest.write_text(whole[:cut])
        with pytest.raises(PipelineError, match=r"collect/cc11/manifest\.json is damaged.*may hold people's answers"):
            planned(*people)
    assert planned()["collect"].version != "cc11"  # simulated annotators have no use for it


def test_an_active_round_is_asked_about_once_and_counts_beside_the_first(planned: Plan, store: Store) -> None:
    """The reward model that chose it is pinned, so that the one which learns from it changes nothing upstream."""
    people = ("labeling=embedded", "labeling.annotators=[ann,bob]")
    metrics = {"rankings": 6, "annotators": 2, "complete": 1}
    for name in ("base", "data", "sft", "sample", "publish"):
        finish(store, planned("stage=publish", *people)[name])
    first = planned(*people)["publish"].version
    commit(store, "collect", "cc11", inputs={"publish": {"stage": "publish", "version": first}}, metrics=metrics)
    commit(store, "reward", "ab11")
    active = ("sample.choose=active", "sample.prompts=2", "sample.inputs.reward=reward@ab11", *people)
    assert planned("stage=preferences", *active)["collect"].version == "cc11"  # nobody is asked again unless told so
    for name in ("sample", "publish"):
        finish(store, planned("stage=publish", *active)[name])
    asks = planned("stage=preferences", *active)
    assert asks["collect"].asks
    second = asks["publish"].version
    commit(store, "collect", "cc22", inputs={"publish": {"stage": "publish", "version": second}}, metrics=metrics)
    commit(store, "reward", "ab22")
    later = planned("stage=preferences", *active)
    assert later["sample"].complete
    assert {given.version for given in later["preferences"].inputs.values()} == {"cc11", "cc22"}


def test_upstream_require_builds_nothing_upstream(planned: Plan, store: Store, finished: dict[str, Step]) -> None:
    assert list(planned("upstream=require")) == list(finished)
    assert "dpo" in planned("stage=dpo", "dpo.beta=0.37", "upstream=require")  # the stage asked for itself may run
    with pytest.raises(RequestError, match=r"'dpo' has no finished version for this request \(differs from .*beta"):
        planned("dpo.beta=0.37", "upstream=require")


def test_upstream_require_with_nothing_there(planned: Plan) -> None:
    with pytest.raises(RequestError, match=r"No finished '(base|data)' artifact .* Run `python -m pipeline stage="):
        planned("stage=sft", "upstream=require")


def test_the_version_of_people_s_answers_does_not_depend_on_when_they_were_given() -> None:
    answer = {"task": "t", "annotator": "ann", "status": "submitted", "ranks": [1, 2], "comment": ""}

    def version(**more: object) -> str:
        observed = {"answers": [{**answer, **more}], "whole": True}
        return observed_fingerprint(STAGES["collect"], observed, {"publish": "v"})

    assert version() == version(answered="2026-01-31T12:00:00") == version(answered="2026-01-31T12:00:01")
    assert version() != version(ranks=[2, 1])


def test_an_option_that_was_added_later_changes_no_version_at_its_default(planned: Plan) -> None:
    config = planned()["preferences"].config
    assert config.pairs == "all"
    assert "pairs" not in content(config)
    assert content(dataclasses.replace(config, pairs="adjacent"))["pairs"] == "adjacent"
