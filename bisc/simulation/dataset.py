"""A folder of simulated cases in KiTS19's layout, seeded, resumable, one bad case never ending the others."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bisc.core.errors import InputError
from bisc.core.geometry import Geometry, IntTriple
from bisc.core.labels import TUMOR
from bisc.core.volume import NativeGrid
from bisc.imageio import read_labels, write_image
from bisc.imageio.label_names import LabelMeaning
from bisc.simulation.case import SIZE_XYZ, simulate_around, simulate_case
from bisc.simulation.phases import VARIETIES, Variety
from bisc.system.cases import Outcome, run_cases
from bisc.system.files import PARTIAL, atomic_folder, make_folder, remove_partial
from bisc.system.jsonfile import Document, load_json, save_json

RECORD = "simulation.json"
LEAST_SIZE = 16
CYSTS_APART = LabelMeaning(kidney=(1, 2), tumor=(3,))
"""Reads a label map in KiTS's numbers so that what is cyst alone comes out as tumour."""
VERSION = 3
"""Raised whenever the same seed gives other voxels, so that old and new cases never mix in one folder."""


@dataclass(frozen=True)
class SimulationSpec:
    """What to simulate.

    Attributes:
        n: How many cases; None: every label map of `labels_dir` (10 without one).
        seed: A case depends on this and its index alone.
        size_xyz: Voxels of a procedural case.
        labels_dir: KiTS19-layout folder whose label maps are used instead of procedural anatomy.
        start_index: Index of the first case; the next run of a data set can go on where the last ended.
        variety: `kits` as in KiTS19, or `wide`.
    """

    n: int | None = None
    seed: int = 0
    size_xyz: IntTriple = SIZE_XYZ
    labels_dir: Path | None = None
    start_index: int = 0
    variety: Variety = "kits"

    def __post_init__(self) -> None:
        if self.n is not None and self.n < 1:
            raise InputError("-n", str(self.n), "at least 1 case")
        if self.seed < 0:
            raise InputError("--seed", str(self.seed), "a whole number of at least 0")
        if self.start_index < 0:
            raise InputError("--start-index", str(self.start_index), "a whole number of at least 0")
        if self.variety not in VARIETIES:
            raise InputError("--variety", str(self.variety), " or ".join(VARIETIES))
        if np.shape(self.size_xyz) != (3,) or min(self.size_xyz) < LEAST_SIZE:
            size = " ".join(map(str, self.size_xyz))
            raise InputError("--size", size, f"three numbers (x y z) of at least {LEAST_SIZE} voxels")


class SimulationRecord(Document, frozen=True):
    """What fixes the voxels of a folder's cases; n and start_index do not."""

    version: int
    seed: int
    size_xyz: tuple[int, int, int] | None
    labels_dir: str | None
    variety: str = "kits"


@dataclass(frozen=True)
class SimulationJob:
    """One case; `labels` is the label map it is painted around, None for procedural anatomy."""

    target: Path
    seed: int
    index: int
    size_xyz: IntTriple
    labels: Path | None
    variety: Variety = "kits"


def simulate_dataset(
    out: Path, spec: SimulationSpec, executor: Executor | None = None
) -> list[Outcome[SimulationJob, bool]]:
    """Write `out/case_XXXXX/{imaging,segmentation}.nii.gz` for every case that is not there yet.

    Returns:
        One outcome per case, in order: True where it was written now, False where it stood there already.

    Raises:
        InputError: If the label maps are missing or too few, or `out` holds something else than this simulation.
    """
    jobs = plan_jobs(out, spec)
    _claim(out, spec)
    remove_partial(out)
    return run_cases(run_job, jobs, executor, "Simulating", name=lambda job: job.target.name)


