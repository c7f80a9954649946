"""Presets: each one is loaded and trains; what they promise is what a run gets."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from bisc.cli.train import main
from bisc.core.choices import STAGES, Stage
from bisc.core.errors import InputError
from bisc.network.checkpoint import load_checkpoint
from bisc.network.device import choose_device
from bisc.planners.dataset import load_plan
from bisc.planners.plan import Plan, StagePlan
from bisc.trainers import loop
from bisc.trainers.optimizers import learning_rate
from bisc.trainers.presets import PRESETS, Preset, preset_by_name
from bisc.trainers.settings import DEFAULT_SEED, RunSettings, run_settings, to_plain
from bisc.trainers.stages import TRAINERS, Trainer
from tests.support.training_fixtures import NAME, planned, use_one_thread

use_one_thread()


@pytest.fixture(scope="module")
def planned_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planned(tmp_path_factory)


@pytest.fixture(scope="module")
def plan(planned_home: Path) -> Plan:
    return load_plan(planned_home / "preprocessed" / NAME)


def test_papers_settings_say_that_better_ones_exist(
    planned_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line where they train; none of another preset."""
    monkeypatch.setenv("BISC_PREPROCESSED", str(planned_home / "preprocessed"))
    monkeypatch.setenv("BISC_RESULTS", str(tmp_path))
    monkeypatch.setattr(Trainer, "run", lambda self, resume: self.folder)
    assert main(["rough", "0", "-d", NAME, "--no-validation", "--device", "cpu"]) == 0
    assert capsys.readouterr().err.count("--preset best learns more in the same time") == 1
    assert main(["rough", "0", "-d", NAME, "--no-validation", "--device", "cpu", "--preset", "best"]) == 0
    assert "preset best" not in capsys.readouterr().err


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_each_preset_trains_each_stage(
    planned_home: Path,
    plan: Plan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    stage: Stage,
) -> None:
    """One step on small patches with a narrow network; all else is the preset's."""
    monkeypatch.setattr(loop, "VALIDATION_BATCHES", 1)
    settings = run_settings(plan, stage, 1, preset_by_name(name), "fp32", epochs=1, iterations=1)
    z, y, x = (min(n, 32) for n in settings.patch_size_zyx)
    small = replace(settings, patch_size_zyx=(16, y, x), batch_size=min(settings.batch_size, 4), base_features=4)
    device = choose_device("cpu", "fp32")
    folder = TRAINERS[stage](small, planned_home / "preprocessed" / NAME, tmp_path, device).run()
    assert folder == tmp_path / stage / "fold_1"
    checkpoint = load_checkpoint(folder / "checkpoint_last.pt")
    assert checkpoint.step == 1
    assert checkpoint.settings == to_plain(small)
    assert checkpoint.settings["preset"] == name
    assert np.isfinite(checkpoint.rows[0]["train_loss"])
    assert z % 8 == 0


def test_the_papers_preset_is_the_papers() -> None:
    """Adam 1e-4, 20 epochs of 4000 iterations, balanced cross-entropy, mirroring in all directions, no caps."""
    paper = preset_by_name("paper")
    assert (paper.schedule, paper.mirror_axes) == ("constant", (0, 1, 2))
    assert (paper.rough.learning_rate, paper.fine.learning_rate) == (1e-4, 1e-4)
    for stage in (paper.rough, paper.fine):
        assert (stage.loss, stage.epochs, stage.iterations) == ("balanced_ce", 20, 4000)
        assert (stage.max_batch, stage.max_features, stage.max_patch_zyx) == (None, None, None)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_is_plain_data(name: str) -> None:
    """It survives JSON, and refuses keys it does not know."""
    preset = PRESETS[name]
    raw = msgspec.json.encode(preset)
    assert msgspec.json.decode(raw, type=Preset) == preset
    assert preset.name == name
    assert 0 <= preset.loss_threshold < 1
    with pytest.raises(msgspec.ValidationError, match="unknown"):
        msgspec.json.decode(raw[:-1] + b',"more":1}', type=Preset)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_presets_schedule_stays_within_its_rate(plan: Plan, name: str, stage: Stage) -> None:
    """Positive on every step, never above the rate it names."""
    settings = run_settings(plan, stage, 0, PRESETS[name], "fp32")
    steps = np.unique(np.linspace(0, settings.total_steps - 1, 500).astype(int))
    rates = [learning_rate(settings, int(step)) for step in steps]
    assert 0 < min(rates) <= max(rates) <= settings.learning_rate


