"""Simulated CT on disk, from a script or a command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bisc.core.errors import BiscError
from bisc.core.geometry import IntTriple
from bisc.simulation import SimulationSpec, Variety, simulate_dataset
from bisc.simulation.case import SIZE_XYZ
from bisc.system.cases import process_pool


@dataclass(frozen=True)
class Simulated:
    """What became of the cases asked for.

    Attributes:
        folder: The data set, in KiTS19's layout.
        written: Names of the cases written now.
        kept: Names of those that were there already.
        errors: Of those that could not be made.
    """

    folder: Path
    written: tuple[str, ...]
    kept: tuple[str, ...]
    errors: tuple[BiscError, ...]


def simulate(
    out: str | Path,
    n: int | None = None,
    seed: int = 0,
    *,
    size_xyz: IntTriple = SIZE_XYZ,
    labels: str | Path | None = None,
    start_index: int = 0,
    variety: Variety = "kits",
    n_workers: int = 1,
) -> Simulated:
    """Write CASE/imaging.nii.gz (int16 HU) and CASE/segmentation.nii.gz (0 background, 1 kidney, 2 tumour).

    The same arguments give the same voxels; cases that are there already stay.

        data = bisc.simulate("raw/Simulated", n=4, seed=1)
        data.written    # ("case_00000", "case_00001", "case_00002", "case_00003")

    Args:
        out: A new or empty folder, or one of an earlier run with the same arguments.
        n: Cases; None: 10, or every label map of `labels`.
        seed: A case depends on this and its index alone.
        size_xyz: Voxels of a case, (x, y, z); not used with `labels`.
        labels: KiTS19-layout folder of label maps to paint around; None: procedural anatomy.
        start_index: Index of the first case.
        variety: "kits": preoperative abdominal CT as in KiTS19; "wide": any region, phase and scanner, some scans
            without a kidney, some in colours no CT has.
        n_workers: Cases made at a time; 1 works in this process.

    Raises:
        InputError: For an argument out of range, label maps that are missing or too few, or a folder that holds
            something else.
    """
    folder = Path(out)
    spec = SimulationSpec(n, seed, size_xyz, None if labels is None else Path(labels), start_index, variety)
    with process_pool(n_workers) as pool:
        outcomes = simulate_dataset(folder, spec, pool)
    return Simulated(
        folder,
        tuple(o.job.target.name for o in outcomes if o.result is True),
        tuple(o.job.target.name for o in outcomes if o.result is False),
        tuple(o.error for o in outcomes if o.error is not None),
    )
