"""Adds up what runs with ClickHouse did and compared: as text for people, as JSON for files."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clickhouse_run import Run


class Tally:
    """The sums over all runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.failed: list[int] = []
        self.differences = 0
        self.seconds: list[float] = []
        self.ends: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.compared: Counter[str] = Counter()

    def add(self, made: Run) -> bool:
        """A run that has ended; whether it was good."""
        self.runs += 1
        self.seconds.append(made.seconds)
        self.differences += len(made.differences)
        if made.differences:
            self.failed.append(made.plan.seed)
        self.ends += made.done
        self.faults += made.faults.done
        self.requests += made.proxy.done
        self.compared += made.judge.compared
        return not made.differences

    def facts(self, seconds: float, points: list[str]) -> dict:
        """Everything."""
        ordered = sorted(self.seconds)
        met = {point for point in points if self.ends[f"crash {point}"]}
        return {
            "runs": self.runs,
            "failed_seeds": self.failed,
            "differences": self.differences,
            "seconds": round(seconds, 1),
            "seconds_per_run": {"median": round(ordered[len(ordered) // 2], 1), "max": round(ordered[-1], 1)},
            "ends_of_the_process": dict(self.ends.most_common()),
            "points_never_come_to": sorted(set(points) - met),
            "faults_of_clickhouse": dict(self.faults.most_common()),
            "requests_that_met_one": dict(self.requests.most_common()),
            "compared": dict(self.compared.most_common()),
        }

    def json(self, seconds: float, points: list[str]) -> str:
        """For a file."""
        return json.dumps(self.facts(seconds, points), indent=2) + "\n"

    def text(self, seconds: float, points: list[str]) -> str:
        """For people."""
        lines = [""]
        for name, value in self.facts(seconds, points).items():
            if isinstance(value, dict):
                value = ", ".join(f"{key} {n}" for key, n in value.items()) or "none"
            elif isinstance(value, list):
                value = ", ".join(map(str, value)) or "none"
            lines.append(f"{name.replace('_', ' '):22} {value}")
        return "\n".join(lines)
