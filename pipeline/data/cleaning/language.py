"""Detects the language of a conversation with py3langid."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`|https?://\S+", re.DOTALL)
_MIN_LETTERS = 40
_MAX_CHARACTERS = 2000  # examined per conversation
_MIN_PROBABILITY = 0.1  # English lists and formulas reach 0.2 or more, a sentence in another language 0.01


def in_other_language(texts: Sequence[str], languages: Sequence[str]) -> bool:
    """Whether a conversation is in none of the languages (ISO 639 codes), ignoring code blocks and web addresses.

    False below 40 letters: too few to decide. Raises ValueError for an unknown language.
    """
    check_languages(languages)
    text = _CODE.sub(" ", "\n".join(texts))[:_MAX_CHARACTERS]
    if sum(map(str.isalpha, text)) < _MIN_LETTERS:
        return False
    probabilities: dict[str, float] = dict(_identifier().rank(text))
    return sum(probabilities[language] for language in languages) < _MIN_PROBABILITY


def check_languages(languages: Sequence[str]) -> None:
    """Raise ValueError if py3langid does not know a language."""
    unknown = sorted(set(languages) - set(_identifier().labels))
    if unknown:
        raise ValueError(f"unknown language {', '.join(unknown)}; the codes are those of ISO 639: en, de, fr, zh, ...")


@cache
def _identifier() -> Any:
    """The classifier, loaded once per process from the package's own array file; nothing is unpickled."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
