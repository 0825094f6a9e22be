"""A model that is sharded among processes trains, saves and resumes as a whole one does, and takes less memory."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.config.nodes.models import PeftConfig, SftConfig
from pipeline.data.rows import read_jsonl
from pipeline.errors import RequestError
from tests.lazily import lazily
from tests.stages import tiny
from tests.stages.processes import FORKING

with lazily():
    import torch
    from safetensors.torch import load_file

    from pipeline.modeling import adapters, fsdp, fused, passes, processes, training, tuning
    from pipeline.modeling.chat.rendering import Rendered
    from pipeline.modeling.memory import peak_memory_mb, reset_peak_memory
    from pipeline.modeling.scoring import answer_logprobs

COMMON: dict[str, Any] = {"seed": 0, "epochs": 4, "batch_size": 8, "learning_rate": 2e-3, "evaluations": 4}
LARGE = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 7, "num_attention_heads": 12}
MMAP_THRESHOLD = -3  # of malloc.h
KILLED = 77  # the exit status of a process that ends in the middle


def run(folder: Path, count: int, *, status: int = 0, **case: Any) -> Path:
    """Train in `count` processes; return the folder with their results."""
    folder.mkdir(exist_ok=True)
    meeting = str(folder / f"meeting-{len(list(folder.iterdir()))}")
    members = [FORKING.Process(target=_member, args=(rank, folder, count, meeting, case)) for rank in range(count)]
    for member in members:
        member.start()
    for member in members:
        member.join(300)
        member.kill()
    assert [member.exitcode for member in members] == [status] * count
    return folder


def _member(rank: int, folder: Path, count: int, meeting: str, case: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    if case.get("large"):  # as torch's allocator on a GPU does, the C library gives back memory that is not in use
        ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, 256 * 1024)
    if count == 1:
        return _train(folder, case)
    number, of = str(rank), str(count)
    os.environ.update(RANK=number, LOCAL_RANK=number, WORLD_SIZE=of, LOCAL_WORLD_SIZE=of)
    with processes.joined(processes.file_store(meeting, count), rank, count, on_gpu=False):
        return _train(folder / number if case.get("apart") else folder, case)


def _train(folder: Path, case: dict[str, Any]) -> None:
    """Train a tiny model on 19 rows, two at a time, so that some processes get fillers; save it."""
    passes.MAX_LOGITS = case.get("logits", passes.MAX_LOGITS)
    context = tiny.context(folder, micro_batch_size=2, gradient_checkpointing=case.get("recompute", False))
    context = replace(context, runtime=replace(context.runtime, rank=processes.rank()))
    before = resident_mb()
    model = _model(case)
    if case.get("sharded"):
        _forbid_reading_whole_states()
        fsdp.shard(model, fsdp.mesh_on(torch.device("cpu")), "tiny")
    reset_peak_memory()
    in_training = replace(tiny.in_training(model), half=case.get("half", False))
    options = {**COMMON, **case.get("options", {})}
    trainer = tuning.sft_trainer(in_training, rows(19), rows(7, 1), SftConfig(**options), context)
    peaks: list[float] = []
    trainer.add_callback(_watch(peaks, case.get("killed")))
    training.train(trainer, context, "sft", options["evaluations"])
    in_training.save(context)
    facts = {
        "moved": in_training.start.moved(model),
        "best": trainer.state.best_model_checkpoint,
        "dtypes": sorted({str(parameter.dtype) for parameter in model.parameters() if parameter.requires_grad}),
        "peak": peaks[0] - before if peaks else None,  # a checkpoint is gathered whole, in the machine's memory
    }
    if processes.rank() == 0:
        (folder / "facts.json").write_text(json.dumps(facts))


def _forbid_reading_whole_states() -> None:
    """Make transformers' own reading of an optimizer's state fail: each process would hold all of it."""
    from transformers import Trainer

    Trainer._load_optimizer_and_scheduler = None


def resident_mb() -> float:
    return psutil.Process().memory_info().rss / 2**20


def _model(case: dict[str, Any]) -> Any:
    size = LARGE if case.get("large") else {}
    model = tiny.model("llama", tie_word_embeddings=case.get("tied", True), **size)
    model = model.to(getattr(torch, case.get("base", "float32")))
    if not case.get("lora"):
        return model
    torch.manual_seed(1)
    return adapters.with_adapter(model, adapters.lora_config(PeftConfig("lora", rank=4), model), adapters.TRAINED)


def _watch(peaks: list[float], killed: int | None) -> Any:
    """A callback that records the peak memory of steps, and ends the process before step `killed`."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == killed:
                os._exit(KILLED)

        def on_step_end(self, *_: Any, **__: Any) -> None:
            peaks.append(peak_memory_mb(torch.device("cpu")))

    return Watch()


