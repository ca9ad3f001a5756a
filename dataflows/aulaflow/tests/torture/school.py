"""The schools of a run: their tenants, students, calendars and rules, and random events of them. Nothing is sent here."""

from __future__ import annotations

import datetime
import json
import random
from pathlib import Path
from typing import NamedTuple

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

TENANTS = tuple(f"school_{n}" for n in range(8))
STUDENTS = tuple(f"student {n}/ñ" if n == 0 else f"student-{n}" for n in range(5))
SUBJECTS = ("maths", "history", "art")
TYPES = ("exam", "homework", "quiz")
KINDS = ("view", "answer", "forum", "noise")
ZONES = ("UTC", "America/Mexico_City", "Europe/Madrid", "Pacific/Auckland")
PERIODS = ("past", "present")
MAX_SKEW_MS = 5 * MINUTE_MS

SQL = """-- The views of the torture runs: every kind of window, views over views, and one whose expression can fail.
CREATE TABLE behavior (
  event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON
) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', lateness = '10 minutes',
        dedupe = 'event_id', dedupe_horizon = '24 hours');

-- Events leave it while the run goes on.
CREATE MATERIALIZED VIEW fresh AS
SELECT student_id, count(*) AS events, sum(value) AS total
FROM behavior GROUP BY student_id, hop(interval '1 second', interval '8 seconds');

CREATE MATERIALIZED VIEW days AS
SELECT student_id, count(*) AS events, sum(value) AS total, avg(value) AS mean, min(value) AS least,
  max(value) AS most, count(distinct event_type) AS kinds, first(event_type) AS first_kind, last(value) AS last_value
FROM behavior GROUP BY student_id, hop(interval '1 hour', interval '2 days');

CREATE MATERIALIZED VIEW minute AS
SELECT student_id, count(*) AS events, avg(value) AS mean, min(event_type) AS least_kind, max(value) AS most,
  count(distinct value) AS lengths
FROM behavior WHERE event_type <> 'noise' GROUP BY student_id, tumble(interval '1 minute');

CREATE MATERIALIZED VIEW strict AS
SELECT student_id, count(*) AS events, sum(CAST(context->>'n' AS BIGINT)) AS points
FROM behavior GROUP BY student_id, tumble(interval '1 hour');

CREATE MATERIALIZED VIEW sitting AS
SELECT student_id, count(*) AS events, sum(value) AS total, min(value) AS least, last(event_type) AS last_kind
FROM behavior GROUP BY student_id, session(interval '3 seconds');

CREATE MATERIALIZED VIEW minutes AS
SELECT student_id, count(*) AS minutes, sum(events) AS events, max(most) AS most
FROM minute GROUP BY student_id, hop(interval '10 minutes', interval '1 hour');

CREATE MATERIALIZED VIEW sittings AS
SELECT student_id, count(*) AS sittings, max(events) AS longest, last(total) AS last_total
FROM sitting GROUP BY student_id, hop(interval '1 hour', interval '6 hours');

CREATE MATERIALIZED VIEW standing AS
SELECT student_id, count(*) AS subjects, avg(score) AS mean, min(score) AS worst,
  count(*) FILTER (WHERE passing) AS passed
FROM grades WHERE score IS NOT NULL GROUP BY student_id;
"""
"""What `views.py` computes by hand."""

FIRST_RULES = [
    {"subject": "*", "periods": ["*"], "weights": {"exam": 0.5, "homework": 0.3, "quiz": 0.2}, "min_passing": 60},
    {"subject": "maths", "periods": ["*"], "weights": "items", "min_passing": 40},
]


class Behaviour(NamedTuple):
    """A behaviour event as a client sends it."""

    student: str
    id: str
    json: bytes


