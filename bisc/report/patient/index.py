"""The index of a run: a row a case with its light, sizes, status and picture, the worst light first."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image

from bisc._version import __version__
from bisc.core.flags import Light
from bisc.report.patient.key_slices import Picture
from bisc.report.patient.page import DISCLAIMER, TEMPLATES, environment, policy
from bisc.report.patient.words import LIGHTS
from bisc.report.style import STATUS_NAMES

THUMBNAIL: Final = 200
ORDER: Final[tuple[Light | None, ...]] = ("red", "amber", None, "green")
DONE: Final = ("ok", "one_kidney", "no_kidney")


@dataclass(frozen=True)
class IndexRow:
    """One case of a run.

    Attributes:
        case: Its name.
        status: As in predictions.csv; 'no_mask' where there is none, 'no_page' where there is one and no page.
        light: Of its flags; None where it was not checked.
        tumors: A line for each.
        kidney_ml: Kidneys with tumours; None where there is no mask.
        tumor_ml: Tumours.
        reason: What went wrong, or makes it doubtful.
        page: Its page's file name; empty where there is none.
        thumbnail: None where there is no page.
        at_least: Whether kidneys with tumours, and tumours, are larger than what is seen.
    """

    case: str
    status: str
    light: Light | None = None
    tumors: tuple[str, ...] = ()
    kidney_ml: float | None = None
    tumor_ml: float | None = None
    reason: str = ""
    page: str = ""
    thumbnail: Picture | None = None
    at_least: tuple[bool, bool] = (False, False)

    @property
    def is_done(self) -> bool:
        """Whether there is a mask to speak of."""
        return self.status in DONE


def index_page(rows: Sequence[IndexRow], title: str = "Kidneys and tumours") -> str:
    """The index as text; the pages that it links to lie beside it."""
    script = (TEMPLATES / "index.js").read_text(encoding="utf-8")
    ordered = sorted(rows, key=lambda row: (row.is_done, ORDER.index(row.light), row.case))
    return (
        environment()
        .get_template("index.html.j2")
        .render(
            title=title,
            rows=[(rank, row) for rank, row in enumerate(ordered)],
            lights=LIGHTS,
            status_names=STATUS_NAMES | {"no_mask": "no mask", "no_page": "no page", "skipped": "no scan"},
            policy=policy([script]),
            script=script,
            disclaimer=DISCLAIMER,
            version=__version__,
        )
    )


def thumbnail_of(picture: Picture, case: str) -> Picture:
    """A picture of the page, small."""
    with Image.open(io.BytesIO(base64.b64decode(picture.data.partition(",")[2]))) as image:
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        file = io.BytesIO()
        image.save(file, format="WEBP", quality=80)
        width, height = image.size
    data = base64.b64encode(file.getvalue()).decode()
    return Picture(f"data:image/webp;base64,{data}", width, height, f"{case}: {picture.alt}", "")
