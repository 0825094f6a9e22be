"""Drafts from a tiny policy and from a real endpoint, and people who review them in a real Argilla."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from labeling.argilla.submitting import Annotator
from labeling.backend import Verdict
from labeling.server import accounts, running
from labeling.server.home import Home
from labeling.server.supervisor import stop
from pipeline.data.rows import read_jsonl, write_jsonl
from pipeline.engine.planner import Planner
from pipeline.people.annotators import People
from pipeline.people.rounds import review_round
from pipeline.store.artifact import Artifact
from tests.completions import Reply, completion, serving
from tests.conftest import configured
from tests.lazily import lazily
from tests.serving import transformers_serve
from tests.stages.conftest import Chain

with lazily():
    from pipeline.modeling import generation

pytestmark = pytest.mark.slow

DRAFT = ("draft.count=12", "draft.decoding.temperature=1", "draft.decoding.max_new_tokens=100")
MANY = (*DRAFT, "draft.count=48")  # so that even an untrained model completes some
PEOPLE = ("labeling=embedded", "labeling.annotators=[ann,bob,cid]", "labeling.overlap=3")
UNREVIEWED = ("synthesize.review=false",)


def rows(artifact: Artifact, name: str) -> list[dict[str, Any]]:
    return read_jsonl(artifact.file(name))


# -- drafting


def test_a_policy_drafts_and_what_is_read_is_kept_or_dropped(chain: Chain) -> None:
    made = chain.make("draft", *DRAFT)
    drafts, dropped = rows(made, "drafts.jsonl"), rows(made, "ledger.jsonl")
    assert made.metrics["read"] == len(rows(made, "prompts.jsonl")) == 12
    assert made.metrics["read"] == made.metrics["kept"] + made.metrics["dropped"] == len(drafts) + len(dropped)
    asked = [row["prompt"] for row in rows(made, "prompts.jsonl")]
    assert {draft["writer"] for draft in drafts} == {made.inputs["writer"].reference}
    assert all(draft["prompt"] in asked and draft["draft"].strip() for draft in drafts)
    assert all(1 <= entry["line"] <= 12 and entry["file"] == "prompts.jsonl" for entry in dropped)


def test_a_stopped_stage_goes_on_where_it_was_and_ends_the_same(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = (*DRAFT, "draft.decoding.batch_size=3")
    whole = chain.make("draft", *settings)
    expected = {name: whole.file(name).read_bytes() for name in ("prompts.jsonl", "drafts.jsonl", "ledger.jsonl")}
    shutil.rmtree(whole.path)
    draw_batch, drawn = generation.sampled, list[int]()

    def stopping(model: Any, chat: Any, prompts: Sequence[list[int]], *decoding: Any) -> Any:
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(len(prompts))
        return draw_batch(model, chat, prompts, *decoding)

    monkeypatch.setattr("pipeline.modeling.generation.sampled", stopping)
    assert chain.run("stage=draft", *settings) == 130
    (partial,) = (whole.path / "checkpoints").glob("draft*")
    with partial.open("a") as file:
        file.write("[[[1, 2], fal")  # cut off by a kill
    drawn.clear()
    assert chain.run("stage=draft", *settings) == 0
    assert drawn == [3, 3]
    assert {name: (whole.path / name).read_bytes() for name in expected} == expected


def test_unreviewed_drafts_go_on_when_told_to_and_say_so(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    assert chain.run("stage=synthesize", *DRAFT) == 2
    assert "drafts are reviewed by people" in capsys.readouterr().err
    made = chain.make("synthesize", *DRAFT, *UNREVIEWED)
    drafts = rows(made.inputs["draft"], "drafts.jsonl")
    assert rows(made, "demonstrations.jsonl") == [
        {
            "messages": [*draft["prompt"], {"role": "assistant", "content": draft["draft"]}],
            "id": draft["id"],
            "writer": draft["writer"],
            "verdict": "unreviewed",
            "reviewed_by": [],
        }
        for draft in drafts
    ]


def test_prompts_are_made_up_after_the_given_ones_and_the_writer_is_told_a_system_turn(
    new_chain: Callable[[], Chain], tmp_path: Path
) -> None:
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": f"How do I mend thing number {n}?"} for n in range(9)])
    invented = [
        f"{n}. Which {word} goes well with {word}?" for n, word in enumerate(["bread", "salt", "wine", "oil"], 1)
    ]

    def script(question: str, before: int) -> Reply:
        if question.startswith("Here are requests"):
            return completion("\n".join([*invented, "5. How do I mend thing number 3?", "6. Why?"]))
        return completion(f"Answer to {question}")

    chain = new_chain()
    with serving(script) as server:
        request = (
            f"draft.writer={server.url}",
            "draft.model=some-model",
            f"draft.prompts={tmp_path / 'prompts.jsonl'}",
        )
        made = chain.make("draft", *request, "draft.generate=3", "draft.count=5", "draft.system=Be brief.")
    asked = [row["prompt"][0]["content"] for row in rows(made, "prompts.jsonl")]
    assert asked[5:] == [text.partition(" ")[2] for text in invented[:3]]
    assert [row["draft"] for row in rows(made, "drafts.jsonl")] == [f"Answer to {question}" for question in asked]
    assert {row["writer"] for row in rows(made, "drafts.jsonl")} == {"some-model"}
    told = [body["messages"][0] for body, _ in server.seen if body["messages"][-1]["content"] in asked]
    assert told == [{"role": "system", "content": "Be brief."}] * 8
    assert "system" not in made.file("drafts.jsonl").read_text()
    assert server.url not in made.file("manifest.json").read_text()


def test_a_server_that_went_away_is_asked_for_the_rest_alone(
    new_chain: Callable[[], Chain], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.services.endpoints.FIRST_PAUSE", 0.001)
    chain = new_chain()
    with serving(lambda question, before: completion("So.") if len(server.seen) <= 5 else (503, {})) as server:
        request = ("draft.count=8", f"draft.writer={server.url}", "draft.model=some-model", "draft.concurrency=1")
        assert chain.run("stage=draft", *request) == 1
        server.script = lambda question, before: completion("So.")
        server.seen.clear()
        made = chain.make("draft", *request)
    assert made.metrics["read"] == 8
    assert len(server.seen) == 3


# -- people


@pytest.fixture
def reviewing(argilla_environment: Path, chain: Chain, tmp_path: Path) -> Iterator[Chain]:
    """A new project with a policy that drafts, and with people who review its drafts on a new server."""
    new = chain.beside(tmp_path / "outputs", chain.make("sft"))
    yield new
    stop(Home(home(new)))


def home(chain: Chain) -> Path:
    return chain.outputs / ".argilla"


def review(chain: Chain, name: str, say: Callable[[int, str], tuple[Verdict, str | None]], share: float = 1.0) -> None:
    """One person reviews a share of the drafts over the API with their own key."""
    connection = running(home(chain))
    assert connection
    drafts = chain.store.open(*chain.store.resolve("draft"))
    people = People(configured(chain.outputs, *PEOPLE).labeling, "playground", print)
    (queue,) = review_round(drafts.path, people).queues
    tasks = queue.tasks[: round(share * len(queue.tasks))]
    with Annotator(accounts.key_of(connection, name), queue.name, "playground") as annotator:
        annotator.review({task["id"]: say(number, task["responses"][0]) for number, task in enumerate(tasks)})


def accepts(number: int, draft: str) -> tuple[Verdict, str | None]:
    return "accept", draft


def corrects_the_first(number: int, draft: str) -> tuple[Verdict, str | None]:
    return (
        ("correct", "Turn it off and on.") if number == 0 else ("reject", draft) if number == 1 else ("accept", draft)
    )


def rejects_the_second(number: int, draft: str) -> tuple[Verdict, str | None]:
    return ("reject", draft) if number == 1 else ("accept", draft)


def test_people_accept_correct_and_reject_and_are_not_asked_twice(
    reviewing: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    request = ("stage=synthesize", *MANY, *PEOPLE)
    assert reviewing.run(*request) == 3
    said = capsys.readouterr().out
    drafts = rows(reviewing.store.open(*reviewing.store.resolve("draft")), "drafts.jsonl")
    total = len(drafts)
    assert total >= 3
    assert f"0 of {3 * total} reviews · 0 of {total} drafts complete · overlap 3" in said
    assert "synthesize.wait=true" in said
    assert not (reviewing.outputs / "playground" / "synthesize").exists()

    review(reviewing, "ann", accepts)
    review(reviewing, "bob", corrects_the_first)
    review(reviewing, "cid", rejects_the_second, share=2 / total)
    assert reviewing.run(*request) == 3
    assert "synthesize.accept=partial   (2 drafts)" in capsys.readouterr().out
    partial = reviewing.make("synthesize", *request[1:], "synthesize.accept=partial")
    assert (partial.metrics["complete"], partial.metrics["demonstrations"]) == (0, 1)
    assert reviewing.run(*request) == 3

    review(reviewing, "cid", rejects_the_second)
    made = reviewing.make("synthesize", *request[1:])
    kept, (rejected,) = rows(made, "demonstrations.jsonl"), rows(made, "rejected.jsonl")
    assert kept[0]["messages"][-1] == {"role": "assistant", "content": "Turn it off and on."}
    assert (kept[0]["verdict"], kept[0]["corrected_by"]) == ("correct", "bob")
    assert [row["verdict"] for row in kept[1:]] == ["accept"] * (total - 2)
    assert {tuple(row["reviewed_by"]) for row in kept} == {("ann", "bob", "cid")}
    assert (rejected["id"], rejected["reason"]) == (drafts[1]["id"], "rejected by a majority")
    assert [one["verdict"] for one in rejected["reviews"]] == ["accept", "reject", "reject"]
    assert made.metrics["complete"] == 1

    stop(Home(home(reviewing)))  # the test does not need the server after this
    config = configured(reviewing.outputs, *reviewing.arguments(*MANY, *PEOPLE)[1:])
    assert Planner(config, reviewing.store).step("synthesize").version == made.version
    changed = configured(reviewing.outputs, *reviewing.arguments(*MANY, *PEOPLE, "sft.learning_rate=2e-3")[1:])
    assert "not published again" in Planner(changed, reviewing.store).step("synthesize").why
    assert running(home(reviewing)) is None


# -- a real endpoint


@pytest.fixture
def endpoint(chain: Chain, tmp_path: Path) -> Iterator[str]:
    """Runs `transformers serve` with the tiny SFT policy and yields its address."""
    with transformers_serve(tmp_path / "serve.log", served(chain)) as url:
        yield url


def served(chain: Chain) -> Path:
    """Write the tiny SFT policy to a folder, with sampling in its generation config, which the server reads."""
    folder = chain.outputs / "served"
    shutil.copytree(chain.make("sft").path / "model", folder, dirs_exist_ok=True)
    config = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**config, "do_sample": True, "top_k": 0}))
    return folder


def test_a_real_endpoint_drafts(endpoint: str, chain: Chain) -> None:
    model = str(served(chain))
    made = chain.make("draft", *MANY, f"draft.writer={endpoint}", f"draft.model={model}", "draft.concurrency=2")
    drafts = rows(made, "drafts.jsonl")
    assert made.metrics["read"] == 48 == made.metrics["kept"] + made.metrics["dropped"]
    assert 1 <= len(drafts) == round(made.metrics["kept"])
    assert {draft["writer"] for draft in drafts} == {model}
    assert json.loads(made.file("manifest.json").read_text())["inputs"] == {}
    assert chain.run("stage=draft", f"draft.writer={endpoint}", "draft.model=no/such-model", *DRAFT) == 2


def test_drafts_are_trained_on_and_rows_say_who_wrote_them(chain: Chain, tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    write_jsonl(mine, [{"prompt": f"Question {n}?", "completion": f"Answer {n}."} for n in range(48)])
    sources = f"data.sources=[{{path: {mine}}}, {{path: synthesize, name: drafts, weight: 2}}]"
    drafting = (*MANY, *UNREVIEWED, "draft.writer=base", f"draft.prompts={mine}")
    made = chain.make("data", *drafting, "data=files", sources, "data.near_duplicates=keep", "data.prompts=every")
    drafts = made.inputs["drafts"]
    assert drafts.stage == "synthesize"
    assert made.metrics["read"] == 48 + drafts.metrics["demonstrations"]
    written = [row for part in ("sft", "dev") for row in rows(made, f"{part}.jsonl") if row["source"] == "drafts"]
    assert written
    assert {row["writer"] for row in written} == {drafts.inputs["draft"].inputs["writer"].reference}


def test_drafts_of_a_policy_that_learns_from_them_are_a_circle(
    chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_jsonl(tmp_path / "mine.jsonl", [{"prompt": "Why?"}])
    prompts = f"draft.prompts={tmp_path / 'mine.jsonl'}"
    assert chain.run("stage=sft", *DRAFT, *UNREVIEWED, prompts, "data=files", "data.path=synthesize") == 2
    assert "A circle: sft needs data needs synthesize needs draft needs sft" in capsys.readouterr().err
