"""Drafts and their reviews in a plan: causes of a new version, the annotators asked, and no question asked twice."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.data.rows import write_jsonl
from pipeline.engine.planner import PENDING, Planner, Step
from pipeline.errors import RequestError
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store
from tests.conftest import commit, configured, finish

Plan = Callable[..., dict[str, Step]]
STAGE = ("stage=synthesize",)
PEOPLE = (*STAGE, "labeling.annotators=[ann,bob]")
REMOTE = ("draft.writer=http://127.0.0.1:8000/v1", "draft.model=some-model")


def reviewed(store: Store, draft: str, version: str, *, whole: bool = True) -> Artifact:
    """A review, as `synthesize` would leave it."""
    metrics = {"accepted": 5, "corrected": 0, "unreviewed": 0, "rejected": 1, "complete": float(whole)}
    return commit(store, "synthesize", version, inputs={"draft": {"stage": "draft", "version": draft}}, metrics=metrics)


@pytest.fixture
def drafted(store: Store, planned: Plan) -> str:
    """The version of the drafts, which are there with all that they were made from."""
    steps = planned(*PEOPLE)
    for step in steps.values():
        if step.version != PENDING:
            finish(store, step)
    return steps["draft"].version


def test_drafts_are_reviewed_by_people_or_said_to_be_unreviewed(planned: Plan) -> None:
    with pytest.raises(RequestError, match=r"labeling\.annotators=\[…\], or .*synthesize\.review=false"):
        planned(*STAGE)
    assert planned(*PEOPLE)["synthesize"].asks
    unreviewed = planned(*STAGE, "synthesize.review=false")["synthesize"]
    assert not unreviewed.asks
    assert unreviewed.version != PENDING


def test_a_whole_review_is_used_without_asking_again(store: Store, drafted: str, planned: Plan) -> None:
    assert planned(*PEOPLE)["synthesize"].version == PENDING
    reviewed(store, drafted, "aaaaaaaaaaaa", whole=False)
    assert planned(*PEOPLE)["synthesize"].version == PENDING
    reviewed(store, drafted, "bbbbbbbbbbbb")
    step = upstream(store)
    assert (step.version, step.complete) == ("bbbbbbbbbbbb", True)
    assert planned(*PEOPLE)["synthesize"].asks  # asked for by name it looks again


def upstream(store: Store, *overrides: str) -> Step:
    """The reviewed drafts as something that another stage needs."""
    return Planner(configured(store.root.parent, *PEOPLE[1:], *overrides), store).step("synthesize")


def test_reviews_outlive_the_writer(store: Store, drafted: str, planned: Plan) -> None:
    reviewed(store, drafted, "bbbbbbbbbbbb")
    changed = "sft.learning_rate=0.5"
    step = upstream(store, changed)
    assert step.version == "bbbbbbbbbbbb"
    assert f"drafts of sft {planned(*PEOPLE)['sft'].version[:4]}: not published again" in step.why
    again = planned(*PEOPLE, changed)["synthesize"]
    assert (again.asks, again.inputs["draft"].version) == (True, drafted)
    assert "looking again at the drafts of sft" in again.why
    assert upstream(store, changed, "labeling.reuse=false").version == PENDING
    for made in planned("stage=draft", changed).values():
        if not made.complete:
            finish(store, made)
    assert upstream(store, changed).version == PENDING  # they were written on request


def test_unreviewed_drafts_are_not_used_as_reviewed_ones(store: Store, drafted: str, planned: Plan) -> None:
    finish(store, planned(*STAGE, "synthesize.review=false")["synthesize"])
    manifest = {"accepted": 0, "corrected": 0, "unreviewed": 7, "rejected": 0}
    commit(
        store,
        "synthesize",
        "cccccccccccc",
        inputs={"draft": {"stage": "draft", "version": drafted}},
        metrics=manifest,
    )
    assert planned(*PEOPLE)["synthesize"].version == PENDING
    assert upstream(store).version != "cccccccccccc"


def test_an_endpoint_is_known_by_its_model_and_not_by_its_address(planned: Plan) -> None:
    steps = planned("stage=draft", *REMOTE)
    assert set(steps) == {"draft"}  # nothing is trained for it
    version = steps["draft"].version
    elsewhere = ("draft.writer=https://host/v1", "draft.model=some-model")
    assert planned("stage=draft", *elsewhere, "draft.concurrency=2")["draft"].version == version
    assert planned("stage=draft", REMOTE[0], "draft.model=another")["draft"].version != version
    assert planned("stage=draft")["draft"].version != version
    assert "http" not in str(steps["draft"].inputs)


def test_the_writer_and_the_prompts_count_by_content(planned: Plan, store: Store, drafted: str, tmp_path: Path) -> None:
    def version(*overrides: str) -> str:
        return planned("stage=draft", *overrides)["draft"].version

    assert version("draft.writer=sft@latest") == drafted
    assert version("draft.writer=base") != drafted
    for name in ("a.jsonl", "b.jsonl"):
        write_jsonl(tmp_path / name, [{"prompt": "Why?"}])
    given = version(f"draft.prompts={tmp_path / 'a.jsonl'}")
    assert version(f"draft.prompts={tmp_path / 'b.jsonl'}") == given != drafted
    for override in ("draft.count=3", "draft.generate=2", "draft.system=Brief.", "draft.decoding.temperature=0.1"):
        assert version(override) != drafted


def test_prompts_have_to_be_named_outside_the_playground(planned: Plan, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"prompt": "Why?", "completion": "So."}])
    files = ("data=files", f"data.path={tmp_path / 'a.jsonl'}", "stage=draft")
    with pytest.raises(RequestError, match=r"draft\.prompts=FILE"):
        planned(*files)
    assert "prompts" in planned(*files, f"draft.prompts={tmp_path / 'a.jsonl'}")["draft"].inputs
