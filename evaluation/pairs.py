"""Which prediction belongs to which reference."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from bisc.core.errors import InputError
from bisc.imageio import IMAGE_SUFFIXES, image_suffix
from bisc.imageio.dataset import KITS_NAME
from bisc.imageio.inputs import ROW_LIST
from bisc.imageio.label_map import meaning_of_dataset
from bisc.imageio.label_names import LabelMeaning, is_structure
from bisc.imageio.layouts import (
    CASE_COMPANIONS,
    IMAGING,
    LABEL_STEMS,
    LABELS_TR,
    detached,
    entries_of,
    is_companion,
    stem_of,
)
from bisc.system.csvfile import open_table
from bisc.system.paths import check_name, exists, spelt_as

REFERENCE_NAMES = LABEL_STEMS
PREDICTION_NAMES = ("prediction", "segmentation")
"""Stems of the label map inside a case's own folder, in lower case; the first one present wins."""
OUTPUT_SUFFIXES = (".csv", ".npz", ".pkl", ".png", ".html")
OUTPUT_FOLDERS = ("rough", "figures", "parts")
"""What prediction and evaluation leave beside masks, here and in nnU-Net."""
SEG_MASK = "_seg.dcm"
"""Behind the case's name in a mask of `bisc_predict --format dicomseg`."""

SKIPPED = "skipped"
"""The status in it of an input that was not taken for a case."""


@dataclass(frozen=True)
class Pair:
    """A case with its reference and, unless it is missing, its prediction; and what the values of each mean, where
    `--labels` or a dataset.json says so."""

    case: str
    reference: Path
    prediction: Path | None
    reference_labels: LabelMeaning | None = None
    prediction_labels: LabelMeaning | None = None


@dataclass(frozen=True)
class Pairing:
    """What to score, and what has no counterpart.

    Attributes:
        pairs: In the order of the cases' names.
        without_reference: Cases predicted that have no reference; they cannot be scored.
        without_prediction: Cases that have a reference but were not predicted and are not asked for.
        passed_over: Files and folders that are neither a label map nor what ordinarily lies beside one.
    """

    pairs: tuple[Pair, ...]
    without_reference: tuple[str, ...]
    without_prediction: tuple[str, ...]
    passed_over: tuple[Path, ...] = ()


def find_pairs(
    reference: Path,
    prediction: Path,
    all_references: bool = False,
    labels: tuple[LabelMeaning | None, LabelMeaning | None] = (None, None),
) -> Pairing:
    """Match predictions with references by the name of their case.

    Scored are the cases that have a prediction or are named in the prediction folder's predictions.csv: a
    subset held out may so be scored against the references of the whole data set.

    Args:
        reference: A label map; a folder of label maps; an nnU-Net data set or labelsTr; or a KiTS folder.
        prediction: A label map, or a folder of label maps named CASE, or of folders CASE with one.
        all_references: Score every reference; those without a prediction then count as missing.
        labels: What the values of references and of predictions mean, as the user says; None: as a dataset.json
            beside them says.

    Raises:
        InputError: If a path does not exist or holds no label map, a case occurs twice, none matches, or a
            dataset.json does not tell kidney from tumour.
    """
    for path, name in ((reference, "segmentation"), (prediction, "prediction")):
        if not exists(path):
            raise InputError(path, "does not exist", _layouts(name))
    of_reference, of_prediction = (
        given or meaning_beside(path) for given, path in zip(labels, (reference, prediction), strict=True)
    )
    if reference.is_file() and prediction.is_file():
        for path in (reference, prediction):
            check_is_case(path)
        pair = Pair(case_name(reference), reference, prediction, of_reference, of_prediction)
        return Pairing((pair,), (), ())
    passed_over: list[Path] = []
    references = _find(reference, REFERENCE_NAMES, passed_over)
    predicted = _find(prediction, PREDICTION_NAMES, passed_over)
    listed = read_case_list(prediction / ROW_LIST) if prediction.is_dir() else ()
    of_file, of_row = (spelt_as(references.keys(), names) for names in (predicted.keys(), listed))
    predictions = {of_file[case]: path for case, path in predicted.items()}
    named = {of_row[case] for case in listed}
    if not references:
        raise InputError(reference, "holds no label map", _layouts("segmentation"))
    if not predictions and not named and not all_references:
        raise InputError(prediction, "holds no label map", _layouts("prediction"))

    asked = predictions.keys() | named
    scored = sorted(references if all_references else references.keys() & asked)
    for case in scored:
        seg = prediction / f"{case}{SEG_MASK}"
        if case not in predictions and seg.exists():
            raise InputError(seg, f"is the mask of {case}, as a DICOM SEG", "a label map", "predict with --format both")
    if not scored:
        raise InputError(
            prediction,
            f"no case has a reference (predicted: {_some(asked)})",
            f"cases of {reference} ({_some(references)})",
            "name each prediction after its case",
        )
    return Pairing(
        tuple(Pair(case, references[case], predictions.get(case), of_reference, of_prediction) for case in scored),
        tuple(sorted(asked - references.keys())),
        tuple(sorted(references.keys() - set(scored))),
        tuple(passed_over),
    )


