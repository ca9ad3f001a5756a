"""Features recomputed: the five views of configs/dataflows/oulad/oulad.sql over the panes of contract section 4, in
whole numbers and exact fractions. A view that this file does not know shows as a difference."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction

from dataset import DAY_MS, Click, rfc3339
from grading import trimmed

SOCIAL = {"forumng", "oucollaborate", "ouelluminate", "ouwiki"}
MATERIAL = {"oucontent", "resource", "url", "page", "glossary", "dualpane"}
NAVIGATION = {"homepage", "subpage", "folder"}


class Behaviour:
    """Events of all students by day; what was sent, each event once."""

    def __init__(self) -> None:
        self.by_student: dict[str, dict[int, list[Click]]] = defaultdict(lambda: defaultdict(list))
        self.last_day: int | None = None
        self.count = 0

    def add(self, click: Click) -> None:
        """Takes an event in; the caller sees to it that it is once."""
        self.by_student[click.student][click.day].append(click)
        self.last_day = click.day if self.last_day is None else max(self.last_day, click.day)
        self.count += 1

    def features(self, student: str, as_of_ms: int) -> dict[str, dict]:
        """The features of a student's profile as of an instant, without `updated_at`."""
        days = self.by_student.get(student, {})
        pane = as_of_ms // DAY_MS
        week = [click for day in range(pane - 6, pane + 1) for click in days.get(day, ())]
        today = list(days.get(pane, ()))
        out = {}

        def view(name: str, events: list[Click], kind: str, size_days: int, values) -> None:
            # SQL: no rows, no group.
            if events:
                out[name] = {**values(events), "window": window(kind, pane, size_days)}

        view("clicks_7d", week, "hop", 7, lambda e: {"events": len(e), "clicks": total(e)})
        view(
            "clicks_1d",
            today,
            "tumble",
            1,
            lambda e: {"events": len(e), "clicks": total(e), "clicks_per_visit": mean(e)},
        )
        view("social_7d", [c for c in week if c.type in SOCIAL], "hop", 7, visits)
        view("quizzes_7d", [c for c in week if "quiz" in c.type.lower() or c.type == "questionnaire"], "hop", 7, visits)
        view("study_mix_7d", week, "hop", 7, study_mix)
        return out

    def week_before_today(self, student: str, as_of_ms: int) -> list[int]:
        """Events and clicks of the six panes before the current one."""
        days = self.by_student.get(student, {})
        pane = as_of_ms // DAY_MS
        events = [click for day in range(pane - 6, pane) for click in days.get(day, ())]
        return [len(events), sum(click.value for click in events)]


def visits(events: list[Click]) -> dict:
    return {"visits": len(events), "clicks": total(events)}


def study_mix(events: list[Click]) -> dict:
    material = [c for c in events if c.type in MATERIAL]
    every = sum(c.value for c in events)
    share = Fraction(sum(c.value for c in material), every) if every else None
    return {
        "material_clicks": total(material),
        "navigation_clicks": total([c for c in events if c.type in NAVIGATION]),
        # round(x, 4) as PostgreSQL's of a numeric: ties away from zero
        "material_share": None if share is None else trimmed(share, 4),
    }


def total(events: list[Click]) -> str:
    return str(sum(c.value for c in events))


def mean(events: list[Click]) -> str:
    return trimmed(Fraction(sum(c.value for c in events), len(events)), 6)


def window(kind: str, pane: int, size_days: int) -> dict:
    """The window as a profile shows it: `[start, end)` around the current pane, which is a day."""
    return {
        "kind": kind,
        "slide_s": 86_400,
        "size_s": size_days * 86_400,
        "start": rfc3339((pane + 1 - size_days) * DAY_MS),
        "end": rfc3339((pane + 1) * DAY_MS),
    }


def late(day: int, clock_day: int) -> bool:
    """Whether an event of a day is older than every window at a clock: the longest has seven panes."""
    return day + 7 <= clock_day
