"""The disk that a training stage takes: its weights, and the checkpoints beside them until it ends."""

from dataclasses import dataclass, replace
from typing import Any

from pipeline.memory.activations import FLOAT
from pipeline.memory.phases import ADAM, Held

# At once: two are kept, and the next is whole before the older one is removed. PPO keeps more while its answers are not
# healthy.
CHECKPOINTS = 3


@dataclass(frozen=True)
class Disk:
    """Bytes on disk; tokenizers, logs and files' heads are not counted."""

    kept: float  # the weights in the artifact
    checkpoint: float  # trained weights, and Adam's two numbers for each

    @property
    def most(self) -> float:
        """The bytes that are there at once, when the artifact is written beside the last checkpoints."""
        return self.kept + CHECKPOINTS * self.checkpoint


def disk_of(config: Any, held: Held) -> Disk:
    """Return the disk that a stage takes for the models that it trains; all that is trained is saved in float32.

    `config` is the stage's node.
    """
    models = [held]
    if getattr(config, "has_value_model", False):
        models.append(replace(held, with_head=False, language_loss=False))
    kept = sum(one.trainable if one.tuning.adapts else one.numbers for one in models)
    trained = sum(one.trainable for one in models)
    return Disk(FLOAT * kept, FLOAT * (1 + ADAM) * trained)
