"""Run by `benchmarks.training` in the peers' environment: seconds a patch of nnU-Net's and MONAI's augmentations.

python peer_patches.py FOLDER Z Y X N        FOLDER holds image.npy and labels.npy; prints JSON
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

torch.set_num_threads(1)


def main() -> None:
    folder, patch, n = Path(sys.argv[1]), tuple(map(int, sys.argv[2:5])), int(sys.argv[5])
    image, labels = np.load(folder / "image.npy"), np.load(folder / "labels.npy")
    print(
        json.dumps(
            {
                "nnU-Net, default": nnunet(image, labels, patch, n),
                "MONAI, crop and flip": monai(image, labels, patch, n),
            }
        )
    )


def nnunet(image: npt.NDArray[Any], labels: npt.NDArray[Any], patch: tuple[int, ...], n: int) -> float:
    """nnUNetTrainer's own training transforms, from the size they ask the loader for."""
    from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    rotation = dict.fromkeys("xyz", (-30 / 360 * 2 * np.pi, 30 / 360 * 2 * np.pi))
    first = [int(v) for v in get_patch_size(np.array(patch), rotation["x"], rotation["y"], rotation["z"], (0.85, 1.25))]
    transforms = nnUNetTrainer.get_training_transforms(
        np.array(patch),
        (-30 / 360 * 2 * np.pi, 30 / 360 * 2 * np.pi),
        None,
        (0, 1, 2),
        False,
        use_mask_for_norm=[False],
        ignore_label=None,
    )
    short = [(0, max(0, f - s)) for f, s in zip(first, image.shape, strict=True)]
    image, labels = np.pad(image, short), np.pad(labels, short)
    rng = np.random.default_rng(0)

    def one() -> None:
        starts = rng.integers(0, np.subtract(image.shape, first) + 1)
        at = tuple(slice(s, s + f) for s, f in zip(starts, first, strict=True))
        transforms(
            image=torch.from_numpy(np.array(image[at]))[None],
            segmentation=torch.from_numpy(np.array(labels[at], dtype=np.int16))[None],
        )

    return timed(one, max(5, n // 10))


def monai(image: npt.NDArray[Any], labels: npt.NDArray[Any], patch: tuple[int, ...], n: int) -> float:
    from monai.transforms import Compose, RandFlipd, RandSpatialCropd

    keys = ["image", "label"]
    transform = Compose(
        [RandSpatialCropd(keys, patch, random_size=False), *(RandFlipd(keys, 0.5, spatial_axis=a) for a in range(3))]
    )
    return timed(lambda: transform({"image": image[None], "label": labels[None]}), n)


def timed(work: Callable[[], object], n: int) -> float:
    work()
    begin = time.perf_counter()
    for _ in range(n):
        work()
    return (time.perf_counter() - begin) / n


if __name__ == "__main__":
    main()
