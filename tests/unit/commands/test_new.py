"""`python -m pipeline new`: a file and a model become an experiment that fits the machine and runs as it is."""

import json
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from pipeline.commands.choosing import Machine, choose, least_memory
from pipeline.config import compose, names
from pipeline.engine import machine
from pipeline.engine.planner import Planner
from pipeline.memory.estimates import Longest, Start, memory_of
from pipeline.stages import STAGES
from pipeline.store.artifacts import Store
from tests.unit.commands.conftest import Run
from tests.unit.memory.folders import small_model
from tests.unit.memory.known_models import KNOWN, shape_named
from tests.unit.model_files.folders import model

GIB = 2**30
SIZED = Longest(row=1024, prompt=512, new=512, predicted=512, answers=4)


@pytest.fixture(autouse=True)
def own_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of `conf/` to write into, and a working folder with data and a model; no GPU."""
    conf = Path(shutil.copytree(compose.CONF, tmp_path / "conf"))
    monkeypatch.setattr(compose, "CONF", conf)
    monkeypatch.setattr(names, "CONF", conf)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    rows = [{"instruction": f"w1 w2 {n} of {n * 7}", "output": f"w3 {n * 3}"} for n in range(40)]
    (tmp_path / "my rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    small_model(tmp_path / "a model")
    names.all_names.cache_clear()
    machine.free_memory.cache_clear()
    yield conf
    names.all_names.cache_clear()
    machine.free_memory.cache_clear()


def test_the_experiment_runs_as_it_is_and_says_why(own_conf: Path, said: Run) -> None:
    status, out, err = said("new", "support", "--data", "my rows.jsonl", "--model", "a model")
    assert (status, err) == (0, "")
    text = (own_conf / "experiment" / "support.yaml").read_text()
    assert text.splitlines()[0] == "# @package _global_"
    assert "40 of 40 rows are used" in text
    assert "no chat template" in text
    assert "all weights of so small a model are trained" in text
    assert "python -m pipeline experiment=support" in out
    config = compose.load(["experiment=support", "tracking=off"])
    assert (config.stage, config.project, config.launch.device) == ("sft", "support", "cpu")
    steps = {step.name: step for step in Planner(config, Store(Path(config.outputs), config.project)).plan()}
    assert set(steps) == {"data", "sft"}
    assert steps["data"].complete, "the rows that were looked at are used again"
    assert said("experiment=support", "plan=true")[0] == 0


def test_with_judgements_the_whole_chain_is_asked_for(own_conf: Path, said: Run) -> None:
    pair = {"prompt": "w1", "chosen": "w2", "rejected": "w3"}
    Path("pairs.jsonl").write_text("".join(json.dumps({**pair, "prompt": f"w1 {n}"}) + "\n" for n in range(30)))
    request = ("--data", "my rows.jsonl", "--model", "a model", "--labeling", "pairs.jsonl")
    assert said("new", "judged", *request)[0] == 0
    config = compose.load(["experiment=judged"])
    assert (config.stage, config.labeling.backend) == ("all", "file")
    assert said("experiment=judged", "tracking=off", "plan=true")[0] == 0


def test_an_unknown_architecture_gets_careful_settings(own_conf: Path, said: Run) -> None:
    model(Path("other"), {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]})
    assert said("new", "other", "--data", "my rows.jsonl", "--model", "other", "--gpu", "24")[0] == 0
    assert "Memory is not planned" in (own_conf / "experiment" / "other.yaml").read_text()
    config = compose.load(["experiment=other"])
    assert (config.launch.micro_batch_size, config.launch.gradient_checkpointing) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mine"], "required: --data, --model"),
        (["../mine", "--data", "my rows.jsonl", "--model", "a model"], "a name has letters"),
        (["gpu_8gb", "--data", "my rows.jsonl", "--model", "a model"], "exists already"),
        (["mine", "--data", "nowhere.jsonl", "--model", "a model"], "nowhere.jsonl"),
        (["mine", "--data", "my rows.jsonl", "--model", "./nowhere"], "--model=./nowhere: neither a folder"),
        (["mine", "--data", "my rows.jsonl", "--model", "a model", "--labeling", "my rows.jsonl"], "my rows.jsonl"),
        (["mine", "--data", "my rows.jsonl", "--model", "a model", "--gpu", "0.1"], "does not fit a card of 0.1 GB"),
    ],
)
def test_a_wrong_request_writes_nothing(own_conf: Path, said: Run, arguments: list[str], message: str) -> None:
    before = sorted(own_conf.rglob("*"))
    status, _, err = said("new", *arguments)
    assert status == 2
    assert message in " ".join(err.split())
    assert sorted(own_conf.rglob("*")) == before


def test_what_does_not_compose_is_not_left_behind(own_conf: Path, said: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    command = import_module("pipeline.commands.new")
    monkeypatch.setattr(command, "_experiment", lambda *_: "# @package _global_\nsft: {epoch: 1}\n")
    assert said("new", "broken", "--data", "my rows.jsonl", "--model", "a model")[0] == 2
    assert not (own_conf / "experiment" / "broken.yaml").exists()


# -- what is chosen ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["smollm2_360m", "qwen3_4b", "llama3_1_8b"])
@pytest.mark.parametrize("card", [8, 24, 80])
def test_what_is_chosen_fits(name: str, card: int) -> None:
    """Each stage's own plan, computed from the composed settings, stays below the card."""
    base = compose.load(["model=hub", "model.path=a/b", "peft=lora"])
    start = Start(shape_named(name), precision=2, half=True)
    chosen = choose(base, start, SIZED, Machine("cuda", card * GIB))
    if chosen is None:
        assert KNOWN[name].weights > 7e9
        assert card == 8
        assert least_memory(base, "qlora", start, SIZED, "cuda") > card * GIB
        return
    sizes = [f"{key}={size}" for key, size in chosen.sizes.items()]
    launch = [f"launch.{key}={str(value).lower()}" for key, value in chosen.launch.items()]
    config = compose.load(["model=hub", "model.path=a/b", f"peft={chosen.method}", *launch, *sizes])
    for stage, planned in chosen.memory.items():
        first = stage == "sft"
        below = 0 if first else start.shape.adapter(16)
        above = Start(start.shape, 2, below, quantized=chosen.method == "qlora" and not first, half=True)
        found = memory_of(STAGES[stage], getattr(config, stage), config.launch, above, SIZED, "cuda").total
        assert found == pytest.approx(planned), stage
        assert found <= card * GIB


def test_more_memory_is_never_used_less_well() -> None:
    """Whole weights before 4 bits, and activations kept before recomputed, as soon as they fit."""
    base = compose.load(["model=hub", "model.path=a/b", "peft=lora"])
    start = Start(shape_named("llama3_1_8b"), precision=2, half=True)
    found = [choose(base, start, SIZED, Machine("cuda", size * GIB)) for size in (16, 24, 48, 80, 400)]
    known = [
        (one.method, one.launch["gradient_checkpointing"], -one.launch["micro_batch_size"]) for one in found if one
    ]
    assert known == sorted(known, reverse=True)
    assert known[0][0] == "qlora"
    assert known[-1] == ("lora", False, -8)
