"""What the numbers of a label map mean, by the names that `--labels`, dataset.json or a header gives them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from bisc.core.errors import InputError
from bisc.system.jsonfile import Document

MAX_LABEL: Final = 255
OPTION: Final = "--labels"
OF_PREDICTIONS: Final = "--labels-of-predictions"
EXAMPLE: Final = "--labels kidney=2,tumor=1"

BACKGROUND, KIDNEY, TUMOR, CYST = "background", "kidney", "tumor", "cyst"
CLASSES: Final = (BACKGROUND, KIDNEY, TUMOR, CYST)
_KIDNEY_WORDS = [
    "kidney",
    "kidneys",
    "renalparenchyma",
    "kidneyparenchyma",
    "ren",
    "renes",
    "healthykidney",
    "normalkidney",
]
_GROWTHS = ["tumor", "tumour", "lesion", "mass", "cancer", "carcinoma", "neoplasm", "malignancy"]
_TUMOR_WORDS = [
    "renalcellcarcinoma",
    "rcc",
    *(f"{organ}{growth}{s}" for organ in ("", "kidney", "renal") for growth in _GROWTHS for s in ("", "s")),
    *(f"{organ}masses" for organ in ("", "kidney", "renal")),
]
_CYST_WORDS = [f"{organ}cyst{s}" for organ in ("", "kidney", "renal") for s in ("", "s")]
NAMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("background", "bg", "unlabeled", "unlabelled"), BACKGROUND),
    **dict.fromkeys(_KIDNEY_WORDS, KIDNEY),
    **dict.fromkeys(_TUMOR_WORDS, TUMOR),
    **dict.fromkeys(_CYST_WORDS, CYST),
}
"""Names by what they mean, in lower case without blanks, '-' and '_'."""
_MASSES: Final = frozenset(w for w in _TUMOR_WORDS if re.search("mass|lesion", w))
"""Of several values these are tumours and cysts together, as KiTS uses them: what is neither by a name of its own
cannot be told apart."""
_PLURAL: Final = frozenset(w for w in _MASSES if w.endswith("masses"))
"""KiTS's word for tumours and cysts together: alone it does not say which."""
_ORGANS: Final = ("wholekidney", "kidneyandtumor", "kidneyandtumour", "kidneywithtumor", "kidneyandmasses")
"""Regions that hold others: a value that has no narrower name is kidney."""

JOINS: Final = re.compile(r"\s*(?:[+&/,;\u222a]|\b(?:and|with|plus|incl|including)\b)\s*")
"""Between two things that a name joins: 'kidney + tumor' is no tumour of a kidney."""
_BESIDE_NAMES: Final = (
    *("l", "r", "lt", "rt", "left", "right", "both"),
    *("segmentation", "seg", "label", "labels", "labelmap", "mask", "roi"),
)
"""Words of a file's name beside a structure's: its side, and what programs add."""


