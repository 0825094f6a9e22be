"""Finds and masks e-mail addresses, phone numbers, card numbers and IBANs."""

import re
from collections.abc import Iterator

from phonenumbers import Leniency, PhoneNumberMatcher

Found = tuple[str, int, int]  # kind, start, end

_REGION = "US"  # for phone numbers without a country prefix


def find_personal_data(text: str) -> list[Found]:
    """Personal data as (kind, start, end) in text order, without overlaps.

    The kinds are `email`, `phone`, `card` and `iban`. Reserved addresses (at example.com) are ignored. A phone number
    is international, or a US number with separators or after a word such as "call".
    """
    found = list(_emails(text)) if "@" in text else []
    if _SEVEN_DIGITS.search(text):
        for spans in (_ibans(text), _cards(text), _phones(text)):
            found += [one for one in spans if not any(one[1] < end and start < one[2] for _, start, end in found)]
    return sorted(found, key=lambda one: one[1])


def mask_personal_data(text: str) -> str:
    """The text with `[email]`, `[phone]`, `[card]` or `[iban]` in place of what `find_personal_data` finds."""
    while found := find_personal_data(text):  # a mask may reveal further data beside it
        for kind, start, end in reversed(found):
            text = f"{text[:start]}[{kind}]{text[end:]}"
    return text


_SEVEN_DIGITS = re.compile(r"\d(?:[^\w\n,;:=*]{0,3}\d){6}")

_EMAIL = re.compile(
    r"(?<![\w.%+-])[\w.%+-]{1,64}@((?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24})(?![\w-])",
)
_RESERVED = re.compile(
    r"(?:.*\.)?(?:example\.(?:com|net|org)|[^.]+\.(?:example|test|invalid|localhost))", re.IGNORECASE
)


def _emails(text: str) -> Iterator[Found]:
    for match in _EMAIL.finditer(text):
        if not _RESERVED.fullmatch(match[1]) and not match[0].startswith("git@"):
            yield "email", *match.span()


_CUE = re.compile(r"\b(?:phone|tel|telephone|mobile|cell|fax|whatsapp|call|dial|ring)\b[^\d\n]{0,20}$", re.IGNORECASE)
_WRITTEN_AS_PHONE = re.compile(r"\+|(?:1[\s.-]?)?\(?\d{3}\)?[\s./-]{1,2}\d{3}[\s.-]\d{4}")
_PERHAPS_PHONE = re.compile(r"\+[(\d]|\d{3}[\s.-]\d{4}|\d{10}")  # checked first: the matcher takes milliseconds


def _phones(text: str) -> Iterator[Found]:
    if not _PERHAPS_PHONE.search(text):
        return
    for match in PhoneNumberMatcher(text, _REGION, leniency=Leniency.VALID):
        before = text[max(0, match.start - 40) : match.start]
        if _WRITTEN_AS_PHONE.match(match.raw_string) or _CUE.search(before):
            yield "phone", match.start, match.end


_CARD = re.compile(r"(?<![\w.-])[0-9](?:[ -]?[0-9]){12,18}(?![\w-])")
_ISSUED = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12}|3(?:0[0-5]|[68]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}"
)


def _cards(text: str) -> Iterator[Found]:
    for match in _CARD.finditer(text):
        digits = re.sub("[ -]", "", match[0])
        if _ISSUED.fullmatch(digits) and _luhn(digits) % 10 == 0:
            yield "card", *match.span()


def _luhn(digits: str) -> int:
    return sum(map(int, digits[-1::-2])) + sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])


# IBAN length -> countries.
_LENGTHS = {
    15: "NO", 16: "BE", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
}  # fmt: skip
_IBAN = re.compile(
    r"\b(?:"
    + "|".join(
        rf"(?:{countries.replace(' ', '|')})[0-9]{{2}}(?:[ ]?[0-9A-Z]){{{length - 4}}}"
        for length, countries in _LENGTHS.items()
    )
    + r")\b"
)


def _ibans(text: str) -> Iterator[Found]:
    for match in _IBAN.finditer(text):
        digits = re.sub(" ", "", match[0])
        if int("".join(str(int(character, 36)) for character in digits[4:] + digits[:4])) % 97 == 1:
            yield "iban", *match.span()
