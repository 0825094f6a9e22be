"""Speed and memory of SFT, DPO, reward and PPO at real sizes, on random weights, beside bare TRL on the same rows.

    python benchmarks/gpu/sizes.py --weights FOLDER [--device cuda] [--to FILE] [--only sft-8b]

Every row of a table is a stage's own trainer, as the stage builds it, for a few steps; TRL's is the bare trainer with
the same model, rows, adapter and arguments. Given are the median step after the first two, tokens a second, the share
of the card's bf16 peak that this is, and the most memory. Operations per token: 6 per weight, 4 where the base is
frozen (no gradients of its weights), without attention's own products and without what is recomputed.
"""

import argparse
import gc
import shutil
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, prepare_model_for_kbit_training
from random_models import EOS, SHAPES, random_model, tokenizer_of
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    TrainerCallback,
)
from trl import DPOConfig, DPOTrainer, RewardTrainer, SFTConfig, SFTTrainer
from trl import RewardConfig as TrlRewardConfig

from pipeline.config.schema import DpoConfig, LaunchConfig, PeftConfig, PpoConfig, RewardConfig, SftConfig
from pipeline.modeling import tuning
from pipeline.modeling.chat.rendering import Rendered
from pipeline.modeling.in_training import prepare_model
from pipeline.modeling.memory import peak_memory_mb, reset_peak_memory
from pipeline.modeling.policy import nf4_config
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

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # dense bf16 operations a second, by the vendor's data sheets
STEPS, WARM = 8, 2
WITHOUT_FILES = {"save_strategy": "no", "eval_strategy": "no", "load_best_model_at_end": False, "logging_steps": 1}


@dataclass(frozen=True)
class Case:
    """One stage at one size."""

    stage: str
    shape: str
    method: str
    length: int  # tokens of a row, prompt and answer alike
    micro: int  # rows per pass: for dpo and reward, pairs
    recompute: bool = False
    trl: bool = True  # bare TRL beside it

    @property
    def name(self) -> str:
        return f"{self.stage}-{self.shape}-{self.method}"


ON_GPU = [
    Case("sft", "0.5b", "lora", 1024, 8),
    Case("sft", "8b", "lora", 2048, 2),
    Case("sft", "8b", "qlora", 512, 1, recompute=True, trl=False),
    Case("dpo", "8b", "qlora", 512, 1, recompute=True, trl=False),
    Case("ppo", "8b", "qlora", 512, 8, recompute=True),
    Case("reward", "8b", "qlora", 512, 1, recompute=True, trl=False),
    Case("ppo", "1.3b", "full", 512, 16),
    Case("sft", "0.5b", "full", 1024, 8),
    Case("sft", "0.5b", "qlora", 1024, 8),
    Case("dpo", "0.5b", "lora", 512, 8),
    Case("reward", "0.5b", "lora", 512, 8),
    Case("ppo", "0.5b", "lora", 512, 16),
    Case("sft", "1.5b", "lora", 1024, 8),
    Case("dpo", "8b", "lora", 1024, 1),
    Case("ppo", "8b", "lora", 512, 8),
]
ON_CPU = [
    Case(stage, "tiny", how, 64, 2) for stage in ("sft", "dpo", "reward", "ppo") for how in ("full", "lora", "qlora")
]


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

    def artifact(self, name: str) -> Artifact:
        source = {"path": str(self.model(name)), "dtype": "bfloat16", "chat_template": None}
        return Artifact("model", name, Path(source["path"]), {"source": source})

    def context(self, case: Case, folder: Path) -> StageContext:
        launch = LaunchConfig(
            device=self.device,
            micro_batch_size=case.micro,
            gradient_checkpointing=case.recompute,
            mixed_precision="bf16" if case.method == "qlora" else "no",
        )
        return StageContext({}, folder, Runtime(launch, 1), progress, print, lambda *_: None)

    def ids(self, count: int, length: int, vocabulary: int) -> list[list[int]]:
        return torch.randint(3, vocabulary, (count, length), generator=torch.Generator().manual_seed(0)).tolist()


# -- ours --------------------------------------------------------------------------------------------------------------


def ours(case: Case, bench: Bench, folder: Path) -> Measured:
    """A stage's trainer on random rows."""
    measured, context, peft = Measured(), bench.context(case, folder), PeftConfig(case.method)
    vocabulary, count = SHAPES[case.shape].vocabulary, STEPS * case.micro
    common = {"seed": 0, "batch_size": case.micro, "learning_rate": 1e-5, "epochs": 1.0, "peft": peft}
    artifact = bench.artifact(case.shape)
    with peak_in(measured, bench.device):
        if case.stage == "ppo":
            return ppo(case, bench, context, measured)
        load = {"load": load_reward_for_training} if case.stage == "reward" else {}
        in_training = prepare_model(artifact, peft, 0, context, **load)
        if case.stage == "sft":
            rows = [Rendered(ids, [1] * case.length) for ids in bench.ids(count, case.length, vocabulary)]
            config: Any = SftConfig(**common, trainer=WITHOUT_FILES)
            trainer: Any = tuning.sft_trainer(in_training, rows, rows[:1], config, context)
            measured.tokens = case.micro * case.length
        else:
            sides = bench.ids(2 * count, case.length, vocabulary)
            half = case.length // 2
            pairs = [
                (AnsweredPrompt(a[:half], [*a[half:-1], EOS]), AnsweredPrompt(a[:half], [*b[half:-1], EOS]))
                for a, b in zip(sides[::2], sides[1::2], strict=True)
            ]
            measured.tokens = 2 * case.micro * case.length
            if case.stage == "dpo":
                config = DpoConfig(**common, trainer=WITHOUT_FILES)
                trainer = tuning.dpo_trainer(in_training, pairs, pairs[:1], config, context)
            else:
                config = RewardConfig(**common, trainer=WITHOUT_FILES)
                some = [Pair(*pair, 1.0, i) for i, pair in enumerate(pairs)]
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
    in_training = prepare_model(bench.artifact(case.shape), peft, 0, context)
    roles = build_roles(in_training, ValueStart(), peft, 0, recompute=case.recompute)
    prompts = bench.ids(count, half, vocabulary)
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


