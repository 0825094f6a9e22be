"""A version is what it was made from: what changes it, what does not, and what is said about it."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config.schema import content
from pipeline.engine.planner import Planner, Step, observed_fingerprint
from pipeline.errors import PipelineError, RequestError
from pipeline.stages import STAGES
from pipeline.store import hashing
from pipeline.store.artifacts import Store
from pipeline.store.hashing import content_hash
from tests.conftest import commit, configured, finish
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


# -- what a version depends on


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


# -- what is wrong with a request


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


# -- which inputs


def test_a_pinned_version_takes_the_place_of_the_one_the_request_asks_for(
    planned: Plan, store: Store, finished: dict[str, Step]
) -> None:
    other = planned("sft.learning_rate=0.5")["sft"]
    finish(store, other)
    store.point("sft", "friday", other.version)
    same = planned(f"dpo.inputs.policy=sft@{finished['sft'].version[:6]}")
    assert versions(same) == versions(planned())
    by_tag = planned("dpo.inputs.policy=sft@friday")
    by_path = planned(f"dpo.inputs.policy={store.directory('sft', other.version)}")
    assert by_tag["dpo"].inputs["policy"].version == other.version
    assert by_tag["dpo"].version == by_path["dpo"].version != finished["dpo"].version
    assert by_tag["sample"].version == finished["sample"].version


def test_the_users_own_pairs_take_the_place_of_collected_ones(planned: Plan, tmp_path: Path) -> None:
    pairs = demonstrations(tmp_path / "pairs.jsonl")
    steps = planned("stage=dpo", "labeling=file", f"labeling.path={pairs}")
    assert set(steps) == {"base", "data", "sft", "preferences", "dpo"}
    assert steps["preferences"].inputs["rankings"].manifest["source"] == {"paths": [str(pairs)]}  # type: ignore[union-attr]


def test_base_names_the_users_model_wherever_it_stands(planned: Plan, tmp_path: Path) -> None:
    folder = model(tmp_path / "own")
    steps = planned("stage=dpo", f"model.path={folder}", "dpo.inputs.policy=base")
    assert "base" not in steps
    assert steps["dpo"].inputs["policy"].path == folder  # type: ignore[union-attr]


def test_a_circle_is_refused(planned: Plan) -> None:
    with pytest.raises(RequestError, match=r"A circle: .*sample needs dpo.* Name a finished version"):
        planned("sample.policies=[dpo]")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dpo.inputs.policy=sfft", r"sfft: no such file or folder .* Did you mean 'sft'\?"),
        ("dpo.inputs.policy=sft@friday", "no such version or tag in project playground"),
        ("dpo.inputs.policy=./nowhere/model", r"\./nowhere/model: no such file or folder \(looked in /"),
        ("evaluate.policies=[base,sft,prefix]", "prefix: no such file or folder"),
        ("evaluate.baseline=base2", "evaluate.baseline=base2 is not among"),
        ("stage=prefix", "stage=prefix: no such stage"),
        ("stage=abtest abtest.between=[ppo]", "two policies or more"),
        ("stage=abtest abtest.between=[ppo,ppo]", "each named once"),
        (
            "stage=abtest abtest.between=[ppo,kto]",
            r"kto is not among evaluate.policies=\['base', 'sft', 'dpo', 'ppo'\]",
        ),
        ("stage=abtest abtest.overlap=4", "abtest.overlap=4: there are 3"),
        ("model.path=no/such/model/here", "neither a folder here nor a hub id"),
        ("data=files data.path=nowhere.jsonl", r"nowhere\.jsonl"),
        ("labeling=file labeling.path=nowhere.jsonl", r"nowhere\.jsonl"),
    ],
)
def test_what_is_not_there_is_refused(planned: Plan, finished: dict[str, Step], override: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        planned(*override.split())


def test_a_folder_without_a_model_is_refused(planned: Plan, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no config\.json in this folder"):
        planned("stage=sft", f"model.path={tmp_path}")


def test_simulated_annotators_do_not_rank_the_users_data(planned: Plan, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"labeling=file labeling\.path=FILE"):
        planned("data=files", f"data.path={demonstrations(tmp_path / 'a.jsonl')}")


def test_a_damaged_pin_is_not_used(planned: Plan, store: Store, finished: dict[str, Step]) -> None:
    (store.directory("sft", finished["sft"].version) / "payload.txt").write_text("another")
    with pytest.raises(PipelineError, match="is damaged and is not used") as raised:
        planned("dpo.inputs.policy=sft@latest")
    assert raised.value.status == 1


# -- the judge, which is trained as the reward model is


def test_the_judge_is_trained_as_the_reward_model_is(planned: Plan) -> None:
    steps = planned()
    reward, judge = steps["reward"], steps["judge"]
    assert dataclasses.asdict(judge.config) == dataclasses.asdict(reward.config)
    assert judge.inputs == reward.inputs
    assert steps["evaluate"].inputs["judge"] is judge
    assert steps["ppo"].inputs["reward"] is steps["evaluate"].inputs["reward"] is reward
    assert planned("stage=judge")["judge"].version == judge.version != reward.version


def test_reward_models_made_before_the_judge_was_a_stage_are_still_found(planned: Plan) -> None:
    """The hash has the former key with the value that is left; the judge's, whose stage is another, has not."""
    steps = planned()
    assert content(steps["reward"].config)["as_judge"] is False
    assert "as_judge" not in content(steps["judge"].config)


def test_the_judge_never_rewards(planned: Plan) -> None:
    for source in ("judge", "judge@latest"):
        with pytest.raises(RequestError, match=r"ppo\.rewards: judge.* it may judge a policy, not reward it"):
            planned("stage=ppo", f"ppo.rewards=[{{source:{source}}}]")


def test_the_judge_runs_where_it_is_needed_and_is_compared_with_itself(
    outputs: Path, store: Store, finished: dict[str, Step]
) -> None:
    changed_judge = planner(outputs, "reward.epochs=3")
    assert [step.name for step in changed_judge.to_run()] == ["reward", "judge", "ppo", "evaluate", "compare"]
    for name in ("reward", "judge"):
        assert "epochs" in changed_judge.steps[name].why
    store.remove("judge", finished["judge"].version)
    assert planner(outputs).to_run() == []  # nothing that runs needs it
    assert [s.name for s in planner(outputs, "evaluate.prompts=7").to_run()] == ["judge", "evaluate", "compare"]


# -- what runs, and why


def planner(outputs: Path, *overrides: str) -> Planner:
    made = Planner(configured(outputs, *overrides), Store(outputs, "playground"))
    made.plan()
    return made


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
