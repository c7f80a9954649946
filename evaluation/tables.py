"""Tables for people: Markdown, and plain text for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bisc.evaluation.aggregate import summarise
from bisc.system.files import write_text


def to_markdown(table: pd.DataFrame) -> str:
    """A pipe table, every cell as its text; the header alone where there is no row."""
    header = [str(name) for name in table.columns]
    rows = [[str(cell).replace("|", "\\|") for cell in row] for row in table.itertuples(index=False)]
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_table(stem: Path, table: pd.DataFrame, title: str) -> list[Path]:
    """Write a table as STEM.csv and, under a line with its title, STEM.md; returns both paths."""
    csv_path, markdown_path = stem.with_suffix(".csv"), stem.with_suffix(".md")
    write_text(csv_path, table.to_csv(index=False, lineterminator="\n"))
    write_text(markdown_path, f"{title}\n\n{to_markdown(table)}")
    return [csv_path, markdown_path]


def remove_table(stem: Path) -> None:
    """Remove what `write_table` left of a run before."""
    for suffix in (".csv", ".md"):
        stem.with_suffix(suffix).unlink(missing_ok=True)


def summary_text(report: pd.DataFrame) -> str:
    """What the terminal shows: how many cases of which status, what of them is in the means, and the summary."""
    counts = report["status"].value_counts()
    statuses = ", ".join(f"{counts[status]} {status}" for status in ("ok", "missing", "failed") if status in counts)
    n = len(report)
    head = "\n".join([f"{n} case{'' if n == 1 else 's'} ({statuses})", *_failed(report)])
    rows = [["metric", "mean", "std", "median", "n"]]
    rows += [
        [str(row.metric), _number(row.mean), _number(row.std), _number(row.median), str(row.n)]
        for row in summarise(report).itertuples(index=False)
    ]
    return f"{head}\n{align(rows)}"


def _failed(report: pd.DataFrame) -> list[str]:
    """How many cases failed, where any did, and whether the means hold them."""
    failed = report["status"] != "ok"
    unscored = int((failed & report["dice_kidney"].isna()).sum())
    n_failed, n = int(failed.sum()), len(report)
    if not n_failed:
        return []
    worst = f"{n_failed - unscored} with the worst scores" if n_failed > unscored else ""
    out = f"{unscored} in no mean, since there was nothing to score against: the means are those of the others"
    return [f"{n_failed} of {n} cases failed: {'; '.join(part for part in (worst, out if unscored else '') if part)}"]


def align(rows: Sequence[Sequence[str]]) -> str:
    """Columns of text, the first to the left and the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _number(value: object) -> str:
    number = float(str(value))
    return "-" if math.isnan(number) else f"{number:.3f}"
