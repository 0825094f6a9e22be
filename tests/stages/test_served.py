"""Answers that a server draws: from a real `transformers serve`, and from one that draws wrongly in every known way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.nodes.models import DecodingConfig
from pipeline.data.rows import read_jsonl
from pipeline.errors import PipelineError, RequestError
from pipeline.stage import StageContext
from pipeline.stages.writers import PolicyWriter
from pipeline.store.artifact import Artifact
from tests.completions import running
from tests.lazily import lazily
from tests.policy_server import PolicyServer
from tests.stages import tiny
from tests.stages.architectures import build
from tests.stages.conftest import Chain

with lazily():
    import torch

    from pipeline.modeling.answering import Answerer
    from pipeline.modeling.served import ServedAnswerer

PROMPTS = [[{"role": "user", "content": "My kettle hums. " * (1 + n % 3) + f"Why {n}?"}] for n in range(24)]
DECODING = DecodingConfig(1.0, 1.0, 8)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A random model that is sure of some tokens, so that temperatures differ."""
    return build("llama", tmp_path_factory.mktemp("policy"), initializer_range=0.4)


@pytest.fixture(scope="module")
def served(policy: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Answerer:
    """The policy as the server has it."""
    return Answerer(policy, tiny.context(tmp_path_factory.mktemp("server")), 0)


@pytest.fixture
def server(served: Answerer, own_servers: None) -> Iterator[PolicyServer]:
    with running(PolicyServer(served)) as started:
        assert isinstance(started, PolicyServer)
        yield started


def context(server: PolicyServer, folder: Path, **options: Any) -> StageContext:
    return tiny.served_context(folder, "sft", server.url, 2, **options)


def answerer(policy: Artifact, server: PolicyServer, folder: Path, **options: Any) -> ServedAnswerer:
    given = context(server, folder, **options)
    [named] = given.runtime.generation.servers or []
    return ServedAnswerer(policy, given, 0, named)


def record(folder: Path) -> dict[str, Any]:
    [found] = json.loads((folder / "generation.json").read_text())
    return dict(found)


@pytest.mark.parametrize("takes_ids", [True, False])
@pytest.mark.parametrize("returns_ids", [True, False])
def test_answers_are_the_servers_and_the_record_says_what_was_compared(
    policy: Artifact, served: Answerer, server: PolicyServer, tmp_path: Path, takes_ids: bool, returns_ids: bool
) -> None:
    server.change(takes_ids=takes_ids, returns_ids=returns_ids)
    drawing = answerer(policy, server, tmp_path)
    answers = drawing.draw(PROMPTS, DECODING, "draw")
    asked = [body for body, _ in server.seen][-len(PROMPTS) :]
    assert {body["seed"] for body in asked} == set(range(len(PROMPTS)))
    assert {(body["model"], body["max_tokens"], body["temperature"]) for body in asked} == {("served", 8, 1.0)}
    found = record(tmp_path)
    assert (found["by"], found["url"], found["model"], found["listed"]) == ("vllm", server.url, "served", True)
    assert (found["weights"]["result"], found["draws"]["result"]) == ("equal", "equal")
    assert found["prompts_sent_as"] == ("token ids" if takes_ids else "texts")
    assert found["answer_ids"] == ("the server's" if returns_ids else "read from the texts")
    assert (
        found["answers_with_other_ids"] > 0
    ) is not returns_ids  # a random model seldom draws the tokenizer's tokens
    assert {answer.ids[-1] == drawing.chat.stop_id for answer in answers if answer.stopped} <= {True}
    assert [answer.text for answer in answers] == [served.chat.text(answer.ids) for answer in answers]
    assert drawing.logprobs(PROMPTS, [a.ids for a in answers]) == served.logprobs(PROMPTS, [a.ids for a in answers])


@pytest.mark.parametrize(
    ("ways", "message"),
    [
        ({"temperature": 0.3}, "draws more probable tokens"),
        ({"temperature": 5.0}, "draws less probable tokens"),
        ({"added_tokens": 1}, r"reads \d+ tokens where a prompt of .* has \d+"),
        ({"goes_on": True}, r"goes on after </s>.*stop_token_ids=\[2\]"),
        ({"hides_stop": True}, r"goes on after </s>.*stop_token_ids=\[2\]"),
        ({"names": ("one", "two")}, "lists one, two. Name the one that is sft"),
        ({"names": ()}, "lists no models"),
    ],
)
def test_a_server_that_draws_otherwise_is_refused_before_it_draws_an_answer(
    policy: Artifact, server: PolicyServer, tmp_path: Path, ways: dict[str, Any], message: str
) -> None:
    server.change(**ways)
    with pytest.raises(RequestError, match=message):
        answerer(policy, server, tmp_path).draw(PROMPTS, DECODING, "draw")
    assert not (tmp_path / "checkpoints" / "draw.jsonl").exists()
    assert not (tmp_path / "generation.json").exists()


def test_other_weights_are_refused_and_rounded_ones_are_not(
    policy: Artifact, served: Answerer, server: PolicyServer, tmp_path: Path
) -> None:
    """Rounded as on a server that computes in bfloat16; the others have their layers' rows in another order."""
    kept = {name: value.clone() for name, value in served.model.state_dict().items()}
    try:
        served.model.load_state_dict({name: value.bfloat16().float() for name, value in kept.items()})
        answerer(policy, server, tmp_path).draw(PROMPTS, DECODING, "draw")
        assert record(tmp_path)["weights"]["result"] == "equal"
        served.model.load_state_dict({name: value.roll(1, 0) for name, value in kept.items()})
        with pytest.raises(RequestError, match=r"does not serve .*: of 16 most probable answers"):
            answerer(policy, server, tmp_path / "other").draw(PROMPTS, DECODING, "draw")
    finally:
        served.model.load_state_dict(kept)


def test_a_server_that_goes_away_is_told_and_asked_only_for_what_is_missing(
    policy: Artifact, server: PolicyServer, tmp_path: Path
) -> None:
    server.change(answers=5)
    with pytest.raises(PipelineError, match="gave no answer") as error:
        answerer(policy, server, tmp_path, check=False).draw(PROMPTS, DECODING, "draw")
    assert error.value.status == 1
    kept = len((tmp_path / "checkpoints" / "draw.jsonl").read_text().splitlines())
    assert 0 < kept < len(PROMPTS)
    server.seen.clear()
    server.change(answers=None)
    drawing = answerer(policy, server, tmp_path, check=False)
    assert len(drawing.draw(PROMPTS, DECODING, "draw")) == len(PROMPTS)
    assert len(server.seen) == 1 + len(PROMPTS) - kept  # one asks whether it takes token ids
    assert record(tmp_path)["weights"] == "not compared (generation.check=false)"
    assert "local" not in vars(drawing)  # its weights were not loaded here
    assert torch.is_grad_enabled()


def test_drafts_of_a_policy_are_drawn_by_its_server(policy: Artifact, server: PolicyServer, tmp_path: Path) -> None:
    writer = PolicyWriter(policy, DECODING, 0, context(server, tmp_path, check=False), policy="sft", drawn_by="vllm")
    written = writer.write(PROMPTS, "draft")
    assert len([body for body, _ in server.seen if body["max_tokens"] == 8]) == len(written) == len(PROMPTS)
    assert sum(one.tokens for one in written) > sum(len(one.text) > 0 for one in written)
    assert record(tmp_path)["drawing"] == "draft"


@pytest.mark.slow
def test_a_real_server_draws_for_sample_and_evaluate(
    chain: Chain, served_by_others: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without its `generation_config`, `transformers serve` gives the most probable tokens: that is refused."""
    few = ("sample.prompts=8", "sample.answers=2", "evaluate.prompts=8", "evaluate.policies=[base,sft]")
    sft = chain.make("sft")
    models = {"base": sft.inputs["base"].path / "model", "sft": sft.path / "model"}
    listed = ", ".join(
        f"{{policy: {name}, url: '{served_by_others}', model: '{model}'}}" for name, model in models.items()
    )
    servers = f"generation.servers=[{listed}]"
    made = chain.make("sample", *few, "generation=transformers_serve", servers)
    both = chain.make("evaluate", *few, "generation=transformers_serve", servers)
    capsys.readouterr()
    assert chain.run("stage=sample", *few, "sample.seed=1", "generation=openai", servers) == 2
    assert "draws more probable tokens" in capsys.readouterr().err.replace("\n", " ")
    assert sum(len(row["answers"]) for row in read_jsonl(made.file("answers.jsonl"))) == 16
    assert made.manifest["config"]["drawn_by"] == "openai"
    assert made.manifest["runtime"]["generation"]["servers"][1]["url"] == served_by_others
    assert made.version != chain.make("sample", *few).version
    found = json.loads(both.file("generation.json").read_text())
    assert [one["policy"] for one in found] == ["base", "sft"]
    assert {one["weights"]["result"] for one in found} == {"equal"}
    assert {one["draws"]["result"] for one in found} == {"equal"}
    assert both.metrics["base/kl"] >= 0 or abs(both.metrics["base/kl"]) < 1
    assert chain.run("stage=evaluate", *few, "evaluate.seed=3", "generation=vllm") == 2
    assert "generation.servers names no server of it" in capsys.readouterr().err.replace("\n", " ")