class LabelMeaning(Document, frozen=True):
    """Which stored values mean what; a value that stands nowhere is no label, and 0 is always background.

    Attributes:
        kidney: Values, ascending; so are the others'.
        tumor: None where no tumour is labelled.
        cyst: They count as kidney, KiTS19's convention.
        background: Beside 0, what is labelled and not looked for.
        source: Where it is stated.
    """

    kidney: tuple[int, ...]
    tumor: tuple[int, ...] = ()
    cyst: tuple[int, ...] = ()
    background: tuple[int, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        """Refuse what no table of labels can be; msgspec turns the ValueError into its own, with the place."""
        every = [*self.kidney, *self.tumor, *self.cyst, *self.background]
        if not self.kidney or len(set(every)) < len(every) or not all(1 <= value <= MAX_LABEL for value in every):
            raise ValueError(f"labels need a kidney, and each value once, from 1 to {MAX_LABEL}")

    @property
    def is_given(self) -> bool:
        """Whether the user said so with `--labels`, which wins over files."""
        return self.source == OPTION

    @property
    def values(self) -> dict[int, str]:
        """The class of every value but 0."""
        classes = ((BACKGROUND, self.background), (KIDNEY, self.kidney), (TUMOR, self.tumor), (CYST, self.cyst))
        return {value: name for name, values in classes for value in values}

    @property
    def key(self) -> str:
        """The numbers alone, as `--labels` takes them: what changes when label maps are read otherwise."""
        groups = ((KIDNEY, self.kidney), (TUMOR, self.tumor), (CYST, self.cyst), (BACKGROUND, self.background))
        return ",".join(f"{name}={'+'.join(map(str, values))}" for name, values in groups if values)

    def words(self) -> str:
        """For messages: '0 background, 1 kidney, 2 tumour (3 cyst)'."""
        parts = [f"{_numbers((0, *self.background))} background", f"{_numbers(self.kidney)} kidney"]
        if self.tumor:
            parts.append(f"{_numbers(self.tumor)} tumour")
        return ", ".join(parts) + (f" ({_numbers(self.cyst)} cyst)" if self.cyst else "")


KITS: Final = LabelMeaning(kidney=(1,), tumor=(2,), cyst=(3,))
"""What the numbers mean where nothing says otherwise."""
Regions = Sequence[tuple[str, tuple[int, ...]]]
"""Names with the values they cover."""


def meaning_of_option(text: str, option: str = OPTION) -> LabelMeaning:
    """What `--labels kidney=1+2,tumor=3[,cyst=4][,background=5]` says.

    Raises:
        InputError: If it is no such list, has a value twice or outside 0 to 255, or names no kidney.
    """
    found: dict[str, tuple[int, ...]] = {}
    for part in text.split(","):
        name, _, numbers = part.partition("=")
        meant = NAMES.get(plain_name(name))
        values = [int(n) for n in numbers.split("+") if re.fullmatch(r"\s*[0-9]{1,9}\s*", n)]
        if meant is None or meant in found or len(values) != numbers.count("+") + 1:
            expected = f"kidney, tumor, cyst or background, once each, as in {EXAMPLE} or --labels kidney=1+2,tumor=3"
            raise InputError(option, f"'{part}'", expected, "correct it")
        found[meant] = tuple(values)
    regions = list(found.items())
    meaning = _checked(option, regions, {v: n for n, vs in regions for v in vs}, "correct it")
    return replace(meaning, source=OPTION)


def meaning_of_regions(source: Path, regions: Regions) -> LabelMeaning:
    """What names say of values; of several names that cover a value the narrowest counts (KiTS23's region lists).

    Args:
        source: The file that says so.
        regions: Its names with their values.

    Raises:
        InputError: For sides, for names that are not known, and where two names contend for a value; it shows what
            was read, and the `--labels` that would say it.
    """
    mend = f"say what they mean, as in {_suggestion(regions)}"
    for name, values in regions:
        plain, seen = plain_name(name), f"'{name}' among its labels {_shown(regions)}"
        if plain == "ignore":
            raise InputError(source, seen, "a class for every voxel: nothing is left out of training", mend)
        if _is_side(name):
            raise InputError(source, seen, "kidney without sides: both count as one", mend)
        if plain not in NAMES and not (plain in _ORGANS and len(values) > 1):
            raise InputError(source, seen, "names of kidney, tumor, cyst and background", mend)
    every = sorted({value for _, values in regions for value in values})
    decided = {value: _narrowest(source, value, regions, mend) for value in every}
    return _checked(source, regions, decided, mend)


def _narrowest(source: Path, value: int, regions: Regions, mend: str) -> str:
    """The class of a value: that of the smallest region it lies in."""
    covering = [(plain_name(name), frozenset(values)) for name, values in regions if value in values]
    size = min(len(values) for _, values in covering)
    narrow = [(plain, values) for plain, values in covering if len(values) == size]
    classes = set()
    for plain, values in narrow:
        others = {
            NAMES.get(plain_name(n)) for n, vs in regions if set(vs) != values and (set(vs) < values or size == 1)
        }
        unsure = (plain in _MASSES and size > 1) or plain in _PLURAL
        if not unsure:
            classes.add(NAMES.get(plain, KIDNEY))
        elif TUMOR in others and size > 1:
            classes.add(CYST)
        elif CYST in others:
            classes.add(TUMOR)
        else:
            found = f"'{plain}' may be tumours and cysts, among its labels {_shown(regions)}"
            raise InputError(source, found, "a name of its own for either", mend)
    if len(classes) > 1:
        found = f"value {value} has two meanings in its labels {_shown(regions)}"
        raise InputError(source, found, "one meaning a value", mend)
    return str(classes.pop())


def _checked(source: Path | str, regions: Regions, decided: Mapping[int, str], mend: str) -> LabelMeaning:
    values: dict[str, tuple[int, ...]] = {n: tuple(sorted(v for v, m in decided.items() if m == n)) for n in CLASSES}
    shown = _shown(regions)
    if sum(map(len, values.values())) < sum(len(v) for _, v in regions) and isinstance(source, str):
        raise InputError(source, f"a value twice in {shown}", "every value once", mend)
    if not all(0 <= value <= MAX_LABEL for value in decided):
        raise InputError(source, f"labels {shown}", f"values from 0 to {MAX_LABEL}", mend)
    if decided.get(0, BACKGROUND) != BACKGROUND:
        raise InputError(source, f"labels {shown}", "0 for the background", "renumber the label maps")
    if not values[KIDNEY]:
        raise InputError(source, f"labels {shown}", "a value for the kidney", mend)
    beside = tuple(v for v in values[BACKGROUND] if v)
    return LabelMeaning(
        kidney=values[KIDNEY], tumor=values[TUMOR], cyst=values[CYST], background=beside, source=str(source)
    )


def plain_name(name: str) -> str:
    """As `NAMES` has it: small letters and digits alone, and 'and' for the signs that mean it."""
    return re.sub(r"[\W_]+", "", re.sub(r"(?<=\w)\s*[+&/,;\u222a]\s*(?=\w)", "and", name.lower()))


def _is_side(name: str) -> bool:
    """Whether a name speaks of a left or right kidney, or of what lies in one."""
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())
    plain = plain_name(name)
    sided = {"l", "r", "lt", "rt"} & set(words) or re.search("left|right", plain)
    return bool(sided and re.search("kidney|ren|tumo|cyst|mass|lesion", plain)) and plain not in NAMES


