"""Types of values in stored documents, with the limits past which no scan, network or machine lies.

msgspec checks them when a document is read: a plan edited by hand fails by its key, not by an exhausted memory.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

Count = Annotated[int, Meta(ge=1, le=10**9)]
Amount = Annotated[float, Meta(ge=0.0, le=1e9)]
SpacingMm = Annotated[float, Meta(ge=1e-3, le=1e3)]
Hounsfield = Annotated[float, Meta(ge=-1e5, le=1e5)]
Deviation = Annotated[float, Meta(ge=1e-3, le=1e5)]
"""It divides; zero would make every voxel infinite."""
Edge = Annotated[int, Meta(ge=8, le=2048, multiple_of=8)]
"""Of a region that a network sees: three poolings halve it three times."""
Batch = Annotated[int, Meta(ge=1, le=1024)]
Features = Annotated[int, Meta(ge=1, le=128)]
"""128 features are 16 times the paper's 32: 371 MB of weights."""
Norm = Literal["batch", "instance"]
"""Of a network: batch norm folds into the convolutions and wants batches of 4 or more; instance norm learns at any."""
Packing = Literal[1, 2]
"""Side of the squares of a slice whose voxels a network takes as channels; 1: none."""
MULTIPLE: Final = 16
"""Edges of what a network sees are multiples of this many voxels: twice what three poolings need."""
Word = Annotated[str, Meta(max_length=60, pattern=r"^[\w .+-]*$")]
"""Printed as it stands."""
