"""Training data sets as they lie on disk: KiTS19/21/23 and nnU-Net layouts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bisc.core.errors import InputError
from bisc.core.names import name_fault
from bisc.core.paths import absence, exists
from bisc.imageio.read import image_suffix

LAYOUTS = "NAME/case_00000/{imaging,segmentation}.nii.gz or NAME/{imagesTr/case_0000.nii.gz,labelsTr/case.nii.gz}"

SAFE_NAME, RENAME = "a plain file name", "rename it"


@dataclass(frozen=True)
class RawCase:
    """One training case: an image and its label map; `image` is None where only labels exist."""

    name: str
    image: Path | None
    labels: Path


@dataclass(frozen=True)
class RawDataset:
    """Usable cases, and what is wrong with the others."""

    name: str
    folder: Path
    cases: tuple[RawCase, ...]
    faults: tuple[tuple[str, InputError], ...]
    """Case name and fault; a case may have several."""


def find_raw_dataset(folder: Path, labels_suffice: bool = False) -> RawDataset:
    """`scan_raw_dataset` where there must be a usable case.

    Raises:
        InputError: If the folder holds neither layout or no usable case.
    """
    dataset = scan_raw_dataset(folder, labels_suffice)
    if not dataset.cases:
        first = f" ({dataset.faults[0]})" if dataset.faults else ""
        raise InputError(folder, f"no usable case{first}", LAYOUTS)
    return dataset


def scan_raw_dataset(folder: Path, labels_suffice: bool = False) -> RawDataset:
    """The cases of a data set folder, sorted by name; faulty ones are listed, not dropped silently.

    Args:
        folder: KiTS layout or nnU-Net layout.
        labels_suffice: Accept cases without an image (a plan's geometry needs only label maps).

    Raises:
        InputError: If the folder is none, or cannot be listed.
    """
    if not folder.is_dir():
        raise InputError(folder, "is not a folder", LAYOUTS)
    cases: list[RawCase] = []
    faults: list[tuple[str, InputError]] = []
    files = _nnunet_files(folder) if (folder / "labelsTr").is_dir() else _kits_files(folder, faults)
    for name, (images, labels) in sorted(files.items()):
        wrong = [*_second(images, "image"), *_second(labels, "label map")]
        if name_fault(name):
            wrong.append(InputError([*images, *labels][0], f"the case name {name_fault(name)}", SAFE_NAME, RENAME))
        if not labels:
            wrong.append(InputError(images[0], "has no label map", "one label map per image", "add or remove it"))
        elif not images and not labels_suffice:
            wrong.append(InputError(labels[0], "has no image", "one image per label map", "add or remove it"))
        faults += [(name, fault) for fault in wrong]
        if not wrong:
            cases.append(RawCase(name, images[0] if images else None, labels[0]))
    return RawDataset(folder.resolve().name, folder, tuple(cases), tuple(faults))


Files = dict[str, tuple[list[Path], list[Path]]]
"""Images and label maps by case: one of each, unless something is wrong."""


def _kits_files(folder: Path, faults: list[tuple[str, InputError]]) -> Files:
    files: Files = {}
    for case in _entries(folder):
        try:
            inside = _images(case)
        except InputError as fault:
            faults.append((case.name, fault))
            continue
        images = [p for p in inside if _stem(p) == "imaging"]
        labels = [p for p in inside if _stem(p) == "segmentation"]
        if images or labels:
            files[case.name] = (images, labels)
    return files


def _nnunet_files(folder: Path) -> Files:
    files: Files = {}
    for path in _images(folder / "imagesTr") if exists(folder / "imagesTr") else ():
        files.setdefault(_stem(path).removesuffix("_0000"), ([], []))[0].append(path)
    for path in _images(folder / "labelsTr"):
        files.setdefault(_stem(path), ([], []))[1].append(path)
    return files


def _second(paths: list[Path], what: str) -> list[InputError]:
    """A fault for every file beyond the first: which one is meant is not guessed."""
    return [InputError(path, f"a second {what}, beside {paths[0]}", "one", "remove one") for path in paths[1:]]


def _images(folder: Path) -> list[Path]:
    missing = absence(folder)
    if missing:
        raise InputError(folder, missing, "a folder of images", "mend or remove it")
    return [p for p in _entries(folder) if image_suffix(p)] if folder.is_dir() else []


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, sorted, hidden files left out."""
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(folder, f"cannot be listed ({reason})", "a folder you may read", "change it") from error


def _stem(path: Path) -> str:
    return path.name[: -len(image_suffix(path) or "")]
