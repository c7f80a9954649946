"""Stored voxels of a label map to 0 background, 1 kidney, 2 tumour, and where it is stated what they mean:
dataset.json, the names in a file's own header."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bisc.core import labels as canonical
from bisc.core.errors import InputError
from bisc.imageio.formats import FORMATS
from bisc.imageio.label_headers import names_in_header
from bisc.imageio.label_names import (
    BACKGROUND,
    CYST,
    EXAMPLE,
    KIDNEY,
    KITS,
    MAX_LABEL,
    TUMOR,
    LabelMeaning,
    meaning_of_regions,
)
from bisc.system.jsonfile import read_document
from bisc.system.paths import exists, name_of

DATASET_JSON: Final = "dataset.json"
LABEL_FOLDERS: Final = ("labelstr", "labelsts", "gt_segmentations")
"""nnU-Net's folders of label maps, in lower case; dataset.json lies beside them."""
WHOLE_TOLERANCE: Final = 0.02
"""How far from a whole number a label may lie. Programs that scale floats into bytes (NIfTI's scl_slope) are off by
half a step, largest label / 510: 0.02 carries labels up to 10. Interpolation and probabilities are off by far more."""
_UNKNOWN: Final = 255
_CODES: Final = {BACKGROUND: canonical.BACKGROUND, KIDNEY: canonical.KIDNEY, TUMOR: canonical.TUMOR}
_CODES_WITH_CYST: Final = {**_CODES, CYST: canonical.KIDNEY}


def meaning_for(path: Path, stated: LabelMeaning | None) -> LabelMeaning:
    """What the values of one label map mean: by `--labels`, else by its own header, else as its data set states, else
    as in KiTS.

    Args:
        path: The label map.
        stated: Of `--labels` or the data set's dataset.json; None where there is neither.

    Raises:
        InputError: If its header's names cannot be used, or contradict those of its data set.
    """
    if stated is not None and stated.is_given:
        return stated
    own = meaning_of_file(path)
    if own is None:
        return stated or KITS
    contrary = [v for v, name in own.values.items() if stated and stated.values.get(v, name) != name]
    if stated and contrary:
        raise InputError(
            path,
            f"its header says {own.words()}, and {stated.source} {stated.words()}",
            "one meaning of its values",
            f"say which counts, as in --labels {own.key}",
        )
    return own


