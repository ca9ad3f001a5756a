"""Adds up what runs did and found: as text for people, as JSON for files."""

from __future__ import annotations

import json
import time
from collections import Counter


class Tally:
    """The sums over all runs so far."""

    def __init__(self, log: str, points: list[str]) -> None:
        self.log = log
        self.all_points = points
        self.begun = time.monotonic()
        self.runs = 0
        self.failed: list[int] = []
        self.differences = 0
        self.records = 0
        self.dead: Counter[str] = Counter()
        self.profiles = 0
        self.faults: Counter[str] = Counter()
        self.points: Counter[str] = Counter()
        self.traffic: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()
        self.recovery_s: list[float] = []
        self.fresh_s: list[float] = []
        self.most_stale_s: list[float] = []
        self.run_s: list[float] = []

    def add(self, run, seconds: float) -> None:
        """A run that has ended."""
        self.runs += 1
        self.run_s.append(seconds)
        self.differences += len(run.differences)
        if run.differences:
            self.failed.append(run.plan.seed)
        if run.batch:
            self.records += run.batch.records
            self.dead.update(dead.error_class for dead in run.batch.dead)
        self.profiles += sum(len(students) for _, tenants in run.reads for students in tenants.values())
        self.faults += run.faults.done
        self.faults["fenced, and started again"] += sum(process.revived for process in run.stand.everything())
        self.points += run.faults.points
        self.recovery_s += run.faults.recovery_s
        self.fresh_s += run.faults.fresh_s
        self.traffic += run.sent.counts
        self.reads["versions that went back across a start"] += len(run.poller.across)
        for kind, reads in run.poller.reads.items():
            self.reads[f"reads at {kind}"] += reads
        for kind, errors in run.poller.errors.items():
            self.reads[f"failed reads at {kind}"] += errors
        if run.stand.replicas:
            self.most_stale_s.append(run.staleness.most_s)
            self.reads["looks at staleness"] += run.staleness.looks
            self.reads["looks at staleness while no dataflow runs"] += run.staleness.telling

    def facts(self) -> dict:
        """Everything, for JSON."""
        return {
            "log": self.log,
            "runs": self.runs,
            "failed_seeds": self.failed,
            "differences": self.differences,
            "seconds": round(time.monotonic() - self.begun, 1),
            "seconds_per_run": spread(self.run_s),
            "records": self.records,
            "dead_letters": dict(self.dead.most_common()),
            "profiles_compared": self.profiles,
            "faults": dict(self.faults.most_common()),
            "crashes_by_point": {point: self.points[point] for point in self.all_points},
            "points_never_come_to": self.missed(),
            "traffic": dict(self.traffic.most_common()),
            "reads": dict(self.reads),
            "seconds_to_ready": spread(self.recovery_s),
            "staleness_reached_s": spread(self.most_stale_s),
            "ready_to_fresh_s": spread(self.fresh_s),
        }

    def missed(self) -> list[str]:
        """The crash points that no run came to."""
        return [point for point in self.all_points if not self.points[point]]

    def json(self) -> str:
        """For a file."""
        return json.dumps(self.facts(), indent=2) + "\n"

    def text(self) -> str:
        """For people."""
        lines = [""]
        for name, value in self.facts().items():
            if isinstance(value, dict):
                value = ", ".join(f"{key} {n}" for key, n in value.items()) or "none"
            elif isinstance(value, list):
                value = ", ".join(map(str, value)) or "none"
            lines.append(f"{name.replace('_', ' '):18} {value}")
        return "\n".join(lines)


def spread(seconds: list[float]) -> dict[str, float]:
    """Median and maximum."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    return {"median": round(ordered[len(ordered) // 2], 2), "max": round(ordered[-1], 2)}
