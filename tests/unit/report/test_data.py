"""The report on data says what the ledger says, in order, and lets nobody's text become markup."""

from pathlib import Path

import pytest

from pipeline.data.cleaning.cleaner import Cleaner
from pipeline.data.cleaning.table import default_modes
from pipeline.data.faults import BadRow, Place
from pipeline.data.ledger import Ledger
from pipeline.data.pipeline import Settings, Source, gather
from pipeline.data.row_cleaning import RowCleaner
from pipeline.data.scratch import Scratch
from pipeline.data.statistics import Statistics
from pipeline.report.bars import doubling
from pipeline.report.data import funnel, reasons, write_data_report
from tests.unit.data.test_loading import lines
from tests.unit.report.comparisons import Elements

FORGED = "<script>alert(1)</script> & <b>bold</b>"


def ledger() -> Ledger:
    kept = Ledger()
    kept.count_read(10, "one")
    kept.count_read(20, "two")
    for number in range(4):
        kept.drop(Place(Path("one.csv"), number + 2), BadRow("answer", None, "the text is empty"), FORGED, source="one")
    kept.drop(Place(Path("two.csv"), 9), BadRow(None, None, "duplicate"), "a", "duplicate", source="two")
    return kept


def test_the_funnel_goes_from_all_to_what_is_kept() -> None:
    levels = list(funnel(ledger(), ["one", "two"]))
    assert [level.counts for level in levels] == [[10, 20, 30], [4, 0, 4], [0, 1, 1], [6, 19, 25]]
    assert [level.kept for level in levels] == [True, False, False, True]
    assert levels[-1].share == pytest.approx(25 / 30)
    assert [level.counts for level in funnel(ledger(), ["two"])] == [[20], [1], [19]]


def test_every_reason_is_counted_and_has_examples() -> None:
    found = list(reasons(ledger()))
    assert [(one.rows, one.reason, len(one.examples)) for one in found] == [
        (4, "the text is empty", 3),
        (1, "duplicate", 1),
    ]


def test_a_report_shows_texts_and_obeys_none(tmp_path: Path) -> None:
    given = [{"instruction": f"question {n}", "output": f"answer {n} â€™ {FORGED}"} for n in range(5)]
    file = lines(tmp_path, *given, {"instruction": FORGED, "output": ""}, name="<i>rows.jsonl")
    settings, own = Settings(RowCleaner(Cleaner({**default_modes(), "markup": "off"})), max_bad_fraction=1.0), Ledger()
    with Scratch(tmp_path / "scratch") as scratch:
        gathered = gather([Source("mine", [file])], settings, scratch, own)
    seen = Statistics(0)
    for n in range(40):
        seen.add([{"role": "user", "content": f"{FORGED} {n}"}, {"role": "assistant", "content": "a"}], "mine", 9)
    write_data_report(
        tmp_path / "report.html",
        project="support",
        gathered=gathered,
        rows=dict.fromkeys(("sft", "dev", "preference", "rl", "test"), 5),
        contested=2,
        modes=default_modes(),
        statistics=seen,
    )
    html = (tmp_path / "report.html").read_text()
    page = Elements(html)
    assert not {"script", "b", "link", "img", "iframe"} & {tag for tag, _ in page.found}
    assert not [attributes for _, attributes in page.found if {"src", "href"} & attributes.keys()]
    assert FORGED in page.text
    assert "5 of 6 rows are kept" in page.text
    assert "2 kept rows have a prompt that another row answers differently" in page.text
    assert "answer 0 â€™" in page.text
    assert "<i>rows.jsonl, line 6" in page.text


def test_bins_that_double_are_as_high_as_their_shares() -> None:
    chart = str(doubling([0, 1, 0, 3], 1, "words"))
    assert "1 to 1 words: 1 rows" in chart
    assert "4 to 7 words: 3 rows" in chart
    assert chart.count("<rect") == 2
    assert "<svg" in str(doubling([], 1, "words"))
