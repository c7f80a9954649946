"""What a segment of a DICOM SEG is, by its label, the code and the words of its type, and its regions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from bisc.core import labels as canonical
from bisc.imageio.label_names import CYST, JOINS, KIDNEY, NAMES, TUMOR

VALUES: Final = {KIDNEY: canonical.KIDNEY, CYST: canonical.KIDNEY, TUMOR: canonical.TUMOR}
"""Cysts count as kidney, KiTS19's convention."""
CODES: Final = {
    **dict.fromkeys(("64033007", "9846003", "18639004", "T-71000"), KIDNEY),  # either, right, left, either
    **dict.fromkeys(("108369006", "86049000", "372087000", "M-8FFFF", "M-80003"), TUMOR),  # neoplasm, primary neoplasm
    **dict.fromkeys(("4147007", "52988006", "M-03000", "M-01100"), TUMOR),  # mass, lesion
    "702391001": TUMOR,  # renal cell carcinoma
    **dict.fromkeys(("367643001", "M-3340A"), CYST),
}
"""Of SNOMED CT and SNOMED RT, whatever language their meaning is in."""
_VAGUE: Final = re.compile(r"mass|lesion|^(4147007|52988006|M-03000|M-01100)$")
"""What may be a cyst as well as a tumour."""
_ASIDE: Final = re.compile(
    r"\b(left|right|both|bilateral|middle|lt|rt|l|r|primary|malignant|benign|nos|entire|whole|structure( of)?)\b|[\d()]"
)
_OF_KIDNEY: Final = re.compile(
    r"([^+&/;\u222a]+?)([\s,:-]+(of|in|at|the|upper|lower|mid|pole|part|third|anterior|posterior|lateral|medial)\b)*"
    r"[\s,:-]+kidneys?"
)
"""'Tumor of the left kidney', 'Mass, right kidney', without side."""
_MINUS: Final = re.compile(r"\w\s+[-\u2013]+\s+\w")
"""'Kidney - tumor' may be the kidney without its tumour, or its tumour."""
_UNNAMED: Final = (
    "", "segment", "seg", "segmentation", "newsegment", "segmentcopy", "label", "newlabel", "region", "roi", "object",
    "mask", "annotation", "unnamed", "untitled",
)  # fmt: skip
"""Labels that viewers give where the reader gives none."""
_KIDNEY_REGION: Final = re.compile(r"\bkidneys?\b|\brenal\b(?! (artery|vein|vessel))|\bnieren?\b|\breins?\b")
_WIDER: Final = {
    "abdomen", "abdominal", "abdominopelvic", "retroperitoneum", "retroperitoneal", "pelvis", "trunk", "torso", "body",
    "urinary", "genitourinary", "urogenital", "flank", "lumbar", "quadrant", "viscera",
}  # fmt: skip
_BESIDE: Final = {
    "chest", "thorax", "and", "of", "structure", "region", "entire", "whole", "upper", "lower", "cavity", "space",
    "tract", "system", "as", "a", "nos",
}  # fmt: skip
"""Words of regions that hold the kidneys and more: these say nothing for or against one."""


def meaning_of_segment(label: str, kind: str, regions: Sequence[tuple[str, str]] = (), code: str = "") -> str | None:
    """Kidney, tumour or cyst, whatever side or number stands in its name; None for anything else, and what is of
    another organ.

    Args:
        label: The segment's, which counts first. Of 'Kidney + tumor' and the like, the organ with what lies in it, all
            is kidney.
        kind: Its type, which counts where the label is not known. 'Neoplasm' is of any organ: it is a kidney's where
            the region says so, or where neither label nor region says otherwise.
        regions: Code and meaning of the anatomic regions that it lies in; they count where label and type name no
            kidney themselves.
        code: The type's, which counts before its words.
    """
    said, coded = _meaning(label), _of_type(kind, code)
    meant = CYST if coded == CYST and said == TUMOR and _VAGUE.search(label.lower()) else said or coded
    if meant not in VALUES:
        return None
    in_kidney = _is_in_kidney(regions)
    if said or _names_nothing(label, kind):
        sure = meant == KIDNEY or (said and _KIDNEY_REGION.search(label.lower().replace("_", " ")))
        return meant if sure or in_kidney is not False else None
    return meant if in_kidney or (meant == KIDNEY and in_kidney is None) else None