# -- bare TRL ----------------------------------------------------------------------------------------------------------


def bare(case: Case, bench: Bench, folder: Path) -> Measured:
    """TRL's own trainer with the same model, rows, adapter and arguments."""
    measured, path = Measured(), bench.model(case.shape)
    vocabulary, count = SHAPES[case.shape].vocabulary, STEPS * case.micro
    options = {
        "output_dir": str(folder), "per_device_train_batch_size": case.micro, "max_steps": STEPS, "logging_steps": 1,
        "save_strategy": "no", "report_to": [], "disable_tqdm": True, "learning_rate": 1e-5, "max_length": None,
        "gradient_checkpointing": case.recompute, "bf16": False, "use_cpu": bench.device == "cpu",
    }  # fmt: skip
    tokenizer = tokenizer_of(vocabulary)
    quantization = nf4_config(torch.bfloat16) if case.method == "qlora" else None
    loading = {"dtype": torch.bfloat16, "quantization_config": quantization, "device_map": {"": bench.device}}
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", lora_dropout=0.0)
    given = {"processing_class": tokenizer, "peft_config": None if case.method == "full" else lora}
    with peak_in(measured, bench.device):
        if case.stage == "reward":
            lora.task_type, lora.modules_to_save = "SEQ_CLS", ["score"]
            model: Any = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1, **loading)
        else:
            lora.task_type = "CAUSAL_LM"
            model = AutoModelForCausalLM.from_pretrained(path, **loading)
        if quantization:
            model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=case.recompute)
        if case.stage == "sft":
            rows = bench.ids(count, case.length, vocabulary)
            data = Dataset.from_dict({"input_ids": rows, "labels": rows})
            args: Any = SFTConfig(**options, dataset_kwargs={"skip_prepare_dataset": True})
            trainer: Any = SFTTrainer(model=model, args=args, train_dataset=data, **given)
            measured.tokens = case.micro * case.length
        else:
            texts = [" ".join(f"w{i}" for i in ids) for ids in bench.ids(3 * count, case.length // 2, vocabulary)]
            columns = zip(("prompt", "chosen", "rejected"), (texts[::3], texts[1::3], texts[2::3]), strict=True)
            data = Dataset.from_dict(dict(columns))
            measured.tokens = 2 * case.micro * case.length
            if case.stage == "dpo":
                trainer = DPOTrainer(model=model, args=DPOConfig(**options), train_dataset=data, **given)
            else:
                trainer = RewardTrainer(model=model, args=TrlRewardConfig(**options), train_dataset=data, **given)
        return trained(trainer, measured)


# -- the table ---------------------------------------------------------------------------------------------------------


def attempted(run: Callable[[Case, Bench, Path], Measured], case: Case, bench: Bench) -> Measured:
    """A case that fails says so in its row, and the others go on."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return run(case, bench, Path(folder))
        except Exception as error:
            traceback.print_exc()
            words = str(error).strip().splitlines() or [""]
            return Measured(note=f"FAILED {type(error).__name__}: {words[0][:160]}")
        finally:
            forget()


def share_of_peak(case: Case, measured: Measured, parameters: int) -> str:
    if case.stage == "ppo" or not torch.cuda.is_available():
        return ""
    peak = next((peak for name, peak in PEAKS.items() if name in torch.cuda.get_device_name()), None)
    per_token = (6 if case.method == "full" else 4) * parameters
    return f"{measured.rate * per_token / peak:.0%}" if peak else ""


def line(case: Case, who: str, measured: Measured, bench: Bench) -> str:
    cells = (
        case.stage, case.shape, case.method, who, f"{case.micro} × {case.length}", "yes" if case.recompute else "",
        f"{measured.step:.3f}", f"{measured.rate:,.0f}", share_of_peak(case, measured, bench.parameters[case.shape]),
        f"{measured.peak:.2f}", f"{measured.loss:.3f}", measured.note,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


HEAD = (
    "| stage | shape | method | whose | rows × tokens | recomputed | s a step | tokens/s | of peak | peak GiB "
    "| first loss | |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="where random weights lie while they are needed")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--to", type=Path, help="where the table goes")
    parser.add_argument("--only", nargs="*", help="cases by the beginning of stage-shape-method")
    parser.add_argument("--seconds", type=float, default=300.0, help="no further case begins after these")
    given = parser.parse_args()
    bench, began = Bench(given.weights, given.device), time.monotonic()
    lines = list(HEAD)
    print(*lines, sep="\n")
    for case in ON_CPU if given.device == "cpu" else ON_GPU:
        if given.only and not any(case.name.startswith(one) for one in given.only):
            continue
        if time.monotonic() - began > given.seconds:
            print(f"{case.name}: no time left")
            continue
        bench.model(case.shape)
        for who, run in (("ours", ours), ("TRL", bare)):
            if who == "TRL" and (not case.trl or case.stage == "ppo"):
                continue
            lines.append(line(case, who, attempted(run, case, bench), bench))
            print(lines[-1], f"({time.monotonic() - began:.0f} s so far)")
            if given.to:
                given.to.parent.mkdir(parents=True, exist_ok=True)
                given.to.write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.rmtree(given.weights, ignore_errors=True)


if __name__ == "__main__":
    main()
