"""A head with a large vocabulary in tiles: the same logits and gradients, and only where nothing else happens in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.lazily import lazily
from tests.stages import tiny

with lazily():
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.nn import Linear
    from torch.nn.utils.parametrizations import weight_norm

    from pipeline.modeling import tiles
    from pipeline.modeling.heads import LanguageHead, check_head, transformer_of, unwrapped_model

IDS = [10, 20, 30, 40, 50, 11]


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tiles of five columns for every vocabulary; returns how many rows each product in tiles had."""
    rows: list[int] = []
    product = tiles._TiledProduct.apply

    def counted(states: torch.Tensor, *rest: Any) -> torch.Tensor:
        rows.append(len(states))
        return product(states, *rest)

    monkeypatch.setattr("pipeline.modeling.tiles.LEAST_VOCABULARY", 2)
    monkeypatch.setattr("pipeline.modeling.tiles.TILE", 5)
    monkeypatch.setattr("pipeline.modeling.tiles._TiledProduct.apply", counted)
    return rows


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_every_architecture_has_the_same_logits_and_gradients_in_tiles(name: str, small_tiles: list[int]) -> None:
    model, ids = tiny.model(name), torch.tensor([IDS])
    states = transformer_of(model)(input_ids=ids).last_hidden_state
    learned = [p for p in model.parameters() if p.requires_grad]
    slopes = torch.randn(1, len(IDS), model(input_ids=ids).logits.shape[-1])
    outputs = LanguageHead(model)(states), model(input_ids=ids).logits
    gradients = [torch.autograd.grad((one * slopes).sum(), learned, allow_unused=True) for one in outputs]
    assert torch.allclose(*outputs, atol=1e-5)
    for found, own in zip(*gradients, strict=True):
        assert (found is None and own is None) or torch.allclose(found, own, atol=1e-5, rtol=1e-4)
    check_head(model, IDS, name)
    in_tiles = isinstance(tiles.tiled(model.get_output_embeddings()), tiles.TiledLinear)
    direct = any(part is model.get_output_embeddings() for part in model.children())
    assert bool(small_tiles) == (in_tiles and direct)


def test_most_architectures_are_computed_in_tiles(small_tiles: list[int]) -> None:
    for name in tiny.CONFIGS:
        model = tiny.model(name)
        LanguageHead(model)(transformer_of(model)(input_ids=torch.tensor([IDS])).last_hidden_state)
    assert len(small_tiles) > 0.8 * len(tiny.CONFIGS)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_a_whole_vocabulary_is_computed_as_the_layer_does(bias: bool, frozen: bool) -> None:
    """With the shipped size of a tile, and a last tile that is not full."""
    torch.manual_seed(0)
    layer = Linear(24, tiles.LEAST_VOCABULARY + 5, bias=bias).requires_grad_(not frozen)
    states = torch.randn(2, 3, 24, requires_grad=True)
    ways = layer, tiles.tiled(layer)
    assert type(ways[1]) is tiles.TiledLinear
    found, own = (way(states) for way in reversed(ways))
    assert torch.allclose(found, own, atol=1e-5)
    slopes, learned = torch.randn_like(own), [states, *(() if frozen else layer.parameters())]
    for one, other in zip(*(torch.autograd.grad((out * slopes).sum(), learned) for out in (found, own)), strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_few_rows_and_other_precisions_are_left_to_the_layer(small_tiles: list[int]) -> None:
    layer = Linear(8, 30)
    own = tiles.tiled(layer)
    assert torch.equal(own(torch.ones(3, 8)), layer(torch.ones(3, 8)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(own(torch.ones(6, 8)), layer(torch.ones(6, 8)))
    assert not small_tiles


def replaced(layer: Any) -> Any:
    layer.forward = lambda states: states
    return layer


def with_adapter(layer: Any) -> Any:
    config = LoraConfig(r=2, target_modules=["0"])
    return unwrapped_model(get_peft_model(torch.nn.Sequential(layer), config))[0]


def test_hooks_of_the_layer_are_called(small_tiles: list[int]) -> None:
    layer, states = Linear(8, 30), torch.ones(6, 8)
    bare = layer(states)
    layer.register_forward_hook(lambda module, given, out: out + 1)
    assert torch.allclose(tiles.tiled(layer)(states), bare + 1, atol=1e-6)
    assert small_tiles == [6]


@pytest.mark.parametrize(
    "change", [replaced, with_adapter, lambda layer: weight_norm(layer), lambda layer: layer.bfloat16()]
)
def test_a_layer_in_which_more_happens_is_left_alone(change: Callable[[Any], Any], small_tiles: list[int]) -> None:
    assert type(tiles.tiled(Linear(8, 30))) is tiles.TiledLinear
    changed = change(Linear(8, 30))
    assert tiles.tiled(changed) is changed
