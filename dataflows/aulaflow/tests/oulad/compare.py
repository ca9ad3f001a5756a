"""What the API answers against what it must answer. Knows no scenario."""

from __future__ import annotations

import json
from typing import Callable

from cohorts import Cohort, cohorts
from dataset import DAY_MS, Evaluation, parse_rfc3339, rfc3339
from grading import grades
from report import Report
from server import Request, Server
from windows import Behaviour

UNKNOWN = ["0", "999999999", "no-such-student", "28400x"]
"""Ids that nothing was ever sent for."""

GRADE_MEMBERS = {
    "subject",
    "period",
    "score",
    "passing",
    "complete",
    "evaluations_count",
    "by_category",
    "rule_version",
    "version",
    "updated_at",
    "cohort",
}
PROFILE_MEMBERS = {"tenant_id", "student_id", "as_of", "grades", "features"}

Key = tuple[str, str, str]


class Expected:
    """What was sent and is in force, from which every profile follows."""

    def __init__(self, students: list[str], rule_of: Callable[[str, str], dict]) -> None:
        self.students = students
        self.rule_of = rule_of
        self.evaluations: dict[str, Evaluation] = {}
        self.behaviour = Behaviour()

    def grades(self) -> dict[Key, dict]:
        """All grades by (student, subject, period)."""
        return grades(self.evaluations.values(), self.rule_of)


class Seen:
    """What a comparison saw, for the next one."""

    def __init__(self) -> None:
        self.versions: dict[Key, int] = {}
        self.rule_versions: dict[Key, str] = {}
        self.grades: dict[Key, dict] = {}


def compare(report: Report, name: str, server: Server, expected: Expected) -> Seen:
    """Compares every profile with the recomputation; one line per kind of thing. The server must be at rest."""
    clock_ms = behaviour_clock(expected)
    server.wait_visible()
    if clock_ms is not None:
        server.wait_clock(clock_ms)
    report.say(f"{name}: recomputing")
    expected_grades = expected.grades()
    expected_cohorts = cohorts(expected_grades, expected.rule_of)
    got, missing = server.profiles(expected.students + UNKNOWN)
    seen = Seen()
    shape, rows, features, among = [], [], [], []
    counts = {"null": 0, "features": 0}
    by_student: dict[str, dict[tuple[str, str], dict]] = {}
    for (student, subject, period), grade in expected_grades.items():
        by_student.setdefault(student, {})[subject, period] = grade
        counts["null"] += grade["score"] is None
    expected_students = set()
    as_of_seen = set()
    for student in expected.students:
        profile = got.get(student)
        as_of = clock_ms
        if profile is not None:
            fault = misshapen(profile)
            if fault:
                shape.append(f"{student}: {fault}: {json.dumps(profile)[:400]}")
                continue
            as_of = parse_rfc3339(profile["as_of"])
            as_of_seen.add(as_of)
        want_features = expected.behaviour.features(student, as_of) if as_of is not None else {}
        if by_student.get(student) or want_features:
            expected_students.add(student)
        rows += grade_differences(student, by_student.get(student, {}), profile, seen)
        among += cohort_differences(student, expected_cohorts, profile)
        features += feature_differences(student, want_features, profile)
        counts["features"] += len(want_features)
    report.check(f"{name}: profiles have the contract's shape", shape, f"{len(got)} profiles")
    nulls = counts["null"]
    report.check(
        f"{name}: grades",
        rows,
        f"{len(expected_grades)} (student, subject, period), {nulls} null, {len(rows)} differences",
    )
    report.check(f"{name}: cohorts", among, f"{len(expected_cohorts)} cohorts, {len(among)} differences in grades")
    report.check(
        f"{name}: features",
        features,
        f"{counts['features']} of {len(expected.students)} students, {len(features)} differences",
    )
    extra = [
        f"{s}: has a profile, expected none: {json.dumps(got[s])[:300]}" for s in got if s not in expected_students
    ]
    extra += [f"{s}: has no profile, expected one" for s in sorted(expected_students - got.keys())]
    extra += [
        f"{s}: is missing, but in neither list"
        for s in expected.students + UNKNOWN
        if s not in got and s not in set(missing)
    ]
    served = server.metrics().get("aulaflow_serving_students")
    if served != len(expected_students):
        extra.append(f"aulaflow_serving_students: expected {len(expected_students)}, got {served}")
    report.check(f"{name}: students", extra, f"{len(expected_students)} with a profile, {len(missing)} without")
    clock(report, name, clock_ms, as_of_seen)
    one_by_one(report, name, server, got)
    negative(report, name, server)
    return seen


def behaviour_clock(expected: Expected) -> int | None:
    """The event clock: the highest event time seen (the configuration's lateness is 0)."""
    last = expected.behaviour.last_day
    return None if last is None else last * DAY_MS + DAY_MS // 2


def misshapen(profile: dict) -> str | None:
    """What is wrong with a profile's outer form."""
    if set(profile) != PROFILE_MEMBERS:
        return f"members {sorted(profile)}"
    for grade in profile["grades"]:
        if set(grade) != GRADE_MEMBERS:
            return f"a grade's members {sorted(grade)}"
        if type(grade["version"]) is not int or grade["version"] < 1:
            return f"version {grade['version']!r}"
    rows = profile["grades"] + list(profile["features"].values())
    try:
        as_of = parse_rfc3339(profile["as_of"])
        late = [row["updated_at"] for row in rows if parse_rfc3339(row["updated_at"]) > as_of]
    except (ValueError, KeyError, TypeError) as error:
        return f"a time is wrong: {error!r}"
    return f"updated_at {late} after as_of {profile['as_of']}" if late else None


