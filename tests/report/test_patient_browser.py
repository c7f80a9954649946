"""A page in a headless Chromium, opened as a file: slices turn, no network is asked, pictures without WebGL."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from bisc.cli.report import main
from bisc.core.volume import NativeGrid
from bisc.imageio import read_header, read_image, write_image
from bisc.report.patient import niivue
from bisc.report.patient.page import MOST_BYTES, case_page
from tests.support.patient import GRID, image, labels, page

pytestmark = pytest.mark.long
DRAWN_ON_CPU = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
NO_WEBGL = ("--disable-gpu", "--disable-3d-apis")
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
READY = "#slices[data-ready]"


class Shown:
    """A page of a browser, with what it asked for and complained of."""

    def __init__(self, browser: Any, path: Path, **how: Any) -> None:
        self.tab = browser.new_context(**how).new_page()
        self.asked: list[str] = []
        self.faults: list[str] = []
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.on("pageerror", lambda error: self.faults.append(str(error)))
        self.tab.on("console", lambda line: self.faults.append(line.text) if line.type == "error" else None)
        self.tab.goto(path.as_uri())
        if how.get("java_script_enabled", True):
            self.tab.wait_for_selector(READY, timeout=60_000)

    def beyond(self, path: Path) -> list[str]:
        """What was asked for that is not the page itself or a part of it."""
        return [url for url in self.asked if url != path.as_uri() and not url.startswith(("data:", "blob:"))]

    def slice(self, plane: str) -> int:
        words = re.search(r"slice (\d+) of", self.tab.inner_text(f"#{plane}-output"))
        assert words is not None
        return int(words[1])

    def pixels(self, selector: str) -> npt.NDArray[np.uint8]:
        return np.asarray(Image.open(io.BytesIO(self.tab.locator(selector).screenshot())).convert("RGB"))


@pytest.fixture(scope="module")
def launch() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    chromium = shutil.which("chromium") or pytest.skip("no chromium")
    with api.sync_playwright() as browsers:
        opened = []

        def start(*args: str) -> Any:
            opened.append(browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox", *args]))
            return opened[-1]

        yield start
        for browser in opened:
            browser.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up patient's page."""
    file = tmp_path_factory.mktemp("page") / "case_report.html"
    file.write_text(case_page(page()).html, encoding="utf-8")
    return file


def test_slices_turn_by_wheel_keys_and_clicks_and_nothing_is_fetched(launch: Any, path: Path) -> None:
    shown = Shown(launch(*DRAWN_ON_CPU), path, viewport=DESK)
    tab = shown.tab
    assert (shown.slice("axial"), shown.slice("coronal")) == (15, 50)  # through the first tumour
    before = shown.pixels("#axial-canvas")
    tab.locator("#axial-slider").focus()
    for key, expected in (("ArrowRight", 16), ("ArrowLeft", 15), ("Home", 1), ("End", 30), ("PageDown", 27)):
        tab.keyboard.press(key)
        assert shown.slice("axial") == expected, key
    assert tab.get_attribute("#axial-output", "aria-live") == "polite"
    assert (shown.pixels("#axial-canvas") != before).any()
    tab.locator("#axial-canvas").hover()
    tab.mouse.wheel(0, 100)
    tab.locator("#axial-output", has_text="slice 26 of").wait_for()
    tab.get_by_role("button", name="Tumour 2, right").click()
    assert shown.slice("axial") == 20
    plain = shown.pixels("#coronal-canvas")
    tab.locator("#overlay").uncheck()
    assert (shown.pixels("#coronal-canvas") != plain).any()
    tab.locator("#window").select_option("60/150")
    box = tab.locator("#axial-canvas").bounding_box()
    tab.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    assert shown.slice("sagittal") == pytest.approx(4 + 134 / 4, abs=2)  # the view begins at column 4 of 140
    assert tab.evaluate("document.activeElement.id") == "axial-slider"
    assert shown.beyond(path) == []
    assert shown.faults == []


