"""Areas are those of the smooth bodies that the voxels were cut from, however these lie on the grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bisc.core.geometry import Triple, as_triple
from bisc.measurement.area import contact_mm2, surface_mm2

KITS: Triple = (3.0, 0.8, 0.8)
TURNS = [np.eye(3), *(Rotation.random(random_state=k).as_matrix() for k in range(1, 8))]


def body(
    radii_mm: Triple, turn: npt.NDArray[np.float64], spacing_mm_zyx: Triple = KITS
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """A turned ellipsoid, its centre off the voxels' own, and its third coordinate as a share of the radius."""
    shape = [int(np.ceil(2 * (max(radii_mm) + 4.0) / mm)) for mm in spacing_mm_zyx]
    axes = [(np.arange(n) - (n - 1) / 2 + 0.3) * mm for n, mm in zip(shape, spacing_mm_zyx, strict=True)]
    share = (np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) @ turn) / radii_mm
    return (share**2).sum(axis=-1) <= 1.0, share[..., 2]


def ellipsoid_mm2(radii_mm: Triple, n: int = 1500) -> float:
    """By summing the surface element over both angles."""
    a, b, c = radii_mm
    theta, phi = ((np.arange(n) + 0.5) * span / n for span in (np.pi, 2 * np.pi))
    s, cos = np.sin(theta)[:, None], np.cos(theta)[:, None]
    element = s * np.sqrt((b * c * s * np.cos(phi)) ** 2 + (a * c * s * np.sin(phi)) ** 2 + (a * b * cos) ** 2)
    return float(element.sum() * (np.pi / n) * (2 * np.pi / n))


@pytest.mark.parametrize("radii_mm", [(12.0, 12.0, 12.0), (25.0, 25.0, 25.0), (12.0, 15.0, 20.0), (20.0, 25.0, 55.0)])
def test_surfaces_within_one_percent(radii_mm: Triple) -> None:
    """Of balls and of ellipsoids as long as kidneys, on KiTS19's slices, in eight orientations."""
    expected = ellipsoid_mm2(radii_mm)
    assert ellipsoid_mm2((2.0, 2.0, 2.0)) == pytest.approx(16 * np.pi, rel=1e-5)
    for turn in TURNS:
        assert surface_mm2(body(radii_mm, turn)[0], KITS) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize(
    "radii_mm", [(25.0, 25.0, 25.0), pytest.param((20.0, 25.0, 55.0), marks=pytest.mark.long)], ids=["ball", "long"]
)
def test_contacts_within_two_percent(radii_mm: Triple, share: float) -> None:
    """Of the two parts that a plane cuts an ellipsoid into: an ellipse. Off the middle its rim slopes, and where the
    plane lies between two slices no mask tells: up to 1 % more."""
    expected = np.pi * radii_mm[0] * radii_mm[1] * (1 - share**2)
    for turn in TURNS[:: 1 if share == 0.0 else 2]:
        inside, height = body(radii_mm, turn)
        one, other = inside & (height > share), inside & (height <= share)
        assert contact_mm2(one, other, KITS) == pytest.approx(expected, rel=0.03 if share else 0.02)
        assert contact_mm2(other, one, KITS) == pytest.approx(contact_mm2(one, other, KITS), rel=0.01)


def test_a_ball_within_a_ball_touches_it_all_around() -> None:
    inner, _ = body((12.0, 12.0, 12.0), TURNS[0])
    outer = np.pad(inner, 2, mode="constant") | True
    within = np.pad(inner, 2)
    assert contact_mm2(within, outer & ~within, KITS) == pytest.approx(4 * np.pi * 144, rel=0.01)


@given(order=st.permutations(range(3)), flips=st.tuples(*[st.booleans()] * 3))
@settings(max_examples=10, deadline=None)
def test_axis_order_is_of_no_account(order: list[int], flips: tuple[bool, bool, bool]) -> None:
    inside, height = body((9.0, 12.0, 15.0), TURNS[3])
    turned = [
        np.flip(mask.transpose(order), [axis for axis, flip in enumerate(flips) if flip])
        for mask in (inside & (height > 0.2), inside & (height <= 0.2))
    ]
    spacing = as_triple([KITS[axis] for axis in order])
    here = (inside & (height > 0.2), inside & (height <= 0.2))  # distances are single precision: 1e-5
    assert surface_mm2(turned[0], spacing) == pytest.approx(surface_mm2(here[0], KITS), rel=1e-9)
    assert contact_mm2(turned[0], turned[1], spacing) == pytest.approx(contact_mm2(*here, KITS), rel=1e-5)


def test_nothing_and_apart() -> None:
    empty = np.zeros((6, 20, 20), dtype=bool)
    one, far = empty.copy(), empty.copy()
    one[1:3, 2:6, 2:6], far[1:3, 12:18, 12:18] = True, True
    assert surface_mm2(empty, KITS) == 0.0
    assert contact_mm2(empty, one, KITS) == contact_mm2(one, empty, KITS) == 0.0
    assert contact_mm2(one, far, KITS) == 0.0
    with pytest.raises(ValueError, match="apart"):
        contact_mm2(one, one, KITS)
    with pytest.raises(ValueError, match="one shape"):
        contact_mm2(one, one[1:], KITS)
