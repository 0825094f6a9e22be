"""A model's sizes from its configuration: right for published models, and none for models that are not known."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.memory.shape import number_of_weights, shape_of
from pipeline.model_files.folder import ModelFolder
from tests.unit.memory.known_models import KNOWN, decoder, shape_named
from tests.unit.model_files.folders import model


@pytest.mark.parametrize("name", KNOWN)
def test_the_number_of_weights_follows_from_the_sizes_of_a_published_model(name: str) -> None:
    shape = shape_named(name)
    assert shape.parameters == KNOWN[name].weights
    vision = name == "gemma3_4b"
    assert (shape.outside > 0) == vision
    assert shape.outside < 450e6


def test_values_that_a_file_leaves_out_are_the_architecture_s_own() -> None:
    """Gemma 3's configuration names neither its heads nor its vocabulary."""
    shape = shape_named("gemma3_4b")
    assert (shape.heads, shape.kv_heads, shape.head_dim, shape.vocabulary) == (8, 4, 256, 262_208)
    assert (shape.norms, shape.head_norms, shape.tied) == (4, True, True)


def test_an_adapter_has_the_weights_of_its_two_matrices() -> None:
    """LoRA of rank 16 on Llama 3.1 8B: 41,943,040, as peft prints it."""
    shape = shape_named("llama3_1_8b")
    assert shape.adapter(16) == 41_943_040
    assert shape.adapter(16, "q_proj,v_proj") == 32 * 16 * (4096 + 4096 + 4096 + 1024)


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "mamba", "hidden_size": 8},
        {**decoder("llama", 8, 16, 2, 2, 2, 10), "num_local_experts": 4},
        {},
    ],
)
def test_an_unknown_architecture_has_no_shape(config: dict[str, object]) -> None:
    assert shape_of(config, 1000) is None


def test_a_configuration_that_disagrees_with_the_weights_has_no_shape() -> None:
    config, weights = KNOWN["smollm2_135m"]
    assert shape_of(config, round(1.01 * weights)) is not None
    assert shape_of(config, round(1.05 * weights)) is None
    assert shape_of(KNOWN["qwen3_0_6b"].config, 751_632_384) is not None, "its files hold the tied head, too"


def test_the_weights_of_a_multimodal_model_are_needed() -> None:
    """Without them, its vision tower would count as nothing."""
    assert shape_of(KNOWN["gemma3_4b"].config) is None


def test_weights_are_counted_in_the_files_or_in_the_hub_s_index(tmp_path: Path) -> None:
    folder = model(tmp_path / "here", weights={"a": np.zeros((3, 4), np.float32), "b": np.zeros(5, np.float32)})
    assert number_of_weights(ModelFolder(folder, "here")) == 17
    (folder / "model.safetensors").unlink()
    hub = ModelFolder(folder, "owner/name", whole=False)
    assert number_of_weights(hub) is None
    (folder / "model.safetensors.index.json").write_text('{"metadata": {"total_size": 34}, "weight_map": {}}')
    assert number_of_weights(hub) is None, "the precision is unknown"
    (folder / "config.json").write_text('{"model_type": "llama", "dtype": "bfloat16"}')
    assert number_of_weights(ModelFolder(folder, "owner/name", whole=False)) == 17
    (folder / "model.safetensors.index.json").unlink()
    save_file({"a": np.zeros(4, np.float32)}, folder / "model.safetensors")
    assert number_of_weights(ModelFolder(folder, "owner/name", whole=False)) == 4
