"""A SEG in OHIF, in a headless Chromium: lit on the right slice and side. Run by `make test-long`."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.report.test_dicom_objects import Case, grid, made
from tests.support.ct_series import write_ct
from tests.support.orthanc import HERE, Orthanc, free_port

pytestmark = pytest.mark.long
PACKAGE = "@ohif/app@3.12.10"
CHROMIUM = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
CONFIG = """window.config = {routerBasename: "/", extensions: [], modes: [], showStudyList: true,
  disableConfirmationPrompts: true, investigationalUseDialog: {option: "never"}, defaultDataSourceName: "dicomweb",
  dataSources: [{namespace: "@ohif/extension-default.dataSourcesModule.dicomweb", sourceName: "dicomweb",
    configuration: {friendlyName: "Orthanc", name: "orthanc", wadoUriRoot: "/dicom-web", qidoRoot: "/dicom-web",
      wadoRoot: "/dicom-web", qidoSupportsIncludeField: false, imageRendering: "wadors", thumbnailRendering: "wadors",
      enableStudyLazyLoad: true, supportsWildcard: true, omitQuotationForMultipartRequest: true}}]};"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OHIF's static files: of the folder that BISC_OHIF names, or from npm."""
    if os.environ.get("BISC_OHIF"):
        return Path(os.environ["BISC_OHIF"])
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm to fetch OHIF with; set BISC_OHIF to its dist folder")
    folder = tmp_path_factory.mktemp("ohif")
    fetched = subprocess.run([npm, "pack", PACKAGE], cwd=folder, capture_output=True, text=True, check=False)
    if fetched.returncode:
        pytest.skip(f"npm could not fetch {PACKAGE}: {fetched.stderr[-200:]}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        archive.extractall(folder)  # a published package, in a folder of the test's
    return folder / "package" / "dist"


def handler(dist: Path, orthanc: str) -> type[SimpleHTTPRequestHandler]:
    """OHIF and Orthanc's DICOMweb behind one origin."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(dist))

        def end_headers(self) -> None:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            super().end_headers()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path.startswith("/dicom-web"):
                request = urllib.request.Request(orthanc + self.path, headers={"Accept": self.headers["Accept"]})
                try:
                    with urllib.request.urlopen(request, timeout=60) as answer:
                        self.answer(answer.status, answer.headers["Content-Type"], answer.read())
                except urllib.error.HTTPError as error:
                    self.answer(error.code, "text/plain", b"")
                    error.close()
            elif path == "/app-config.js":
                self.answer(200, "text/javascript", CONFIG.encode())
            else:
                if not (dist / path.lstrip("/")).is_file():
                    self.path = "/index.html"
                super().do_GET()

        def answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def shown(tmp_path: Path, dist: Path, tools: None) -> Iterator[tuple[Case, str]]:
    """A case in an archive, and where OHIF shows its study."""
    case = made(tmp_path, write_ct, grid(), ("seg",))
    orthanc = Orthanc(tmp_path / "orthanc", free_port())
    for path in [*(tmp_path / "in").iterdir(), case.out / "seg.dcm"]:
        orthanc.post("/instances", path.read_bytes())
    server = ThreadingHTTPServer((HERE, 0), handler(dist, f"http://{HERE}:{orthanc.http}"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    study = case.objects["seg"].StudyInstanceUID
    yield case, f"http://{HERE}:{server.server_address[1]}/segmentation?StudyInstanceUIDs={study}"
    server.shutdown()
    server.server_close()
    orthanc.stop()


def centres(picture: npt.NDArray[np.uint8], colour: tuple[int, int, int]) -> npt.NDArray[np.float64]:
    """Mean column and row, in shares of the slice's width and height, of what is drawn in a colour left and right."""
    is_colour = np.abs(picture[..., :3].astype(int) - colour).max(axis=2) < 24
    half = picture.shape[1] // 2
    found = []
    for side in (slice(None, half), slice(half, None)):
        rows, columns = np.nonzero(is_colour[:, side])
        found.append((columns.mean() + (side.start or 0), rows.mean()) if len(rows) else (np.nan, np.nan))
    return np.asarray(found)


def test_lit_on_the_right_slice_and_side(tmp_path: Path, shown: tuple[Case, str]) -> None:
    """Both tumours' outlines on a slice in the middle, where the mask has them; the list names the segments."""
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    chromium = shutil.which("chromium") or pytest.skip("no chromium")
    case, url = shown
    with api.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium, args=list(CHROMIUM))
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(url)
        page.get_by_text("Kidneys and tumours (BiSC-UNet)").first.dblclick(timeout=60_000)
        page.get_by_text("Tumour 2 (right)").wait_for(timeout=60_000)
        page.wait_for_timeout(2000)
        canvas = page.locator("canvas.cornerstone-canvas").first
        canvas.hover()
        for _ in range(40):
            text = page.inner_text("body")
            if "I:15 (" in text:
                break
            page.mouse.wheel(0, 100)
            page.wait_for_timeout(300)
        else:
            pytest.fail(f"slice 15 did not come: {text[-400:]}")
        page.wait_for_timeout(2000)
        picture = np.asarray(Image.open(io.BytesIO(canvas.screenshot())))
        page.screenshot(path=os.environ.get("BISC_OHIF_PICTURE") or str(tmp_path / "ohif.png"))
        browser.close()
    for words in ("Right kidney", "Left kidney", "Tumour 1 (left)", "Tumour 2 (right)"):
        assert words in text
    _, height, width = case.volume.array.shape
    dy, dx = case.volume.geometry.spacing_mm_zyx[1:]
    px_per_mm = picture.shape[1] / (width * dx)
    assert height * dy * px_per_mm < picture.shape[0]  # the whole slice is shown, its width fills the canvas
    numbers = [one.number for one in case.found.segments if one.organ == "tumor"]
    expected = []
    for number in numbers:
        rows, columns = np.nonzero(case.found.numbered[14] == number)
        y_mm = (rows.mean() - (height - 1) / 2) * dy
        expected.append(((columns.mean() + 0.5) * dx * px_per_mm, picture.shape[0] / 2 + y_mm * px_per_mm))
    found = centres(picture, (255, 176, 0))
    assert np.abs(found - np.sort(np.asarray(expected), axis=0)).max() < 12, (found, expected)
