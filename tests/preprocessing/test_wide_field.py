"""A field of view far wider than its body."""

from __future__ import annotations

import numpy as np
import pytest

from bisc.core.volume import Volume
from bisc.preprocessing.midline import WIDEST_MM, within_body
from tests.support.grids import grid


def scan(mm: float, lie_from: int = 40, to: int = 100) -> Volume:
    """Tissue in these columns and rows 50 to 89 of 5 mm, in a field of so many mm."""
    n = round(mm / 5.0)
    hu = np.full((4, n, n), -1000, np.int16)
    hu[:, 50:90, lie_from:to] = 40
    return Volume(hu, grid((4, n, n), (3.0, 5.0, 5.0), (-300.0, 20.0, 7.0)))


def test_by_hand() -> None:
    """The body, 20 mm and a sampled voxel or two of air around it, where it lay; all slices."""
    image = scan(700.0)
    part = within_body(image)
    assert part.array.shape[0] == 4
    step = 700 // 5 // 64
    for axis, (first, last) in ((1, (50, 89)), (2, (40, 99))):
        own = np.flatnonzero((part.array > 0).any(axis=tuple({0, 1, 2} - {axis})))
        assert len(own) == last - first + 1
        before, behind = own[0], part.array.shape[axis] - 1 - own[-1]
        assert 4 <= before <= 4 + 2 * step
        assert 4 <= behind <= 4 + 2 * step
    corner = part.geometry.index_to_physical(np.argwhere(part.array > 0)[0])
    assert corner == pytest.approx(image.geometry.index_to_physical(np.argwhere(image.array > 0)[0]))


def test_a_field_as_wide_as_in_training_is_left_alone() -> None:
    """To the limit; and one without a body, whatever its width; a body at the border is not cut."""
    assert within_body(image := scan(WIDEST_MM)) is image
    empty = scan(700.0)
    empty.array[:] = -1000
    assert within_body(empty) is empty
    beside = within_body(scan(700.0, 0, 30))
    assert (beside.array[:, :, 0] > 0).any()
