"""Label maps that lie mirrored on their image, and one label map of two cases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from bisc.imageio.dataset import RawCase
from bisc.planners.duplicates import same_labels
from bisc.planners.examine import Examined
from bisc.planners.mirrored import AXES, mirrored
from tests.support.grids import hand_case

SHAPE = (12, 20, 30)


def two_kidneys(fat: float = 0.0) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """Two boxes that no mirror maps onto themselves, 40 HU in fat; the first slices of each, a part `fat`, are fat."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:6, 3:8, 4:9] = 1
    labels[2:7, 2:7, 19:24] = 1
    hu = np.where(labels == 1, 40, -100).astype(np.int16)
    places = np.argwhere(labels)
    hu[tuple(places[: int(fat * len(places))].T)] = -100
    return hu, labels


@pytest.mark.parametrize("axis", range(3))
def test_a_mirrored_label_map_is_told(axis: int) -> None:
    hu, labels = two_kidneys()
    share = np.mean(hu[np.flip(labels, axis) == 1] < 0)
    assert share > 0.15
    said = mirrored(hu, np.ascontiguousarray(np.flip(labels, axis)))
    assert said == f"{share:.0%} of its kidney voxels lie in fat or air, and 0% if mirrored {AXES[axis]}"


@pytest.mark.parametrize("fat", [0.0, 0.1, 0.4])
def test_a_sound_one_is_not(fat: float) -> None:
    """Noise and fat in it (renal sinus, angiomyolipoma) are no less where it is mirrored."""
    assert mirrored(*two_kidneys(fat)) == ""
    hu, labels = two_kidneys()
    assert mirrored(hu, np.zeros_like(labels)) == ""


def test_one_label_map_of_two_cases(capsys: pytest.CaptureFixture[str]) -> None:
    """Told, and kept; empty ones are alike and say nothing."""
    names = ("a", "b", "c", "d", "e")
    cases = [RawCase(name, Path(f"{name}_image"), Path(f"{name}_labels")) for name in names]
    one = Examined(hand_case("a"), labels="1")
    found = [("a", one), ("b", replace(one, labels="2")), ("c", one), ("d", replace(one, labels="")), ("e", one)]
    said = same_labels([*found, ("d", replace(one, labels=""))], cases)
    assert [name for name, _ in said] == ["c", "e"]
    assert all("is that of a, voxel for voxel; kept; if they are one patient's" in line for _, line in said)
    assert capsys.readouterr().err.count("c_labels: is that of a, voxel for voxel") == 1
