"""The DICOM series of a folder: which one is a CT stack, and why the others are not. No file is passed over unsaid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.uid import UID

from bisc.core.errors import InputError, PassedOver
from bisc.imageio.formats.dicom.about import About, about, is_localizer
from bisc.imageio.formats.dicom.doubts import tell_unfinished
from bisc.imageio.formats.dicom.elements import INDEX, broken_slices, seems_dicom
from bisc.imageio.formats.dicom.frames import Frame, check_ct, cosines, frames_of
from bisc.imageio.formats.dicom.pixels import read_hu
from bisc.imageio.formats.dicom.stack import Stack, stack_of
from bisc.imageio.formats.dicom.tags import check_syntax, name_of, number, read_header, syntax_of, text
from bisc.system.console import notice
from bisc.system.paths import absence, entries_of, files_in

MEND: Final = "copy or export the series again"
SHARED_TAGS: Final = ("StudyInstanceUID", "FrameOfReferenceUID")
"""One for all slices of a series; some programs (ITK among them) write a new one for each, which tells nothing."""
GIVE: Final = "give the CT's own series"
SCOUT_SLICES: Final = 3
"""A localizer is one or two planes, seldom three, along the body; stacks of as few say nothing of a kidney."""
AXIAL_COSINE: Final = 0.7
"""Of a plane's normal and the body's axis: beyond 45 degrees a plane runs along the body."""
IMAGE_MODALITIES: Final = ("", "CT", "OT")
IMAGES: Final = "Image Storage"
"""In the names of all SOP classes of images."""
SERIES_UID: Final = 0x0020000E
"""A file that ends before it, or within it, tells no series."""
LISTED: Final = 5


@dataclass(frozen=True)
class Series:
    """The files of a folder that bear one SeriesInstanceUID.

    Attributes:
        about: What it says of itself.
        frames: Of all its files; none where it is no CT image.
        unfit: Why it cannot be a CT stack, in a fault that names the file; None where it may be one.
        no_scan: Whether that is by its kind (a localizer, a report).
        defect: Whether it is a CT stack all the same, and a damaged one: no other may be taken in its place unasked.
    """

    about: About
    frames: tuple[Frame, ...]
    unfit: InputError | None
    no_scan: bool = False
    defect: bool = False

    @property
    def label(self) -> str:
        """Its number and description, for messages."""
        return self.about.label

    @property
    def is_stack(self) -> bool:
        """Whether it is, or was meant to be, a stack of CT slices; pictures lie nowhere."""
        return self.defect or (self.unfit is None and any(frame.position_mm_xyz for frame in self.frames))


def find_stack(path: Path) -> Stack:
    """The one CT stack of a folder, or of a single file.

    What else the folder holds is told in a notice.

    Raises:
        PassedOver: If there is nothing but localizers, reports and the like.
        InputError: If a file is damaged, if there is no series or more than one, or if it is no straight, even stack.
    """
    found = series_in(path, _files(path))
    stacks = [one for one in found if one.is_stack] or [one for one in found if one.unfit is None]
    if len(stacks) == 1 and stacks[0].unfit is None:
        for other in found:
            if other is not stacks[0]:
                left = other.unfit.found if other.unfit is not None else "it says nowhere where it lies"
                notice(path, f"also holds {other.label}", f"left out: {left}")
        tell_computed(path, stacks[0].about)
        return stack_of(path, stacks[0].frames)
    for lone in (stacks, found):
        if len(lone) == 1 and lone[0].unfit is not None:
            raise lone[0].unfit
    if found and all(one.no_scan for one in found):
        raise PassedOver(path, f"no CT stack: {_listed(found)}", "a CT series", GIVE)
    found = stacks or found
    listed = f" ({_listed(found)})" if found else ""
    mend = "put each series into a folder of its own" if found else "name the folder that holds the files themselves"
    raise InputError(path, f"{len(found)} DICOM series{listed}", "exactly one", mend)


def tell_computed(what: Path, about: About) -> None:
    """Give notice where a series is no CT as it was scanned."""
    if about.computed is not None:
        notice(what, f"{about.label} is {about.computed.what}", "read as a CT, which networks are trained on")


def seeming_shape(path: Path) -> tuple[int, int, int]:
    """(z, y, x) of a folder's stack or of a file, as the header of its first file lets expect: a look, not a check.

    Raises:
        InputError: If that file cannot be read, or there is none.
    """
    files = _files(path)
    if not files:
        raise InputError(path, "0 DICOM series", "exactly one")
    frames = frames_of(files[0], read_header(files[0]))
    return (len(files) * len(frames), *frames[0].shape_yx)


def series_in(what: Path, files: Sequence[Path]) -> list[Series]:
    """The series that `files` make, in the order of their first files.

    Args:
        what: The folder, named where a file of it is damaged.
        files: DICOM files by mark or name.

    Raises:
        InputError: If one of them is so damaged that it tells no series.
    """
    tell_unfinished(what, files)
    found: dict[str, _Gathered] = {}
    for path in files:
        try:
            data = read_header(path)
            uid = text(path, data, "SeriesInstanceUID")
            if not text(path, data, "Rows") and not no_image(path, data):
                raise InputError(path, "is damaged or no slice")
            if uid not in found:
                found[uid] = _Gathered(about(path, data))
        except InputError as error:
            raise InputError(what, f"{path.name} {error.found}", "whole DICOM slices alone", MEND) from error
        found[uid].take(path, data)
    return [gathered.series(what) for gathered in found.values()]


class _Gathered:
    """A series while its files are read."""

    def __init__(self, says: About) -> None:
        self.about = says
        self.frames: list[Frame] = []
        self.frames_of_image: dict[str, list[Frame]] = {}
        self.n_copies = 0
        self.localizers: set[bool] = set()
        self.shared: dict[str, set[str]] = {tag: set() for tag in SHARED_TAGS}
        self.patients: dict[str, set[str]] = {"PatientID": set(), "PatientName": set()}
        self.concatenations: dict[str, _Concatenation] = {}
        self.no_image: InputError | None = None
        self.no_ct: InputError | None = None
        self.defect: InputError | None = None

    def take(self, path: Path, data: FileDataset) -> None:
        """Add a file; a fault of its own is the series' defect."""
        try:
            self._take(path, data)
        except InputError as error:
            self.defect = self.defect or error

    def _take(self, path: Path, data: FileDataset) -> None:
        kind = no_image(path, data)
        if kind:
            self.no_image = self.no_image or PassedOver(path, kind, "a CT series", GIVE)
            return
        self.localizers.add(is_localizer(path, data))
        try:
            check_ct(path, data)
        except InputError as error:
            self.no_ct = self.no_ct or error
            return
        for tag, values in self.shared.items():
            values.add(text(path, data, tag))
        for tag, values in self.patients.items():
            values |= {text(path, data, tag)} - {""}
        concatenation = text(path, data, "ConcatenationUID")
        if concatenation:
            self.concatenations.setdefault(concatenation, _Concatenation()).take(path, data)
        check_syntax(path, data)
        frames = frames_of(path, data)
        instance = text(path, data, "SOPInstanceUID")
        if instance and _is_copy(self.frames_of_image.setdefault(instance, frames), frames):
            self.n_copies += 1
        else:
            self.frames += frames

    def series(self, what: Path) -> Series:
        """What became of it: one odd file among slices is a defect, and makes no scan something else."""
        if self.n_copies:
            notice(what, f"holds {self.n_copies} files of {self.about.label} twice, to the last pixel", "read once")
        slices = bool(self.frames) or self.defect is not None
        odd = self.no_image or self.no_ct
        if not slices and odd is not None:
            return Series(self.about, (), odd, no_scan=self.no_ct is None)
        if odd is not None:
            mixed = InputError(
                odd.what, f"{odd.found}, among the slices of a CT series", "CT slices alone", "move it away"
            )
            return Series(self.about, tuple(self.frames), self.defect or mixed, defect=True)
        lacking = next((one.lacking for one in self.concatenations.values() if one.lacking), "")
        if lacking:
            self.defect = self.defect or InputError(what, lacking, "all of its files", "fetch it again")
        mingled = [(tag, len(values)) for tag, values in self.shared.items() if 1 < len(values) < len(self.frames)]
        who = next(((tag, len(values)) for tag, values in self.patients.items() if values), ("", 0))
        if who[1] > 1:  # names count where no slice has an ID: one's may be spelt in two ways
            mingled.insert(0, who)
        if mingled:
            found = f"its slices have {mingled[0][1]} different {name_of(mingled[0][0])}"
            self.defect = self.defect or InputError(what, found, "slices of one scan", "put each scan into a folder")
        if self.defect is not None:
            return Series(self.about, tuple(self.frames), self.defect, defect=True)
        made = self.about.computed
        other = made.what if made is not None and made.is_map else _scout(self.frames, self.localizers == {True})
        unfit = PassedOver(what, other, "a CT series", GIVE) if other else None
        return Series(self.about, tuple(self.frames), unfit, no_scan=bool(other))


