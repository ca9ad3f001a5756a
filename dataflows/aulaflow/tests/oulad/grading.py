"""Grades recomputed: contract section 3, step by step, in exact fractions. Slow on purpose; the steps are numbered as
they are there."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from typing import Iterable

from dataset import Evaluation

ITEMS_RULE = {"weights": "items", "min_passing": 40}
"""The rule that the importer installs (section 8)."""


def grade(evaluations: Iterable[Evaluation], rule: dict) -> dict | None:
    """A student's grade of one subject and period; `None` where no evaluation counts."""
    # 1. graded as they are, missing ones as 0, excused ones not at all
    counted = [e for e in evaluations if e.status in ("graded", "missing")]
    if not counted:
        return None
    if rule["weights"] == "items":
        groups = {"items": counted}
        weights = {"items": Fraction(1)}
        how = {"items": {"combine": "weighted"}}
    else:
        groups = defaultdict(list)
        for evaluation in counted:
            groups[evaluation.type].append(evaluation)
        weights = {name: Fraction(str(weight)) for name, weight in rule["weights"].items()}
        how = rule.get("category", {})
    values, by_category = {}, {}
    for name, group in sorted(groups.items()):
        settings = how.get(name, {})
        # 2. drop the lowest, never the last one; ties by id
        group = sorted(group, key=lambda e: (normalised(e), e.id))
        dropped = min(settings.get("drop_lowest", 0), len(group) - 1)
        # 3. combine
        values[name] = combine(group[dropped:], settings.get("combine", "mean"))
        by_category[name] = {
            "value": None if values[name] is None else trimmed(values[name], 6),
            "weight": trimmed(weights.get(name, Fraction(0)), 6),
            "counted": len(group),
            "dropped": dropped,
        }
    # 4. and 5.
    consolidated = consolidate(values, weights, rule.get("absent_category", "renormalise"))
    score = None
    if consolidated is not None:
        scale = rule.get("scale", {"min": 0, "max": 100})
        low, high = Fraction(str(scale["min"])), Fraction(str(scale["max"]))
        rounding = rule.get("rounding", {})
        mode, decimals = rounding.get("mode", "half_up"), rounding.get("decimals", 2)
        score = rounded(low + consolidated * (high - low), decimals, mode)
    return {
        "score": score,
        "passing": score is not None and Fraction(score) >= Fraction(str(rule["min_passing"])),
        "complete": all(name in groups for name, weight in weights.items() if weight > 0),
        "evaluations_count": len(counted),
        "by_category": by_category,
    }


def normalised(evaluation: Evaluation) -> Fraction:
    """score / max_score; 0 where it is missing."""
    return points(evaluation) / Fraction(evaluation.max_score)


def points(evaluation: Evaluation) -> Fraction:
    """The points reached."""
    return Fraction(0) if evaluation.status == "missing" else Fraction(evaluation.score)


def combine(group: list[Evaluation], how: str) -> Fraction | None:
    """A category's value; `None` where its weights add up to 0."""
    if how == "mean":
        return sum(map(normalised, group), Fraction(0)) / len(group)
    if how == "points":
        return sum(map(points, group), Fraction(0)) / sum(Fraction(e.max_score) for e in group)
    assert how == "weighted", how
    total = sum(Fraction(e.weight) for e in group)
    return sum(normalised(e) * Fraction(e.weight) for e in group) / total if total else None


def consolidate(values: dict, weights: dict, absent: str) -> Fraction | None:
    """Step 4. A category whose own weights add up to 0 has nothing to add."""
    if absent == "renormalise":
        total = sum(
            (weights.get(name, Fraction(0)) for name, value in values.items() if value is not None), Fraction(0)
        )
    else:
        assert absent == "zero", absent
        total = sum(weights.values(), Fraction(0))
    whole = sum(
        (weights.get(name, Fraction(0)) * value for name, value in values.items() if value is not None), Fraction(0)
    )
    return whole / total if total else None


def rounded(value: Fraction, decimals: int, mode: str) -> str:
    """A number that is not negative, with exactly so many decimals."""
    assert value >= 0, value
    scaled = value * 10**decimals
    whole, rest = divmod(scaled.numerator, scaled.denominator)
    double = 2 * rest
    up = {
        "half_up": double >= scaled.denominator,
        "half_even": double > scaled.denominator or (double == scaled.denominator and whole % 2 == 1),
        "down": False,
    }[mode]
    digits = str(whole + up).rjust(decimals + 1, "0")
    return f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits


def trimmed(value: Fraction, decimals: int) -> str:
    """Half up to so many decimals, without zeros at the end."""
    text = rounded(value, decimals, "half_up")
    return text.rstrip("0").rstrip(".") if "." in text else text


def grades(evaluations: Iterable[Evaluation], rule_of) -> dict[tuple[str, str, str], dict]:
    """Every grade by (student, subject, period); `rule_of(subject, period)` is its rule."""
    groups = defaultdict(list)
    for evaluation in evaluations:
        groups[evaluation.student, evaluation.subject, evaluation.period].append(evaluation)
    all_grades = {key: grade(group, rule_of(key[1], key[2])) for key, group in groups.items()}
    return {key: value for key, value in all_grades.items() if value is not None}
