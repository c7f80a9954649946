"""Training data sets as they lie on disk: KiTS19/21/23 and nnU-Net layouts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bisc.core.errors import InputError
from bisc.imageio.images import files_of
from bisc.imageio.label_names import LabelMeaning
from bisc.imageio.layouts import LABEL_STEMS, MAJORITY, CaseFiles, Layout, find_layout, stem_of
from bisc.system.paths import name_fault, name_of

LAYOUTS = "NAME/case_00000/{imaging,segmentation}.nii.gz or NAME/{imagesTr/case_0000.nii.gz,labelsTr/case.nii.gz}"
KITS_NAME: Final = re.compile(r"case_[0-9]{5}")

TEST_CASE: Final = "has no label map: a test case, as KiTS19 has them, and not trained on"
SAFE_NAME, RENAME = "a plain file name", "rename it"
Fault = tuple[str, InputError]
"""A case's name, empty for what is none, and what is to be said of it."""


@dataclass(frozen=True)
class RawCase:
    """One training case: an image and its label map; `image` is None where only labels exist.

    `meaning` is what `--labels` or the data set says of the label map's values, None where neither does.
    """

    name: str
    image: Path | None
    labels: Path
    meaning: LabelMeaning | None = None

    def stamp(self) -> str:
        """What shows that it changed: size and modification time of all its files, and what its labels mean.

        A file of another content with the same size and time shows in its voxels alone (`--verify` reads them).
        """
        files = [file for path in (self.image, self.labels) if path is not None for file in files_of(path)]
        stamps = [f"{s.st_size}:{s.st_mtime_ns}" for s in (file.stat() for file in files)]
        return " ".join([*stamps, self.meaning.key] if self.meaning else stamps)


@dataclass(frozen=True)
class RawDataset:
    """Usable cases, what is wrong with the others, and what is not used.

    Attributes:
        name: The folder's; a link's own.
        folder: As given.
        cases: By name.
        faults: Case name and fault; a case may have several.
        notes: What is in order and not used: KiTS19's test cases, files that belong to no case.
        is_kits: Whether each case has a folder of its own.
    """

    name: str
    folder: Path
    cases: tuple[RawCase, ...]
    faults: tuple[Fault, ...]
    notes: tuple[Fault, ...] = ()
    is_kits: bool = False

    @property
    def label_files(self) -> str:
        """Which of several label maps is used, in words; empty where there is but one."""
        return MAJORITY if any(stem_of(case.labels).lower() == LABEL_STEMS[1] for case in self.cases) else ""


def find_raw_dataset(folder: Path, labels_suffice: bool = False, meaning: LabelMeaning | None = None) -> RawDataset:
    """`scan_raw_dataset` where there must be a usable case.

    Raises:
        InputError: If the folder holds neither layout or no usable case.
    """
    dataset = scan_raw_dataset(folder, labels_suffice, meaning)
    if not dataset.cases:
        first = [fault for _, fault in (*dataset.faults, *dataset.notes)][:1]
        told = f" ({first[0]})" if first else ""
        raise InputError(folder, f"no usable case{told}", LAYOUTS)
    return dataset


def scan_raw_dataset(folder: Path, labels_suffice: bool = False, meaning: LabelMeaning | None = None) -> RawDataset:
    """The cases of a data set folder, sorted by name; faulty ones are listed, not dropped silently.

    Args:
        folder: KiTS layout or nnU-Net layout.
        labels_suffice: Accept cases without an image (a plan's geometry needs only label maps).
        meaning: Of the label maps' values, for every case.

    Raises:
        InputError: If the folder is none, or cannot be listed.
    """
    if not folder.is_dir():
        raise InputError(folder, "is not a folder", LAYOUTS)
    layout = find_layout(folder)
    cases: list[RawCase] = []
    faults, notes = list(layout.faults), [("", unused) for unused in layout.unused]
    for name, files in sorted(layout.cases.items()):
        if is_test_case(name, files, layout):
            notes.append((name, InputError(files.images[0], TEST_CASE)))
            continue
        wrong = _wrong_with(name, files, labels_suffice)
        faults += [(name, fault) for fault in wrong]
        if not wrong:
            cases.append(RawCase(name, files.images[0] if files.images else None, files.labels[0], meaning))
    return RawDataset(name_of(folder), folder, tuple(cases), tuple(faults), tuple(notes), layout.is_kits)


def is_test_case(name: str, files: CaseFiles, layout: Layout) -> bool:
    """Whether a case is one of those that KiTS19 publishes without a label map, among others that have one."""
    alone = len(files.images) == 1 and not files.labels and not files.other_labels
    labelled = any(other.labels for other in layout.cases.values())
    return layout.is_kits and alone and labelled and KITS_NAME.fullmatch(name) is not None


def _wrong_with(name: str, files: CaseFiles, labels_suffice: bool) -> list[InputError]:
    images, labels = files.images, files.labels
    wrong = [*files.faults, *_second(images, "image"), *_second(labels, "label map")]
    if name_fault(name):
        where = [*images, *labels, *files.other_labels, *(Path(fault.what) for fault in files.faults)][0]
        wrong.append(InputError(where, f"the case name {name_fault(name)}", SAFE_NAME, RENAME))
    if not labels and files.other_labels:
        found = "is no label map that is trained on, and there is no other"
        wrong.append(InputError(files.other_labels[0], found, "segmentation.* or aggregated_MAJ_seg.*", "add it"))
    elif not labels and images:
        wrong.append(InputError(images[0], "has no label map", "one label map per image", "add or remove it"))
    elif labels and not images and not files.faults and not labels_suffice:
        wrong.append(InputError(labels[0], "has no image", "one image per label map", "add or remove it"))
    return wrong


def _second(paths: list[Path], what: str) -> list[InputError]:
    """A fault for every file beyond the first: which one is meant is not guessed."""
    return [InputError(path, f"a second {what}, beside {paths[0]}", "one", "remove one") for path in paths[1:]]
