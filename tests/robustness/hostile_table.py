"""The table in docs/reference/hostile_input.md, made from the kinds themselves; run as a script, this renews it."""

from __future__ import annotations

from pathlib import Path

from tests.robustness.hostile_datasets import BAD_CASES, BAD_PREDICTIONS, ODD_CASES, ODD_PREDICTIONS
from tests.robustness.hostile_images import BAD_IMAGES, ODD_IMAGES
from tests.robustness.hostile_kinds import CaseKind, RunKind
from tests.robustness.hostile_model_files import MODEL_FILES
from tests.robustness.hostile_models import MODELS
from tests.robustness.hostile_places import PLACES
from tests.robustness.hostile_scoring import FLAGS, SCORING
from tests.robustness.hostile_training import TRAINING
from tests.robustness.hostile_usage import DATA_SETS

CASE_KINDS: tuple[tuple[str, tuple[CaseKind, ...]], ...] = (
    ("predict", BAD_IMAGES),
    ("predict", ODD_IMAGES),
    ("plan_and_preprocess", BAD_CASES),
    ("plan_and_preprocess", ODD_CASES),
    ("evaluate", BAD_PREDICTIONS),
    ("evaluate", ODD_PREDICTIONS),
)
RUN_KINDS: tuple[RunKind, ...] = (*MODELS, *MODEL_FILES, *PLACES, *DATA_SETS, *TRAINING, *SCORING, *FLAGS)
TITLE = "## The table"


def markdown() -> str:
    """From the table's title to the end of the page."""
    rows = [(k.name, f"bisc_{c}", k.told, 2 if k.told or k.lines > 1 else 0) for c, kinds in CASE_KINDS for k in kinds]
    rows += [(k.name, f"bisc_{k.command}", k.told, k.status) for k in RUN_KINDS]
    lines = ["| kind | command | what the user is told | status |", "| --- | --- | --- | --- |"]
    for name, command, told, status in rows:
        shown = f"... {told} ..." if told else "a line for each file" if status else "nothing: it is fine"
        lines.append(f"| {_cell(name)} | {command} | {_cell(shown)} | {status} |")
    bad = sum(1 for row in rows if row[3])
    title = f"{TITLE}: {len(rows)} kinds, {bad} refused in plain words, {len(rows) - bad} odd but fine"
    return f"{title}\n\n" + "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("`", "")


if __name__ == "__main__":
    page = Path(__file__).parents[2] / "docs" / "reference" / "hostile_input.md"
    page.write_text(page.read_text(encoding="utf-8").partition(TITLE)[0] + markdown(), encoding="utf-8")
