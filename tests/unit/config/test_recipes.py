"""Recipes for a card of a certain size: with every model that they name, every stage fits the card."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import compose
from pipeline.config.names import CONF
from pipeline.engine.distribution import check_processes
from pipeline.memory.estimates import Longest, Start, memory_of
from pipeline.services.hub import is_hub_id
from pipeline.stages import STAGES
from tests.unit.memory.known_models import KNOWN, shape_named

FILES = ("data.path=a.jsonl", "labeling.path=b.jsonl")
GENERAL = {"hub", "small", "tiny"}  # models that a user names, and the embedded one
SMALL = {name for name, known in KNOWN.items() if known.weights < 4.5e9}
RECIPES = {"8gb": SMALL, "24gb": set(KNOWN), "80gb": set(KNOWN), "8x80gb": set(KNOWN)}  # cards -> models
LONGEST = Longest(row=1024, prompt=512, new=512, predicted=512, answers=2)  # the rows that the recipes name
SPARE = 0.95  # of a card: the rest is the display's and the driver's
STAGE_NAMES = ("sft", "sample", "dpo", "kto", "reward", "judge", "ppo", "evaluate")


def test_every_named_model_has_a_known_shape() -> None:
    """So the plan of a recipe is computed for every model that stands in conf/model."""
    assert {file.stem for file in (CONF / "model").glob("*.yaml")} - GENERAL == set(KNOWN)
    assert {file.stem for file in (CONF / "experiment").glob("gpu_*.yaml")} == {f"gpu_{card}" for card in RECIPES}


@pytest.mark.parametrize("name", KNOWN)
def test_a_named_model_is_one_of_the_hub_in_bfloat16(name: str) -> None:
    config = compose.load([f"model={name}"])
    assert is_hub_id(config.model.path)
    assert config.model.dtype == "bfloat16"
    size = name.rpartition("_")[2].removesuffix("b").removesuffix("m")
    assert size in config.model.path.lower()


@pytest.mark.parametrize(("card", "name"), [(card, name) for card, names in RECIPES.items() for name in sorted(names)])
def test_every_stage_fits_the_card(card: str, name: str) -> None:
    config = compose.load([f"experiment=gpu_{card}", f"model={name}", *FILES])
    assert config.model.path == compose.load([f"model={name}"]).model.path, "the command's model, not the recipe's"
    shape, method, free = shape_named(name), config.peft.method, gigabytes(card) * 2**30
    for stage in STAGE_NAMES:
        first = stage == "sft"
        below = 0 if first or method == "full" else shape.adapter(config.peft.rank)
        start = Start(shape, precision=2, below=below, quantized=method == "qlora" and not first, half=True)
        memory = memory_of(STAGES[stage], getattr(config, stage), config.launch, start, LONGEST, "cuda")
        assert memory.total <= SPARE * free, f"{stage}: {memory.peak}, {memory.parts}"


@pytest.mark.parametrize("card", RECIPES)
def test_every_stage_can_run_in_the_recipe_s_processes(card: str) -> None:
    config = compose.load([f"experiment=gpu_{card}", *FILES])
    assert config.launch.processes == (8 if card.startswith("8x") else 1)
    check_processes(replace(config, launch=replace(config.launch, device="cpu")), STAGE_NAMES)


def test_a_model_of_8_b_does_not_fit_eight_cards_unless_they_share_it() -> None:
    config = compose.load(["experiment=gpu_8x80gb", "launch.shard=false", *FILES])
    start = Start(shape_named("qwen3_8b"), precision=2, half=True)
    assert memory_of(STAGES["sft"], config.sft, config.launch, start, LONGEST, "cuda").total > 120 * 2**30


def gigabytes(card: str) -> int:
    """Of one of the cards."""
    return int(card.rpartition("x")[2].removesuffix("gb"))


@pytest.mark.parametrize("card", RECIPES)
def test_a_recipe_says_how_it_is_used(card: str) -> None:
    text = Path(CONF / "experiment" / f"gpu_{card}.yaml").read_text(encoding="utf-8")
    assert f"experiment=gpu_{card} model=" in text
    named = text.partition("model=")[2].split()[0]
    assert named in RECIPES[card]
