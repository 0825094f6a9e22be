"""Corrections: broken texts are corrected, intact texts stay, and correcting twice equals correcting once."""

import time
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.data.cleaning.characters import mend_encoding, mend_invisible
from pipeline.data.cleaning.markup import mend_markup
from pipeline.data.cleaning.personal import mask_personal_data
from pipeline.data.cleaning.special_tokens import break_tokens, has_token
from tests.examples import at_most

TOKENS = ("<|im_end|>", "<|im_start|>", "</s>", "<s>", "[INST]", "<<", "ab c", " x", "y")


def without_markup(text: str) -> str:
    return mend_markup([text])[0]


def without_tokens(text: str) -> str:
    return break_tokens(text, TOKENS)


UNICODE = st.text(st.characters(exclude_categories=["Cs"]))
PIECES = (
    *(
        "<br>",
        "</p>",
        "<p>",
        "</div>",
        "<li>",
        "<pre>",
        "</pre>",
        "<code>",
        "</code>",
        "<b>",
        "<name>",
        "<",
        ">",
        "a < b",
        "<script>",
        "</script>",
    ),
    *(
        "&amp;",
        "&lt;",
        "&gt;",
        "lt;",
        "&",
        "&nbsp;",
        "&#8203;",
        "&#x60;",
        "br",
        "`",
        "```",
        "~~~",
        "Copy code",
        "1 / 1",
        "2 / 3",
    ),
    *("\n", "\n\n", " ", "  ", "\t", "| a", " |", "word", "<!--", "-->", "\ue000", "\ue001", "\r\n", "\r", "\u2028"),
    *(
        "â€",
        "™",
        "Ã",
        "©",
        "é",
        "’",
        "“",
        "\xa0",
        "\u200b",
        "\u200d",
        "\u200c",
        "\U0001f468",
        "\u0645",
        "\u0915\u094d",
        "\ufeff",
    ),
    *("<|im_", "end|>", "<|im_end|>", "</", "s>", "<s>", "[INST]", "<<<", "\U0001f3f4", "\U000e0067", "\U000e007f"),
    *(
        "a@b.com",
        "@",
        "415-555-2671",
        "+14155552671",
        "4111 1111 1111 1111",
        "DE89370400440532013000",
        "call ",
        "0",
        "-",
    ),
)
MIXED = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)

MENDERS = (mend_encoding, mend_invisible, without_markup, without_tokens, mask_personal_data)


@pytest.mark.parametrize("mend", MENDERS)
@at_most(60)
@given(text=UNICODE | MIXED)
@example(text="&amp;&#8203;lt;")
@example(text="&#xE000;")
@example(text="&#57345;<br>`x`")
def test_mending_twice_is_mending_once(mend: Callable[[str], str], text: str) -> None:
    once = mend(text)
    assert mend(once) == once


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("donâ€™t", "don’t"),
        ("voilÃ le travail", "voilà le travail"),
        ("âœ” No problems", "✔ No problems"),
        ("РїСЂРёРІРµС‚", "привет"),
        ("“fine”\ndonâ€™t — “fine”", "“fine”\ndon’t — “fine”"),
        ("\x93hi\x94", "“hi”"),
        ("one\r\ntwo\r\r\n", "one\ntwo\n"),
    ],
)
def test_mojibake_is_decoded_as_it_was_meant(text: str, mended: str) -> None:
    assert mend_encoding(text) == mended


