"""Looks at what replicas say of their staleness, while everything else happens. It cannot be less than the time for which
no process of the dataflow has done anything, it belongs to the instant that is told with it, and `/metrics` says the same."""

from __future__ import annotations

import threading
import time

from client import Unanswered
from process import Process
from school import parse_rfc3339
from stand import PARTITIONS

PAUSE_S = 0.2
TOLERANCE_S = 0.1
"""For a process that was told to halt and has not heard it yet, and for instants that are cut to milliseconds."""
METRIC_LATE_S = 2.0
"""By how much `/metrics` may be behind `/v1/lag`: it is counted every half second."""
TELLING_S = 1.0
"""A look tells something once nobody has done anything for as long."""
METRIC = 'aulaflow_replica_staleness_seconds{partition="%d"}'


def gone_since(processes: list[Process]) -> float | None:
    """Since when no process of the dataflow does anything; none while one may."""
    since = [process.gone_since for process in processes]
    return None if None in since else max(since)


class Staleness(threading.Thread):
    """Looks at each replica in turn."""

    def __init__(self, processes: list[Process], replicas: list[Process]) -> None:
        super().__init__(name="staleness", daemon=True)
        self.processes = processes
        self.replicas = replicas
        self.ended = threading.Event()
        self.differences: list[str] = []
        self.looks = 0
        self.telling = 0
        """Looks while no process of the dataflow ran, for long enough to tell something."""
        self.most_s = 0.0
        self.as_of: dict[tuple[str, int, int], int] = {}
        """The last instant by replica, its life, and partition."""
        self.unequal: set[tuple[str, int, int]] = set()
        """Where `/metrics` said something else at the last look."""

    def run(self) -> None:
        """Until it is told to end."""
        while not self.ended.wait(PAUSE_S):
            for replica in self.replicas:
                self.look(replica)

    def end(self) -> None:
        """Ends it."""
        self.ended.set()
        if self.ident is not None:
            self.join(60)

    def look(self, replica: Process) -> None:
        """One look."""
        up, life, gone = replica.down_since is None, replica.lives, gone_since(self.processes)
        try:
            before = replica.client.metrics()
            asked = time.time()
            said = {part["partition"]: part for part in replica.client.lag().get("replica", [])}
            answered = time.time()
            # It may have heard something in between.
            metrics = [before, replica.client.metrics()]
        except Unanswered as error:
            if up and replica.down_since is None:
                self.found(replica, f"did not say how stale it is: {error}")
            return
        # Only what was up before the look, and still is after it, must say all this.
        if not up or replica.down_since is not None or replica.lives != life:
            return
        self.looks += 1
        if said.keys() != set(range(PARTITIONS)):
            self.found(replica, f"tells of the partitions {sorted(said)}")
        alone = asked - gone if gone is not None and gone == gone_since(self.processes) else 0.0
        self.telling += alone >= TELLING_S
        for number, part in said.items():
            self.partition(replica, (life, number), part, metrics, (asked, answered), alone)

    def partition(
        self, replica: Process, place: tuple[int, int], part: dict, metrics: list, when: tuple[float, float], alone: float
    ) -> None:
        """What is said of one partition. `alone`: for how long nobody has written anything, in seconds."""
        key, (asked, answered) = (replica.name, *place), when
        stale, name = part["staleness_seconds"], f"partition {place[1]}"
        if stale is None or part["as_of"] is None:
            # Before the first watermark it knows nothing.
            if key in self.as_of:
                self.found(replica, f"{name}: does not say any more how stale it is: {part}")
            return
        as_of, before = parse_rfc3339(part["as_of"]), self.as_of.get(key, 0)
        self.as_of[key] = as_of
        self.most_s = max(self.most_s, stale)
        if as_of < before:
            self.found(replica, f"{name}: its instant went back by {before - as_of} ms: {part}")
        if not asked - TOLERANCE_S <= stale + as_of / 1000 <= answered + TOLERANCE_S:
            self.found(replica, f"{name}: its staleness is not that of its instant, at {asked:.3f}: {part}")
        if stale < alone - TOLERANCE_S:
            self.found(replica, f"{name}: {stale} s stale, though no dataflow has run for {alone:.1f} s: {part}")
        by_metrics = [samples.get(METRIC % place[1], -1.0) for samples in metrics]
        if min(by_metrics) >= 0 and min(by_metrics) - METRIC_LATE_S <= stale <= max(by_metrics) + METRIC_LATE_S:
            self.unequal.discard(key)
        elif key in self.unequal:
            self.found(replica, f"{name}: {stale} s stale, but {by_metrics} by /metrics")
        else:
            # It is counted a moment after it is known: the next look tells.
            self.unequal.add(key)

    def found(self, replica: Process, what: str) -> None:
        """Keeps a difference."""
        self.differences.append(f"{time.strftime('%H:%M:%S')} {replica.name} {what}")
