"""How a voxel's label and both edge maps share four bits, and two voxels a byte in the caches."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

LABEL_MASK: Final = 0b0011
KIDNEY_EDGE_BIT: Final = 0b0100
TUMOR_EDGE_BIT: Final = 0b1000


def pack_targets(
    labels: npt.NDArray[np.uint8], kidney_edge: npt.NDArray[np.bool_], tumor_edge: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    """One uint8 per voxel: label in the two low bits, kidney edge in bit 2, tumour edge in bit 3."""
    packed = labels.astype(np.uint8)
    packed[kidney_edge] |= np.uint8(KIDNEY_EDGE_BIT)
    packed[tumor_edge] |= np.uint8(TUMOR_EDGE_BIT)
    return packed


def labels_of(packed: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The labels 0, 1, 2 of packed targets."""
    return packed & np.uint8(LABEL_MASK)


def pack_pairs(targets: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(z, y, x) packed targets as (z, y, half of x rounded up): voxels 0, 2, 4 in the low bits, 1, 3, 5 in the high."""
    pairs = targets[..., ::2].copy()
    odd = targets[..., 1::2]
    pairs[..., : odd.shape[-1]] |= np.left_shift(odd, np.uint8(4))
    return pairs


def unpack_pairs(pairs: npt.NDArray[np.uint8], start: int, stop: int) -> npt.NDArray[np.uint8]:
    """The packed targets of voxels `start` up to `stop` along x from (z, y, pairs) of `pack_pairs`."""
    first = start // 2
    part = pairs[..., first : -(-stop // 2)]
    out = np.empty((*part.shape[:-1], 2 * part.shape[-1]), np.uint8)
    np.bitwise_and(part, 0x0F, out=out[..., ::2])
    np.right_shift(part, np.uint8(4), out=out[..., 1::2])
    return out[..., start - 2 * first : stop - 2 * first]