class LabelReader:
    """Makes canonical labels of stored values.

    Args:
        path: Named in errors.
        meaning: Of its values.
    """

    def __init__(self, path: Path, meaning: LabelMeaning) -> None:
        self.path, self.meaning = path, meaning
        self.codes = np.full(MAX_LABEL + 1, _UNKNOWN, np.uint8)
        self.codes[0] = canonical.BACKGROUND
        for value, name in meaning.values.items():
            self.codes[value] = _CODES_WITH_CYST[name]

    def __call__(self, slab: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """uint8 labels of any shape.

        Raises:
            InputError: If a value is no label, or farther than `WHOLE_TOLERANCE` from a whole number.
        """
        low, high = slab.min(), slab.max()
        if not (low >= -WHOLE_TOLERANCE and high <= MAX_LABEL + WHOLE_TOLERANCE):  # NaN is neither
            raise self._fault(slab)
        if np.issubdtype(slab.dtype, np.floating):
            whole = np.rint(slab)
            if np.abs(slab - whole).max() > WHOLE_TOLERANCE:
                raise self._fault(slab)
            slab = whole
        labels = slab.astype(np.uint8)
        top = int(labels.max())
        if np.array_equal(self.codes[: top + 1], np.arange(top + 1)):  # as stored, with KiTS's numbers
            return labels
        labels = self.codes[labels]
        if labels.max() == _UNKNOWN:
            raise self._fault(slab)
        return labels

    def _fault(self, slab: npt.NDArray[Any]) -> InputError:
        some = ", ".join(f"{v:g}" for v in np.unique(slab)[:8].astype(float))
        expected = self.meaning.words()
        if self.meaning.source:
            expected += f" (as {self.meaning.source} says)"
        mend = "remap them, or say what they mean with --labels"
        return InputError(self.path, f"label values {some}", expected, mend)


def meaning_of_dataset(folder: Path) -> LabelMeaning | None:
    """What dataset.json of nnU-Net says in a data set's folder, its folder of label maps, or of predictions.

    Returns:
        None where there is none, or none with "labels".

    Raises:
        InputError: If it cannot be read, or its names do not tell kidney from tumour.
    """
    homes, above, name = [folder], folder.absolute().parent, name_of(folder)
    if name.lower() in LABEL_FOLDERS:
        homes.append(above)
    elif name == "validation" and above.name.startswith("fold_"):  # of a network of nnU-Net's
        homes.append(above.parent)
    else:
        homes.append(folder / "labelsTr")
    path = next((found for found in map(_document_in, homes) if found is not None), None)
    if path is None:
        return None
    mend = f"correct it, or say what they mean, as in {EXAMPLE}"
    try:
        document = json.loads(read_document(path, DATASET_JSON, mend).decode("utf-8-sig"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise InputError(path, f"is no JSON that can be read ({error})", "the labels of a data set", mend) from error
    known = document if isinstance(document, dict) else {}
    labels = next((value for key, value in known.items() if key.lower() == "labels"), None)
    if labels is None:
        if any(key.lower() == "labels" for key in known):
            raise InputError(path, "its labels are null", 'as in {"background": 0, "kidney": 1, "tumor": 2}', mend)
        return None
    if not isinstance(labels, dict):
        raise InputError(path, "its labels are no table", 'as in {"background": 0, "kidney": 1, "tumor": 2}', mend)
    return meaning_of_regions(path, [_region(path, name, value) for name, value in labels.items()])


def stated_cases(folder: Path) -> int | None:
    """How many training cases dataset.json of nnU-Net says a data set's folder has; None where it says nothing."""
    path = _document_in(folder)
    try:
        stated = None if path is None else json.loads(path.read_bytes().decode("utf-8-sig")).get("numTraining")
    except (OSError, ValueError, RecursionError, AttributeError):
        return None
    return stated if type(stated) is int else None


def _document_in(folder: Path) -> Path | None:
    """A folder's dataset.json, in whatever capitals."""
    if exists(folder / DATASET_JSON):
        return folder / DATASET_JSON
    try:
        return next((path for path in sorted(folder.iterdir()) if path.name.lower() == DATASET_JSON), None)
    except OSError:
        return None


def meaning_of_file(path: Path) -> LabelMeaning | None:
    """What a label map's own header says (`bisc.imageio.label_headers`); None where it names nothing.

    Names of other organs count where their values occur: a table may list all that a program knows.

    Raises:
        InputError: If the names do not tell kidney from tumour, or the segments overlap.
    """
    regions = [_region(path, name, value) for name, value in names_in_header(path)]
    if not regions:
        return None
    try:
        return meaning_of_regions(path, regions)
    except InputError:
        there = _values_in(path)
        used = [(name, values) for name, values in regions if not there.isdisjoint(values)]
        if not there or not used or len(used) == len(regions):
            raise
        return meaning_of_regions(path, used)


def _values_in(path: Path) -> set[int]:
    """Which whole numbers occur in a file's voxels; none where it cannot be read, which is told elsewhere."""
    open_file = next(reader for suffix, reader in FORMATS.items() if path.name.lower().endswith(suffix))
    try:
        return {int(v) for slab in open_file(path).slabs() for v in np.unique(slab)}
    except (InputError, OSError, ValueError, OverflowError):
        return set()


def _region(source: Path, name: str, value: Any) -> tuple[str, tuple[int, ...]]:
    """One entry: of nnU-Net's first form ("1": "kidney"), of its second ("kidney": 1 or [1, 2]), or of a segment."""
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", name) and isinstance(value, str) and not value.strip().isdigit():
        return value, (int(name),)
    numbers = value if isinstance(value, list) else [value]
    found = [int(n) for n in numbers if not isinstance(n, bool) and re.fullmatch(r"\s*[0-9]{1,9}\s*", str(n))]
    if len(found) != len(numbers) or not found:
        mend = f"correct it, or say what they mean, as in {EXAMPLE}"
        raise InputError(source, f"the label '{name}' has the value {value}", "a whole number from 0 to 255", mend)
    return name, tuple(sorted(set(found)))


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON table in which no key stands twice: the last would win without a word."""
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"the key '{key}' twice")
        table[key] = value
    return table
