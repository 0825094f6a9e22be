"""Shared by all training stages: the trainer's arguments, resuming, the history file.

TRL (SFT, DPO, reward model) and transformers (KTO, the tiny base model) train. This module adds that a run killed at
any point resumes from its last complete checkpoint and ends with the same weights as an unbroken one.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState

from pipeline.config.nodes.models import TrainingConfig
from pipeline.data.rows import write_jsonl
from pipeline.modeling import fsdp, processes
from pipeline.modeling.checkpoints import COMPLETE, SaveTimer, last_complete_checkpoint
from pipeline.modeling.exact_checkpoints import check_finite
from pipeline.modeling.memory import peak_memory_mb, reset_peak_memory
from pipeline.progress import Advance
from pipeline.stage import Runtime, StageContext
from pipeline.store.artifacts import CHECKPOINTS

# TRL's names -> ours; None: left out, since it restarts from 0 in a resumed run
METRIC_NAMES = {
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "num_input_tokens_seen": "tokens",  # the common measure of progress in all stages
    "num_tokens": None,
}
MAX_LOSS_RISE = 1.02  # last evaluation loss / best one; a larger ratio causes a remark

log = logging.getLogger(__name__)


def set_up_torch(runtime: Runtime, seed: int) -> None:
    """Set threads and random generators and reset the peak memory, once at the start of a stage."""
    torch.set_num_threads(runtime.threads)
    torch.manual_seed(seed)
    reset_peak_memory()


def trainer_arguments(
    context: StageContext, *, seed: int, steps: int, batch_size: int, warmup: float, device: torch.device, half: bool
) -> dict[str, Any]:
    """Return the part of transformers' TrainingArguments that follows from the configuration and the machine.

    The global batch is divided among the processes, and there into micro batches; a run of any length ends with an
    evaluation and a checkpoint.
    """
    launch = context.runtime.launch
    share = batch_size // processes.count()  # rows of a step in this process
    micro = min(launch.micro_batch_size or share, share)
    return {
        "output_dir": str(context.output_dir / CHECKPOINTS),
        "seed": seed,
        "max_steps": steps,
        "per_device_train_batch_size": micro,
        "per_device_eval_batch_size": micro,
        "gradient_accumulation_steps": math.ceil(share / micro),
        "warmup_steps": round(warmup * steps),
        "eval_steps": steps,  # also earlier, at the milestones
        "save_strategy": "steps",
        "save_steps": steps,
        "save_total_limit": 2,
        "logging_steps": max(1, steps // 50),
        "logging_nan_inf_filter": False,  # it would hide a loss that is not finite
        "include_num_input_tokens_seen": "non_padding",
        "gradient_checkpointing": launch.gradient_checkpointing,
        "bf16": half,
        "use_cpu": device.type == "cpu",
        "dataloader_pin_memory": device.type == "cuda",
        "report_to": [],
        "disable_tqdm": True,
        "log_level": "error",
    }


def fine_tuning_arguments(
    config: TrainingConfig, context: StageContext, rows: int, device: torch.device, *, half: bool
) -> dict[str, Any]:
    """Return the arguments of a fine-tuning stage: evaluation, best checkpoint, and the user's `trainer:` mapping."""
    common = trainer_arguments(
        context,
        seed=config.seed,
        steps=total_steps(rows, config.epochs, config.batch_size),
        batch_size=config.batch_size,
        warmup=config.warmup,
        device=device,
        half=half,
    )
    own = {
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.schedule,
        "weight_decay": config.weight_decay,
        "eval_strategy": "steps",
        "load_best_model_at_end": config.keep_best,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
    }
    return {**common, **own, **config.trainer}


def early_stopping_callbacks(config: TrainingConfig) -> list[EarlyStoppingCallback]:
    return [EarlyStoppingCallback(config.patience)] if config.early_stopping else []


def total_steps(rows: int, epochs: float, batch_size: int) -> int:
    """Return the optimizer steps of a run; the last batch of an epoch may be smaller."""
    return max(1, math.ceil(epochs * math.ceil(rows / batch_size)))


