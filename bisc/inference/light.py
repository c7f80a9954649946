"""From the numbers of a prediction to flags, a risk and a traffic light: limits and coefficients, all constants.

Limits of anatomy and HU lie beyond what real label maps and scans have. The others, and the risks' coefficients, come
from simulated patients, by `python -m benchmarks.flags` (docs/lab/flags.md has how they did on others).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from bisc.core.flags import LIGHTS, Flag, Flags, Light
from bisc.preprocessing.phase import PLAIN_HU

INF: Final = math.inf
DECIMALS: Final = 3
DIGITS: Final = 4


@dataclass(frozen=True)
class Limit:
    """From where on a number is raised: amber, and red further out. The words are for people, {value} in them."""

    amber: float
    red: float
    words: str

    def level(self, value: float) -> Light:
        """The light of a number; which way is out, amber and red tell."""
        sign = 1.0 if self.red >= self.amber else -1.0
        if sign * value > sign * self.red:
            return "red"
        return "amber" if sign * value > sign * self.amber else "green"


LIMITS: Final[Mapping[str, tuple[Limit, ...]]] = {
    "kidneys": (
        Limit(0.5, -INF, "no kidney found: right where none is in view, else all was missed"),
        Limit(1.5, -INF, "a kidney on one side only: solitary, fused, or the other was missed"),
        Limit(2.5, 3.5, "{value:.0f} regions as large as kidneys: one at least is none"),
    ),
    "total_ml": (Limit(1500.0, 2500.0, "implausible: {value:.0f} ml of kidney and tumour"),),
    "smallest_ml": (Limit(30.0, -INF, "a kidney of only {value:.0f} ml: shrunken, cut, or mostly missed"),),
    "asymmetry": (Limit(0.93, INF, "one kidney is smaller than the other by {value:.0%}"),),
    "longest_mm": (Limit(240.0, 320.0, "a kidney reaches over {value:.0f} mm of height"),),
    "shortest_mm": (Limit(50.0, -INF, "a kidney is only {value:.0f} mm high"),),
    "height_apart_mm": (Limit(70.0, INF, "one kidney lies {value:.0f} mm above the other"),),
    "off_middle_mm": (Limit(40.0, INF, "the kidneys lie {value:.0f} mm beside the body's middle"),),
    "cut_by_slices": (
        Limit(0.05, 0.8, "the mask ends in the first or last slice, there {value:.0%} as wide as anywhere: cut"),
    ),
    "cut_by_field": (Limit(0.002, 0.05, "{value:.1%} of the mask lie at the border of the field of view: cut"),),
    "kidney_hu": (
        Limit(PLAIN_HU, 0.0, "kidneys of {value:.0f} HU: no contrast medium, or no kidneys"),
        Limit(260.0, 350.0, "kidneys of {value:.0f} HU: denser than kidneys are"),
    ),
    "fat_share": (Limit(0.21, 0.4, "{value:.0%} of the mask are fat"),),
    "bone_share": (Limit(0.05, 0.2, "{value:.0%} of the mask are as dense as bone"),),
    "hu_spread": (Limit(166.0, 300.0, "HU of kidney tissue spread over {value:.0f}: several tissues"),),
    "expected_dice": (Limit(0.6, 0.4, "the network itself expects a Dice of {value:.2f} only"),),
    "margin": (Limit(0.62, 0.5, "the kidneys' outline is blurred (margin {value:.2f})"),),
    "rough_dice": (Limit(0.33, 0.1, "both stages agree on a kidney by a Dice of {value:.2f} only"),),
    "left_out_share": (Limit(1.5, 4.0, "what was marked and left out is {value:.0%} of the mask"),),
    "folds_dice": (Limit(0.85, 0.7, "the folds agree with each other by a Dice of {value:.2f} only"),),
    "outline_agreement": (Limit(0.64, 0.5, "the edge branch sees {value:.0%} of the outline only"),),
    "kidney_risk": (Limit(0.2, 0.5, "the kidneys' mask is wrong with a probability of {value:.0%}"),),
    "tumor_risk": (Limit(0.5, INF, "the tumours are wrong with a probability of {value:.0%}"),),
}
"""By number. A number without a limit is told and raises nothing."""


@dataclass(frozen=True)
class Term:
    """One number in a logistic model: its coefficient, and what stands in where it could not be told.

    Attributes:
        name: Of the number.
        coefficient: Of what `of` makes of it.
        of: Makes a number of 0 to 1, or a volume, one that adds up.
        missing: What `of` would give.
    """

    name: str
    coefficient: float
    of: Callable[[float], float]
    missing: float


NO_TUMOR: Final = 1.73
"""Where no tumour is marked there is no expected Dice; too few such cases to fit: the log odds of 0.85."""


def log_odds(share: float) -> float:
    """Of a Dice or probability, within reason."""
    inside = min(max(share, 0.01), 0.995)
    return math.log(inside / (1.0 - inside))


def identity(value: float) -> float:
    """As it is."""
    return value


def not_two(kidneys: float) -> float:
    """1 for any number of kidneys but two."""
    return float(kidneys != 2)


KIDNEY: Final = (
    Term("expected_dice", -0.309, log_odds, 0.0),
    Term("margin", -10.947, identity, 0.5),
    Term("rough_dice", -2.082, identity, 0.5),
    Term("kidneys", 1.183, not_two, 0.0),
)
TUMOR: Final = (
    Term("expected_dice_tumor", -0.677, log_odds, NO_TUMOR),
    Term("margin", -5.062, identity, 0.5),
)
INTERCEPT: Final = {"kidney_risk": 8.196, "tumor_risk": 5.887}
EMPTY: Final = 0.5
"""The risk of a mask without a kidney."""


def judged(numbers: Mapping[str, float | None]) -> Flags:
    """Flags, risk and light of a prediction's numbers (`bisc.inference.signs`, `bisc.inference.certainty`).

    The light is the worst of all flags'. The risk is that of either mask being wrong: the kidneys' (Dice below 0.8), or
    the tumours' (one missed, one made up, or Dice below 0.8), the two taken for independent.
    """
    found = numbers["kidneys"] or 0.0
    risks = {
        name: risk_of(INTERCEPT[name], terms, numbers) if found else EMPTY
        for name, terms in (("kidney_risk", KIDNEY), ("tumor_risk", TUMOR))
    }
    risk = 1.0 - math.prod(1.0 - each for each in risks.values()) if found else EMPTY
    flags = tuple(flag_of(name, value) for name, value in {**numbers, **risks}.items())
    light = max((flag.level for flag in flags), key=LIGHTS.index)
    return Flags(light, round(risk, DECIMALS), flags)


def risk_of(intercept: float, terms: tuple[Term, ...], numbers: Mapping[str, float | None]) -> float:
    """The probability that a logistic model gives, 0 to 1."""
    total = intercept
    for term in terms:
        value = numbers.get(term.name)
        total += term.coefficient * (term.missing if value is None else term.of(value))
    return 1.0 / (1.0 + math.exp(-total))


def flag_of(name: str, value: float | None) -> Flag:
    """One number against its limits: the worst that it exceeds, or none."""
    limits = LIMITS.get(name, ())
    if value is None:
        return Flag(name, None, limits[0].amber if limits else None, "green", "could not be told")
    shown = float(f"{value:.{DIGITS}g}")
    for level in ("red", "amber"):
        for limit in limits:
            if limit.level(value) == level:
                beyond = limit.red if level == "red" else limit.amber
                return Flag(name, shown, beyond, limit.level(value), limit.words.format(value=value))
    return Flag(name, shown, limits[0].amber if limits else None, "green", "in order" if limits else "told alone")
