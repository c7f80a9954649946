"""What lies beside a mask and is older: pages, surfaces and DICOM objects of what it was before it was edited."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from bisc.core.errors import InputError
from bisc.measurement.measures import CaseMeasures
from bisc.measurement.table import read_table, rows_of
from bisc.pipeline.dicom_cases import result_files
from bisc.pipeline.meshes import case_of, meshes_in
from bisc.pipeline.options import MEASURES
from bisc.pipeline.report_rows import page_path
from bisc.system.console import tell


def older_than(mask: Path, case: str, folder: Path, with_meshes: bool = True) -> list[str]:
    """A line for each kind of file in `folder` that shows a case's mask as it was, and how it is made anew.

    Times tell: a prediction writes the mask first.
    """
    meshes = [path for path in meshes_in(folder) if case_of(path) == case] if with_meshes else []
    kinds = (
        ([page_path(folder, case)], "bisc_report makes it anew"),
        (meshes, "bisc_measure --mesh makes it anew"),
        (result_files(folder, case), "it is not to be sent: it is of the mask as it was predicted"),
    )
    lines = []
    for files, mend in kinds:
        old = [path for path in files if path.is_file() and path != mask and is_older(path, mask)]
        if old:
            rest = f" (and {len(old) - 1} more)" if len(old) > 1 else ""
            lines.append(f"{old[0]}{rest} is older than {mask.name}: it shows the mask as it was; {mend}")
    return lines


def tell_older(mask: Path, found: CaseMeasures) -> None:
    """Tell of what beside a mask is of the mask as it was: by times, and of measures.csv by its rows' volumes."""
    table = mask.parent / MEASURES
    lines = older_than(mask, found.case, mask.parent)
    with suppress(InputError):  # another version's, or somebody else's
        known = {row["structure"]: row["volume_ml"] for row in read_table(table) if row["case"] == found.case}
        if known and known != {row["structure"]: row["volume_ml"] for row in rows_of(found)}:
            lines.append(f"{table} has other volumes of {found.case} than its mask; bisc_measure makes its rows anew")
    for line in lines:
        tell(line)


def is_older(path: Path, mask: Path) -> bool:
    return path.stat().st_mtime_ns < mask.stat().st_mtime_ns