def test_the_tumour_is_on_its_side_in_slices_and_in_the_round(launch: Any, path: Path) -> None:
    if niivue.bundle() is None:
        pytest.skip(f"no NiiVue: {niivue.MEND}")
    shown = Shown(launch(*DRAWN_ON_CPU), path, viewport=DESK)
    tab = shown.tab
    tab.locator("#three-d").scroll_into_view_if_needed()
    tab.wait_for_selector("#three-d-canvas[data-ready]", timeout=60_000)
    tab.wait_for_timeout(1000)
    for selector, is_right in (("#axial-canvas", True), ("#coronal-canvas", True), ("#three-d-canvas", True)):
        drawn = shown.pixels(selector).astype(int)
        amber = (drawn[..., 0] > 90) & (drawn[..., 2] < 0.5 * drawn[..., 0]) & (drawn[..., 1] > 0.5 * drawn[..., 0])
        columns = np.nonzero(amber)[1]
        assert len(columns) > 100, selector
        assert (columns.mean() > drawn.shape[1] / 2) == is_right, selector
    tab.get_by_role("button", name="Back", exact=True).click()
    tab.wait_for_timeout(500)
    drawn = shown.pixels("#three-d-canvas").astype(int)
    amber = (drawn[..., 0] > 60) & (drawn[..., 2] < 0.6 * drawn[..., 0]) & (drawn[..., 1] > 0.5 * drawn[..., 0])
    assert np.nonzero(amber)[1].mean() < drawn.shape[1] / 2
    assert shown.beyond(path) == []
    assert shown.faults == []


def test_without_webgl_or_scripts_there_are_pictures(launch: Any, path: Path) -> None:
    shown = Shown(launch(*NO_WEBGL), path, viewport=DESK)
    shown.tab.locator("#three-d").scroll_into_view_if_needed()
    if niivue.bundle() is not None:
        shown.tab.locator("#three-d-status", has_text="the pictures show the same").wait_for()
        assert not shown.tab.locator("#three-d-canvas").is_visible()
    shown.tab.locator("#axial-slider").press("ArrowRight")
    assert shown.slice("axial") == 16  # on a plain canvas
    still = Shown(launch(*NO_WEBGL), path, viewport=DESK, java_script_enabled=False)
    assert not still.tab.locator("#slices").is_visible()
    for tab in (shown.tab, still.tab):
        images = tab.locator("figure img")
        assert images.count() == 2 * 3 + 2
        widths = [images.nth(k).evaluate("e => e.complete && e.naturalWidth") for k in range(images.count())]
        assert min(widths) > 200
        assert all(images.nth(k).get_attribute("alt") for k in range(images.count()))
    assert shown.beyond(path) == still.beyond(path) == []


def test_phone_dark_and_print(launch: Any, path: Path, tmp_path: Path) -> None:
    browser = launch(*DRAWN_ON_CPU)
    phone = Shown(browser, path, viewport=PHONE).tab
    assert phone.evaluate("document.documentElement.scrollWidth") == 390
    dark = Shown(browser, path, viewport=DESK, color_scheme="dark").tab
    background = "getComputedStyle(document.body).backgroundColor"
    assert dark.evaluate(background) == "rgb(14, 18, 23)"
    dark.locator("#theme").click()
    assert dark.evaluate(background) == "rgb(244, 246, 248)"
    assert dark.get_attribute("#theme", "aria-pressed") == "false"
    dark.emulate_media(media="print")
    assert dark.evaluate(background) == "rgb(255, 255, 255)"
    for selector in ("#slices", "#theme", "#three-d-canvas"):
        assert not dark.locator(selector).is_visible(), selector
    assert dark.locator("figure img").first.is_visible()
    dark.pdf(path=tmp_path / "page.pdf", format="A4")
    if os.environ.get("BISC_REPORT_PICTURE"):
        wide = Shown(browser, path, viewport=DESK).tab
        wide.screenshot(path=os.environ["BISC_REPORT_PICTURE"])