@pytest.mark.parametrize(
    "text",
    [
        "“Curly” ‘quotes’ — and … dashes",
        "ﬁnd the ﬂag, ＬＯＵＤ, e\u0301 and é",
        "Voilà déjà l’été où ça « est » très bien",
        "SÃO PAULO NÃO É LONGE; MAÇÃ",
        "Всё хорошо. В Москве",
        "你好，“世界”……",
        "10 µm ± 2°, ½ £5 §3 naïve café",
        "&amp; <b>ASCII</b>",
    ],
)
def test_text_that_is_in_order_keeps_its_quotes_ligatures_and_width(text: str) -> None:
    assert mend_encoding(text) == text


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("zero\u200bwidth\u2060 and \ufeffBOM", "zerowidth and BOM"),
        ("if access != '\u202e\u2066user\u2069\u2066':", "if access != 'user':"),
        ("bell\x07 escape\x1b[0m delete\x7f", "bell escape[0m delete"),
        ("hy\xadphen", "hyphen"),
        ("object \ufffc here", "object  here"),
        ("hidden\U000e0041\U000e0042\U000e007f", "hidden"),
        ("one\u2028two\u2029three\x0cfour\rfive", "one\ntwo\nthree\nfour\nfive"),
        ("no\u200djoin\u200cer", "nojoiner"),
        ("\U0001f3f4\U000e0041\U000e0042\U000e007f", "\U0001f3f4"),
    ],
)
def test_invisible_characters_are_removed(text: str, mended: str) -> None:
    assert mend_invisible(text) == mended


@pytest.mark.parametrize(
    "text",
    [
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f\u200d\U0001f525 \U0001f9d1\U0001f3fd\u200d\U0001f4bb",
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
        "می\u200cخواهم",
        "क्\u200dष ക്\u200d",
        "non\xa0breaking, tab\there\nline",
        "e\u0301 naïve",
    ],
)
def test_joiners_flags_and_variation_selectors_stay_where_they_mean_something(text: str) -> None:
    assert mend_invisible(text) == text


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("Hello<br>world<br/>!", "Hello\nworld\n!"),
        ("<p>One</p>\n<p>Two &amp; three</p>", "One\n\nTwo & three"),
        ("<div>One</div><div>Two</div>", "One\nTwo"),
        ('<ul><li>a</li>\n<li>b <a href="http://x/?a=1&b=2">link</a></li></ul>after', "- a\n- b link\n\nafter"),
        ("Dear <name>,<br>bye", "Dear <name>,\nbye"),
        ("a < b and c > d<br>List<String>", "a < b and c > d\nList<String>"),
        ("see http://x?a=1&copy=2<br>now", "see http://x?a=1&copy=2\nnow"),
        ("text</div>tail", "text\ntail"),
        ("<p>Rub it.</p><script>track('<br>');</script>", "Rub it."),
        ("<p>One</p>\n<SCRIPT type='text/javascript' src=a.js>\nlet a = `<p>`;\n</SCRIPT>\n<p>Two</p>", "One\n\nTwo"),
        ("<style>p {color: red}</style><script>1</script><p>One &amp; two</p>", "One & two"),
        ("<script>document.write(1)</script>\nFish &amp; chips", "\nFish & chips"),
        ("<div class='tag-list css'>One</div><a href='http://x.org/a.php'>two</a>", "One\ntwo"),
        ("See http://x.org/page.html<br>there", "See http://x.org/page.html\nthere"),
        ("Put <script>alert(1)</script> last.<br>Then wait.", "Put <script>alert(1)</script> last.\nThen wait."),
        ("a<br><br><br><br>b", "a\n\nb"),
        ("<pre><code class='py'>if a &lt; b:\n    x</code></pre>", "```\nif a < b:\n    x\n```"),
        ("<div>text ```\na<br>b\n``` more</div>tail", "text ```\na<br>b\n``` more\ntail"),
        ("AT&amp;T&nbsp;&#39;s &amp;nbsp;x", "AT&T 's  x"),
        ("&lt;|im_end|&gt;", "<|im_end|>"),
        ("1 / 1\nSure", "Sure"),
        ("2 / 3\n\nSure", "Sure"),
        ("```python\nCopy code\nx = 1\n```", "```python\nx = 1\n```"),
        ("```\npythonCopy codeimport os\n```", "```python\nimport os\n```"),
        ("See:\nCopy code\n```\nx\n```", "See:\n```\nx\n```"),
    ],
)
def test_a_scraped_page_becomes_what_was_read_on_it(text: str, mended: str) -> None:
    assert without_markup(text) == mended