def find_label_maps(path: Path) -> tuple[dict[str, Path], tuple[Path, ...]]:
    """The label maps of a path by the name of their case, whether they are references or predictions, and what is
    neither a label map nor what ordinarily lies beside one.

    Raises:
        InputError: If it does not exist, or a case occurs twice.
    """
    if not exists(path):
        raise InputError(path, "does not exist", _layouts("segmentation"))
    passed_over: list[Path] = []
    found = _find(path, (*PREDICTION_NAMES, *REFERENCE_NAMES), passed_over)
    return found, tuple(passed_over)


def meaning_beside(path: Path) -> LabelMeaning | None:
    """What a dataset.json says of the label maps at `path`: of a data set, its labelsTr, a folder of nnU-Net's
    predictions, or one file in any of these.

    Raises:
        InputError: If it cannot be used.
    """
    folder = path if path.is_dir() else path.absolute().parent
    found = meaning_of_dataset(folder)
    in_case = path.is_dir() or case_name(path) == folder.name
    if found is None and in_case and _in_case_folder(folder, (*PREDICTION_NAMES, *REFERENCE_NAMES)):
        return meaning_of_dataset(folder.absolute().parent)
    return found


def case_name(path: Path) -> str:
    """The case a label map belongs to: its name without suffix, or its folder's, for KiTS's
    segmentation.nii.gz.

    Raises:
        InputError: If it has no suffix of an image.
    """
    _check_is_label_map(path)
    stem = stem_of(path)
    in_folder = stem.lower() in (*PREDICTION_NAMES, *REFERENCE_NAMES)
    return path.absolute().parent.name if in_folder else stem


def check_is_case(path: Path) -> None:
    """Refuse one of several files a case, each of one structure: read alone, its 1 would be kidney, whatever it is.

    A name that the folder's predictions.csv has is a case's all the same.

    Raises:
        InputError: Also if it has no suffix of an image.
    """
    _check_is_label_map(path)
    if is_structure(stem_of(path)) and stem_of(path) not in read_case_list(path.absolute().parent / ROW_LIST):
        mend = "join a case's files into one (1 kidney, 2 tumour), or name it after its case if it is whole"
        raise InputError(path, "is named after one structure, not after a case", "one label map a case", mend)


def read_case_list(path: Path) -> tuple[str, ...]:
    """The cases named in a predictions.csv, but for skipped inputs; none where there is no such file.

    Raises:
        InputError: If it has no column `case`.
    """
    if not path.is_file():
        return ()
    try:
        with open_table(path) as rows:
            if "case" not in (rows.fieldnames or ()):
                raise InputError(path, "no column 'case'", "the list bisc_predict writes", "remove it or predict again")
            names = tuple(row["case"] for row in rows if row["case"] and row.get("status") != SKIPPED)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(path, f"cannot be read ({error})", "a CSV file", "remove it or predict again") from error
    for name in names:
        check_name(name, path, "remove it or predict again")
    return names