def grade_differences(student: str, want: dict, profile: dict | None, seen: Seen) -> list[str]:
    """Every grade that is not as recomputed, to the last digit and type."""
    rows = profile["grades"] if profile else []
    keys = [(row["subject"], row["period"]) for row in rows]
    differences = []
    if keys != sorted(set(keys)):
        differences.append(f"{student}: grades are not in order of (subject, period), each once: {keys}")
    for row, key in zip(rows, keys):
        got = {
            name: row[name]
            for name in row
            if name not in ("subject", "period", "rule_version", "version", "updated_at", "cohort")
        }
        if not same(want.get(key), got):
            differences.append(f"{student} {key}: expected {json.dumps(want.get(key))}, got {json.dumps(got)}")
        seen.versions[student, *key] = row["version"]
        seen.rule_versions[student, *key] = row["rule_version"]
        # The cohort changes with other students' grades.
        seen.grades[student, *key] = {name: row[name] for name in row if name != "cohort"}
    for key in sorted(want.keys() - set(keys)):
        differences.append(f"{student} {key}: expected {json.dumps(want[key])}, got no grade")
    return differences


def cohort_differences(student: str, want: dict[tuple[str, str], Cohort], profile: dict | None) -> list[str]:
    """Every grade whose cohort is not as recomputed."""
    differences = []
    for row in profile["grades"] if profile else []:
        cohort = want.get((row["subject"], row["period"]))
        shown = cohort.shown(row["score"]) if cohort else None
        if not same(shown, row["cohort"]):
            differences.append(
                f"{student} {row['subject']} {row['period']}: expected {json.dumps(shown)}, got {json.dumps(row['cohort'])}"
            )
    return differences


def feature_differences(student: str, want: dict, profile: dict | None) -> list[str]:
    """Every feature that is not as recomputed, its window included."""
    as_of = profile["as_of"] if profile else "no profile"
    features = profile["features"] if profile else {}
    got = {name: {k: v for k, v in row.items() if k != "updated_at"} for name, row in features.items()}
    return [
        f"{student} {name} as of {as_of}: expected {json.dumps(want.get(name))}, got {json.dumps(got.get(name))}"
        for name in sorted(want.keys() | got.keys())
        if not same(want.get(name), got.get(name))
    ]


def under_way(report: Report, name: str, watched: list[dict], behaviour: Behaviour) -> None:
    """Profiles that were read while events came in, in order of time: at an instant of day D everything before D is
    there, so the week without today is exact; that both views are of one instant shows too."""
    differences = []
    for profile in watched:
        as_of = parse_rfc3339(profile["as_of"])
        week, today = (profile["features"].get(view, {}) for view in ("clicks_7d", "clicks_1d"))
        got = [week.get("events", 0) - today.get("events", 0), int(week.get("clicks", 0)) - int(today.get("clicks", 0))]
        want = behaviour.week_before_today(profile["student_id"], as_of)
        if got != want:
            shown = f"clicks_7d {json.dumps(week)}, clicks_1d {json.dumps(today)}"
            differences.append(
                f"{profile['student_id']} as of {profile['as_of']}: expected {want}, got {got} from {shown}"
            )
    instants = len({profile["as_of"] for profile in watched})
    detail = f"{len(watched)} profiles read at {instants} instants, {len(differences)} differences"
    report.check(f"{name}: the week without today", differences, detail)


def same(want, got) -> bool:
    """Equality of JSON with its types: `1`, `1.0`, `true` and `"1"` differ."""
    return json.dumps(want, sort_keys=True) == json.dumps(got, sort_keys=True)


def clock(report: Report, name: str, clock_ms: int | None, as_of_seen: set[int]) -> None:
    """The profiles stand in the pane of the newest event, and not after it."""
    if clock_ms is None:
        return
    wrong = [rfc3339(at) for at in sorted(as_of_seen) if at > clock_ms or at // DAY_MS != clock_ms // DAY_MS]
    differences = [f"as_of: expected {rfc3339(clock_ms)} or just before, got {at}" for at in wrong]
    shown = ", ".join(rfc3339(at) for at in sorted(as_of_seen)[-3:])
    report.check(f"{name}: as_of follows the events' clock", differences, f"as of {shown}")


def one_by_one(report: Report, name: str, server: Server, got: dict[str, dict]) -> None:
    """`GET …/profile` says the same as the batch, and another tenant sees nobody."""
    sample = sorted(got)[:: max(1, len(got) // 20)]
    differences = []
    for student in sample:
        one = server.get(f"/v1/students/{student}/profile", "counsellor").json()
        if not same(got[student], one):
            differences.append(f"{student}: the batch says {json.dumps(got[student])}, the profile {json.dumps(one)}")
    stranger = json.dumps({"student_ids": sample}).encode()
    answer = server.send(Request("service", "POST", "/v1/profiles:batchGet", stranger), tenant="other").json()
    if answer != {"profiles": [], "missing": sample}:
        differences.append(f"another tenant's token gets {json.dumps(answer)[:300]}")
    report.check(f"{name}: single reads and tenants", differences, f"{len(sample)} students")


def negative(report: Report, name: str, server: Server) -> None:
    """Nothing was retracted that was never there."""
    value = server.metrics().get("aulaflow_negative_multiplicity_total")
    differences = [] if value == 0 else [f"aulaflow_negative_multiplicity_total: expected 0, got {value}"]
    report.check(f"{name}: no negative multiplicity", differences)


def dead_letters(report: Report, name: str, server: Server, low: int, high: int, why: str) -> None:
    """The number of dead letters is what the scenario explains."""
    got = server.dead_letters()
    want = str(low) if low == high else f"{low} to {high}"
    differences = [] if low <= got <= high else [f"aulaflow_dlq_records_total: expected {want}, got {got}"]
    report.check(f"{name}: dead letters", differences, f"{got}, expected {want} ({why})")
