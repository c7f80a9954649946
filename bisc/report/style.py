"""The colours and the style sheet that figures, charts and pages share."""

from __future__ import annotations

from typing import Final

KIDNEY_COLOUR: Final = "#56B4E9"
TUMOR_COLOUR: Final = "#FFB000"
"""Sky blue and amber (after Okabe and Ito): told apart with any colour blindness, and both on grey CT."""

CANVAS_COLOUR: Final = "#000000"
TEXT_COLOUR: Final = "#F2F2F2"
FAINT_COLOUR: Final = "#A8ADB3"

STAGE_NAMES: Final = {"rough": "Rough", "fine": "Fine", "reference": "Reference"}
METRIC_NAMES: Final = {
    "dice_kidney": "Dice kidney",
    "dice_tumor": "Dice tumour",
    "kidney": "Kidney, ml",
    "tumor": "Tumour, ml",
}
STATUS_NAMES: Final = {
    "ok": "ok",
    "one_kidney": "one kidney",
    "no_kidney": "no kidney found",
    "failed": "failed",
}

STYLESHEET: Final = """
:root { color-scheme: light dark;
  --page: #f4f6f8; --card: #fff; --ink: #17202a; --faint: #5b6775; --line: #dde3e9;
  --accent: #0b5cad; --kidney: #0072b2; --tumor: #b85300; --rough: #7b8794;
  --good: #12683a; --good-bg: #dff3e6;
  --warn: #7a4a00; --warn-bg: #fdecc8; --bad: #9b1c1c; --bad-bg: #fbdcdc; }
@media (prefers-color-scheme: dark) { :root {
  --page: #0e1217; --card: #171d24; --ink: #e8edf2; --faint: #9aa7b4;
  --line: #2b343e; --accent: #7ab8f5; --kidney: #56b4e9; --tumor: #ffb000; --rough: #93a1ae;
  --good: #8fe0b0; --good-bg: #143524;
  --warn: #ffd48a; --warn-bg: #3d2c0b; --bad: #ffb0b0; --bad-bg: #431a1a; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main, footer { max-width: 80rem; margin: 0 auto; padding: 0 1.25rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 2rem 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .7rem; }
h3 { font-size: 1.05rem; margin: 0; overflow-wrap: anywhere; }
a { color: var(--accent); text-underline-offset: .15em; }
.lead { font-size: 1.1rem; color: var(--faint); max-width: 46rem; margin: 0 0 1.2rem; }
.note { color: var(--faint); font-size: .88rem; margin: .5rem 0 0; max-width: 52rem; }
.panel { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.15rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(11.5rem, 1fr)); gap: .8rem 1.4rem;
  margin: 0; }
.facts dt { color: var(--faint); font-size: .82rem; }
.facts dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .38rem .7rem; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
thead th { white-space: normal; }
th { font-size: .82rem; font-weight: 600; color: var(--faint); vertical-align: bottom; }
tbody tr:last-child > * { border-bottom: 0; }
th:first-child, td:first-child { padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
.num { text-align: right; }
tbody th { color: var(--ink); font-size: inherit; white-space: normal; }
tbody th, td { vertical-align: baseline; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; margin-top: 1rem; }
.charts figure { flex: 1 1 21rem; min-width: 0; margin: 0; }
.charts figcaption { font-weight: 600; font-size: .95rem; }
.charts svg { display: block; width: 100%; max-width: 34rem; height: auto; }
svg text { fill: var(--faint); font-size: 12px; font-family: inherit; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .rough { fill: var(--card); stroke: var(--rough); stroke-width: 1.8; }
svg .kidney { fill: var(--kidney); } svg .tumor { fill: var(--tumor); }
svg line.kidney { stroke: var(--kidney); } svg line.tumor { stroke: var(--tumor); }
svg line.join { stroke-width: 2; stroke-opacity: .45; }
.cases { display: grid; gap: 1.1rem; }
.case header { display: flex; flex-wrap: wrap; align-items: center; gap: .4rem .7rem; margin-bottom: .7rem; }
.case { display: grid; grid-template-columns: minmax(0, 1fr); gap: .2rem; scroll-margin-top: 1rem; }
.case img { display: block; width: 100%; height: auto; border-radius: 6px; background: #000; }
.case .scroll { margin-top: .6rem; max-width: 38rem; }
.badge { font-size: .8rem; font-weight: 600; border-radius: 99px; padding: .08rem .65rem;
  white-space: nowrap; }
.good { color: var(--good); background: var(--good-bg); }
.warn { color: var(--warn); background: var(--warn-bg); }
.bad { color: var(--bad); background: var(--bad-bg); }
.files { margin: 0; padding-left: 1.1rem; }
footer { color: var(--faint); font-size: .88rem; padding-top: 1.4rem; padding-bottom: 2rem; }
@media (max-width: 40rem) { main, footer { padding: 0 .8rem; } footer { padding: 1.2rem .8rem 2rem; }
  h1 { font-size: 1.5rem; margin-top: 1.2rem; } .lead { font-size: 1rem; } .panel { padding: .8rem .8rem; }
  th, td { padding: .34rem .3rem; } td { white-space: normal; } table { font-size: .87rem; }
  th { font-size: .78rem; }
  .facts { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .case .view { overflow-x: auto; } .case .view img { width: 56rem; max-width: none; } }
@media print { @page { margin: 14mm; } :root { color-scheme: light;
  --page: #fff; --card: #fff; --ink: #000; --faint: #444;
  --line: #bbb; --accent: #000; --kidney: #0072b2; --tumor: #b85300; --rough: #667;
  --good: #000; --good-bg: #fff; --warn: #000; --warn-bg: #fff; --bad: #000; --bad-bg: #fff; }
  body { font-size: 11pt; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  .panel, figure, tr { break-inside: avoid; } .panel { border-color: #bbb; }
  .badge { border: 1px solid #999; }
  h2 { break-after: avoid; } main, footer { max-width: none; padding-left: 0; padding-right: 0; }
  .case .view img { width: 100%; } }
"""
