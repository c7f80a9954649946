"""What a series says of itself in words: its contrast phase, kernel, part of the body, and whether it was derived.

Words are those that scanners and technologists use, in English, German, French, Spanish and Italian. A word tells in
favour of or against a series beside others of its study; none of them ever makes a scan of what is none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from unicodedata import combining, normalize

from pydicom.dataset import Dataset

from bisc.core.choices import Phase
from bisc.core.errors import one_line
from bisc.imageio.formats.dicom.computed import Computed, computed
from bisc.imageio.formats.dicom.tags import items, text

GROUPS: Final = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
WORD_TAGS: Final = ("SeriesDescription", "ProtocolName", "AcquisitionProtocolName")
PHASE_WORDS: Final[dict[Phase, re.Pattern[str]]] = {
    "plain": re.compile(
        r"\b(plain|nativ[aeo]?|native|non ?con\w*|unenhanced|sans|ohne|sin|senza|without|wo|w o|pre ?con\w*|nc|nect|"
        r"basale?)\b"
    ),
    "early": re.compile(
        r"\b(art|arterial\w*|arteri[ae]ll?e?|arteriosa|early|frue?h\w*|cortico\w*|kortiko\w*|precoce)\b"
    ),
    "late": re.compile(
        r"\b(ven|ven(?:oe?|ou)s\w*|vei?neu\w*|pv|pvp|portal\w*|porto\w*|late|delay\w*|excret\w*|urogra\w*|"
        r"n[eé](?:ph|f)ro(?:(?:tomo|pyelo)?gr[aá]\w*|g[eé]n\w*|phase|excret\w*)?|"  # no nephrolithiasis, nephrostomy
        r"spae?t\w*|tardi\w*|parenchym\w*)\b"
    ),
}
BOTH: Final = re.compile(r"\blate arterial\b|\bspae?tarteriell\w*\b|\btardive? art\w*")
"""One phase in two words: the late part of the early one."""
_WITH, _WITHOUT = r"(?:w|with|mit|avec|con|com)", r"(?:wo|w o|without|ohne|sans|sin|senza|sem)"
_AND: Final = r"(?: (?:and|or|und|et|y|e))? "
EITHER: Final = re.compile(rf"\b(?:{_WITH}{_AND}{_WITHOUT}|{_WITHOUT}{_AND}{_WITH})\b")
"""'W WO CONTRAST': the name of a study's protocol, of which each series is one or the other."""
ORAL: Final = re.compile(rf"\b{_WITHOUT} (?:oral\w*|per ?oral\w*|per os|po)\b")
"""Contrast medium by mouth, of which the blood shows nothing."""
SHARP_WORDS: Final = re.compile(
    r"\b(lung\w*|bone\w*|knochen\w*|poumon\w*|(?<!per )os|pulmon\w*|hueso|osso|edge|sharp)\b"
)
SIEMENS: Final = re.compile(r"\b[a-z]{1,2}(\d{2})[a-z]*\b")
CANON: Final = re.compile(r"\bfc(\d{2})\b")
SHARP_FROM: Final = 50
"""Of Siemens' kernel numbers (B30 soft, B70 lung) and of Canon's (FC51 to 56 and 80 on are for lung and bone)."""
ELSEWHERE: Final = re.compile(
    r"\b(head|skull|brain|neuro\w*|kopf|sch(?:a|ä|ae)del|crane|crâne|cr[aá]neo|cranio|neck|hals|cou|cuello|collo|"
    r"sinus\w*|nnh|felsenbein\w*|rochers?|chest|thorax|torax|torace|lung\w*|heart|herz|coeur|cardiac|coronar\w*|"
    r"[clst]?spin[ea]\w*|[hbl]?ws|wirbel\w*|rachis|rachide|colonne|column\w*|colonna|vert[eé]br\w*|"
    r"lumb[aoá]\w*|lomb[aoé]\w*|sa[ck]r[aouá]\w*|isg|iliosa[ck]\w*|si joints?|"
    r"hips?|h(?:u|ü|ue)ft\w*|hanches?|caderas?|anca|anche|femur|f[eé]mur|leg|bein|knee|knie|genou|rodilla|ginocchio|"
    r"foot|fu(?:ß|ss)|pied|pie|piede|hand|arm|shoulder|schulter|[eé]paule|hombro|spalla|elbow|ellenbogen|extremity)\b"
)
TRUNK: Final = re.compile(
    r"(abd(?!uct)|kidney|renal|niere|\breins?\b|pelv|becken|trunk|rumpf|\bc?t?n?[tc]ap\b|\b(ct)?uro|bauch|\bliver\b|"
    r"\bleber|wholebody|whole body)"
)


