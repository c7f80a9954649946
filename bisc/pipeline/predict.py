"""Files in, masks and predictions.csv out; one bad file never ends the others' run."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from bisc.core.choices import Decision, Phase
from bisc.core.errors import BiscError, InputError, PassedOver, WorkError, one_line
from bisc.core.volume import Volume
from bisc.imageio import files_of, write_image
from bisc.imageio.formats.nifti import is_byte_mask
from bisc.imageio.inputs import InputCase
from bisc.imageio.scan import is_study, open_scan
from bisc.inference.cascade import RoughExcess, offsets_of, roi_arrays, upsample_labels
from bisc.inference.model import Model
from bisc.pipeline.dicom_results import DicomOptions, dicom_paths, divided, write_dicom
from bisc.pipeline.rows import BETWEEN_NOTES, FAILED, SKIPPED, TABLE, PredictionRow, merge_rows, read_rows
from bisc.pipeline.segment import phase_of_image, segment_case, within_memory
from bisc.system.console import collecting, track
from bisc.system.files import atomic_file, make_output_folder, remove_partial
from bisc.system.paths import exists

ROUGH: Final = "rough"
"""The folder of the rough stage's masks, under the output."""


@dataclass(frozen=True)
class PredictOptions:
    """How to predict.

    Attributes:
        decision: 'argmax' or 'calibrated'.
        save_probabilities: Also write CASE_probabilities.npz.
        save_rough: Also write the rough stage's labels, as rough/CASE.nii.gz.
        resume: Keep what a finished earlier run of the same folder holds.
        memory_gb: What this process may take; None: all that is free.
        series: SeriesInstanceUID of the DICOM series to predict, instead of the best one of each study.
        phase: Contrast phase of the series to predict, likewise.
        nifti: Whether CASE.nii.gz is kept; where no DICOM result can be written, it is in any case.
        dicom: Which DICOM objects are written; None: none.
        anonymous: Whether files and rows say nothing of whom a DICOM study is of: names are made of its UID's digest.
    """

    decision: Decision
    save_probabilities: bool = False
    save_rough: bool = False
    resume: bool = False
    memory_gb: float | None = None
    series: str | None = None
    phase: Phase | None = None
    nifti: bool = True
    dicom: DicomOptions | None = None
    anonymous: bool = False


def predict_cases(
    cases: Sequence[InputCase], model: Model, out: Path, options: PredictOptions, complain: Callable[[BiscError], None]
) -> list[PredictionRow]:
    """Predict every case into `out`.

    Args:
        cases: What to predict.
        model: The cascade.
        out: Folder of CASE.nii.gz and predictions.csv, which is brought up to date after every case; the rows of
            other cases, of earlier runs or of runs under way, stay.
        options: How.
        complain: Takes the error of each failed case.

    Returns:
        One row per case, in their order; then one for each input that is no scan.

    Raises:
        InputError: If `out` cannot be written, or would overwrite an input.
    """
    if options.anonymous:
        cases = [_nameless(case) for case in cases]
    make_output_folder(out)
    for folder in (out, out / ROUGH):
        remove_partial(folder)
    none = [case for case in cases if isinstance(case.fault, PassedOver)]  # seen before it was read
    passed = [PredictionRow(case.name, SKIPPED, error=str(case.fault)) for case in none]
    cases = [case for case in cases if case not in none]
    there = {row.case: row for row in read_rows(out / TABLE)}  # also where all is done anew: known before the work
    check_targets(cases, out, there)
    known = there if options.resume else {}
    if passed:
        merge_rows(out / TABLE, passed)
    rows: list[PredictionRow] = []
    for case in track(cases, "predict"):
        row, stamp = known.get(case.name), _stamp(case, model, options)
        done = row is not None and row.status not in (FAILED, SKIPPED) and row.stamp in ("", stamp)
        if row is None or not done or not _Outputs(out, case, options).are_there(row):
            row = _predict_or_fail(case, model, out, options, complain)
            row = replace(row, source=os.path.realpath(case.origin or case.path), stamp=stamp)
            row = _row_without_identity(row, case) if options.anonymous else row
            merge_rows(out / TABLE, [row])
        rows.append(row)
    return [*rows, *passed]


def _nameless(case: InputCase) -> InputCase:
    """A DICOM study's case under a name that only who has the study can find."""
    return replace(case, name=f"study_{_digest(case.study)}") if case.study else case


def _row_without_identity(row: PredictionRow, case: InputCase) -> PredictionRow:
    """What is left of a row when descriptions and places, which may name a patient, are left out."""
    return replace(row, source="", notes="", choice="", error=row.error.replace(str(case.path), row.case))


def check_targets(cases: Sequence[InputCase], out: Path, there: Mapping[str, PredictionRow]) -> None:
    """Refuse a run that would write over a file that is no mask of this input, before anything is computed.

    Raises:
        InputError: If a mask would take the place of an input, of another input's mask, or of a file that is no mask.
    """
    # realpath: unlike resolve, it minds no link loops
    inputs = {os.path.realpath(path): path for case in cases for path in (case.path, *case.others)}
    for case in cases:
        target, source = out / f"{case.name}.nii.gz", os.path.realpath(case.origin or case.path)
        if os.path.realpath(target) in inputs:
            found = "would be overwritten by its own prediction"
            raise InputError(inputs[os.path.realpath(target)], found, "an output folder of its own")
        row = there.get(case.name)
        if row is None or row.status == SKIPPED:
            if exists(target) and not is_byte_mask(target):
                raise InputError(target, "is there and is no mask", "an output folder of its own", "move it away")
        elif row.source and row.source != source and exists(Path(row.source)):
            found = f"would be written over the mask of {row.source}, which has the same name"
            mend = "choose another output folder, or rename one of the two"
            raise InputError(case.path, found, "one name for each patient", mend)


