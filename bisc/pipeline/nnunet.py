"""A data set as nnU-Net wants it, in the folds that ours is trained on."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bisc.core.errors import InputError
from bisc.imageio import files_of, image_suffix, on_grid_of, read_image, read_labels, write_image
from bisc.imageio.dataset import RawCase, find_raw_dataset
from bisc.pipeline.workers import workers_that_fit
from bisc.planners.dataset import load_splits
from bisc.planners.source import current_meaning, load_source
from bisc.planners.splits import Splits
from bisc.system.cases import process_pool, run_cases
from bisc.system.files import atomic_folder
from bisc.system.paths import name_of

LABELS: Final = {"background": 0, "kidney": 1, "tumor": 2}
MADE_BY: Final = "bisc_plan_and_preprocess"
"""In dataset.json, where nnU-Net passes it over: what bears it may be made anew."""
DEFAULT_ID: Final = 220
"""KiTS23's among nnU-Net's own."""
LINKED: Final = (".nii.gz", ".nii", ".nrrd", ".mha")
"""What may be all in one file, and be read by nnU-Net."""
NUMBERED: Final = re.compile(r"Dataset([0-9]{3})_(.+)")


@dataclass(frozen=True)
class LayJob:
    """One case to lay out under `folder`, both files ending in `ending`."""

    case: RawCase
    folder: Path
    ending: str


def export_nnunet(preprocessed: Path, out: Path, number: int | None = None, n_workers: int = 1) -> Path:
    """Write a planned data set as OUT/DatasetXXX_NAME, with our folds as splits_final.json.

    Images are links to the raw ones. Label maps are written anew: 0 background, 1 kidney, 2 tumour, as ours are trained
    on (cysts count as kidney), on their images' own grids.

    Args:
        preprocessed: PREPROCESSED/NAME.
        out: nnU-Net's `nnUNet_raw`, or any folder.
        number: nnU-Net's, 1 to 999; None: the name's own, else 220.
        n_workers: Cases worked on at a time.

    Returns:
        The data set's folder, whole or as it was before.

    Raises:
        InputError: If the number is taken, something else lies there, a case has no image or cannot be read.
    """
    named = NUMBERED.fullmatch(name_of(preprocessed))
    own, name = (int(named[1]), named[2]) if named else (DEFAULT_ID, name_of(preprocessed))
    number = own if number is None else number
    if not 1 <= number <= 999:
        raise InputError("--id", str(number), "1 to 999")
    target = out / f"Dataset{number:03d}_{name}"
    _check_free(target, number)
    splits = load_splits(preprocessed)
    wanted = {case for fold in splits.folds for case in (*fold.train, *fold.val)}
    source = load_source(preprocessed)
    raw = find_raw_dataset(source, meaning=current_meaning(source, preprocessed))
    cases = [case for case in raw.cases if case.name in wanted]
    missing = sorted(wanted - {case.name for case in cases})
    if missing:
        found = f"{len(missing)} cases of the plan have no image and label map there ({', '.join(missing[:3])})"
        raise InputError(raw.folder, found, "every case of splits.json", f"mend them, or run {MADE_BY} again")
    _check_apart(target, raw.folder, cases)
    with atomic_folder(target) as scratch:
        lay_out(cases, scratch, n_workers)
        (scratch / "splits_final.json").write_text(json.dumps(nnunet_splits(splits), indent=2), encoding="utf-8")
    return target


def lay_out(cases: Sequence[RawCase], folder: Path, n_workers: int = 1) -> None:
    """Fill imagesTr, labelsTr and dataset.json of an nnU-Net data set.

    Raises:
        BiscError: Of the first case that cannot be read or written.
    """
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    endings = {ending_of(case.image) for case in cases if case.image is not None}
    ending = (endings.pop() if len(endings) == 1 else "") or LINKED[0]
    n_workers = workers_that_fit((case.labels for case in cases), n_workers, lambda _: None)
    with process_pool(n_workers) as pool:
        jobs = [LayJob(case, folder, ending) for case in cases]
        for outcome in run_cases(lay_out_case, jobs, pool, "nnU-Net", lambda job: job.case.name):
            if outcome.error is not None:
                raise outcome.error
    about = {
        "channel_names": {"0": "CT"},
        "labels": LABELS,
        "numTraining": len(cases),
        "file_ending": ending,
        "made_by": MADE_BY,
    }
    (folder / "dataset.json").write_text(json.dumps(about, indent=2), encoding="utf-8")


def lay_out_case(job: LayJob) -> bool:
    """The image as a link, or written anew where it has another ending; the label map on the image's grid."""
    case, name = job.case, job.case.name
    assert case.image is not None  # find_raw_dataset lets no such case through
    image = read_image(case.image)
    labels = on_grid_of(image, read_labels(case.labels, case.meaning))
    at = job.folder / "imagesTr" / f"{name}_0000{job.ending}"
    if ending_of(case.image) == job.ending:
        link_or_copy(at, case.image.resolve())
    else:
        write_image(at, image.volume.array, image.native)
    write_image(job.folder / "labelsTr" / f"{name}{job.ending}", labels.volume.array, image.native)
    return True


def ending_of(image: Path) -> str:
    """An image's suffix where a link to it will do; empty where it is of several files, or none that nnU-Net reads."""
    suffix = image_suffix(image) or ""
    return suffix if suffix in LINKED and image.name.endswith(suffix) and len(files_of(image)) == 1 else ""


def link_or_copy(at: Path, target: Path) -> None:
    """A link, or a copy where the file system has none, or Windows allows none."""
    try:
        at.symlink_to(target)
    except (OSError, NotImplementedError):
        shutil.copyfile(target, at)


def nnunet_splits(splits: Splits) -> list[dict[str, list[str]]]:
    """Our folds as splits_final.json has them."""
    return [{"train": fold.train, "val": fold.val} for fold in splits.folds]


def _check_apart(target: Path, raw: Path, cases: Sequence[RawCase]) -> None:
    """That what is replaced is not what is exported: its images would become links to themselves."""
    real = target.resolve()
    sources = [raw.resolve(), *(case.image.resolve() for case in cases if case.image is not None)]
    for source in sources:
        if source == real or real in source.parents or source in real.parents:
            found = f"would be written over, or into, its own source {source}"
            raise InputError(target, found, "a place of its own", "give another DIR")


def _check_free(target: Path, number: int) -> None:
    """That nothing of another's is replaced, and that nnU-Net will find one data set of this number."""
    others = [path for path in target.parent.glob(f"Dataset{number:03d}_*") if path != target]
    if others:
        raise InputError(others[0], f"has the number {number} already", "a number of its own", "give another with --id")
    if target.exists():
        about = target / "dataset.json"
        if not about.is_file() or MADE_BY not in about.read_text(encoding="utf-8", errors="replace"):
            raise InputError(
                target, "is there, and was not written by this", "a place that is free", "give another DIR"
            )
