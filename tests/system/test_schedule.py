"""Which task begins where, after which others, and what is left of a failure."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bisc.system.schedule import ENDED, Outcome, Schedule

NEEDS: dict[str, tuple[str, ...]] = {"r0": (), "r1": (), "f0": ("r0",), "f1": ("r1",)}


def begun(schedule: Schedule[str]) -> list[str]:
    """All that may begin now, as TASK@PLACE."""
    tasks = []
    while (task := schedule.begin()) is not None:
        tasks.append(f"{task}@{schedule.place[task]}")
    return tasks


def test_one_place_takes_one_after_the_other_in_order() -> None:
    schedule = Schedule(NEEDS, ["cpu"])
    order = []
    while not schedule.over:
        (task,) = begun(schedule)
        order.append(task)
        assert schedule.end(task.split("@")[0], "done") == "done"
    assert order == ["r0@cpu", "r1@cpu", "f0@cpu", "f1@cpu"]


def test_a_place_that_is_free_takes_the_next_that_may_begin() -> None:
    """r1 ends first: f1 goes before f0, whose need still runs."""
    schedule = Schedule(NEEDS, ["a", "b"])
    assert begun(schedule) == ["r0@a", "r1@b"]
    schedule.end("r1", "done")
    assert begun(schedule) == ["f1@b"]
    schedule.end("r0", "done")
    assert begun(schedule) == ["f0@a"]


def test_a_place_named_twice_takes_two() -> None:
    assert begun(Schedule(NEEDS, ["a", "a", "b"])) == ["r0@a", "r1@a"]  # and b waits for what it may begin


def test_a_failure_begins_again_and_then_costs_only_what_needs_it() -> None:
    schedule = Schedule(NEEDS, ["a"], restarts=1)
    assert begun(schedule) == ["r0@a"]
    assert schedule.end("r0", "failed") == "waiting"
    assert begun(schedule) == ["r0@a"]
    assert schedule.end("r0", "failed") == "failed"
    assert schedule.state["f0"] == "left out"
    assert begun(schedule) == ["r1@a"]
    assert (schedule.starts["r0"], schedule.starts["r1"]) == (2, 1)


def test_a_refusal_is_final() -> None:
    schedule = Schedule(NEEDS, ["a"], restarts=3)
    begun(schedule)
    assert schedule.end("r0", "refused") == "refused"
    assert schedule.state["f0"] == "left out"


@pytest.mark.parametrize(
    ("places", "seconds"),
    [(1, 2 * 10 + 2 * 30), (2, 10 + 30), (3, 10 + 30)],
)
def test_seconds_left_are_those_of_the_longest_place(places: int, seconds: float) -> None:
    """Rough runs of 10 s and fine ones of 30 s: one device does them all, two do a fold each."""
    schedule = Schedule(NEEDS, ["a"] * places)
    left = {task: 10.0 if task.startswith("r") else 30.0 for task in NEEDS}
    assert schedule.seconds_left(left) == seconds
    assert begun(schedule)  # the plan above changed nothing
    assert schedule.seconds_left({**left, "r0": 4.0}) == (seconds - 6.0 if places == 1 else seconds)


@settings(max_examples=60)
@given(
    needs=st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=8),
    outcomes=st.lists(st.sampled_from(["done", "done", "failed", "refused"]), min_size=64, max_size=64),
    n_places=st.integers(1, 3),
    picks=st.lists(st.integers(0, 7), min_size=64, max_size=64),
)
def test_whatever_happens_all_comes_to_an_end(
    needs: list[set[int]], outcomes: list[Outcome], n_places: int, picks: list[int]
) -> None:
    """Nothing begins before what it needs, nor twice on a place; left out is what needs something that is not done."""
    graph = {task: tuple(sorted(one for one in wanted if one < task)) for task, wanted in enumerate(needs)}
    schedule = Schedule(graph, [str(i) for i in range(n_places)], restarts=2)
    running: list[int] = []
    for outcome, pick in zip(outcomes, picks, strict=True):
        while (task := schedule.begin()) is not None:
            assert all(schedule.state[need] == "done" for need in graph[task])
            running.append(task)
        assert len({schedule.place[task] for task in running}) == len(running) <= n_places
        if not running:
            break
        schedule.end(running.pop(pick % len(running)), outcome)
    assert schedule.over
    assert all(1 <= n <= 3 or schedule.state[task] == "left out" for task, n in schedule.starts.items())
    for task, wanted in graph.items():
        assert schedule.state[task] in ENDED
        assert (schedule.state[task] == "left out") == any(schedule.state[need] != "done" for need in wanted)
