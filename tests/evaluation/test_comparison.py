"""Which rows belong together, what is refused, and what a comparison says in words, notes and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bisc.core.errors import InputError
from bisc.evaluation.aggregate import merge_reports, to_frame
from bisc.evaluation.answers import case_table, in_words, measure_table, notes, sentence, volume_table
from bisc.evaluation.cases import CaseScores, unscored
from bisc.evaluation.comparison import BY_NAME, MEASURES, ComparedPair, adjust, compare_pair, primary_row, size_class
from bisc.evaluation.matched import Matched, Run, match
from tests.support.reports import SOUND, simulated_run

A, B = Path("a.csv"), Path("b.csv")


def row(case: str, **values: object) -> CaseScores:
    return replace(SOUND, case=case, **values)  # type: ignore[arg-type]


def matched(a: Sequence[CaseScores], b: Sequence[CaseScores], worst: bool = False) -> Matched:
    return match(Run("a", A, to_frame(a)), Run("b", B, to_frame(b)), worst)


def compared(a: Sequence[CaseScores], b: Sequence[CaseScores], worst: bool = False) -> ComparedPair:
    (pair,) = adjust([compare_pair("a", "b", matched(a, b, worst))])
    return pair


def test_rows_meet_by_case_whatever_their_order() -> None:
    found = matched([row("2", dice_tumor=0.2), row("1"), row("x")], [row("1"), row("2", dice_tumor=0.3), row("y")])
    assert list(found.rows) == ["1", "2"]
    assert [r.values["dice_tumor"] for r in found.rows["2"]] == [0.2, 0.3]
    assert (found.only_a, found.only_b, found.other_fold) == (("x",), ("y",), ())


def folded(*folds: tuple[int, Sequence[CaseScores]]) -> Run:
    return Run("a", A, merge_reports([(fold, to_frame(rows)) for fold, rows in folds]))


def test_folds_meet_folds_where_both_have_them() -> None:
    """A network of another fold had seen other patients; a report without folds meets any."""
    first = folded((0, [row("1")]), (1, [row("2")]))
    second = folded((0, [row("1"), row("2")]))
    found = match(first, second)
    assert (list(found.rows), found.other_fold) == (["1"], ("2",))
    assert found.rows["1"][0].fold == 0
    assert list(match(first, Run("b", B, to_frame([row("1"), row("2")]))).rows) == ["1", "2"]
    with pytest.raises(InputError, match="in other folds"):
        match(folded((0, [row("1")])), folded((1, [row("1")])))


@pytest.mark.parametrize(
    "changed",
    [{"volume_tumor_ref_ml": 20.01}, {"volume_kidney_ref_ml": 299.9}, {"tumors_ref": 2}, {"volume_tumor_ref_ml": 0.0}],
)
def test_another_reference_is_refused(changed: dict[str, float]) -> None:
    """Whatever of it a report holds, in one case of many; what six digits round is none."""
    others = [row(str(i)) for i in range(5)]
    with pytest.raises(InputError, match=r"b\.csv: scored against another reference than a\.csv: .* of 9 is"):
        matched([*others, row("9")], [*others, row("9", **changed)])
    matched([row("9", volume_tumor_ref_ml=20.0001)], [row("9", volume_tumor_ref_ml=20.0002)])


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([row("1"), row("1")], "1 twice or more"),
        ([row(" ")], "without a case's name"),
        ([], "holds no case"),
        ([row("1", dice_tumor=80.0)], "dice_tumor 80 of 1"),
        ([row("1", dice_kidney=math.inf)], "dice_kidney inf of 1"),
        ([row("1", volume_tumor_pred_ml=-1.0)], "volume_tumor_pred_ml -1 of 1"),
        ([row("1", volume_tumor_pred_ml=math.inf)], "volume_tumor_pred_ml inf of 1"),
    ],
)
def test_what_no_report_holds_is_refused(rows: list[CaseScores], found: str) -> None:
    with pytest.raises(InputError, match=found):
        Run("a", A, to_frame(rows))
    Run("a", A, to_frame([row("1", hd95_tumor_mm=math.inf)]))


def test_nothing_in_common() -> None:
    with pytest.raises(InputError, match=r"b\.csv: no case is among those of a\.csv"):
        matched([row("1")], [row("2")], worst=True)


def test_what_is_missing_counts_as_the_worst() -> None:
    """As bisc_evaluate has it, but for the image's diagonal, which a report of the other run does not hold."""
    both = [row("1"), row("2")]
    assert len(matched([*both, row("x")], both).rows) == 2
    mine, theirs = matched([*both, row("x")], both, worst=True).rows["x"]
    assert mine.status == "ok"
    assert theirs.status == "missing"
    assert (theirs.values["dice_tumor"], theirs.values["surface_dice_kidney"]) == (0.0, 0.0)
    assert theirs.values["hd95_tumor_mm"] == math.inf
    assert theirs.values["volume_tumor_ref_ml"] == 20.0
    lost = row("x", status="missing", dice_tumor=0.0, hd95_tumor_mm=600.0)
    assert matched([*both, lost], both, worst=True).rows["x"][1].values["hd95_tumor_mm"] == 600.0
    empty = matched([*both, unscored("x")], both, worst=True).rows["x"][1]
    assert math.isnan(empty.values["dice_tumor"])


