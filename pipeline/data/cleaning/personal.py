"""Finds and masks e-mail addresses, phone numbers, card numbers and IBANs."""

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import product
from string import ascii_uppercase

from phonenumbers import Leniency, PhoneNumberMatcher
from stdnum import luhn, numdb
from stdnum.iso7064 import mod_97_10

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
        if _ISSUED.fullmatch(digits) and luhn.is_valid(digits):
            yield "card", *match.span()


@cache
def _iban() -> re.Pattern[str]:
    """An IBAN by its country and length, in groups or in one piece."""
    lengths = [rf"(?:{'|'.join(named)})[0-9]{{2}}(?:[ ]?[0-9A-Z]){{{n}}}" for n, named in _countries().items()]
    return re.compile(rf"\b(?:{'|'.join(lengths)})\b")


def _countries() -> dict[int, list[str]]:
    """The countries that have IBANs, by the number of characters after the check digits, from SWIFT's registry."""
    registry, countries = numdb.get("iban"), defaultdict(list)
    for country in map("".join, product(ascii_uppercase, repeat=2)):
        structure = registry.info(country)[0][1].get("bban", "")
        if structure:  # such as 4!a6!n8!n: four letters, six digits, eight digits
            countries[sum(map(int, re.findall(r"\d+", structure)))].append(country)
    return countries


def _ibans(text: str) -> Iterator[Found]:
    for match in _iban().finditer(text):
        digits = match[0].replace(" ", "")
        if mod_97_10.is_valid(digits[4:] + digits[:4]):
            yield "iban", *match.span()
