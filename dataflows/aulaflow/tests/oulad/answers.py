"""How grades and features are explained, and how soon a rule shows, with the twelve views running: everything is
compared with the profiles and with what was sent. What it took is printed, not judged."""

from __future__ import annotations

import json
import time
import urllib.parse

from compare import same
from dataset import DAY_MS, parse_rfc3339
from grading import ITEMS_RULE
from report import percentiles
from scenarios import BATCH, Run, behaviour_request, chunks, put_rule
from server import Request
from views import INSTANTS, WINDOWS, compare_views, day_of, loaded

EXPLAINED = 500
"""Grades that are explained, and features."""
RULES = [
    {
        "weights": {"tma": "0.4", "cma": "0.2", "exam": "0.4"},
        "category": {"tma": {"drop_lowest": 1}},
        "min_passing": 40,
    },
    ITEMS_RULE,
]
"""Rules for everything, in turn."""
CHANGES = 10
"""How often the rule changes."""
WATCHED = 200
"""Students who are looked at until all of them show a rule."""
LOOK_EVERY_S = 0.002
"""A pause between two looks, since the server works on the same cores."""
EVENTS = {"week": 20, "open_session": 5, "auckland_month": 50}
"""Views whose explanations show events, and how many at most."""
COUNTING = ("today", "week", "year", "open_session", "long_session", "auckland_day", "london_week")
"""Views of events whose output `visits` counts them."""


