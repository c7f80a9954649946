"""Patients that a data set holds twice: trained on in one fold, they would be validated on in another."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bisc.core.errors import InputError
from bisc.imageio.dataset import RawCase
from bisc.planners.examine import Examined
from bisc.planners.fingerprint import CaseFingerprint
from bisc.system.console import notice


def split_duplicates(
    found: Sequence[Examined], cases: Sequence[RawCase]
) -> tuple[list[CaseFingerprint], list[tuple[str, InputError]]]:
    """The cases without those of an earlier one's scan, and a fault for each of these.

    Two images of the same voxels are one patient's, whatever format they are stored in and however they are labelled.
    Where there are label maps alone, two measurements agree in the grid, every kidney's volume and extent and the
    tumour's volume only where the maps do; those without kidney or tumour hold too little to tell.
    """
    paths = {case.name: case.image or case.labels for case in cases}
    first: dict[str, str] = {}
    kept: list[CaseFingerprint] = []
    faults: list[tuple[str, InputError]] = []
    for one in found:
        case = one.fingerprint
        assert case is not None  # a fault's is not given
        measured = repr(msgspec.structs.replace(case, name="")) if case.n_components else ""
        keys = [key for key in (one.image, measured) if key]
        original = next((first[key] for key in keys if key in first), case.name)
        if original == case.name:
            first |= dict.fromkeys(keys, case.name)
            kept.append(case)
        else:
            expected = "every patient once, else one is trained and validated on alike"
            same = InputError(paths[case.name], f"is the same scan as {original}", expected, "remove one of them")
            faults.append((case.name, same))
    return kept, faults


def same_labels(found: Sequence[tuple[str, Examined]], cases: Sequence[RawCase]) -> list[tuple[str, str]]:
    """Cases whose label map is an earlier one's, voxel for voxel, though the image is another: a patient's second
    phase, or the same scan computed or stored anew. Each is told, and returned with what was said."""
    paths = {case.name: case.labels for case in cases}
    first: dict[str, str] = {}
    said = []
    for name, one in found:
        original = first.setdefault(one.labels, name) if one.labels else name
        if original != name:
            what = f"is that of {original}, voxel for voxel"
            done = "kept; if they are one patient's, both belong to one fold (--splits)"
            notice(paths[name], what, done)
            said.append((name, f"{paths[name]}: {what}; {done}"))
    return said
