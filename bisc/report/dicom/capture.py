"""A picture for a PACS that shows no SEG: key slices with outlines, and the numbers beside them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from bisc.core.volume import Volume
from bisc.preprocessing.segments import Segment, Sizes
from bisc.report.canvas import Canvas, draw_contours, draw_ct, draw_scale, draw_sides
from bisc.report.dicom.identity import derived_uid
from bisc.report.dicom.origin import MANUFACTURER, NOT_FOR_CARE, Maker, Origin
from bisc.report.style import FAINT_COLOUR, KIDNEY_COLOUR, TUMOR_COLOUR
from bisc.report.views import choose_box, choose_slice, display_slices

WIDTH, HEAD, MARGIN, GAP, LINE = 1200, 76, 16, 12, 30
PICTURE: Final = (WIDTH - 2 * MARGIN - GAP) // 2
MOST_HIGH: Final = 900
MOST_ROWS: Final = 12
MOST_LETTERS: Final = 130


def page(
    image: Volume,
    labels: npt.NDArray[np.uint8],
    segments: Sequence[Segment],
    sizes: Mapping[int, Sizes],
    maker: Maker,
    told: Sequence[str] = (),
) -> npt.NDArray[np.uint8]:
    """The picture, (height, width, 3) uint8.

    Args:
        image: Canonical HU.
        labels: (z, y, x) on its grid: 0, 1 kidney, 2 tumour.
        segments: The rows of the table; none says that no kidney was found.
        sizes: By segment number.
        maker: Named at the foot.
        told: Sentences on its trustworthiness, under the table.
    """
    views = display_slices(image, choose_slice([labels]), choose_box([labels], image.geometry))
    outlines = display_slices(
        Volume(labels, image.geometry), choose_slice([labels]), choose_box([labels], image.geometry)
    )
    heights = [min(MOST_HIGH, round(PICTURE * view.height_mm / view.width_mm)) for view in views]
    shown = segments[:MOST_ROWS]
    rows = max(1, len(shown)) + (len(segments) > MOST_ROWS)
    said = [line for words in told for line in textwrap.wrap(words, MOST_LETTERS)]
    canvas = Canvas(WIDTH, HEAD + max(heights) + 2 * MARGIN + LINE * (rows + 2 + len(said)))
    canvas.text(MARGIN, 14, "Kidneys and kidney tumours, segmented automatically", 24, "bold")
    canvas.text(MARGIN, 46, f"{NOT_FOR_CARE}; outlines: kidney with tumour, tumour", 16, colour=FAINT_COLOUR)
    canvas.legend(WIDTH - MARGIN, 18)
    for k, (view, outline, height) in enumerate(zip(views, outlines, heights, strict=True)):
        width = min(PICTURE, round(height * view.width_mm / view.height_mm))
        left = MARGIN + k * (PICTURE + GAP) + (PICTURE - width) // 2
        axes = canvas.axes(left, HEAD, width, height)
        draw_ct(axes, view)
        draw_contours(axes, outline)
        draw_scale(axes, view)
        draw_sides(axes, view, with_place=True)
    top = HEAD + max(heights) + MARGIN
    for at, words in zip(
        (MARGIN, 420, 640, 900), ("", "volume", "largest axial diameter", "largest diameter"), strict=True
    ):
        canvas.text(at, top, words, 15, colour=FAINT_COLOUR)
    if not segments:
        canvas.text(MARGIN, top + LINE, "No kidney was found.", 18)
    for k, one in enumerate(shown, start=1):
        of, y = sizes[one.number], top + k * LINE
        canvas.text(MARGIN, y, one.name, 18, "bold", TUMOR_COLOUR if one.organ == "tumor" else KIDNEY_COLOUR)
        least = "at least " if of.cut else ""
        canvas.text(420, y, f"{least}{of.volume_ml:.1f} ml", 18)
        for at, mm in ((640, of.axial_mm), (900, of.diameter_mm)):
            canvas.text(at, y, "" if mm is None else f"{least}{mm:.0f} mm", 18)
    if len(segments) > MOST_ROWS:
        canvas.text(MARGIN, top + rows * LINE, f"and {len(segments) - MOST_ROWS} more, see the report", 16)
    for k, line in enumerate(said, start=1):
        canvas.text(MARGIN, top + (rows + k) * LINE, line, 16)
    foot = f"{MANUFACTURER} {maker.version}, model {maker.model} ({maker.checksum})"
    canvas.text(MARGIN, top + (rows + 1 + len(said)) * LINE, foot, 13, colour=FAINT_COLOUR)
    return canvas.pixels()


def secondary_capture(
    origin: Origin, pixels: npt.NDArray[np.uint8], maker: Maker, seg_uid: str, told: Sequence[str] = ()
) -> Dataset:
    """The picture as a Secondary Capture object (PS3.3, A.8.1); no name is burnt into it.

    Args:
        origin: The source series.
        pixels: (height, width, 3) uint8.
        maker: Who drew it.
        seg_uid: Of the same mask's SEG, from which, and from what is `told`, this one's UID is derived.
        told: As of `page`.
    """
    import highdicom as hd

    uid = derived_uid("capture", seg_uid, *told)
    made: Dataset = hd.sc.SCImage.from_ref_dataset(
        ref_dataset=origin.first,
        pixel_array=pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        **maker.of_object("capture", uid),
        series_description=f"Kidneys and tumours ({NOT_FOR_CARE})",
        patient_orientation=("L", "P"),
    )
    made.BurnedInAnnotation, made.Laterality = "NO", ""  # it shows both sides
    return made
