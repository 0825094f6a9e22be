"""All rules together: a conversation keeps its turns, every change is reported, and no input breaks them."""

import pickle
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.cleaning.cleaner import Cleaned, Cleaner
from pipeline.data.cleaning.table import RULES, default_modes
from pipeline.data.rows import Message
from tests.examples import at_most

TOKENS = ("<|im_end|>", "</s>")


def asked(question: str, answer: str) -> list[Message]:
    return [Message(role="user", content=question), Message(role="assistant", content=answer)]


def clean(modes: Mapping[str, str], question: str, answer: str) -> Cleaned:
    return Cleaner(modes, TOKENS, ("en",) if "language" in modes else ())(asked(question, answer))


UNICODE = st.text(st.characters(exclude_categories=["Cs"]))
NOISE = st.lists(
    st.sampled_from(
        ["<br>", "&lt;", "|im_end|>", "&#8203;", "â€™", "\u200b", "</s>", "<", "a@b.com", "+14155552671", "x", "\n"]
    )
).map("".join)
MESSAGES = st.lists(
    st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=UNICODE | NOISE), max_size=5
)
MODES = st.fixed_dictionaries({}, optional={rule.name: st.sampled_from(rule.modes) for rule in RULES})


@at_most(60)
@given(MESSAGES, MODES)
def test_roles_and_turns_stay_nothing_raises_and_all_that_happened_is_said(
    messages: list[Message], modes: dict[str, str]
) -> None:
    cleaned = Cleaner(modes, TOKENS)(messages)
    assert [turn["role"] for turn in cleaned.messages] == [turn["role"] for turn in messages]
    assert bool(cleaned.changed) or cleaned.messages == messages
    chosen = {**default_modes(), **modes}
    assert all(chosen[name] in ("mend", "mask") for name in cleaned.changed)
    assert all(chosen[name] == "flag" for name in cleaned.flagged)
    assert cleaned.dropped is None or "drop" in chosen.values()


@at_most(60)
@given(NOISE)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    cleaner = Cleaner({"empty": "off", "personal_data": "mask"}, TOKENS)
    once = cleaner(asked(text, "b")).messages
    assert cleaner(once).messages == once


@settings(deadline=None)
@given(st.text("abc猫’“” .,;:!?'\"()\n\t-–…<>&/@", max_size=60) | st.text("abcéüß .,!?\n", max_size=60))
def test_plain_text_is_not_changed(text: str) -> None:
    assert Cleaner(default_modes(), TOKENS)(asked(text, "b")).changed == ()


@settings(deadline=None)
@given(MESSAGES)
def test_with_all_rules_off_a_conversation_goes_on_as_it_is(messages: list[Message]) -> None:
    assert Cleaner({rule.name: "off" for rule in RULES}, TOKENS, ("en",))(messages) == Cleaned(messages)


def test_a_conversation_in_order_is_neither_changed_nor_flagged() -> None:
    messages = [Message(role="system", content=""), *asked("What is 2 + 2, i.e. a < b?", "4"), *asked("Café?", "“Oui”")]
    assert Cleaner(default_modes(), TOKENS, ("en",))(messages) == Cleaned(messages)


def test_each_rule_works_on_what_the_rules_before_it_made() -> None:
    cleaned = Cleaner(default_modes(), TOKENS)(asked("Itâ€™s</s>", "Hi<br>&lt;|im_\u200bend|&gt;\r\nthere"))
    assert cleaned.messages == asked("It’s< /s>", "Hi\n< |im_end|>\nthere")
    assert cleaned.changed == ("encoding", "invisible", "markup", "special_tokens")
    assert cleaned.dropped is None


FRENCH = "Le renard brun saute par-dessus le chien paresseux, puis il rentre chez lui."


@pytest.mark.parametrize(
    ("modes", "question", "answer", "expected"),
    [
        ({"special_tokens": "drop"}, "a</s>", "b", ("a special token of the model is in the text", 0, "user")),
        ({"empty": "drop"}, "Well?", "\u200b<br>", ("the text has no letter, number or symbol", 1, "assistant")),
        (
            {"refusals": "drop"},
            "How?",
            "I can't help with that.",
            ("the answer is nothing but a refusal", 1, "assistant"),
        ),
        ({"personal_data": "drop"}, "a@b.com", "b", ("personal data is in the text", 0, "user")),
        ({"repetition": "drop"}, "a", "and so on " * 99, ("the answer repeats itself", 1, "assistant")),
        ({"language": "drop"}, FRENCH, FRENCH, ("not in en", None, None)),
    ],
)
def test_a_dropped_row_says_why_and_where(
    modes: dict[str, str], question: str, answer: str, expected: tuple[str, int | None, str | None]
) -> None:
    reason, index, role = expected
    cleaned = clean(modes, question, answer)
    place = None if index is None else f"messages[{index}].content"
    assert (cleaned.dropped, cleaned.field, cleaned.role) == (reason, place, role)


@pytest.mark.parametrize(
    ("name", "answer"),
    [("refusals", "I can't help with that."), ("personal_data", "a@b.com"), ("repetition", "and so on " * 99)],
)
def test_what_is_flagged_is_left_as_it_is(name: str, answer: str) -> None:
    cleaned = clean({}, "a", answer)
    assert cleaned == Cleaned(asked("a", answer), flagged=(name,))
    assert clean({name: "off"}, "a", answer) == Cleaned(asked("a", answer))


def test_personal_data_is_masked_in_every_turn() -> None:
    cleaned = clean({"personal_data": "mask"}, "I am a@b.com", "Hello a@b.com")
    texts = (("I am a@b.com", "I am [email]"),)
    assert cleaned == Cleaned(asked("I am [email]", "Hello [email]"), changed=("personal_data",), texts=texts)


def test_only_the_last_answer_counts_as_a_refusal() -> None:
    messages = [*asked("How?", "I can't help with that."), *asked("Why?", "Well, I can after all: like this.")]
    assert Cleaner({"refusals": "drop"})(messages) == Cleaned(messages)


def test_an_empty_system_turn_is_no_reason_to_leave_a_row_out() -> None:
    messages = [Message(role="system", content="--"), *asked("a", "b")]
    assert Cleaner(default_modes())(messages) == Cleaned(messages)


@pytest.mark.parametrize(
    ("modes", "message"),
    [
        ({"spelling": "mend"}, "unknown cleaning rule 'spelling'; the rules are encoding, invisible, markup"),
        ({"encoding": "drop"}, "cleaning rule 'encoding' has no mode 'drop'; it may be off, mend"),
    ],
)
def test_an_unknown_rule_or_mode_is_refused(modes: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cleaner(modes)


def test_every_rule_can_be_off_and_has_its_default_among_its_modes() -> None:
    assert all("off" in rule.modes and rule.default in rule.modes and rule.why for rule in RULES)
    assert len(default_modes()) == len(RULES)


def test_a_cleaner_goes_to_other_processes() -> None:
    cleaner = pickle.loads(pickle.dumps(Cleaner({**default_modes(), "personal_data": "mask"}, TOKENS, ("en",))))
    assert cleaner(asked("a@b.com</s>", "b")).messages == asked("[email]< /s>", "b")
