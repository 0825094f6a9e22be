"""Packed rows give the losses, gradients and figures of padded ones; no architecture lets them see each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.compose import load
from pipeline.config.nodes.models import SftConfig
from pipeline.errors import RequestError
from tests.lazily import lazily
from tests.stages import tiny
from tests.stages.architectures import ARCHITECTURES, build
from tests.stages.test_figures import COMMON, MICRO, whole

with lazily():
    import torch
    from transformers import AutoModelForCausalLM

    from pipeline.modeling import training, tuning
    from pipeline.modeling.fused import use_whole_head
    from pipeline.modeling.heads import transformer_of
    from pipeline.modeling.packing import check_packing, collate_packed, packed_places, rows_per_pass

IGNORED_LABEL = -100
UNPACKABLE = {  # no positions (ALiBi), masks made without them, or a state that runs through the whole row
    *("bloom", "mpt", "opt", "opt_350m", "falcon", "gpt_oss"),
    *("bamba", "qwen3_5", "qwen3_next", "lfm2", "falcon_h1", "jamba", "recurrent_gemma", "mamba"),
}
ROWS = [{"input_ids": [1, *range(20 + 9 * n, 25 + 11 * n)]} for n in range(6)]  # of 6 to 16 tokens
for row in ROWS:
    row["labels"] = [row["input_ids"][0], IGNORED_LABEL, *row["input_ids"][2:]]


def loss_of_rows(model: Any) -> torch.Tensor:
    """Return the sum of losses of all labels, with each row alone in the model's own forward pass."""
    total = torch.zeros(())
    for row in ROWS:
        logs = model(input_ids=torch.tensor([row["input_ids"]]), use_cache=False).logits[0, :-1].log_softmax(-1)
        labels = torch.tensor(row["labels"][1:])
        kept = labels != IGNORED_LABEL
        total = total - logs[kept].gather(1, labels[kept, None]).sum()
    return total


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "attention"), [*((name, None) for name in ARCHITECTURES), ("llama", "eager"), ("gemma3_text", "eager")]
)
def test_packed_rows_see_only_themselves_or_the_architecture_is_refused(
    name: str, attention: str | None, tmp_path: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(build(name, tmp_path).path, attn_implementation=attention).eval()
    if name in UNPACKABLE:
        with pytest.raises(RequestError, match="packing"):
            check_packing(transformer_of(model), 0, name)
        return
    check_packing(transformer_of(model), 0, name)
    alone = loss_of_rows(model)
    expected = gradients(model, alone)
    use_whole_head(model)
    batch = collate_packed(ROWS, 0, 2)
    packed = -model(**batch, fused_lm_head=True).log_probs.sum()
    assert len(batch["input_ids"]) < len(ROWS)
    assert float(packed) == pytest.approx(float(alone), rel=1e-5)
    for key, value in gradients(model, packed).items():
        assert torch.allclose(value, expected[key], atol=1e-4 * float(expected[key].abs().max()) + 1e-6), key


def test_one_long_row_for_flash_attention_gives_the_same_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("llama")
    use_whole_head(model)
    batch = collate_packed([{**row, "input_ids": [i % 60 for i in row["input_ids"]]} for row in ROWS], 0, 2)
    batch["labels"] = torch.where(batch["labels"] == IGNORED_LABEL, IGNORED_LABEL, batch["labels"] % 60)
    seen = []
    body = transformer_of(model)
    body.register_forward_pre_hook(lambda *given: seen.append(given[-1]["input_ids"].shape), with_kwargs=True)
    in_rows = model(**batch, fused_lm_head=True).log_probs
    monkeypatch.setattr("pipeline.modeling.packing.is_flash_attention_requested", lambda config: True)
    in_one = model(**batch, fused_lm_head=True).log_probs
    assert seen == [batch["input_ids"].shape, (1, int(batch["attention_mask"].sum()))]
    assert torch.allclose(in_rows, in_one, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_rows_that_see_each_other_or_have_wrong_positions_are_refused(
    name: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = transformer_of(tiny.model(name).to(getattr(torch, dtype)))
    check_packing(decoder, 1, name)
    plain = type(decoder).forward
    monkeypatch.setattr(decoder, "forward", lambda attention_mask=None, **given: plain(decoder, **given | MASK(given)))
    with pytest.raises(RequestError, match="see each other"):
        check_packing(decoder, 1, name)


def MASK(given: dict[str, Any]) -> dict[str, Any]:
    """A mask of padding: with it, transformers does not look at positions to keep rows apart."""
    return {"attention_mask": torch.ones_like(given["input_ids"])}


def test_absolute_positions_that_run_on_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = transformer_of(tiny.model("gpt2"))
    inner = decoder.wpe.forward
    monkeypatch.setattr(decoder.wpe, "forward", lambda places: inner(torch.arange(places.shape[1])[None]))
    with pytest.raises(RequestError, match="wrong positions"):
        check_packing(decoder, 1, "gpt2")


def test_packed_rows_hold_every_row_once_and_are_never_wider_than_the_longest() -> None:
    lengths = [7, 3, 9, 1, 1, 4, 2, 9, 5]
    groups = packed_places(lengths, 9)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    assert [sum(lengths[i] for i in group) for group in groups] == [9, 9, 9, 9, 5]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.integers(1, 12))
def test_a_pass_of_packed_rows_has_no_more_tokens_than_one_of_padded_rows(lengths: list[int], size: int) -> None:
    rows = [{"input_ids": [5] * length, "labels": [5] * length} for length in lengths]
    batch = collate_packed(rows, 0, size)
    count, width = batch["input_ids"].shape
    assert int(batch["attention_mask"].sum()) == sum(lengths)
    assert count * width <= len(lengths) * max(lengths)
    assert rows_per_pass(batch, size) * width <= size * max(lengths)


class Run:
    """An SFT run from the same weights each time, padded or packed."""

    def __init__(self, name: str, micro: int | None, folder: Path, *, packing: bool) -> None:
        context = tiny.context(folder / f"{packing} {micro}", micro_batch_size=micro)
        context.output_dir.mkdir()
        without_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0} if name == "gpt2" else {}
        self.in_training = tiny.in_training(tiny.model(name, **without_dropout))
        rows = [[whole(row) for row in tiny.answers(*given)] for given in ((19, 0), (7, 1))]
        trainer = tuning.sft_trainer(self.in_training, *rows, SftConfig(**COMMON, packing=packing), context)
        self.passes: list[int] = []
        body = transformer_of(self.in_training.model)
        body.register_forward_pre_hook(
            lambda *given: self.passes.append(given[-1]["input_ids"].numel()), with_kwargs=True
        )
        self.history = training.train(trainer, context, "training", 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_training_packed_is_training_padded(name: str, tmp_path: Path) -> None:
    """For every size of micro batch: losses, gradient norms, tokens, evaluations and weights; only passes differ."""
    padded = Run(name, None, tmp_path, packing=False)
    for micro in MICRO:
        packed = Run(name, micro, tmp_path, packing=True)
        assert len(packed.history) == len(padded.history)
        for ours, theirs in zip(packed.history, padded.history, strict=True):
            assert ours.keys() == theirs.keys()
            figures = [key for key in ours if not key.endswith(("runtime", "per_second"))]
            assert [ours[key] for key in figures] == pytest.approx([theirs[key] for key in figures], rel=1e-4, abs=1e-5)
        for key, value in padded.in_training.model.named_parameters():
            assert torch.allclose(value, dict(packed.in_training.model.named_parameters())[key], atol=1e-5), key
        assert sum(packed.passes) < 0.8 * sum(padded.passes)


def test_experts_are_balanced_without_padding(tmp_path: Path) -> None:
    """Padding in packed rows takes no part in the loss that balances experts."""
    model = AutoModelForCausalLM.from_pretrained(build("mixtral", tmp_path).path).eval()
    use_whole_head(model)
    batch = collate_packed(ROWS, 0, 2)
    wider = {name: torch.nn.functional.pad(value, (0, 9)) for name, value in batch.items()}
    wider["labels"][:, -9:] = IGNORED_LABEL
    losses = [model(**one, fused_lm_head=True, output_router_logits=True).aux_loss for one in (batch, wider)]
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-6)


def test_packing_changes_no_version_and_refuses_what_would_mix_rows() -> None:
    from pipeline.config.schema import content

    plain, packed = (load([f"sft.packing={value}"]).sft for value in ("false", "true"))
    assert content(plain) == content(packed)
    with pytest.raises(RequestError, match="label_smoothing_factor"):
        load(["sft.packing=true", "+sft.trainer.label_smoothing_factor=0.1"])
