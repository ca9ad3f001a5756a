"""The batch recomputation: from every record of the log to what profiles and dead letters must be. It shares no code
with the product; grades and cohorts are those of the Open University test, views are in `views.py`."""

from __future__ import annotations

import datetime
import json
import re
from collections import defaultdict
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, Callable, NamedTuple
from zoneinfo import ZoneInfo

import views
from cohorts import cohorts
from dataset import Evaluation
from grading import grades
from logs import Record
from school import MAX_SKEW_MS, parse_rfc3339
from traffic import BEHAVIOUR, EVALUATIONS, EVENTS, TENANTS

NAME = re.compile(rb"[A-Za-z0-9._-]{1,128}")
PRINTABLE = re.compile(r"[^\x00-\x1f\x7f-\x9f]+")


class Dead(NamedTuple):
    """A record that cannot be used: where it stands, and why."""

    topic: str
    partition: int
    offset: int
    error_class: str
    key: bytes
    value: bytes | None


class Unusable(Exception):
    """A record cannot be used: its class."""


class Row(NamedTuple):
    """A present evaluation: what the grade function takes, and what decides which one wins."""

    event: dict
    newest: Fraction | None
    """The newest `updated_at` given since the last deletion, in milliseconds."""
    offset: int


class Batch:
    """The whole log, taken in."""

    def __init__(self, records: list[Record], home: Callable[[str], int] | None = None) -> None:
        """`home`: the partition of a tenant, where records can stand in the wrong one."""
        self.home = home
        self.dead: list[Dead] = []
        self.events: dict[tuple[str, str], dict[str, views.Event]] = defaultdict(dict)
        self.evaluations: dict[str, dict[str, Row]] = defaultdict(dict)
        self.configs: dict[str, dict] = {}
        self.records = 0
        take = {BEHAVIOUR: self.behaviour, EVALUATIONS: self.evaluation, TENANTS: self.tenant, EVENTS: lambda _: None}
        for record in sorted(records, key=lambda r: (r.topic, r.partition, r.offset)):
            if record.topic not in take:
                continue
            self.records += 1
            try:
                take[record.topic](record)
            except Unusable as why:
                place = (record.topic, record.partition, record.offset)
                self.dead.append(Dead(*place, str(why), record.key, record.value))

    def tenant_of(self, record: Record) -> str:
        """The tenant of a record's key."""
        name = record.key.split(b"/")[0]
        if not NAME.fullmatch(name):
            raise Unusable("key")
        if record.value is None and record.topic == TENANTS:
            raise Unusable("schema")
        if self.home is not None and self.home(name.decode()) != record.partition:
            raise Unusable("partition")
        return name.decode()

    def behaviour(self, record: Record) -> None:
        """An event: it counts once by its id, the first one in the order of the log that could be used."""
        if record.value is None:
            raise Unusable("schema")
        tenant = self.tenant_of(record)
        event = decode(record.value, tenant, ("event_id", "student_id", "event_type"))
        at, micros = instant(event, "occurred_at"), number(event.get("value", Decimal(1)))
        if at > record.timestamp + MAX_SKEW_MS:
            raise Unusable("future")
        if views.late(at, record.timestamp):
            raise Unusable("late")
        points, has_value = points_of(event.get("context"))
        counted = self.events[tenant, event["student_id"]]
        counted.setdefault(
            event["event_id"], views.Event(at, event["event_id"], event["event_type"], micros, points)
        )
        # It counts in everything else, and a letter says what it does not count in.
        if not has_value:
            raise Unusable("expression")

    def evaluation(self, record: Record) -> None:
        """An upsert by its id, or a deletion."""
        tenant = self.tenant_of(record)
        _, slash, evaluation_id = record.key.decode().partition("/")
        if not slash:
            raise Unusable("key")
        present = self.evaluations[tenant]
        if record.value is None:
            present.pop(evaluation_id, None)
            return
        event = decode(record.value, tenant, ("evaluation_id", "student_id", "subject", "type"))
        if event["evaluation_id"] != evaluation_id:
            raise Unusable("schema")
        instant(event, "graded_at")
        newest = present[evaluation_id].newest if evaluation_id in present else None
        if event.get("updated_at") is not None:
            given = exact_ms(event, "updated_at")
            if given > record.timestamp + MAX_SKEW_MS:
                raise Unusable("future")
            if newest is not None and given < newest:
                return
            newest = given
        present[evaluation_id] = Row(event, newest, record.offset)

    def tenant(self, record: Record) -> None:
        """A configuration: the newest is in force."""
        tenant = self.tenant_of(record)
        try:
            config = json.loads(record.value or b"", parse_float=Decimal)
        except ValueError:
            raise Unusable("schema") from None
        if not isinstance(config, dict) or config.get("tenant") != tenant or not isinstance(config.get("rule"), list):
            raise Unusable("schema")
        self.configs[tenant] = config

    # -- what profiles must show

    def profiles(self, tenant: str) -> "Profiles":
        """What a tenant's profiles must show."""
        return Profiles(self, tenant)