class Milestones(TrainerCallback):  # type: ignore[misc]
    """Logs, evaluates, saves at even distances; marks complete checkpoints; stops at a gradient that is not finite.

    A long time without a checkpoint ends with one between the distances (`launch.checkpoint_minutes`).
    """

    def __init__(self, count: int, advance: Advance, context: StageContext) -> None:
        self.count, self.advance, self.context = count, advance, context
        self.timer = SaveTimer(context.runtime.launch.checkpoint_minutes)

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.advance(state.global_step)

    def on_pre_optimizer_step(self, args: Any, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        gradients = [p.grad for p in given["model"].parameters() if p.grad is not None]
        check_finite("gradient", fsdp.whole(torch.nn.utils.get_total_norm(gradients)), state)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.advance(1)
        total = state.max_steps
        if state.global_step in {round(total * k / self.count) for k in range(1, self.count)}:
            control.should_log = control.should_save = True
            control.should_evaluate = args.eval_strategy != "no"
        elif processes.on_main(self.timer.is_due):  # clocks differ, and all have to save at the same step
            control.should_save = True

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        processes.wait_for_all()  # each process writes its random state
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()
        self.timer.restart()

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any) -> None:
        numbers = {k: float(v) for k, v in (logs or {}).items() if isinstance(v, int | float)}
        self.context.track(renamed(numbers), state.global_step)
        log.info("step %d of %d: %s", state.global_step, state.max_steps, logs)


def train(trainer: Trainer, context: StageContext, what: str, milestones: int) -> list[dict[str, float]]:
    """Train to the end, from the last complete checkpoint if there is one; write and return the history."""
    trainer.remove_callback(PrinterCallback)
    resume = processes.on_main(lambda: last_complete_checkpoint(context.output_dir / CHECKPOINTS))
    if resume:
        context.say(f"resumed from step {resume.name.removeprefix('checkpoint-')}")
    with context.progress(what, trainer.args.max_steps) as advance:
        trainer.add_callback(Milestones(milestones, advance, context))
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    history = [renamed(row) for row in trainer.state.log_history if "train_runtime" not in row]
    if context.is_main:
        write_jsonl(context.output_dir / "history.jsonl", history)
    return history


def fine_tune(trainer: Trainer, context: StageContext, what: str, config: TrainingConfig) -> list[dict[str, float]]:
    """Train as `train` does, with a checkpoint at each evaluation; report overfitting. Returns the history."""
    history = train(trainer, context, what, config.evaluations)
    remark_on_overfitting(history, config, context)
    return history


def renamed(row: Mapping[str, float]) -> dict[str, float]:
    """Return a logged row with the names of manifests, equal in all stages; evaluation figures start with `eval_`."""
    names = {key: _metric_name(key) for key in row}
    return {name: row[key] for key, name in names.items() if name}


def _metric_name(key: str) -> str | None:
    evaluation = "eval_" if key.startswith("eval_") else ""
    name = METRIC_NAMES.get(key.removeprefix(evaluation), key.removeprefix(evaluation))
    return name and evaluation + name


def training_cost(trainer: Trainer) -> dict[str, float]:
    """Return the cost of a training besides time: training tokens through the model, and peak memory in MiB.

    The memory is that of the process with the highest peak.
    """
    return {
        "tokens": trainer.state.num_input_tokens_seen,
        "peak_memory_mb": max(processes.gathered(peak_memory_mb(trainer.args.device))),
    }


def mean_loss(history: Sequence[Mapping[str, float]]) -> float:
    """Return the mean training loss of the run, weighted by steps; correct for resumed runs, unlike the trainer's."""
    total, last = 0.0, 0
    for row in history:
        if "loss" in row:
            total += row["loss"] * (row["step"] - last)
            last = int(row["step"])
    return total / max(last, 1)


def best_evaluation(history: Sequence[Mapping[str, float]], keep_best: bool) -> Mapping[str, float]:
    """Return the evaluation of the kept checkpoint."""
    evaluations = [row for row in history if "eval_loss" in row]
    return min(evaluations, key=lambda row: row["eval_loss"]) if keep_best else evaluations[-1]


def remark_on_overfitting(
    history: Sequence[Mapping[str, float]], config: TrainingConfig, context: StageContext
) -> None:
    """Report a rise of the evaluation loss, and which checkpoint was kept."""
    evaluations = [row for row in history if "eval_loss" in row]
    best, last = min(evaluations, key=lambda row: row["eval_loss"]), evaluations[-1]
    if last["eval_loss"] > best["eval_loss"] * MAX_LOSS_RISE:
        kept = "the best checkpoint was kept" if config.keep_best else "the last checkpoint was kept (keep_best=false)"
        context.say(
            f"overfitting: the evaluation loss rose from {best['eval_loss']:.3f} (step {best['step']:.0f}) to "
            f"{last['eval_loss']:.3f} (step {last['step']:.0f}); {kept}. Fewer epochs or a lower learning rate help."
        )
