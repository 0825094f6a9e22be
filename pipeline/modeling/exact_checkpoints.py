"""Trainers whose runs resume exactly: checkpoints of the trained parameters alone, and losses that are finite."""

import contextlib
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import TrainingArguments
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME
from transformers.trainer_callback import TrainerState

from pipeline.errors import PipelineError
from pipeline.modeling import fsdp
from pipeline.modeling.architecture import has_experts
from pipeline.modeling.sharding import SharedRows

TRAINED = "trained.safetensors"


class ExactCheckpoints(SharedRows):
    """A trainer with checkpoints of exactly the trained parameters, by name, and of the optimizer's whole state.

    transformers' checkpoints keep one active adapter, lose the others of a stack, and rewrite the frozen weights every
    time; for a sharded model there are none. These are the same, sharded or not, with any number of processes.
    """

    def __init__(self, *, model: Any, args: TrainingArguments, **kwargs: Any) -> None:
        args._n_gpu = min(args.n_gpu, 1)  # else one process divides its batches over all GPUs, and they grow
        if args.ddp_find_unused_parameters is None:  # the search takes time in every step
            args.ddp_find_unused_parameters = has_experts(model.config)
        super().__init__(model=model, args=args, **kwargs)
        self.is_distributed_loading_by_transformers = fsdp.is_sharded(model)  # so it is not wrapped by DDP
        for parameter in self.model.parameters():  # TRL rounds adapters on a 4-bit base, and a head, to bfloat16
            if parameter.requires_grad and parameter.dtype != torch.float32:
                parameter.data = parameter.data.float()

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Return the optimizer: of this process's part of sharded weights; its whole state goes into checkpoints."""
        fsdp.reshard(self.model)  # a pass before training, for the reference, has left the root whole
        optimizer: torch.optim.Optimizer = super().create_optimizer(*args, **kwargs)
        if fsdp.is_sharded(self.model):
            fsdp.keep_whole_state(optimizer)
        return optimizer

    def _defer_fsdp_gradient_reduction(self) -> contextlib.AbstractContextManager[None]:
        """Defer nothing: until they are exchanged, the gradients of sharded weights are whole."""
        return contextlib.nullcontext()

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Train on one micro batch. Raises `PipelineError` if its loss is not finite."""
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        check_finite("loss", loss, self.state)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log without the start time: with it, transformers adds its speed to every row."""
        super().log(logs)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Save the trained parameters; all processes give their part, and one writes."""
        weights = fsdp.gathered_on_main({n: p for n, p in self.model.named_parameters() if p.requires_grad})
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(weights, folder / TRAINED)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if fsdp.is_sharded(self.model) and not self.args.should_save:
            self.optimizer.state_dict()  # gives its part
        super()._save_optimizer_and_scheduler(output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, *_: Any) -> None:
        fsdp.reshard(self.model)
        parameters = dict(self.model.named_parameters())
        with torch.no_grad(), safe_open(Path(resume_from_checkpoint) / TRAINED, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118 (no mapping)
                parameters[name].copy_(fsdp.part_of(weights.get_tensor(name), parameters[name]))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Load the states; for sharded weights without the whole state in memory, as transformers would load it."""
        if checkpoint is None or not fsdp.is_sharded(self.model):
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        for part, name in ((self.optimizer, OPTIMIZER_NAME), (self.lr_scheduler, SCHEDULER_NAME)):
            state = torch.load(Path(checkpoint) / name, map_location="cpu", mmap=True, weights_only=True)
            part.load_state_dict(state)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: checkpoints are temporary, and `export` writes the model card."""

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(self.state.best_model_checkpoint)


def check_finite(what: str, value: torch.Tensor | float, state: TrainerState) -> None:
    """Raise `PipelineError` for a loss or a gradient that is not finite: training on it is useless."""
    if not math.isfinite(value):
        raise PipelineError(
            f"The {what} is {float(value)} after step {state.global_step} of {state.max_steps}: training ends "
            "without a result. If the loss had grown before, lower learning_rate; if the model is in half precision, "
            "set model.dtype=float32; else look for damaged weights."
        )
