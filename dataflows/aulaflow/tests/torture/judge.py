"""Compares what was read of the product with the recomputation. Every difference is a line of text; none is expected."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal

import school
from batch import Batch, Unusable, decode
from logs import Record
from school import parse_rfc3339
from traffic import BEHAVIOUR, EVALUATIONS, EVENTS, TENANTS, Sent

SOURCES = (EVALUATIONS, BEHAVIOUR, EVENTS, TENANTS)
BESIDE = ("subject", "period", "rule_version", "version", "updated_at")
"""Members of a grade that are no result of the grade function."""

Read = dict[str, dict[str, dict]]
"""Profiles as read: by tenant, then student."""


def everything(reads: list[tuple[str, Read]], records: list[Record], batch: Batch, sent: Sent) -> list[str]:
    """All that can be said after a run."""
    differences = [line for name, read in reads for line in profiles(name, read, batch)]
    return differences + dead_letters(records, batch, sent) + acknowledged(records, sent)


def profiles(name: str, read: Read, batch: Batch) -> list[str]:
    """Every profile of every student, each as of its own instant."""
    differences = []
    for tenant in sorted(read):
        expected = batch.profiles(tenant)
        students = set(school.STUDENTS) | set(expected.grades) | {s for t, s in batch.events if t == tenant}
        for student in sorted(students):
            profile = read[tenant].get(student)
            differences += [f"{name}: {tenant}: {line}" for line in one(student, profile, expected)]
    return differences


def one(student: str, profile: dict | None, expected) -> list[str]:
    """One student's profile."""
    want_grades = expected.grades.get(student, {})
    if profile is None:
        # Whoever has no grade and no event in the longest window has no profile: here that is whoever has none at all.
        events = expected.batch.events.get((expected.tenant, student))
        return [f"{student}: has no profile, and should"] if want_grades or events else []
    clock = parse_rfc3339(profile["as_of"])
    differences = []
    got = {(g["subject"], g["period"]): {k: v for k, v in g.items() if k not in BESIDE} for g in profile["grades"]}
    if len(got) != len(profile["grades"]):
        differences.append(f"{student}: a grade is there twice: {json.dumps(profile['grades'])}")
    differences += unequal(f"{student} grade", want_grades, got)
    features = {n: {k: v for k, v in row.items() if k != "updated_at"} for n, row in profile["features"].items()}
    return differences + unequal(f"{student} as of {profile['as_of']}", expected.features(student, clock), features)


def unequal(what: str, want: dict, got: dict) -> list[str]:
    """The members that differ, in value or type."""
    return [
        f"{what} {key}: expected {json.dumps(want.get(key))}, got {json.dumps(got.get(key))}"
        for key in sorted(want.keys() | got.keys(), key=str)
        if json.dumps(want.get(key), sort_keys=True) != json.dumps(got.get(key), sort_keys=True)
    ]


def dead_letters(records: list[Record], batch: Batch, sent: Sent) -> list[str]:
    """Each dead record once, with its bytes; and what the edge was asked to keep."""
    differences = []
    found: Counter = Counter()
    kept: Counter = Counter()
    for record in records:
        if not record.topic.endswith(".dlq"):
            continue
        header = {name: value.decode() for name, value in record.headers.items()}
        source = record.topic.removesuffix(".dlq")
        if header.get("source-topic") != source or not {"error", "error-class", "failed-at"} <= header.keys():
            differences.append(f"{record.topic}/{record.partition}/{record.offset}: its headers are {header}")
        if "source-offset" not in header:
            kept[record.key.decode(), record.value] += 1
            continue
        place = (source, int(header["source-partition"]), int(header["source-offset"]))
        found[(*place, header["error-class"], record.key, record.value)] += 1
    want = Counter(tuple(dead) for dead in batch.dead)
    for dead in sorted(want.keys() | found.keys(), key=str):
        if want[dead] != found[dead]:
            differences.append(f"dead letter {dead[:4]}: {found[dead]} times, expected {want[dead]}: {dead[5]!r:.300}")
    asked = {(tenant, item) for tenant, item, _ in sent.bad}
    differences += [f"dead letter that nobody asked for: {item!r}" for item in kept if item not in asked]
    acknowledged = {(tenant, item) for tenant, item, acknowledged in sent.bad if acknowledged}
    differences += [f"acknowledged dead letter is missing: {item!r}" for item in sorted(acknowledged - kept.keys())]
    return differences


