"""The model that a step starts from, and the lengths of its rows, as far as they are known before it runs."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.config.nodes.models import BaseConfig, PeftConfig
from pipeline.config.schema import PipelineConfig
from pipeline.engine.machine import device_of
from pipeline.engine.planner import Step
from pipeline.lengths.limits import ANSWER_TOKENS, UNKNOWN
from pipeline.memory.estimates import Longest, Start
from pipeline.memory.lengths import Lengths, longest_rows
from pipeline.memory.shape import BYTES, Shape, number_of_weights, shape_of
from pipeline.model_files.architectures import PREFIX
from pipeline.model_files.checks import root_of
from pipeline.model_files.folder import ModelFolder
from pipeline.stages import STAGES
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store
from pipeline.store.roles import trained_from

Made = tuple[str, str]  # a stage and a version
ASSUMED = 1024  # tokens of a row while its file does not exist yet


def start_of(step: Step | Artifact, config: PipelineConfig) -> Start | None:
    """Return the largest model that a step starts from; None if it has none, or if its memory is not known here.

    Policies that a step compares share a base model, which then has the adapters of all of them.
    """
    own = step.manifest.get("config", {}) if isinstance(step, Artifact) else vars(step.config)
    named = [step.inputs[name] for name in own.get("policies") or () if name in step.inputs]
    given = trained_from(step.inputs)  # among the policies, `base` is one of several
    starts = _starts(named or ([] if given is None else [given]), config)
    return max(starts, key=lambda one: one.shape.parameters * one.precision + 4 * one.below, default=None)


def _starts(policies: Sequence[Step | Artifact], config: PipelineConfig) -> list[Start]:
    """Return the models below the adapters of policies, each with the adapters that are in memory with it."""
    found: dict[tuple[Start, Made], dict[Made, int]] = {}
    for policy in policies:
        shape, dtype = _bottom(policy, config)
        if shape is None:
            continue
        tuned = list(_tuned(policy))
        whole = next((i for i, (_, peft) in enumerate(tuned) if peft.method == "full"), len(tuned))
        above = tuned[:whole]  # adapters on the last model that was trained whole, or on the first one
        on_cpu = whole < len(tuned) and device_of(config) != "cuda"  # there it is used as it was saved: in float32
        start = Start(
            shape,
            precision=4 if on_cpu else BYTES.get(dtype, 4),
            quantized=any(peft.method == "qlora" for _, peft in above),
            half=dtype == "bfloat16",
        )
        below = _made_as(tuned[whole][0] if whole < len(tuned) else _first(policy))
        adapters = found.setdefault((start, below), {})
        adapters.update({_made_as(one): _weights_of(peft, shape) for one, peft in above})
    return [replace(start, below=sum(adapters.values())) for (start, _), adapters in found.items()]


def _made_as(one: Step | Artifact) -> Made:
    return (one.stage if isinstance(one, Artifact) else one.name), one.version


def _weights_of(peft: PeftConfig, shape: Shape) -> int:
    """Return the weights that a method adds to a model."""
    if peft.method == PREFIX:
        return shape.prefix(peft.virtual_tokens)
    return shape.adapter(peft.rank, peft.target_modules)


def _bottom(given: Step | Artifact, config: PipelineConfig) -> tuple[Shape | None, str]:
    """Return the shape of the first model of a lineage, and the precision that it is used in."""
    folder, first = root_of(given), _first(given)
    if folder is None:
        base = _recorded_base(first) if isinstance(first, Artifact) and first.stage == "base" else config.base
        sizes = (base.vocabulary, base.hidden_size, base.intermediate_size, base.layers, base.heads, base.kv_heads)
        made = not isinstance(first, Artifact) or first.stage == "base"
        shape = Shape(*sizes, base.hidden_size // base.heads, tied=True, context=base.context)
        return (shape if made else None), "float32"
    said = first.source.get("dtype") if isinstance(first, Artifact) else None
    return shape_at(folder), str(said or folder.config.get("dtype") or folder.config.get("torch_dtype"))


def _recorded_base(artifact: Artifact) -> BaseConfig:
    """Return the sizes of an embedded base as it was made; keys that are no more are left out."""
    said = artifact.manifest.get("config", {})
    return BaseConfig(**{key: value for key, value in said.items() if key in BaseConfig.__dataclass_fields__})


def shape_at(folder: ModelFolder) -> Shape | None:
    """Return the shape of a model in a folder; None if it is not known here."""
    return shape_of(folder.config, number_of_weights(folder))


def _first(given: Step | Artifact) -> Step | Artifact:
    while (below := trained_from(given.inputs)) is not None:
        given = below
    return given


def _tuned(given: Step | Artifact) -> Iterator[tuple[Step | Artifact, PeftConfig]]:
    """Yield the trained models of a lineage and how they were trained, the last one first."""
    one: Step | Artifact | None = given
    while one is not None:
        if isinstance(one, Step):
            peft = getattr(one.config, "peft", None)
        else:
            said = one.manifest.get("config", {}).get("peft")
            named = ("method", "rank", "target_modules", "virtual_tokens")  # other keys have changed over time
            peft = PeftConfig(**{key: said[key] for key in named if key in said}) if said else None
        if peft is not None:
            yield one, peft
        one = trained_from(one.inputs)


# -- the rows ----------------------------------------------------------------------------------------------------------


def lengths_of(step: Step, store: Store) -> Lengths | None:
    """Return the lengths of a step's rows; None if they are not there yet."""
    file = rows_file(step, store)
    return longest_rows(file, _tokenizer(step, store)) if file else None