def test_every_control_has_a_name_and_the_keyboard_reaches_it(launch: Any, path: Path) -> None:
    tab = Shown(launch(*DRAWN_ON_CPU), path, viewport=DESK).tab
    nameless = tab.evaluate(
        "[...document.querySelectorAll('button, input, select, canvas, a, img')].filter((e) => !(e.labels?.length || "
        "e.textContent.trim() || e.getAttribute('aria-label') || e.getAttribute('alt'))).map((e) => e.outerHTML)"
    )
    assert nameless == []
    assert tab.evaluate("[...document.querySelectorAll('th')].every((e) => e.scope)")
    levels = tab.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((e) => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(np.diff(levels)) <= 1
    reached = set()
    for _ in range(120):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate("document.activeElement.id || document.activeElement.dataset.go || ''"))
        if "origin" in reached:
            break
    assert {"theme", "window", "overlay", "fill", "axial-slider", "coronal-slider", "sagittal-slider"} <= reached


def real_cases(shared: Path, tmp_path: Path) -> list[tuple[str, Path, Path]]:
    """Each real CT with a mask: a peer's; made-up ones of plain boxes, as wrong as masks can be; an empty one."""
    ct = shared / "ct"
    cases = [("ts_example", ct / "ts_example" / "ct.nii.gz", ct / "ts_example" / "kidneys.nii.gz")]
    for name, scan in (("acrin", ct / "acrin_noncontrast" / "ct.nii.gz"), ("no_kidney", ct / "ts_dicom_no_kidney")):
        native = read_header(scan).native if scan.is_file() else read_image(scan).native
        z, y, x = native.canonical.shape_zyx
        wrong = np.zeros((z, y, x), np.uint8)
        if name == "acrin":  # tumours at the border, in the air and across the spine, and hardly any kidney
            wrong[: z // 3, y // 4 : y // 2, x // 3 : 2 * x // 3] = 2
            wrong[z // 2 : z // 2 + 3, :20, :20] = 2
            wrong[z // 2 :, y // 2 : y // 2 + 30, x // 4 : x // 4 + 25] = 1
        write_image(tmp_path / f"{name}.nii.gz", native.to_stored(wrong), native)
        cases.append((name, scan, tmp_path / f"{name}.nii.gz"))
    return cases


def test_real_ct_with_right_wrong_and_empty_masks(launch: Any, shared_folder: Path, tmp_path: Path) -> None:
    browser = launch(*NO_WEBGL)
    for name, scan, mask in real_cases(shared_folder, tmp_path):
        out = tmp_path / name
        assert main(["-i", str(scan), "-p", str(mask), "-o", str(out)]) == 0
        (file,) = out.glob("*_report.html")
        assert file.stat().st_size <= MOST_BYTES, name
        shown = Shown(browser, file, viewport=DESK)
        before = shown.slice("axial")
        shown.tab.locator("#axial-slider").press("ArrowRight")
        assert shown.slice("axial") > before, name
        assert shown.beyond(file) == [], name
        assert shown.faults == [], name
        assert ("No kidney was found" in shown.tab.inner_text("main")) == (name == "no_kidney")
        index = Shown.__new__(Shown)
        index.tab = browser.new_page()
        index.tab.goto((out / "index.html").as_uri())
        index.tab.get_by_role("link", name=re.compile(".")).first.click()
        assert index.tab.url == file.as_uri()


def test_numbers_of_the_page_are_those_of_measures_csv(tmp_path: Path) -> None:
    from bisc.cli import measure

    native = NativeGrid.of(GRID)
    write_image(tmp_path / "in" / "a.nii.gz", image(labels()).array, native)
    write_image(tmp_path / "out" / "a.nii.gz", labels(), native)
    assert main(["-i", str(tmp_path / "in"), "-p", str(tmp_path / "out")]) == 0
    assert measure.main(["-p", str(tmp_path / "out"), "-i", str(tmp_path / "in")]) == 0
    html = (tmp_path / "out" / "a_report.html").read_text(encoding="utf-8")
    with (tmp_path / "out" / "measures.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 4
    compared = 0
    for number, row in enumerate(rows, start=1):
        for name, value in re.findall(rf'data-segment="{number}" data-measure="(\w+)" data-value="([^"]+)"', html):
            assert row[name] == value or float(row[name]) == float(value), (number, name)
            compared += 1
    assert compared > 40
