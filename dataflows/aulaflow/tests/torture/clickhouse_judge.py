"""Compares what ClickHouse has with what it must have: the present and the past with profiles that were read and with a batch
recomputation, and the differences with each other. Everything is read as it is, and added up here and by ClickHouse."""

from __future__ import annotations

import hashlib
import hmac
import random
import uuid
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from clickhouse_data import TENANTS, History, noon
from clickhouse_engine import Engine
from dataset import DAY_MS, parse_rfc3339
from windows import Behaviour

GRADE_KEY = ("tenant", "student", "subject", "period")
COHORT_KEY = ("tenant", "subject", "period")
FEATURE_KEY = ("tenant", "student")
MACHINERY = ("clock", "diff", "version", "writer", "block", "is_deleted")
TEXTS = ("rule_version",)
"""Values that are texts also where they look like numbers."""
OWN = ("rule_version", "row_version", "updated_at")
"""What the batch recomputation does not know of a row."""
INSTANTS = 10

Key = tuple[str, ...]
Row = dict[str, Any]


class Instant(NamedTuple):
    """The views are known as of it."""

    at: int
    why: str
    phase: int
    day: int | None
    """The last day whose events are in; none: all of the phase."""
    profiles: dict[str, dict[str, dict]] | None
    """By tenant and student, where they were read then."""
    tables: str
    """`changes` or `daily`: which tables it is for."""