def rows_file(step: Step | Artifact, store: Store) -> Path | None:
    """Return the file of the rows that a step passes, or passed, through its model; None if it is not there yet."""
    rows = STAGES[step.stage].rows if isinstance(step, Artifact) else step.stage.rows
    given = _made(step.inputs.get(rows.role), store) if rows else None
    if rows is None or given is None:
        return None
    files = [given.path] if given.path.is_file() else [given.path / name for name in rows.files]
    return next((one for one in files if one.is_file()), None)


def _made(given: Step | Artifact | None, store: Store) -> Artifact | None:
    if isinstance(given, Step):
        return store.open(given.name, given.version) if given.complete else None
    return given


def _tokenizer(step: Step, store: Store) -> Path | None:
    """Return the tokenizer.json of a step's model, if it is here."""
    given = trained_from(step.inputs) or next(iter(step.inputs.values()))
    folder, first = root_of(given), _made(_first(given), store)
    places = [folder.path] if folder else [first.path / "model"] if first else []
    return next((place / "tokenizer.json" for place in places if (place / "tokenizer.json").is_file()), None)


def longest_of(step: Step, start: Start, found: Lengths | None, store: Store) -> Longest:
    """Return the tokens of the longest rows: as counted, or as assumed while they are not there, within the limits."""
    limit = min(getattr(step.config, "max_length", None) or start.shape.context, start.shape.context)
    row = min(found.row if found else ASSUMED, limit)
    prompt = min(found.prompt if found else ASSUMED // 2, limit)
    new = min(_new_tokens(step, store), start.shape.context // 2)
    return Longest(row, prompt, new, *((min(found.predicted, limit), found.answers) if found else ()))


def _new_tokens(step: Step, store: Store) -> int:
    """Return the most tokens of a new answer: as set, or from the demonstrations, as the stage determines it."""
    own = getattr(step.config, "decoding", step.config)
    if getattr(own, "max_new_tokens", None):
        return int(own.max_new_tokens)
    policies = [trained_from(step.inputs), *step.inputs.values()]
    made = [_made(one, store) for one in policies]
    known = [one.metrics[ANSWER_TOKENS] for one in made if one and ANSWER_TOKENS in one.metrics]
    return int(max(known, default=UNKNOWN))
