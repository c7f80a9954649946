"""The report page: everything in it, nothing from outside, nothing unescaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bisc._version import __version__
from bisc.report.chart import DicePair, dice_chart
from bisc.report.page import CaseCard, Fact, FileLink, Page, Picture, page_html, write_page
from bisc.report.tables import Table, format_cell, summary_table

NAN = float("nan")
EVIL = "<script>alert('x')</script> & \"co\""


def scores(rough: float, fine: float) -> dict[str, dict[str, float]]:
    return {
        "rough": {"dice_kidney": rough, "dice_tumor": rough / 2},
        "fine": {"dice_kidney": fine, "dice_tumor": fine / 2},
    }


def make_page(folder: Path) -> Page:
    Image.new("RGB", (40, 20)).save(folder / "a 1#.png")
    (folder / "report.csv").write_text("case\n", encoding="utf-8")
    return Page(
        "Title",
        "What this is.",
        facts=[Fact("Cases", 3), Fact("Loss", EVIL)],
        cases=[
            CaseCard("case_a", "ok", "a 1#.png", scores(0.8, 0.9), {"reference": {"kidney": 301.25, "tumor": 12.0}}),
            CaseCard(EVIL, "failed", note=EVIL),
            CaseCard("case_c", "no_kidney", scores=scores(NAN, NAN)),
        ],
        pictures=[Picture("Best", "case_a", "a 1#.png", EVIL)],
        tables=[Table("All metrics", ["metric", "mean", "n"], [["hd95", 4.2, 3]], EVIL)],
        files=[FileLink("report.csv", "one row a case")],
    )


class Links(HTMLParser):
    """Collects tags and what they link to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.targets: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("href", "src"):
                self.targets.append(value or "")
            if name == "id":
                self.ids.add(value or "")


def parsed(text: str) -> Links:
    links = Links()
    links.feed(text)
    return links


def test_page_holds_everything(tmp_path: Path) -> None:
    path = write_page(tmp_path, make_page(tmp_path))
    text = path.read_text(encoding="utf-8")
    assert path == tmp_path / "index.html"
    for expected in ("case_a", "case_c", "no kidney found", "301.2", "All metrics", "4.20", "Title", "What this is."):
        assert expected in text
    assert text.count("not a medical device") == 1
    assert __version__ in text
    assert 'width="40" height="20"' in text
    assert text.index("<img") < text.index("<table")
    assert (
        text.index("<strong>Best</strong>")
        < text.index("Rough against fine")
        < text.index("All metrics")
        < text.index(">Cases</h2>")
    )


def test_names_cannot_inject(tmp_path: Path) -> None:
    text = page_html(make_page(tmp_path), tmp_path)
    assert "script" not in parsed(text).tags
    assert "&lt;script&gt;" in text


def test_links_lead_to_files_or_anchors_here(tmp_path: Path) -> None:
    links = parsed(page_html(make_page(tmp_path), tmp_path))
    assert "report.csv" in links.targets
    for target in links.targets:
        if target.startswith("#"):
            assert target[1:] in links.ids
        else:
            assert (tmp_path / unquote(target)).is_file()


def test_nothing_comes_from_outside(tmp_path: Path) -> None:
    text = page_html(make_page(tmp_path), tmp_path)
    assert not re.search(r"https?:|//|url\(|@import|<link|<iframe", text)


@pytest.mark.parametrize("name", ["missing.png", "/etc/hostname"])
def test_missing_or_absolute_files_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=name):
        write_page(tmp_path, Page("t", "l", cases=[CaseCard("a", figure=name)]))
    with pytest.raises(ValueError, match=name):
        write_page(tmp_path, Page("t", "l", files=[FileLink(name, "")]))


def test_empty_page(tmp_path: Path) -> None:
    text = write_page(tmp_path, Page("t", "l")).read_text(encoding="utf-8")
    assert "<table" not in text
    assert "<svg" not in text


def test_summary_by_hand() -> None:
    table = summary_table([scores(0.6, 0.8), scores(0.8, 1.0), scores(NAN, NAN), {}])
    # rough kidney 0.6 and 0.8: mean 0.7, standard deviation sqrt(2 * 0.1 ** 2 / 2) = 0.1; tumour half of it.
    assert table.rows[0] == ["Rough", "0.700 ±\u00a00.100", "0.700", "0.350 ±\u00a00.050", "0.350"]
    assert table.rows[1] == ["Fine", "0.900 ±\u00a00.100", "0.900", "0.450 ±\u00a00.050", "0.450"]
    assert table.rows[2] == ["Gain", "+0.200", "+0.200", "+0.100", "+0.100"]
    assert "kidney 2, tumour 2" in table.note


def test_summary_without_values() -> None:
    assert summary_table([]).rows[2] == ["Gain", None, None, None, None]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (NAN, "–"),
        (pd.NA, "–"),
        (np.int64(7), "7"),
        (0.95, "0.950"),
        (np.float32(4.2), "4.20"),
        (123.456, "123.5"),
        (True, "yes"),
        ("a", "a"),
    ],
)
def test_cells(value: object, text: str) -> None:
    assert format_cell(value) == text


def test_table_aligns_numbers_and_checks_rows(tmp_path: Path) -> None:
    table = Table("t", ["name", "x", "y"], [["a", 1.0, "b"], ["c", None, "d"]])
    assert table.numeric == [False, True, False]
    assert Table("t", ["a", "b"], [["x", "0.9 ± 0.1"], ["y", "none"]]).numeric == [False, False]
    html = page_html(Page("t", "l", tables=[table]), tmp_path)
    assert html.count('class="num"') == 3  # the head and two cells of x
    with pytest.raises(ValueError, match="2 cells under 3 columns"):
        Table("t", ["name", "x", "y"], [["a", 1.0]])


def test_chart_places_values_on_the_axis() -> None:
    chart = dice_chart([DicePair("a", 0.5, 1.0), DicePair("b", NAN, 0.75)], "kidney", "Dice")
    first, last = chart.ticks[0], chart.ticks[-1]
    assert (len(chart.ticks), first[1], last[1]) == (6, 0.5, 1.0)
    assert [row.name for row in chart.rows] == ["a", "b"]
    assert (chart.rows[0].rough_x, chart.rows[0].fine_x) == (first[0], last[0])
    assert (chart.rows[1].rough_x, chart.rows[1].fine_x) == (None, (first[0] + last[0]) / 2)


def test_charts_are_drawn(tmp_path: Path) -> None:
    """A ring and a disc a case, joined; the names escaped; many rows grow thin; without any value, words."""
    for n, height in ((2, 8 + 2 * 22 + 24), (210, 632)):
        page = Page("t", "l", cases=[CaseCard(f"<{i}>", scores=scores(0.1, i / n)) for i in range(n)])
        svgs = re.findall(r"<svg.*?</svg>", page_html(page, tmp_path), re.DOTALL)
        assert len(svgs) == 2
        kidney = ElementTree.fromstring(svgs[0])
        assert [sum(c.get("class") == kind for c in kidney.iter("circle")) for kind in ("rough", "kidney")] == [n, n]
        assert float(kidney.get("viewBox", "").split()[3]) == height
        assert sum(1 for _ in kidney.iter("a")) == n
    nothing = Page("t", "l", cases=[CaseCard("a", scores=scores(NAN, NAN))])
    assert page_html(nothing, tmp_path).count("No case has a Dice value") == 2
