"""Whether the comparisons can fail: plants one difference of each kind into what a real run left, and expects each to
be found, and nothing without them."""

from __future__ import annotations

import copy
import json
import random
import re
import time
from pathlib import Path
from typing import Callable

import judge
import plan as plans
from batch import Batch
from client import Unanswered
from poller import Poller
from process import Process
from school import rfc3339
from staleness import METRIC, Staleness
from stand import PARTITIONS, Stand, Tools
from traffic import BEHAVIOUR, EVALUATIONS, TENANTS

SEED = 7


class Planted:
    """What a run left, to be copied and spoilt."""

    def __init__(self, run) -> None:
        self.reads = run.reads
        self.records = run.records
        self.sent = run.sent

    def found(self) -> list[str]:
        """What is found now."""
        return judge.everything(self.reads, self.records, Batch(self.records), self.sent)

    def copy(self) -> "Planted":
        """To spoil."""
        other = copy.copy(self)
        other.reads, other.records = copy.deepcopy(self.reads), list(self.records)
        return other

    # -- on the log

    def of(self, topic: str):
        """The last record of a topic whose loss must show: one that is in use, and said once."""
        batch = Batch(self.records)
        dead = {(d.topic, d.partition, d.offset) for d in batch.dead}
        used = {(t, row.offset) for t, rows in batch.evaluations.items() for row in rows.values()}
        for record in reversed(self.records):
            tenant = record.key.split(b"/")[0].decode(errors="replace")
            if record.topic != topic or (record.topic, record.partition, record.offset) in dead:
                continue
            if topic == EVALUATIONS and (tenant, record.offset) not in used:
                continue
            if topic == BEHAVIOUR and sum(event_id(record) == event_id(other) for other in self.records) > 1:
                continue
            return record
        raise RuntimeError(f"the run has no such record of {topic}")

    def lose(self, topic: str) -> None:
        """A record is not there."""
        self.records.remove(self.of(topic))

    def alter(self, topic: str, old: bytes, new: bytes) -> None:
        """A record says something else."""
        for at, record in enumerate(self.records):
            if record.topic == topic and record.value and old in record.value:
                self.records[at] = record._replace(value=record.value.replace(old, new))
                return
        raise RuntimeError(f"no record of {topic} says {old!r}")

    def rules(self) -> None:
        """Every configuration has a scale that nobody asked for."""
        dead = {(d.topic, d.partition, d.offset) for d in Batch(self.records).dead}
        for at, record in enumerate(self.records):
            if record.topic == TENANTS and (record.topic, record.partition, record.offset) not in dead:
                config = json.loads(record.value or b"{}")
                config["rule"] = [{**rule, "scale": {"min": "0", "max": "7"}} for rule in config["rule"]]
                self.records[at] = record._replace(value=json.dumps(config).encode())

    def twice(self, suffix: str) -> None:
        """A dead letter is there twice."""
        record = next(r for r in self.records if r.topic.endswith(suffix) and "source-offset" in r.headers)
        self.records.append(record._replace(offset=record.offset + 1_000_000))

    def buried(self) -> None:
        """A dead letter is missing."""
        self.records.remove(next(r for r in self.records if r.topic.endswith(".dlq") and "source-offset" in r.headers))

    def header(self, name: str, value: bytes) -> None:
        """A dead letter's header is wrong."""
        at = next(i for i, r in enumerate(self.records) if r.topic.endswith(".dlq") and name in r.headers)
        record = self.records[at]
        self.records[at] = record._replace(headers={**record.headers, name: value})

    # -- in profiles

    def profile(self, change: Callable[[dict], None], needs: Callable[[dict], bool]) -> None:
        """One profile of the last read says something else."""
        _, tenants = self.reads[-1]
        for profiles in tenants.values():
            for profile in profiles.values():
                if needs(profile):
                    change(profile)
                    return
        raise RuntimeError("the run has no such profile")

    def forget(self) -> None:
        """A profile is missing."""
        _, tenants = self.reads[-1]
        students = next(students for students in tenants.values() if students)
        students.pop(next(iter(students)))


def event_id(record) -> bytes | None:
    """What stands behind `event_id` in a record's value."""
    found = re.search(rb'"event_id": "([^"]*)"', record.value or b"")
    return found and found[1]


