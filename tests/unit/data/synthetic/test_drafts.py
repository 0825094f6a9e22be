"""Drafts: which are worth reviewing, what reviews make of them, and prompts that a model makes up."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.backend import AnnotatorAnswer, Verdict
from pipeline.data.prompts.loading import load_prompts
from pipeline.data.rows import Message, write_jsonl
from pipeline.data.synthetic.drafts import Draft, Generated, as_unreviewed, pool_reviews, usable_drafts
from pipeline.data.synthetic.self_instruct import PromptPool, prompts_in
from pipeline.errors import RequestError

FILE = Path("prompts.jsonl")


@dataclass
class Rules:
    """A stand-in for the cleaning rules, which have tests of their own."""

    messages: list[Message]
    dropped: str | None = None
    field: str | None = None
    role: str | None = None


def clean(messages: Sequence[Message]) -> Rules:
    if "cannot help" in messages[-1]["content"]:
        return Rules([], "nothing but a refusal", "messages[1].content", "assistant")
    return Rules([Message(role=turn["role"], content=turn["content"].replace("â€™", "’")) for turn in messages])


def asked(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


def draft(name: str = "d", text: str = "Turn it off.") -> Draft:
    return Draft(id=name, prompt=asked("Why?"), draft=text, writer="m")


def answer(annotator: str, verdict: Verdict | None, text: str = "Turn it off.", comment: str = "") -> AnnotatorAnswer:
    said: dict[str, Any] = {"verdict": verdict, "text": text} if verdict else {}
    status = "submitted" if verdict else "discarded"
    return {"task": "d", "annotator": annotator, "status": status, "ranks": None, "comment": comment, **said}  # type: ignore[typeddict-item, return-value]


# -- filters


def test_what_is_not_worth_reviewing_is_in_the_ledger_with_its_line_and_reason() -> None:
    written = [
        Generated("Itâ€™s off.", True),
        Generated(" \n", True),
        Generated("Turn it", False),
        Generated("I cannot help with that.", True),
        Generated("", False, refused=True),
        Generated("It’s off. ", True),
    ]
    drafts, ledger = usable_drafts([asked("Why?")] * len(written), written, "m", clean, FILE)
    assert [(one["prompt"], one["draft"], one["writer"]) for one in drafts] == [(asked("Why?"), "It’s off.", "m")]
    assert [(entry.place.line, entry.reason) for entry in ledger.entries] == [
        (2, "the draft is empty"),
        (3, "the draft was cut off before its end"),
        (4, "nothing but a refusal"),
        (5, "the endpoint refused the prompt"),
        (6, "the same draft to the same prompt"),
    ]
    assert ledger.read == ledger.kept + ledger.dropped == 6


@given(st.lists(st.tuples(st.sampled_from("ab"), st.text(max_size=3), st.booleans(), st.booleans())))
def test_read_is_kept_and_dropped_and_every_draft_has_a_name_of_its_own(
    rows: list[tuple[str, str, bool, bool]],
) -> None:
    written = [Generated(text, stopped, refused) for _, text, stopped, refused in rows]
    drafts, ledger = usable_drafts([asked(prompt) for prompt, *_ in rows], written, "m", clean, FILE)
    assert ledger.read == len(rows)
    assert ledger.kept == len(drafts) == len({one["id"] for one in drafts})


# -- reviews


def test_one_reviewer_decides_alone() -> None:
    (kept,), _ = pool_reviews([draft()], [answer("ann", "accept")])
    assert kept == {
        "messages": [*asked("Why?"), {"role": "assistant", "content": "Turn it off."}],
        "id": "d",
        "writer": "m",
        "verdict": "accept",
        "reviewed_by": ["ann"],
    }
    (kept,), _ = pool_reviews([draft()], [answer("ann", "correct", "Turn it on.")])
    assert (kept["messages"][-1]["content"], kept["verdict"], kept["corrected_by"]) == ("Turn it on.", "correct", "ann")
    kept_none, (rejected,) = pool_reviews([draft()], [answer("ann", "reject", comment="No switch.")])
    assert kept_none == []
    assert rejected["reason"] == "rejected by a majority"
    assert rejected["reviews"] == [{"annotator": "ann", "verdict": "reject", "comment": "No switch."}]


def test_a_tie_rejects_and_what_everybody_discarded_is_rejected_with_what_was_said() -> None:
    _, (tied,) = pool_reviews([draft()], [answer("bob", "correct", "Turn it on."), answer("ann", "reject")])
    assert tied["reason"].startswith("a tie")
    assert tied["reviews"][1] == {"annotator": "bob", "verdict": "correct", "text": "Turn it on."}  # no edit is lost
    _, (discarded,) = pool_reviews([draft()], [answer("ann", None, comment="garbled")])
    assert (discarded["reason"], discarded["reviews"]) == (
        "discarded by all reviewers",
        [{"annotator": "ann", "comment": "garbled"}],
    )


def test_of_several_corrections_the_first_name_in_the_alphabet_counts() -> None:
    said = [answer("cid", "correct", "C"), answer("bob", "correct", "B"), answer("ann", "accept")]
    (kept,), _ = pool_reviews([draft()], said)
    assert (kept["messages"][-1]["content"], kept["corrected_by"]) == ("B", "bob")
    assert kept["reviewed_by"] == ["ann", "bob", "cid"]


def test_a_draft_without_reviews_is_neither_kept_nor_rejected() -> None:
    assert pool_reviews([draft()], []) == ([], [])
    assert as_unreviewed(draft())["verdict"] == "unreviewed"
    assert as_unreviewed(draft())["reviewed_by"] == []


@given(st.lists(st.sampled_from(["accept", "correct", "reject", None]), min_size=1, max_size=7), st.randoms())
def test_the_majority_decides_in_any_order(verdicts: list[Verdict | None], shuffle: random.Random) -> None:
    said = [answer(f"a{number}", verdict, f"text {number}") for number, verdict in enumerate(verdicts)]
    before = pool_reviews([draft()], said)
    shuffle.shuffle(said)
    assert pool_reviews([draft()], said) == before
    in_favour = sum(verdict in ("accept", "correct") for verdict in verdicts)
    assert (len(before[0]), len(before[1])) == ((1, 0) if in_favour > verdicts.count("reject") else (0, 1))


# -- prompts


def test_prompts_are_read_and_demonstrations_give_theirs(tmp_path: Path) -> None:
    write_jsonl(
        tmp_path / "prompts.jsonl",
        [
            {"prompt": "Why?"},
            {"prompt": [{"role": "user", "content": "How?"}], "system": "Be brief."},
            *[{"prompt": f"{number}?"} for number in range(3)],
            {"prompt": ""},
        ],
    )
    prompts, ledger = load_prompts(tmp_path / "prompts.jsonl")
    assert prompts[:2] == [asked("Why?"), [{"role": "system", "content": "Be brief."}, *asked("How?")]]
    assert (ledger.read, ledger.kept, [entry.place.line for entry in ledger.entries]) == (6, 5, [6])
    write_jsonl(tmp_path / "demos.jsonl", [{"prompt": "Why?", "completion": "So."}])
    assert load_prompts(tmp_path / "demos.jsonl")[0] == [asked("Why?")]
    write_jsonl(tmp_path / "bad.jsonl", [{"prompt": ""}])
    with pytest.raises(RequestError, match=r"bad\.jsonl, line 1"):
        load_prompts(tmp_path / "bad.jsonl")


def test_new_prompts_are_taken_and_near_ones_short_ones_and_cut_ones_are_not() -> None:
    prompt_pool = PromptPool(["How do I mend a lamp that flickers?"])
    assert not prompt_pool.add_if_new("how do I mend a lamp, that flickers")
    assert not prompt_pool.add_if_new("Why not?")
    assert prompt_pool.add_if_new("Which bread keeps longest in summer?")
    assert not prompt_pool.add_if_new("Which bread keeps longest in the summer?")
    assert not prompt_pool.add_if_new("word " * 151)
    assert prompt_pool.add_if_new("如何修理一盏闪烁的灯?")
    assert prompt_pool.made_up == ["Which bread keeps longest in summer?", "如何修理一盏闪烁的灯?"]


def test_what_is_asked_shows_six_given_prompts_and_two_made_up_ones() -> None:
    prompt_pool = PromptPool([f"Given number {number} of all?" for number in range(20)])
    for made in ("alpha beta gamma", "delta epsilon zeta", "eta theta iota"):
        assert prompt_pool.add_if_new(made)
    request = prompt_pool.request(random.Random(0))
    assert request == prompt_pool.request(random.Random(0))
    assert request.count("Given number") == 6
    assert sum(made in request for made in prompt_pool.made_up) == 2


def test_a_list_that_was_cut_off_loses_its_last_entry() -> None:
    text = "Sure!\n1. First one.\n2) Second one.\n\n3: Thi"
    assert prompts_in(text, whole=True) == ["First one.", "Second one.", "Thi"]
    assert prompts_in(text, whole=False) == ["First one.", "Second one."]
    assert prompts_in("no list at all", whole=True) == []
