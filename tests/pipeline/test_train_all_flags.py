"""What `bisc_train all` hands on to its runs."""

from __future__ import annotations

import pytest

from bisc.cli import train as command
from bisc.core.errors import InputError
from bisc.pipeline.train_all import flags_of, of_stage, train_all
from tests.support.training_fixtures import NAME


def test_a_device_for_all_is_no_option_of_the_runs() -> None:
    with pytest.raises(InputError, match="device: given for all runs"):
        train_all(NAME, device="cpu")


def test_every_flag_is_handed_on_or_seen_to() -> None:
    """A flag that is new to bisc_train and unknown here would be passed over without a word."""
    flags = {action.dest for action in command.build_parser()._actions}
    own = {"help", "version", "stage", "fold", "dataset", "plan", "device", "devices", "jobs", "gpus", "resume"}
    assert flags == own | {"no_validation", "stop_at_eof"} | set(command.PASSED_ON)


def test_arguments_as_flags() -> None:
    """Those that bisc_train reads back as the same."""
    options = {"dataset": "A b", "preset": "best", "loss_threshold": 0.5, "augment": False, "validate": False}
    flags = flags_of({**options, "deterministic": True, "minutes": None, "workers": 0})
    assert flags == [
        *("-d", "A b", "--preset", "best", "--loss-threshold", "0.5", "--no-augment", "--no-validation"),
        *("--deterministic", "--workers", "0"),
    ]
    args = command.build_parser().parse_args(["rough", *flags, "0"])
    assert (args.dataset, args.augment, args.no_validation, args.workers, args.fold) == ("A b", False, True, 0, ["0"])


def test_a_stage_is_given_what_it_has() -> None:
    """Decoys are the fine stage's; the rough one would refuse them."""
    options = {"preset": "best", "decoys": 0.15}
    assert of_stage("fine", options) == options
    assert of_stage("rough", options) == {"preset": "best"}


def test_a_launcher_of_processes_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of them would train all."""
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert command.main(["all", "-d", NAME, "--device", "cpu"]) == 2
    assert "was started by torchrun" in capsys.readouterr().err
