"""Which language a conversation is in, by py3langid."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`|https?://\S+", re.DOTALL)
_ENOUGH_LETTERS = 40
_LOOKED_AT = 2000  # characters
_MIN_PROBABILITY = 0.1  # English lists and formulas come to 0.2 or more, a sentence in another language to 0.01


def in_other_language(texts: Sequence[str], languages: Sequence[str]) -> bool:
    """Whether a conversation is in none of the languages (ISO 639 codes), code blocks and addresses aside.

    With fewer than 40 letters it cannot be told, and is not said. Raises ValueError for a language that is not known.
    """
    check_languages(languages)
    said = _CODE.sub(" ", "\n".join(texts))[:_LOOKED_AT]
    if sum(map(str.isalpha, said)) < _ENOUGH_LETTERS:
        return False
    probabilities: dict[str, float] = dict(_identifier().rank(said))
    return sum(probabilities[language] for language in languages) < _MIN_PROBABILITY


def check_languages(languages: Sequence[str]) -> None:
    """Raise ValueError if a language is not one that can be recognised."""
    unknown = sorted(set(languages) - set(_identifier().labels))
    if unknown:
        raise ValueError(f"unknown language {', '.join(unknown)}; the codes are those of ISO 639: en, de, fr, zh, ...")


@cache
def _identifier() -> Any:
    """Read once per process, from the package's own file of arrays; nothing is unpickled."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
