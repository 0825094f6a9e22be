"""Every stage on a GPU with bfloat16 weights, for full, LoRA and QLoRA: results that are exact on a CPU hold there too.

Without a GPU each test runs for one case on the CPU, or it would not be noticed that it has become wrong;
`DEVICE=cpu python -m pytest -m gpu tests/stages` runs all cases there.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.data.rows import read_jsonl
from pipeline.progress import Advance, Reporter
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import CHECKPOINTS, MANIFEST
from tests.lazily import lazily
from tests.stages.conftest import Chain

with lazily():
    import torch
    from transformers import AutoModelForCausalLM

    from pipeline.modeling.policy import load_policy
    from pipeline.modeling.sources import source_of, tokenizer_of

REHEARSED = {"lora-no", "sft-full-7", "lora"}  # without a GPU, the ids of these cases
METHODS = ("full", "lora", "qlora")
PRECISIONS = ("no", "bf16")
pytestmark = pytest.mark.gpu
SMALL = (
    *("ppo.iterations=2", "ppo.rollouts=16", "ppo.batch_size=8", "ppo.max_new_tokens=12", "ppo.checkpoint_every=1"),
    *("gates=off", "evaluate.judge=false", "preferences.judge_fraction=0"),
)
IDS = [[1, 20, 30, 40, 50]]


@pytest.fixture(scope="session")
def device() -> str:
    return os.environ.get("DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(autouse=True)
def one_case_without_a_gpu(request: pytest.FixtureRequest, device: str) -> None:
    case = getattr(request.node, "callspec", None)
    if device == "cpu" and "DEVICE" not in os.environ and case is not None and case.id not in REHEARSED:
        pytest.skip("no GPU here")


@pytest.fixture(scope="session")
def request_of(chain: Chain, device: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Artifact]:
    """Runs a stage from a base model in bfloat16, the usual precision of models from the hub."""
    made = chain.make("base", f"launch.device={device}")
    tokenizer, _ = tokenizer_of(source_of(made))
    folder = tmp_path_factory.mktemp("bf16")
    AutoModelForCausalLM.from_pretrained(made.path / "model", dtype=torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model = ("model=hub", f"model.path={folder}", f"launch.device={device}", *SMALL)
    return lambda stage, *overrides: chain.make(stage, *model, *overrides)


def evaluation_losses(artifact: Artifact) -> list[float]:
    return [row["eval_loss"] for row in read_jsonl(artifact.file("history.jsonl")) if "eval_loss" in row]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("method", METHODS)
def test_dpo_starts_at_its_reference(request_of: Callable[..., Artifact], method: str, precision: str) -> None:
    """The first loss is log 2 up to rounding: the reference is computed in the precision of training."""
    still = ("dpo.learning_rate=1e-12", "dpo.sft_weight=0", f"dpo.seed={PRECISIONS.index(precision)}")
    made = request_of("dpo", f"peft={method}", *still, f"launch.mixed_precision={precision}")
    losses = evaluation_losses(made)
    assert losses == pytest.approx([math.log(2)] * len(losses), abs=2e-3)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("method", METHODS)
def test_ppo_starts_at_the_sft_policy(request_of: Callable[..., Artifact], method: str, precision: str) -> None:
    """KL is 0 before the first step, and the ratio is 1 before each iteration's first: the passes are bitwise equal."""
    seed = f"ppo.seed={PRECISIONS.index(precision)}"  # another version, since precision does not change it
    made = request_of("ppo", f"peft={method}", f"launch.mixed_precision={precision}", seed)
    rows = read_jsonl(made.file("history.jsonl"))
    assert abs(rows[0]["kl"]) == 0.0
    assert [row["start_difference"] for row in rows] == [0.0] * len(rows)
    assert rows[1]["kl"] != 0.0


def interrupted(monkeypatch: pytest.MonkeyPatch, what: str, after: int, run: Callable[[], Any]) -> None:
    """Interrupt the run when the progress `what` reaches `after`."""

    @contextlib.contextmanager
    def progress(reporter: Reporter, name: str, total: int | None) -> Iterator[Advance]:
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if name == what and done >= after:
                raise KeyboardInterrupt

        yield advance

    with monkeypatch.context() as patched:
        patched.setattr(Reporter, "progress", progress)
        with pytest.raises(AssertionError):
            run()


@pytest.mark.parametrize(("stage", "method", "steps"), [("sft", "full", 7), ("dpo", "lora", 8), ("ppo", "lora", 3)])
def test_a_resumed_run_ends_as_an_unbroken_one(
    request_of: Callable[..., Artifact], monkeypatch: pytest.MonkeyPatch, stage: str, method: str, steps: int
) -> None:
    """Weights agree to 1e-2 of the largest: a GPU adds in any order, and Adam amplifies values near zero."""
    longer = ("sft.epochs=4", "dpo.epochs=4", "ppo.iterations=4", f"peft={method}", f"{stage}.seed=11")
    if stage == "ppo":
        request_of("reward", *longer)
    interrupted(monkeypatch, stage, steps, lambda: request_of(stage, *longer))
    resumed = request_of(stage, *longer)
    assert "resumed from" in resumed.file("log.txt").read_text()
    broken_weights = {name: value.clone() for name, value in _weights(resumed).items()}
    for path in sorted(resumed.path.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    unbroken = request_of(stage, *longer)
    assert "resumed from" not in unbroken.file("log.txt").read_text()
    assert not (unbroken.path / CHECKPOINTS).exists()
    assert (unbroken.path / MANIFEST).exists()
    for name, value in _weights(unbroken).items():
        assert float((value - broken_weights[name]).abs().max()) <= 1e-2 * float(value.abs().max()), name


def _weights(artifact: Artifact) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    (file,) = (artifact.path / "model").glob("*.safetensors")
    return {name: value.float() for name, value in load_file(file).items()}


@pytest.mark.parametrize("method", METHODS)
def test_an_export_answers_as_its_adapters_do(request_of: Callable[..., Artifact], device: str, method: str) -> None:
    """Merging into bfloat16 changes the logits by its rounding in every layer, 2^-8 of the largest."""
    made = request_of("export", f"peft={method}", "dpo.learning_rate=1e-3")
    source = source_of(made.inputs["policy"])
    place = torch.device(device)
    ids = torch.tensor(IDS, device=place)
    with torch.no_grad():
        own = load_policy(source, tokenizer_of(source)[0], place, quantized=False)(ids).logits.float()
        exported = AutoModelForCausalLM.from_pretrained(made.path / "model").to(place)(ids).logits.float()
    assert float((own - exported).abs().max()) <= 4 * 2**-8 * float(own.abs().max())


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_all_policies_are_evaluated(request_of: Callable[..., Artifact], method: str) -> None:
    made = request_of("evaluate", f"peft={method}")
    for policy in ("base", "sft", "dpo", "ppo"):
        assert math.isfinite(made.metrics[f"{policy}/perplexity"])
        assert math.isfinite(made.metrics[f"{policy}/true_score"])
