"""All that is measured in one slice."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from benchmarks.realism.edges import edges
from benchmarks.realism.regions import FAT_HU, MIN_ORGAN_PX, cysts, hollow, hull, liver, sinus, surroundings
from benchmarks.realism.slices import Mask, Slice
from benchmarks.realism.spectrum import BANDS_PER_PX, band_powers

TISSUES = (("kidney", 1), ("tumour", 2))


def measure(s: Slice) -> dict[str, float]:
    """Name to value; a tissue that is not there, or too small, is left out."""
    out: dict[str, float] = {}
    for name, value in TISSUES:
        mask = s.labels == value
        out |= _tissue(s, name, mask) | _outline(s, name, mask)
    out |= _liver(s) | _cysts(s) | _sinus(s) | _surroundings(s)
    return {k: float(v) for k, v in out.items() if np.isfinite(v)}


def _tissue(s: Slice, name: str, mask: Mask) -> dict[str, float]:
    """HU, its spread, and its grain, 4 px within the label."""
    depth = ndimage.distance_transform_edt(mask)
    inside = depth > 4
    if inside.sum() < 150:
        return {}
    smooth = ndimage.gaussian_filter(s.hu, 3)
    out = {
        f"{name}: mean HU": s.hu[inside].mean(),
        f"{name}: std HU": s.hu[inside].std(),
        f"{name}: share below 25 HU (2 px smoothed)": (ndimage.gaussian_filter(s.hu, 2)[inside] < 25).mean(),
        f"{name}: fine detail (std less 4 px smoothed) HU": (s.hu - ndimage.gaussian_filter(s.hu, 4))[inside].std(),
    }
    if (depth > 8).sum() >= 30:
        out[f"{name}: std after 3 px smoothing"] = smooth[depth > 8].std()
    if (depth > 12).sum() >= 30:
        out[f"{name}: rim (4-8 px) less core (> 12 px) HU"] = (
            s.hu[inside & (depth <= 8)].mean() - s.hu[depth > 12].mean()
        )
    return out | _bands(s, name, mask & (depth > 2))


def _bands(s: Slice, name: str, mask: Mask) -> dict[str, float]:
    powers = band_powers(s.hu, mask)
    if powers is None:
        return {}
    return {f"{name}: power at {a}-{b} /px": p for (a, b), p in zip(BANDS_PER_PX, powers, strict=True)}


def _outline(s: Slice, name: str, mask: Mask) -> dict[str, float]:
    """The outline against fat; at least five places of it."""
    found = edges(s.hu, mask)
    if found.width_px.size < 5:
        return {}
    return {
        f"{name}/fat: edge 10-90 % width px": float(np.median(found.width_px)),
        f"{name}/fat: half height outside the label px": float(np.median(found.offset_px)),
        f"{name}/fat: spread of that along the outline px": float(np.std(found.offset_px)),
    }


def _liver(s: Slice) -> dict[str, float]:
    region = liver(s)
    if region is None:
        return {}
    fine = s.hu - ndimage.gaussian_filter(s.hu, 4)
    out = {
        "liver: mean HU": s.hu[region].mean(),
        "liver: std HU": s.hu[region].std(),
        "liver: noise (std less 4 px smoothed) HU": fine[region].std(),
    }
    for lag in (1, 2, 3):
        both = region[:, lag:] & region[:, :-lag]
        pair = (fine[:, lag:] * fine[:, :-lag])[both].mean() / fine[region].var()
        out[f"liver: noise autocorrelation at {lag} px"] = pair
    return out | _bands(s, "liver", region)


def _cysts(s: Slice) -> dict[str, float]:
    if (s.labels == 1).sum() < MIN_ORGAN_PX:
        return {}
    blobs = cysts(s)
    out = {"kidney: dark blobs a slice": float(len(blobs))}
    if blobs:
        largest = max(blobs, key=np.count_nonzero)
        core = ndimage.binary_erosion(largest, iterations=2)
        out["largest dark blob: mean HU"] = s.hu[core if core.any() else largest].mean()
        out["largest dark blob: std HU"] = s.hu[core if core.any() else largest].std()
        out["largest dark blob: diameter of its even core px"] = float(np.sqrt(4 * largest.sum() / np.pi))
    return out


def _sinus(s: Slice) -> dict[str, float]:
    if (s.labels == 1).sum() < MIN_ORGAN_PX:
        return {}
    closed = hull(s)
    smooth = ndimage.gaussian_filter(s.hu, 1)
    left_out, inner = hollow(s, closed), sinus(s, closed)
    out = {
        "sinus: share of the hull that no label covers": left_out.sum() / max(closed.sum(), 1),
        "sinus and calyces: share of the hull": inner.sum() / max(closed.sum(), 1),
    }
    if inner.sum() >= 40:
        out["sinus and calyces: mean HU"] = s.hu[inner].mean()
        out["sinus and calyces: share of fat"] = (smooth[inner] < FAT_HU).mean()
    if left_out.sum() >= 40:
        out["sinus that no label covers: mean HU"] = s.hu[left_out].mean()
    return out


def _surroundings(s: Slice) -> dict[str, float]:
    ring = surroundings(s)
    if ring.sum() < 500:
        return {}
    smooth = ndimage.gaussian_filter(s.hu, 1)
    tissue = ring & (smooth >= FAT_HU)
    out = {
        "surroundings: share of fat": 1 - tissue.sum() / ring.sum(),
        "surroundings: share above 180 HU": (smooth[ring] > 180).mean(),
        "surroundings: mean gradient HU/px": ndimage.gaussian_gradient_magnitude(s.hu, 1)[ring].mean(),
    }
    if tissue.sum() >= 200:
        out["surroundings: median HU of what is not fat"] = float(np.median(s.hu[tissue]))
    return out
