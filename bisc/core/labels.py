"""The label values of KiTS19 and the regions the metrics speak of."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

BACKGROUND: Final = 0
KIDNEY: Final = 1
TUMOR: Final = 2
CYST: Final = 3
"""KiTS21/23 label cysts 3; KiTS19, whose convention this package keeps, counted them as kidney."""

N_CLASSES: Final = 3
MIN_KIDNEY_ML: Final = 5.0
"""A connected foreground component of at least this volume may be a kidney; a smaller one is a speck."""
MAX_KIDNEY_ML: Final = 2500.0
"""Kidneys and tumours above this are doubted: the most in 167 KiTS19 label maps is 1962 ml (case_00114). Polycystic
kidneys, of which KiTS19 has none, can be larger."""
MAX_KIDNEYS: Final = 2
"""Nobody has more: a third region is false, or part of another."""
CONNECT_26: Final = np.ones((3, 3, 3), dtype=bool)
"""Voxels that share a face, an edge or a corner belong to one component."""
HALF_LENGTH_MM: Final = 55.0
"""Half the median length along z of the 331 kidneys of KiTS19's 167 maps here."""


LABEL_MASK: Final = 0b0011
KIDNEY_EDGE_BIT: Final = 0b0100
TUMOR_EDGE_BIT: Final = 0b1000


def pack_targets(
    labels: npt.NDArray[np.uint8], kidney_edge: npt.NDArray[np.bool_], tumor_edge: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    """One uint8 per voxel: label in the two low bits, kidney edge in bit 2, tumour edge in bit 3."""
    packed = labels.astype(np.uint8)
    packed[kidney_edge] |= np.uint8(KIDNEY_EDGE_BIT)
    packed[tumor_edge] |= np.uint8(TUMOR_EDGE_BIT)
    return packed


def labels_of(packed: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The labels 0, 1, 2 of packed targets."""
    return packed & np.uint8(LABEL_MASK)
