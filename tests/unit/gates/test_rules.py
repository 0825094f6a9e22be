"""Gates: each fires on figures that are wrong, says whose fault it is, and lets sound ones through."""

import dataclasses
import json
from pathlib import Path

import pytest

from pipeline.gates.rules import (
    ConversationFormat,
    agreement_verdict,
    centring_verdict,
    format_verdict,
    gate_metrics,
    length_verdict,
    padding_verdict,
    read_verdicts,
    stopping_verdict,
    write_gates,
)

LLAMA = ConversationFormat(template="t1", stop_id=2, pad_id=0, vocabulary="v1", rendered=[[1, 5, 2]])


@pytest.mark.parametrize(("alpha", "passed"), [(-0.2, False), (0.0, False), (0.09, False), (0.3, True), (0.9, True)])
def test_agreement_at_chance_warns_of_the_annotators(alpha: float, passed: bool) -> None:
    verdict = agreement_verdict({"alpha": alpha, "pairs": 200}, "collect")
    assert (verdict.passed, verdict.stage) == (passed, "collect")
    assert f"{alpha:.2f} over 200 pairs" in verdict.says


def test_unknown_agreement_is_no_fault() -> None:
    assert agreement_verdict({"pairs": 200}, "collect").passed


def test_a_policy_that_never_stops_warns_of_sft() -> None:
    verdict = stopping_verdict(0.02, 200, 64)
    assert (verdict.passed, verdict.stage) == (False, "sft")
    assert "2% of 200 answers end by themselves within 64 tokens" in verdict.says
    assert stopping_verdict(0.97, 200, 64).passed


def test_few_answers_leave_open_whether_a_policy_stops() -> None:
    """4 of 10 is compatible with more than half (Wilson: up to 0.69); 80 of 200 is not (up to 0.47)."""
    assert stopping_verdict(0.4, 10, 64).passed
    assert not stopping_verdict(0.4, 200, 64).passed


@pytest.mark.parametrize(
    ("accuracy", "longer", "pairs", "passed"),
    [
        (0.78, 0.55, 500, True),
        (0.56, 0.55, 500, False),  # [0.52, 0.60]
        (0.62, 0.55, 40, False),  # [0.46, 0.75]: too few to tell
        (0.70, 0.30, 500, False),  # "the shorter answer wins" is as good
        (0.90, 0.30, 500, True),
    ],
)
def test_a_reward_model_has_to_know_more_than_length(accuracy: float, longer: float, pairs: int, passed: bool) -> None:
    verdict = length_verdict(accuracy, longer, pairs)
    assert (verdict.passed, verdict.stage) == (passed, "reward")
    assert ("shorter" in verdict.says) == (longer < 0.5)


def test_a_score_that_moves_with_padding_warns() -> None:
    assert padding_verdict(2e-6).passed
    assert not padding_verdict(0.4).passed


def test_rounding_is_not_blamed_on_padding_and_hides_none() -> None:
    """In bfloat16 a score of 30 layers moves by 0.1 with the shape of its batch, and not at all with what pads."""
    verdict = padding_verdict(0.1, content=0.0, rounding=0.06)
    assert verdict.passed
    assert "as rounding explains (up to 0.24)" in verdict.says
    assert not padding_verdict(0.4, content=0.0, rounding=0.06).passed
    read = padding_verdict(0.1, content=0.09, rounding=0.06)
    assert not read.passed
    assert "the padding tokens: the model reads them" in read.says


def test_rewards_off_centre_warn_on_either_side() -> None:
    assert centring_verdict(1e-7).passed
    assert "reward of 0.00." in centring_verdict(-1e-9).says
    assert not centring_verdict(3.0).passed
    assert not centring_verdict(-3.0).passed


def test_the_same_format_passes_and_says_so() -> None:
    verdict = format_verdict(LLAMA, LLAMA, dataclasses.replace(LLAMA, rendered=()))
    assert verdict.passed
    assert "the same token ids and the stop id 2" in verdict.says


def test_another_tokenizer_is_rendered_again_and_that_is_said() -> None:
    """A reward model must not share the policy's tokenizer (trl#3595)."""
    other = ConversationFormat(template="t2", stop_id=50, pad_id=49, vocabulary="v2", rendered=[[7, 50]])
    verdict = format_verdict(LLAMA, other)
    assert verdict.passed
    assert verdict.figures["same_ids"] == 0
    assert "Another tokenizer and chat template and stop token than the policy's: answers are decoded" in verdict.says


@pytest.mark.parametrize(
    ("changed", "word"),
    [({"template": "t9"}, "chat template is"), ({"stop_id": 9}, "stop id 9"), ({"vocabulary": "v9"}, "tokenizer is")],
)
def test_a_reward_model_whose_own_format_has_changed_since_its_training_warns(
    changed: dict[str, object], word: str
) -> None:
    """One chat template and one EOS convention, from reward training to scoring (trl#1702)."""
    verdict = format_verdict(LLAMA, LLAMA, dataclasses.replace(LLAMA, **changed))  # type: ignore[arg-type]
    assert not verdict.passed
    assert word in verdict.says


def test_a_pad_token_that_is_eos_warns() -> None:
    """A score read at the last token that is not PAD would not see the stop token (trl#937)."""
    same = dataclasses.replace(LLAMA, pad_id=2)
    assert "PAD is its stop token" in format_verdict(same, same).says
    assert format_verdict(same, same, same).passed  # one of the pipeline's own is read by index


def test_verdicts_come_back_as_they_were_written(tmp_path: Path) -> None:
    verdicts = [stopping_verdict(0.02, 200, 64), centring_verdict(0.0)]
    write_gates(tmp_path, verdicts)
    assert read_verdicts(tmp_path / "gates.json") == verdicts
    assert json.loads((tmp_path / "gates.json").read_text())["verdicts"][0]["advice"]
    assert gate_metrics(verdicts) == {"gates": 2, "gates_warned": 1}
    assert read_verdicts(tmp_path / "none") == []
