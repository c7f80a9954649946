"""Augmentation on the device: the same anatomy in other bodies, from other scanners, at other doses.

What is drawn are a few numbers for each case from (seed, step), the same on every device and however a batch is cut
into passes or shared by processes; they are applied to many cases at once. Only the noise's voxels come from the
device's own generator, seeded by (seed, step, place in the batch).
The kinds are nnU-Net's (Isensee et al. 2021); tilts out of the slice are small, since slices are thick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from torch import Tensor

from bisc.core.geometry import Triple
from bisc.preprocessing.resample import HIGHEST_LEVEL, Intensity

STREAM: Final = 2
"""Tells these draws from the sampler's of the same step."""
P_TURN, P_SCALE, P_NOISE, P_BLUR, P_CONTRAST, P_SHIFT, P_GAMMA, P_COARSE = 0.3, 0.3, 0.15, 0.2, 0.2, 0.2, 0.2, 0.15
MOST_TURN_DEG: Final = (30.0, 10.0, 10.0)
"""About the axes z (in the slice), y and x."""
SENSE: Final = (-1.0, 1.0, -1.0)
"""Angles count from y to x, z to x and z to y."""
KERNEL: Final = 7
"""Taps of the blur; its sigma is 1.2 voxels at most."""
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Draws:
    """Of each case of a batch (first axis); what was not drawn is neutral.

    Attributes:
        turn_deg: (n, 3) about z, y, x.
        scale: (n, 3) along z, y, x; above 1 enlarges.
        noise, shift: (n,) in units of the normalised image: deviation, and what is added.
        blur: (n,) sigma in voxels, in the slice.
        contrast: (n,) factor about the case's mean.
        gamma: (n,) exponent of the grey values from air 0 to the upper clip 1.
        coarse: (n,) factor by which a slice is sampled down and up again.
    """

    turn_deg: Values
    scale: Values
    noise: Values
    shift: Values
    blur: Values
    contrast: Values
    gamma: Values
    coarse: Values

    def of(self, cases: Sequence[int]) -> Draws:
        """Those of some cases."""
        return Draws(*(getattr(self, field.name)[list(cases)] for field in fields(self)))


@dataclass(frozen=True)
class Augmentation:
    """What is done to the batches of a run.

    Attributes:
        seed: The run's.
        batch_size: Cases a step.
        places: Which of them are seen, one pass after the other.
        spacing_mm_zyx: Of the patches.
        intensity: Tells the clips.
    """

    seed: int
    batch_size: int
    places: tuple[int, ...]
    spacing_mm_zyx: Triple
    intensity: Intensity

    def __call__(self, image: Tensor, targets: Tensor, step: int, part: int) -> tuple[Tensor, Tensor]:
        """Normalised (n, 1, z, y, x) images and (n, z, y, x) packed targets of the step's `part`-th n places."""
        n = len(image)
        places = self.places[part * n : (part + 1) * n]
        draws = draw(self.seed, step, self.batch_size).of(places)
        air = self.intensity.air
        top = air + HIGHEST_LEVEL * self.intensity.level_step
        image, targets = moved(image, targets, draws, self.spacing_mm_zyx, air)
        return toned(image, draws, air, top, [(self.seed, step, place) for place in places]), targets


def draw(seed: int, step: int, n: int) -> Draws:
    """The draws of a step's `n` cases."""
    rng = np.random.default_rng((seed, step, STREAM))

    def sometimes(p: float, values: Values, neutral: float) -> Values:
        drawn = rng.random(n) < p
        return np.where(drawn.reshape(-1, *[1] * (values.ndim - 1)), values, neutral)

    def uniform(low: float, high: float, *shape: int) -> Values:
        return np.asarray(rng.uniform(low, high, (n, *shape)))

    return Draws(
        turn_deg=sometimes(P_TURN, uniform(-1.0, 1.0, 3) * MOST_TURN_DEG, 0.0),
        scale=sometimes(P_SCALE, np.exp(uniform(-0.3, 0.3, 1) + uniform(-0.1, 0.1, 3)), 1.0),
        noise=sometimes(P_NOISE, uniform(0.0, 0.3), 0.0),
        shift=sometimes(P_SHIFT, uniform(-0.4, 0.4), 0.0),
        blur=sometimes(P_BLUR, uniform(0.4, 1.2), 0.0),
        contrast=sometimes(P_CONTRAST, uniform(0.65, 1.5), 1.0),
        gamma=sometimes(P_GAMMA, uniform(0.7, 1.5), 1.0),
        coarse=sometimes(P_COARSE, uniform(0.5, 1.0), 1.0),
    )