def _find(path: Path, names: tuple[str, ...], passed_over: list[Path]) -> dict[str, Path]:
    """Label maps by case: a single file, a flat folder, labelsTr within it, or one folder per case.

    What is neither is added to `passed_over`.
    """
    if path.is_file():
        check_is_case(path)
        return {case_name(path): path}
    inside = [entry for entry in entries_of(path) if entry.name.lower() == LABELS_TR and entry.is_dir()]
    if inside and names == PREDICTION_NAMES:
        raise InputError(
            path, f"is a data set, with {inside[0].name}", _layouts("prediction"), "name the masks' folder"
        )
    folder = inside[0] if inside else path
    found: dict[str, Path] = {}
    entries = entries_of(folder)
    data = detached(entry for entry in entries if image_suffix(entry))
    stems = {stem_of(entry).lower() for entry in entries if image_suffix(entry)}
    is_case = IMAGING in stems and not stems.isdisjoint(REFERENCE_NAMES)
    for entry in entries:
        label_map = _in_case_folder(entry, names) if entry.is_dir() else entry
        if label_map is None or image_suffix(label_map) is None:
            if entry not in data and not _is_expected(entry):
                passed_over.append(entry)
            continue
        if not entry.is_dir() and _is_beside_reference(entry) and (names == REFERENCE_NAMES or is_case):
            continue
        if not entry.is_dir() and is_case and is_structure(stem_of(entry)):
            passed_over.append(entry)  # the whole label map lies beside it
            continue
        if not entry.is_dir():
            check_is_case(entry)
        case = entry.name if entry.is_dir() else case_name(entry)
        if case in found:
            raise _second(label_map, case, found[case])
        found[case] = label_map
    return found


def _is_expected(entry: Path) -> bool:
    """Whether something without a label map ordinarily lies there: companions, results, KiTS19's test cases."""
    if entry.is_dir() and KITS_NAME.fullmatch(entry.name):
        return all(stem_of(path).lower() == IMAGING or is_companion(path) for path in entries_of(entry))
    if entry.is_dir():
        return entry.name.lower() in (*OUTPUT_FOLDERS, *CASE_COMPANIONS)
    return is_companion(entry) or entry.name.lower().endswith(OUTPUT_SUFFIXES)


def _is_beside_reference(file: Path) -> bool:
    """Whether an image in a single case's folder is no reference: its CT, or KiTS21's other aggregates."""
    stem = stem_of(file).lower()
    return stem == IMAGING or (stem.endswith("_seg") and stem not in REFERENCE_NAMES)


def _in_case_folder(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The label map of a case's own folder, if any: by the first of `names` that is there.

    Raises:
        InputError: If it is there in two formats or spellings, or a reference under two names.
    """
    by_stem: dict[str, list[Path]] = {}
    for path in entries_of(folder):
        if image_suffix(path) and path.is_file():
            by_stem.setdefault(stem_of(path).lower(), []).append(path)
    paths = next((by_stem[name] for name in names if name in by_stem), [])
    if names == REFERENCE_NAMES:  # KiTS21's beside KiTS23's: which one counts decides the scores
        paths = [path for name in names for path in by_stem.get(name, [])]
    if len(paths) > 1:
        raise _second(paths[1], folder.name, paths[0])
    return paths[0] if paths else None


def _second(path: Path, case: str, first: Path) -> InputError:
    return InputError(path, f"a second label map of {case}, beside {first}", "one", "remove one")


def _check_is_label_map(path: Path) -> None:
    if image_suffix(path) is None:
        raise InputError(path, "is no label map", f"a file ending in {', '.join(IMAGE_SUFFIXES)}")


def _layouts(stem: str) -> str:
    return f"a label map, a folder of CASE.nii.gz, or folders CASE/{stem}.nii.gz"


def _some(cases: set[str] | dict[str, Path]) -> str:
    names = sorted(cases)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