class _Concatenation:
    """An enhanced image that its writer divided into several files (PS3.3, C.7.6.16)."""

    def __init__(self) -> None:
        self.there: set[int] = set()
        self.n_parts = 0

    def take(self, path: Path, data: FileDataset) -> None:
        """Add a file; it need not say how many there are, but then the highest number does."""
        part, of = (number(path, data, f"InConcatenation{word}") for word in ("Number", "TotalNumber"))
        self.there |= {int(part)} if part is not None else set()
        self.n_parts = max(self.n_parts, int(of or 0), int(part or 0))

    @property
    def lacking(self) -> str:
        """What is there of it, in words; empty where that is all, or its files bear no numbers."""
        if not self.there or len(self.there) >= self.n_parts:  # some begin to count at 0
            return ""
        there = ", ".join(map(str, sorted(self.there)))
        return f"part {there} of {self.n_parts} of an image in several files ({name_of('InConcatenationNumber')})"


def no_image(path: Path, data: FileDataset) -> str:
    """What a file is that is no image by its modality (a report, a segmentation, a plan), or by its class and for want
    of rows (a PDF, a scanner's raw data, a medium's table of contents); empty for images."""
    modality = text(path, data, "Modality")
    meta = getattr(data, "file_meta", data)
    kind = UID(text(path, data, "SOPClassUID") or text(path, meta, "MediaStorageSOPClassUID")).name
    if modality not in IMAGE_MODALITIES:
        return f"modality {modality} ({kind})"
    if not kind or IMAGES in kind or text(path, data, "Rows"):
        return ""
    is_cut = kind[0].isdigit() and max(data.keys(), default=0) <= SERIES_UID  # perhaps within the class's own UID
    return "" if is_cut else f"no image ({kind})"


