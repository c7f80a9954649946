"""A model in words, from its record alone: the model card, and what `bisc_model info` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bisc.core.errors import one_line
from bisc.inference.postprocessing import Postprocessing
from bisc.inference.record import ModelRecord, NetworkEntry, Score, Spread, TrainingData

NOT_STATED: Final = "not stated: ask whoever gave you the file"
SHOWN: Final = {
    "dice_kidney": "Dice, kidney with tumour",
    "dice_tumor": "Dice, tumour",
    "dice_composite": "Dice, mean of the two",
    "surface_dice_kidney": "surface Dice, kidney with tumour",
    "surface_dice_tumor": "surface Dice, tumour",
    "hd95_kidney_mm": "95 % Hausdorff distance, kidney with tumour (mm)",
    "hd95_tumor_mm": "95 % Hausdorff distance, tumour (mm)",
    "tumors_ref": "tumours of the reference, a case",
    "tumors_found": "tumours found, a case",
    "tumors_false": "tumours found that are none, a case",
}
"""The metrics of a card, in its order."""
DISCLAIMER: Final = "Research use, not a medical device."


def facts_of(record: ModelRecord) -> list[tuple[str, str]]:
    """What a model is, as pairs of a heading and a line."""
    plan = record.plan
    return [
        (
            "what",
            "a cascade of a rough and a fine SC-UNet that outlines kidneys (with tumour) and kidney tumours in CT",
        ),
        ("labels", "0 background, 1 kidney, 2 tumour"),
        ("made by", f"bisc-unet {record.package_version}, torch {record.torch_version}"),
        *((f"{stage} stage", _networks(record, stage)) for stage in ("rough", "fine")),
        ("fine stage's spacing", f"{_numbers(plan.target_spacing_mm_zyx)} mm (z, y, x)"),
        ("trained on", _trained_on(record.training)),
        ("labels there", record.training.label_note or "not stated"),
        *([] if record.postprocessing is None else [("post-processing", _postprocessing(record.postprocessing))]),
        ("licence", record.licence or NOT_STATED),
    ]


def info_lines(record: ModelRecord, sha256: str) -> list[str]:
    """What `bisc_model info` prints."""
    lines = [f"model file, format {record.format_version}", *(f"{head}: {text}" for head, text in facts_of(record))]
    for one in record.validation:
        lines.append(f"validation of fold {one.fold}, {one.decision}: {_brief(one.scores)}{_doubt(one.checked)}")
    lines += [f"tried on {trial.name}: {_brief(trial.scores)}" for trial in record.tried_on]
    lines += [f"note: {note}" for note in record.notes]
    lines += [f"SHA-256 of {entry.file}: {entry.sha256} ({entry.n_bytes} bytes)" for entry in record.networks]
    lines.append(f"SHA-256 of the file: {sha256}")
    return [one_line(line) for line in lines]


def card_of(record: ModelRecord) -> str:
    """The model card, Markdown; the same record gives the same text."""
    name = _cell(record.training.dataset)
    facts = [*facts_of(record), ("meant for", _meant_for()), ("not for", f"decisions on patients. {DISCLAIMER}")]
    parts = [
        f"# Model card: {name}",
        _table(("", ""), facts),
        "## What it was tried on",
        *_tried_on(record),
        "## What it was not tried on",
        _not_tried_on(record),
        "## Limits",
        _limits(record),
        *(["## Notes", *(f"{_cell(note)}" for note in record.notes)] if record.notes else []),
        "## Is the file whole?",
        "`bisc_model verify FILE` checks every byte of it and prints its SHA-256. That this is the published one, only "
        "the figure that stands where it was published can tell.",
    ]
    return "\n\n".join(parts) + "\n"


def _postprocessing(rule: Postprocessing) -> str:
    return f"{rule.words()}; the validation is told without it" if rule.smallest_tumor_ml else rule.words()


def _meant_for() -> str:
    return "research: first outlines for a person to correct, a start where no labels are, trying the software"


def _networks(record: ModelRecord, stage: str) -> str:
    """The networks of a stage; folds that are alike in one go."""
    kinds: dict[str, list[int]] = {}
    for entry in record.networks:
        if entry.stage == stage:
            kinds.setdefault(_network(entry), []).append(entry.fold)
    return "; ".join(f"fold {', '.join(map(str, sorted(folds)))}: {kind}" for kind, folds in kinds.items())


def _network(entry: NetworkEntry) -> str:
    how = [f"preset {entry.preset}"] if entry.preset else []
    how += [f"loss {entry.loss}"] if entry.loss else []
    how += [f"{entry.steps} steps"] if entry.steps else []
    packed = f", squares of {entry.packing} x {entry.packing} voxels as channels" if entry.packing > 1 else ""
    return (
        f"{entry.base_features} base features, {entry.norm} norm{packed}, patches of "
        f"{_numbers(entry.patch_size_zyx)} voxels{' (' + ', '.join(how) + ')' if how else ''}"
    )


def _trained_on(data: TrainingData) -> str:
    parts = [f"{data.dataset}, {data.n_cases} cases for training and validation together"]
    if data.n_with_tumor is not None:
        parts.append(f"{data.n_with_tumor} with a tumour")
    if data.n_simulated is not None:
        parts.append(f"{data.n_simulated} of them simulated ({data.simulation})")
    else:
        parts.append("real or simulated: not known")
    if data.spacing_mm_zyx is not None:
        parts.append(f"spacing {_spread(data.spacing_mm_zyx)} mm")
    if data.shape_zyx is not None:
        parts.append(f"{_spread(data.shape_zyx)} voxels (z, y, x)")
    return "; ".join(parts)


def _tried_on(record: ModelRecord) -> list[str]:
    if not record.validation and not record.tried_on:
        return ["Nothing that this file knows of: no validation was there when it was exported, no figures were given."]
    parts = []
    if record.validation:
        parts.append(
            "**Validation**: cases of the same data set that the fold's networks did not learn from, through the whole "
            "cascade of that fold. The offsets of the decision 'calibrated' were fitted on these same cases, so its "
            "figures are a little too good."
        )
    for one in record.validation:
        title = f"Fold {one.fold}, decision {one.decision}{_doubt(one.checked)}"
        parts.append(f"{title}{_failed(one.n_failed)}:\n\n{_scores(one.scores)}")
    if record.tried_on:
        parts.append("**Other evaluations**, as given by whoever exported the model:")
    parts += [f"{_cell(t.name)}{_failed(t.n_failed)}:\n\n{_scores(t.scores)}" for t in record.tried_on]
    return parts


def _not_tried_on(record: ModelRecord) -> str:
    simulated = record.training.n_simulated is not None
    if simulated and not record.tried_on:
        first = "Any CT of a patient: all cases above are simulated."
    elif not record.tried_on:
        first = "Scans of other hospitals, scanners and protocols than the training data's: all cases above are of it."
    else:
        first = "Whatever is not named above."
    return (
        f"{first} Nothing above says how it does on children, on transplanted or operated kidneys, on disease "
        "of other organs in and beside the kidneys, on motion, or on metal near them."
    )


def _limits(record: ModelRecord) -> str:
    clip = record.plan.intensity
    limits = [
        "Take every mask for a proposal and every tumour for a doubt: a person has to look at both.",
        f"It reads CT in HU alone, and tells apart what lies from {clip.clip_low_hu:g} to {clip.clip_high_hu:g} HU.",
        "At most two kidneys are outlined (one, where they are fused); what lies apart from them is left out.",
        "Cysts count as kidney, unless the labels above say otherwise.",
    ]
    if record.training.n_simulated is not None:
        limits.append("It has learnt from simulated scans: what the simulator does not draw, it has never seen.")
    return "\n".join(f"- {limit}" for limit in limits)


def _scores(scores: Sequence[Score]) -> str:
    by_metric = {score.metric: score for score in scores}
    rows = [
        (text, _figure(s.mean), _figure(s.std), _figure(s.median), str(s.n))
        for metric, text in SHOWN.items()
        if (s := by_metric.get(metric)) is not None
    ]
    return _table(("measure", "mean", "deviation", "median", "cases"), rows)


def _brief(scores: Sequence[Score]) -> str:
    by_metric = {score.metric: score for score in scores}
    told = [
        f"{word} {_figure(by_metric[metric].mean)} ({by_metric[metric].n} cases)"
        for metric, word in (("dice_kidney", "Dice kidney"), ("dice_tumor", "Dice tumour"))
        if metric in by_metric
    ]
    return ", ".join(told) or "no Dice"


def _doubt(checked: bool) -> str:
    return "" if checked else " (the results folder did not say of which weights these figures are)"


def _failed(n: int) -> str:
    return f", {n} cases failed or missing" if n else ""


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _spread(spread: Spread) -> str:
    least, median, most = (_numbers(v) for v in (spread.least, spread.median, spread.most))
    return f"{least} to {most}, median {median}"


def _numbers(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """What others wrote, so that it changes nothing of the page: no new line, column or tag."""
    return one_line(text).replace("|", "\\|").replace("<", "&lt;")
