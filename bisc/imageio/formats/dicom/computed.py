"""What was computed of a CT and looks like one: maps of a material, images without contrast medium that were made of
enhanced ones, virtual monoenergetic images, projections of slabs, differences of phases, maps of perfusion.

By the fourth value of ImageType (PS3.3, C.8.2.1.1.1), by words that makers write into it and into a series'
description, and by RescaleType. Only ImageType's defined terms, which are a program's own, make a series no CT; a word
tells against it beside others.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

MAPS: Final = {
    "MAT_SPECIFIC": "a map of one material",
    "MAT_FRACTIONAL": "a map of a material's share",
    "MAT_VALUE_BASED": "a map of a material",
    "EFF_ATOMIC_NUM": "a map of atomic numbers",
    "ELECTRON_DENSITY": "a map of electron densities",
    "SUBTRACTION": "a subtraction of two images",
    "ADDITION": "a sum of images",
    "DIVISION": "a quotient of images",
    "MULTIPLICATION": "a product of images",
    "STD_DEVIATION": "a map of standard deviations",
    "QUANTITY": "a map of a quantity",
}
"""Their values are no HU."""
REMOVED, MODIFIED, MONO, MODIFIED_HU = "MAT_REMOVED", "MAT_MODIFIED", "VMI", "HU_MOD"
"""The last is a RescaleType (PS3.3, C.11.1.1.2)."""
PERFUSION, DERIVED = "PERFUSION", "DERIVED"
"""Alone, the first may be what perfusion was computed from; of a derived image it is a map."""
PROJECTIONS: Final = frozenset(
    {"MIP", "MINIP", "MAX_IP", "MIN_IP", "MAXIMUM", "MINIMUM", "MEAN", "PROJECTION IMAGE", "VRT", "VOLREN"}
)
"""MAXIMUM, MINIMUM and MEAN are a volume's (PS3.3, C.8.16.1.4)."""
MAP_WORDS: Final = re.compile(
    r"\b(iod(?!ix|inated)\w*|jod(?!hal)\w*|yod\w*|z ?eff|effective z|ele[ck]tron\w* ?dens\w*|ele[ck]tronendichte|"
    r"rho z|pbv|uric|urate?s?|harns\w*|urique|urico|pure ?(?:calcium|lumen)|hap water|water hap|"
    r"(?:fat|fett|graisse|grasa|grasso) ?(?:maps?|fraction\w*|fraktion)|material (?:density|decomp\w*))\b"
)
"""Of a decomposition into materials; no iodixanol, no iodinated medium."""
A_MAP: Final = re.compile(r"map|kart|cart|\bmd\b")
"""Beside it iodine is not what was injected."""
MODIFIED_WORDS: Final = re.compile(
    r"\b(ca(?:lcium|lc)? ?suppr?\w*|(?:bones?|calcium|ca) ?remov\w*|knochen ?entf\w*|entknoch\w*)\b"
)
TUBE_WORDS: Final = re.compile(r"\b[ab] ?(?:sn ?)?\d{2,3} ?kvp?\b")
"""A_80KV, B_SN140KV: the two that the image of all of them is mixed of."""
SUBTRACTED_WORDS: Final = re.compile(
    r"\b(subtr\w*|soustr\w*|su[bs]tracc?i\w*|sottra\w*|"
    r"sub(?! (?:mm|milli|cutan|hepat|capsul|phren|diaphr|maxi|optim)))\b"
)
"""'Sub art - nat', and no subcutaneous or submillimetre."""
PERFUSION_WORDS: Final = re.compile(
    r"\b(perf|perfu[sz]\w*|cbf|cbv|mtt|ttp|t ?max|blood (?:flow|volume)|mean transit time|permeabilit\w*)\b"
)
REMOVED_WORDS: Final = re.compile(
    r"\b(vnc|vue|vnca|virt\w* ?(?:non ?con\w*|unenh\w*|nativ\w*|plain|ncc?t?|sans|ohne))\b"
)
MONO_WORDS: Final = re.compile(r"\b(mono ?(?:e|plus|energ\w*|chrom\w*|\d{2,3})|vmi|(?:gsi|de) mono)\b|\d ?kev\b")
MEDIUM_WORDS: Final = re.compile(r"\b(km|mdc|i ?v|contrast\w*|kontrast\w*)\b")
"""Beside them iodine is what was injected."""
KEV: Final = re.compile(r"(\d{2,3}) ?kev\b")
PROJECTION_WORDS: Final = re.compile(
    r"\b(t?mips?|minips?|a(?:v|ve|vg|verage)? ?ips?|c?vrt?|ssd|volume rendering|(?:max|min)\w* (?:ip|intensity)\w*)\b"
)
LIKE_CT_KEV: Final = (60, 80)
"""Iodine is as bright in a usual CT of 120 kV as at about 70 keV."""


@dataclass(frozen=True)
class Computed:
    """What a series is instead of a scanner's own CT.

    Attributes:
        what: In words.
        rank: The farther from a CT, the more.
        is_map: Whether its values are no HU.
    """

    what: str
    rank: int
    is_map: bool = False


def computed(image_type: Collection[str], description: str) -> Computed | None:
    """What a series was computed to be; None for a CT, or where nothing says so.

    Args:
        image_type: Values of ImageType and of RescaleType, in capitals.
        description: SeriesDescription in lower case, every separator a blank.
    """
    named = next((value for value in image_type if value in MAPS), None)
    if named is not None:
        return Computed(f"{MAPS[named]}, whose values are no HU", 4, is_map=True)
    # A maker's own words stand behind the third value; CSA MIP, CT_SOM7 DE VNC.
    words = " ".join([description, *(re.sub(r"[\W_]+", " ", value).lower() for value in [*image_type][2:])])
    is_medium = MEDIUM_WORDS.search(words) and not A_MAP.search(words)
    if MAP_WORDS.search(words) and not is_medium:
        return Computed("a map of a material, by its words", 4)
    if PERFUSION in image_type and DERIVED in image_type:
        return Computed("a map of perfusion, whose values are no HU", 4, is_map=True)
    if SUBTRACTED_WORDS.search(words):
        return Computed("a subtraction of two images, by its words", 4)
    if PERFUSION in image_type or PERFUSION_WORDS.search(words):
        return Computed("a map of perfusion, or of a series that one is computed from", 4)
    if PROJECTIONS & set(image_type) or PROJECTION_WORDS.search(words):
        return Computed("a projection of a slab", 3)
    if REMOVED in image_type or REMOVED_WORDS.search(words):
        return Computed("a virtual image without contrast medium", 3)
    if MODIFIED in image_type or MODIFIED_WORDS.search(words):
        return Computed("an image with a material's HU changed", 3)
    if MONO in image_type or MONO_WORDS.search(words):
        kev = KEV.search(words)
        like_ct = kev is not None and LIKE_CT_KEV[0] <= int(kev[1]) <= LIKE_CT_KEV[1]
        return Computed(f"a virtual monoenergetic image{f' of {kev[1]} keV' if kev else ''}", 1 if like_ct else 2)
    if MODIFIED_HU in image_type:
        return Computed("an image of modified HU, by its RescaleType", 2)
    if TUBE_WORDS.search(words):
        return Computed("an image of one of two tubes", 1)
    return None
