"""The sizes of a language model that its memory depends on, read from its configuration.

Only families whose layers are known here have a shape, and a shape whose number of parameters is not that of the
weights is refused: no estimate is better than a wrong one.
"""

import ast
import importlib.util
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.model_files.architectures import is_mixture, text_part
from pipeline.model_files.folder import INDEX, SINGLE, ModelFolder

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}  # of a weight
UNLIMITED = 10**9
MAX_DIFFERENCE = 0.02  # largest share by which the weights may differ from the number that follows from the sizes


class Family(NamedTuple):
    """The differences between families of decoders with gated feed-forward layers."""

    module: str  # the folder of transformers with its configuration
    norms: int = 2  # norms of the hidden states per layer
    head_norms: bool = False  # norms of queries and keys
    input_biases: bool = False  # biases of queries, keys and values


FAMILIES = {
    "llama": Family("llama"),
    "mistral": Family("mistral"),
    "granite": Family("granite"),
    "qwen2": Family("qwen2", input_biases=True),
    "qwen3": Family("qwen3", head_norms=True),
    "gemma3_text": Family("gemma3", norms=4, head_norms=True),
}


class Shape(NamedTuple):
    """The sizes of a decoder with gated feed-forward layers."""

    vocabulary: int
    hidden: int
    inner: int  # width inside a feed-forward layer
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    tied: bool  # the head shares the embeddings' weights
    norms: int = 2  # norms of the hidden states per layer
    head_norms: bool = False  # norms of queries and keys
    biases: int = 0  # numbers in a layer's biases
    outside: int = 0  # weights that text does not pass through: a vision tower
    context: int = UNLIMITED  # most tokens of a row

    @property
    def queries(self) -> int:
        """The width of all heads' queries."""
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        """The width of all heads' keys, and of their values."""
        return self.kv_heads * self.head_dim

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """The matrices of a layer by their usual name: (width of the input, width of the output)."""
        h, f, q, k = self.hidden, self.inner, self.queries, self.keys
        attention = {"q_proj": (h, q), "k_proj": (h, k), "v_proj": (h, k), "o_proj": (q, h)}
        return {**attention, "gate_proj": (h, f), "up_proj": (h, f), "down_proj": (f, h)}

    @property
    def linear(self) -> int:
        """The weights in the matrices of all layers: what bitsandbytes quantizes."""
        return self.layers * sum(rows * columns for rows, columns in self.matrices.values())

    @property
    def embeddings(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def head(self) -> int:
        """The weights of the language-model head; 0 if they are the embeddings'."""
        return 0 if self.tied else self.embeddings

    @property
    def parameters(self) -> int:
        """All weights of the language model, and those outside."""
        norms = self.norms * self.hidden + (2 * self.head_dim if self.head_norms else 0)
        return (
            self.embeddings + self.head + self.linear + self.layers * (norms + self.biases) + self.hidden + self.outside
        )

    def adapter(self, rank: int, targets: str = "all-linear") -> int:
        """Return the weights of a LoRA adapter (arXiv 2106.09685): rank * (inputs + outputs) for each matrix."""
        return (
            self.layers * rank * sum(self.matrices[name][0] + self.matrices[name][1] for name in self.adapted(targets))
        )

    def prefix(self, tokens: int) -> int:
        """Return the weights of a prefix (arXiv 2101.00190): a key and a value for each of its tokens in each layer."""
        return self.layers * tokens * 2 * self.keys

    def adapted(self, targets: str) -> list[str]:
        """Return the names of the matrices with an adapter."""
        named = targets.split(",")
        return [name for name in self.matrices if targets == "all-linear" or name in named]


def shape_of(config: Mapping[str, Any], weights: int | None = None) -> Shape | None:
    """Return the shape that a configuration describes; None if its family is not known here.

    `weights` is the number of weights in the model's files, if known. Those beyond the language model of a multimodal
    model are `outside`; in other cases a shape that disagrees with it is refused (None).
    """
    text = text_part(config)
    family = FAMILIES.get(str(text.get("model_type")))
    if family is None or is_mixture(config):
        return None
    said = {**_defaults(family.module, str(text["model_type"])), **{k: v for k, v in text.items() if v is not None}}
    try:
        shape = _shape(said, family)
    except (KeyError, TypeError):
        return None
    if weights is None:
        return shape if text is config else None
    if text is not config and weights > shape.parameters:
        return shape._replace(outside=weights - shape.parameters)
    known = (shape.parameters, shape.parameters + (shape.embeddings if shape.tied else 0))  # some save a tied head
    return shape if any(abs(weights - one) <= MAX_DIFFERENCE * weights for one in known) else None


def _shape(said: Mapping[str, Any], family: Family) -> Shape:
    hidden, heads = said["hidden_size"], said["num_attention_heads"]
    head_dim = said.get("head_dim") or hidden // heads
    kv_heads = said.get("num_key_value_heads") or heads
    queries, keys = heads * head_dim, kv_heads * head_dim
    biases = queries + 2 * keys if family.input_biases else 0
    biases += queries + 2 * keys + hidden if said.get("attention_bias") else 0
    biases += 2 * said["intermediate_size"] + hidden if said.get("mlp_bias") else 0
    return Shape(
        vocabulary=said["vocab_size"],
        hidden=hidden,
        inner=said["intermediate_size"],
        layers=said["num_hidden_layers"],
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        tied=bool(said["tie_word_embeddings"]),
        norms=family.norms,
        head_norms=family.head_norms,
        biases=biases,
        context=said.get("max_position_embeddings", UNLIMITED),
    )


@cache
def _defaults(module: str, kind: str) -> Mapping[str, Any]:
    """Return the values that a configuration file may leave out, read from transformers' source without importing it.

    Raises `ImportError` if that source has no such class.
    """
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        raise ImportError("transformers is not installed")
    file = Path(spec.origin).parent / "models" / module / f"configuration_{module}.py"
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and kind in map(_model_type, node.body):
            return {
                line.target.id: line.value.value
                for line in node.body
                if isinstance(line, ast.AnnAssign)
                and isinstance(line.target, ast.Name)
                and isinstance(line.value, ast.Constant)
            }
    raise ImportError(f"transformers has no configuration of {kind} in {file}")


def _model_type(line: ast.stmt) -> Any:
    """Return the value of a class's line `model_type = …`; None for other lines."""
    if not isinstance(line, ast.Assign) or ast.unparse(line.targets[0]) != "model_type":
        return None
    return ast.literal_eval(line.value)


def number_of_weights(folder: ModelFolder) -> int | None:
    """Return the number of weights in a model's files, from their headers or from the hub's index; None if unknown.

    Raises `RequestError` if files of weights are damaged.
    """
    if folder.whole or (folder.path / SINGLE).is_file():
        return sum(math.prod(shape) for shape in folder.shapes.values())
    index = folder.read_json(INDEX, "") if (folder.path / INDEX).is_file() else {}
    size, dtype = index.get("metadata", {}).get("total_size"), text_part(folder.config).get("dtype")
    width = BYTES.get(str(dtype or text_part(folder.config).get("torch_dtype")))
    return int(size) // width if size and width else None
