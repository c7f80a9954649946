"""The folder of a run of predictions: what may be written there, what an earlier run left, what is asked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Final

from bisc._version import __version__
from bisc.core.errors import InputError, PassedOver
from bisc.imageio import files_of
from bisc.imageio.case import InputCase
from bisc.imageio.formats.nifti import note_of
from bisc.inference.model import Model
from bisc.pipeline.dicom_cases import dicom_files, nameless, without_places
from bisc.pipeline.options import INDEX, INDEX_MARK, MARK, MEASURES, SKIPPED, TABLE, PredictionRow, PredictOptions
from bisc.pipeline.rows import STAMP_MARK, mask_changed, merge_rows, mixed, read_rows
from bisc.system.console import notice
from bisc.system.files import make_output_folder, remove_partial
from bisc.system.paths import check_nameable, exists

ROUGH: Final = "rough"
"""The folder of the rough stage's masks, under the output."""


@dataclass(frozen=True)
class Run:
    """A run of a folder: what is to be predicted, the rows of inputs that are no scan, and those of before by case."""

    cases: Sequence[InputCase]
    passed: Sequence[PredictionRow]
    before: Mapping[str, PredictionRow]


def begin_run(cases: Sequence[InputCase], out: Path, options: PredictOptions) -> Run:
    """Make the folder ready, and refuse what `predict_cases` refuses."""
    if options.dicom.deidentify:
        cases = [nameless(case) for case in cases]
    check_nameable(out)
    make_output_folder(out)
    for folder in (out, out / ROUGH):
        remove_partial(folder)
    none = [case for case in cases if isinstance(case.fault, PassedOver)]  # seen before it was read
    passed = [PredictionRow(case.name, SKIPPED, error=str(case.fault)) for case in none]
    if options.dicom.deidentify:
        passed = [replace(row, error=without_places(row.error, case)) for row, case in zip(passed, none, strict=True)]
    cases = [case for case in cases if case not in none]
    there = {row.case: row for row in read_rows(out / TABLE)}  # also where all is done anew: known before the work
    check_targets(cases, out, there, options.resume)
    if options.measure and (out / MEASURES).exists():
        from bisc.measurement.table import read_table  # not on a plain mask's path

        read_table(out / MEASURES)  # of another form it is refused, before the work
    if passed:
        merge_rows(out / TABLE, passed)
    return Run(cases, passed, there)


def end_run(out: Path, options: PredictOptions, before: Collection[str] = ()) -> None:
    """Write what is of all cases; an index that is there tells of this run's cases too. Where there were cases
    `before`, tell of masks that were made in several ways."""
    if before and (found := mixed(read_rows(out / TABLE))):
        notice(out / TABLE, found, "scored together they tell of none; give each a folder of its own")
    if options.report or _is_index(out / INDEX):
        from bisc.pipeline.report import write_index  # not on a plain mask's path

        write_index(out)


def check_targets(
    cases: Sequence[InputCase], out: Path, there: Mapping[str, PredictionRow], keeps: bool = False
) -> None:
    """Refuse a run that would write over a file that is no mask of this input, before anything is computed.

    Raises:
        InputError: If a mask would take the place of an input, of another input's mask, of a file that is no mask
            of ours (by no row of predictions.csv, nor by its own header), or, unless the run `keeps` such, of a mask
            that was changed since it was predicted.
    """
    # realpath: unlike resolve, it minds no link loops
    inputs = {os.path.realpath(path): path for case in cases for path in (case.path, *case.others)}
    for case in cases:
        target, source = out / f"{case.name}.nii.gz", os.path.realpath(case.origin or case.path)
        if os.path.realpath(target) in inputs:
            found, what = "would be overwritten by its own prediction", inputs[os.path.realpath(target)]
            raise InputError(what, found, "an output folder of its own")
        row = there.get(case.name)
        if row is None or row.status == SKIPPED:
            if exists(target) and note_of(target) != MARK:  # a run that was killed writes its row last
                found = f"is there and is no mask that {TABLE} beside it tells of"
                raise InputError(target, found, "an output folder of its own", "move it away")
        elif row.source and row.source != source and exists(Path(row.source)):
            found = f"would be written over the mask of {row.source}, which has the same name"
            mend = "choose another output folder, or rename one of the two"
            raise InputError(case.path, found, "one name for each patient", mend)
        elif not keeps and mask_changed(row, out):
            found = "was changed since it was predicted, and would be written over"
            mask = target if target.exists() else target.with_name(f"{case.name}_seg.dcm")
            raise InputError(mask, found, "the mask as it was predicted", "move it away; --continue keeps it")