def is_structure(stem: str) -> bool:
    """Whether a file's name is a structure's, with its side or not, and no case's: kidney_left, Segmentation-tumor.

    Every word counts: tumor_001 and warren_right are cases.
    """
    words = re.findall(r"[^\W_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", stem).lower())
    rest = re.sub("^(left|right)|(left|right)$", "", "".join(word for word in words if word not in _BESIDE_NAMES))
    return NAMES.get(rest, BACKGROUND) != BACKGROUND


def _shown(regions: Regions) -> str:
    """As read: {kidney_left: 1, masses: 2+3}."""
    return "{" + ", ".join(f"{name}: {_numbers(values)}" for name, values in regions) + "}"


def _numbers(values: Iterable[int]) -> str:
    return "+".join(map(str, values))


def _suggestion(regions: Regions) -> str:
    """A `--labels` that comes near what the names say; the user decides."""
    guesses: dict[str, list[int]] = {KIDNEY: [], TUMOR: [], CYST: [], BACKGROUND: []}
    taken: set[int] = {0}
    for name, values in sorted(regions, key=lambda region: len(region[1])):
        plain = plain_name(name)
        hints = ((CYST, "cyst"), (TUMOR, "|".join(_GROWTHS)), (KIDNEY, "kidney|ren(al|$)"))
        guess = next((n for n, hint in hints if re.search(hint, plain)), BACKGROUND)
        guesses[guess] += [v for v in values if v not in taken]
        taken |= set(values)
    if not guesses[KIDNEY]:
        return EXAMPLE
    return f"{OPTION} " + ",".join(f"{n}={_numbers(sorted(v))}" for n, v in guesses.items() if v)
