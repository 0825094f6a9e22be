"""The memory of one of the processes that share a model (`launch.shard`), as `modeling.fsdp` shards it.

Weights, gradients and the optimizer are divided evenly. Besides, a layer is whole while it computes, with the next one,
which is fetched meanwhile, and so are their gradients until those of all processes are added up, in a copy (arXiv
2304.11277, sections 3.2 and 3.4). All outside the layers is whole from the forward to the end of the backward pass.
"""

from pipeline.memory.activations import FLOAT
from pipeline.memory.phases import Held, Memory, Parts

LAYERS_AT_ONCE = 2
DIVIDED = ("weights", "adapters", "optimizer")


def sharded(memory: Memory, held: Held, count: int, *, accumulate: bool) -> Memory:
    """Return the memory of a training of which one process would need `memory`, in each of `count` processes.

    The end of the backward pass, with the gradients of all layers, comes before the update.
    """
    shape, share = held.shape, LAYERS_AT_ONCE / held.shape.layers
    outside = held.numbers - shape.linear - shape.outside
    of_layers = FLOAT * share * (held.trainable if held.tuning.adapts else shape.linear)  # gradients
    of_outside = 0 if held.tuning.adapts else FLOAT * outside
    gathered = held.tuning.states * (outside + share * shape.linear)
    own = FLOAT * held.trainable / count
    early = of_outside + (own if accumulate else 0)
    added: dict[str, Parts] = {
        "loss": {"gradients": early},
        "layers": {"gradients": early, "exchanged gradients": of_layers},
        "update": {"gradients": of_outside + own, "exchanged gradients": max(of_layers, of_outside)},
    }
    phases = memory.phases.items()
    return Memory({n: {**_divided(parts, count), "gathered weights": gathered, **added[n]} for n, parts in phases})


def _divided(parts: Parts, count: int) -> Parts:
    return {name: size / count if name in DIVIDED else size for name, size in parts.items()}