def test_every_measure_of_report_is_compared() -> None:
    """But for the reference's own numbers, which both share, and volumes, whose error is."""
    own = {name for name in SOUND.__dataclass_fields__ if name not in ("case", "status", "tumors_ref")}
    assert {m.name for m in MEASURES if "error" not in m.name} == {name for name in own if "volume" not in name}


def test_words_by_hand() -> None:
    """Eight patients, each better by 0.1 in Dice and by 2 mm in HD95, and the same in the rest."""
    a = [row(str(i), dice_tumor=0.5, hd95_tumor_mm=8.0) for i in range(8)]
    b = [row(str(i), dice_tumor=0.6, hd95_tumor_mm=6.0) for i in range(8)]
    there, back = compared(a, b), compared(b, a)
    assert in_words(primary_row(there, "dice_tumor")) == "b is better by 0.100 (0.100 to 0.100)"
    assert in_words(primary_row(back, "dice_tumor")) == "a is better by 0.100 (0.100 to 0.100)"
    assert in_words(primary_row(there, "hd95_tumor_mm")) == "b is better by 2.0 mm (2.0 to 2.0)"
    assert in_words(primary_row(there, "dice_kidney")) == "the same in each"
    assert sentence(primary_row(there, "dice_tumor")) == (
        "b's tumour Dice is higher by 0.100 (95 % interval 0.100 to 0.100; p = 0.0078) over 8 patients than a's: "
        "b is better."
    )
    assert sentence(primary_row(back, "hd95_tumor_mm")).endswith("over 8 patients than a's: b is worse.")
    assert "is the same for a and b over 8 patients" in sentence(primary_row(there, "dice_kidney"))
    few = compared(a[:3], b[:3])
    assert in_words(primary_row(few, "dice_tumor")) == "3 patients, too few to show anything: b ahead by 0.100"
    assert sentence(primary_row(few, "dice_tumor")).endswith("too few for an interval: nothing is shown.")


def test_a_difference_that_is_not_shown_is_called_none() -> None:
    pair = compared(simulated_run(40, 1), simulated_run(40, 2))
    assert in_words(primary_row(pair, "dice_tumor")).startswith("none shown to be better: ")
    assert "does not show them to be equal" in sentence(primary_row(pair, "dice_tumor"))
    better = compared(simulated_run(40, 1), simulated_run(40, 2, gain=0.05))
    assert in_words(primary_row(better, "dice_tumor")).startswith("b is better by 0.0")
    with pytest.raises(InputError, match="--primary: dice"):
        primary_row(pair, "dice")


