"""What a prediction will take, from the image's header alone, and windows that fit into what is free."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Final

from bisc.core.errors import InputError, WorkError
from bisc.core.geometry import IntTriple
from bisc.core.memory import GIB, free_gb, resident_gb
from bisc.imageio.stored import StoredImage, read_size

FORWARD_FIXED_GB: Final = 0.15
"""Of a pass, whatever its size; what grows with its voxels stands in bisc.network.folded."""
MOST_NETWORK_GB: Final = 2.5
"""A pass never takes more, whatever is free: 192 x 192 x 192 voxels folded at f = 32. So a long scan fits in 4 GB, and
results do not depend on how much memory a machine has, as long as it has that much."""
LEAST_NETWORK_GB: Final = 0.9
"""A rough window of 64 x 128 x 128 voxels at f = 32 of a network that cannot be folded."""
BYTES_PER_IMAGE_VOXEL: Final = 6.0
"""Of a scan's voxels, int16 all along: its mask three times while it is written, and one mask more to count voxels."""
STEP: Final = 16


def image_gb(stored: StoredImage) -> float:
    """Peak memory in GiB of an image and its mask, the networks left out."""
    n_voxels = prod(stored.shape_zyx)
    reading = 2.0 * n_voxels + (0 if stored.streamed else stored.n_bytes)
    return max(reading, BYTES_PER_IMAGE_VOXEL * n_voxels) / GIB


def network_budget(path: Path, most_gb: float, limit_gb: float | None = None) -> float:
    """What the networks may take for one image, in GiB: `most_gb`, or what is free beside the image.

    Args:
        path: The image; where its header cannot be read, reading it will say so.
        most_gb: What they take where there is enough.
        limit_gb: What the whole process may take (`--memory-gb`); None: all that is free.

    Raises:
        WorkError: If not even the smallest windows fit.
    """
    try:
        stored = read_size(path)
    except InputError:
        return most_gb
    free = free_gb() if limit_gb is None else min(free_gb(), limit_gb - resident_gb())
    left = free - image_gb(stored)
    if left < LEAST_NETWORK_GB:
        need = image_gb(stored) + LEAST_NETWORK_GB
        size = " x ".join(str(n) for n in stored.shape_zyx[::-1])
        raise WorkError(
            f"{path}: {size} voxels need {need:.1f} GB of memory, {max(free, 0.0):.1f} GB are free; "
            "close other programs, or predict it on a machine with more"
        )
    return min(most_gb, left)


def window_that_fits(shape_zyx: IntTriple, bytes_per_voxel: float, gb: float) -> IntTriple:
    """The whole of a region where a pass over it fits into `gb`, else the thickest slab along z that does.

    Slabs are multiples of 16 slices, one at least.
    """
    per_slice = bytes_per_voxel * prod(_padded(n) for n in shape_zyx[1:])
    slices = (gb - FORWARD_FIXED_GB) * GIB / max(per_slice, 1.0)
    z, y, x = shape_zyx
    if _padded(z) <= slices:
        return shape_zyx
    return (max(STEP, int(slices) // STEP * STEP), y, x)


def _padded(n: int) -> int:
    return -(-n // STEP) * STEP
