"""The recomputation against small examples that were worked out by hand."""

from __future__ import annotations

from fractions import Fraction

import dataset
from cohorts import Cohort, cohorts, root
from dataset import DAY_MS, Click, Evaluation, parse_rfc3339, rfc3339, start_day
from grading import consolidate, grade, grades, rounded, trimmed
from report import Report
from windows import Behaviour, late


def run(report: Report) -> None:
    """All of them."""
    for test in (rounding, dates, means, drops, items, statuses, absence, scales, classes, windows, mapping):
        differences: list[str] = []

        def equal(got, want, what: str = "") -> None:
            if got != want:
                differences.append(f"{what}: expected {want!r}, got {got!r}")

        test(equal)
        report.check(f"recomputation: {test.__name__}", differences)


def evaluation(
    id: str, kind: str, score: str | None, weight: str = "1", max_score: str = "100", status: str = "graded"
) -> Evaluation:
    return Evaluation(id, "s", "AAA", "2013J", kind, status, score, max_score, weight, 0, 0)


def rounding(equal) -> None:
    value = Fraction("84.295")
    equal(rounded(value, 2, "half_up"), "84.30")
    equal(rounded(value, 2, "half_even"), "84.30")
    equal(rounded(Fraction("84.285"), 2, "half_up"), "84.29")
    equal(rounded(Fraction("84.285"), 2, "half_even"), "84.28")
    equal(rounded(Fraction("84.2850001"), 2, "half_even"), "84.29")
    equal(rounded(Fraction("84.299"), 2, "down"), "84.29")
    equal(rounded(Fraction(200, 3), 2, "half_up"), "66.67")
    equal(rounded(Fraction("99.5"), 0, "half_even"), "100")
    equal(rounded(Fraction("0.5"), 0, "half_even"), "0")
    equal(rounded(Fraction("0.04"), 2, "down"), "0.04")
    equal(rounded(Fraction(0), 2, "half_up"), "0.00")
    equal(trimmed(Fraction(17, 20), 6), "0.85")
    equal(trimmed(Fraction(2, 3), 6), "0.666667")
    equal(trimmed(Fraction(1), 6), "1")
    equal(trimmed(Fraction(100), 6), "100")


def dates(equal) -> None:
    equal(rfc3339(start_day("2013J") * DAY_MS), "2013-10-01T00:00:00.000Z")
    equal(rfc3339(start_day("2014B") * DAY_MS), "2014-02-01T00:00:00.000Z")
    equal(dataset.noon(start_day("2013J") - 10), "2013-09-21T12:00:00.000Z")
    equal(parse_rfc3339("1970-01-02T00:00:00.001Z"), DAY_MS + 1)


def means(equal) -> None:
    # exam (80 + 90) / 2 = 85, homework 10 of 20 = 50: 0.7 · 85 + 0.3 · 50 = 74.5
    rule = {"weights": {"exam": "0.7", "homework": "0.3"}, "min_passing": 60}
    got = grade(
        [
            evaluation("a", "exam", "80"),
            evaluation("b", "exam", "90"),
            evaluation("c", "homework", "10", max_score="20"),
        ],
        rule,
    )
    equal(got["score"], "74.50")
    equal((got["passing"], got["complete"], got["evaluations_count"]), (True, True, 3))
    equal(got["by_category"]["exam"], {"value": "0.85", "weight": "0.7", "counted": 2, "dropped": 0})
    # points: (1 + 10) / (2 + 20) = 0.5, where the mean would be the same and the mean of 1/2 and 20/20 is not
    rule = {"weights": {"quiz": 1}, "category": {"quiz": {"combine": "points"}}, "min_passing": 60}
    equal(
        grade([evaluation("a", "quiz", "1", max_score="2"), evaluation("b", "quiz", "20", max_score="20")], rule)[
            "score"
        ],
        "95.45",
    )


