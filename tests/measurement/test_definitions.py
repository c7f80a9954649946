"""Every measure is defined, documented and written."""

from __future__ import annotations

import re
from pathlib import Path

from bisc.measurement.definitions import OF
from bisc.measurement.table import COLUMNS, NAMES, RANGED


def test_every_measure_stands_in_the_reference(repository: Path) -> None:
    page = (repository / "docs" / "reference" / "measurements.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`([a-z0-9_]+)`", page))
    missing = [name for name in NAMES if name not in told and name not in ("dap_d", "dap_a", "dap_p")]
    assert not missing
    assert all(f"{letter}: " in page or f"{letter} (proxy): " in page for letter in "DAP")


def test_names_carry_their_units_and_columns_are_once() -> None:
    assert len(set(COLUMNS)) == len(COLUMNS)
    assert set(RANGED) <= set(NAMES)
    for definitions in OF.values():
        for name, one in definitions.items():
            assert one.name == name
            ending = {"%": "percent", "": ""}.get(one.unit, one.unit)
            assert name.endswith(f"_{ending}") if ending else not name.endswith(("_mm", "_ml", "_cm2", "_percent"))
            assert one.meaning.endswith(".")