class Profiles:
    """A tenant's grades with their cohorts, and features at any clock."""

    def __init__(self, batch: Batch, tenant: str) -> None:
        self.batch = batch
        self.tenant = tenant
        config = batch.configs.get(tenant, {"timezone": "UTC", "period": [], "rule": []})
        zone = ZoneInfo(config["timezone"])
        placed = [evaluation(row, config, zone) for row in batch.evaluations[tenant].values()]
        rule_of = lambda subject, period: rule_for(config, subject, period)  # noqa: E731
        ruled = [e for e in placed if e.period is not None and rule_of(e.subject, e.period) is not None]
        found = grades(ruled, rule_of)
        among = cohorts(found, rule_of)
        self.grades: dict[str, dict[tuple[str, str], dict]] = defaultdict(dict)
        for (student, subject, period), grade in found.items():
            cohort = among.get((subject, period))
            shown = cohort.shown(grade["score"]) if cohort else None
            self.grades[student][subject, period] = {**grade, "cohort": shown}

    def features(self, student: str, clock: int) -> dict[str, dict]:
        """A student's features at a clock."""
        rows = views.features(list(self.batch.events.get((self.tenant, student), {}).values()), clock)
        standing = views.standing(list(self.grades[student].values()))
        return rows if standing is None else {**rows, "standing": standing}


def decode(value: bytes, tenant: str, texts: tuple[str, ...]) -> dict[str, Any]:
    """A record's object, with the texts that it needs."""
    try:
        event = json.loads(value, parse_float=Decimal, parse_int=Decimal)
    except (ValueError, RecursionError):
        raise Unusable("schema") from None
    if not isinstance(event, dict) or event.get("tenant_id") != tenant:
        raise Unusable("schema")
    for name in texts:
        text = event.get(name)
        if not isinstance(text, str) or not PRINTABLE.fullmatch(text) or len(text.encode()) > 128:
            raise Unusable("schema")
    return event


def instant(event: dict, name: str) -> int:
    """A time that the event needs."""
    try:
        return parse_rfc3339(event[name])
    except (KeyError, ValueError, TypeError, AttributeError):
        raise Unusable("schema") from None


def exact_ms(event: dict, name: str) -> Fraction:
    """A time with every digit that was sent, in milliseconds."""
    whole = instant(event, name) // 1000
    digits = re.search(r"\.(\d+)", event[name])
    return 1000 * (whole + (Fraction(int(digits[1]), 10 ** len(digits[1])) if digits else 0))


def number(value: Any) -> int:
    """A decimal in millionths."""
    try:
        micros = Decimal(value) * 1_000_000
    except (InvalidOperation, TypeError, ValueError):
        raise Unusable("schema") from None
    if micros != micros.to_integral_value():
        raise Unusable("schema")
    return int(micros)


def points_of(context: dict | None) -> tuple[int | None, bool]:
    """`CAST(context->>'n' AS BIGINT)`, and whether it has a value: null is one."""
    given = None if context is None else context.get("n")
    if given is None:
        return None, True
    text = str(given)
    return (int(text), True) if re.fullmatch(r"[+-]?\d+", text) else (None, False)


def evaluation(row: Row, config: dict, zone: ZoneInfo) -> Evaluation:
    """An evaluation as the grade function takes it, in its own period or the one that holds `graded_at`."""
    event = row.event
    graded_ms = instant(event, "graded_at")
    return Evaluation(
        id=event["evaluation_id"],
        student=event["student_id"],
        subject=event["subject"],
        period=event.get("period") or period_at(graded_ms, config, zone),
        type=event["type"],
        status=event.get("status", "graded"),
        score=None if event.get("score") is None else str(event["score"]),
        max_score=str(event.get("max_score", 100)),
        weight=str(event.get("weight", 1)),
        graded_ms=graded_ms,
        updated_ms=graded_ms,
    )


def period_at(ms: int, config: dict, zone: ZoneInfo) -> str | None:
    """The period whose local days hold an instant."""
    day = datetime.datetime.fromtimestamp(ms / 1000, zone).date().isoformat()
    held = [period["id"] for period in config["period"] if period["start"] <= day <= period["end"]]
    return held[0] if held else None


def rule_for(config: dict, subject: str, period: str) -> dict | None:
    """The subject's own rule, or the one for all; the one that names the period first."""
    for name in (subject, "*"):
        own = [rule for rule in config["rule"] if rule["subject"] == name]
        named = [rule for rule in own if period in rule.get("periods", ["*"])]
        general = [rule for rule in own if "*" in rule.get("periods", ["*"])]
        if named or general:
            return (named or general)[0]
    return None
