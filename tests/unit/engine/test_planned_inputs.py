"""Planning: which inputs a stage has, and the judge's."""

import dataclasses
from pathlib import Path

import pytest

from pipeline.config.schema import content
from pipeline.engine.planner import Step
from pipeline.errors import PipelineError, RequestError
from pipeline.store.artifacts import Store
from tests.conftest import finish
from tests.unit.engine.test_planner import Plan, demonstrations, planner, versions
from tests.unit.model_files.folders import model


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
