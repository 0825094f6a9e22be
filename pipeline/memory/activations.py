"""Bytes of the tensors that a pass through a decoder keeps, or has at once, per token.

Counted as in "Reducing Activation Recomputation in Large Transformer Models" (Korthikanti et al. 2022, arXiv
2205.05198, section 4), for the layers of today: RMS norms, gated feed-forward layers, grouped keys and values, and
attention that keeps no scores. What autograd keeps depends on what is trained: a matrix keeps its input only if its own
weights get a gradient. peft gives every adapter its input in float32, one copy for each matrix.
"""

from typing import NamedTuple

from pipeline.memory.shape import Shape

FLOAT = 4  # bytes of a float32


class Tuning(NamedTuple):
    """How a model is held in memory and trained."""

    method: str = "full"  # full, lora, qlora, or frozen: only used
    rank: int = 16
    targets: str = "all-linear"
    precision: int = FLOAT  # bytes of the frozen weights' numbers, and of the states between layers
    autocast: bool = False  # matrix products in bfloat16, with float32 around them

    @property
    def adapts(self) -> bool:
        return self.method in ("lora", "qlora")

    @property
    def states(self) -> int:
        """Bytes of a number in the states between layers."""
        return FLOAT if self.method == "full" else self.precision

    @property
    def products(self) -> int:
        """Bytes of a number in a matrix product's result."""
        return 2 if self.autocast else self.states

    @property
    def copies(self) -> int:
        """Bytes of a number in the copy of the states that is kept for one matrix alone; 0 if all share one.

        Autocast converts the states for every matrix. peft's adapters convert their input to float32 first, except on
        4-bit matrices under autocast.
        """
        if self.autocast:
            return 0 if self.method == "qlora" and self.states == 2 else 2
        return FLOAT if self.adapts and self.states < FLOAT else 0

    @property
    def product_copies(self) -> int:
        """The same for a matrix that follows another matrix: its input has the precision of products."""
        if self.autocast:
            return 2 if self.method == "lora" else 0
        return self.copies


def layer_kept(shape: Shape, tuning: Tuning, *, expanded: bool) -> int:
    """Return the bytes per token that one layer keeps for its backward pass.

    `expanded`: keys and values are copied for every head that shares them, as attention with a mask needs it.
    """
    return _norms_kept(shape, tuning) + _attention_kept(shape, tuning, expanded) + _feed_forward_kept(shape, tuning)


def _norms_kept(shape: Shape, tuning: Tuning) -> int:
    """A norm keeps its input in float32, and the normalized input if its scale is trained."""
    h, scale = shape.hidden, 0 if tuning.adapts else tuning.states
    heads = shape.queries + shape.keys if shape.head_norms else 0
    return (FLOAT + scale) * (shape.norms * h + heads)


def _attention_kept(shape: Shape, tuning: Tuning, expanded: bool) -> int:
    """Attention keeps queries, keys, values, its result, and one float32 per head (arXiv 2205.14135)."""
    q, k = shape.queries, shape.queries if expanded else shape.keys
    inputs = _states_kept(shape, tuning, "q_proj", "k_proj", "v_proj")
    copied = tuning.product_copies * q if _is_trained(tuning, "o_proj") else 0
    ranks = _ranks_kept(tuning, "q_proj", "k_proj", "v_proj", "o_proj")
    return inputs + tuning.products * (2 * q + 2 * k) + FLOAT * shape.heads + copied + ranks


def _feed_forward_kept(shape: Shape, tuning: Tuning) -> int:
    """A gated layer keeps the gate before and after its function, what it multiplies, and the product."""
    inputs = _states_kept(shape, tuning, "gate_proj", "up_proj")
    product = (tuning.product_copies or tuning.products) if _is_trained(tuning, "down_proj") else 0
    ranks = _ranks_kept(tuning, "gate_proj", "up_proj", "down_proj")
    return inputs + (3 * tuning.products + product) * shape.inner + ranks


def _states_kept(shape: Shape, tuning: Tuning, *matrices: str) -> int:
    """Return the bytes of the normalized states that these matrices keep: one for all, or a copy for each."""
    number = sum(_is_trained(tuning, name) for name in matrices)
    return shape.hidden * (number * tuning.copies if tuning.copies else tuning.states if number else 0)


def _ranks_kept(tuning: Tuning, *matrices: str) -> int:
    """An adapter keeps its inner state, `rank` numbers."""
    number = sum(_is_trained(tuning, name) for name in matrices) if tuning.adapts else 0
    return number * tuning.rank * (2 if tuning.autocast else FLOAT)


def _is_trained(tuning: Tuning, matrix: str) -> bool:
    """Whether a matrix, or an adapter on it, gets a gradient."""
    return not tuning.adapts or tuning.targets == "all-linear" or matrix in tuning.targets.split(",")


def pass_kept(shape: Shape, tuning: Tuning, *, expanded: bool, recompute: bool, length: int = 0) -> int:
    """Return the bytes per token that a whole pass keeps for its backward pass, without the head.

    `recompute` (gradient checkpointing, arXiv 1604.06174): only each layer's input, and one layer's whole. `length` is
    that of the rows where a mask hides padding: attention keeps the mask as numbers, one for each place of the row.
    """
    layer = layer_kept(shape, tuning, expanded=expanded) + (tuning.products * length if expanded else 0)
    last = (FLOAT + (0 if tuning.adapts else tuning.states)) * shape.hidden  # the norm after the layers
    if recompute:
        return shape.layers * tuning.states * shape.hidden + layer + last
    first = FLOAT * shape.hidden if tuning.adapts else 0  # nothing before the first adapter gets a gradient
    return shape.layers * layer + last - first


def layer_transient(shape: Shape, tuning: Tuning) -> int:
    """Return the bytes per token that a layer has at once and does not keep, in a pass without a backward pass.

    The widest place is the feed-forward layer: two gates and their product; with adapters, a gate, a matrix's result,
    the adapter's result and their sum.
    """
    inside = 2 * tuning.products + 2 * _wide(tuning) if tuning.adapts else 3 * tuning.products
    return shape.inner * inside + shape.hidden * (2 * tuning.states + FLOAT)


def backward_transient(shape: Shape, tuning: Tuning) -> int:
    """Return the bytes per token of the gradients that a layer's backward pass has at once."""
    return shape.inner * (2 * tuning.products + _wide(tuning)) + 2 * tuning.states * shape.hidden


def _wide(tuning: Tuning) -> int:
    """Return the bytes of a number in an adapter's results."""
    return FLOAT if tuning.adapts and not tuning.autocast else tuning.products


def cache_kept(shape: Shape, tuning: Tuning) -> int:
    """Return the bytes per token of the cache of keys and values."""
    return 2 * shape.layers * shape.keys * tuning.products
