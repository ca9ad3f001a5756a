"""7. Previews of random rules, each then put in force: what is answered beforehand is what happens, to the last digit,
and equals the recomputation under both rules. Then explanations of grades, against the same recomputation.

What it took is printed, not judged.
"""

from __future__ import annotations

import json
import random
import time
import urllib.parse
from fractions import Fraction

from compare import Key
from grading import ITEMS_RULE, trimmed
from report import percentiles
from scenarios import BATCH, Run, chunks, put_rule
from server import Request

RULES = 10
"""Random rules."""
EXPLAINED = 300
"""Grades that are explained."""
AROUND = ("version", "updated_at", "cohort")
"""Members of a row in a profile that a preview does not have: its history, and other students' grades."""


def previews(run: Run) -> None:
    """The scenario."""
    evaluations = run.setting.dataset.evaluations
    run.server.send(put_rule("*", ITEMS_RULE))
    for chunk in chunks(evaluations, BATCH):
        body = json.dumps([e.json() for e in chunk]).encode()
        run.server.send(Request("admin", "POST", "/v1/evaluations:batch", body))
    run.expected.evaluations = {e.id: e for e in evaluations}
    run.server.wait_visible()
    subjects = sorted({e.subject for e in evaluations})
    for number in range(1, RULES + 1):
        # The first is for everything; after rules for all subjects, one for everything would change nothing.
        subject = "*" if number == 1 else run.rng.choice(subjects)
        preview_and_put(run, f"rule {number} of {RULES}, for {subject}", subject, random_rule(run.rng))
    explanations(run)
    differing = {k: v for k, v in run.server.metrics().items() if "explain_disagreements" in k and v != 0}
    run.report.check(f"{run.name}: no explanation disagreed", [f"{k} is {v}" for k, v in differing.items()])


def random_rule(rng: random.Random) -> dict:
    """Any rule that the dataset's types give a meaning."""
    if rng.random() < 0.2:
        return {"weights": "items", "min_passing": rng.randrange(101)}
    types = rng.sample(["tma", "cma", "exam"], rng.randint(1, 3))
    combine = lambda: {"combine": rng.choice(["mean", "weighted", "points"]), "drop_lowest": rng.randrange(3)}
    return {
        "weights": {name: trimmed(Fraction(rng.randrange(0, 101), 100), 2) for name in types},
        "category": {name: combine() for name in types},
        "absent_category": rng.choice(["renormalise", "zero"]),
        "rounding": {"mode": rng.choice(["half_up", "half_even", "down"]), "decimals": rng.randrange(5)},
        "scale": {"min": 0, "max": 100},
        "min_passing": rng.randrange(101),
    }


def preview_and_put(run: Run, what: str, subject: str, rule: dict) -> None:
    """One rule: looked at, then put in force."""
    wanted = put_rule(subject, rule)
    before, computed_before = shown(run), run.expected.grades()
    path = f"{wanted.path}:preview?limit=10000"
    began = time.monotonic()
    preview = run.server.send(Request("admin", "POST", path, wanted.body)).json()
    took = time.monotonic() - began
    run.report.check(f"{run.name}: {what}: the preview has no effect", shown(run) == before)
    began = time.monotonic()
    run.server.send(wanted)
    run.server.wait_visible()
    visible = time.monotonic() - began
    run.rules[subject] = rule
    after, computed_after = shown(run), run.expected.grades()

    content = lambda row: None if row is None else {k: v for k, v in row.items() if k not in AROUND}
    bare = lambda row: None if row is None else {k: v for k, v in row.items() if k != "rule_version"}
    happened = {
        key: (content(before.get(key)), content(after.get(key)))
        for key in before.keys() | after.keys()
        if content(before.get(key)) != content(after.get(key))
    }
    said = {(c["student_id"], c["subject"], c["period"]): (c["before"], c["after"]) for c in preview["changes"]}
    differences = [
        f"{key}: said {said.get(key)}, happened {happened.get(key)}"
        for key in sorted(said.keys() | happened.keys())
        if said.get(key) != happened.get(key)
    ]
    if len(said) != preview["changes_total"]:
        differences.append(f"{len(said)} rows of {preview['changes_total']}")
    run.report.check(f"{run.name}: {what}: the preview is the effect", differences, f"{len(said)} rows")
    differences = [
        f"{key}: recomputed {(computed_before.get(key), computed_after.get(key))}, said {pair}"
        for key, pair in said.items()
        if (computed_before.get(key), computed_after.get(key)) != (bare(pair[0]), bare(pair[1]))
    ]
    run.report.check(f"{run.name}: {what}: and equals the recomputation", differences)
    run.report.check(f"{run.name}: {what}: the summary", summary_differences(preview["summary"], said))
    run.report.number(
        f"{run.name}: {what}: {len(said)} rows, preview {took * 1000:.0f} ms, put and visible {visible * 1000:.0f} ms"
    )