def _scout(frames: Sequence[Frame], says_so: bool) -> str:
    """Why a series is a localizer, in words; empty where it is none."""
    if says_so:
        return "a localizer, by its ImageType"
    turns = [frame.turn for frame in frames]
    if len(frames) > SCOUT_SLICES or any(turn is None for turn in turns):
        return ""
    upright = [abs(float(np.cross(*cosines(turn))[2])) for turn in turns if turn is not None]
    if max(upright) > AXIAL_COSINE:
        return ""
    return f"a localizer: {len(frames)} {'plane' if len(frames) == 1 else 'planes'}, none of them axial"


def _is_copy(first: list[Frame], again: list[Frame]) -> bool:
    """Whether a second file of one SOPInstanceUID shows the same: then it is the first one's copy."""
    path = again[0].path
    if first is again or [replace(frame, path=path) for frame in first] != again:
        return False
    one, other = (read_header(p, pixels=True) for p in (first[0].path, path))
    if one.get("PixelData") == other.get("PixelData"):
        return one.get("PixelData") is not None
    # Packed otherwise, as archives do; what is packed alike and differs is another image.
    return syntax_of(one) != syntax_of(other) and np.array_equal(read_hu(path, first), read_hu(path, again))


def _listed(found: Sequence[Series]) -> str:
    shown = [one.label + (f": {one.unfit.found}" if one.unfit else f", {len(one.frames)} slices") for one in found]
    return "; ".join(shown[:LISTED]) + (f"; and {len(shown) - LISTED} more" if len(shown) > LISTED else "")


def _files(path: Path) -> list[Path]:
    """The DICOM files of a folder itself, broken ones and links that lead nowhere among them; or the one file."""
    if not path.is_dir():
        return [path]
    files = [p for p in files_in(path) if p.name.upper() != INDEX and not p.name.startswith(".")]
    seems = [seems_dicom(p) for p in files]
    dicom = [p for p, yes in zip(files, seems, strict=True) if yes]
    broken = broken_slices([p for p, yes in zip(files, seems, strict=True) if not yes], dicom)
    named = [p for p in entries_of(path) if p.suffix.lower() == ".dcm" and not p.name.startswith(".")]
    lost = [p for p in named if absence(p)]
    return sorted(dicom + broken + lost)
