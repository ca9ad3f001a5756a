"""The Open University dataset as events: contract section 8, read from the CSV files with the standard library.

Nothing here knows how Aulaflow does it; what is sent and what is expected both come from these rows.
"""

from __future__ import annotations

import csv
import datetime
import json
from pathlib import Path
from typing import NamedTuple

DAY_MS = 86_400_000
FILES = ("assessments.csv", "vle.csv", "studentAssessment.csv", "studentVle.csv")


class Evaluation(NamedTuple):
    """An evaluation as it is now; scores and weights are decimals in text, since they are never floats."""

    id: str
    student: str
    subject: str
    period: str
    type: str
    status: str
    score: str | None
    max_score: str
    weight: str
    graded_ms: int
    updated_ms: int

    def json(self) -> dict:
        """As `POST /v1/evaluations` takes it."""
        event = {
            "evaluation_id": self.id,
            "student_id": self.student,
            "subject": self.subject,
            "period": self.period,
            "type": self.type,
            "status": self.status,
            "max_score": self.max_score,
            "weight": self.weight,
            "graded_at": rfc3339(self.graded_ms),
            "updated_at": rfc3339(self.updated_ms),
        }
        if self.score is not None:
            event["score"] = self.score
        return event


class Click(NamedTuple):
    """A row of studentVle.csv."""

    row: int
    student: str
    type: str
    value: int
    day: int
    """Days since 1970-01-01; it happened at 12:00 UTC of it."""

    def json(self) -> str:
        """As `POST /v1/behavior` takes it; by hand, since there are 750,000."""
        return (
            f'{{"event_id":"vle-{self.row}","student_id":"{self.student}","event_type":"{self.type}",'
            f'"value":{self.value},"occurred_at":"{noon(self.day)}"}}'
        )


class Dataset(NamedTuple):
    """Both tables, in file order."""

    evaluations: list[Evaluation]
    clicks: list[Click]


def present(folder: Path) -> bool:
    """Whether all the files are there."""
    return all((folder / name).is_file() for name in FILES)


def read(folder: Path) -> Dataset:
    """Reads the four files."""
    assessments = {row["id_assessment"]: row for row in rows(folder / "assessments.csv")}
    activities = {row["id_site"]: row["activity_type"] for row in rows(folder / "vle.csv")}
    evaluations = [evaluation(row, assessments[row["id_assessment"]]) for row in rows(folder / "studentAssessment.csv")]
    clicks = []
    for number, row in enumerate(rows(folder / "studentVle.csv")):
        day = start_day(row["code_presentation"]) + int(row["date"])
        kind = activities.get(row["id_site"], "unknown")
        # Names are put into JSON as they are.
        assert json.dumps(kind) == f'"{kind}"', kind
        clicks.append(Click(number, row["id_student"], kind, int(row["sum_click"]), day))
    return Dataset(evaluations, clicks)


def evaluation(row: dict[str, str], assessment: dict[str, str]) -> Evaluation:
    """A row of studentAssessment.csv."""
    # The description says that the score of what was not submitted is empty; the published file has a question mark.
    score = None if row["score"] in ("", "?") else row["score"]
    day = start_day(assessment["code_presentation"]) + int(row["date_submitted"])
    instant = day * DAY_MS + DAY_MS // 2
    return Evaluation(
        id=f"{row['id_assessment']}-{row['id_student']}",
        student=row["id_student"],
        subject=assessment["code_module"],
        period=assessment["code_presentation"],
        type=assessment["assessment_type"].lower(),
        status="missing" if score is None else "graded",
        score=score,
        max_score="100",
        weight=assessment["weight"],
        graded_ms=instant,
        updated_ms=instant,
    )


def rows(path: Path):
    """The rows of a CSV file, by column name."""
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def start_day(presentation: str) -> int:
    """Day 0 of a presentation: `YYYYB` starts on 1 February, `YYYYJ` on 1 October."""
    known = _start_days.get(presentation)
    if known is None:
        month = {"B": 2, "J": 10}[presentation[4:]]
        date = datetime.date(int(presentation[:4]), month, 1)
        known = _start_days[presentation] = (date - datetime.date(1970, 1, 1)).days
    return known


def noon(day: int) -> str:
    """12:00 UTC of a day."""
    known = _noons.get(day)
    if known is None:
        known = _noons[day] = rfc3339(day * DAY_MS + DAY_MS // 2)
    return known


def rfc3339(millis: int) -> str:
    """An instant as the API writes it: UTC, three decimals."""
    at = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=millis)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"


def parse_rfc3339(text: str) -> int:
    """Milliseconds of an instant as the API writes it; anything else is a `ValueError`."""
    at = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
    millis = (at - datetime.datetime(1970, 1, 1)) // datetime.timedelta(milliseconds=1)
    if rfc3339(millis) != text:
        raise ValueError(f"{text!r} is not an instant in milliseconds")
    return millis


_start_days: dict[str, int] = {}
_noons: dict[int, str] = {}
