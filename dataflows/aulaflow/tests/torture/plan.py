"""What a run does, decided by its seed alone: traffic, faults and their order. How long things take is not."""

from __future__ import annotations

import random
from typing import Callable, NamedTuple

TRAFFIC_S = 5.0
COVERING_MAX = 200
"""Seeds that are looked through for `covering`."""

EMBEDDED = {"kill": 6, "crash": 8, "stop": 2, "halt": 1, "full disk": 2, "foreign records": 2}
"""Kinds of faults and how often they are chosen."""
KAFKA = {
    "kill": 5,
    "crash": 7,
    "stop": 2,
    "halt": 2,
    "full disk": 1,
    "broker stop": 1,
    "broker kill": 1,
    "broker halt": 1,
    "cut": 2,
    "stall": 1,
    "slow": 1,
    "replica kill": 2,
    "outage": 3,
}
CHANGELOG_POINTS = "changelog."
"""What the names of crash points begin with that are come by only where the changelog is written."""
ONCE = ("changelog.resumed", "compaction.", "running.noted")
"""Crash points that a process comes by once, or seldom: the others, at their first to fifth time."""
MOVES = {"leave": 3, "zombie": 3}
"""With two processes: one goes and comes back, one is halted until its partitions are another's."""


class Fault(NamedTuple):
    """One fault: when, what, on which process, for how long, and where a process ends itself."""

    at_s: float
    kind: str
    process: int
    seconds: float
    point: str


class Plan(NamedTuple):
    """A run."""

    seed: int
    log: str
    processes: int
    replica: bool
    small_disk: bool
    changelog: bool
    """Whether the changelog is written: with Kafka always, with the embedded log at will."""
    writers: int
    pause_s: float
    traffic_s: float
    faults: tuple[Fault, ...]
    end_with_kill: bool

    def rng(self, what: str) -> random.Random:
        """The run's own random numbers for something."""
        return random.Random(f"{self.seed}/{what}")


def make(seed: int, log: str, points: list[str], root: bool, scale_out: bool, replicas: bool) -> Plan:
    """The plan of a seed. `points`: the product's crash points; `root`: whether a small disk can be mounted."""
    # Points have their own random numbers: a new one does not change what else a seed does.
    rng, points_rng = random.Random(f"{seed}/plan"), random.Random(f"{seed}/points")
    kafka = log == "kafka"
    processes = 2 if kafka and scale_out and rng.random() < 0.5 else 1
    changelog = kafka or points_rng.random() < 0.5
    if not changelog:
        points = [point for point in points if not point.startswith(CHANGELOG_POINTS)]
    kinds = dict(KAFKA if kafka else EMBEDDED)
    if not points:
        del kinds["crash"]
    if not root:
        del kinds["full disk"]
    if kafka and not replicas:
        del kinds["replica kill"]
    if processes == 2:
        kinds |= MOVES
    faults = []
    at = 0.3
    for _ in range(rng.randrange(2, 5)):
        at += rng.random() * TRAFFIC_S / 4
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        point = ""
        if kind == "crash":
            point = points_rng.choice(points)
            if not point.startswith(ONCE) and points_rng.random() < 0.6:
                point += f":{points_rng.randrange(1, 6)}"
        faults.append(Fault(round(at, 2), kind, rng.randrange(processes), round(0.3 + 1.7 * rng.random(), 2), point))
    return Plan(
        seed=seed,
        log=log,
        processes=processes,
        replica=kafka and replicas,
        small_disk=any(fault.kind == "full disk" for fault in faults),
        changelog=changelog,
        writers=2,
        pause_s=rng.choice((0.005, 0.02, 0.05)),
        traffic_s=TRAFFIC_S,
        faults=tuple(faults),
        end_with_kill=rng.random() < 0.5,
    )


def covering(plan_of: Callable[[int], Plan]) -> list[int]:
    """Seeds whose plans have every kind of fault between them that plans have: few, and the same every time."""
    kinds = {seed: {fault.kind for fault in plan_of(seed).faults} for seed in range(1, COVERING_MAX + 1)}
    left, chosen = set().union(*kinds.values()), []
    while left:
        best = max(kinds, key=lambda seed: (len(kinds[seed] & left), -seed))
        chosen.append(best)
        left -= kinds[best]
    return chosen
