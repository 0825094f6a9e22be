"""Detects English answers that are only refusals."""

import re

_TOO_LONG = 400  # characters
_CLAUSE_ENDS = re.compile(r"[.!?;:\n]+|,?\s(?:but|however|so)\b,?\s")


def _one_of(*choices: str) -> str:
    return f"(?:{'|'.join(choices)})"


# Each pattern is matched at the start of a lower-case clause.
_SORRY = _one_of(
    "(?:(?:i am|i'm|we are|we're) )?(?:(?:so|very|really|truly) )?sorry", "(?:my )?apologies", "i apologi[sz]e"
)
_OPENING = _one_of(f"{_SORRY},? ", "unfortunately,? ", "regrettably,? ", "no,? ")
_AS_A_MODEL = r"as an? [\w ,'-]{0,60}?\b(?:ai|assistant|model|program|chatbot)\b[^,]{0,50}?,? "
_CANNOT = _one_of(
    "(?:i|we) (?:(?:really|simply|just|also|still) )?(?:can't|cannot|can not|couldn't|won't|will not)",
    "(?:i'm|i am|we're|we are) (?:(?:really|simply|currently|just|also|afraid i) )?"
    "(?:not (?:able|allowed|permitted|comfortable|going|programmed)|unable|can't|cannot)(?: to| with)?",
    "(?:i|we) (?:do not|don't) feel comfortable",
    "(?:i|we) (?:must|have to) (?:decline|refuse)(?: to)?",
)
_MANNER = _one_of(" ethically", " directly", " in good conscience", " also", " really")
_SERVE = _one_of(
    r"(?:help|assist)(?:ing)?(?! but\b| \w+ing\b)",
    r"(?:provid|generat|creat|writ|giv|shar|continu|participat|engag|complet|disclos|promot|describ)(?:e|ing)",
    r"(?:answer|comply|support|discuss|offer|respond|fulfil|fulfill|perform)(?:ing)?",
    r"(?:do|doing) (?:that|this|so|it)",
    r"(?:give out|tell you)",
)
_LACKS = _one_of(
    "(?:i|we) (?:do not|don't) have (?:the |any )?(?:access|ability|information)",
    _AS_A_MODEL + "i (?:do not|don't) (?:have|possess|hold)",
)
_REFUSAL = re.compile(rf"{_OPENING}?(?:{_LACKS}|(?:{_AS_A_MODEL})?{_CANNOT}(?:$|{_MANNER}? {_SERVE}))(?![\w']| enough)")
_REGRET = re.compile(rf"(?:{_SORRY}(?: about (?:that|this)| for (?:any|the) [\w ]{{1,40}})?|unfortunately|no)\W*$")
_REASON = re.compile(
    r"(?:it|this|that|such|doing so|your request|the request|my (?:purpose|guidelines|programming|policy))\b.{0,80}"
    r"\b(?:illegal|unethical|harm(?:ful)?|inappropriate|offensive|dangerous|against|violat\w+|guidelines|polic(?:y|ies))\b"
)
_COURTESY = re.compile(
    r"(?:please )?(?:let me know|feel free to|is there (?:anything|something) else|(?:can|may) i help|if you have any"
    r"|(?:i'm|i am) (?:here|happy) to|how (?:else )?(?:can|may) i|thank you|i hope you understand)\b"
)


def is_refusal(text: str) -> bool:
    """Whether a short English answer is only a refusal: every clause belongs to the refusal.

    Apologies, reasons and courtesies belong to it.
    """
    if len(text) >= _TOO_LONG:
        return False
    pieces = _CLAUSE_ENDS.split(text.lower().replace("’", "'"))
    clauses = [piece.strip(" ,\t\"'*") for piece in pieces if piece.strip(" ,\t\"'*")]
    if not any(map(_REFUSAL.match, clauses)):
        return False
    accepted = (_REFUSAL, _REGRET, _REASON, _COURTESY)
    return all(any(pattern.match(clause) for pattern in accepted) for clause in clauses)
