"""Reads profiles all the time, while everything else happens: versions never go back, and replicas always answer."""

from __future__ import annotations

import json
import random
import threading
import time

import school
from client import Unanswered
from judge import BESIDE
from process import Process
from school import parse_rfc3339, rfc3339
from staleness import gone_since

READ_MAX_S = 5
PAUSE_S = 0.03


class Poller(threading.Thread):
    """Reads one tenant's profiles of one process at a time."""

    def __init__(
        self, processes: list[Process], replicas: list[Process], rng: random.Random, strict: bool = False
    ) -> None:
        """`strict`: versions must not go back across starts of processes either."""
        super().__init__(name="poller", daemon=True)
        self.processes = processes
        self.replicas = replicas
        self.rng = rng
        self.strict = strict
        self.ended = threading.Event()
        self.reads = {"processes": 0, "replicas": 0, "replicas while no dataflow runs": 0}
        self.errors = {"processes": 0, "replicas": 0}
        self.differences: list[str] = []
        self.across: list[str] = []
        """Versions that went back, or say two things, where an engine was started in between."""
        self.started = 0
        self.started_ms = 0
        """How often engines had been started at the last look, and when that was first seen."""
        self.rows: dict[tuple, tuple[int, int, int]] = {}
        """By process, tenant, student, subject and period: instant, version, and starts of engines by then."""
        self.contents: dict[tuple, tuple[str, int]] = {}
        """What a version of a row says, the same wherever it is read."""

    def run(self) -> None:
        """Until it is told to end."""
        while not self.ended.wait(PAUSE_S):
            self.look(self.rng.choice(self.processes), "processes")
            for replica in self.replicas:
                self.look(replica, "replicas")

    def end(self) -> None:
        """Ends it."""
        self.ended.set()
        self.join(60)

    def look(self, process: Process, kind: str) -> None:
        """One read."""
        tenant = self.rng.choice(school.TENANTS)
        # Only what was up before the read, and still is after it, must answer.
        up, gone, starts = process.down_since is None, gone_since(self.processes), self.starts()
        try:
            read = process.client.profiles(tenant, school.STUDENTS, READ_MAX_S)
            why = "it does not answer 200"
        except Unanswered as error:
            read, why = None, str(error)
        if read is not None:
            self.reads[kind] += 1
            if kind == "replicas" and gone is not None and gone == gone_since(self.processes):
                self.reads["replicas while no dataflow runs"] += 1
            # A process that is not ready yet shows its checkpoint, which may be older than what was shown before.
            if up and process.down_since is None:
                # What was read while an engine was started may be either's.
                starts = starts if starts == self.starts() else -1
                for student, profile in read.items():
                    self.check(process.name, tenant, student, profile, starts)
        elif up and process.down_since is None:
            self.errors[kind] += 1
            if kind == "replicas":
                self.differences.append(f"{time.strftime('%H:%M:%S')} {process.name} did not answer a read: {why}")

    def starts(self) -> int:
        """How often an engine was started, by all processes of the dataflow."""
        started = sum(process.starts() for process in self.processes)
        if started != self.started:
            self.started, self.started_ms = started, time.time_ns() // 1_000_000
        return started

    def check(self, process: str, tenant: str, student: str, profile: dict, starts: int) -> None:
        """Versions never go back, and a version says the same for ever. `starts`: of engines by then; negative where one
        was under way."""
        as_of = parse_rfc3339(profile["as_of"])
        # What is true as of before the start is what an engine before has told, or is read again: replicas hear it later.
        starts = starts if as_of >= self.started_ms else -1
        for grade in profile["grades"]:
            row = (tenant, student, grade["subject"], grade["period"])
            before_as_of, before, then = self.rows.get((process, *row), (0, 0, starts))
            if grade["version"] < before and as_of >= before_as_of:
                self.found(
                    then == starts >= 0,
                    f"{process}: {row}: version {before} as of {rfc3339(before_as_of)}, then {grade['version']} as of "
                    f"{profile['as_of']}: {json.dumps(grade)}",
                )
            if as_of >= before_as_of:
                self.rows[process, *row] = as_of, grade["version"], starts
            said = json.dumps({k: v for k, v in grade.items() if k not in BESIDE and k != "cohort"}, sort_keys=True)
            known, then = self.contents.setdefault((*row, grade["version"]), (said, starts))
            if known != said:
                difference = f"{process}: {row}: version {grade['version']} says {known}, then {said}"
                self.found(then == starts >= 0, difference)
                self.contents[*row, grade["version"]] = said, starts

    def found(self, within_a_life: bool, difference: str) -> None:
        """Keeps a difference."""
        (self.differences if within_a_life or self.strict else self.across).append(difference)
