"""Turns marked as not to be learned are context: in rows, comparison, counts, prompts and cleaning."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.flags import FALSE, TRUE
from pipeline.data.cleaning.cleaner import Cleaner
from pipeline.data.faults import BadRow, LeftOut
from pipeline.data.formats.turn_order import repair_order
from pipeline.data.prompts.turns import prompts_of
from pipeline.data.statistics import Statistics
from pipeline.errors import RequestError
from tests.unit.data.preparing import load_demonstrations
from tests.unit.data.raw_rows import A, S, U, demonstration, said
from tests.unit.data.test_loading import lines

TURNS = said((U, "q"), (A, "bad"), (U, "again"), (A, "good"))
MARKED = [TURNS[0], {**TURNS[1], "train": False}, *TURNS[2:]]

NO = (0, 0.0, False, "False", *FALSE)
YES = (1, 1.0, True, *TRUE, None)


def with_flags(key: str, *flags: Any) -> dict[str, Any]:
    return {"messages": [{**turn, key: flag} for turn, flag in zip(TURNS, flags, strict=True)]}


@given(
    key=st.sampled_from(("weight", "Weight", "train", "loss", "train_on_turn", "supervised", "loss_mask")),
    no=st.sampled_from(NO),
    yes=st.sampled_from(YES),
)
def test_a_flag_that_is_false_makes_context_of_a_turn(key: str, no: Any, yes: Any) -> None:
    assert demonstration("messages", with_flags(key, None, no, None, yes))["messages"] == MARKED
    assert demonstration("messages", with_flags(key, no, no, no, yes))["messages"] == MARKED
    assert demonstration("messages", with_flags(key, yes, yes, yes, yes))["messages"] == TURNS


@given(key=st.sampled_from(("masked", "mask", "no_loss", "ignore")), no=st.sampled_from(NO), yes=st.sampled_from(YES))
def test_of_other_flags_the_true_ones_do(key: str, no: Any, yes: Any) -> None:
    expected = TURNS if yes is None else MARKED
    assert demonstration("messages", with_flags(key, None, yes, None, no))["messages"] == expected


@pytest.mark.parametrize("key", ["conversations", "conversation", "messages"])
@given(flags=st.lists(st.booleans(), min_size=4, max_size=4), form=st.sampled_from((int, float, str, bool)))
def test_a_loss_mask_marks_turn_by_turn(key: str, flags: list[bool], form: Any) -> None:
    turns = [{"from": turn["role"], "value": turn["content"]} for turn in TURNS]
    written = {key: turns, "loss_mask": [*map(form, flags)]}
    name = "sharegpt" if key == "conversations" else "messages"
    if not flags[1] and not flags[3]:
        with pytest.raises(LeftOut, match="no answer of the conversation is marked to be learned"):
            demonstration(name, written)
    else:
        found = demonstration(name, written)["messages"]
        assert [turn.get("train", True) for turn in found] == [True, flags[1], True, flags[3]]


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        (with_flags("weight", None, 0.5, None, 1), "messages[1].weight", "only 1 or 0"),
        (with_flags("train", None, "maybe", None, 1), "messages[1].train", "only 1 or 0"),
        (
            with_flags("train_detail", None, [{"begin_offset": 0}], None, None),
            "messages[1].train_detail",
            "only 1 or 0",
        ),
        ({"messages": [TURNS[0], {**TURNS[1], "weight": 0, "train": True}]}, "messages[1].weight + train", "disagree"),
        ({"messages": TURNS, "loss_mask": [0, 1]}, "loss_mask", "as many values as there are turns"),
        ({"messages": TURNS, "loss_mask": [0, 0, 0, 0.5]}, "loss_mask[3]", "only 1 or 0"),
        ({"messages": TURNS, "loss_mask": [0, 0, 0, 1], "weights": [1, 1, 1, 1]}, "loss_mask or weights", "keep one"),
        ({**with_flags("train", None, True, None, None), "loss_mask": [0, 0, 0, 1]}, "messages[1]", "disagree"),
    ],
)
def test_flags_that_are_not_understood_cost_the_row(change: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(BadRow, match=reason) as caught:
        demonstration("messages", change)
    assert caught.value.field == field


@pytest.mark.parametrize("key", ["weight", "Train", "sample_weight"])
def test_a_row_may_say_that_it_is_not_to_be_learned(key: str) -> None:
    row = {"prompt": "q", "completion": "a"}
    for no in NO:
        with pytest.raises(LeftOut, match="the row is marked as not to be learned"):
            demonstration("prompt_completion", {**row, key: no})
    for yes in (*YES, 0.5, "train"):
        assert demonstration("prompt_completion", {**row, key: yes})["messages"] == said((U, "q"), (A, "a"))


def test_an_exchange_that_is_not_to_be_learned() -> None:
    turns = [{"user": "q", "assistant": "bad", "weight": 0}, {"human": "again", "bot": "good"}]
    assert demonstration("messages", {"conversation": turns})["messages"] == MARKED
    plain = [{"user": "q", "assistant": "bad"}, {"human": "again", "bot": "good"}]
    assert demonstration("messages", {"conversation": plain, "loss_mask": [0, 1]})["messages"] == MARKED


def test_mending_joins_no_answer_to_one_that_is_not_learned() -> None:
    unlike = [TURNS[0], {**TURNS[1], "train": False}, TURNS[3]]
    assert repair_order(unlike) == unlike
    alike = [TURNS[0], {**TURNS[1], "train": False}, {**TURNS[3], "train": False, "reasoning_content": "r"}]
    joined = {"role": A, "content": "bad\n\ngood", "train": False, "reasoning_content": "r"}
    assert repair_order(alike) == [TURNS[0], joined]


def test_prompts_and_statistics_are_of_what_is_learned() -> None:
    assert prompts_of(MARKED, "every", 0) == [(TURNS[:3], "good")]
    counted = Statistics(0)
    counted.add(MARKED, "files", 7)
    assert counted.turns == {1: 1}


def test_the_same_texts_with_other_marks_are_no_duplicates(tmp_path: Path) -> None:
    first = [*MARKED[:3], TURNS[3]]
    last = [*TURNS[:3], {**TURNS[3], "train": False}]
    rows = [{"messages": turns} for turns in (first, last, first)]
    found, ledger, _ = load_demonstrations(lines(tmp_path, *rows))
    assert [row["messages"] for row in found] == [first, last]
    assert ledger.duplicates == 1


def test_cleaning_keeps_marks_and_cleans_reasoning() -> None:
    row = [
        *said((S, "s"), (U, "q")),
        {"role": A, "content": "I can't help with that.", "train": False},
        *said((U, "again")),
        {"role": A, "content": "a\u200bb", "reasoning_content": "c\u200bd ann@posteo.de"},
    ]
    cleaned = Cleaner({"personal_data": "mask", "refusals": "drop"})(row)  # type: ignore[arg-type]
    assert cleaned.dropped is None
    assert cleaned.messages[2] == row[2]
    assert cleaned.messages[4]["content"] == "ab"
    assert cleaned.messages[4]["reasoning_content"].startswith("cd ")
    assert "posteo" not in cleaned.messages[4]["reasoning_content"]
    dropped = Cleaner({"personal_data": "drop"})(row)  # type: ignore[arg-type]
    assert dropped.dropped == "personal data is in the text"


LEARNED_NAMES = (
    "train",
    "is_trainable",
    "compute_loss",
    "has_loss",
    "lossWeight",
    "loss-mask",
    "Train on turn",
    "learn",
)
MASKED_NAMES = (
    "masked",
    "is_masked",
    "mask_loss",
    "no_loss",
    "exclude_from_loss",
    "ignoreInLoss",
    "skip_training",
    "skip",
)


@pytest.mark.parametrize(("keys", "flag"), [(LEARNED_NAMES, False), (MASKED_NAMES, True)])
def test_a_flag_is_known_by_the_words_of_its_name(keys: tuple[str, ...], flag: bool) -> None:
    for key in keys:
        assert demonstration("messages", with_flags(key, None, flag, None, None))["messages"] == MARKED, key
        assert demonstration("messages", with_flags(key, None, not flag, None, None))["messages"] == TURNS, key


@pytest.mark.parametrize(
    "key", ["train_on_input", "label_mask", "target", "include", "weight_of_model", "name", "turn"]
)
def test_other_names_are_no_flags(key: str) -> None:
    assert demonstration("messages", with_flags(key, None, 0, None, 1))["messages"] == TURNS


@pytest.mark.parametrize("key", ["loss", "train", "weight", "trainable", "lossMask", "turn_mask", "loss_masks"])
@pytest.mark.parametrize("written", [[0, 0, 0, 1], "[0, 0, 0, 1]", "[False False False  True]"])
def test_a_list_of_flags_is_known_by_its_name(tmp_path: Path, key: str, written: Any) -> None:
    (found,), _, _ = load_demonstrations(lines(tmp_path, {"messages": TURNS, key: written}))
    assert found["messages"] == MARKED


REASONED = [TURNS[0], {**TURNS[1], "train": False}, TURNS[2], {**TURNS[3], "reasoning_content": "why"}]


@pytest.mark.parametrize("mark", [{}, {"label": True}, {"feedback": "thumbs up"}, {"status": "approved"}])
@pytest.mark.parametrize("flags", [{"loss_mask": [0, 0, 0, 1]}, {}])
def test_what_turns_say_of_themselves_holds_beside_every_mark(tmp_path: Path, mark: Any, flags: Any) -> None:
    turns = [TURNS[0], TURNS[1] if flags else {**TURNS[1], "weight": 0}, *REASONED[2:]]
    (found,), _, _ = load_demonstrations(lines(tmp_path, {"messages": turns, **mark, **flags}))
    assert found["messages"] == REASONED
    last = [TURNS[0], {**TURNS[3], "weight": 0}]
    with pytest.raises(RequestError, match="no answer of the conversation is marked to be learned"):
        load_demonstrations(lines(tmp_path, {"messages": last, **mark}))


@pytest.mark.parametrize("mark", [{}, {"label": True}, {"accepted": True}])
@pytest.mark.parametrize("reasoned", [{"completion": "a", "reasoning": "why"}, {"completion": [REASONED[3]]}])
def test_reasoning_comes_with_answers_that_are_marked_as_good(tmp_path: Path, mark: Any, reasoned: Any) -> None:
    (found,), _, _ = load_demonstrations(lines(tmp_path, {"prompt": "q", **reasoned, **mark}))
    assert found["messages"][1]["reasoning_content"] == "why"


SHAPES: list[dict[str, Any]] = [
    {"prompt": "q", "completion": "good"},
    {"instruction": "q", "output": "good"},
    {"messages": [TURNS[0], TURNS[3]]},
    {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "good"}]},
    {"contents": [{"role": "user", "parts": [{"text": "q"}]}, {"role": "model", "parts": [{"text": "good"}]}]},
    {"text": "\n\nHuman: q\n\nAssistant: good"},
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("key", "against", "otherwise"),
    [
        *(("deleted", True, False), ("is_deleted", 1, 0), ("Rejected", "true", "false"), ("discard", "1", "0")),
        *(("excluded", "yes", "no"), ("valid", False, True), ("is_correct", 0, 1), ("keep", "false", "true")),
        *(("include_in_training", "0", "1"), ("isGood", False, True)),
    ],
)
def test_excluded_rows_are_left_out_of_every_format(
    tmp_path: Path, shape: dict[str, Any], key: str, against: Any, otherwise: Any
) -> None:
    fine = {**shape, key: otherwise}
    found, ledger, _ = load_demonstrations(lines(tmp_path, fine, {**shape, key: against}, {**fine, "id": "b"}))
    assert [row["messages"] for row in found] == [[TURNS[0], TURNS[3]]]
    assert sum(ledger.reasons("cleaning").values()) == 1
    unruled, _, _ = load_demonstrations(lines(tmp_path, {**shape, key: "a text"}))
    assert len(unruled) == 1