class Judge:
    """What a run left."""

    def __init__(self, history: History, cadence: dict[str, str], keys: Path, engine: Engine) -> None:
        self.history = history
        self.cadence = cadence
        self.keys = keys
        self.engine = engine
        self.tables = {"grades": GRADE_KEY, "cohorts": COHORT_KEY} | {view: FEATURE_KEY for view in cadence}
        self.compared: Counter[str] = Counter()
        self.known_rows: dict[tuple[int, int | None], dict[str, Behaviour]] = {}
        self.names: dict[tuple[str, str], str] = {}

    def is_daily(self, table: str) -> bool:
        """Whether a table is kept by the day."""
        return table == "cohorts" or self.cadence.get(table) == "daily"

    def student(self, tenant: str, student: str) -> str:
        """The pseudonym by the key file: HMAC-SHA256, the first half, as a UUID of version 8."""
        if (tenant, student) not in self.names:
            key = bytes.fromhex((self.keys / f"{tenant}.key").read_text().strip())
            digest = bytearray(hmac.new(key, student.encode(), hashlib.sha256).digest()[:16])
            digest[6] = digest[6] & 0x0F | 0x80
            digest[8] = digest[8] & 0x3F | 0x80
            self.names[tenant, student] = str(uuid.UUID(bytes=bytes(digest)))
        return self.names[tenant, student]

    # -- everything

    def everything(self, instants: list[Instant], rng: random.Random, tables: list[str] | None = None) -> list[str]:
        """All that differs, of some tables or all."""
        differences = []
        final = {kind: max((i for i in instants if i.tables == kind), key=lambda i: i.at) for kind in ("changes", "daily")}
        for table in tables or self.tables:
            walked, found = self.walk(table)
            differences += found + self.blocks(table)
            present, found = self.present(table)
            differences += found + differing(f"{table}: the present and the last differences", walked, present)
            mine = [i for i in instants if i.tables == ("daily" if self.is_daily(table) else "changes")]
            if table in ("grades", "cohorts"):
                # Evaluations have no instant of their own: what is in force in the middle of a phase nobody can say.
                mine = [i for i in mine if i.day is None]
            last = final["daily" if self.is_daily(table) else "changes"]
            chosen = rng.sample(mine, min(len(mine), INSTANTS))
            for instant in [last, *(i for i in chosen if i is not last)]:
                differences += self.as_of(table, instant)
            differences += self.against(f"{table} now, and {last.why}", table, without(present), last)
        return differences

    def rows(self, sql: str, key: Key) -> list[tuple[Key, Row]]:
        """An answer's rows with their keys."""
        out = []
        for row in self.engine.ask(sql):
            out.append((tuple(row.pop(name) for name in key), {n: plain(n, v) for n, v in row.items()}))
        return out

    def walk(self, table: str) -> tuple[dict[Key, Row], list[str]]:
        """Goes through a table's differences by version: a row is taken away as it was put, and put where there is none. What is
        there in the end, with its clock and version."""
        differences, by_key = [], defaultdict(lambda: defaultdict(list))
        for key, row in self.rows(f"SELECT * FROM aula.{table}_changes", self.tables[table]):
            by_key[key][row["version"]].append(row)
            self.compared["differences in tables"] += 1
        out = {}
        for key, versions in by_key.items():
            there, clock = None, -1
            for version in sorted(versions):
                rows = sorted(versions[version], key=lambda row: row["diff"])
                if [row["diff"] for row in rows] not in ([1], [-1], [-1, 1]):
                    differences.append(f"{table}_changes {key}: at version {version}: {rows}")
                for row in rows:
                    if parse_rfc3339(row["clock"]) < clock:
                        differences.append(f"{table}_changes {key}: the clock goes back at version {version}")
                    clock = parse_rfc3339(row["clock"])
                    values = {n: v for n, v in row.items() if n not in MACHINERY}
                    if row["diff"] == -1 and there != values:
                        differences.append(f"{table}_changes {key}: takes away {values}, there is {there}")
                    if row["diff"] == 1 and there is not None:
                        differences.append(f"{table}_changes {key}: puts {values} to {there}")
                    there = values if row["diff"] == 1 else None
                    last = row
            if there is not None:
                out[key] = {**there, "clock": last["clock"], "version": last["version"]}
        return out, differences

    def blocks(self, table: str) -> list[str]:
        """No row of a block is there twice, and no sum is anything but 0 or 1, as ClickHouse counts."""
        name = f"aula.{table}_changes"
        twice = self.engine.ask(f"SELECT writer, block, count() AS n FROM (SELECT *, count() AS n FROM {name} GROUP BY ALL HAVING n > 1) GROUP BY ALL")
        sums = self.engine.ask(f"SELECT * EXCEPT (clock, diff, version, writer, block), sum(diff) AS n FROM {name} GROUP BY ALL HAVING n NOT IN (0, 1)")
        return [f"{table}_changes: rows that are there twice: {row}" for row in twice] + [
            f"{table}_changes: adds up to {row['n']}: {row}" for row in sums
        ]

    def present(self, table: str) -> tuple[dict[Key, Row], list[str]]:
        """The rows of the table of the present."""
        out, differences = {}, []
        for key, row in self.rows(f"SELECT * FROM aula.{table} FINAL", self.tables[table]):
            if key in out:
                differences.append(f"{table} {key}: is there twice")
            if row.pop("is_deleted") != 0:
                differences.append(f"{table} {key}: is deleted, and shown")
            out[key] = row
            self.compared["rows of the present"] += 1
        return out, differences

    def as_of(self, table: str, instant: Instant) -> list[str]:
        """The sum of a table's differences up to an instant."""
        rows = self.rows(
            f"SELECT * EXCEPT (clock, diff, version, writer, block), sum(diff) AS n FROM aula.{table}_changes "
            f"WHERE clock <= fromUnixTimestamp64Milli({instant.at}, 'UTC') GROUP BY ALL HAVING n != 0",
            self.tables[table],
        )
        differences, got = [], {}
        name = f"{table} as of {instant.at} ({instant.why})"
        for key, row in rows:
            if row.pop("n") != 1 or key in got:
                differences.append(f"{name}: {key} is there more than once")
            got[key] = row
            self.compared["rows as of instants"] += 1
        self.compared[f"instants, of {'days' if self.is_daily(table) else 'changes'}"] += 1
        return differences + self.against(name, table, got, instant)

    # -- what there must be

    def against(self, name: str, table: str, got: dict[Key, Row], instant: Instant) -> list[str]:
        """Rows against the recomputation, and against the profiles that were read at that instant."""
        differences = differing(f"{name}, recomputed", self.recomputed(table, instant), strip(got))
        if instant.profiles is not None and table != "cohorts":
            differences += differing(f"{name}, shown", self.shown(table, instant), got)
        return differences

    def recomputed(self, table: str, instant: Instant) -> dict[Key, Row]:
        """The rows of a table as of an instant, from what was sent."""
        known = self.history.known[instant.phase]
        if table == "grades":
            return {
                (tenant, self.student(tenant, student), subject, period): grade_row(grade)
                for tenant in TENANTS
                for (student, subject, period), grade in known.grades(tenant).items()
            }
        if table == "cohorts":
            return {
                (tenant, *key): cohort_row(cohort)
                for tenant in TENANTS
                for key, cohort in known.cohorts(tenant).items()
            }
        place = instant.phase, instant.day
        if place not in self.known_rows:
            self.known_rows[place] = self.history.behaviour(*place)
        # What is kept by the day is as of the end of the day before.
        clock = instant.at // DAY_MS * DAY_MS - 1 if self.is_daily(table) else instant.at
        out = {}
        for tenant, behaviour in self.known_rows[place].items():
            for student in self.history.students[tenant]:
                row = behaviour.features(student, clock).get(table)
                if row is not None:
                    out[tenant, self.student(tenant, student)] = feature_row(row)
        return out

    def shown(self, table: str, instant: Instant) -> dict[Key, Row]:
        """The same from profiles."""
        out = {}
        for tenant, profiles in (instant.profiles or {}).items():
            for student, profile in profiles.items():
                key = tenant, self.student(tenant, student)
                if table == "grades":
                    for grade in profile["grades"]:
                        own = {n: grade[n] for n in ("rule_version", "updated_at")}
                        row = {**grade_row(grade), **own, "row_version": grade["version"]}
                        out[*key, grade["subject"], grade["period"]] = row
                elif table in profile["features"]:
                    row = profile["features"][table]
                    out[key] = {**feature_row(row), "updated_at": row["updated_at"]}
        return out


