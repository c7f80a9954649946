"""Training data sets as they lie on disk: KiTS19/21/23 and nnU-Net layouts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bisc.core.errors import InputError
from bisc.core.names import name_fault
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
    faults: tuple[InputError, ...]


def find_raw_dataset(folder: Path, labels_suffice: bool = False) -> RawDataset:
    """The cases of a data set folder, sorted by name; faulty ones are listed, not dropped silently.

    Args:
        folder: KiTS layout or nnU-Net layout.
        labels_suffice: Accept cases without an image (a plan's geometry needs only label maps).

    Raises:
        InputError: If the folder holds neither layout or no usable case.
    """
    if not folder.is_dir():
        raise InputError(folder, "is not a folder", LAYOUTS)
    pairs = _nnunet_pairs(folder) if (folder / "labelsTr").is_dir() else _kits_pairs(folder)
    cases, faults = [], []
    for name, image, labels in pairs:
        if name_fault(name):
            faults.append(InputError(image or labels or name, f"the case name {name_fault(name)}", SAFE_NAME, RENAME))
        elif labels is None:
            faults.append(InputError(image or name, "has no label map", "one label map per image", "add or remove it"))
        elif image is None and not labels_suffice:
            faults.append(InputError(labels, "has no image", "one image per label map", "add or remove it"))
        else:
            cases.append(RawCase(name, image, labels))
    if not cases:
        first = f" ({faults[0]})" if faults else ""
        raise InputError(folder, f"no usable case{first}", LAYOUTS)
    return RawDataset(folder.resolve().name, folder, tuple(cases), tuple(faults))


def _kits_pairs(folder: Path) -> list[tuple[str, Path | None, Path | None]]:
    pairs = []
    for case in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        image, labels = _one(case, "imaging"), _one(case, "segmentation")
        if image or labels:
            pairs.append((case.name, image, labels))
    return pairs


def _nnunet_pairs(folder: Path) -> list[tuple[str, Path | None, Path | None]]:
    images = {_stem(p).removesuffix("_0000"): p for p in _images(folder / "imagesTr")}
    labels = {_stem(p): p for p in _images(folder / "labelsTr")}
    return [(name, images.get(name), labels.get(name)) for name in sorted(images.keys() | labels.keys())]


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if image_suffix(p) and not p.name.startswith("."))


def _one(folder: Path, stem: str) -> Path | None:
    return next((p for p in _images(folder) if _stem(p) == stem), None)


def _stem(path: Path) -> str:
    return path.name[: -len(image_suffix(path) or "")]