def is_by_type(label: str, kind: str) -> bool:
    """Whether what a segment is stands in its type's code or words alone, beside a label, or words, not known."""
    return _meaning(label) is None and not (_names_nothing(label, kind) and _meaning(kind))


def is_joint(label: str, kind: str, code: str = "") -> bool:
    """Whether the label alone says that a segment is the kidney with what lies in it: 'Kidney, tumor' may be other."""
    return len(_classes(label)) > 1 and _meaning(label) == KIDNEY and _of_type(kind, code) is None


def contradiction(label: str, kind: str, code: str = "") -> str:
    """How label and type, or the type's words and code, name different things; empty where they do not."""
    said, coded, spoken = _meaning(label), _of_type(kind, code), _meaning(kind)
    vague = any(map(_VAGUE.search, (label.lower(), kind.lower(), code)))
    if _differ(said, coded, vague):
        return f"its label means {said}, its type {coded}"
    return f"its type means {spoken} by its words, {coded} by its code" if _differ(spoken, coded, vague) else ""


def _differ(one: str | None, other: str | None, vague: bool) -> bool:
    """In what they count as; a vague word may be a cyst's."""
    if one not in VALUES or other not in VALUES or (vague and CYST in (one, other)):
        return False
    return VALUES[one] != VALUES[other]


def is_clear(label: str) -> bool:
    """Whether a label is known and no organ's: 'Kidney-tumor' may be a tumour's, or the organ's with it."""
    return _meaning(label) is not None and "kidney" not in label.lower()


def _meaning(name: str) -> str | None:
    classes = _classes(name)
    if KIDNEY in classes and classes <= set(VALUES):
        return KIDNEY
    return next(iter(classes)) if len(classes) == 1 else None


def _classes(name: str) -> set[str]:
    """Of the things that a name joins; of a name that is not known none."""
    words = " ".join(_ASIDE.sub(" ", name.lower().replace("_", " ")).split())
    growth = _OF_KIDNEY.fullmatch(words)
    if growth and NAMES.get(_letters(growth[1])) in (TUMOR, CYST):
        return {NAMES[_letters(growth[1])]}
    parts = [_letters(part) for part in JOINS.split(words)]
    if _MINUS.search(words) or not all(part in NAMES for part in parts if part):
        return set()
    return {NAMES[part] for part in parts if part}


def _of_type(kind: str, code: str) -> str | None:
    return CODES.get(code) or _meaning(kind)


def _names_nothing(label: str, kind: str) -> bool:
    """Whether a label says no more than its type."""
    return _plain(label) in (*_UNNAMED, _plain(kind))


def _is_in_kidney(regions: Iterable[tuple[str, str]]) -> bool | None:
    """Whether one of them is a kidney; None where none is given, or those that hold more alone."""
    found: bool | None = None
    for code, meaning in regions:
        is_kidney = CODES.get(code) == KIDNEY
        if not meaning.strip(" ^") and not is_kidney:
            continue
        words = set(re.findall(r"[^\W_]+", meaning.lower())) - {"left", "right"}
        if is_kidney or _KIDNEY_REGION.search(meaning.lower()):
            return True
        if not (words & _WIDER and words <= _WIDER | _BESIDE):
            found = False
    return found


def _plain(name: str) -> str:
    return _letters(_ASIDE.sub(" ", name.lower().replace("_", " ")))


def _letters(name: str) -> str:
    return re.sub(r"\W+", "", name)
