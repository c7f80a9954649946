"""bisc_plan_and_preprocess: fingerprint, plan, splits and caches of one data set."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from bisc.cli.common import BAD_INPUT, OK, add_workers, complain, make_parser, positive_float, run_command
from bisc.cli.fault_table import Fault, Note, faults_csv, faults_text, unused_line
from bisc.cli.workers import workers_that_fit
from bisc.core.choices import STAGES
from bisc.core.errors import InputError
from bisc.imageio.dataset import LAYOUTS, RawCase, scan_raw_dataset
from bisc.imageio.label_names import meaning_of_option
from bisc.planners.dataset import measure_dataset, plan_dataset
from bisc.planners.fingerprint import Fingerprint
from bisc.planners.known_issues import known_issues
from bisc.planners.plan import Plan
from bisc.planners.planner import DEFAULT_MEMORY_GB, explain
from bisc.planners.source import check_same_source, label_note, meaning_of_source, save_source
from bisc.preprocessing.cache import CacheJob, CacheSettings, cache_case
from bisc.system.cases import process_pool, run_cases
from bisc.system.files import make_output_folder, remove_partial, write_text
from bisc.system.paths import Folders, check_name, find_dataset, name_of

PROG = "bisc_plan_and_preprocess"
RAW_MARKER = "*/*.*"
"""Both layouts hold their files one folder below the data set."""
NAMED_MARKER = "*/*"
"""A folder that was named is one, whatever lies in it: it is told what its files are not used for."""
VERIFY = "verify.csv"


def build_parser() -> argparse.ArgumentParser:
    """The command's parser."""
    parser = make_parser(
        PROG,
        "Measure a data set, plan both stages from what was measured, and cache its volumes, labels and edge maps.",
        f"  {PROG} -d KiTS19",
    )
    parser.add_argument("-d", dest="dataset", metavar="NAME", help="name under the raw folder, or a path")
    parser.add_argument(
        "--labels",
        metavar="NAMES",
        help="what the label maps' values mean, as in kidney=1+2,tumor=3,cyst=4,background=5; kept for later runs "
        "(default: as dataset.json or a .seg.nrrd says, else KiTS's numbers)",
    )
    parser.add_argument("--verify", action="store_true", help="read every file again and show all faults as a table")
    parser.add_argument("--only-plan", action="store_true", help="no caches; label maps without images will do")
    parser.add_argument("--explain", action="store_true", help="print why the plan chose each value")
    parser.add_argument(
        "--memory-gb",
        type=positive_float,
        default=DEFAULT_MEMORY_GB,
        metavar="G",
        help="training memory (default: %(default)s)",
    )
    add_workers(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Plan, then cache; every fault of the data set is told at once, and the sound cases go on."""
    folders = Folders.from_environment()
    given = meaning_of_option(args.labels) if args.labels is not None else None
    marker = RAW_MARKER if args.dataset is None else NAMED_MARKER
    raw = find_dataset(folders.raw, args.dataset, marker, "data set", f"lay it out as {LAYOUTS}")
    check_name(name_of(raw), raw, "give a link of another name with -d")
    target = folders.preprocessed / name_of(raw)
    check_same_source(target, raw)
    meaning = meaning_of_source(raw, target, given)
    dataset = scan_raw_dataset(raw, labels_suffice=args.only_plan, meaning=meaning)
    make_output_folder(target)
    for folder in (target, target / "fingerprint", *(target / stage for stage in STAGES)):
        remove_partial(folder)
    report = Report(target, raw, [*dataset.notes])
    if dataset.notes:
        say(f"not used: {unused_line(dataset.notes, raw)}; see {target / VERIFY}")
    report.add(dataset.faults)
    n_workers = workers_that_fit((case.image or case.labels for case in dataset.cases), args.n_workers, PROG)
    with process_pool(n_workers) as pool:
        measured = measure_dataset(dataset.name, dataset.cases, target, pool, again=args.verify)
        fingerprints = {c.name: c for c in measured.fingerprint.cases}
        report.notes += measured.notes
        if args.verify:
            report.notes += known_issues(dataset, fingerprints)
        report.add(measured.faults)  # now: what follows may fail for want of a kidney
        if not fingerprints:
            found = f"no usable case ({len(report.faults)} faults)"
            raise InputError(raw, found, LAYOUTS, f"see {target / VERIFY}")
        tell_empty(measured.fingerprint)
        plan = plan_dataset(measured.fingerprint, target, args.memory_gb, label_note(meaning, dataset.label_files))
        save_source(target, raw, meaning)
        if meaning is not None or dataset.label_files:
            earlier = "" if given or meaning is None or not meaning.is_given else " (given at an earlier run)"
            print(f"labels: {plan.label_note}{earlier}")
        if args.explain:
            print(explain(plan))
        if not args.only_plan:
            cases = [case for case in dataset.cases if case.name in fingerprints]
            report.add(preprocess(cases, plan, target, pool, measured.voxels))
    if args.verify:
        print(faults_text(report.faults, raw) if report.faults else "no faults")
        if report.notes:
            print(f"\nnotes:\n{faults_text(report.notes, raw)}")
    n_faults = len(report.faults)
    print(f"{dataset.name}: {len(fingerprints)} cases planned, {n_faults} faults; see {target / 'plan.txt'}")
    if n_faults or report.notes:
        what = "the faults are" if n_faults else "the notes are"
        print(f"{what} listed in {target / VERIFY}")
    return BAD_INPUT if n_faults else OK


@dataclass
class Report:
    """All that is to be said of a data set: verify.csv in `target`, and each fault on stderr as it is found."""

    target: Path
    raw: Path
    notes: list[Note]
    faults: list[Fault] = field(default_factory=list)

    def add(self, faults: Sequence[Fault]) -> None:
        """Tell new faults, one line each, and bring verify.csv up to date."""
        self.faults += faults
        write_text(self.target / VERIFY, faults_csv(self.faults, self.notes))
        for _, fault in faults:
            complain(PROG, str(fault))


def say(note: str) -> None:
    """A line on stderr that is no fault."""
    print(f"{PROG}: note: {note}", file=sys.stderr)


def tell_empty(fingerprint: Fingerprint) -> None:
    """A label map without a kidney is a patient without one, or unfinished: only the user knows."""
    for case in fingerprint.cases:
        if not case.kidneys:
            what = "is empty" if not case.n_components else "has no kidney of 5 ml or more"
            print(f"{case.name}: its label map {what}: used as a scan without kidneys; remove it if it is unfinished")


def preprocess(
    cases: Sequence[RawCase], plan: Plan, target: Path, executor: Executor | None, voxels: Mapping[str, str]
) -> list[Fault]:
    """Cache every case for both stages; returns the faults by case name.

    `voxels` has the digests of cases that were read again: what was cached of other voxels is made anew.
    """
    settings = CacheSettings(
        target_spacing_mm_zyx=plan.target_spacing_mm_zyx,
        rough_in_plane_px=plan.rough_in_plane_px,
        intensity=plan.intensity,
        roi=plan.roi,
    )
    jobs = [CacheJob(case, settings, target, voxels.get(case.name, "")) for case in cases]
    outcomes = run_cases(cache_case, jobs, executor, "preprocess", lambda job: job.case.name)
    return [(o.job.case.name, o.error) for o in outcomes if o.error is not None]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
