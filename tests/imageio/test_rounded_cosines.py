"""Orientations written with few decimals: rounding is straightened, a tilted gantry is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from bisc.core.errors import InputError
from bisc.core.geometry import Float, Geometry
from bisc.core.volume import Volume
from bisc.imageio import read_image
from bisc.imageio.formats.dicom.axes import axes_of
from bisc.imageio.formats.dicom.frames import Frame
from bisc.imageio.formats.dicom.stack import Stack, stack_of
from bisc.imageio.plausible import straight_grid
from tests.support.ct_series import write_ct
from tests.support.grids import axis_angle, rotation
from tests.support.noticed import unnoticed

N = 60
STEP_MM = 5.0


def stack(turn: Float, decimals: int, step: Float | None = None) -> Stack:
    """60 slices, 295 mm, stacked along `step` (mm; else their normal); positions to a thousandth of a mm."""
    step = STEP_MM * turn[:, 2] if step is None else step
    written = tuple(round(float(v), decimals) for v in (*turn[:, 0], *turn[:, 1]))
    places = [tuple(round(float(v), 3) for v in np.array([-100.0, -90.0, -80.0]) + i * step) for i in range(N)]
    frames = [
        Frame(Path(f"{i}"), 0, (4, 5), (x, y, z), written, (1.0, 1.0), STEP_MM, None, None, "", {})
        for i, (x, y, z) in enumerate(places)
    ]
    return stack_of(Path("s"), frames)


def any_turns(n: int) -> list[Float]:
    """Of every kind, as many to the left as to the right."""
    rng = np.random.default_rng(0)
    return [axis_angle(tuple(rng.normal(size=3)), float(rng.uniform(0.0, 180.0))) for _ in range(n)]


@pytest.mark.parametrize("decimals", [3, 4, 6, 12])
def test_rounded_cosines_are_read(decimals: int) -> None:
    """Tilts about one axis and turns about all: the step to a millionth, every slice in its place to 0.4 mm."""
    for turn in [rotation((float(deg), 0.0, 0.0)) for deg in range(31)] + any_turns(300):
        found = stack(turn, decimals)
        assert found.spacing_mm_zyx[0] == pytest.approx(STEP_MM, rel=2e-6)
        grid = straight_grid(
            Path("s"), (5, 4, N), found.spacing_mm_zyx[::-1], found.origin_mm_xyz, found.direction, found.drift
        )
        last = found.frames[-1].position_mm_xyz
        assert grid.orthonormal().index_to_physical([N - 1, 0, 0]) == pytest.approx(last, abs=0.4)


@pytest.mark.parametrize("lean_deg", [0.15, 0.5, 20.0])
@pytest.mark.parametrize("decimals", [3, 12])
def test_a_tilted_gantry_is_refused_all_the_same(decimals: int, lean_deg: float) -> None:
    """From twice of what rounding explains on, whatever the turn."""
    for turn in [np.eye(3), rotation((15.0, 0.0, 0.0)), *any_turns(50)]:
        along = STEP_MM * (turn[:, 2] + np.tan(np.deg2rad(lean_deg)) * turn[:, 1])
        with pytest.raises(InputError, match=r"its slices lean by .* degrees \(a tilted gantry\)"):
            stack(turn, decimals, along)


def test_how_far_is_told_of_the_stack() -> None:
    """0.05 degrees where the normal is an axis of the body or more digits are written, more where it is none."""
    turn = axis_angle((1.0, 1.0, 0.0), 54.7356)  # its normal points to a corner
    assert axes_of((1.0, 0.0, 0.0, 0.0, 1.0, 0.0)).lean_deg == 0.05
    assert axes_of((*turn[:, 0], *turn[:, 1])).lean_deg == 0.05
    assert axes_of(tuple(np.round([*turn[:, 0], *turn[:, 1]], 3))).lean_deg == pytest.approx(0.0703, abs=1e-4)
    with pytest.raises(InputError, match=re.escape("stacked along their normal (to 0.07 degrees)")):
        stack(turn, 3, STEP_MM * (turn[:, 2] + 0.01 * turn[:, 1]))


@pytest.mark.parametrize(
    ("turn", "told"),
    [
        ((1.002, 0.0, 0.0, 0.0, 1.0, 0.0), "an axis of its direction has length 1.002"),
        ((1.0, 0.0, 0.0, 0.003, 1.0, 0.0), "its axes miss a right angle by 0.172 degrees"),
        ((1.0, 0.0, 0.0, 0.00123, 1.0, 0.0), "its axes miss a right angle by 0.0705 degrees"),
        ((1.0, 0.0, 0.0, 1.0, 0.0, 0.0), "unusable geometry"),
    ],
)
def test_what_rounding_does_not_explain_is_refused(turn: tuple[float, ...], told: str) -> None:
    """Longer, or farther from a right angle, than the digits that are written leave open."""
    axes = axes_of(turn)
    with pytest.raises(InputError, match=told):
        straight_grid(
            Path("s"), (5, 4, N), (1.0, 1.0, STEP_MM), (0.0, 0.0, 0.0), axes.matrix.ravel().tolist(), axes.drift
        )


def test_exact_cosines_stay_as_they_are() -> None:
    """To the bit, and without a word."""
    with unnoticed():
        assert stack(np.eye(3), 3).direction == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def test_a_rounded_series_is_read_where_it_lies(tmp_path: Path) -> None:
    """7 degrees about the x axis, as refused before: |normal| is 1.00047."""
    turn = rotation((7.0, 0.0, 0.0))
    array = np.arange(24 * 30, dtype=np.int16).reshape(24, 5, 6) - 400
    grid = Geometry((24, 5, 6), (STEP_MM, 4.0, 4.0), (-10.0, -20.0, -100.0), tuple(turn.ravel()))

    def rounded(data: object, i: int) -> None:
        data.ImageOrientationPatient = [round(float(v), 3) for v in (*turn[:, 0], *turn[:, 1])]  # type: ignore[attr-defined]

    found = read_image(write_ct(tmp_path / "s", Volume(array, grid), change=rounded)).volume
    assert found.geometry.spacing_mm_zyx[0] == pytest.approx(STEP_MM, rel=1e-6)
    assert np.array_equal(found.array, array)
    assert found.geometry.corners() == pytest.approx(grid.corners(), abs=0.1)
