"""Tables of our own, read again: as they were written, or as Excel saved them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def open_table(path: Path) -> Iterator[csv.DictReader[str]]:
    """The rows of a CSV file with a header; Excel's byte order mark before it is passed over.

    Raises:
        ValueError: If its columns are separated by semicolons: then numbers may have commas too.
        OSError: If it cannot be read.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file)
        names = table.fieldnames or ()
        if len(names) == 1 and ";" in names[0]:
            raise ValueError("columns between semicolons, as Excel saves them: save it with commas, decimal points too")
        yield table