def drops(equal) -> None:
    rule = {"weights": {"tma": 1}, "category": {"tma": {"drop_lowest": 1}}, "min_passing": 40}
    three = [evaluation("a", "tma", "10"), evaluation("b", "tma", "50"), evaluation("c", "tma", "70")]
    equal(grade(three, rule)["score"], "60.00")
    equal(grade(three, rule)["by_category"]["tma"], {"value": "0.6", "weight": "1", "counted": 3, "dropped": 1})
    equal(
        grade(three[:1], rule)["by_category"]["tma"],
        {"value": "0.1", "weight": "1", "counted": 1, "dropped": 0},
        "never the last",
    )
    # 5 of 10 and 50 of 100 tie: `a` goes, so that the weights of what stays are 3 and 1: (3 · 0.5 + 1 · 1) / 4
    rule = {"weights": {"tma": 1}, "category": {"tma": {"drop_lowest": 1, "combine": "weighted"}}, "min_passing": 40}
    tie = [
        evaluation("b", "tma", "5", "3", "10"),
        evaluation("a", "tma", "50", "9"),
        evaluation("c", "tma", "100", "1"),
    ]
    equal(grade(tie, rule)["score"], "62.50", "ties by id")
    equal(grade(list(reversed(tie)), rule)["score"], "62.50", "whatever the order")


def items(equal) -> None:
    rule = {"weights": "items", "min_passing": 40}
    # (10 · 78 + 20 · 65 + 30 · missing) / 60 = 34.666…
    got = grade(
        [
            evaluation("a", "tma", "78", "10"),
            evaluation("b", "cma", "65", "20"),
            evaluation("c", "tma", None, "30", status="missing"),
        ],
        rule,
    )
    equal((got["score"], got["passing"], got["complete"]), ("34.67", False, True))
    equal(got["by_category"], {"items": {"value": "0.346667", "weight": "1", "counted": 3, "dropped": 0}})
    nothing = grade([evaluation("a", "tma", "78", "0")], rule)
    equal(
        (nothing["score"], nothing["passing"], nothing["evaluations_count"]),
        (None, False, 1),
        "weights that add up to 0",
    )
    equal(nothing["by_category"]["items"]["value"], None)
    equal(grade([evaluation("a", "tma", "40", "1")], rule)["passing"], True, "40 passes")


def statuses(equal) -> None:
    rule = {"weights": {"tma": 1}, "min_passing": 40}
    excused = evaluation("a", "tma", None, status="excused")
    equal(grade([excused], rule), None)
    equal(grade([excused, evaluation("b", "tma", "90")], rule)["score"], "90.00")
    equal(grade([evaluation("b", "tma", None, status="missing")], rule)["score"], "0.00")
    equal(set(grades([excused, evaluation("b", "tma", "9")], lambda *_: rule)), {("s", "AAA", "2013J")})


def absence(equal) -> None:
    rule = {"weights": {"tma": "0.4", "cma": "0.2", "exam": "0.4"}, "min_passing": 40}
    two = [evaluation("a", "tma", "90"), evaluation("b", "cma", "60")]
    # (0.4 · 0.9 + 0.2 · 0.6) / 0.6 = 0.8, or / 1 = 0.48
    equal((grade(two, rule)["score"], grade(two, rule)["complete"]), ("80.00", False))
    equal(grade(two, {**rule, "absent_category": "zero"})["score"], "48.00")
    equal(grade([evaluation("a", "essay", "90")], rule)["score"], None, "a type without a weight")
    equal(grade([evaluation("a", "essay", "90")], rule)["by_category"]["essay"]["weight"], "0")
    equal(consolidate({}, {}, "renormalise"), None)


def scales(equal) -> None:
    rule = {
        "weights": {"tma": 1},
        "scale": {"min": 1, "max": 10},
        "rounding": {"mode": "down", "decimals": 3},
        "min_passing": "6.4",
    }
    equal(grade([evaluation("a", "tma", "60")], rule)["score"], "6.400")
    equal(grade([evaluation("a", "tma", "60")], rule)["passing"], True)
    equal(grade([evaluation("a", "tma", "59.999")], rule)["score"], "6.399")
    equal(grade([evaluation("a", "tma", "59.999")], rule)["passing"], False)


