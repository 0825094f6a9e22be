"""The stages' own trainers on random weights and random rows, as the stages build them, for a few steps."""

import gc
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from cases import SHAPES, Case
from random_models import EOS, random_model, tokenizer_of
from transformers import TrainerCallback

from pipeline.config.nodes.learning import DpoConfig, PpoConfig, RewardConfig
from pipeline.config.nodes.machine import LaunchConfig
from pipeline.config.nodes.models import PeftConfig, SftConfig
from pipeline.modeling import tuning
from pipeline.modeling.chat.rendering import Rendered
from pipeline.modeling.in_training import prepare_model
from pipeline.modeling.memory import peak_memory_mb, reset_peak_memory
from pipeline.modeling.preferences.pairs import RenderedPair
from pipeline.modeling.rewards.models import load_reward_for_training
from pipeline.modeling.rewards.training import Pair, reward_trainer
from pipeline.modeling.roles import ValueStart, build_roles
from pipeline.modeling.scoring import AnsweredPrompt
from pipeline.ppo.gathering import PpoTask
from pipeline.ppo.loop import Loop
from pipeline.ppo.sources import WeightedScorer
from pipeline.progress import progress
from pipeline.stage import Runtime, StageContext
from pipeline.store.artifact import Artifact

WARM = 2  # first steps, which are not counted
WITHOUT_FILES = {"save_strategy": "no", "eval_strategy": "no", "load_best_model_at_end": False, "logging_steps": 1}


@dataclass
class Measured:
    """What a case took."""

    seconds: list[float] = field(default_factory=list)  # per optimizer step, or per iteration of PPO
    tokens: float = 0.0  # per step
    peak: float = 0.0  # GiB
    loss: float = float("nan")  # the first step's
    note: str = ""

    @property
    def step(self) -> float:
        return statistics.median(self.seconds[WARM:] or self.seconds or [float("nan")])

    @property
    def rate(self) -> float:
        return self.tokens / self.step


class Clock(TrainerCallback):  # type: ignore[misc]
    """Seconds of each optimizer step, the device's work included."""

    def __init__(self, measured: Measured) -> None:
        self.measured, self.began = measured, 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        synchronize()
        self.began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        synchronize()
        self.measured.seconds.append(time.perf_counter() - self.began)


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@contextmanager
def peak_in(measured: Measured, device: str) -> Iterator[None]:
    """The most memory inside, as stages measure theirs: on a GPU what torch allocated, all of the model's included."""
    reset_peak_memory()
    yield
    measured.peak = peak_memory_mb(torch.device(device)) / 2**10


def forget() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Bench:
    """Random weights in a folder, random rows, and a context as a stage is given it."""

    def __init__(self, weights: Path, device: str) -> None:
        self.weights, self.device = weights, device
        self.parameters: dict[str, int] = {}

    def model(self, name: str) -> Path:
        """A folder with weights of this shape; one is kept at a time."""
        folder = self.weights / name
        if (folder / "config.json").is_file():
            return folder
        for other in self.weights.glob("*"):
            shutil.rmtree(other)
        model = random_model(SHAPES[name], self.device)
        self.parameters[name] = model.num_parameters()
        model.save_pretrained(folder)
        tokenizer_of(SHAPES[name].vocabulary).save_pretrained(folder)
        del model
        forget()
        return folder

    def artifact(self, case: Case) -> Artifact:
        folder = self.model(case.shape)
        source = {"path": str(folder), "dtype": case.dtype, "chat_template": None}
        return Artifact("model", case.shape, folder, {"source": source})

    def context(self, case: Case, folder: Path) -> StageContext:
        launch = LaunchConfig(
            device=self.device,
            micro_batch_size=case.micro,
            gradient_checkpointing=case.recompute,
            mixed_precision="bf16" if case.method == "qlora" and case.dtype == "bfloat16" else "no",
        )
        return StageContext({}, folder, Runtime(launch, 1), progress, print, lambda *_: None)

    def ids(self, count: int, length: int, vocabulary: int, *, uneven: bool = False) -> list[list[int]]:
        drawn = torch.randint(3, vocabulary, (count, length), generator=torch.Generator().manual_seed(0)).tolist()
        return [row[: length - (uneven and i % 2)] for i, row in enumerate(drawn)]