def graded(profile: dict) -> bool:
    """Whether it has a grade with a score."""
    return bool(profile["grades"]) and profile["grades"][0]["score"] is not None


def days(profile: dict) -> bool:
    """Whether it has the view `days`."""
    return "days" in profile["features"]


def first_grade(**what) -> Callable[[dict], None]:
    """Changes the first grade."""
    return lambda profile: profile["grades"][0].update(what)


def feature(name: str, value) -> Callable[[dict], None]:
    """Changes an output of `days`."""
    return lambda profile: profile["features"]["days"].update({name: value})


PLANTS: dict[str, Callable[[Planted], None]] = {
    "an event is lost": lambda p: p.lose(BEHAVIOUR),
    "an event is not in the views": lambda p: p.lose(BEHAVIOUR),
    "a record came from nowhere": lambda p: p.alter(BEHAVIOUR, b'"event_id"', b'"event_id" '),
    "an evaluation is lost": lambda p: p.lose(EVALUATIONS),
    "an event's value is another": lambda p: p.alter(BEHAVIOUR, b'"value": 0', b'"value": 1'),
    "rules are others": lambda p: p.rules(),
    "a dead letter is there twice": lambda p: p.twice(".dlq"),
    "a dead letter is missing": lambda p: p.buried(),
    "a dead letter's bytes are others": lambda p: p.alter(f"{BEHAVIOUR}.dlq", b"event_id", b"event_ID"),
    "a dead letter's class is another": lambda p: p.header("error-class", b"late-or-so"),
    "a dead letter names another offset": lambda p: p.header("source-offset", b"999999"),
    "a dead letter names another topic": lambda p: p.header("source-topic", b"other"),
    "a score is another": lambda p: p.profile(first_grade(score="99.99"), graded),
    "a count is a text": lambda p: p.profile(lambda x: feature("events", str(x["features"]["days"]["events"]))(x), days),
    "a window is another": lambda p: p.profile(lambda x: x["features"]["days"]["window"].update(start="1970"), days),
    "a feature is missing": lambda p: p.profile(lambda x: x["features"].pop("days"), days),
    "a feature is too much": lambda p: p.profile(lambda x: x["features"].update(other={"n": 1}), days),
    "a grade is there twice": lambda p: p.profile(lambda x: x["grades"].append(x["grades"][0]), graded),
    "a cohort is another": lambda p: p.profile(lambda x: x["grades"][0]["cohort"].update(count=0), graded),
    "a profile is missing": lambda p: p.forget(),
}


WORDS = {
    "an event is lost": "acknowledged, but not on",
    "an evaluation is lost": "grade (",
    "an event is not in the views": " days: expected",
    "a record came from nowhere": "nobody sent it",
}
"""What a difference must say, where several comparisons could find it."""


class Answers:
    """A process that is up, and answers what it is told to."""

    name = "planted"
    lives = 1
    down_since = None
    gone_since = None

    def __init__(self, answers: list[dict | None]) -> None:
        self.answers = answers
        self.client = self

    def starts(self) -> int:
        """Never again."""
        return 1

    def profiles(self, tenant: str, students, seconds: float) -> dict[str, dict] | None:
        """The next answer."""
        answer = self.answers.pop(0)
        if answer == {}:
            raise Unanswered("planted")
        return answer


def seen(version: int, score: str, second: int) -> dict[str, dict]:
    """A read of one student, as of after everything that was started."""
    grade = {"subject": "s", "period": "p", "score": score, "version": version}
    return {"s": {"as_of": f"2100-01-01T00:00:{second:02}Z", "grades": [grade]}}


class Always(random.Random):
    """Chooses the first, so that every read is of one tenant."""

    def choice(self, seq):
        return seq[0]


POLLS: dict[str, tuple[str, list, bool]] = {
    "versions that grow": ("processes", [seen(1, "5", 1), seen(2, "6", 2), seen(2, "6", 3)], False),
    "a version goes back": ("processes", [seen(5, "5", 1), seen(4, "6", 2)], True),
    "a version says two things": ("processes", [seen(1, "5", 1), seen(1, "6", 2)], True),
    "a replica is silent": ("replicas", [{}], True),
    "a replica answers an error": ("replicas", [None], True),
}


