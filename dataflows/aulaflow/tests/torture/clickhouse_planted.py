"""Whether the comparisons with ClickHouse can fail: spoils one thing after the other in what a real run left there, and expects
each to be found, and nothing without them."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import NamedTuple

import clickhouse_run
from clickhouse_judge import FEATURE_KEY
from clickhouse_run import Plan, Run, Setting

SEED = 3
NUMBERS = ("events", "visits", "clicks", "material_clicks")
"""Columns of views, of which each view has one."""
WEEK = "INTERVAL 7 DAY"
OTHER = "toUUID('00000000-0000-8000-8000-000000000001')"


class Spoil(NamedTuple):
    """One row of a table is replaced by some."""

    name: str
    table: str
    instead: tuple[str, ...]
    """What `REPLACE` says of each row that takes its place; empty: it is as it was."""


def spoils(table: str, key: tuple[str, ...], column: str) -> list[Spoil]:
    """What can be wrong with the two tables of a relation, of which `column` holds a number."""
    changes, value = f"{table}_changes", f"{column} + 1"
    out = [
        Spoil("a difference is gone", changes, ()),
        Spoil("a difference is there twice", changes, ("", "")),
        Spoil("a difference is there in another block too", changes, ("", "block + 100000 AS block")),
        Spoil("a difference says something else", changes, (f"{value} AS {column}",)),
        Spoil("a difference counts the other way", changes, ("-diff AS diff",)),
        Spoil("a difference came later", changes, (f"clock + {WEEK} AS clock",)),
        Spoil("a difference came earlier", changes, (f"clock - {WEEK} AS clock",)),
        Spoil("a row of the present is gone", table, ()),
        Spoil("a row of the present says something else", table, (f"{value} AS {column}",)),
        Spoil("a row of the present is deleted", table, ("", "toUInt8(1) AS is_deleted, version + 1 AS version")),
        Spoil("a row of the present is of another version", table, ("version + 1 AS version",)),
    ]
    if "student" in key:
        out.append(Spoil("a difference is of another student", changes, (f"{OTHER} AS student",)))
        out.append(Spoil("a row of the present is another student's", table, (f"{OTHER} AS student",)))
    return out


def run(repository: Path, binary: Path, data: Path) -> int:
    """The exit code."""
    setting = Setting(repository, binary, data)
    plan = Plan.of(SEED, setting.views, setting.points)._replace(ends=(None,) * clickhouse_run.PHASES, faulty=False)
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="aulaflow-torture-") as work:
        after = lambda made: missed.extend(plant(made))  # noqa: E731
        made = clickhouse_run.one(plan, setting, Path(work) / "self-test", False, after)
    for name in missed:
        print(f"NOT FOUND: {name}")
    return 1 if missed or made.differences else 0


def plant(made: Run) -> list[str]:
    """Spoils what a run left; what was not found."""
    rng, judge = random.Random(SEED), made.judge
    if made.differences:
        return ["nothing can be told: the run itself differs"]
    # Of each cadence the view with the most rows.
    rows = {view: made.engine.ask(f"SELECT count() AS n FROM aula.{view} FINAL")[0]["n"] for view in judge.cadence}
    of_cadence = {judge.cadence[view]: view for view in sorted(rows, key=lambda view: rows[view])}
    every = spoils("grades", judge.tables["grades"], "evaluations_count")
    every += spoils("cohorts", judge.tables["cohorts"], "count")
    for view in of_cadence.values():
        row = made.engine.ask(f"SELECT * FROM aula.{view} LIMIT 1")[0]
        column = next(name for name in row if name in NUMBERS)
        every += spoils(view, FEATURE_KEY, column)
    missed = []
    for spoil in every:
        with_one_spoilt(made, spoil, rng)
        relation = spoil.table.removesuffix("_changes")
        found = judge.everything(made.instants, random.Random(SEED), [relation])
        print(f"{len(found):5} differences: {spoil.table}: {spoil.name}", flush=True)
        if not found:
            missed.append(f"{spoil.table}: {spoil.name}")
        mend(made, spoil.table)
    if rest := judge.everything(made.instants, random.Random(SEED)):
        missed.append(f"all was mended, and {len(rest)} differ: {rest[0]}")
    return missed


def with_one_spoilt(made: Run, spoil: Spoil, rng: random.Random) -> None:
    """Spoils one row. A difference that a later one takes away is as good as any."""
    ask, table = made.engine.ask, f"aula.{spoil.table}"
    ask(f"CREATE TABLE {table}_kept AS {table}")
    ask(f"INSERT INTO {table}_kept SETTINGS insert_deduplicate = 0 SELECT * FROM {table}")
    key = made.judge.tables[spoil.table.removesuffix("_changes")]
    rows = ask(f"SELECT * FROM {table} {'FINAL' if not spoil.table.endswith('_changes') else ''} ORDER BY ALL")
    row = rng.choice(rows)
    names = [*key, "version", *(("diff",) if "diff" in row else ())]
    this = " AND ".join(f"{name} = {literal(row[name])}" for name in names)
    ask(f"ALTER TABLE {table} DELETE WHERE {this} SETTINGS mutations_sync = 2")
    if not spoil.table.endswith("_changes"):
        # Older versions would show through.
        ask(f"ALTER TABLE {table} DELETE WHERE {' AND '.join(f'{n} = {literal(row[n])}' for n in key)} SETTINGS mutations_sync = 2")
    for replace in spoil.instead:
        columns = f"* REPLACE ({replace})" if replace else "*"
        # Within, so that the condition is not on what takes its place.
        found = f"(SELECT * FROM {table}_kept WHERE {this} LIMIT 1)"
        ask(f"INSERT INTO {table} SETTINGS insert_deduplicate = 0 SELECT {columns} FROM {found}")


def mend(made: Run, name: str) -> None:
    """As it was."""
    table = f"aula.{name}"
    for sql in (
        f"TRUNCATE TABLE {table}",
        f"INSERT INTO {table} SETTINGS insert_deduplicate = 0 SELECT * FROM {table}_kept",
        f"DROP TABLE {table}_kept SYNC",
    ):
        made.engine.ask(sql)


def literal(value: str | int) -> str:
    """A value as SQL takes it."""
    return str(value) if isinstance(value, int) else f"'{value}'"
