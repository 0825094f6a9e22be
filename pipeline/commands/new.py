"""The command `new`: looks at a file and a model, and writes an experiment that fits the machine."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.markup import escape

from pipeline.commands.choosing import Chosen, Machine, choose, least_memory
from pipeline.commands.request import parser, split
from pipeline.config import compose, names
from pipeline.config.schema import PipelineConfig
from pipeline.console import console
from pipeline.data.judgements.loading import load_judgements
from pipeline.engine.fitting import count_text, size_text
from pipeline.engine.machine import SMALL, device_of, free_memory
from pipeline.engine.paths import model_fault
from pipeline.engine.runner import run
from pipeline.engine.starts import shape_at
from pipeline.errors import RequestError
from pipeline.files import write_atomically
from pipeline.memory.estimates import Longest, Start
from pipeline.memory.lengths import Lengths, longest_rows
from pipeline.model_files.folder import ModelFolder
from pipeline.services.hub import hub_commit, model_files
from pipeline.store.artifacts import Store

SPARE = 0.95  # of a card: the rest is the display's and the driver's
CAREFUL = Chosen(  # for architectures that the memory plan does not know
    "qlora",
    {"mixed_precision": "auto", "micro_batch_size": 1, "gradient_checkpointing": True},
    {
        "launch.batch_tokens": 8192,
        "ppo.rollouts": 64,
        "ppo.sampling_batch_size": 8,
    },
    {},
)
ABOUT = "Look at a file and a model; write conf/experiment/NAME.yaml, which fits the machine and runs as it is."


@dataclass(frozen=True)
class Wanted:
    """The request for a new experiment."""

    name: str
    data: str
    model: ModelFolder
    labeling: str | None
    gigabytes: float | None  # of the card; None: this machine


@dataclass(frozen=True)
class Seen:
    """The user's data, as the stage `data` has read it."""

    read: int
    kept: int
    lengths: Lengths


def new(arguments: Sequence[str]) -> int:
    """Write the experiment and print what was chosen and why. Raises `RequestError` if nothing fits."""
    words, overrides = split(arguments)
    given = parser("new", ABOUT)
    given.add_argument("name", metavar="NAME", help="of the experiment and its project")
    given.add_argument("--data", metavar="FILE", required=True, help="demonstrations: a file, a folder or a glob")
    given.add_argument("--model", metavar="ID", required=True, help="a model's folder, or its id on the hub")
    given.add_argument("--labeling", metavar="FILE", help="rankings or pairs; absent: people rank later")
    given.add_argument("--gpu", metavar="GB", type=float, help="memory of the card; absent: this machine as it is")
    asked = given.parse_args(words)
    file = _file_of(asked.name)
    model = _model_at(asked.model)
    labeling = _absolute(asked.labeling) if asked.labeling else None
    if labeling:
        load_judgements(labeling)  # raises if it holds none
    wanted = Wanted(asked.name, _absolute(asked.data), model, labeling, asked.gpu)
    text = _experiment(wanted, _seen(wanted, overrides))
    write_atomically(file, text)
    names.all_names.cache_clear()
    try:
        compose.load([f"experiment={wanted.name}", *overrides])
    except RequestError:
        file.unlink()
        raise
    console.print(f"[bold]{escape(str(file))}[/]\n{escape(text)}")
    console.print(f"Next    python -m pipeline experiment={wanted.name} plan=true   (what each stage needs)")
    console.print(f"        python -m pipeline experiment={wanted.name}")
    return 0


def _file_of(name: str) -> Path:
    if not names.NAME.fullmatch(name):
        raise RequestError(f"{name}: a name has letters, digits, '.', '_' and '-' only, and begins with no sign.")
    file = names.CONF / "experiment" / f"{name}.yaml"
    if file.exists():
        raise RequestError(f"{file} exists already. Choose another name, or remove it first.")
    return file


def _model_at(path: str) -> ModelFolder:
    """Return the model's folder, or the small files of a hub repository. Raises `RequestError` if it is unusable."""
    if fault := model_fault(path, "--model"):
        raise RequestError(fault)
    place = Path(path).expanduser()
    if place.is_dir():
        folder = ModelFolder(place.absolute(), str(place.absolute()))
    else:
        folder = ModelFolder(model_files(path, hub_commit(path, None)), path, whole=False)
    folder.check_policy()
    return folder


def _absolute(path: str) -> str:
    """Return a path that holds in any folder; a hub dataset's name unchanged."""
    place = Path(path).expanduser()
    return str(place.absolute()) if place.exists() or "*" in path else path


