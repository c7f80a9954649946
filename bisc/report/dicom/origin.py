"""The series that a mask is of, as what is written for it refers to it; and who wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID
from pydicom.valuerep import DSfloat

from bisc._version import __version__
from bisc.core.errors import InputError
from bisc.imageio.formats.dicom.frames import Frame
from bisc.imageio.formats.dicom.stack import Stack
from bisc.imageio.formats.dicom.tags import name_of, read_header, text
from bisc.report.dicom.identity import EMPTY, derived_uid, without_identity

NEEDED: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
"""What an object that refers to a source must name of it."""
BORNE: Final = (*EMPTY, "SpecificCharacterSet")
"""What an object bears of its source byte for byte. Scanners and registries write dates, sexes and character sets that
no library takes (1950, U, an empty first value); they are the PACS's all the same."""
MEASURES: Final = ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices")
NIFTI_ALONE: Final = "its mask is written as NIfTI alone"
LOSSY: Final = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
"""May be absent, but not empty."""
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

    def of_object(self, kind: str, uid: str) -> dict[str, Any]:
        """What an object of a `kind` says of its series, of itself and of us, as highdicom takes it."""
        return {
            "series_instance_uid": derived_uid(f"{kind} series", uid),
            "series_number": SERIES_NUMBERS[kind],
            "sop_instance_uid": uid,
            "instance_number": 1,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": f"{MANUFACTURER} {self.model}"[:64],
            "software_versions": self.version,
            "device_serial_number": self.checksum,
        }


@dataclass(frozen=True, eq=False)
class Origin:
    """The source series.

    Attributes:
        images: Headers of its files: one for each slice of the stack, in its order; or the one file of many frames.
        places: Of each slice of the stack, its place among the frames that `images` make.
        stack: Its grid.
        borne: Its patient, its study and its character set, as they lie in the file.
    """

    images: tuple[Dataset, ...]
    places: tuple[int, ...]
    stack: Stack
    borne: tuple[DataElement | RawDataElement, ...] = ()

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

    def put_patient(self, made: Dataset) -> None:
        """Let an object bear the source's patient and study."""
        for element in self.borne:
            made[element.tag] = element


def origin_of(what: Path, stack: Stack, deidentify: bool = False) -> Origin:
    """The source series of a stack, its headers read again; `deidentify` leaves in them no more than geometry.

    Raises:
        InputError: If it lacks a UID that what is written must refer to, or uses one for several slices.
    """
    files = list(dict.fromkeys(frame.path for frame in stack.frames))
    if len(files) not in (1, len(stack.frames)):
        found = f"{len(stack.frames)} slices in {len(files)} files of several frames"
        raise InputError(what, found, "one slice a file, or one file, for DICOM to refer to", NIFTI_ALONE)
    images = [read_header(path) for path in files]
    for image, path in zip(images, files, strict=True):
        missing = [name_of(tag) for tag in NEEDED if not text(path, image, tag)]
        if missing:
            found = f"has no {' and no '.join(missing)}"
            raise InputError(path, found, "what a DICOM result must refer to", NIFTI_ALONE)
    for tag in SAID_ONCE:
        values = {text(path, image, tag) for path, image in zip(files, images, strict=True)}
        if len(values) > 1:
            found = f"its slices have {len(values)} different {name_of(tag)}"
            raise InputError(what, found, "one, for DICOM to refer to", NIFTI_ALONE)
    n_instances = len({text(path, image, "SOPInstanceUID") for path, image in zip(files, images, strict=True)})
    if n_instances < len(files):
        found = f"its {len(files)} slices have {n_instances} different {name_of('SOPInstanceUID')}"
        raise InputError(what, found, "one for each, for DICOM to refer to", NIFTI_ALONE)
    if len(files) > 1 and "Enhanced" in UID(text(files[0], images[0], "SOPClassUID")).name:
        found = f"{len(files)} enhanced files, which DICOM has one of for all slices"
        raise InputError(what, found, "one enhanced file, or plain ones, for DICOM to refer to", NIFTI_ALONE)
    borne = () if deidentify else tuple(_borne(images[0]))
    for image, path, frame in zip(images, files, stack.frames, strict=False):
        _make_sound(path, image)
        _put_place(image, stack, frame)
    many = len(files) == 1
    if many:
        _put_frames(images[0], stack)
    clean = [without_identity(image) for image in images] if deidentify else images
    places = tuple(frame.index if many else i for i, frame in enumerate(stack.frames))
    return Origin(tuple(clean), places, stack, borne)


def item(**tags: object) -> Dataset:
    """A data set of these tags."""
    made = Dataset()
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    return made


def _borne(image: Dataset) -> Iterator[DataElement | RawDataElement]:
    for keyword in BORNE:
        tag = Tag(keyword)
        element = image.get_item(tag) if tag in image else None
        if element is None or not element.value:  # an empty one is empty in the object too
            continue
        if isinstance(element, RawDataElement):  # an implicit file says no VR, and a damaged one is of odd length
            value = element.value + b" " * (len(element.value) % 2)
            element = element._replace(VR=dictionary_VR(tag), value=value, length=len(value))
        yield element


def _make_sound(path: Path, image: Dataset) -> None:
    """Leave out what highdicom might refuse: what objects bear of it, they get as it is."""
    for keyword in EMPTY:
        setattr(image, keyword, "")
    lossy = [keyword for keyword in LOSSY if not text(path, image, keyword)]
    for keyword in (*lossy, "SpecificCharacterSet"):
        if keyword in image:
            delattr(image, keyword)


def _put_place(image: Dataset, stack: Stack, frame: Frame) -> None:
    """Let a header say where a slice lies as the stack has it: some say it elsewhere, or a hair otherwise."""
    turn = np.reshape(stack.direction, (3, 3))
    step, height, width = stack.spacing_mm_zyx
    thick = stack.frames[0].thickness_mm or 0.0
    image.PixelSpacing, image.SliceThickness = _ds(height, width), _ds(thick if thick > 0 else step)[0]
    image.SpacingBetweenSlices = _ds(step)[0]
    image.ImageOrientationPatient = _ds(*turn[:, 0], *turn[:, 1])
    image.ImagePositionPatient = _ds(*(frame.position_mm_xyz or ()))


def _put_frames(image: Dataset, stack: Stack) -> None:
    """`_put_place` for the groups of a file of many frames."""
    measures = item(**{tag: image[tag].value for tag in MEASURES})
    orientation = item(ImageOrientationPatient=image.ImageOrientationPatient)
    image.SharedFunctionalGroupsSequence = [
        item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[orientation])
    ]
    places = {frame.index: _ds(*(frame.position_mm_xyz or ())) for frame in stack.frames}
    image.PerFrameFunctionalGroupsSequence = [
        item(PlanePositionSequence=[item(ImagePositionPatient=places[i])]) for i in sorted(places)
    ]


def _ds(*values: float) -> list[DSfloat]:
    return [DSfloat(float(value), auto_format=True) for value in values]
