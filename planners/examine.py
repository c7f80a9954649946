"""One case of a data set, examined: its measurement, or everything that is wrong with it at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from bisc.core.errors import InputError
from bisc.core.volume import Box, digest_of, image_digest
from bisc.imageio import CaseImage, check_same_grid, on_grid_of, read_header, read_image, read_labels
from bisc.imageio.dataset import RawCase
from bisc.imageio.label_gaps import tell_of_label_map
from bisc.imageio.label_map import meaning_for
from bisc.imageio.plausible import check_kidney_hu
from bisc.imageio.slices import check_scan
from bisc.planners.fingerprint import N_QUANTILES, CaseFingerprint, measure_labels
from bisc.planners.mirrored import mirrored
from bisc.system.console import notice

MEDIAN: Final = N_QUANTILES // 2
Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Examined:
    """A case's measurement, or None with its faults: a header's, a voxel's and a grid's are told together.

    Attributes:
        fingerprint: The measurement.
        faults: What is wrong.
        voxels: A digest of the voxels it was taken from (`digest_of`), where it was asked for.
        notes: What a user should know though it stops nothing, a line each.
        image: A digest of the image alone; empty without one.
        labels: A digest of the label map alone; empty where nothing is labelled.
    """

    fingerprint: CaseFingerprint | None
    faults: tuple[InputError, ...] = ()
    voxels: str = ""
    notes: tuple[str, ...] = ()
    image: str = ""
    labels: str = ""


def header_faults(case: RawCase) -> list[InputError]:
    """What is wrong with a case's files as far as their headers tell: a look at a few hundred bytes."""
    return _headers(case)[1]


def examine_case(case: RawCase, with_digest: bool = False) -> Examined:
    """Read and measure one case; nothing is raised for what is wrong with its files.

    Args:
        case: What to read.
        with_digest: Also a digest of the voxels.
    """
    headers, faults = _headers(case)
    labels = None
    if case.labels in headers:
        labels = _attempt(lambda path: read_labels(path, case.meaning), case.labels, faults)
    if labels is not None:
        tell_of_label_map(labels, with_grid=case.image is None)
    image = None
    if case.image is not None and case.image in headers:
        image = _attempt(read_image, case.image, faults)
    if image is not None:
        _attempt(check_scan, image, faults)
    quantiles = None
    if image is not None and labels is not None and not faults:
        quantiles = _foreground_quantiles(image, labels)
        _attempt(lambda q: check_kidney_hu(image.path, q[MEDIAN]) if q else None, quantiles, faults)
    if faults or labels is None:
        return Examined(None, tuple(faults))
    if image is not None:
        labels = on_grid_of(image, labels)
        if found := mirrored(image.volume.array, np.asarray(labels.volume.array, np.uint8)):
            notice(labels.path, found, "taken as it lies; look at it on its image")
    read = [one.volume for one in (image, labels) if one is not None]
    voxels = digest_of(*read) if with_digest else ""
    of_image = "" if image is None else image_digest(image.volume)
    of_labels = image_digest(labels.volume) if labels.volume.array.any() else ""
    return Examined(
        measure_labels(case.name, labels.volume, quantiles), voxels=voxels, image=of_image, labels=of_labels
    )


def _headers(case: RawCase) -> tuple[dict[Path | None, CaseImage], list[InputError]]:
    """The readable headers by path, and the faults of the others and of the two grids."""
    faults: list[InputError] = []
    headers: dict[Path | None, CaseImage] = {}
    _attempt(lambda one: meaning_for(one.labels, one.meaning), case, faults)
    for path in (case.image, None if faults else case.labels):
        header = None if path is None else _attempt(read_header, path, faults)
        if header is not None:
            headers[path] = header
    if case.image in headers and case.labels in headers:
        _attempt(lambda pair: check_same_grid(*pair), (headers[case.image], headers[case.labels]), faults)
    return headers, faults


def _attempt(work: Callable[[Job], Result], job: Job, faults: list[InputError]) -> Result | None:
    try:
        return work(job)
    except InputError as fault:
        faults.append(fault)
        return None


def _foreground_quantiles(image: CaseImage, labels: CaseImage) -> list[int] | None:
    """Evenly spaced quantiles of the HU of kidney and tumour; None where nothing is labelled."""
    box = Box.of_mask(labels.volume.array)
    if box is None:
        return None
    part = box.to_slices()
    foreground = image.volume.array[part][labels.volume.array[part] > 0]
    levels = np.quantile(foreground, np.linspace(0, 1, N_QUANTILES))
    return [int(v) for v in np.rint(levels)]