def big_plan(plan: Plan) -> Plan:
    stage = StagePlan(
        patch_size_zyx=(64, 160, 160), batch_size=8, base_features=32, norm="batch", estimated_memory_gb=11.0
    )
    return replace(plan, rough=stage, fine=stage)


@pytest.mark.parametrize("stage", STAGES)
def test_the_paper_takes_the_plan_as_it_is(plan: Plan, stage: Stage) -> None:
    """Patch, batch, width and norm are the planner's."""
    settings = run_settings(big_plan(plan), stage, 3, PRESETS["paper"], "bf16")
    assert settings.patch_size_zyx == (64, 160, 160)
    assert (settings.batch_size, settings.base_features, settings.norm) == (8, 32, "batch")
    assert (settings.fold, settings.precision, settings.seed) == (3, "bf16", DEFAULT_SEED)
    assert settings.total_steps == 80_000


def test_a_patch_that_cannot_be_packed_is_refused_by_presets_that_pack(plan: Plan) -> None:
    """Of a plan changed by hand; what a preset caps it to may do, and the paper's networks take it as it is."""
    odd = replace(big_plan(plan).rough, patch_size_zyx=(64, 160, 104))
    changed = replace(plan, fine=odd, packed=replace(odd, packing=2))
    with pytest.raises(InputError, match=r"a packed patch of 104 x 160 px in plane; expected multiples of 16 px"):
        run_settings(changed, "fine", 0, PRESETS["best"], "fp32")
    assert run_settings(changed, "fine", 0, PRESETS["demo"], "fp32").patch_size_zyx == (32, 64, 64)
    assert run_settings(changed, "fine", 0, PRESETS["paper"], "fp32").patch_size_zyx == (64, 160, 104)


def test_caps_shrink_and_never_enlarge(plan: Plan) -> None:
    """Per axis the smaller of plan and cap; a batch below four brings instance norm."""
    preset = PRESETS["quick"]
    capped = replace(preset, rough=replace(preset.rough, max_batch=2, max_features=8, max_patch_zyx=(32, 128, 192)))
    settings = run_settings(big_plan(plan), "rough", 0, capped, "fp32")
    assert settings.patch_size_zyx == (32, 128, 160)
    assert (settings.batch_size, settings.base_features, settings.norm) == (2, 8, "instance")
    six = replace(preset, rough=replace(preset.rough, max_batch=6, max_features=64, max_patch_zyx=None))
    settings = run_settings(big_plan(plan), "rough", 0, six, "fp32")
    assert (settings.batch_size, settings.base_features, settings.norm) == (6, 32, "batch")
    assert settings.patch_size_zyx == (64, 160, 160)


def test_what_the_user_says_wins(plan: Plan) -> None:
    """Zero is a threshold and a seed, not 'not given'."""
    preset = replace(PRESETS["paper"], loss_threshold=0.5)
    said = {"loss": "ce", "loss_threshold": 0.0, "epochs": 3, "iterations": 7, "seed": 0}
    settings = run_settings(plan, "fine", 0, preset, "fp32", **said)  # type: ignore[arg-type]
    assert {key: getattr(settings, key) for key in said} == said
    assert run_settings(plan, "fine", 0, preset, "fp32").loss_threshold == 0.5


def test_settings_know_no_other_keys(plan: Plan) -> None:
    """run.json is read strictly."""
    raw = to_plain(run_settings(plan, "fine", 0, PRESETS["demo"], "fp32"))
    assert msgspec.convert(raw, RunSettings) == run_settings(plan, "fine", 0, PRESETS["demo"], "fp32")
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**raw, "more": 1}, RunSettings)


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    """One line that lists them."""
    with pytest.raises(InputError, match=r"no preset 'fast'; expected paper or best or demo or quick"):
        preset_by_name("fast")