def plan_jobs(out: Path, spec: SimulationSpec) -> list[SimulationJob]:
    """The cases of a specification, in order; nothing is written. Raises as `simulate_dataset`."""
    if spec.labels_dir is None:
        indices = range(spec.start_index, spec.start_index + (10 if spec.n is None else spec.n))
        return [SimulationJob(out / f"case_{i:05d}", spec.seed, i, spec.size_xyz, None, spec.variety) for i in indices]
    maps = find_label_maps(spec.labels_dir)
    stop = len(maps) if spec.n is None else spec.start_index + spec.n
    if spec.start_index >= len(maps) or stop > len(maps):
        wanted = f"cases {spec.start_index} to {stop - 1} of {len(maps)} label maps"
        raise InputError(spec.labels_dir, wanted, f"-n and --start-index within {len(maps)}")
    return [
        SimulationJob(out / maps[i].parent.name, spec.seed, i, spec.size_xyz, maps[i], spec.variety)
        for i in range(spec.start_index, stop)
    ]


def find_label_maps(folder: Path) -> list[Path]:
    """The `*/segmentation.nii.gz` under `folder`, by case name.

    Raises:
        InputError: If the folder is missing or has none.
    """
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "a KiTS19-layout folder of label maps")
    maps = sorted(p for p in folder.glob("*/segmentation.nii.gz") if not p.parent.name.startswith("."))
    if not maps:
        raise InputError(
            folder, "no label map in it", "CASE/segmentation.nii.gz", "give the folder that holds the cases"
        )
    return maps


def run_job(job: SimulationJob) -> bool:
    """Simulate and write one case; False where it is finished already.

    Raises:
        InputError: If its label map cannot be used.
    """
    if is_finished(job.target):
        return False
    if job.labels is None:
        image, labels = simulate_case(job.seed, job.index, job.size_xyz, job.variety)
        native = stored_like_kits19(image.geometry)
        label_array = np.asarray(labels.array)
    else:
        given = read_labels(job.labels)
        image = simulate_around(given, job.seed, job.index, job.variety, _cysts_of(job.labels))
        native, label_array = given.native, np.asarray(given.volume.array)
    with atomic_folder(job.target) as folder:
        write_image(folder / "imaging.nii.gz", image.array, native)
        write_image(folder / "segmentation.nii.gz", label_array, native)
    return True


def _cysts_of(path: Path) -> npt.NDArray[np.bool_] | None:
    """The cysts of a label map in KiTS23's numbers, as `read_labels` lays it; None where it has none."""
    cysts = np.asarray(read_labels(path, CYSTS_APART).volume.array) == TUMOR
    return cysts if cysts.any() else None


def is_finished(case: Path) -> bool:
    """Whether both files stand there; the folder came there whole or not at all."""
    return all((case / name).is_file() for name in ("imaging.nii.gz", "segmentation.nii.gz"))


def stored_like_kits19(canonical: Geometry) -> NativeGrid:
    """The IPL grid KiTS19 would store a canonical volume on: first NIfTI axis = slices, running downwards."""
    nz, ny, nx = canonical.shape_zyx
    dz, dy, dx = canonical.spacing_mm_zyx
    x, y, z = canonical.index_to_physical((nz - 1, 0, 0))
    down = (0.0, 0.0, 1.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0)
    stored = Geometry((nx, ny, nz), (dx, dy, dz), (float(x), float(y), float(z)), down)
    return NativeGrid.of(stored)


def _claim(out: Path, spec: SimulationSpec) -> None:
    """Write the record into a new folder; refuse a folder that is not this simulation's."""
    source = None if spec.labels_dir is None else str(spec.labels_dir.resolve())
    size = spec.size_xyz if spec.labels_dir is None else None
    record = SimulationRecord(version=VERSION, seed=spec.seed, size_xyz=size, labels_dir=source, variety=spec.variety)
    path = out / RECORD
    if path.is_file():
        there = load_json(path, SimulationRecord, "choose another -o")
        if there != record:
            differ = ", ".join(
                f"{key} {getattr(there, key)}"
                for key in SimulationRecord.__struct_fields__
                if getattr(there, key) != getattr(record, key)
            )
            raise InputError(out, f"holds another simulation ({differ})", "the same arguments", "choose another -o")
        return
    if out.exists() and not out.is_dir():
        raise InputError(out, "is a file", "a folder", "choose another -o")
    foreign = sorted(p.name for p in out.iterdir() if not p.name.startswith(PARTIAL)) if out.is_dir() else []
    if foreign:
        raise InputError(out, f"not empty ({foreign[0]}, ...)", "a new or empty folder", "choose another -o")
    make_folder(out)
    save_json(path, record)
