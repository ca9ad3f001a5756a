"""Cohorts recomputed: all grades of a subject and period in exact fractions, by the definitions of docs/guides/cohorts.md."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from math import isqrt
from statistics import pvariance

from grading import rounded, trimmed

BINS = 20


class Cohort:
    """The grades with a score of one subject and period."""

    def __init__(self, grades: list[dict], rule: dict) -> None:
        scale = rule.get("scale", {"min": 0, "max": 100})
        self.low, self.high = Fraction(str(scale["min"])), Fraction(str(scale["max"]))
        self.scores = [Fraction(grade["score"]) for grade in grades]
        self.bins = [0] * BINS
        for score in self.scores:
            self.bins[self.bin(score)] += 1
        count = len(grades)
        self.numbers = {
            "count": count,
            "mean": trimmed(sum(self.scores) / count, 6),
            "stddev": trimmed(root(pvariance(self.scores)), 6),
            "pass_rate": trimmed(Fraction(sum(grade["passing"] for grade in grades), count), 6),
        }

    def bin(self, score: Fraction) -> int:
        """The bin of a score: equal parts of the scale, the last one with its end; outside: the first or the last."""
        place = (score - self.low) * BINS / (self.high - self.low)
        return min(max(place.numerator // place.denominator, 0), BINS - 1)

    def shown(self, score: str | None) -> dict:
        """What a grade with this score says of it."""
        percentile = None
        if score is not None and len(self.scores) >= 2:
            own = self.bin(Fraction(score))
            within = (Fraction(score) - self.low) * BINS / (self.high - self.low) - own
            part = sum(self.bins[:own]) + self.bins[own] * min(max(within, Fraction(0)), Fraction(1))
            percentile = rounded(100 * part / len(self.scores), 2, "half_up")
        return {**self.numbers, "percentile": percentile}


def root(value: Fraction) -> Fraction:
    """The square root, rounded half up to 6 digits: whether it is at least r - 1/2 is a comparison of squares."""
    scaled = 4 * value * 10**12
    return Fraction((isqrt(scaled.numerator // scaled.denominator) + 1) // 2, 10**6)


def cohorts(grades: dict[tuple[str, str, str], dict], rule_of) -> dict[tuple[str, str], Cohort]:
    """Every cohort by (subject, period); one without a score is none."""
    groups = defaultdict(list)
    for (_, subject, period), grade in grades.items():
        if grade["score"] is not None:
            groups[subject, period].append(grade)
    return {key: Cohort(group, rule_of(*key)) for key, group in groups.items()}
