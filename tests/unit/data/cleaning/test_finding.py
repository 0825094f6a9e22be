"""Detection of empty turns, refusals, personal data, other languages and repetition, without false positives."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.cleaning.answers import lacks_content, repeated_share, repeats_itself
from pipeline.data.cleaning.language import check_languages, in_other_language
from pipeline.data.cleaning.personal import find_personal_data, mask_personal_data
from pipeline.data.cleaning.refusals import is_refusal

UNICODE = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize("text", ["", " \n\t", "...", "?", "—", "\u200b\ufeff", "``` ```", "_", "、。", "¿?!"])
def test_punctuation_alone_says_nothing(text: str) -> None:
    assert lacks_content(text)


@pytest.mark.parametrize("text", ["4", "C++", "é", "猫", "👍", "½", "∞", "→", "x?", "$", "= +", "٣"])
def test_a_letter_a_number_or_a_symbol_says_something(text: str) -> None:
    assert not lacks_content(text)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I can’t assist with that request. It is illegal and could harm others.",
        "As an AI language model, I cannot provide medical advice.",
        "As an AI developed by a lab, I do not have personal opinions. Is there anything else I can help you with?",
        "Sorry, I can't do that.",
        "I cannot fulfill this request.",
        "I'm unable to help with this. Please let me know if you have other questions.",
        "I apologize, but I am not able to create content of that kind. This would go against my guidelines.",
        "I'm afraid I can't help with that.",
        "I can't.",
    ],
)
def test_an_answer_that_only_refuses_is_a_refusal(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No.",
        "Sorry about that.",
        "I can't help but be drawn to her.",
        "I can't help laughing.",
        "I'm sorry to hear that your dog died.",
        "I cannot stress enough how important sleep is.",
        "I cannot offer enough praise.",
        "I can't believe it's not butter!",
        "As an AI, I cannot feel pain, but here is how people describe it: it burns.",
        "I'm sorry, but I can't answer for him. Paste the text here and I will summarise it.",
        "I cannot provide legal advice, but a will usually needs two witnesses.",
        "I'm sorry, can you clarify what you mean?",
        "I can't give you a better answer than the book: read chapter 3.",
        "I can't help with that. " * 20,
    ],
)
def test_an_answer_that_says_more_or_something_else_is_no_refusal(text: str) -> None:
    assert not is_refusal(text)


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ("mail a.b+c@mail.co.uk.", "mail [email]."),
        ("call 415-555-2671 now", "call [phone] now"),
        ("(415) 555-2671, 415.555.2672", "[phone], [phone]"),
        ("+49 30 901820 or +44 20 7946 0958", "[phone] or [phone]"),
        ("tel:+14155552671", "tel:[phone]"),
        ("call me on 4155552671", "call me on [phone]"),
        ("4111 1111 1111 1111 / 378282246310005", "[card] / [card]"),
        ("5555-5555-5555-4444", "[card]"),
        ("DE89 3704 0044 0532 0130 00 IS MINE", "[iban] IS MINE"),
        ("GB82WEST12345698765432", "[iban]"),
    ],
)
def test_what_identifies_people_is_found_and_masked(text: str, mask: str) -> None:
    assert mask_personal_data(text) == mask


@pytest.mark.parametrize(
    "text",
    [
        "me@example.com, x@sub.example.org, a@b.test, user@host",
        "git@github.com:owner/name.git, @app.route, pkg@1.2.3",
        "order 4155552671, order 123-4567890-1234567, tracking 1Z999AA10123456784",
        "ISBN 978-0-306-40615-7, ISBN 0-306-40615-2",
        "2023-01-15 2024-01-16 10:30:00, in 1999 2000 2001 2002",
        "1,234,567,890 and $1 234 567 890 and 2147483647",
        "192.168.1.100, 3.14159265358979, timestamp 1617181724000",
        "1 2 3 4 5 6 7 8 9 10",
        "4111-1111-1111-1112, 9999 9999 9999 9995",
        "DE89 3704 0044 0532 0130 01, XX89370400440532013000",
        "2125551234 - 415 = 2125550819",
    ],
)
def test_orders_dates_sums_and_broken_check_digits_are_no_personal_data(text: str) -> None:
    assert find_personal_data(text) == []
    assert mask_personal_data(text) is text


IBANS = {  # the examples of SWIFT's registry: all lengths from the shortest to the longest
    "NO": "NO93 8601 1117 947",
    "BE": "BE68 5390 0754 7034",
    "DK": "DK50 0040 0440 1162 43",
    "SI": "SI56 2633 0001 2039 086",
    "AT": "AT61 1904 3002 3457 3201",
    "CH": "CH93 0076 2011 6238 5295 7",
    "DE": "DE89 3704 0044 0532 0130 00",
    "AE": "AE07 0331 2345 6789 0123 456",
    "SE": "SE45 5000 0000 0583 9825 7466",
    "PT": "PT50 0002 0123 1234 5678 9015 4",
    "TR": "TR33 0006 1005 1978 6457 8413 26",
    "FR": "FR14 2004 1010 0505 0001 3M02 606",
    "PL": "PL61 1090 1014 0000 0712 1981 2874",
    "BR": "BR18 0036 0305 0000 1000 9795 493C 1",
    "KW": "KW81 CBKU 0000 0000 0000 1234 5601 01",
    "MT": "MT84 MALT 0110 0001 2345 MTLC AST0 01S",
    "LC": "LC55 HEMM 0001 0001 0012 0012 0002 3015",
    "RU": "RU03 0445 2522 5408 1781 0538 0913 1041 9",
}


@pytest.mark.parametrize("number", IBANS.values(), ids=list(IBANS))
def test_an_iban_has_the_length_of_its_country_and_its_check_digits(number: str) -> None:
    """In groups and in one piece, with words after it; not with a digit more, nor with other check digits."""
    plain = number.replace(" ", "")
    wrong = plain[:2] + str(98 - int(plain[2:4])).zfill(2) + plain[4:]
    assert mask_personal_data(f"To {number} AND SOON, or {plain}.") == "To [iban] AND SOON, or [iban]."
    for other in (f"{plain}0", wrong):
        assert not any(kind == "iban" for kind, _, _ in find_personal_data(other)), other


def test_a_card_is_told_by_its_last_digit() -> None:
    """Luhn's formula: of the ten numbers that differ in the last digit alone, one is right."""
    for start in ("411111111111111", "555555555555444", "37828224631000", "601111111111111"):
        cards = [digit for digit in range(10) if mask_personal_data(f"{start}{digit}") == "[card]"]
        assert len(cards) == 1