@dataclass(frozen=True)
class About:
    """A series by its first file.

    Attributes:
        label: Its number and description, for messages.
        uid: SeriesInstanceUID.
        number: SeriesNumber; large where there is none.
        words: Its descriptions in lower case, without accents, every separator a blank.
        description: Of these, the one of the series alone; the others are a protocol's, which a whole study shares.
        kernel: ConvolutionKernel likewise.
        image_type: Values of ImageType, in capitals; behind them, of an enhanced file, its frames' FrameType.
        body_part: BodyPartExamined in lower case.
        reference: FrameOfReferenceUID.
        units: Values of RescaleType, in capitals.
    """

    label: str = ""
    uid: str = ""
    number: int = 1 << 31
    words: str = ""
    description: str = ""
    kernel: str = ""
    image_type: tuple[str, ...] = ()
    body_part: str = ""
    reference: str = ""
    units: tuple[str, ...] = ()

    @property
    def phase(self) -> Phase | None:
        """The contrast phase that its words name; None where they name none, or two."""
        words = EITHER.sub(" ", BOTH.sub("arterial", ORAL.sub(" ", self.words)))
        found = [phase for phase, pattern in PHASE_WORDS.items() if pattern.search(words)]
        return found[0] if len(found) == 1 else None

    @property
    def is_sharp(self) -> bool:
        """Whether it was reconstructed for lung or bone."""
        numbers = [int(n) for n in SIEMENS.findall(self.kernel)] if not CANON.search(self.kernel) else []
        canon = [int(n) for n in CANON.findall(self.kernel)]
        sharp = any(n >= SHARP_FROM for n in numbers) or any(50 <= n < 60 or n >= 80 for n in canon)
        return sharp or bool(SHARP_WORDS.search(f"{self.words} {self.kernel}"))

    @property
    def computed(self) -> Computed | None:
        """What it was computed to be; None where nothing says that it is no CT as it was scanned."""
        return computed((*self.image_type, *self.units), self.description)

    @property
    def is_derived(self) -> bool:
        """Whether it was computed of another one (a reformat, a projection)."""
        return self.image_type[:1] == ("DERIVED",) or any(t in self.image_type for t in ("REFORMATTED", "MPR", "MIP"))

    @property
    def is_elsewhere(self) -> bool:
        """Whether it names another part of the body alone: by its own words, if they name any; else by the protocol's
        and BodyPartExamined, which is one word for all that was scanned."""
        for words in (self.description, f"{self.body_part} {self.words}"):
            if TRUNK.search(words) or ELSEWHERE.search(words):
                return not TRUNK.search(words)
        return False


def about(path: Path, data: Dataset) -> About:
    """What one file says of its series."""
    number, described = text(path, data, "SeriesNumber"), text(path, data, "SeriesDescription")
    uid = text(path, data, "SeriesInstanceUID")
    label = one_line(f"series {number or 'without number'} {described[:60]}").strip()
    return About(
        label,
        uid,
        int(number) if re.fullmatch(r"\d{1,9}", number) else 1 << 31,
        _plain(" ".join(text(path, data, tag) for tag in WORD_TAGS)),
        _plain(described),
        _plain(text(path, data, "ConvolutionKernel")),
        _image_type(path, data),
        _plain(text(path, data, "BodyPartExamined")),
        text(path, data, "FrameOfReferenceUID"),
        _units(path, data),
    )


def is_localizer(path: Path, data: Dataset) -> bool:
    """Whether a file says that it is a localizer: by its ImageType, or by FrameType in all of its frames."""
    own, *frames = _kinds(path, data)
    return "LOCALIZER" in own or (bool(frames) and all("LOCALIZER" in frame for frame in frames))


def _units(path: Path, data: Dataset) -> tuple[str, ...]:
    """Of the file, and of its groups."""
    groups = [group for keyword in GROUPS for group in items(path, data, keyword)]
    places = [data, *(one for group in groups for one in items(path, group, "PixelValueTransformationSequence"))]
    found = (text(path, place, "RescaleType").strip().upper() for place in places)
    return tuple(dict.fromkeys(unit for unit in found if unit))


def _image_type(path: Path, data: Dataset) -> tuple[str, ...]:
    own, *frames = _kinds(path, data)
    return (*own, *dict.fromkeys(part for frame in frames for part in frame if part))


def _kinds(path: Path, data: Dataset) -> list[list[str]]:
    """Values of ImageType, and of each FrameType: an enhanced file's ImageType may be MIXED; what its frames are, their
    groups tell (PS3.3, C.8.15.3.1)."""
    groups = [group for keyword in GROUPS for group in items(path, data, keyword)]
    frames = [one for group in groups for one in items(path, group, "CTImageFrameTypeSequence")]
    found = [text(path, data, "ImageType"), *(text(path, one, "FrameType") for one in frames)]
    return [[part.strip() for part in one.upper().split("\\")] for one in found]


def _plain(words: str) -> str:
    """In lower case, letters without their accents, every separator a blank."""
    bare = "".join(letter for letter in normalize("NFD", words.lower()) if not combining(letter))
    return " ".join(re.sub(r"[\W_]+", " ", bare).split())
