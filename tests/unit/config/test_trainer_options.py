"""The names in a `trainer:` mapping are read from source text; here they are compared with the real classes."""

import dataclasses
import importlib
import sys

import pytest

from pipeline.config.schema import PipelineConfig, stage_nodes
from pipeline.config.trainer_options import OWN, SOURCES, all_names, option_names, own_place

STAGES = sorted(SOURCES)


@pytest.mark.slow  # imports trl
@pytest.mark.parametrize("stage", STAGES)
def test_the_names_are_those_of_the_real_class(stage: str) -> None:
    trl = stage_nodes()[stage].trl
    module = importlib.import_module(f"trl.trainer.{trl}" if trl else "transformers.training_args")
    (real,) = (
        one
        for name, one in vars(module).items()
        if getattr(one, "__module__", None) == module.__name__ and dataclasses.is_dataclass(one)
    )
    assert all_names(stage) == {item.name for item in dataclasses.fields(real)}


def test_names_are_read_without_importing_torch(tmp_path: object) -> None:
    before = "torch" in sys.modules
    assert "loss_type" in option_names("dpo")
    assert ("torch" in sys.modules) == before


@pytest.mark.parametrize("name", sorted(OWN))
def test_what_the_pipeline_sets_is_a_real_option_with_a_real_place(name: str) -> None:
    stages = [stage for stage in STAGES if own_place(stage, name)]
    assert stages, f"no trainer has an option {name}"
    for stage in stages:
        place = own_place(stage, name)
        assert place is not None
        assert name not in option_names(stage)
        if not place.startswith("nothing: "):
            node = PipelineConfig()
            for part in place.split("."):
                node = getattr(node, part)  # raises where the message would send people to a key that is not there


def test_other_names_have_no_place_of_their_own() -> None:
    assert own_place("dpo", "loss_type") is None
    assert own_place("sft", "beta") is None  # an option of DPO alone
    assert own_place("sft", "max_length") == "data.max_length"
    assert own_place("dpo", "max_length") == "dpo.max_length"
