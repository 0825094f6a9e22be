"""People are asked once: what the plan knows before they answer, and what it goes on with afterwards."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from labeling.backend import progress
from pipeline.config.nodes.people import LabelingConfig
from pipeline.config.schema import content
from pipeline.engine.maker import _asks_for_more
from pipeline.engine.planner import PENDING, Planner, Step
from pipeline.errors import RequestError
from pipeline.people.annotators import People
from pipeline.people.rounds import complete_only, round_of, waiting_text
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store
from tests.conftest import commit, configured, finish

Plan = Callable[..., dict[str, Step]]
PEOPLE = ("labeling.annotators=[ann,bob]",)
AFTER = {"collect", "preferences", "dpo", "reward", "judge", "ppo", "evaluate", "compare"}


def answered(store: Store, publish: str, version: str, *, whole: bool = True, simulated: bool = False) -> Artifact:
    """A collection, as `collect` would leave it."""
    metrics = {"rankings": 6, "annotators": 2, "complete": float(whole), **({"simulated": 1.0} if simulated else {})}
    inputs = {"publish": {"stage": "publish", "version": publish}}
    return commit(store, "collect", version, inputs=inputs, metrics=metrics)


def finish_up_to_publish(store: Store, steps: dict[str, Step]) -> str:
    """Everything made but what people decide; returns the version that was published."""
    for step in steps.values():
        if step.version != PENDING:
            finish(store, step)
    return steps["publish"].version


@pytest.fixture
def published(store: Store, planned: Plan) -> str:
    return finish_up_to_publish(store, planned(*PEOPLE))


def to_run(store: Store, *overrides: str) -> list[str]:
    planner = Planner(configured(store.root.parent, *PEOPLE, *overrides), store)
    planner.plan()
    return [step.name for step in planner.to_run()]


def test_what_people_will_say_is_not_known_and_nothing_that_needs_it(planned: Plan) -> None:
    steps = planned(*PEOPLE)
    assert {name for name, step in steps.items() if step.version == PENDING} == AFTER
    assert steps["collect"].asks
    assert not steps["preferences"].asks


def test_simulated_annotators_are_planned_like_everything_else(planned: Plan) -> None:
    assert all(step.version != PENDING for step in planned().values())


def test_the_server_and_the_people_change_no_version_of_what_is_published(planned: Plan) -> None:
    version = planned()["publish"].version
    for other in (
        PEOPLE,
        ("labeling=simulated",),
        ("labeling=remote",),
        ("labeling.overlap=1",),
        ("labeling.port=7000",),
    ):
        assert planned(*other)["publish"].version == version
    for other in ("labeling.question=rating", "labeling.calibration=3", "publish.seed=5"):
        assert planned(other)["publish"].version != version


def test_a_whole_collection_is_used_without_asking_again(store: Store, published: str, planned: Plan) -> None:
    answered(store, published, "aaaaaaaaaaaa")
    steps = planned(*PEOPLE)
    assert steps["collect"].version == "aaaaaaaaaaaa"
    assert steps["collect"].complete
    assert steps["preferences"].version != PENDING
    assert "collect" not in to_run(store)


def test_collect_itself_looks_again(store: Store, published: str) -> None:
    answered(store, published, "aaaaaaaaaaaa")
    assert to_run(store, "stage=collect") == ["collect"]


def test_a_partial_collection_is_no_whole_one(store: Store, published: str) -> None:
    answered(store, published, "aaaaaaaaaaaa", whole=False)
    assert "collect" in to_run(store)
    assert "collect" in to_run(store, "collect.accept=partial")


def test_what_simulated_annotators_ranked_is_not_taken_for_peoples(store: Store, published: str, planned: Plan) -> None:
    answered(store, published, "aaaaaaaaaaaa", simulated=True)
    assert planned(*PEOPLE)["collect"].version == PENDING


def test_rankings_outlive_the_models(store: Store, published: str, planned: Plan) -> None:
    """Nobody is asked twice because a learning rate has changed."""
    answered(store, published, "aaaaaaaaaaaa")
    changed = ("sft.learning_rate=0.5",)
    steps = planned(*PEOPLE, *changed)
    assert steps["publish"].version != published
    assert steps["collect"].version == "aaaaaaaaaaaa"
    assert "nobody is asked again" in steps["collect"].why
    assert f"sft {planned(*PEOPLE)['sft'].version[:4]}" in steps["collect"].why  # whose answers they are about
    assert set(to_run(store, *changed)) == {"sft", *AFTER} - {"collect"}


def test_people_are_asked_anew_only_when_told_to(store: Store, published: str, planned: Plan) -> None:
    answered(store, published, "aaaaaaaaaaaa")
    assert planned(*PEOPLE, "sft.learning_rate=0.5", "labeling.reuse=false")["collect"].version == PENDING
    assert to_run(store, "sft.learning_rate=0.5", "stage=publish") == ["sft", "sample", "publish"]
    looking = planned(*PEOPLE, "sft.learning_rate=0.5", "stage=collect")["collect"]
    assert looking.asks
    assert looking.inputs["publish"].version == published  # looking again is not publishing anew
    assert "looking again at the answers of sft" in looking.why


def test_a_second_round_is_waited_for_and_then_joins_the_first(store: Store, published: str, planned: Plan) -> None:
    first = answered(store, published, "aaaaaaaaaaaa")
    changed = (*PEOPLE, "sft.learning_rate=0.5")
    for step in planned(*changed, "stage=publish").values():
        if not step.complete:
            finish(store, step)
    assert planned(*changed)["collect"].version == PENDING
    answered(store, planned(*changed)["publish"].version, "bbbbbbbbbbbb")
    given = planned(*changed)["preferences"].inputs
    assert [one.version for one in given.values()] == ["bbbbbbbbbbbb", first.version]
    alone = planned(*changed, "labeling.reuse=false")["preferences"].inputs
    assert [one.version for one in alone.values()] == ["bbbbbbbbbbbb"]


def test_what_people_have_said_during_this_command_settles_the_plan(store: Store, published: str) -> None:
    answered(store, published, "aaaaaaaaaaaa")
    config = configured(store.root.parent, *PEOPLE, "stage=collect")
    planner = Planner(config, store, {"collect": "aaaaaaaaaaaa"})
    assert planner.plan()[-1].complete


def test_someone_has_to_be_named_for_data_of_the_users_own(planned: Plan, tmp_path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "greet", "output": "hello"}\n')
    files = ("data=files", f"data.path={rows}")
    with pytest.raises(RequestError, match=r"Who is to rank\?.*labeling\.annotators"):
        planned(*files)
    assert planned(*files, *PEOPLE)["collect"].asks


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("labeling=simulated", *PEOPLE), "labeling=embedded or labeling=remote"),
        (("labeling=file", "labeling.path=x", *PEOPLE), "labeling=embedded or labeling=remote"),
        (("labeling.annotators=[ann,ann]",), "'ann' occurs twice"),
        (("labeling.annotators=['a b','c']",), "'a b' has to have letters"),
        (("labeling.annotators=[ann]",), "labeling.overlap=2: there are 1 to rank"),
        ((*PEOPLE, "labeling.overlap=2..3"), "labeling.overlap=2..3: there are 2 to rank"),
        (("labeling.overlap=1..3",), "labeling.overlap=1..3: a range begins at 2"),
        (("labeling.overlap=0",), "labeling.overlap=0: it has to be at least 1"),
        (("labeling.overlap=two",), "labeling.overlap=two: write a number, or a range such as 2..4"),
        (("labeling=remote", "labeling.annotators=[a,b,c]", "labeling.overlap=2..3"), "labeling=embedded"),
        (("labeling.question=pairwise",), "sample.answers=2, not 4"),
        (("labeling.annotators=[]",), "at least one entry"),
    ],
)
def test_requests_that_do_not_go_together_are_refused(planned: Plan, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        planned(*overrides)


def test_a_range_goes_on_to_the_queue_of_tasks_and_not_to_that_of_every_annotator(outputs: Path) -> None:
    folder = outputs / "abc123abc123"
    folder.mkdir(parents=True)
    (folder / "guidelines.md").write_text("Rank.")
    for name in ("tasks", "calibration"):
        (folder / f"{name}.jsonl").write_text(json.dumps({"id": name, "prompt": [], "responses": ["a", "b"]}) + "\n")
    config = configured(outputs, "labeling.annotators=[a,b,c,d]", "labeling.overlap=2..3").labeling
    asked = round_of(folder, "ranking", People(config, "team", print))
    assert [(queue.name, queue.overlap, queue.most) for queue in asked.queues] == [
        ("team-abc123-calibration", 4, None),
        ("team-abc123", 2, 3),
    ]
    one = {"annotator": "a", "status": "submitted", "ranks": [1, 2], "comment": "", "task": "tasks"}
    answers = [one, {**one, "annotator": "b", "ranks": [2, 1]}]
    so_far = progress(asked, answers, config.annotators or ())  # type: ignore[arg-type]
    assert "2 of 7 rankings · 0 of 2 prompts complete · overlap 2..3 and 4" in waiting_text(asked, so_far, "team")
    assert complete_only(asked, answers) == answers  # type: ignore[arg-type]  # two people came, and both have answered


@pytest.mark.parametrize(
    ("now", "then", "more"),
    [
        (2, 2, False),
        (3, 2, True),
        (2, 3, False),
        ("2..3", 2, True),
        ("2..4", "2..3", True),
        (2, "2..3", False),
        (3, "2..4", True),
    ],
)
def test_more_answers_are_asked_for_if_some_task_may_need_more(now: int | str, then: int | str, more: bool) -> None:
    assert _asks_for_more(LabelingConfig(path=None, overlap=now), then) == more


def test_how_long_to_wait_is_no_part_of_a_version(planned: Plan) -> None:
    assert planned()["collect"].version == planned("collect.wait=true", "collect.accept=partial")["collect"].version
    assert not {"wait", "accept"} & set(content(planned()["collect"].config))


# -- the blind A/B test


def judged(store: Store, steps: dict[str, Step], version: str = "eeeeeeeeeeee") -> Artifact:
    """A whole test, as `abtest` would leave it."""
    inputs = {"blind": {"stage": "blind", "version": steps["blind"].version}}
    metrics = {"judgements": 6, "complete": 1.0, "ended": 1.0}
    return commit(store, "abtest", version, inputs=inputs, metrics=metrics)


def test_a_verdict_on_policies_is_no_verdict_on_others(store: Store, published: str, planned: Plan) -> None:
    """Rankings outlive the models, a blind test does not: another policy is asked about anew."""
    answered(store, published, "aaaaaaaaaaaa")
    shown = (*PEOPLE, "compare.inputs.abtest=abtest")
    for step in planned(*shown).values():
        if step.version != PENDING and not step.complete:
            finish(store, step)
    steps = planned(*shown)
    assert steps["abtest"].asks
    assert steps["compare"].version == PENDING
    judged(store, steps)
    steps = planned(*shown)
    assert steps["abtest"].version == "eeeeeeeeeeee"
    assert set(steps["compare"].inputs) == {"evaluation", "abtest"}
    for change in ("dpo.beta=0.7", "abtest.between=[sft,dpo]", "abtest.prompts=9", "abtest.seed=3"):
        changed = planned(*shown, change)
        assert changed["abtest"].version == PENDING, change
        assert set(changed["compare"].inputs) == {"evaluation", "abtest"}
