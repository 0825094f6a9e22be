"""The command with PPO's rollouts drawn by a server: it learns as the own sampler does, resumes, and refuses texts."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import CHECKPOINTS, MANIFEST
from tests.adapter_server import AdapterServer
from tests.completions import running
from tests.lazily import lazily
from tests.serving import transformers_serve
from tests.stages.conftest import Chain
from tests.stages.processes import start_with_forked_workers
from tests.stages.test_faults import assert_one_message
from tests.stages.test_ppo import SMALL, history, timeless
from tests.stages.test_tuning import weights

with lazily():
    import torch

    from pipeline.ppo.rollouts import sampling_seed

pytestmark = pytest.mark.slow

ADAPTERS = ("peft@sft.peft=lora", "peft@ppo.peft=lora", "ppo.peft.rank=4", "ppo.watch_judge=false")

FITTED = (  # a base model that has learned enough for adapters to change it
    *("base.steps=150", "base.learning_rate=6e-3", "sft.learning_rate=1e-3", "sft.epochs=4", "peft@sft.peft=full"),
    *("peft@ppo.peft=lora", "ppo.peft.rank=8", "ppo.peft.alpha=32", "ppo.watch_judge=false"),
)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests to this machine's own servers are not refused."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")


@pytest.fixture
def server(chain: Chain, online: None) -> Iterator[AdapterServer]:
    base = chain.make("sft", *ADAPTERS).inputs["base"]
    with running(AdapterServer(base.path / "model")) as started:
        assert isinstance(started, AdapterServer)
        yield started


def drawn_at(url: str) -> tuple[str, ...]:
    return ("ppo.drawn_by=vllm", f"generation.servers=[{{policy: rollouts, url: '{url}'}}]")


def test_it_learns_as_with_the_own_sampler(chain: Chain, vowels: str, online: None) -> None:
    """Rule 25 (Y): from the same random numbers come the same tokens, and then the same policy, bit for bit.

    This server draws at the places in its distributions at which the own sampler draws; the rest is as with any.
    Importance weights are 1 but for rounding, which grows over iterations, so they are left out here.
    """
    learning = (*SMALL, *FITTED, vowels, "ppo.iterations=15", "ppo.kl.coefficient=0.001", "ppo.learning_rate=1e-2")
    own = chain.make("ppo", *learning)
    with running(AdapterServer(chain.make("sft", *FITTED).path / "model", numbers=own_numbers(16, 16, 12))) as server:
        served = chain.make("ppo", *learning, *drawn_at(server.url), "ppo.importance_cap=null")
    rows, others = history(served), history(own)
    assert mean_reward(rows[-5:]) > mean_reward(rows[:5]) + 0.1
    assert [
        {name: row[name] for name in other}
        for row, other in zip(map(timeless, rows), map(timeless, others), strict=True)
    ] == [timeless(other) for other in others]
    assert all(torch.equal(values, weights(own)[name]) for name, values in weights(served).items())
    assert max(row["sampler_difference_max"] for row in rows) < 1e-4
    assert "sampler_kl" not in others[0]


def own_numbers(iterations: int, rows: int, tokens: int) -> dict[int, list[float]]:
    """Return the random numbers of the own sampler, by the seeds that a server is sent for the same answers."""
    found = {}
    for iteration in range(iterations):
        seed = sampling_seed(0, iteration)
        numbers = torch.rand(rows, tokens, generator=torch.Generator().manual_seed(seed))
        found |= {seed // 2 + row: numbers[row].tolist() for row in range(rows)}
    return found


def mean_reward(rows: list[dict[str, float]]) -> float:
    return sum(row["reward"] for row in rows) / len(rows)


def test_a_run_that_is_killed_while_a_server_draws_is_resumed(
    chain: Chain, tmp_path: Path, vowels: str, server: AdapterServer
) -> None:
    """The same version, weights and history as unbroken: this server keeps to the seeds that it is sent."""
    given = (*SMALL, *ADAPTERS, vowels, "ppo.iterations=6", "ppo.checkpoint_every=2", *drawn_at(server.url))
    unbroken = chain.make("ppo", *given)
    assert unbroken.manifest["runtime"]["generation"]["servers"][0]["url"] == server.url
    assert {"sampler_kl", "sampler_difference", "importance_weight"} <= set(unbroken.metrics)
    assert not (unbroken.path / CHECKPOINTS).exists()
    other = chain.beside(tmp_path / "outputs", *unbroken.inputs.values())
    place = other.outputs / "playground" / "ppo" / unbroken.version
    server.seen.clear()
    process = other.start("stage=ppo", *given)
    while len(server.seen) < 16 * 3 + 5:  # in the fourth iteration; the checkpoint is of the second
        assert process.is_alive(), "it ended before it could be killed"
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (place / MANIFEST).exists()
    resumed = other.make("ppo", *given)
    assert "resumed from iteration 2" in resumed.file("log.txt").read_text()
    assert_same(resumed, unbroken)


def assert_same(one: Artifact, other: Artifact) -> None:
    assert one.version == other.version
    assert [timeless(row) for row in history(one)] == [timeless(row) for row in history(other)]
    assert all(torch.equal(values, weights(other)[name]) for name, values in weights(one).items())


def test_two_processes_learn_what_one_learns(chain: Chain, tmp_path: Path, vowels: str, server: AdapterServer) -> None:
    given = (*SMALL, *ADAPTERS, vowels, *drawn_at(server.url))
    alone = chain.make("ppo", *given)
    server.seen.clear()
    other = chain.beside(tmp_path / "outputs", *alone.inputs.values())
    request = ("stage=ppo", *given, "launch.processes=2")
    process = start_with_forked_workers(other.arguments(*request), tmp_path / "printed")
    process.join()
    assert process.exitcode == 0, (tmp_path / "printed").read_text()
    both = other.store.open(*other.store.resolve("ppo"))
    assert both.manifest["runtime"]["processes"] == 2
    assert len(server.seen) == 4 * 16
    assert both.version == alone.version
    for one, other in zip(history(alone), history(both), strict=True):
        assert one["reward"] == pytest.approx(other["reward"], abs=1e-5)
        assert one["kl"] == pytest.approx(other["kl"], abs=1e-3)


def test_a_server_of_texts_is_refused(chain: Chain, tmp_path: Path, vowels: str, online: None) -> None:
    """`transformers serve` takes no adapters while it runs, no token ids, and returns neither ids nor probabilities."""
    base = chain.make("sft", *ADAPTERS).inputs["base"]
    with transformers_serve(tmp_path / "serve.log", base.path / "model") as url:
        run = chain.ended("stage=ppo", *SMALL, *ADAPTERS, vowels, *drawn_at(url), "ppo.seed=5")
    assert_one_message(run, 2, "does not load the adapter", "HTTP 404", "--enable-lora --max-lora-rank")