def summary_differences(summary: dict, said: dict) -> list[str]:
    """The summary, counted again from the rows. Rows that are looked at and don't change are in none of its numbers but
    `rows` and `scored_both`, and there are none: the version of a rule is content."""
    pairs = list(said.values())
    passing = lambda row: row is not None and row["passing"]
    score = lambda row: None if row is None else row["score"]
    both = [(Fraction(score(b)), Fraction(score(a))) for b, a in pairs if score(b) is not None and score(a) is not None]
    means = [sum(side, Fraction(0)) / len(both) for side in zip(*both)] if both else [None, None]
    text = lambda mean: None if mean is None else ("-" if mean < 0 else "") + trimmed(abs(mean), 6)
    want = {
        "rows": len(pairs),
        "changed": len(pairs),
        "changed_scores": sum(score(b) != score(a) for b, a in pairs),
        "scored_both": len(both),
        "mean_before": text(means[0]),
        "mean_after": text(means[1]),
        "mean_shift": text(means[1] - means[0]) if both else None,
        "newly_passing": sum(passing(a) and not passing(b) for b, a in pairs),
        "newly_failing": sum(passing(b) and not passing(a) for b, a in pairs),
    }
    return [f"{k}: counted {v}, said {summary.get(k)}" for k, v in want.items() if summary.get(k) != v]


def explanations(run: Run) -> None:
    """Explanations of random grades."""
    rows, computed = shown(run), run.expected.grades()
    by_key: dict[Key, list] = {}
    for e in run.expected.evaluations.values():
        by_key.setdefault((e.student, e.subject, e.period), []).append(e)
    differences, times = [], []
    for key in run.rng.sample(sorted(rows), min(EXPLAINED, len(rows))):
        student, subject, period = (urllib.parse.quote(part) for part in key)
        began = time.monotonic()
        answer = run.server.get(
            f"/v1/students/{student}/explain/{subject}?period={period}&kind=grade", "teacher"
        ).json()
        times.append(time.monotonic() - began)
        got = {name: value for name, value in answer["grade"].items() if name != "rule_version"}
        ids = [e["evaluation_id"] for e in answer["evaluations"]]
        if answer["agrees"] is not True:
            differences.append(f"{key}: agrees is {answer['agrees']}")
        if got != computed[key]:
            differences.append(f"{key}: recomputed {computed[key]}, explained {got}")
        if sorted(ids) != sorted(e.id for e in by_key[key]):
            differences.append(f"{key}: the evaluations are {ids}")
        dropped = sum(e["used"] == "dropped" for e in answer["evaluations"])
        if dropped != sum(c["dropped"] for c in got["by_category"].values()):
            differences.append(f"{key}: {dropped} evaluations are dropped")
        if answer["served"]["version"] != rows[key]["version"]:
            differences.append(f"{key}: served is {answer['served']}")
    run.report.check(
        f"{run.name}: explanations equal what is shown and recomputed", differences, f"{len(times)} grades"
    )
    run.report.number(f"{run.name}: explaining a grade takes {percentiles(times)}")


def shown(run: Run) -> dict[Key, dict]:
    """All grades' rows."""
    found, _ = run.server.profiles(run.setting.students)
    return {
        (student, row["subject"], row["period"]): {k: v for k, v in row.items() if k not in ("subject", "period")}
        for student, profile in found.items()
        for row in profile["grades"]
    }
