"""Removes the remains of a scraped web page: tags, entities, button labels."""

import html
import re
from collections.abc import Sequence

from selectolax.lexbor import LexborHTMLParser

from pipeline.data.cleaning.characters import mend_invisible

_MAX_TAGS = 5000  # the parser's time is quadratic in the depth
_CODE_MARK, _BREAK_MARK = "\ue000", "\ue001"  # placeholders for a piece of code and for a line break

# Elements that a page does not show. They stand on their own lines or beside tags; between words they are a topic.
_UNSEEN = (
    r"(?:(?<=[>\n])|\A)[ \t]*<(?P<unseen>script|style|noscript)\b[^<>]*>(?:(?!<(?P=unseen)\b).)*?</(?P=unseen)\s*>"
    r"[ \t]*(?=[<\n]|\Z)"
)
# Where markup is intended: fences, `code`, and rows of Markdown tables, which can only be broken with <br>.
_CODE = r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|(?P<ticks>`+)[^`\n]+(?P=ticks)|^[ \t]*\|.*\|[ \t]*$"
_CODE_OR_UNSEEN = re.compile(f"{_UNSEEN}|{_CODE}", re.DOTALL | re.MULTILINE | re.IGNORECASE)
# Signs that a text is about markup: whole documents, and words about markup in prose or code, outside tags and
# addresses.
_DOCUMENT = re.compile(r"<(?:!doctype|\?xml|\?php|html|head|body|svg|template)\b", re.IGNORECASE)
_EMBEDDED = re.compile(r"<(?:script|style)\b", re.IGNORECASE)
_WORDS = re.compile(r"\b(?:x?html5?|xml|svg|css|jsx|php|(?:java)?script|markup|tags?|entity|entities)\b", re.IGNORECASE)
_NO_PROSE = re.compile(r"</?[a-z][^<>]*>|https?://\S+", re.IGNORECASE)