def rfc3339(ms: int) -> str:
    """An instant in UTC, to the millisecond."""
    at = datetime.datetime.fromtimestamp(ms // 1000, datetime.timezone.utc)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03}Z"


def parse_rfc3339(text: str) -> int:
    """Milliseconds since 1970; a fraction of a millisecond is cut off, as on a clock."""
    at = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    whole = at - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return whole // datetime.timedelta(milliseconds=1)


def calendar(today: datetime.date) -> list[tuple[str, datetime.date, datetime.date]]:
    """The periods of every tenant, both ends inclusive; some days before, between and after belong to none."""
    days = datetime.timedelta
    return [("past", today - days(90), today - days(50)), ("present", today - days(40), today + days(40))]


def write_files(folder: Path, today: datetime.date) -> None:
    """Tenants' files and the SQL."""
    (folder / "tenants").mkdir(parents=True, exist_ok=True)
    (folder / "views.sql").write_text(SQL)
    for number, tenant in enumerate(TENANTS):
        lines = [f'tenant = "{tenant}"', f'timezone = "{ZONES[number % len(ZONES)]}"']
        for name, start, end in calendar(today):
            lines += ["[[period]]", f'id = "{name}"', f"start = {start}", f"end = {end}"]
        for rule in FIRST_RULES:
            weights = rule["weights"]
            table = ", ".join(f"{name} = {weight}" for name, weight in weights.items()) if weights != "items" else ""
            lines += ["[[rule]]", f'subject = "{rule["subject"]}"', 'periods = ["*"]']
            lines += ['weights = "items"' if weights == "items" else f"weights = {{ {table} }}"]
            lines += [f'min_passing = {rule["min_passing"]}']
        (folder / "tenants" / f"{tenant}.toml").write_text("\n".join(lines) + "\n")


def behaviour(rng: random.Random, now_ms: int, ids: "Ids") -> Behaviour:
    """A random event: most happened just now, some earlier, too early, later, or too late; some repeat an id."""
    student = rng.choice(STUDENTS)
    dice = rng.random()
    if dice < 0.60:
        at = now_ms - rng.randrange(6 * SECOND_MS)
    elif dice < 0.72:
        at = now_ms - rng.randrange(3 * HOUR_MS)
    elif dice < 0.84:
        at = now_ms - rng.randrange(46 * HOUR_MS)
    elif dice < 0.90:
        at = now_ms - rng.randrange(46 * HOUR_MS, 60 * HOUR_MS)
    elif dice < 0.96:
        at = now_ms + rng.randrange(20 * SECOND_MS)
    else:
        at = now_ms + rng.randrange(MAX_SKEW_MS - 20 * SECOND_MS, MAX_SKEW_MS + 30 * SECOND_MS)
    event = {"event_id": ids.event(rng, student), "student_id": student, "event_type": rng.choice(KINDS)}
    if rng.random() < 0.9:
        event["value"] = rng.choice((rng.randrange(-5, 100), str(rng.randrange(-5000, 100_000) / 1000), 0, "12.345678"))
    event["occurred_at"] = rfc3339(at)
    if rng.random() < 0.3:
        # The last one is no number: the sum in the view `strict` leaves it out.
        event["context"] = {"n": rng.choice((1, 7, "12", "-3", None, "many"))}
    return Behaviour(student, event["event_id"], json.dumps(event, ensure_ascii=rng.random() < 0.5).encode())


def evaluation(rng: random.Random, now_ms: int) -> dict:
    """A random evaluation, out of few ids: most are corrections, some older than what they correct, some of another
    student or subject than before."""
    number = rng.randrange(60)
    student = STUDENTS[number % len(STUDENTS)] if rng.random() < 0.95 else rng.choice(STUDENTS)
    subject = SUBJECTS[number % 3] if rng.random() < 0.95 else rng.choice(SUBJECTS)
    graded_at = now_ms - rng.choice((rng.randrange(35), rng.randrange(100))) * DAY_MS - rng.randrange(DAY_MS)
    status = rng.choices(("graded", "excused", "missing"), (8, 1, 1))[0]
    event = {
        "evaluation_id": f"e-{number}",
        "student_id": student,
        "subject": subject,
        "type": rng.choice(TYPES) if rng.random() < 0.97 else "essay",
        "max_score": rng.choice((100, 20, "12.5")),
        "weight": rng.choice((1, 2, "0.5")),
        "graded_at": rfc3339(graded_at),
        "status": status,
    }
    if rng.random() < 0.7:
        # Many are of one tenth of a second: then the digits after the milliseconds decide.
        updated = rfc3339(now_ms // 100 * 100 - rng.choice((0, 0, 0, rng.randrange(5 * SECOND_MS))))
        event["updated_at"] = updated.replace("Z", rng.choice(("", "1", "01", "0009", "9", "90001")) + "Z")
    if status == "graded" or rng.random() < 0.3:
        event["score"] = str(rng.randrange(0, 1251) / 100)
    if rng.random() < 0.3:
        event["period"] = rng.choice(PERIODS)
    return event


def rule(rng: random.Random) -> dict:
    """A random rule, as `PUT /v1/rules/{subject}` takes it."""
    if rng.random() < 0.3:
        return {"weights": "items", "min_passing": rng.randrange(101)}
    types, low, high = rng.sample(TYPES, rng.randrange(1, 4)), rng.choice((0, 1)), rng.choice((10, 100))
    made = {
        "weights": {name: f"{rng.randrange(5, 101) / 100}" for name in types},
        "min_passing": rng.randrange(low, high + 1),
        "scale": {"min": low, "max": high},
        "rounding": {"mode": rng.choice(("half_up", "half_even", "down")), "decimals": rng.randrange(4)},
        "absent_category": rng.choice(("renormalise", "zero")),
    }
    if rng.random() < 0.5:
        how = {"combine": rng.choice(("mean", "weighted", "points")), "drop_lowest": rng.randrange(3)}
        made["category"] = {rng.choice(types): how}
    return made


class Ids:
    """Event ids of one writer: new ones, and repetitions of its last ones by the same student."""

    def __init__(self, writer: str) -> None:
        self.writer = writer
        self.count = 0
        self.last: dict[str, list[str]] = {}

    def event(self, rng: random.Random, student: str) -> str:
        """An id; one of twelve repeats one, with whatever else the event says."""
        known = self.last.setdefault(student, [])
        if known and rng.random() < 0.08:
            return rng.choice(known)
        self.count += 1
        made = f"{self.writer}-{self.count}"
        known.append(made)
        del known[:-20]
        return made


def mark_of(tenant: str, mark: str) -> dict:
    """A good evaluation of the poison's key."""
    event = {"tenant_id": tenant, "evaluation_id": f"poison-{mark}", "student_id": STUDENTS[1], "subject": "maths"}
    return {**event, "type": "exam", "score": 99, "graded_at": "2026-01-01T00:00:00Z"}


def poison(rng: random.Random, now_ms: int, tenant: str) -> tuple[str, bytes, bytes | None]:
    """A record that nobody can use: topic, key, value."""
    good = {"tenant_id": tenant, "event_id": "x", "student_id": "s", "event_type": "view", "occurred_at": rfc3339(now_ms)}
    dump = lambda event: json.dumps(event).encode()  # noqa: E731
    mark = f"{rng.getrandbits(48):x}"
    key = f"{tenant}/poison-{mark}".encode()
    behaviour_topic, evaluations, tenants = "aula.behavior.v1", "aula.evaluations.v1", "aula.tenants.v1"
    return rng.choice(
        [
            (behaviour_topic, key, b"\x00\xff\xfe not JSON " + mark.encode()),
            (behaviour_topic, key, dump(good)[:-7] + mark.encode()),
            (behaviour_topic, key, dump([mark])),
            (behaviour_topic, key, dump({**good, "occurred_at": "yesterday " + mark})),
            (behaviour_topic, key, dump({**good, "value": "many " + mark})),
            (behaviour_topic, key, dump({**good, "tenant_id": "another"})),
            (behaviour_topic, key, None),
            (behaviour_topic, b"no tenant? \xff/" + mark.encode(), dump(good)),
            (behaviour_topic, key, b"x" * rng.randrange(200_000, 900_000)),
            (evaluations, key, dump({"tenant_id": tenant, "evaluation_id": "another"})),
            (evaluations, key, b"{}"),
            (evaluations, key, dump({**mark_of(tenant, mark), "updated_at": rfc3339(now_ms + MAX_SKEW_MS + HOUR_MS)})),
            (tenants, tenant.encode(), dump({"tenant": tenant, "rule": mark})),
            (tenants, tenant.encode(), None),
        ]
    )
