"""The simulation of cases that share cores, turns and a disk: by hand."""

from __future__ import annotations

import pytest

from benchmarks.scale import Phase, Shared, Training, node, simulated_wall_s

READ = Phase("reading", 1.0, {"cores": 1.0})
NETWORKS = Phase("networks", 1.0, {"cores": 2.0, "turn": 1.0})


@pytest.mark.parametrize(
    ("cores", "at_a_time", "expected"),
    [(1, 1, 4.0), (1, 2, 4.0), (2, 2, 2.0), (2, 4, 2.0), (4, 2, 2.0), (4, 4, 1.0)],
)
def test_reading_alone(cores: float, at_a_time: int, expected: float) -> None:
    """Four cases of one core-second."""
    assert simulated_wall_s([READ], [node(cores)], at_a_time, 4) == pytest.approx(expected, rel=0.02)


def test_networks_take_turns_and_fill_the_cores() -> None:
    """One at a time 2 s a case; two at a time no less than the cores' 3 core-seconds a case allow, nor the turn's 1."""
    one = simulated_wall_s([READ, NETWORKS], [node(2)], 1, 10)
    two = simulated_wall_s([READ, NETWORKS], [node(2)], 2, 10)
    many = simulated_wall_s([READ, NETWORKS], [node(16)], 8, 40)
    assert one == pytest.approx(20.0, rel=0.01)
    assert two == pytest.approx(15.0, rel=0.15)
    assert many == pytest.approx(40.0, rel=0.1)


def test_a_disk_is_shared_by_all_nodes() -> None:
    """Ten nodes that read 100 MB a second each from a disk that gives 200."""
    disk = Shared(200.0)
    loading = Phase("reading", 1.0, {"disk": 100.0})
    assert simulated_wall_s([loading], [node(2, disk) for _ in range(10)], 1, 100) == pytest.approx(50.0, rel=0.02)
    assert disk.used == pytest.approx(100 * 100.0, rel=0.01)
    assert simulated_wall_s([loading], [node(2) for _ in range(10)], 1, 100) == pytest.approx(10.0, rel=0.02)


def test_folds_go_first_then_batches_are_shared() -> None:
    """1000 + 1000 steps of 3.6 s: two hours a fold, five folds; a batch of four is shared by four at most."""
    training = Training(3.6, 3.6, 1000, 4, 0.0)
    found = [training.hours(gpus) for gpus in (1, 2, 5, 8, 10, 64)]
    assert [hours for hours, _ in found] == pytest.approx([10.0, 6.0, 2.0, 2.0, 1.0, 0.5])
    assert [busy for _, busy in found] == [1, 2, 5, 5, 10, 20]
    assert Training(3.6, 3.6, 1000, 4, 0.36).hours(10)[0] == pytest.approx(1.2)