PARTS = st.lists(
    st.sampled_from(
        ["a@b.com", "@", "415-555-2671", "+1", "4155552671", "4111111111111111", "call ", " ", "-", "7", "DE89"]
    )
)


@settings(deadline=None)
@given(UNICODE | PARTS.map("".join))
def test_masking_leaves_nothing_to_find_and_finds_do_not_overlap(text: str) -> None:
    found = find_personal_data(text)
    assert all(0 <= start < end <= len(text) for _, start, end in found)
    assert all(before[2] <= after[1] for before, after in pairwise(found))
    assert find_personal_data(mask_personal_data(text)) == []


ENGLISH = "The quick brown fox jumps over the lazy dog, and then it goes home to sleep."
GERMAN = "Der schnelle braune Fuchs springt über den faulen Hund und geht dann nach Hause."
FRENCH = "Le renard brun saute par-dessus le chien paresseux, puis il rentre chez lui pour dormir."


@pytest.mark.parametrize(
    ("text", "languages", "other"),
    [
        (ENGLISH, ("en",), False),
        (ENGLISH, ("de",), True),
        (GERMAN, ("en", "de"), False),
        (FRENCH, ("en", "de"), True),
        (
            "快速的棕色狐狸跳过了懒狗，然后回家睡觉。它明天早上还会再来这里，看看那只狗是否还在睡觉。我们都很高兴。",
            ("en",),
            True,
        ),
        ("Bonjour, ça va ?", ("en",), False),
        (f"{ENGLISH}\n```\n{FRENCH * 5}\n```", ("en",), False),
        ("12345 67890 " * 20, ("en",), False),
    ],
)
def test_a_conversation_in_none_of_the_languages_is_told_from_its_text(
    text: str, languages: tuple[str, ...], other: bool
) -> None:
    assert in_other_language([text], languages) is other


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown language english; the codes are those of ISO 639"):
        check_languages(["en", "english"])


PROSE = " ".join(f"Sentence number {index} tells of {index * 7919 % 1000} other things entirely." for index in range(3))


def words(count: int) -> str:
    """Text that does not repeat itself."""
    return " ".join(f"{'abcdefghij'[index % 10]}{index * 7919 % 10007}" for index in range(count))


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("yes. " * 200, 0.99),
        ("我不知道。" * 150, 0.99),
        (words(100) + "\n" + "- an item of a list\n" * 60, 0.6),
        (words(80) + "I do not know. " * 45, 0.5),
    ],
)
def test_an_answer_of_which_more_than_half_was_said_before_repeats_itself(text: str, share: float) -> None:
    assert repeats_itself(text)
    assert repeated_share(text) > share


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("yes. " * 20, 1.0),
        (words(300), 0.1),
        ("".join(f"| {index} | {index * index} | row {index} |\n" for index in range(60)), 0.1),
        (words(160) + "I do not know. " * 20, 0.4),
    ],
)
def test_a_short_text_a_table_and_a_short_refrain_do_not(text: str, share: float) -> None:
    assert not repeats_itself(text)
    assert repeated_share(text) <= share
