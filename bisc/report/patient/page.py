"""The page of one patient: a pure function from what is known to HTML that needs nothing else, no network at all."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bisc._version import __version__
from bisc.core.flags import Flags
from bisc.core.volume import Volume
from bisc.measurement.definitions import OF
from bisc.measurement.measures import CaseMeasures
from bisc.preprocessing.segments import Segment
from bisc.report.patient import niivue
from bisc.report.patient.embedded import HU_LOW, HU_STEP, VOLUME_BYTES, Packed, Surface, pack, pack_surfaces
from bisc.report.patient.key_slices import KeySlices, Picture, key_slices, picture_of, place_of
from bisc.report.patient.relief import From, reliefs
from bisc.report.patient.words import LIGHTS, Definitions, reasons, sentences, table_of, title_of, totals
from bisc.report.style import KIDNEY_COLOUR, colour_of

MOST_BYTES: Final = 15_000_000
DISCLAIMER: Final = "Research use only; not a medical device."
TEMPLATES: Final = Path(__file__).with_name("templates")
POLICY: Final = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; connect-src data:; "
    "font-src data:; base-uri 'none'; form-action 'none'"
)
"""No address but the page's own bytes; NiiVue reads its letters from `data:`. Scripts run by their hash alone."""


@dataclass(frozen=True, eq=False)
class PatientPage:
    """What one page shows.

    Attributes:
        image: Canonical (z, y, x) LPS HU.
        numbered: (z, y, x) uint8 segment numbers on its grid.
        segments: Kidneys and tumours.
        measures: Of these.
        flags: What the mask says of its trustworthiness; None where nobody asked.
        definitions: What the measures mean, by organ and name, in the order in which they are shown.
        title: The heading; empty takes the case's name.
        identity: Who and when, label and value; empty unless it was asked for.
        provenance: What made the mask: label and value.
        remarks: What was said of the scan as it was read, a sentence each.

    Raises:
        ValueError: If image and numbers differ in shape.
    """

    image: Volume
    numbered: npt.NDArray[np.uint8]
    segments: Sequence[Segment]
    measures: CaseMeasures
    flags: Flags | None = None
    definitions: Definitions = field(default_factory=lambda: OF)
    title: str = ""
    identity: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.image.array.shape != self.numbered.shape:
            have, want = self.numbered.shape, self.image.array.shape
            raise ValueError(f"{self.measures.case}: the segments are {have} but the image {want} (z, y, x)")


@dataclass(frozen=True)
class MadePage:
    """A page's text, and the picture that stands for it in an index."""

    html: str
    picture: Picture


def case_page(page: PatientPage) -> MadePage:
    """The page, at most `MOST_BYTES` of UTF-8; the scan in its viewer is thinned for that where need be."""
    library = niivue.bundle()
    surfaces = pack_surfaces(page.numbered, page.segments, page.image.geometry) if library else None
    pictures = key_slices(page.image, page.numbered, page.measures.structures, page.segments)
    rounds = _reliefs(page)
    most = VOLUME_BYTES
    while True:
        html = _html(page, library, surfaces, pictures, rounds, pack(page.image, page.numbered, most))
        if len(html.encode()) <= MOST_BYTES or most < 10_000:
            return MadePage(html, pictures[0].pictures[0])
        most //= 2


def _html(
    page: PatientPage,
    library: str | None,
    surfaces: list[Surface] | None,
    pictures: list[KeySlices],
    rounds: list[Picture],
    packed: Packed,
) -> str:
    script = _text("viewer.js")
    three_d = library if surfaces else None
    view = [_text("three_d.js"), three_d] if three_d else []
    names = {segment.number: title_of(segment) for segment in page.segments}
    colours = {segment.number: colour_of(segment) for segment in page.segments}
    return (
        environment()
        .get_template("case.html.j2")
        .render(
            page=page,
            title=page.title or page.measures.case,
            policy=policy([script, *view]),
            script=Markup(script),
            three_d_script=Markup(view[0]) if view else None,
            library=_packed_text(three_d) if three_d else None,
            license=niivue.LICENSE.read_text(encoding="utf-8"),
            version_3d=niivue.VERSION,
            mend_3d="" if library else niivue.MEND,
            sentences=sentences(page.measures, page.definitions),
            totals=totals(page.segments, page.measures),
            light=LIGHTS[page.flags.light if page.flags else None],
            reasons=reasons(page.flags),
            tables=[table_of(one, page.definitions) for one in _tumors_first(page)],
            organs={one.segment.organ for one in page.measures.structures},
            pictures=pictures,
            reliefs=rounds,
            names=names,
            colours=colours,
            kidney_colour=KIDNEY_COLOUR,
            packed=packed,
            thinned=_thinned(packed),
            surfaces=surfaces or [],
            facts=_facts(page, packed),
            grid=page.image.geometry,
            disclaimer=DISCLAIMER,
            version=__version__,
        )
    )


def _tumors_first(page: PatientPage) -> list[Any]:
    return sorted(page.measures.structures, key=lambda one: one.segment.organ == "kidney")


def _reliefs(page: PatientPage) -> list[Picture]:
    """Both sides, where there is something to see."""
    words: dict[From, str] = {"front": "Seen from the front", "back": "Seen from behind"}
    what = ", ".join(segment.name for segment in page.segments)
    drawn = reliefs(page.numbered, page.segments, page.image.geometry.spacing_mm_zyx)
    return [picture_of(pixels, f"{words[way]}: {what}", words[way]) for way, pixels in drawn.items()]


def _facts(page: PatientPage, packed: Packed) -> dict[str, Any]:
    """What the viewers' scripts need to know beside the voxels."""
    places = {
        one.number: place_of(page.numbered == one.number, page.image.geometry, _ends(page, one.number))
        for one in page.segments
    }
    return {
        "shape": packed.grid.shape_zyx,
        "spacing": packed.grid.spacing_mm_zyx,
        "origin": packed.grid.origin_mm_xyz,
        "direction": packed.grid.direction,
        "start": packed.start_zyx,
        "step": packed.step_zyx,
        "full": page.image.geometry.shape_zyx,
        "low": HU_LOW,
        "scale": HU_STEP,
        "kidney": KIDNEY_COLOUR,
        "segments": [
            {"number": one.number, "organ": one.organ, "rank": one.rank, "name": title_of(one),
             "colour": colour_of(one), "at": [int(n) for n in places[one.number]]}
            for one in page.segments
        ],
    }  # fmt: skip


def _ends(page: PatientPage, number: int) -> Any:
    """Of a segment's axial diameter, or None."""
    from bisc.report.patient.key_slices import AXIAL

    for one in page.measures.structures:
        if one.segment.number == number and AXIAL in one.measures:
            return one.measures[AXIAL].ends
    return None


def _thinned(packed: Packed) -> str:
    """'one slice in 2 and one row in 3'; empty where the viewer has all."""
    names = zip(("slice", "row", "column"), packed.step_zyx, strict=True)
    return " and ".join(f"one {name} in {n}" for name, n in names if n > 1)


def policy(scripts: Sequence[str]) -> str:
    """The Content-Security-Policy that lets these scripts run and nothing else."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    return POLICY.format(scripts=" ".join(f"'sha256-{digest}'" for digest in digests) or "'none'")


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Whatever a file's words hold is text on the page, never markup; a name that no one gave is an error."""
    return Environment(
        loader=FileSystemLoader([TEMPLATES, TEMPLATES.parents[1] / "templates"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _packed_text(text: str) -> str:
    """gzip in base64: a third of NiiVue's size."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()