def answers(run: Run) -> None:
    """10. All evaluations, the history up to the middle of AAA 2014J; then explanations, then changes of the rule."""
    engine = loaded(run)
    what, date = list(INSTANTS.items())[1]
    clicks = sorted(run.setting.dataset.clicks, key=lambda click: (click.day, click.row))
    clicks = [click for click in clicks if click.day <= day_of(date)]
    evaluations = run.setting.dataset.evaluations
    run.server.send(put_rule("*", ITEMS_RULE))
    for chunk in chunks(evaluations, BATCH):
        run.server.send(
            Request("admin", "POST", "/v1/evaluations:batch", json.dumps([e.json() for e in chunk]).encode())
        )
    for chunk in chunks(clicks, BATCH):
        run.server.send(behaviour_request(chunk))
    run.expected.evaluations = {e.id: e for e in evaluations}
    engine.set_clock(clicks[-1].day * DAY_MS + DAY_MS // 2)
    compare_views(run, what, engine, WINDOWS)
    profiles, _ = run.server.profiles(run.setting.students)
    explained_grades(run, profiles)
    explained_features(run, profiles, engine)
    differing = {k: v for k, v in run.server.metrics().items() if "explain_disagreements" in k and v != 0}
    run.report.check(f"{run.name}: no explanation disagreed", [f"{k} is {v}" for k, v in differing.items()])
    rule_changes(run)


def explain(run: Run, student: str, name: str, query: str, times: list[float]) -> dict:
    """One explanation, and how long it took."""
    path = f"/v1/students/{urllib.parse.quote(student)}/explain/{urllib.parse.quote(name)}{query}"
    began = time.monotonic()
    answer = run.server.get(path, "teacher")
    times.append(time.monotonic() - began)
    return answer.json()


def explained_grades(run: Run, profiles: dict[str, dict]) -> None:
    """Random grades: the explanation, what is served and the profile are the same."""
    every = [(student, row) for student, profile in profiles.items() for row in profile["grades"]]
    by_key: dict[tuple, set] = {}
    for e in run.expected.evaluations.values():
        by_key.setdefault((e.student, e.subject, e.period), set()).add(e.id)
    times: list[float] = []
    differences = []
    for student, row in run.rng.sample(every, EXPLAINED):
        key = (student, row["subject"], row["period"])
        answer = explain(run, student, row["subject"], f"?period={row['period']}", times)
        served = {name: value for name, value in row.items() if name not in ("subject", "period", "cohort")}
        made = {name: value for name, value in served.items() if name not in ("version", "updated_at")}
        used = [e["used"] for e in answer["evaluations"]]
        faults = [
            ("agrees", True, answer["agrees"]),
            ("served", served, answer["served"]),
            ("grade", made, answer["grade"]),
            ("counted", row["evaluations_count"], used.count("counted") + used.count("dropped")),
        ]
        differences += [
            f"{key}: {name}: expected {want}, got {got}" for name, want, got in faults if not same(want, got)
        ]
        if {e["evaluation_id"] for e in answer["evaluations"]} != by_key[key]:
            differences.append(f"{key}: the evaluations are others than those sent")
    run.report.check(f"{run.name}: explained grades", differences, f"{len(times)} of {len(every)}")
    run.report.number(f"{run.name}: explaining a grade takes {percentiles(times)}")


def explained_features(run: Run, profiles: dict[str, dict], engine) -> None:
    """Random features: the explanation and the profile are the same; panes and events are the window's."""
    every = [(student, view, row) for student, p in profiles.items() for view, row in p["features"].items()]
    times: list[float] = []
    differences = []
    panes = events = 0
    for student, view, row in run.rng.sample(every, EXPLAINED):
        answer = explain(run, student, view, "", times)
        values = {name: value for name, value in row.items() if name not in ("window", "updated_at")}
        window = {name: row["window"][name] for name in ("kind", "start", "end")}
        faults = [
            ("agrees", True, answer["agrees"]),
            ("values", values, answer["values"]),
            ("served", {**values, "updated_at": row["updated_at"]}, answer["served"]),
            ("window", window, {name: answer["window"].get(name) for name in window}),
            ("as_of", profiles[student]["as_of"], answer["as_of"]),
        ]
        start, end = (parse_rfc3339(window[name]) for name in ("start", "end"))
        bounds = [(parse_rfc3339(pane["start"]), parse_rfc3339(pane["end"])) for pane in answer["panes"]]
        inside = all(start <= from_ms <= to_ms <= end for from_ms, to_ms in bounds)
        in_order = all(one[1] <= next_one[0] for one, next_one in zip(bounds, bounds[1:]))
        # Rows of other views lie in the window with their start only.
        faults.append(("panes in order", True, in_order and (inside or view in ("rhythm", "streak"))))
        if view in COUNTING:
            faults.append(
                ("panes' visits", values["visits"], sum(pane["values"]["visits"] for pane in answer["panes"]))
            )
        want_events = engine.newest(student, start, end, EVENTS[view]) if view in EVENTS else []
        faults.append(("events", want_events, answer["events"]))
        panes, events = panes + len(bounds), events + len(want_events)
        differences += [
            f"{student} {view}: {name}: expected {json.dumps(want)}, got {json.dumps(got)}"
            for name, want, got in faults
            if not same(want, got)
        ]
    detail = f"{len(times)} of {len(every)}, {panes} panes, {events} events"
    run.report.check(f"{run.name}: explained features", differences, detail)
    run.report.number(f"{run.name}: explaining a feature takes {percentiles(times)}")


def rule_changes(run: Run) -> None:
    """The rule for everything changes; how long it takes from the answer until every profile shows it."""
    server, students = run.server, run.setting.students
    every = [json.dumps({"student_ids": part}).encode() for part in chunks(students, 500)]
    watched = json.dumps({"student_ids": run.rng.sample(students, WATCHED)}).encode()
    read = lambda body: server.send(Request("service", "POST", "/v1/profiles:batchGet", body)).body
    version = lambda: server.get("/v1/rules/*", "admin").json()["rule_version"]
    shown = lambda name: f'"rule_version":"{name}"'.encode()
    watched_times, all_times = [], []
    rows = 0
    for number in range(CHANGES):
        old = shown(version())
        rule = RULES[number % len(RULES)]
        server.send(put_rule("*", rule))
        began = time.monotonic()
        while old in read(watched):
            time.sleep(LOOK_EVERY_S)
        watched_times.append(time.monotonic() - began)
        bodies = [read(body) for body in every]
        while any(old in body for body in bodies):
            bodies = [read(body) for body in every]
        all_times.append(time.monotonic() - began)
        run.rules["*"] = rule
        new = shown(version())
        rows = changed_rows(run, f"change {number + 1} of the rule", bodies, new)
    began = time.monotonic()
    for body in every:
        read(body)
    reading = time.monotonic() - began
    run.report.number(
        f"{run.name}: a rule for {rows} grades, {CHANGES} times, from its answer until {WATCHED} students show it: "
        f"{percentiles(watched_times)}; until all profiles were read and show it: {percentiles(all_times)} "
        f"(reading all of them takes {reading * 1000:.0f} ms)"
    )


def changed_rows(run: Run, what: str, bodies: list[bytes], new: bytes) -> int:
    """Compares every grade in the bodies with the recomputation under the new rule; how many there are."""
    expected = run.expected.grades()
    differences = []
    rows = 0
    for body in bodies:
        for profile in json.loads(body)["profiles"]:
            for row in profile["grades"]:
                rows += 1
                key = (profile["student_id"], row["subject"], row["period"])
                got = {name: row[name] for name in expected.get(key, row)}
                if not same(expected.get(key), got):
                    differences.append(f"{key}: expected {json.dumps(expected.get(key))}, got {json.dumps(got)}")
    shown = sum(body.count(new) for body in bodies)
    if shown != rows or rows != len(expected):
        differences.append(f"{shown} of {rows} grades have the new rule's version; expected all of {len(expected)}")
    run.report.check(f"{run.name}: {what}: every grade", differences, f"{rows} grades")
    return rows
