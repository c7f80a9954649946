"""Which prediction belongs to which reference."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from bisc.core.errors import InputError
from bisc.core.names import check_name
from bisc.imageio import IMAGE_SUFFIXES, image_suffix

REFERENCE_NAMES = ("segmentation",)
PREDICTION_NAMES = ("prediction", "segmentation")
"""Stems of the label map inside a case's own folder, the first one present wins."""

LIST_NAME = "predictions.csv"
SKIPPED = "skipped"
"""The status in it of an input that was not taken for a case."""


@dataclass(frozen=True)
class Pair:
    """A case with its reference and, unless it is missing, its prediction."""

    case: str
    reference: Path
    prediction: Path | None


@dataclass(frozen=True)
class Pairing:
    """What to score, and what has no counterpart.

    Attributes:
        pairs: In the order of the cases' names.
        without_reference: Cases predicted that have no reference; they cannot be scored.
        without_prediction: Cases that have a reference but were not predicted and are not asked for.
    """

    pairs: tuple[Pair, ...]
    without_reference: tuple[str, ...]
    without_prediction: tuple[str, ...]


def find_pairs(reference: Path, prediction: Path, all_references: bool = False) -> Pairing:
    """Match predictions with references by the name of their case.

    Scored are the cases that have a prediction or are named in the prediction folder's predictions.csv: a
    subset held out may so be scored against the references of the whole data set.

    Args:
        reference: A label map; a folder of label maps; an nnU-Net data set or labelsTr; or a KiTS folder.
        prediction: A label map, or a folder of label maps named CASE, or of folders CASE with one.
        all_references: Score every reference; those without a prediction then count as missing.

    Raises:
        InputError: If a path does not exist or holds no label map, a case occurs twice, or none matches.
    """
    if reference.is_file() and prediction.is_file():
        _check_is_label_map(prediction)
        return Pairing((Pair(case_name(reference), reference, prediction),), (), ())
    references = _find(reference, REFERENCE_NAMES)
    predictions = _find(prediction, PREDICTION_NAMES)
    named = read_case_list(prediction / LIST_NAME) if prediction.is_dir() else ()
    if not references:
        raise InputError(reference, "holds no label map", _layouts("segmentation"))
    if not predictions and not named and not all_references:
        raise InputError(prediction, "holds no label map", _layouts("prediction"))

    asked = predictions.keys() | set(named)
    scored = sorted(references if all_references else references.keys() & asked)
    if not scored:
        raise InputError(
            prediction,
            f"no case has a reference (predicted: {_some(asked)})",
            f"cases of {reference} ({_some(references)})",
            "name each prediction after its case",
        )
    return Pairing(
        tuple(Pair(case, references[case], predictions.get(case)) for case in scored),
        tuple(sorted(asked - references.keys())),
        tuple(sorted(references.keys() - set(scored))),
    )


def case_name(path: Path) -> str:
    """The case a label map belongs to: its name without suffix, or its folder's, for KiTS's
    segmentation.nii.gz.

    Raises:
        InputError: If it has no suffix of an image.
    """
    _check_is_label_map(path)
    stem = path.name[: -len(image_suffix(path) or "")]
    return path.absolute().parent.name if stem in PREDICTION_NAMES else stem


def read_case_list(path: Path) -> tuple[str, ...]:
    """The cases named in a predictions.csv, but for skipped inputs; none where there is no such file.

    Raises:
        InputError: If it has no column `case`.
    """
    if not path.is_file():
        return ()
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if "case" not in (rows.fieldnames or ()):
                raise InputError(path, "no column 'case'", "the list bisc_predict writes", "remove it or predict again")
            names = tuple(row["case"] for row in rows if row["case"] and row.get("status") != SKIPPED)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, f"cannot be read ({error})", "a CSV file", "remove it or predict again") from error
    for name in names:
        check_name(name, path, "remove it or predict again")
    return names


def _find(path: Path, names: tuple[str, ...]) -> dict[str, Path]:
    """Label maps by case: a single file, a flat folder, labelsTr within it, or one folder per case."""
    if path.is_file():
        return {case_name(path): path}
    if not path.is_dir():
        raise InputError(path, "does not exist", _layouts(names[0]))
    labels = path / "labelsTr"
    folder = labels if labels.is_dir() else path
    found: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue  # unfinished work (bisc.core.files) and what an operating system leaves behind
        label_map = _in_case_folder(entry, names) if entry.is_dir() else entry
        if label_map is None or image_suffix(label_map) is None:
            continue
        case = entry.name if entry.is_dir() else case_name(entry)
        if case in found:
            raise InputError(label_map, f"a second label map of {case}, beside {found[case]}", "one", "remove one")
        found[case] = label_map
    return found


def _in_case_folder(folder: Path, names: tuple[str, ...]) -> Path | None:
    candidates = (folder / f"{name}{suffix}" for name in names for suffix in IMAGE_SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


def _check_is_label_map(path: Path) -> None:
    if image_suffix(path) is None:
        raise InputError(path, "is no label map", f"a file ending in {', '.join(IMAGE_SUFFIXES)}")


def _layouts(stem: str) -> str:
    return f"a label map, a folder of CASE.nii.gz, or folders CASE/{stem}.nii.gz"


def _some(cases: set[str] | dict[str, Path]) -> str:
    names = sorted(cases)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