class Follower:
    """A replica, after the dataflow has been gone for three seconds, that says what it is told to."""

    name = "planted replica"
    lives = 1
    down_since = None

    def __init__(self, looks: list[dict | None]) -> None:
        self.looks = looks
        self.shown: dict | None = None
        self.client = self

    def lag(self) -> dict:
        """The next look: seconds since its instant, seconds of staleness, partitions, and seconds by `/metrics`."""
        look = self.shown = self.looks.pop(0)
        as_of = rfc3339(int((time.time() - look["as_of"]) * 1000))
        part = {"as_of": as_of, "staleness_seconds": look["stale"]}
        return {"replica": [{"partition": number, **part} for number in range(look.get("partitions", PARTITIONS))]}

    def metrics(self) -> dict[str, float]:
        """Of the same look: once before it, once after."""
        look, self.shown = self.shown or self.looks[0], None
        if look is None:
            raise Unanswered("planted")
        return {METRIC % number: look.get("metric", look["stale"]) for number in range(PARTITIONS)}


def shows(as_of: float, stale: float | None = None, **more) -> dict:
    """What a look shows."""
    return {"as_of": as_of, "stale": as_of if stale is None else stale, **more}


FOLLOWED: dict[str, tuple[list, bool]] = {
    "staleness that rises": ([shows(3.2), shows(3.2)], False),
    "a replica calls itself fresh": ([shows(0.4)], True),
    "staleness that is not its instant's": ([shows(3.2, 9.0)], True),
    "staleness that stands still": ([shows(3.2), shows(3.9, 3.2)], True),
    "a replica's instant goes back": ([shows(3.2), shows(4.2)], True),
    "staleness by /metrics stands still": ([shows(3.2, metric=0.3)] * 2, True),
    "a replica leaves a partition out": ([shows(3.2, partitions=PARTITIONS - 1)], True),
    "a replica does not say how stale it is": ([None], True),
}


def followed(name: str, looks: list, bad: bool) -> bool:
    """Whether what a replica says is judged right."""
    dataflow, replica = Answers([]), Follower(list(looks))
    dataflow.gone_since = time.time() - 3.0
    watch = Staleness([dataflow], [replica])  # type: ignore[list-item]
    for _ in looks:
        watch.look(replica)  # type: ignore[arg-type]
    good = bool(watch.differences) == bad and (looks == [None] or watch.telling == len(looks))
    print(f"{'found ' if good else 'MISSED'} {name}: {watch.differences[:1]}", flush=True)
    return good


def run(make_run, tools: Tools, folder: Path) -> int:
    """A run without faults, and everything planted; the exit code."""
    plan = plans.make(SEED, "embedded", [], False, False, False)
    foreign = plans.Fault(0.5, "foreign records", 0, 0.3, "")
    stand = Stand(plan._replace(faults=(foreign,), traffic_s=3.0, pause_s=0.005), tools, folder)
    real = make_run(stand)
    try:
        real.go()
    finally:
        stand.clear(keep=False)
    wrong = [f"without anything planted: {line}" for line in real.differences]
    left = Planted(real)
    for name, plant in PLANTS.items():
        spoilt = left.copy()
        plant(spoilt)
        found = [line for line in spoilt.found() if WORDS.get(name, "") in line]
        print(f"{'found ' if found else 'MISSED'} {name}: {found[0][:150] if found else ''}", flush=True)
        wrong += [] if found else [f"not found: {name}"]
    for name, (kind, answers, bad) in POLLS.items():
        processes: list[Process] = [Answers(list(answers))]  # type: ignore[list-item]
        poller = Poller(processes, [], Always())
        for _ in answers:
            poller.look(processes[0], kind)
        good = bool(poller.differences) == bad
        print(f"{'found ' if good else 'MISSED'} {name}: {poller.differences[:1]}", flush=True)
        wrong += [] if good else [f"not found: {name}"]
    for name, (looks, bad) in FOLLOWED.items():
        wrong += [] if followed(name, looks, bad) else [f"not found: {name}"]
    print(f"{len(PLANTS) + len(POLLS) + len(FOLLOWED)} planted, {len(wrong)} wrong")
    for line in wrong[:20]:
        print(f"       {line}")
    return 1 if wrong else 0