def rows(count: int, seed: int = 0) -> list[Rendered]:
    return [Rendered(a.prompt + a.answer, [0, 0] + [1] * len(a.answer)) for a, _ in tiny.pairs(count, seed)]


def weights(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("model/*.safetensors")
    return load_file(file)


def largest_difference(one: Path, other: Path) -> float:
    """Of any saved number."""
    these, those = weights(one), weights(other)
    assert these.keys() == those.keys()
    return max(float((these[name] - those[name]).abs().max()) for name in these)


def losses(folder: Path) -> list[float]:
    return [row[name] for row in read_jsonl(folder / "history.jsonl") for name in ("loss", "eval_loss") if name in row]


def facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "facts.json").read_text())


CASES = {
    "tied": {"logits": 3 * 64},  # the head is applied to three tokens at a time, and again in the backward pass
    "untied": {"tied": False, "recompute": True},
    "lora": {"lora": True, "recompute": True},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_processes_that_share_a_model_train_it_as_one_does(tmp_path: Path, name: str) -> None:
    """Losses, saved weights, and how many of them have moved; every gradient is clipped."""
    one = run(tmp_path / "one", 1, **CASES[name])
    two = run(tmp_path / "two", 2, **CASES[name], sharded=True)
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    assert len(losses(one)) > 10
    assert largest_difference(one, two) < 1e-5
    assert facts(two)["moved"] == pytest.approx(facts(one)["moved"], abs=1e-3)
    assert all(row["grad_norm"] > 1 for row in read_jsonl(one / "history.jsonl") if "grad_norm" in row)


@pytest.mark.slow
def test_a_killed_run_resumes_from_whole_states_with_any_number_of_processes(tmp_path: Path) -> None:
    """In two, it ends bit by bit as an unbroken one, at its best checkpoint, which is not the last one."""
    case = {"options": {"learning_rate": 0.1, "schedule": "constant"}}
    shared = {**case, "sharded": True}
    unbroken = run(tmp_path / "unbroken", 2, **shared)
    broken = run(tmp_path / "broken", 2, **shared, killed=8, status=KILLED)
    for name in ("alone", "whole"):
        shutil.copytree(broken, tmp_path / name)
    again = run(broken, 2, **shared)
    assert "checkpoint-6" in facts(unbroken)["best"] or "checkpoint-3" in facts(unbroken)["best"]
    assert losses(again) == losses(unbroken)
    assert largest_difference(unbroken, again) == 0
    assert losses(run(tmp_path / "alone", 1, **case)) == pytest.approx(losses(unbroken), rel=1e-4)
    assert losses(run(tmp_path / "whole", 2, **case)) == pytest.approx(losses(unbroken), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
def test_one_process_writes(tmp_path: Path, sharded: bool) -> None:
    """Each is given a folder of its own: that of the second one has its random states and nothing else."""
    folder = run(tmp_path / "two", 2, sharded=sharded, apart=True, options={"keep_best": False})
    written = [{file.name for file in (folder / rank).rglob("*") if file.is_file()} for rank in "01"]
    assert written[1] == {"rng_state_1.pth"}
    assert {"trained.safetensors", "optimizer.pt", "scheduler.pt", "model.safetensors", "history.jsonl"} < written[0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [{"half": True}, {"lora": True, "base": "bfloat16"}], ids=["autocast", "adapters"])
def test_with_bfloat16_around_them_shared_weights_stay_float32(tmp_path: Path, kind: dict[str, Any]) -> None:
    """Steps too small for bfloat16 are kept; the losses are those of two processes with whole models."""
    case = {**kind, "options": {"learning_rate": 1e-5}}
    whole, shared = run(tmp_path / "whole", 2, **case), run(tmp_path / "shared", 2, **case, sharded=True)
    assert losses(shared) == pytest.approx(losses(whole), rel=1e-5)
    assert largest_difference(whole, shared) < 1e-5
    assert facts(shared)["dtypes"] == ["torch.float32"]
    assert facts(shared)["moved"] > 0.9
    in_float32 = run(tmp_path / "float32", 1, **{**case, "half": False, "base": "float32"})
    assert losses(in_float32) != pytest.approx(losses(whole), rel=1e-5)


@pytest.mark.slow
def test_each_process_takes_less_memory_than_one_that_has_all(tmp_path: Path) -> None:
    """Weights, gradients and optimizer of 43 M weights take 16 bytes each, of which two processes hold half."""
    peaks, one_step = {}, {"batch_size": 4, "keep_best": False, "trainer": {"max_steps": 1}}
    for name, count in (("one", 1), ("two", 2)):
        run(tmp_path / name, count, large=True, sharded=count > 1, options=one_step)
        peaks[name] = facts(tmp_path / name)["peak"]
    assert peaks["two"] < 0.75 * peaks["one"], peaks


REFUSED = {"granitemoe"}  # an expert may get no gradient in one process


@pytest.mark.slow
def test_every_architecture_has_the_gradients_and_log_probabilities_of_a_whole_model(tmp_path: Path) -> None:
    """Or is refused. Three batches for two processes: in the second round one of them has none of its own."""
    members = [FORKING.Process(target=_compare, args=(rank, tmp_path)) for rank in (0, 1)]
    for member in members:
        member.start()
    for member in members:
        member.join(300)
        member.kill()
    found = {file.stem: json.loads(file.read_text()) for file in tmp_path.glob("*.json")}
    assert found.keys() == set(tiny.CONFIGS)
    assert {name for name, differences in found.items() if differences is None} == REFUSED
    assert {name: most for name, most in found.items() if most and max(most) > 1e-5} == {}


def _compare(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    number = str(rank)
    os.environ.update(RANK=number, LOCAL_RANK=number, WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    with processes.joined(processes.file_store(str(folder / "meeting"), 2), rank, 2, on_gpu=False):
        mesh = fsdp.mesh_on(torch.device("cpu"))
        for name in tiny.CONFIGS:
            found = _largest_differences(name, mesh)
            if rank == 0:
                (folder / f"{name}.json").write_text(json.dumps(found))


def _largest_differences(name: str, mesh: Any) -> tuple[float, float] | None:
    """Of gradients, relative to the largest one, and of log-probabilities; None if the model is refused."""
    whole, answers = tiny.model(name), tiny.answers(5)
    try:
        shared = fsdp.shard(tiny.model(name), mesh, name)
    except RequestError:
        return None
    logprobs = [answer_logprobs(model, answers, pad_id=1, batch_size=2) for model in (whole, shared)]
    expected, gradients = _gradients(whole, answers), _gradients(shared, answers)
    assert expected.keys() == gradients.keys()
    most = max(float((expected[name] - gradients[name]).abs().max()) for name in expected)
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    return most / largest, max(abs(a - b) / abs(a) for a, b in zip(*logprobs, strict=True))


def _gradients(model: Any, answers: list[Any]) -> dict[str, Any]:
    """Of the answers' log-probabilities, with the head as SFT and DPO apply it."""
    fused.use_whole_head(model)
    ids, attention = passes.pad_rows([row.prompt + row.answer for row in answers], 1)
    given = {"input_ids": ids, "attention_mask": attention, "completion_mask": attention}
    tuning.logprobs_output(model, given).log_probs.sum().backward()
    named = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: fsdp.whole(gradient) for name, gradient in named.items()}
