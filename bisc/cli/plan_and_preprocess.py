"""bisc_plan_and_preprocess: fingerprint, plan, splits and caches of one data set."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

from bisc.cli.common import BAD_INPUT, OK, add_workers, complain, make_parser, positive_float, run_command
from bisc.cli.fault_table import Fault, faults_csv, faults_text
from bisc.cli.workers import workers_that_fit
from bisc.core.choices import STAGES
from bisc.core.errors import BiscError, InputError
from bisc.core.files import make_output_folder, remove_partial, write_text
from bisc.core.parallel import process_pool, run_cases
from bisc.core.paths import Folders, find_dataset
from bisc.imageio.dataset import LAYOUTS, RawCase, scan_raw_dataset
from bisc.planners.dataset import measure_dataset, plan_dataset, save_source
from bisc.planners.fingerprint import Fingerprint
from bisc.planners.plan import Plan
from bisc.planners.planner import DEFAULT_MEMORY_GB, explain
from bisc.preprocessing.cache import CacheJob, CacheSettings, cache_case

PROG = "bisc_plan_and_preprocess"
RAW_MARKER = "*/*.*"
"""Both layouts hold their files one folder below the data set."""
VERIFY = "verify.csv"


def build_parser() -> argparse.ArgumentParser:
    """The command's parser."""
    parser = make_parser(
        PROG,
        "Measure a data set, plan both stages from what was measured, and cache its volumes, labels and edge maps.",
        f"  {PROG} -d KiTS19",
    )
    parser.add_argument("-d", dest="dataset", metavar="NAME", help="name under the raw folder, or a path")
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
    raw = find_dataset(folders.raw, args.dataset, RAW_MARKER, "data set", f"lay it out as {LAYOUTS}")
    dataset = scan_raw_dataset(raw, labels_suffice=args.only_plan)
    target = make_output_folder(folders.preprocessed / dataset.name)
    for folder in (target, target / "fingerprint", *(target / stage for stage in STAGES)):
        remove_partial(folder)
    faults: list[Fault] = [*dataset.faults]
    n_workers = workers_that_fit((case.image or case.labels for case in dataset.cases), args.n_workers, PROG)
    with process_pool(n_workers) as pool:
        measured = measure_dataset(dataset.name, dataset.cases, target, pool, again=args.verify)
        faults += measured.faults
        tell_faults(faults, target)  # now: what follows may fail for want of a kidney
        usable = {c.name for c in measured.fingerprint.cases}
        if not usable:
            raise InputError(raw, f"no usable case ({len(faults)} faults)", LAYOUTS, f"see {target / VERIFY}")
        tell_empty(measured.fingerprint)
        plan = plan_dataset(measured.fingerprint, target, args.memory_gb)
        save_source(target, raw)
        if args.explain:
            print(explain(plan))
        if not args.only_plan:
            cases = [case for case in dataset.cases if case.name in usable]
            late = preprocess(cases, plan, target, pool)
            faults += late
            tell_faults(late, target, faults)
    if args.verify:
        print(faults_text(faults, raw) if faults else "no faults")
    print(f"{dataset.name}: {len(usable)} cases planned, {len(faults)} faults; see {target / 'plan.txt'}")
    if faults:
        print(f"the faults are listed in {target / VERIFY}")
    return BAD_INPUT if faults else OK


def tell_faults(faults: Sequence[Fault], target: Path, table: Sequence[Fault] | None = None) -> None:
    """One line each on stderr, and all of `table` (default: the same) in verify.csv."""
    write_text(target / VERIFY, faults_csv(faults if table is None else table))
    for _, fault in faults:
        complain(PROG, str(fault))


def tell_empty(fingerprint: Fingerprint) -> None:
    """A label map without a kidney is a patient without one, or unfinished: only the user knows."""
    for case in fingerprint.cases:
        if not case.kidneys:
            what = "is empty" if not case.n_components else "has no kidney of 5 ml or more"
            print(f"{case.name}: its label map {what}: used as a scan without kidneys; remove it if it is unfinished")


def preprocess(
    cases: Sequence[RawCase], plan: Plan, target: Path, executor: Executor | None
) -> list[tuple[str, BiscError]]:
    """Cache every case for both stages; returns the faults by case name."""
    settings = CacheSettings(
        target_spacing_mm_zyx=plan.target_spacing_mm_zyx,
        rough_in_plane_px=plan.rough_in_plane_px,
        intensity=plan.intensity,
        roi=plan.roi,
    )
    jobs = [CacheJob(case, settings, target) for case in cases]
    outcomes = run_cases(cache_case, jobs, executor, "preprocess", lambda job: job.case.name)
    return [(o.job.case.name, o.error) for o in outcomes if o.error is not None]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