def acknowledged(records: list[Record], sent: Sent) -> list[str]:
    """Everything acknowledged is on the log as it was sent, and nothing is there that nobody sent."""
    on_log: dict[str, Counter] = {topic: Counter() for topic in SOURCES}
    for record in records:
        if record.topic in on_log:
            tenant = record.key.split(b"/")[0].decode(errors="replace")
            on_log[record.topic][tenant, record.key, meaning(record.topic, record.value)] += 1
    differences = []
    known: dict[str, set] = {topic: set() for topic in SOURCES}
    for topic in SOURCES:
        values = {(tenant, value) for tenant, _, value in on_log[topic]}
        for among, must in ((sent.acknowledged, True), (sent.unknown, False)):
            for tenant, item in among[topic]:
                value = meaning(topic, item, tenant)
                known[topic].add((tenant, value))
                if must and topic != TENANTS and (tenant, value) not in values:
                    differences.append(f"acknowledged, but not on {topic}: {tenant}: {item!r:.400}")
        if topic == TENANTS:
            differences += rules(records, sent)
    tombstones = {key for _, key, value in on_log[EVALUATIONS] if value is None}
    for tenant, evaluation, must in sent.deleted:
        key = f"{tenant}/{evaluation}".encode()
        known[EVALUATIONS].add((tenant, None))
        if must and key not in tombstones:
            differences.append(f"acknowledged, but not on {EVALUATIONS}: the deletion of {tenant} {evaluation}")
    raw = {(topic, key, meaning(topic, value)) for topic, key, value, _ in sent.raw}
    for topic, key, value, must in sent.raw:
        tenant = key.split(b"/")[0].decode(errors="replace")
        if must and not on_log[topic][tenant, key, meaning(topic, value)]:
            differences.append(f"acknowledged to another producer, but not on {topic}: {key!r}: {value!r:.400}")
    for topic in (EVALUATIONS, BEHAVIOUR, EVENTS):
        for tenant, key, value in on_log[topic]:
            if (tenant, value) not in known[topic] and (topic, key, value) not in raw:
                differences.append(f"on {topic}, but nobody sent it: {key!r}: {value!r:.400}")
    return differences


def meaning(topic: str, value: bytes | None, tenant: str = "") -> bytes | str | None:
    """What must be equal of a value: its bytes, or of evaluations, which the edge writes anew, what they say."""
    if value is None or topic in (BEHAVIOUR, EVENTS):
        return value
    try:
        event = json.loads(value, parse_float=Decimal, parse_int=Decimal)
    except ValueError:
        return value
    if topic == TENANTS or not isinstance(event, dict):
        return value
    if tenant:
        event["tenant_id"] = tenant
    try:
        decode(json.dumps(event, default=str).encode(), event.get("tenant_id", ""), ("evaluation_id", "graded_at"))
    except (Unusable, TypeError):
        return value
    for name in ("score", "max_score", "weight"):
        event[name] = str(Decimal(event.get(name, {"score": 0, "max_score": 100, "weight": 1}[name])).normalize())
    return json.dumps(event, sort_keys=True, default=str)


def rules(records: list[Record], sent: Sent) -> list[str]:
    """Every acknowledged rule stands in a record of its tenant."""
    seen: dict[str, list[dict]] = {}
    for record in records:
        if record.topic == TENANTS and record.value:
            try:
                config = json.loads(record.value)
                seen.setdefault(config["tenant"], []).extend(config["rule"])
            except (ValueError, KeyError, TypeError):
                continue
    differences = []
    for tenant, item in sent.acknowledged[TENANTS]:
        want = json.loads(item)
        if not any(rule_says(rule, want) for rule in seen.get(tenant, [])):
            differences.append(f"acknowledged, but not on {TENANTS}: {tenant}: {item.decode()}")
    return differences


def rule_says(rule: dict, want: dict) -> bool:
    """Whether a recorded rule, with all its defaults written out, says what was asked for."""

    def same(a, b) -> bool:
        if isinstance(b, dict):
            return isinstance(a, dict) and all(name in a and same(a[name], value) for name, value in b.items())
        try:
            return Decimal(str(a)) == Decimal(str(b))
        except ArithmeticError:
            return a == b

    return same(rule, want)
