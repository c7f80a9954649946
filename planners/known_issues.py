"""What the KiTS19 repository says of cases it has published with faults; told, and never altered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from bisc.core.errors import InputError
from bisc.imageio.dataset import KITS_NAME, RawDataset
from bisc.planners.fingerprint import CaseFingerprint

N_CASES: Final = 300
"""case_00000 to case_00299; KiTS21 and KiTS23 annotated the same patients anew."""
MARKS_OF_OTHERS: Final = ("kits21", "kits23")
NO_KITS: Final = ("simulation.json", "kits23.json")
"""What lies beside cases that only bear KiTS19's names."""
_REPOSITORY: Final = "github.com/neheller/kits19"
_NEWER: Final = "get the case anew if yours is older"
_RELABELLED: Final = f"{_REPOSITORY}, changelog of 20 December 2019: corrected since"


def _phase(since: str = "") -> tuple[str, str, str]:
    """Of issue 6; `since` is what the changelog says became of the case, which is silent on one of them."""
    return (
        "a second contrast phase was appended, its kidneys and tumour without labels",
        f"{_REPOSITORY}, issue 6{since}",
        "look whether slices repeat beyond the labelled ones, and remove the case if so",
    )


_CROPPED: Final = "; changelog of 15 April 2019: cropped since"
ISSUES: Final[Mapping[str, tuple[tuple[str, str, str], ...]]] = {
    "case_00015": (
        ("a fluid collection in the spleen was labelled kidney", f"{_RELABELLED} (issue 21)", _NEWER),
        _phase("; changelog of 15 April 2019: another scan since"),
    ),
    "case_00023": (("the tumour's place and extent were wrong", _RELABELLED, _NEWER),),
    "case_00025": (_phase(),),
    "case_00037": (("a large cystic tumour was labelled as a cyst, and so as kidney", _RELABELLED, _NEWER),),
    "case_00061": (_phase(_CROPPED),),
    "case_00117": (_phase(_CROPPED),),
    "case_00125": (("the tumour's place and extent were wrong", _RELABELLED, _NEWER),),
}
OTHER_SIZE: Final = "case_00160"
USUAL_YX: Final = (512, 512)


def published_issues(names: Sequence[str]) -> list[str]:
    """What the KiTS19 repository says of those of its cases, a line each, for whoever is about to fetch them."""
    lines = [
        f"{name}: as first published, {found} ({source})" for name in names for found, source, _ in ISSUES.get(name, ())
    ]
    other = f"{OTHER_SIZE}: another size in plane than all others, and used as it is ({_REPOSITORY}, issue 6)"
    return [*lines, *([other] if OTHER_SIZE in names else [])]


def is_kits19(dataset: RawDataset) -> bool:
    """Whether a data set is KiTS19, as far as names tell: KiTS19's layout and case names, nothing of its successors."""
    names = [case.name for case in dataset.cases]
    return (
        dataset.is_kits
        and not dataset.label_files
        and all(KITS_NAME.fullmatch(name) and int(name[-5:]) < N_CASES for name in names)
        and not any(mark in dataset.name.lower() for mark in MARKS_OF_OTHERS)
        and not any((dataset.folder / name).exists() for name in NO_KITS)
        and not any((case.labels.parent / "instances").exists() for case in dataset.cases)
    )


def known_issues(dataset: RawDataset, measured: Mapping[str, CaseFingerprint]) -> list[tuple[str, InputError]]:
    """A note for each published fault of KiTS19 that a data set's cases may have; none for any other data set.

    Args:
        dataset: As found.
        measured: Its measured cases by name.
    """
    if not is_kits19(dataset):
        return []
    notes = []
    for case in dataset.cases:
        for found, source, mend in ISSUES.get(case.name, ()):
            notes.append((case.name, InputError(case.labels, f"as first published, {found}", source, mend)))
        size_yx = measured[case.name].shape_zyx[1:] if case.name in measured else USUAL_YX
        if case.name == OTHER_SIZE and size_yx != USUAL_YX:
            found = f"is {size_yx[1]} x {size_yx[0]} in plane, where KiTS19's other cases are 512 x 512"
            notes.append((case.name, InputError(case.labels, found, f"{_REPOSITORY}, issue 6", "it is used as it is")))
    return notes
