"""The series that a mask is of, as what is written for it refers to it; and who wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from bisc._version import __version__
from bisc.core.errors import InputError
from bisc.imageio.formats.dicom.stack import Stack
from bisc.imageio.formats.dicom.tags import name_of, read_header, text
from bisc.report.dicom.identity import EMPTY, without_identity

NEEDED: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
"""What an object that refers to a source must name of it."""
SAID_ONCE: Final = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
MANUFACTURER: Final = "BiSC-UNet"
NOT_FOR_CARE: Final = "research use, not a medical device"
SERIES_NUMBERS: Final = {"seg": 9001, "sr": 9002, "capture": 9003, "rtstruct": 9004}


@dataclass(frozen=True)
class Maker:
    """The program and the model that found something.

    Attributes:
        model: The model's name.
        checksum: Of all its weights.
        version: Of the program.
    """

    model: str
    checksum: str
    version: str = __version__


@dataclass(frozen=True, eq=False)
class Origin:
    """The source series.

    Attributes:
        images: Headers of its files: one for each slice of the stack, in its order; or the one file of many frames.
        places: Of each slice of the stack, its place among the frames that `images` make.
        stack: Its grid.
    """

    images: tuple[Dataset, ...]
    places: tuple[int, ...]
    stack: Stack

    @property
    def first(self) -> Dataset:
        """The header that patient and study are taken from."""
        return self.images[0]

    @property
    def n_frames(self) -> int:
        """Frames that `images` make."""
        return int(self.first.get("NumberOfFrames") or 1) if len(self.images) == 1 else len(self.images)

    def instances(self) -> Iterator[str]:
        """UIDs of its files."""
        return (str(image.SOPInstanceUID) for image in self.images)


def origin_of(what: Path, stack: Stack, deidentify: bool = False) -> Origin:
    """The source series of a stack, its headers read again; `deidentify` leaves in them no more than geometry.

    Raises:
        InputError: If it lacks a UID that what is written must refer to.
    """
    files = list(dict.fromkeys(frame.path for frame in stack.frames))
    if len(files) not in (1, len(stack.frames)):
        found = f"{len(stack.frames)} slices in {len(files)} files of several frames"
        raise InputError(what, found, "one slice a file, or one file, for DICOM to refer to", "its mask is NIfTI alone")
    images = tuple(_with_place(read_header(path)) for path in files)
    for image, path in zip(images, files, strict=True):
        missing = [name_of(tag) for tag in NEEDED if not text(path, image, tag)]
        if missing:
            found = f"has no {' and no '.join(missing)}"
            raise InputError(path, found, "what a DICOM result must refer to", "its mask is written as NIfTI alone")
    for tag in SAID_ONCE:
        values = {text(path, image, tag) for path, image in zip(files, images, strict=True)}
        if len(values) > 1:
            found = f"its slices have {len(values)} different {name_of(tag)}"
            raise InputError(what, found, "one, for DICOM to refer to", "its mask is written as NIfTI alone")
    if deidentify:
        images = tuple(without_identity(image) for image in images)
    many = len(files) == 1
    places = tuple(frame.index if many else i for i, frame in enumerate(stack.frames))
    return Origin(images, places, stack)


def _with_place(image: Dataset) -> Dataset:
    for keyword in EMPTY:
        if keyword not in image:
            setattr(image, keyword, "")
    return image
