"""Stored voxels of a label map to 0 background, 1 kidney, 2 tumour."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bisc.core import labels as canonical
from bisc.core.errors import InputError
from bisc.imageio.label_names import BACKGROUND, CYST, KIDNEY, KITS, MAX_LABEL, TUMOR, LabelMeaning, meaning_of_file

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
