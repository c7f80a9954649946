"""What a user may choose by name: known without torch, whose import takes seconds, so that parsers are quick."""

from __future__ import annotations

from typing import Final, Literal, get_args

Edges = Literal["branches", "heads", "off"]
EDGES: Final[tuple[Edges, ...]] = get_args(Edges)
"""Where a network learns the outlines of kidney and tumour: in branches of their own (the paper's), by a classifier on
the region branch's features, or not at all."""

OptimizerName = Literal["adam", "muon"]

PRECISIONS: Final = ("auto", "fp32", "bf16", "fp16")

Decision = Literal["argmax", "calibrated"]
DECISIONS: Final[tuple[Decision, ...]] = get_args(Decision)
DEFAULT_DECISION: Final[Decision] = "calibrated"
"""Gave the better composite Dice in the runs so far (docs/lab/losses.md, docs/lab/demo.md)."""

TrackerName = Literal["tensorboard", "mlflow"]
TRACKERS: Final[tuple[TrackerName, ...]] = get_args(TrackerName)
"""What shows the curves of a training beside its own log; extras of the same names install them."""

Stage = Literal["rough", "fine"]
STAGES: Final[tuple[Stage, ...]] = get_args(Stage)

Phase = Literal["late", "early", "plain"]
PHASES: Final[tuple[Phase, ...]] = get_args(Phase)
"""Of contrast medium, the preferred first: venous, nephrographic or excretory; arterial; without any."""

Form = Literal["nifti", "dicomseg", "both"]
FORMS: Final[tuple[Form, ...]] = get_args(Form)
"""What masks are written as."""

DicomExtra = Literal["sr", "capture", "rtstruct"]
DICOM_EXTRAS: Final[tuple[DicomExtra, ...]] = get_args(DicomExtra)
"""What is written beside a DICOM SEG: a structured report, a picture (secondary capture), contours."""

MeshForm = Literal["stl", "glb", "obj"]
MESH_FORMS: Final[tuple[MeshForm, ...]] = get_args(MeshForm)
"""What surfaces are written as."""

MeshSpace = Literal["LPS", "RAS"]
MESH_SPACES: Final[tuple[MeshSpace, ...]] = get_args(MeshSpace)
"""Whether x and y of a mesh grow to the patient's left and back, or right and front; z grows to the head."""
