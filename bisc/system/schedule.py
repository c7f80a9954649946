"""Tasks that need one another, shared out among places that take one at a time: what begins next, and what never will.

Pure: who begins and ends the tasks is another's affair.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from copy import deepcopy
from heapq import heapify, heappop, heappush
from typing import Final, Generic, Literal, TypeVar

Task = TypeVar("Task", bound=Hashable)
Outcome = Literal["done", "failed", "refused"]
"""How an attempt ended: well; in a way that another attempt may mend; in one that none does."""
State = Literal["waiting", "running", "done", "failed", "refused", "left out"]
ENDED: Final = ("done", "failed", "refused", "left out")


class Schedule(Generic[Task]):
    """Which task is where, and in which state.

    Args:
        needs: Each task, in the order in which they are to begin, and what must be done before it.
        places: Where tasks run, one at a time; a place that is named twice takes two.
        restarts: How often a task that failed is begun again.
    """

    def __init__(self, needs: Mapping[Task, Sequence[Task]], places: Sequence[str], restarts: int = 0) -> None:
        self.needs = {task: tuple(wanted) for task, wanted in needs.items()}
        self.places, self.restarts = tuple(places), restarts
        self.state: dict[Task, State] = dict.fromkeys(needs, "waiting")
        self.starts: dict[Task, int] = dict.fromkeys(needs, 0)
        self.place: dict[Task, str] = {}
        """Where each task was begun last."""
        self._at: dict[int, Task] = {}

    @property
    def over(self) -> bool:
        """Whether nothing runs or waits."""
        return all(state in ENDED for state in self.state.values())

    def begin(self) -> Task | None:
        """Begin the first task whose needs are done in the first place that is free; None where either is missing."""
        free = next((number for number in range(len(self.places)) if number not in self._at), None)
        task = next((one for one in self.needs if self._may_begin(one)), None)
        if free is None or task is None:
            return None
        self._at[free] = task
        self.state[task], self.place[task] = "running", self.places[free]
        self.starts[task] += 1
        return task

    def _may_begin(self, task: Task) -> bool:
        return self.state[task] == "waiting" and all(self.state[need] == "done" for need in self.needs[task])

    def end(self, task: Task, outcome: Outcome) -> State:
        """A running task ended; its new state: it waits again where it failed and was not begun too often."""
        self._at = {number: one for number, one in self._at.items() if one != task}
        again = outcome == "failed" and self.starts[task] <= self.restarts
        self.state[task] = "waiting" if again else outcome
        if not again and outcome != "done":
            self._leave_out(task)
        return self.state[task]

    def _leave_out(self, lost: Task) -> None:
        for task, needs in self.needs.items():
            if lost in needs and self.state[task] == "waiting":
                self.state[task] = "left out"
                self._leave_out(task)

    def seconds_left(self, left_s: Mapping[Task, float]) -> float:
        """Until all is over, should none fail any more.

        Args:
            left_s: Seconds that each running task has still to go, and that each waiting one will take.
        """
        trial, now = deepcopy(self), 0.0
        order = {task: number for number, task in enumerate(self.needs)}  # tasks themselves need not have one
        running = [(left_s[task], order[task], task) for task in trial._at.values()]
        heapify(running)
        while True:
            while (begun := trial.begin()) is not None:
                heappush(running, (now + left_s[begun], order[begun], begun))
            if not running:
                return now
            now, _, ended = heappop(running)
            trial.end(ended, "done")
