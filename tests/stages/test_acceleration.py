"""Requested attention reaches every model that runs, or is refused; compiled layers train as others do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.compose import load
from pipeline.config.nodes.machine import ATTENTION_ON_GPU, LaunchConfig
from pipeline.config.nodes.models import PeftConfig, SftConfig
from pipeline.errors import RequestError
from pipeline.store.artifact import Artifact
from tests.lazily import lazily
from tests.stages import tiny
from tests.stages.architectures import build
from tests.stages.test_figures import COMMON, whole

with lazily():
    import torch
    from transformers import AutoModel

    from pipeline.modeling import training, tuning
    from pipeline.modeling.acceleration import check_attention, check_precision, compile_layers
    from pipeline.modeling.answering import Answerer
    from pipeline.modeling.in_training import prepare_model
    from pipeline.modeling.rewards.models import load_reward_for_training
    from pipeline.modeling.rewards.scoring import RewardModel


@pytest.fixture
def llama(tmp_path: Path) -> Artifact:
    return build("llama", tmp_path / "llama")


def in_training(artifact: Artifact, folder: Path, **launch: Any) -> Any:
    return prepare_model(artifact, PeftConfig(), 0, tiny.context(folder, **launch)).model


def reward_model(artifact: Artifact, folder: Path, **launch: Any) -> Any:
    context = tiny.context(folder, **launch)
    made = prepare_model(artifact, PeftConfig(), 0, context, load_reward_for_training)
    made.model.save_pretrained(folder / "reward")
    made.tokenizer.save_pretrained(folder / "reward")
    return RewardModel(Artifact("model", "r", folder / "reward", {"source": source_of(folder)}), context).model


def source_of(folder: Path) -> dict[str, Any]:
    return {"path": str(folder / "reward"), "dtype": "float32", "chat_template": None}


USES: dict[str, Callable[..., Any]] = {
    "training": in_training,
    "sampling": lambda artifact, folder, **launch: Answerer(artifact, tiny.context(folder, **launch), 0).model,
    "scoring": reward_model,
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_every_model_that_runs_has_the_requested_attention(
    use: str, attention: str, llama: Artifact, tmp_path: Path
) -> None:
    assert USES[use](llama, tmp_path, attn_implementation=attention).config._attn_implementation == attention


@pytest.mark.parametrize("attention", ATTENTION_ON_GPU)
def test_an_attention_without_its_device_or_package_is_refused(attention: str) -> None:
    with pytest.raises(RequestError, match="needs a GPU"):
        check_attention(attention, torch.device("cpu"))
    with pytest.raises(RequestError, match=f"{attention}: it needs a GPU"):
        load([f"launch.attn_implementation={attention}", "launch.device=cpu"])
    if attention != "flex_attention":
        with pytest.raises(RequestError, match="is not installed"):
            check_attention(attention, torch.device("cuda"))


def test_an_attention_that_the_architecture_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="bloom does not have it"):
        in_training(build("bloom", tmp_path / "bloom"), tmp_path, attn_implementation="sdpa")


def test_attention_in_half_precision_is_not_for_weights_in_float32() -> None:
    model = tiny.model("llama")
    check_precision(model, "sdpa", "tiny")
    check_precision(model.bfloat16(), "flash_attention_2", "tiny")
    with pytest.raises(RequestError, match="half precision"):
        check_precision(model.float(), "flash_attention_2", "tiny")


def test_neither_switch_changes_a_version() -> None:
    plain, other = (load(extra) for extra in ([], ["launch.attn_implementation=eager", "launch.compile=true"]))
    assert replace(other, launch=plain.launch) == plain
    assert plain.launch == LaunchConfig()


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("architecture", ["gpt2", "phi"])
def test_fused_activations_compute_what_the_models_own_do(use: str, architecture: str, tmp_path: Path) -> None:
    """Every model that runs has them; its file and configuration name the activation as before."""
    artifact = build(architecture, tmp_path / architecture)
    model = USES[use](artifact, tmp_path)
    kinds = {type(part) for part in model.modules() if "GELU" in type(part).__name__}
    assert kinds == {torch.nn.GELU}
    folder = tmp_path / "reward" if use == "scoring" else artifact.path
    own = AutoModel.from_pretrained(folder).eval()
    assert "gelu_new" in {own.config.to_dict().get(name) for name in ("hidden_act", "activation_function")}
    ids = torch.arange(5, 21)[None]
    found = model.base_model(ids).last_hidden_state
    assert torch.allclose(found, own(ids).last_hidden_state, atol=1e-5)


COMPILE = "transformers.modeling_layers.GradientCheckpointingLayer.compile"


def eager_compile(layer: Any) -> None:
    """Compile without inductor, which takes minutes on a CPU: the same tracing, then the layer's own operations."""
    torch.nn.Module.compile(layer, backend="aot_eager")


@pytest.mark.slow
def test_compiled_layers_train_as_others_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with recomputed activations; the weights keep their names."""
    monkeypatch.setattr(COMPILE, eager_compile, raising=False)
    weights = []
    for compiled in (False, True):
        folder = tmp_path / f"{compiled}"
        folder.mkdir()
        made = tiny.in_training(tiny.model("llama"))
        if compiled:
            compile_layers(made.model, "tiny")
        rows = [[whole(row) for row in tiny.answers(*given)] for given in ((8, 0), (7, 1))]
        context = tiny.context(folder, gradient_checkpointing=True)
        trainer = tuning.sft_trainer(made, *rows, SftConfig(**{**COMMON, "epochs": 1}), context)
        training.train(trainer, context, "training", 1)
        weights.append({name: p.detach() for name, p in made.model.named_parameters()})
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        assert torch.allclose(value, weights[1][name], atol=1e-5), name


def test_layers_that_compile_to_something_else_or_not_at_all_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(layer: Any) -> None:
        plain = layer.forward
        layer.forward = lambda *args, **given: 1.1 * plain(*args, **given)

    def failing(layer: Any) -> None:
        def forward(*_: Any, **__: Any) -> None:
            raise RuntimeError("no compiler")

        layer.forward = forward

    for broken, words in ((wrong, "states differ"), (failing, "no compiler")):
        monkeypatch.setattr(COMPILE, broken, raising=False)
        with pytest.raises(RequestError, match=words):
            compile_layers(tiny.model("llama"), "tiny")