def predict_case(
    case: InputCase,
    model: Model,
    out: Path,
    options: PredictOptions,
    complain: Callable[[BiscError], None] = lambda _: None,
) -> PredictionRow:
    """Read, run the cascade, write one case; of what no DICOM result can be written the mask is NIfTI, and `complain`
    told.

    Raises:
        InputError: If the image cannot be used.
        WorkError: If it does not fit into the memory.
        RoughExcess: If the rough stage marks more than any patient has; its mask is written where it was asked for.
    """
    begin = time.perf_counter()
    scan = open_scan(case, options.series, options.phase, lambda image: phase_of_image(image, model))
    model = within_memory(model, case.path, options.memory_gb, scan.size() if scan.stored else None)
    image = scan.read()
    files = _Outputs(out, case, options)

    def save_rough(rough: Volume) -> None:
        labels = upsample_labels(rough, image.volume.geometry, offsets_of(model.rough, options.decision))
        write_image(files.rough, labels, image.native)

    try:
        found, result = segment_case(image, model, options.decision)
    except RoughExcess as excess:
        if options.save_rough and excess.rough is not None:
            save_rough(excess.rough)
        raise RoughExcess(f"{case.path}: {excess}") from excess
    if options.save_rough:
        save_rough(result.rough)
    if options.save_probabilities:
        with atomic_file(files.probabilities) as scratch:
            np.savez_compressed(scratch, **roi_arrays(result.native, np.float16))  # type: ignore[arg-type]
    parts = divided(
        image.native.to_canonical(found.labels).array,
        image.volume.geometry,
        result.min_kidney_ml,
        result.middle_mm,
    )
    refused = ""
    if options.dicom is not None:
        try:
            write_dicom(out, case.name, scan, image, parts, model, options.dicom)
        except InputError as error:
            refused = str(error)
            complain(error)
    if options.nifti or refused:
        found.save(files.mask)
    ml = found.kidney_ml, found.tumor_ml
    ends = [(roi.side, roi.box.start_zyx[::-1], [stop - 1 for stop in roi.box.stop_zyx[::-1]]) for roi in found.rois]
    rois = json.dumps([{"side": side, "first_xyz": first, "last_xyz": last} for side, first, last in ends])
    return PredictionRow(
        case.name,
        found.status,
        _since(begin, model),
        rois,
        *ml,
        BETWEEN_NOTES.join(filter(None, [found.doubt, refused])),
        choice=scan.choice.reason if scan.choice is not None else "",
        segments=json.dumps(parts.told()),
    )


def _predict_or_fail(
    case: InputCase, model: Model, out: Path, options: PredictOptions, complain: Callable[[BiscError], None]
) -> PredictionRow:
    begin, fault = time.perf_counter(), None
    with collecting() as notes:
        try:
            row = predict_case(case, model, out, options, complain)
        except BiscError as error:
            fault = error
        except Exception as error:  # noqa: BLE001 - one broken case must not end the others
            fault = WorkError(one_line(f"{case.path}: {type(error).__name__}: {error}"))
    if fault is not None:
        files = _Outputs(out, case, options)
        fresh = {files.rough} & set(files.wanted) if isinstance(fault, RoughExcess) else set()  # shows what is wrong
        for path in {*files.all} - fresh:
            path.unlink(missing_ok=True)  # an older run's, beside a row that says 'failed', would be taken for its own
        if isinstance(fault, PassedOver):
            row = PredictionRow(case.name, SKIPPED, error=str(fault))
        else:
            row = PredictionRow(case.name, FAILED, _since(begin, model), error=str(fault))
            complain(fault)
    return replace(row, notes=BETWEEN_NOTES.join(notes))


def _stamp(case: InputCase, model: Model, options: PredictOptions) -> str:
    """What a prediction depends on, in a few letters: its files' sizes and times, the decision, all weights."""
    try:
        stats = [file.stat() for file in case.files or files_of(case.path)]
    except OSError:
        return ""
    weights = [(fold.mark, fold.offsets) for fold in (*model.rough, *model.fine)]
    asked = [*["mirrored"] * model.mirror, *filter(None, [options.series, options.phase])]
    parts = [[(s.st_size, s.st_mtime_ns) for s in stats], options.decision, weights, *asked]
    return _digest(repr(parts))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _since(begin: float, model: Model) -> float | None:
    return None if model.device.deterministic else round(time.perf_counter() - begin, 2)


class _Outputs:
    """The files of one case, and which of them a finished one has."""

    def __init__(self, out: Path, case: InputCase, options: PredictOptions) -> None:
        self.mask = out / f"{case.name}.nii.gz"
        self.rough = out / ROUGH / self.mask.name
        self.probabilities = out / f"{case.name}_probabilities.npz"
        dicom = dicom_paths(out, case.name)
        self.all = [self.mask, self.rough, self.probabilities, *dicom.values()]
        asked = {
            self.mask: options.nifti,
            self.rough: options.save_rough,
            self.probabilities: options.save_probabilities,
        }
        self.wanted = [path for path, wanted in asked.items() if wanted]
        kinds = options.dicom.kinds if options.dicom is not None and is_study(case) else ()
        self.wanted_of_kidneys = [dicom[kind] for kind in kinds]
        """Of a case in which any was found."""

    def are_there(self, row: PredictionRow) -> bool:
        """Whether a case that ended as `row` says has all of its files."""
        wanted = self.wanted + (self.wanted_of_kidneys if row.status != "no_kidney" else [])
        return all(path.exists() for path in wanted)