def _seen(wanted: Wanted, overrides: Sequence[str]) -> Seen:
    """Run the stage `data`, which the experiment uses again; return what is known of the rows."""
    path = f"data.path={json.dumps(wanted.data, ensure_ascii=False)}"
    config = compose.load([f"project={wanted.name}", "stage=data", "tracking=off", path, *overrides])
    step = run(config)[-1]
    made = Store(Path(config.outputs), config.project).open(step.name, step.version)
    tokenizer = wanted.model.path / "tokenizer.json"
    found = longest_rows(made.file("sft.jsonl"), tokenizer if tokenizer.is_file() else None)
    if found is None:
        raise RequestError(f"{wanted.data}: no row is left to learn from. See {made.path / 'report.html'}")
    return Seen(int(made.metrics["read"]), int(made.metrics["kept"]), found)


# -- what is chosen ----------------------------------------------------------------------------------------------------


def _experiment(wanted: Wanted, seen: Seen) -> str:
    """Return the experiment's file. Raises `RequestError` if no settings fit the machine."""
    shape, small = shape_at(wanted.model), _is_small(wanted.model)
    base = compose.load([f"model={'small' if small else 'hub'}", "model.path=a/b", *([] if small else ["peft=lora"])])
    machine = _machine(wanted, base)
    if shape is None:
        return _rendered(wanted, seen, machine, CAREFUL, small=small, parameters="its size is not known here")
    start = Start(shape, precision=4 if small else 2, half=not small)
    longest = _longest(seen.lengths, shape.context, base.sample.answers)
    chosen = choose(base, start, longest, machine)
    if chosen is None:
        method = "full" if small else "qlora"
        least = least_memory(base, method, start, longest, machine.device)
        raise RequestError(
            f"{wanted.model.name} does not fit {_place(wanted, machine)}: with peft={method}, one row at a time and "
            f"{longest.row:,} tokens in the longest row, it needs {size_text(least)}. Take a smaller model, leave "
            "out long rows of the file, or name a larger card: --gpu GB."
        )
    memory = ", ".join(f"{name} {size_text(size)}" for name, size in chosen.memory.items())
    lora = least_memory(base, "lora", start, longest, machine.device) if chosen.method == "qlora" else 0.0
    why = {
        "full": "all weights of so small a model are trained",
        "lora": f"adapters of {count_text(shape.adapter(base.peft.rank))} parameters learn as well as all weights do",
        "qlora": f"a base in 4 bits: in 16 bits (lora) the largest stage needs {size_text(lora)} or more",
    }[chosen.method]
    parameters = f"{count_text(shape.parameters)} parameters"
    return _rendered(wanted, seen, machine, chosen, small=small, parameters=parameters, memory=memory, why=why)


def _longest(found: Lengths, context: int, answers: int) -> Longest:
    """Return the longest rows that the model can read, for a chain with `answers` to each prompt."""
    predicted = min(found.predicted, context)
    return Longest(
        min(found.row, context), min(found.prompt, context), min(predicted, context // 2), predicted, answers
    )


def _is_small(model: ModelFolder) -> bool:
    """Whether a model has the size of the embedded one, whose training settings then fit better."""
    return model.whole and 0 < sum(file.stat().st_size for file in model.path.glob("*.safetensors")) < SMALL


def _machine(wanted: Wanted, config: PipelineConfig) -> Machine:
    if wanted.gigabytes:
        return Machine("cuda", SPARE * wanted.gigabytes * 2**30)
    device = device_of(config)
    free = free_memory(device)
    if free is None:
        raise RequestError("The GPU cannot be asked for its memory (nvidia-smi): give it, --gpu GB.")
    return Machine(device, free)


def _place(wanted: Wanted, machine: Machine) -> str:
    if wanted.gigabytes:
        return f"a card of {wanted.gigabytes:g} GB"
    return f"this machine's {'GPU' if machine.device == 'cuda' else 'memory'} ({size_text(machine.memory)} free)"


def _rendered(wanted: Wanted, seen: Seen, machine: Machine, chosen: Chosen, **words: Any) -> str:
    """Return the text of an experiment with the chosen settings."""
    files = PackageLoader("pipeline.commands", ".")
    environment = Environment(loader=files, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    template = environment.get_template("experiment.yaml.jinja")
    has_template = wanted.model.chat_template is not None
    own = {
        "name": wanted.name,
        "data": wanted.data,
        "labeling": wanted.labeling,
        "model": wanted.model.name,
        "model_name": Path(wanted.model.name).name,
        "data_name": Path(wanted.data).name,
        "place": _place(wanted, machine),
        "device": machine.device,
        "template": "it has a chat template" if has_template else "it has no chat template: the built-in one is used",
        "method": chosen.method,
        "launch": chosen.launch,
        "sizes": chosen.sizes,
        "chosen": chosen.memory,
    }
    return template.render(seen=seen, **{"why": "on 4 bits, which need least", **own, **words})