def moved(image: Tensor, targets: Tensor, draws: Draws, spacing_mm_zyx: Triple, air: float) -> tuple[Tensor, Tensor]:
    """Turned and scaled about the patch's middle, in mm; what comes from outside is air and background.

    Args:
        image: (n, 1, z, y, x) normalised; interpolated linearly.
        targets: (n, z, y, x) packed integers; the nearest voxel's.
        draws: Of the n cases.
        spacing_mm_zyx: Of the patch.
        air: The normalised value of air.
    """
    chosen = np.flatnonzero((draws.turn_deg != 0.0).any(axis=1) | (draws.scale != 1.0).any(axis=1))
    if not len(chosen):
        return image, targets
    image, targets = image.clone(), targets.clone()
    for i in chosen:  # one by one: a case is to be the same to the bit, whichever others come with it
        one, case = draws.of([i]), slice(i, i + 1)
        theta = torch.from_numpy(matrices(one, tuple(image.shape[2:]), spacing_mm_zyx)).to(image)
        grid = F.affine_grid(theta, [1, *image.shape[1:]], align_corners=False)
        marks = F.grid_sample(targets[case, None].to(image.dtype), grid, mode="nearest", align_corners=False)
        image[case] = F.grid_sample(image[case] - air, grid, align_corners=False) + air
        targets[case] = marks[:, 0].to(targets.dtype)
    return image, targets


def matrices(draws: Draws, shape_zyx: tuple[int, ...], spacing_mm_zyx: Triple) -> npt.NDArray[np.float32]:
    """(n, 3, 4) for `affine_grid`: from the place of an output voxel to where it is read, x first, -1 to 1 across."""
    half_mm = np.multiply(shape_zyx, spacing_mm_zyx)[::-1] / 2.0
    turns = Rotation.from_euler("zyx", draws.turn_deg * SENSE, degrees=True).as_matrix()
    read = turns / draws.scale[:, None, ::-1] * half_mm / half_mm[:, None]
    return np.asarray(np.concatenate([read, np.zeros((len(read), 3, 1))], axis=2), np.float32)


def toned(image: Tensor, draws: Draws, air: float, top: float, seeds: Sequence[tuple[int, ...]]) -> Tensor:
    """Blur, coarse sampling, noise, contrast, shift and gamma of (n, 1, z, y, x) images, within [air, top].

    Args:
        image: Normalised.
        draws: Of the n cases.
        air, top: The normalised values of both clips.
        seeds: For the noise of each.
    """
    image = _blurred(image, draws.blur)
    for i in np.flatnonzero(draws.coarse < 1.0):
        image[i : i + 1] = _coarse(image[i : i + 1], float(draws.coarse[i]))

    def each(values: Values) -> Tensor:
        return torch.from_numpy(values).to(image)[:, None, None, None, None]

    for i in np.flatnonzero(draws.noise):
        seed = int(np.random.SeedSequence(seeds[i]).generate_state(1)[0])
        generator = torch.Generator(image.device).manual_seed(seed)
        noise = torch.randn(image.shape[1:], generator=generator, device=image.device)
        image[i] += float(draws.noise[i]) * noise
    mean = image.mean((1, 2, 3, 4), keepdim=True)
    image = mean + (image - mean) * each(draws.contrast) + each(draws.shift)
    grey = ((image - air) / (top - air)).clamp(0.0, 1.0)
    return air + (top - air) * grey ** each(draws.gamma)


def _blurred(image: Tensor, sigma: Values) -> Tensor:
    """A Gaussian of each case's own width in y and x; 0 leaves it as it is. Always a copy."""
    if not sigma.any():
        return image.clone()
    far = np.arange(KERNEL) - KERNEL // 2
    taps = np.exp(-0.5 * (far / np.maximum(sigma, 1e-3)[:, None]) ** 2)
    weight = torch.from_numpy(taps / taps.sum(axis=1, keepdims=True)).to(image)
    n, half = len(image), KERNEL // 2
    cases = F.pad(image.transpose(0, 1), (half, half, half, half, 0, 0), mode="replicate")
    cases = F.conv3d(cases, weight[:, None, None, :, None], groups=n)
    return F.conv3d(cases, weight[:, None, None, None, :], groups=n).transpose(0, 1).contiguous()


def _coarse(image: Tensor, factor: float) -> Tensor:
    """Slices sampled down by `factor` and back.

    To odd sizes: of two pixels as near as each other the nearest is always the later, so that a half would move the
    image by half a pixel against its targets.
    """
    z, y, x = image.shape[2:]
    less = F.interpolate(image, (z, *(min(n, round(n * factor) | 1) for n in (y, x))), mode="nearest-exact")
    return F.interpolate(less, (z, y, x), mode="trilinear", align_corners=False)