_PARAGRAPHS = ("p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "blockquote")
_BLOCKS = ("div", "section", "article", "header", "footer", "tr", "dt", "dd", "figure", "figcaption", "hr")
_OTHERS = ("a", "b", "i", "u", "s", "em", "strong", "small", "sub", "sup", "del", "span", "font", "center", "img")
_TABLES = ("td", "th", "thead", "tbody", "tfoot", "caption")
_NAMES = "|".join((*_PARAGRAPHS, *_BLOCKS, *_OTHERS, *_TABLES, "br", "li", "pre", "code"))
_ATTRIBUTE = r"""\s+[\w:-]+\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>]+)"""
_NO_TAG = re.compile(rf"<(?!/?(?:{_NAMES})(?:{_ATTRIBUTE})*\s*/?>)(?!!--(?:(?!-->).)*-->)", re.IGNORECASE | re.DOTALL)
_BREAK = re.compile(rf"<br\s*/?>|</(?:{'|'.join((*_PARAGRAPHS, *_BLOCKS))}|li|pre)\s*>", re.IGNORECASE)
# Only names that are unlikely as variables: `&num;` and `&int;` are entities, but also valid C.
_ENTITY = re.compile(
    r"&(?:nbsp|amp|lt|gt|quot|apos|[lr][sd]quo|hellip|[mn]dash|[lr]aquo|euro|szlig|[aAeEoO]Elig"
    r"|[A-Za-z](?:acute|grave|circ|uml|tilde|cedil|ring)|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});"
)
_NO_ENTITY = re.compile(rf"&(?!{_ENTITY.pattern[1:]})")


def mend_markup(texts: Sequence[str]) -> list[str]:
    """The texts of one conversation as the scraped page showed them.

    Breaks, paragraphs and list items become lines, links become their text, entities become characters. Code, Markdown
    tables and text that only looks like a tag stay. So do all texts of a conversation about markup. Two labels from
    ShareGPT are removed: "Copy code" beside a code block and a counter ("2 / 2") at the start of a text.
    """
    read = list(texts)
    if any(_is_scraped(text) for text in texts) and not any(map(_is_about_markup, texts)):
        read = [_as_shown(text) for text in texts]
    return [_without_labels(text) for text in read]


def _is_scraped(text: str) -> bool:
    if "<" not in text and "&" not in text:
        return False
    outside, _ = _without_code(text)
    return bool(_BREAK.search(outside) or _ENTITY.search(outside))


def _is_about_markup(text: str) -> bool:
    outside, code = _without_code(text)
    if _DOCUMENT.search(text) or any(map(_EMBEDDED.search, code)):
        return True
    return any(map(_WORDS.search, (_NO_PROSE.sub(" ", outside), *code)))


def _without_code(text: str) -> tuple[str, list[str]]:
    """(the text with a placeholder for each piece of code and without unseen elements, the pieces of code)."""
    code: list[str] = []

    def mark(found: re.Match[str]) -> str:
        if found["unseen"]:
            return ""
        code.append(found[0])
        return _CODE_MARK

    return _CODE_OR_UNSEEN.sub(mark, text), code


def _as_shown(text: str) -> str:
    """The text without tags and entities. Unchanged if tags would remain, since the text is then about them."""
    read = text
    while _is_scraped(read):
        if _CODE_MARK in read or _BREAK_MARK in read or read.count("<") > _MAX_TAGS:
            return text
        outside, code = _without_code(read)
        if not _BREAK.search(outside):
            outside = _ENTITY.sub(lambda found: _character(found[0]), outside)
        elif read is text:
            outside = _without_tags(outside)
        else:
            return text
        pieces = mend_invisible(outside).split(_CODE_MARK)
        if len(pieces) != len(code) + 1:  # an entity stood for the placeholder itself
            return text
        read = "".join(piece for pair in zip(pieces, [*code, ""], strict=True) for piece in pair)
    return read


def _character(entity: str) -> str:
    return html.unescape(entity).replace("\xa0", " ")


_BREAKS = re.compile(rf"[ \t]*[\n{_BREAK_MARK}](?:[ \t]*[\n{_BREAK_MARK}])*")
_END_TAG = re.compile(r"</(?:div|section|article|h[1-6]|blockquote)\s*>", re.IGNORECASE)


def _without_tags(text: str) -> str:
    # Only known tags and entities may reach the parser: it would also accept `List<String>` and `&copy=1`. It drops an
    # end tag without a start tag, so a placeholder keeps the line break.
    known = _NO_TAG.sub("&lt;", _NO_ENTITY.sub("&amp;", text))
    tree = LexborHTMLParser(_END_TAG.sub(rf"\g<0>{_BREAK_MARK}", known), is_fragment=True)
    _surround(tree, _PARAGRAPHS, "\n\n", "\n\n")
    _surround(tree, _BLOCKS, _BREAK_MARK, _BREAK_MARK)
    _surround(tree, ("li",), _BREAK_MARK + "- ", _BREAK_MARK)
    _surround(tree, ("td", "th"), "", " ")
    _surround(tree, ("pre",), f"{_BREAK_MARK}```\n", f"{_BREAK_MARK}```{_BREAK_MARK}")
    _surround(tree, (":not(pre) > code",), "`", "`")
    for node in tree.css("br"):
        node.replace_with("\n")
    read = tree.text().replace("\xa0", " ")
    return _BREAKS.sub(lambda found: "\n\n" if found[0].count("\n") > 1 else "\n", read).strip()


def _surround(tree: LexborHTMLParser, names: Sequence[str], before: str, after: str) -> None:
    for node in tree.css(", ".join(names)):
        node.insert_before(before)
        node.insert_after(after)


_COPY_IN_FENCE = re.compile(r"```[ \t]*\n?[ \t]*([\w+#.-]{0,20}?)[ \t]*\n?[ \t]*(?:Copy code[ \t]*\n?)+")
_COPY_BEFORE_FENCE = re.compile(r"^(?:Copy code[ \t]*\n)+(?=[ \t]*```)", re.MULTILINE)
_COUNTER = re.compile(r"\A\s*(\d{1,3}) / (\d{1,3})[ \t]*\n([ \t]*\n)?\s*(?=\S)")


def _without_labels(text: str) -> str:
    if "Copy code" in text and "```" in text:
        text = _COPY_IN_FENCE.sub(r"```\1\n", _COPY_BEFORE_FENCE.sub("", text))
    while (found := _COUNTER.match(text)) and (found[1] == found[2] or (found[3] and int(found[1]) < int(found[2]))):
        text = text[found.end() :]
    return text