@pytest.mark.parametrize(
    "text",
    [
        "a < b and c > d && e",
        "List<String> x = new ArrayList<>();",
        "Dear <name>, your <order number> is here",
        "use `<br>` and `&nbsp;` here",
        "```\n<br>&nbsp;</p>\n```",
        "| a<br>b | c |\n|---|---|",
        '<!doctype html><p class="x">x</p>',
        "<html><body><p>x</p></body></html>",
        "<script>document.write('<br>')</script>",
        "In HTML, <br> breaks a line and &amp; is an ampersand.",
        "My script writes <br> into the page.<p>Why?</p>",
        "<p>So:</p>\n```\n<script src='a.js'></script>\n```",
        "<p id=a></p>\n```js\nset(a)\n```\nand `<style>` beside it",
        "Write &lt;br&gt; for a break<br>",
        'scanf("%d", &num); x = &y; f(&int);',
        "I <3 you, http://x?a=1&copy=2;",
        "<b>bold</b> in Markdown<sup>2</sup>",
        "3 / 4",
        "1 / 2\nis a half",
        "4 / 3\n\nis more than one",
        "Copy code from the site.",
        "<p>" * 6000 + "</p>",
    ],
)
def test_what_only_looks_like_a_scraped_page_is_left_alone(text: str) -> None:
    assert without_markup(text) == text


def test_time_grows_with_the_number_of_scripts_and_not_with_its_square() -> None:
    began = time.process_time()
    for text in ("<p>a</p>\n" + "<script>" * 50_000, "<p>a</p>" + "\n<script>x" * 20_000 + "</script>"):
        assert without_markup(text) == text  # too many tags for a page
    assert time.process_time() - began < 2


def test_a_conversation_about_markup_is_left_alone_in_all_its_turns() -> None:
    texts = ["How do I make a paragraph in HTML?", "<p>So.</p>"]
    assert mend_markup(texts) == texts
    assert mend_markup(["How do I make a paragraph?", "<p>So.</p>"]) == ["How do I make a paragraph?", "So."]


@settings(deadline=None)
@given(st.lists(st.sampled_from(["```\n<br>&amp;\n```", "`<p>`", " word ", "<br>", "&lt;"]), max_size=6))
def test_code_stays_as_it_is(pieces: list[str]) -> None:
    code = [piece for piece in pieces if piece.startswith("`")]
    mended = without_markup("\n".join(pieces))
    assert all(mended.count(piece) == code.count(piece) for piece in code)


TOKEN_PARTS = st.lists(st.sampled_from(["<", "|", "im_end", ">", "/", "s", "<|im_end|>", " ", "[INST]", "ab c", "x"]))


@given(TOKEN_PARTS.map("".join) | UNICODE)
@example("<" * 50)
@example("<|im_end<|im_end|>|>")
def test_no_token_is_left_and_nothing_but_spaces_is_added(text: str) -> None:
    safe = break_tokens(text, TOKENS)
    assert not any(token in safe for token in TOKENS[:7])
    assert safe.replace(" ", "") == text.replace(" ", "")
    assert has_token(text, TOKENS) == (safe != text)


@given(st.lists(st.text("ab <|", min_size=1, max_size=4), max_size=5), st.text("ab <|", max_size=20))
def test_any_tokens_come_to_an_end(tokens: list[str], text: str) -> None:
    safe = break_tokens(text, tokens)
    assert not any(token in safe for token in tokens if len(token) > 1 and " " not in token[:2])


def test_a_token_is_broken_after_its_first_character_and_text_without_one_is_the_same_object() -> None:
    assert break_tokens("Stop.<|im_end|>\n</s>", TOKENS) == "Stop.< |im_end|>\n< /s>"
    text = "Stop. <|im_en|>"
    assert break_tokens(text, TOKENS) is text
    assert break_tokens(text, ()) is text
