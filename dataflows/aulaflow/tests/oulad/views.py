"""The twelve views of views/views.sql against DuckDB: at three instants of the history, and after their configuration
was changed."""

from __future__ import annotations

import datetime
import json
import re
import time
from pathlib import Path

from compare import misshapen, negative, same
from dataset import DAY_MS, parse_rfc3339, rfc3339
from engine import Engine
from scenarios import BATCH, Run, behaviour_request, chunks
from server import Program

FOLDER = Path(__file__).resolve().parent / "views"

INSTANTS = {
    "in the middle of AAA 2013J": datetime.date(2014, 2, 12),
    "in the middle of AAA 2014J": datetime.date(2015, 2, 12),
    "at the end": datetime.date.max,
}


def days(kind: str, slide: int, size: int, **more: str) -> dict:
    """A window of days as a profile shows it, without its bounds."""
    return {"kind": kind, "slide_s": slide * 86_400, "size_s": size * 86_400, **more}


def session(gap: int) -> dict:
    """A session window with a gap of days, likewise."""
    return {"kind": "session", "gap_s": gap * 86_400}


WINDOWS = {
    "today": days("tumble", 1, 1),
    "week": days("hop", 1, 7),
    "month": days("hop", 7, 28),
    "year": days("hop", 7, 364),
    "open_session": session(3),
    "long_session": session(7),
    "auckland_day": days("tumble", 1, 1, zone="Pacific/Auckland"),
    "auckland_month": days("hop", 1, 28, zone="Pacific/Auckland"),
    "london_week": days("tumble", 7, 7, zone="Europe/London"),
    "daily_trend": days("hop", 7, 56),
    "rhythm": days("hop", 1, 28),
    "streak": session(14),
}
"""The windows of views/views.sql."""

CHANGED = {
    "month": days("hop", 7, 56),
    "open_session": session(5),
    "hours": {"kind": "hop", "slide_s": 8 * 3_600, "size_s": 40 * 3_600},
}
"""The windows that are others in views/changed.sql."""


def views(run: Run) -> None:
    """8. The history in order, up to three instants; killed runs are killed once on the way to each."""
    engine = loaded(run)
    clicks = sorted(run.setting.dataset.clicks, key=lambda click: (click.day, click.row))
    at = 0
    for what, date in INSTANTS.items():
        if run.setting.quick and what != "in the middle of AAA 2014J":
            continue
        upto = next((place for place in range(at, len(clicks)) if clicks[place].day > day_of(date)), len(clicks))
        piece, at = clicks[at:upto], upto
        requests = [behaviour_request(chunk) for chunk in chunks(piece, BATCH)]
        run.report.say(f"{run.name}: {len(piece)} events until {what}")
        run.send(requests, run.a_kill(len(requests)))
        engine.set_clock(piece[-1].day * DAY_MS + DAY_MS // 2)
        compare_views(run, what, engine, WINDOWS)
    if run.kill:
        run.server.kill()
        run.restart()
        compare_views(run, "after one more kill at rest", engine, WINDOWS)
    run.dead_letters("views", 0, 0, "everything comes in order")


def changed(run: Run) -> None:
    """9. The import, then a restart with views added and changed; killed runs are killed while they are made."""
    engine = loaded(run)
    run.server.run_import(run.setting.data, lambda: None)
    engine.set_clock(max(click.day for click in run.setting.dataset.clicks) * DAY_MS + DAY_MS // 2)
    compare_views(run, "import", engine, WINDOWS)
    run.server.stop()
    run.server.program = changed_program(run.server.program, run.server.folder / "changed")
    engine.change()
    windows = WINDOWS | CHANGED
    if run.kill:
        # Starting takes a second or two: killed again and again, it must come to the same in the end.
        for _ in range(3):
            run.server.launch()
            time.sleep(run.rng.random() * 1.5)
            run.server.kill()
    begun = run.report.seconds()
    run.restart()
    run.report.number(f"{run.name}: ready with the changed views after {run.report.seconds() - begun:.1f} s")
    compare_views(run, "changed views", engine, windows)
    run.server.kill()
    run.restart()
    compare_views(run, "changed views, after a kill at rest", engine, windows)
    run.dead_letters("changed views", 0, 0, "everything comes in order")


def day_of(date: datetime.date) -> int:
    """Days since 1970-01-01."""
    return (date - datetime.date(1970, 1, 1)).days


def loaded(run: Run) -> Engine:
    """DuckDB with the dataset; what it reads must be what is sent."""
    engine = Engine(run.setting.data)
    ours = (
        (c.student, f"vle-{c.row}", c.type, c.value, c.day * DAY_MS + DAY_MS // 2) for c in run.setting.dataset.clicks
    )
    differences = [f"sent {sent}, DuckDB reads {read}" for sent, read in zip(ours, engine.history()) if sent != read]
    run.report.check(
        f"{run.name}: DuckDB reads the same events", differences, f"{len(run.setting.dataset.clicks)} events"
    )
    return engine


def changed_program(program: Program, folder: Path) -> Program:
    """The program with the configuration changed: views.sql without those views that changed.sql has."""
    folder.mkdir()
    statement = re.compile(r"^CREATE MATERIALIZED VIEW (\w+).*?;\n", flags=re.MULTILINE | re.DOTALL)
    changed_sql = (FOLDER / "changed.sql").read_text()
    replaced = {match[1] for match in statement.finditer(changed_sql)}
    views_sql = (FOLDER / "views.sql").read_text()
    kept = statement.sub(lambda match: "" if match[1] in replaced else match[0], views_sql)
    (folder / "views.sql").write_text(kept + changed_sql)
    (folder / "vle.sql").write_text((FOLDER / "vle.sql").read_text())
    (folder / "views.toml").write_text((FOLDER / "views.toml").read_text())
    return Program(program.binary, folder / "views.toml")


def compare_views(run: Run, what: str, engine: Engine, windows: dict[str, dict]) -> None:
    """Compares every row of every view with DuckDB's; one line per view. The server must be at rest."""
    server, report, students = run.server, run.report, run.setting.students
    [[clock_ms]] = engine.connection.execute("FROM clock").fetchall()
    server.wait_visible()
    server.wait_clock(clock_ms)
    got, _ = server.profiles(students)
    name = f"{run.name}: {what}"
    faults = [f"{student}: {fault}" for student, profile in got.items() if (fault := misshapen(profile))]
    faults += [f"{s}: as of {p['as_of']}" for s, p in got.items() if parse_rfc3339(p["as_of"]) != clock_ms]
    report.check(f"{name}: profiles as of {rfc3339(clock_ms)}", faults, f"{len(got)} profiles")
    rows = {}
    for view, window in windows.items():
        want = engine.rows(view)
        rows[view] = len(want)
        differences = []
        for student in students:
            expected = None
            if student in want:
                values, start, end = want[student]
                expected = {**values, "window": {**window, "start": rfc3339(start), "end": rfc3339(end)}}
            row = got.get(student, {"features": {}})["features"].get(view)
            shown = row and {name: value for name, value in row.items() if name != "updated_at"}
            if not same(expected, shown):
                differences.append(f"{student}: DuckDB says {json.dumps(expected)}, we {json.dumps(shown)}")
        report.check(f"{name}: {view}", differences, f"{len(want)} rows, {len(students) - len(want)} students without")
    unknown = {view for profile in got.values() for view in profile["features"]} - windows.keys()
    report.check(f"{name}: no other views", [f"{view} is shown" for view in sorted(unknown)])
    negative(report, name, server)
    report.number(f"{name}: {sum(rows.values())} rows: {', '.join(f'{view} {count}' for view, count in rows.items())}")