def remove_outputs(out: Path, case: InputCase, options: PredictOptions, keep_rough: bool = False) -> None:
    """Remove what an older run left of a case: beside a row that says 'failed' it would be taken for its own.

    Args:
        out: The masks' folder.
        case: The case.
        options: What is asked for.
        keep_rough: Leave the rough stage's mask, which shows what is wrong.
    """
    files = Outputs(out, case, options)
    for path in files.asked.keys() - ({files.rough} if keep_rough else set()):
        path.unlink(missing_ok=True)
    remove_companions(out, case)


def case_stamp(case: InputCase, model: Model, options: PredictOptions) -> str:
    """What a prediction depends on, in a few letters: the input's files and which of them were asked for, then
    `way_of` the masks."""
    try:
        stats = [file.stat() for file in case.files or files_of(case.path)]
    except OSError:
        return ""
    extras = {
        "edges": any(fold.edges for fold in model.fine),
        "identifiers": options.dicom.identifiers,
    }
    asked = [*(extra for extra, on in extras.items() if on), *filter(None, [options.dicom.series, options.dicom.phase])]
    parts = [[(s.st_size, s.st_mtime_ns) for s in stats], *asked]
    return f"{_digest(parts)}{STAMP_MARK}{way_of(model, options)}"


def way_of(model: Model, options: PredictOptions) -> str:
    """How masks are made, in a few letters: this version, the weights, the decision, what is dropped."""
    weights = [(fold.mark, fold.offsets) for fold in (*model.rough, *model.fine)]
    return _digest([__version__, weights, options.decision, model.smallest_tumor_ml(options.decision), model.mirror])


def _digest(parts: Sequence[object]) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


class Outputs:
    """The files of one case, and which of them are asked for."""

    def __init__(self, out: Path, case: InputCase, options: PredictOptions) -> None:
        self.out, self.case, self.options = out, case.name, options
        self.mask, self.rough = out / f"{case.name}.nii.gz", out / ROUGH / f"{case.name}.nii.gz"
        self.probabilities = out / f"{case.name}_probabilities.npz"
        self.told = self.mask if options.dicom.form != "dicomseg" else out / f"{case.name}_seg.dcm"
        """The file that the row's stamp tells of."""
        self.asked = {self.mask: options.dicom.form != "dicomseg", self.rough: options.save_rough}
        self.asked |= {self.probabilities: options.save_probabilities}
        self.asked |= dicom_files(out, case.name, options.dicom) if case.files else {}

    def remove_parts(self) -> None:
        """The rough mask and the probabilities of an older run, which this one may not be asked for."""
        for path in (self.rough, self.probabilities):
            path.unlink(missing_ok=True)

    def are_there(self, row: PredictionRow) -> bool:
        """Whether a case that ended so has all that is asked for; a SEG of no kidney is none."""
        none = ".dcm" if row.status == "no_kidney" else ""
        files = [path for path, asked in self.asked.items() if asked and path.suffix != none]
        if not all(path.exists() for path in files):
            return False
        if not has_companions(self.options):
            return True
        from bisc.pipeline.companions import are_there  # not on a plain mask's path

        return are_there(self.out, row, self.options)


def has_companions(options: PredictOptions) -> bool:
    """Whether anything is asked for that is measured of the mask."""
    return options.mesh is not None or options.measure or options.report


def remove_companions(out: Path, case: InputCase) -> None:
    """Remove what an older run left beside a mask, whether its table is there or not."""
    if (out / MEASURES).exists() or any(out.glob(f"{escape(case.name)}_*")):
        from bisc.pipeline.companions import remove_companions  # not on a plain mask's path

        remove_companions(out, case.name)


def _is_index(page: Path) -> bool:
    """Whether it is the index of a run's pages."""
    try:
        with page.open(encoding="utf-8") as file:
            return INDEX_MARK in file.read(1000)
    except (OSError, UnicodeDecodeError):  # not there, or somebody else's
        return False
