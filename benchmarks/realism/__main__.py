"""Put simulated slices beside the real KiTS19 slices: the same measurements on both, a classifier, and a picture.

    python -m benchmarks.realism                                   # tables; a picture in a temporary folder
    python -m benchmarks.realism -n 6 --docs docs/images/simulation.png --no-real

The picture given by -o holds real pixels (CC BY-NC-SA): it is for looking at, never for committing. The one given by
--docs holds simulated ones only.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as Picture
from scipy import ndimage

from benchmarks.realism.classifier import Verdict, halves, tell_apart
from benchmarks.realism.measures import measure
from benchmarks.realism.patches import Patches, cut_patches
from benchmarks.realism.pictures import Pixels, side_by_side, view
from benchmarks.realism.slices import Slice, by_patient, read_real, simulate
from benchmarks.realism.table import Measured, measurements, verdicts
from bisc.simulation.dataset import VERSION
from bisc.simulation.phases import VARIETIES

SMOOTHING_PX = 2.0
Floats = npt.NDArray[np.float32]


def main() -> int:
    """Simulate, measure, print the tables, write the pictures."""
    args = _arguments()
    real = read_real(args.real) if args.real is not None and args.real.is_dir() else []
    lossy = {patient: own[0].lossy for patient, own in by_patient(real).items()}
    share = float(np.mean(list(lossy.values()))) if lossy else 0.0
    simulated: list[Slice] = []
    views: list[Pixels] = []
    for slices, case in simulate(args.n, args.seed, share, args.variety):
        simulated += slices
        if len(views) < 6:
            views.append(view(case))
    if args.docs:
        Picture.fromarray(np.concatenate(views, axis=1)).save(args.docs)
        print(f"simulated slices: {args.docs}")
    if not real:
        print(f"no real slices at {args.real}: nothing to compare with")
        return 0
    target = args.o or Path(tempfile.mkdtemp()) / "simulation_vs_real.png"
    Picture.fromarray(side_by_side(real, simulated)).save(target)
    print(
        f"side by side (do not commit): {target}\n\nsimulator version {VERSION}, {args.variety}, seed {args.seed}\n",
        flush=True,
    )
    print(measurements(_measured(real), _measured(simulated)), flush=True)
    print("\n" + verdicts(ask(cut_patches(real, args.seed), cut_patches(simulated, args.seed), args.seed)))
    return 0


def ask(real: Patches, simulated: Patches, seed: int) -> dict[str, Verdict]:
    """The classifier's verdict on whole patches, on what smoothing keeps, on what it takes away; and on real halves."""
    return {
        "whole patches": tell_apart(real, simulated, seed),
        "smoothed by 2 px: shapes and contrasts": tell_apart(_each(real, _smooth), _each(simulated, _smooth), seed),
        "less that: grain and edges": tell_apart(_each(real, _grain), _each(simulated, _grain), seed),
        "two halves of the real patients": tell_apart(*halves(real, seed), seed),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.realism",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shared = Path(os.environ.get("BISC_SHARED") or Path(__file__).resolve().parents[2].parent / "shared")
    parser.add_argument("--real", type=Path, default=shared / "kits19_more_slices", help="(default: %(default)s)")
    parser.add_argument("--no-real", dest="real", action="store_const", const=None, help="simulate only")
    parser.add_argument("-o", type=Path, help="side-by-side picture with real pixels (default: a temporary folder)")
    parser.add_argument("--docs", type=Path, help="picture of the first six simulated patients alone")
    parser.add_argument("-n", type=int, default=32, help="simulated patients (default: %(default)s)")
    parser.add_argument("--variety", choices=VARIETIES, default="kits", help="the simulator's (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all chance (default: %(default)s)")
    return parser.parse_args()


def _measured(slices: list[Slice]) -> Measured:
    return {patient: [measure(s) for s in own] for patient, own in by_patient(slices).items()}


def _each(patches: Patches, change: Callable[[Floats], Floats]) -> Patches:
    return Patches(np.stack([change(hu) for hu in patches.hu]), patches.place, patches.patient)


def _smooth(hu: Floats) -> Floats:
    return np.asarray(ndimage.gaussian_filter(hu, SMOOTHING_PX), np.float32)


def _grain(hu: Floats) -> Floats:
    return np.asarray(hu - _smooth(hu) + np.float32(64), np.float32)


if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(main())