def test_nothing_vanishes_without_a_word() -> None:
    """Infinite distances, rows without a value, missing predictions, cases of one run alone."""
    a = [*(row(str(i)) for i in range(6)), row("inf", hd95_tumor_mm=math.inf), row("x"), unscored("none")]
    lost = row("5", status="missing", dice_tumor=0.0, volume_tumor_pred_ml=0.0)
    b = [*(row(str(i)) for i in range(5)), lost, row("inf"), row("none")]
    pair = compared(a, b)
    said = "\n".join(notes(pair))
    assert "only a has 1 case, left out: x" in said
    assert "b has no usable prediction of 1 of 8 cases" in said
    assert "no value in a or b, so in no comparison: none" in said
    assert "tumour HD95: 1 of 7 pairs infinite" in said
    hd95 = primary_row(pair, "hd95_tumor_mm")
    assert (hd95.result.n_pairs, hd95.result.n, hd95.result.n_without_value, hd95.result.n_infinite) == (8, 7, 1, 1)
    assert in_words(hd95) == "1 pair infinite, so no mean: b is better in 1, worse in 0"
    assert "cannot be compared by its mean" in sentence(hd95)
    assert {volumes.n_left_out for volumes in pair.volumes} == {2}
    assert {volumes.result.limits.n for volumes in pair.volumes} == {6}
    table = case_table([pair]).set_index("case")
    assert table.loc["x", "status_b"] == "absent"
    worst = "\n".join(notes(compared(a, b, worst=True), missing_as_worst=True))
    assert "only a has 1 case, counted with the worst scores for b: x" in worst
    assert "2 of 8 pairs infinite" in worst


def test_the_same_numbers_twice_are_pointed_out() -> None:
    rows = [row(str(i)) for i in range(20)]
    pair = compared(rows, rows)
    assert notes(pair) == ["a and b hold the same numbers: are they one run?"]
    assert {r.result.p for r in pair.measures} == {1.0}


def test_classes_of_size_by_hand() -> None:
    """A ball of 4 cm has 33.51 ml, one of 7 cm 179.59 ml."""
    volumes = {"n": 0.0, "a": 33.5, "b": 33.6, "c": 179.5, "d": 179.7}
    rows = [row(case, volume_tumor_ref_ml=ml) for case, ml in volumes.items()]
    pair = compared(rows, [replace(r, dice_tumor=0.9) for r in rows])
    counted = {r.cases: r.result.n for r in pair.sizes if r.measure.name == "dice_tumor"}
    assert counted == {"no tumour": 1, "up to 4 cm": 1, "over 4 to 7 cm": 2, "over 7 cm": 1}
    assert size_class(math.nan) == ""
    assert all(math.isnan(r.p_holm) for r in pair.sizes)


def test_tables_are_tidy_and_p_is_adjusted_over_all_of_them() -> None:
    runs = [Run(f"run{i}", A, to_frame(simulated_run(25, i, 0.02 * i))) for i in range(3)]
    pairs = adjust([compare_pair("run0", run.name, match(runs[0], run)) for run in runs[1:]])
    table = measure_table(pairs, "dice_tumor")
    assert len(table) == 2 * len(MEASURES) == len(table[["a", "b", "metric"]].drop_duplicates())
    assert list(table.loc[table["primary"] == "yes", "metric"]) == ["dice_tumor"] * 2
    assert table["p_holm"].min() == pytest.approx(min(1.0, len(table) * table["p"].min()))
    assert (table["p_holm"] >= table["p"]).all()
    cases = case_table(pairs)
    dice = cases[(cases["metric"] == "dice_tumor") & (cases["b"] == "run2")]
    assert len(dice) == 25
    difference = table[(table["metric"] == "dice_tumor") & (table["b"] == "run2")]["difference"]
    assert dice["difference"].mean() == pytest.approx(float(difference.iloc[0]))
    volumes = volume_table(pairs)
    assert len(volumes) == 2 * 2 * 3
    tumor = volumes[volumes["organ"] == "tumor"]
    assert set(tumor["spread_grows"]) >= {"yes"}
    assert pd.notna(tumor["ratio_upper"]).all()


def test_volume_errors_are_sizes() -> None:
    (x, _) = matched([row("1", volume_tumor_pred_ml=15.0)], [row("1")]).rows["1"]
    assert BY_NAME["volume_error_tumor_ml"].of(x) == 5.0
    assert BY_NAME["volume_error_kidney_ml"].of(x) == 10.0
