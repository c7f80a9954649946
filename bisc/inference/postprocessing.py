"""Post-processing: tumour components below a volume that cross-validation chose are no tumours."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Meta
from scipy import ndimage

from bisc.core.choices import Decision, Stage
from bisc.core.labels import BACKGROUND, CONNECT_26, KIDNEY, TUMOR
from bisc.core.limits import Count
from bisc.preprocessing.parts import number_components
from bisc.system.console import notice
from bisc.system.jsonfile import Document

FILE: Final = "postprocessing.json"
"""In RESULTS/NAME, of `bisc_evaluate -d NAME`."""
CANDIDATES_ML: Final = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)
"""What is tried. The smallest of the patients' largest tumours in 167 label maps of KiTS19 has 0.82 ml."""
LEVEL: Final = 1.0 - 1e-9
"""So much of a volume is the volume: 25 voxels of 0.01 ml are 0.25 ml, whatever their product is in binary."""

SmallestMl = Annotated[float, Meta(ge=0.0, le=CANDIDATES_ML[-1])]
Dice = Annotated[float, Meta(ge=0.0, le=1.0)]
Difference = Annotated[float, Meta(ge=-1.0, le=1.0)]
Cases = Annotated[int, Meta(ge=0, le=10**9)]
Number = Annotated[int, Meta(ge=0, le=9999)]


class Candidate(Document, frozen=True):
    """One volume that was tried, on the masks of all validated folds.

    Attributes:
        smallest_tumor_ml: Components of fewer ml are dropped.
        dice_tumor: Mean tumour Dice of the cases, as report.csv counts it.
        std: Its standard deviation (divided by n).
        n_changed: Cases whose mask it changes.
        n_emptied: Those of them that lose their last tumour, though the reference has one.
    """

    smallest_tumor_ml: SmallestMl
    dice_tumor: Dice
    std: Dice
    n_changed: Cases
    n_emptied: Cases


class KnownNetwork(Document, frozen=True):
    """A network whose validation masks the rule was chosen on; `mark` changes with any weight."""

    stage: Stage
    fold: Number
    mark: Annotated[int, Meta(ge=0, lt=2**32)]


class Postprocessing(Document, frozen=True):
    """`postprocessing.json`: the rule, and what it rests on.

    Attributes:
        smallest_tumor_ml: Tumour components of fewer ml are dropped; 0: none, nothing was earned.
        decision: Of the masks that it was chosen on, and is applied to.
        best_ml: What is best on all these cases, adopted or not.
        n_cases: Cases it was chosen on.
        folds: Their folds.
        chosen_without: 'fold' or 'case': what the nested choice leaves out of its sight at a time.
        dice_tumor_before: Mean tumour Dice of the masks as they were.
        nested_gain: Mean gain of the cases, each under what was chosen without it.
        gain_low, gain_high: Its 95 % interval by bootstrap; None where there are too few cases.
        p: Wilcoxon's signed-rank test of the nested gains.
        candidates: Everything that was tried.
        networks: Of these folds.
    """

    smallest_tumor_ml: SmallestMl
    decision: Decision
    best_ml: SmallestMl
    n_cases: Count
    folds: list[Number]
    chosen_without: str
    dice_tumor_before: Dice
    nested_gain: Difference
    gain_low: Difference | None
    gain_high: Difference | None
    p: Dice | None
    candidates: list[Candidate]
    networks: list[KnownNetwork]

    def knows(self, networks: Iterable[tuple[Stage, int, int]]) -> bool:
        """Whether it was chosen on masks of these very networks: of each its stage, fold and mark."""
        known = {(one.stage, one.fold, one.mark) for one in self.networks}
        return known.issuperset(networks)

    def words(self) -> str:
        """What it does and what for, in one line."""
        if not self.smallest_tumor_ml:
            return "none: nothing was earned in cross-validation"
        before = self.dice_tumor_before
        return (
            f"tumours below {self.smallest_tumor_ml:g} ml are dropped, as chosen by cross-validation (tumour Dice "
            f"{before:.3f} to {before + self.nested_gain:.3f}, {self.n_cases} cases)"
        )


def postprocessed(
    labels: npt.NDArray[np.uint8], voxel_ml: float, smallest_ml: float, image: Path | str
) -> npt.NDArray[np.uint8]:
    """`drop_small_tumors`, which tells what it takes from the mask of an image."""
    kept, n, ml = drop_small_tumors(labels, voxel_ml, smallest_ml)
    if n:
        found = f"{n} tumour{'s' if n > 1 else ''} below {smallest_ml:g} ml, {ml:.3f} ml in all"
        notice(image, found, "dropped by the post-processing that cross-validation chose")
    return kept


class Dropped(NamedTuple):
    """Labels without small tumours, and what was dropped."""

    labels: npt.NDArray[np.uint8]
    n: int
    ml: float


def drop_small_tumors(labels: npt.NDArray[np.uint8], voxel_ml: float, smallest_ml: float) -> Dropped:
    """Take away every 26-connected component of label 2 that has fewer than `smallest_ml`.

    It becomes kidney where it touches kidney (26-connected, too), else background. A component of exactly
    `smallest_ml` stays. Nothing else is changed; where nothing is dropped, the very same array is given back.

    Args:
        labels: (z, y, x) 0 background, 1 kidney, 2 tumour; left as it is.
        voxel_ml: Volume of a voxel.
        smallest_ml: In ml; 0 drops nothing.
    """
    numbered, around = number_components(labels == TUMOR)
    sizes = np.bincount(numbered.ravel())
    small = np.flatnonzero(sizes * voxel_ml < smallest_ml * LEVEL)
    small = small[small > 0]  # 0 is what lies between them
    if around is None or not len(small):
        return Dropped(labels, 0, 0.0)
    out = labels.copy()
    places = ndimage.find_objects(numbered)
    start = around.start_zyx
    for number in small:
        inner = places[number - 1]
        grown = tuple(slice(max(s.start + at - 1, 0), s.stop + at + 1) for s, at in zip(inner, start, strict=True))
        own = np.zeros(labels[grown].shape, bool)
        offset = [s.start + at - g.start for s, at, g in zip(inner, start, grown, strict=True)]
        own[tuple(slice(o, o + s.stop - s.start) for o, s in zip(offset, inner, strict=True))] = (
            numbered[inner] == number
        )
        beside = labels[grown][ndimage.binary_dilation(own, CONNECT_26)]
        out[grown][own] = KIDNEY if (beside == KIDNEY).any() else BACKGROUND
    return Dropped(out, len(small), float(sizes[small].sum()) * voxel_ml)
