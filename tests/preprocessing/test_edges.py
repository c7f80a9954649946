"""Edge maps: Canny per axial slice, the same as on whole slices, packed with the labels into one byte."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.feature import canny

from bisc.core.labels import (
    KIDNEY_EDGE_BIT,
    LABEL_MASK,
    TUMOR_EDGE_BIT,
    labels_of,
    pack_targets,
)
from bisc.preprocessing.edges import CANNY_SIGMA_PX, canny_edges, targets_of


def whole_slices(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The oracle: skimage's Canny on each whole axial slice."""
    return np.stack([canny(axial.astype(np.float32), sigma=CANNY_SIGMA_PX) for axial in mask])


def blobs(seed: int, shape: tuple[int, int, int], sigma: float = 3.0) -> npt.NDArray[np.bool_]:
    """Smooth blobs that touch every border of the slices."""
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth: npt.NDArray[np.float64] = ndimage.gaussian_filter(noise, (0, sigma, sigma))
    return smooth > 0.05


@pytest.mark.parametrize("seed", range(20))
def test_blobs_inside_the_slice_equal_whole_slices(seed: int) -> None:
    """Blobs with 10 pixels of background around them: not a voxel differs from Canny on the whole slice."""
    mask = blobs(seed, (3, 60, 70))
    mask[:, :10] = mask[:, -10:] = False
    mask[:, :, :10] = mask[:, :, -10:] = False
    assert mask.any()
    assert np.array_equal(canny_edges(mask), whole_slices(mask))


@pytest.mark.parametrize("seed", range(20))
def test_blobs_at_the_border_equal_whole_slices(seed: int) -> None:
    """The field of view cuts through them: there too."""
    mask = blobs(seed, (3, 40, 44), sigma=2.0)
    assert mask[:, 0].any()
    assert mask[:, :, -1].any()
    assert np.array_equal(canny_edges(mask), whole_slices(mask))


@given(arrays(bool, st.tuples(st.integers(1, 2), st.integers(1, 24), st.integers(1, 24))))
@settings(max_examples=80)
def test_any_mask_equals_whole_slices(mask: npt.NDArray[np.bool_]) -> None:
    """Any pattern, any size, single pixels and full slices among them."""
    assert np.array_equal(canny_edges(mask), whole_slices(mask))


def test_a_cut_is_no_outline() -> None:
    """A block that the upper border cuts off has edges left, right and below, and none along the cut."""
    mask = np.zeros((1, 32, 32), bool)
    mask[0, :12, 8:24] = True
    edges = canny_edges(mask)[0]
    assert not edges[0].any()
    assert not edges[1, 11:21].any()
    assert edges[5, 7:9].any()
    assert edges[5, 23:25].any()
    assert edges[11:13, 10:22].any(axis=0).all()


def test_edge_of_a_square_by_hand() -> None:
    """10 x 10 pixels: a closed ring, everywhere within one pixel of the boundary, nothing elsewhere."""
    mask = np.zeros((1, 30, 30), bool)
    mask[0, 10:20, 10:20] = True
    edges = canny_edges(mask)[0]
    boundary = ndimage.binary_dilation(mask[0], np.ones((3, 3))) & ~ndimage.binary_erosion(mask[0], np.ones((3, 3)))
    assert not (edges & ~boundary).any()
    assert ndimage.label(edges, np.ones((3, 3)))[1] == 1
    # Closed: seen from the outside, the square's middle cannot be reached.
    outside, _ = ndimage.label(~edges)
    assert outside[0, 0] != outside[15, 15]


@given(
    st.tuples(st.integers(4, 20), st.integers(4, 20)),
    st.tuples(st.integers(1, 8), st.integers(1, 8)),
)
def test_an_edge_exists_exactly_for_non_empty_slices(at: tuple[int, int], size: tuple[int, int]) -> None:
    """Even a single pixel has an edge; a slice without the mask has none."""
    mask = np.zeros((3, 32, 32), bool)
    mask[1, at[0] : at[0] + size[0], at[1] : at[1] + size[1]] = True
    assert canny_edges(mask).any(axis=(1, 2)).tolist() == [False, True, False]


def test_an_empty_mask_has_no_edge() -> None:
    """Neither in the edge map nor in the packed targets."""
    empty = np.zeros((2, 5, 6), np.uint8)
    assert canny_edges(empty > 0).shape == (2, 5, 6)
    assert not canny_edges(empty > 0).any()
    assert not targets_of(empty).any()


@given(arrays(np.uint8, (2, 3, 4), elements=st.integers(0, 2)), arrays(bool, (2, 2, 3, 4)))
def test_packing_round_trip(labels: npt.NDArray[np.uint8], edges: npt.NDArray[np.bool_]) -> None:
    """Label and both edges come out of the byte as they went in; the input arrays stay as they are."""
    before = labels.copy()
    packed = pack_targets(labels, edges[0], edges[1])
    assert packed.dtype == np.uint8
    assert np.array_equal(labels_of(packed), labels)
    assert np.array_equal((packed & KIDNEY_EDGE_BIT) > 0, edges[0])
    assert np.array_equal((packed & TUMOR_EDGE_BIT) > 0, edges[1])
    assert np.array_equal(labels, before)
    assert packed.max(initial=0) < 16


def test_bits_do_not_overlap() -> None:
    """Three fields of one byte."""
    assert LABEL_MASK + KIDNEY_EDGE_BIT + TUMOR_EDGE_BIT == LABEL_MASK | KIDNEY_EDGE_BIT | TUMOR_EDGE_BIT == 15


def test_targets_follow_organ_and_tumour() -> None:
    """The kidney outline is that of label > 0, the tumour inside it has its own and breaks no gap into the organ's."""
    labels = np.zeros((1, 40, 40), np.uint8)
    labels[0, 8:32, 8:32] = 1
    labels[0, 14:24, 14:24] = 2
    packed = targets_of(labels)
    assert np.array_equal(labels_of(packed), labels)
    assert np.array_equal((packed & KIDNEY_EDGE_BIT) > 0, whole_slices(labels > 0))
    assert np.array_equal((packed & TUMOR_EDGE_BIT) > 0, whole_slices(labels == 2))
    no_tumour = targets_of(np.minimum(labels, 1))
    assert np.array_equal(no_tumour & KIDNEY_EDGE_BIT, packed & KIDNEY_EDGE_BIT)
    assert not (no_tumour & TUMOR_EDGE_BIT).any()