def instants_of(
    history: History, phase: int, exact: bool, profiles: dict | None, rng: random.Random
) -> list[Instant]:
    """Instants around a phase's end, and, if nothing was killed in it (`exact`), within it. After its last event the clock stands
    at noon, and changes next at noon of the next day."""
    one = history.phases[phase]
    name = f"after phase {phase}"
    midnight = (one.last + 1) * DAY_MS
    out = [Instant(rng.randrange(noon(one.last), midnight), name, phase, None, profiles, "changes")]
    if phase + 1 < len(history.phases):
        # By the day: as of the midnight after it, which comes to pass in the next phase.
        at = rng.randrange(midnight, noon(one.last + 1))
        out.append(Instant(at, name, phase, None, profiles, "daily"))
    # The first phase comes in one piece, with which the clock passes all its days at once.
    for day in range(one.before + 1, one.last) if exact and phase else ():
        name = f"in phase {phase}, day {day}"
        midnight = (day + 1) * DAY_MS
        out.append(Instant(rng.randrange(noon(day), midnight), name, phase, day, None, "changes"))
        out.append(Instant(rng.randrange(midnight, noon(day + 1)), name, phase, day, None, "daily"))
    return out


def differing(name: str, want: dict[Key, Row], got: dict[Key, Row]) -> list[str]:
    """Keys whose rows differ."""
    return [
        f"{name}: {key}: expected {want.get(key)}, got {got.get(key)}"
        for key in sorted(want.keys() | got.keys())
        if want.get(key) != got.get(key)
    ]


def plain(name: str, value: Any) -> Any:
    """A value so that equal ones are equal: numbers with a point as they are in the shortest text."""
    if isinstance(value, dict):
        return {n: plain(n, v) for n, v in value.items()}
    if isinstance(value, str) and name not in TEXTS:
        try:
            return number(value)
        except ArithmeticError:
            return value
    return value


def number(text: str | int) -> str:
    """A decimal in its shortest text."""
    made = Decimal(text)
    if not made.is_finite():
        raise ArithmeticError(text)
    return f"{made.normalize():f}" if made else "0"


def of(value: str | int | None) -> str | None:
    """The same of what may be nothing."""
    return None if value is None else number(value)


def grade_row(grade: dict) -> Row:
    """A grade as the table has it, without what only the product knows."""
    score = grade["score"]
    return {
        "score": of(score),
        "score_decimals": None if score is None else len(score.partition(".")[2]),
        "passing": grade["passing"],
        "complete": grade["complete"],
        "evaluations_count": grade["evaluations_count"],
        "by_category": {
            name: {
                "value": of(own["value"]),
                "weight": number(own["weight"]),
                "counted": own["counted"],
                "dropped": own["dropped"],
            }
            for name, own in grade["by_category"].items()
        },
    }


def cohort_row(cohort: Any) -> Row:
    """A cohort as the table has it."""
    numbers = cohort.numbers
    out = {name: of(numbers[name]) for name in ("mean", "stddev", "pass_rate")}
    scale = {"scale_min": str(cohort.low), "scale_max": str(cohort.high)}
    return {"count": numbers["count"], **out, "histogram": list(cohort.bins), **{n: number(v) for n, v in scale.items()}}


def feature_row(row: dict) -> Row:
    """A feature's row as the table has it: integers as they are, decimals in their shortest text."""
    return {n: number(v) if isinstance(v, str) else v for n, v in row.items() if n not in ("window", "updated_at")}


def strip(rows: dict[Key, Row]) -> dict[Key, Row]:
    """Without what the recomputation does not know."""
    return {key: {n: v for n, v in row.items() if n not in OWN} for key, row in rows.items()}


def without(rows: dict[Key, Row]) -> dict[Key, Row]:
    """Without what makes versions."""
    return {key: {n: v for n, v in row.items() if n not in MACHINERY} for key, row in rows.items()}
