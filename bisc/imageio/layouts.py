"""The files of a training data set by case, as KiTS19/21/23 and nnU-Net lay them out, and what lies beside them.

Nothing is passed over unsaid: a file is a case's image or label map, an ordinary companion (README, dataset.json,
single annotations), or named with the reason why it is not used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bisc.core.errors import InputError
from bisc.imageio.images import DETACHED, PAIRS, files_of, image_suffix
from bisc.system.paths import absence, meant_for, not_finished, spelt_as, without_hidden

IMAGING: Final = "imaging"
LABEL_STEMS: Final = ("segmentation", "aggregated_maj_seg")
"""KiTS19's and KiTS23's name, and the majority vote of KiTS21's three annotators, in lower case."""
SEG: Final = ".seg"
MAJORITY: Final = "aggregated_MAJ_seg, the majority vote of KiTS21's annotators"
IMAGES_TR, LABELS_TR = "imagestr", "labelstr"
_TEST_FOLDERS: Final = ("imagests", "labelsts")
_COMPANION_NAMES: Final = ("readme", "license", "licence", "copying", "changelog", "citation", "checksums")
_COMPANION_SUFFIXES: Final = (".json", ".md")
_COMPANIONS: Final = ("thumbs.db", "desktop.ini", "__macosx")
CASE_COMPANIONS: Final = ("segmentations", "instances")
"""Folders of single annotations in KiTS21's and KiTS23's cases."""
_ARCHIVES: Final = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst")
PLACES: Final = "CASE/imaging.nii.gz and CASE/segmentation.nii.gz, or imagesTr and labelsTr"


@dataclass
class CaseFiles:
    """What belongs to one case: an image and a label map, unless something is wrong with it.

    Attributes:
        images: Its images.
        labels: Its label maps.
        faults: What shows from the names alone.
        other_labels: Label maps of another kind, which are no label map of the case.
    """

    images: list[Path] = field(default_factory=list)
    labels: list[Path] = field(default_factory=list)
    faults: list[InputError] = field(default_factory=list)
    other_labels: list[Path] = field(default_factory=list)


@dataclass
class Layout:
    """A data set's files.

    Attributes:
        cases: By name.
        faults: Of what cannot be listed, by the name of its case.
        unused: What is not used, each with the reason.
        is_kits: Whether each case has a folder of its own.
    """

    is_kits: bool
    cases: dict[str, CaseFiles] = field(default_factory=dict)
    faults: list[tuple[str, InputError]] = field(default_factory=list)
    unused: list[InputError] = field(default_factory=list)

    def pass_over(self, path: Path, outside: str) -> None:
        """Name `path`, unless it is a companion; `outside` says what it is where its name does not."""
        if not is_companion(path):
            self.unused.append(InputError(path, *reason_unused(path, outside)))


def find_layout(folder: Path) -> Layout:
    """The files of a data set folder by case, whichever layout it has.

    Raises:
        InputError: If the folder, or nnU-Net's in it, cannot be listed.
    """
    entries = entries_of(folder)
    if any(path.name.lower() in (IMAGES_TR, LABELS_TR) and path.is_dir() for path in entries):
        return _nnunet_layout(entries)
    return _kits_layout(entries)


def is_companion(path: Path) -> bool:
    """Whether a file or folder ordinarily lies beside the cases and is none."""
    name = path.name.lower()
    return (
        name in _COMPANIONS
        or name.split(".")[0].split("_")[0] in _COMPANION_NAMES
        or (name.endswith(_COMPANION_SUFFIXES) and not path.is_dir())
    )


def reason_unused(path: Path, outside: str) -> tuple[str, str, str]:
    """Why something is not used, what would be, and the mend; `outside` is the reason where its name gives none."""
    if path.is_dir():
        return outside, PLACES, "move it there if it is to be used"
    suffix, whole = path.suffix.lower(), meant_for(path)
    if whole is not None:
        fault = not_finished(path, whole)
        return fault.found, fault.expected, fault.mend
    if image_suffix(path):
        return outside, PLACES, "move it there if it is to be used"
    if suffix in PAIRS:
        return "is one of an Analyze or NIfTI pair, which is not read", "one file", "convert it to .nii.gz"
    if suffix in _ARCHIVES:
        return "is an archive, which is not looked into", PLACES, "unpack it"
    if suffix in (".dcm", ".ima"):
        return "is a DICOM slice, which is not trained on", PLACES, "convert the series to .nii.gz"
    return "is no image by its name", PLACES, "convert it if it is to be used"


