"""The label values of KiTS19 and the regions the metrics speak of."""

from __future__ import annotations

from typing import Final

BACKGROUND: Final = 0
KIDNEY: Final = 1
TUMOR: Final = 2
CYST: Final = 3
"""KiTS21/23 label cysts 3; KiTS19, whose convention this package keeps, counted them as kidney."""

CLASS_NAMES: Final = ("background", "kidney", "tumor")
N_CLASSES: Final = 3
MIN_KIDNEY_ML: Final = 5.0
"""A connected foreground component of at least this volume is taken for a kidney when data sets are measured."""