def ours(case: Case, bench: Bench, folder: Path) -> Measured:
    """A stage's trainer on random rows."""
    measured, context, peft = Measured(), bench.context(case, folder), PeftConfig(case.method)
    vocabulary, count = SHAPES[case.shape].vocabulary, case.steps * case.micro
    common: dict[str, Any] = {"seed": 0, "batch_size": case.micro, "learning_rate": 1e-5, "epochs": 1.0, "peft": peft}
    artifact = bench.artifact(case)
    with peak_in(measured, bench.device):
        if case.stage == "ppo":
            return ppo(case, bench, context, measured)
        load: dict[str, Any] = {"load": load_reward_for_training} if case.stage == "reward" else {}
        in_training = prepare_model(artifact, peft, 0, context, **load)
        if case.stage == "sft":
            drawn = bench.ids(count, case.length, vocabulary, uneven=case.uneven)
            rows = [Rendered(ids, [1] * len(ids)) for ids in drawn]
            config: Any = SftConfig(**common, trainer=WITHOUT_FILES)
            trainer: Any = tuning.sft_trainer(in_training, rows, rows[:1], config, context)
            measured.tokens = case.micro * case.length
        else:
            sides = bench.ids(2 * count, case.length, vocabulary, uneven=case.uneven)
            half = case.length // 2
            pairs = [
                RenderedPair(AnsweredPrompt(a[:half], [*a[half:-1], EOS]), AnsweredPrompt(a[:half], [*b[half:-1], EOS]))
                for a, b in zip(sides[::2], sides[1::2], strict=True)
            ]
            measured.tokens = 2 * case.micro * case.length
            if case.stage == "dpo":
                config = DpoConfig(**common, trainer=WITHOUT_FILES)
                trainer = tuning.dpo_trainer(in_training, pairs, pairs[:1], config, context)
            else:
                config = RewardConfig(**common, trainer=WITHOUT_FILES)
                some = [Pair(pair.chosen, pair.rejected, 1.0, i) for i, pair in enumerate(pairs)]
                trainer = reward_trainer(in_training, some, some[:1], config, context)
        return trained(trainer, measured)


def trained(trainer: Any, measured: Measured) -> Measured:
    trainer.add_callback(Clock(measured))
    trainer.train()
    measured.loss = next(row["loss"] for row in trainer.state.log_history if "loss" in row)
    return measured


class Length:
    """A reward that costs nothing, so that the policy's and the value model's own work is measured."""

    def score(self, prompts: Any, answers: Any) -> list[float]:
        return [sum(answer.ids) % 7 / 7 for answer in answers]


def ppo(case: Case, bench: Bench, context: StageContext, measured: Measured) -> Measured:
    """Two iterations: half of a row is the prompt, half is generated (random weights never stop)."""
    half, vocabulary = case.length // 2, SHAPES[case.shape].vocabulary
    count = 4 * case.micro
    peft = PeftConfig(case.method)
    config = PpoConfig(
        seed=0, iterations=2, rollouts=count, batch_size=count // 2, epochs=1, learning_rate=1e-6, max_new_tokens=half,
        sampling_batch_size=count, checkpoint_every=100, peft=peft,
    )  # fmt: skip
    config.stop.kl, config.stop.stopped = 1e9, 0.0
    in_training = prepare_model(bench.artifact(case), peft, 0, context)
    roles = build_roles(in_training, ValueStart(), peft, 0, recompute=case.recompute)
    prompts = bench.ids(count, half, vocabulary, uneven=case.uneven)
    task = PpoTask(
        [[{"role": "user", "content": str(i)}] for i in range(count)],
        prompts,
        [WeightedScorer("length", Length(), 1.0)],
        {},
    )
    _, history = Loop(task, roles, config, context).run()
    last = history[-1]
    phases = {name: last[f"seconds_{name}"] for name in ("sampling", "scoring", "learning")}
    measured.seconds = [sum(row[f"seconds_{name}"] for name in phases) for row in history]
    measured.tokens = count * last["length"]
    measured.loss = history[0]["kl"]
    spent = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in phases.items())
    measured.note = (
        f"{spent}; sampled at {measured.tokens / phases['sampling']:,.0f} tokens/s; first KL {measured.loss:.1e}"
    )
    return measured