def classes(equal) -> None:
    rule = {"weights": "items"}
    four = [{"score": s, "passing": p} for s, p in (("50.00", False), ("60.00", True), ("70.00", True), ("100.00", True))]
    cohort = Cohort(four, rule)
    # deviations -20, -10, 0, 30: variance 350
    want = {"count": 4, "mean": "70", "stddev": "18.708287", "pass_rate": "0.75"}
    # 72.5 is half way through its bin, with two below it
    equal(cohort.shown("72.50"), {**want, "percentile": "62.50"})
    equal(cohort.shown("100.00")["percentile"], "100.00")
    equal(cohort.shown(None)["percentile"], None)
    equal(Cohort(four[:1], rule).shown("50.00")["percentile"], None, "nobody to compare with")
    equal((root(Fraction(2)), root(Fraction(0))), (Fraction(1414214, 10**6), 0))
    graded = {("a", "AAA", "2013J"): four[0], ("b", "AAA", "2013J"): {"score": None, "passing": False}}
    equal([c.numbers["count"] for c in cohorts(graded, lambda *_: rule).values()], [1], "a grade without a score")


def windows(equal) -> None:
    behaviour = Behaviour()
    for row, (day, kind, value) in enumerate(
        [(100, "forumng", 3), (106, "quiz", 4), (106, "resource", 1), (107, "homepage", 8)]
    ):
        behaviour.add(Click(row, "s", kind, value, day))
    at = lambda day, hour=12: behaviour.features("s", day * DAY_MS + hour * DAY_MS // 24)
    equal({k: at(106)["clicks_7d"][k] for k in ("events", "clicks")}, {"events": 3, "clicks": "8"}, "days 100 to 106")
    equal(at(106, 0)["clicks_7d"], at(106, 23)["clicks_7d"], "all of a day is one pane")
    equal({k: at(107)["clicks_7d"][k] for k in ("events", "clicks")}, {"events": 3, "clicks": "13"}, "day 100 has left")
    equal(at(106)["clicks_7d"]["window"]["start"], rfc3339(100 * DAY_MS))
    equal(at(106)["clicks_7d"]["window"]["end"], rfc3339(107 * DAY_MS))
    one = at(106)["clicks_1d"]
    equal([one[k] for k in ("events", "clicks", "clicks_per_visit")], [2, "5", "2.5"])
    equal(
        one["window"],
        {
            "kind": "tumble",
            "slide_s": 86400,
            "size_s": 86400,
            "start": rfc3339(106 * DAY_MS),
            "end": rfc3339(107 * DAY_MS),
        },
    )
    equal("social_7d" in at(107), False, "no rows, no feature")
    equal(at(106)["social_7d"]["visits"], 1)
    equal(at(107)["quizzes_7d"]["clicks"], "4")
    equal(
        [at(107)["study_mix_7d"][k] for k in ("material_clicks", "navigation_clicks", "material_share")],
        ["1", "8", "0.0769"],
    )
    equal(sorted(at(113)), ["clicks_7d", "study_mix_7d"])
    equal(at(114), {}, "everything has left")
    equal(behaviour.features("nobody", 0), {})
    equal((late(100, 106), late(100, 107)), (False, True))


def mapping(equal) -> None:
    assessment = {"code_module": "AAA", "code_presentation": "2013J", "assessment_type": "TMA", "weight": "10"}
    row = {"id_assessment": "1752", "id_student": "11391", "date_submitted": "18", "score": "78"}
    got = dataset.evaluation(row, assessment)
    equal(
        (got.id, got.type, got.status, got.score, rfc3339(got.graded_ms)),
        ("1752-11391", "tma", "graded", "78", "2013-10-19T12:00:00.000Z"),
    )
    for empty in ("", "?"):
        equal(dataset.evaluation({**row, "score": empty}, assessment).status, "missing")
    equal("score" in dataset.evaluation({**row, "score": ""}, assessment).json(), False)
