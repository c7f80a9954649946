"""Which scan is read of what was given: of a DICOM study the series that suits best, or the one that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bisc.core.choices import DEFAULT_DECISION, PHASES, Phase
from bisc.core.errors import InputError, PassedOver
from bisc.imageio.case import CaseImage, InputCase
from bisc.imageio.formats.dicom import is_dicom
from bisc.imageio.inputs import find_inputs
from bisc.imageio.scan import Scan, open_scan
from bisc.inference.cascade import decide, offsets_of, run_rough
from bisc.inference.model import Model
from bisc.preprocessing.phase import phase_of
from bisc.preprocessing.resample import resample

LISTED: Final = 5


def open_study(case: InputCase, series: str | None, phase: Phase | None, model: Model) -> Scan:
    """What is predicted of a case; raises as `bisc.imageio.scan.open_scan`."""
    return open_scan(case, series, phase, lambda image: phase_of_image(image, model))


def scan_at(path: Path, series: str | None, phase: Phase | None, model: Model) -> Scan:
    """The one scan of a path: of a file, or of a folder with one DICOM study or one image file.

    Raises:
        InputError: If there is none or more than one, or as `bisc.imageio.scan.open_scan`.
    """
    if phase not in (None, *PHASES):
        raise InputError("phase", repr(phase), " or ".join(PHASES))
    if not path.is_dir():
        files = (path,) if path.is_file() and is_dicom(path) else ()
        return open_study(InputCase(path.name, path, files=files), series, phase, model)
    cases = [case for case in find_inputs(path) if not isinstance(case.fault, PassedOver)]
    if len(cases) > 1:
        more = ", ..." if len(cases) > LISTED else ""
        names = ", ".join(case.name for case in cases[:LISTED])
        raise InputError(path, f"holds {len(cases)} scans ({names}{more})", "one", "give them one by one")
    return open_study(cases[0], series, phase, model)


def phase_of_image(image: CaseImage, model: Model) -> Phase | None:
    """The contrast phase of an image, by the HU of the kidneys that the rough stage finds; None where it finds none."""
    rough = run_rough(image.volume, model.plan, model.rough)
    labels = decide(rough.array, offsets_of(model.rough, DEFAULT_DECISION))
    return phase_of(resample(image.volume, rough.geometry), labels)