def entries_of(folder: Path) -> list[Path]:
    """What a folder holds, sorted, hidden files left out but for copies that were not finished.

    Raises:
        InputError: If it cannot be listed.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(folder, f"cannot be listed ({reason})", "a folder you may read", "change it") from error
    return without_hidden(entries)


def stem_of(path: Path) -> str:
    """A file's name without the suffix of an image; `.seg.nrrd`, 3D Slicer's, is one."""
    suffix = image_suffix(path)
    stem = path.name[: -len(suffix)] if suffix else path.name
    return stem[: -len(SEG)] if suffix == ".nrrd" and stem.lower().endswith(SEG) else stem


def detached(paths: Iterable[Path]) -> set[Path]:
    """The data files beside headers among `paths`."""
    return {file for path in paths if path.suffix.lower() in DETACHED for file in files_of(path)[1:]}


def _kits_layout(entries: list[Path]) -> Layout:
    layout = Layout(is_kits=True)
    for entry in entries:
        missing = absence(entry)
        if missing:
            layout.faults.append((entry.name, InputError(entry, missing, "a folder of images", "mend or remove it")))
        elif not entry.is_dir():
            layout.pass_over(entry, "is an image outside of the cases' folders")
        else:
            try:
                _kits_case(entry, layout)
            except InputError as fault:
                layout.faults.append((entry.name, fault))
    return layout


def _kits_case(folder: Path, layout: Layout) -> None:
    case, others = CaseFiles(), []
    inside = entries_of(folder)
    for path in inside:
        stem = stem_of(path).lower() if image_suffix(path) else ""
        if stem == IMAGING:
            case.images.append(path)
        elif stem in LABEL_STEMS:
            case.labels.append(path)
        elif stem.endswith("_seg"):
            case.other_labels.append(path)
        elif not (path.is_dir() and path.name.lower() in CASE_COMPANIONS):
            others.append(path)
    if not case.images and not case.labels and not case.other_labels:
        if not is_companion(folder):
            layout.unused.append(InputError(folder, *_no_case(inside)))
        return
    layout.cases[folder.name] = case
    data = detached([*case.images, *case.labels])
    for path in others:
        if path not in data:
            layout.pass_over(path, "is neither imaging.* nor segmentation.*")


def _no_case(inside: list[Path]) -> tuple[str, str, str]:
    """Why a folder is no case, by what it holds."""
    if not inside:
        return "is an empty folder", PLACES, "fill or remove it"
    if all(path.is_dir() or is_companion(path) for path in inside):
        return "holds nothing but folders: what they hold lies a level too deep", PLACES, "move them up a level"
    if len(inside) == 1 and not image_suffix(inside[0]):
        found, expected, mend = reason_unused(inside[0], "")
        return f"holds {inside[0].name} alone, which {found}", expected, mend
    return "holds no imaging.* that can be read", PLACES, "rename or convert what it holds, or remove it"


def _nnunet_layout(entries: list[Path]) -> Layout:
    layout = Layout(is_kits=False)
    folders: dict[str, Path] = {}
    for entry in sorted(entries, key=lambda path: (path.name not in ("imagesTr", "labelsTr"), path.name)):
        name = entry.name.lower()
        if name in (IMAGES_TR, LABELS_TR) and name not in folders and (entry.is_dir() or absence(entry)):
            folders[name] = entry
        elif name in _TEST_FOLDERS and entry.is_dir():
            n = len([path for path in entries_of(entry) if image_suffix(path)])
            layout.unused.append(InputError(entry, f"holds {n} test images or label maps", "imagesTr and labelsTr"))
        else:
            beside = "is a folder" if entry.is_dir() else "is an image"
            layout.pass_over(entry, f"{beside} beside imagesTr and labelsTr, whose cases are used")
    images, labels = (_images_in(folders.get(name), layout) for name in (IMAGES_TR, LABELS_TR))
    for path in labels:
        layout.cases.setdefault(stem_of(path), CaseFiles()).labels.append(path)
    own = {*layout.cases, *(f"{name}_0000" for name in layout.cases)}
    spelt = spelt_as(own, [stem_of(path) for path in images])
    stems = {path: spelt[stem_of(path)] for path in images}
    case_of = _CaseNames(set(stems.values()), set(layout.cases))
    for path, stem in stems.items():
        name, channel = case_of(stem)
        case = layout.cases.setdefault(name, CaseFiles())
        if channel:
            found = f"is channel {channel} of {name}"
            case.faults.append(InputError(path, found, "one channel, CT (_0000)", "remove it, or the case"))
        else:
            case.images.append(path)
    return layout


def _images_in(folder: Path | None, layout: Layout) -> list[Path]:
    if folder is None:
        return []
    missing = absence(folder)
    if missing:
        raise InputError(folder, missing, "a folder of images", "mend or remove it")
    entries = entries_of(folder)
    images = [path for path in entries if image_suffix(path)]
    data = detached(images)
    for path in entries:
        if path not in data and not image_suffix(path):
            layout.pass_over(path, f"is a folder in {folder.name}")
    return images


class _CaseNames:
    """Which case an image of imagesTr belongs to, and its channel.

    nnU-Net adds the channel to the case's name (_0000); others keep one name for both files, which may end in a number
    of its own. The label maps decide.
    """

    def __init__(self, images: set[str], labels: set[str]) -> None:
        self.images, self.labels = images, labels
        n_channel = sum(f"{label}_0000" in images for label in labels)
        self.by_channel = n_channel >= sum(label in images for label in labels)

    def __call__(self, stem: str) -> tuple[str, str]:
        """Case and channel; no channel for the first, or where the names have none."""
        match = re.fullmatch(r"(.+)_([0-9]{4})", stem)
        if not match or (stem in self.labels and not (self.by_channel and match[1] in self.labels)):
            return stem, ""
        case, channel = match[1], match[2]
        if channel == "0000":
            return (case, "") if self.by_channel or case in self.labels else (stem, "")
        is_more = case in self.labels or f"{case}_0000" in self.images
        return (case, channel) if self.by_channel and is_more else (stem, "")
