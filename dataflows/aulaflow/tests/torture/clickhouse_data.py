"""What a run with ClickHouse sends: some students' weeks of the Open University dataset in phases, with events that come days
late, corrected and deleted evaluations, and rules that change; and what of it is known after each phase."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from cohorts import cohorts
from dataset import DAY_MS, Click, Evaluation, evaluation, rows, start_day
from grading import ITEMS_RULE, grades
from scenarios import RULES, corrected
from windows import Behaviour

TENANTS = ("oulad", "other")
PHASES = 6
STUDENTS = 16
OTHERS = 6
"""Students of the second tenant; some are of both, by the same id."""
DAYS = 27
LATE_OF = 40
"""One event of so many comes up to five days late."""
VLE_HEADER = ("code_module", "code_presentation", "id_student", "id_site", "date", "sum_click")
ASSESSED_HEADER = ("id_assessment", "id_student", "date_submitted", "is_banked", "score")


class Master:
    """The dataset's files, read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.assessments = {row["id_assessment"]: row for row in rows(folder / "assessments.csv")}
        self.kinds = {row["id_site"]: row["activity_type"] for row in rows(folder / "vle.csv")}
        self.visits: dict[tuple[str, str], list[tuple[str, ...]]] = defaultdict(list)
        with (folder / "studentVle.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                self.visits[row[0], row[1]].append(tuple(row))
        self.visits.pop(VLE_HEADER[:2], None)
        self.results: dict[tuple[str, str], list[dict]] = defaultdict(list)
        for row in rows(folder / "studentAssessment.csv"):
            assessment = self.assessments[row["id_assessment"]]
            self.results[assessment["code_module"], assessment["code_presentation"]].append(row)


class Phase(NamedTuple):
    """A piece of the history: the days after `before` up to `last`. Evaluations are in the order in which they are sent."""

    number: int
    before: int
    last: int
    clicks: list[tuple[str, Click]]
    """By tenant, in the order of days."""
    late: list[tuple[str, Click]]
    """What comes days late, after those."""
    writes: list[tuple[str, str, Evaluation]]
    """Tenant, `put` or `delete`, and what is written."""
    rules: list[tuple[str, str, dict]]
    """Tenant, subject, rule."""


class Known:
    """What is in force after a phase."""

    def __init__(self) -> None:
        self.evaluations: dict[str, dict[str, Evaluation]] = {tenant: {} for tenant in TENANTS}
        self.rules: dict[str, dict[str, dict]] = {tenant: {"*": ITEMS_RULE} for tenant in TENANTS}

    def copy(self) -> "Known":
        """As of now."""
        other = Known()
        other.evaluations = {tenant: dict(own) for tenant, own in self.evaluations.items()}
        other.rules = {tenant: dict(own) for tenant, own in self.rules.items()}
        return other

    def rule(self, tenant: str, subject: str) -> dict:
        """The subject's own rule, or the one for all."""
        own = self.rules[tenant]
        return own.get(subject, own["*"])

    def grades(self, tenant: str) -> dict[tuple[str, str, str], dict]:
        """By student, subject and period."""
        return grades(self.evaluations[tenant].values(), lambda subject, _: self.rule(tenant, subject))

    def cohorts(self, tenant: str) -> dict:
        """By subject and period."""
        return cohorts(self.grades(tenant), lambda subject, _: self.rule(tenant, subject))


class History:
    """A run's data. `phases[0]` is imported from files."""

    def __init__(self, master: Master, seed: int) -> None:
        self.rng = random.Random(f"{seed}/history")
        busy = [key for key, found in sorted(master.visits.items()) if len({row[2] for row in found}) >= 3 * STUDENTS]
        self.presentation = self.rng.choice(busy)
        visits = master.visits[self.presentation]
        of: dict[str, int] = defaultdict(int)
        for row in visits:
            of[row[2]] += 1
        # Some who come often, so that something happens every day.
        often = sorted(of, key=lambda student: (-of[student], student))[: 3 * STUDENTS]
        self.students = {"oulad": sorted(self.rng.sample(often, STUDENTS))}
        strangers = self.rng.sample(often, OTHERS // 2)
        self.students["other"] = sorted({*self.rng.sample(self.students["oulad"], OTHERS // 2), *strangers})
        self.first = self.rng.randrange(0, 120)
        self.ends = sorted(self.rng.sample(range(7, DAYS - 1), PHASES - 1)) + [DAYS - 1]
        self.epoch = start_day(self.presentation[1]) + self.first
        self.known: list[Known] = []
        self.files: tuple[list, list] = ([], [])
        self.phases = self._phases(master, visits)

    def day(self, offset: int) -> int:
        """Days since 1970 of a day of the run."""
        return self.epoch + offset

    def _phases(self, master: Master, visits: list[tuple[str, ...]]) -> list[Phase]:
        phase_of = lambda offset: next(n for n, end in enumerate(self.ends) if offset <= end)  # noqa: E731
        clicks: list[list] = [[] for _ in range(PHASES)]
        late: list[list] = [[] for _ in range(PHASES)]
        self._files(visits)
        for number, row in enumerate(self.files[0]):
            click = self._click(master, number, row)
            clicks[0].append(("oulad", click))
        wanted = {tenant: set(students) for tenant, students in self.students.items()}
        # The importer numbers its rows from 0.
        number = 1_000_000
        days_seen = set()
        for row in visits:
            offset = int(row[4]) - self.first
            if not self.ends[0] < offset < DAYS:
                continue
            for tenant in TENANTS:
                if row[2] not in wanted[tenant]:
                    continue
                number += 1
                click = self._click(master, number, row)
                days_seen.add(offset)
                comes = offset + (self.rng.randrange(1, 6) if self.rng.random() < 1 / LATE_OF else 0)
                # It is sent at its phase's end, when the longest window (of seven days) must still hold it.
                too_late = comes >= DAYS or self.ends[phase_of(comes)] - offset >= 7
                if too_late or phase_of(comes) == phase_of(offset):
                    clicks[phase_of(offset)].append((tenant, click))
                else:
                    late[phase_of(comes)].append((tenant, click))
        for offset in range(self.ends[0] + 1, DAYS):
            # Every day has an event that comes in time, so that the clock stands in every day.
            number += 1
            clicks[phase_of(offset)].append(("oulad", Click(number, self.students["oulad"][0], "homepage", 1, self.day(offset))))
        phases = []
        known = Known()
        for n in range(PHASES):
            before = self.ends[n - 1] if n else -1
            writes, rules = self._writes(master, n, before, known)
            ordered = sorted(clicks[n], key=lambda sent: (sent[1].day, sent[1].row))
            phases.append(Phase(n, self.day(before), self.day(self.ends[n]), ordered, late[n], writes, rules))
            self.known.append(known.copy())
        # The end: a day more, so that what is kept by the day is as of the last phase.
        last = Click(2_000_000, self.students["oulad"][0], "homepage", 1, self.day(DAYS))
        phases.append(Phase(PHASES, self.day(DAYS - 1), self.day(DAYS), [("oulad", last)], [], [], []))
        self.known.append(known.copy())
        return phases

    def _click(self, master: Master, number: int, row: tuple[str, ...]) -> Click:
        return Click(number, row[2], master.kinds.get(row[3], "unknown"), int(row[5]), start_day(row[1]) + int(row[4]))

    def _files(self, visits: list[tuple[str, ...]]) -> None:
        """The rows of the first phase, as the importer reads them: each day has one."""
        own, found, site = set(self.students["oulad"]), set(), visits[0][3]
        for row in visits:
            offset = int(row[4]) - self.first
            if row[2] in own and 0 <= offset <= self.ends[0]:
                self.files[0].append(row)
                found.add(offset)
        for offset in range(self.ends[0] + 1):
            if offset not in found:
                self.files[0].append(
                    (*self.presentation, self.students["oulad"][0], site, str(self.first + offset), "1")
                )

    def _writes(self, master: Master, n: int, before: int, known: Known) -> tuple[list, list]:
        """What is written in a phase: new evaluations, and from the second one on corrections, deletions, versions that
        come too late, and rules. `known` is brought to what comes out of it."""
        rng, writes, rules = self.rng, [], []
        low = -10_000 if n == 0 else before
        for row in master.results[self.presentation]:
            offset = int(row["date_submitted"]) - self.first
            for tenant in TENANTS if n else TENANTS[:1]:
                since = -10_000 if tenant == "other" and n == 1 else low
                if row["id_student"] in self.students[tenant] and since < offset <= self.ends[n]:
                    made = evaluation(row, master.assessments[row["id_assessment"]])
                    known.evaluations[tenant][made.id] = made
                    if n == 0:
                        self.files[1].append(tuple(row[name] for name in ASSESSED_HEADER))
                    else:
                        writes.append((tenant, "put", made))
        for tenant in TENANTS if n else ():
            present = known.evaluations[tenant]
            for old in rng.sample(sorted(present.values()), min(len(present), 8)):
                if rng.random() < 0.2:
                    writes.append((tenant, "delete", old))
                    del present[old.id]
                    continue
                new = corrected(rng, old)
                writes.append((tenant, "put", new))
                present[old.id] = new
                if rng.random() < 0.3:
                    writes.append((tenant, "put", old))
            if rng.random() < 0.6:
                subject, rule = rng.choice([(s if s == "*" else self.presentation[0], r) for s, r in RULES])
                rules.append((tenant, subject, rule))
                known.rules[tenant][subject] = rule
        return writes, rules

    def write_files(self, master: Master, folder: Path) -> None:
        """The dataset of the first phase."""
        folder.mkdir()
        for name in ("assessments.csv", "vle.csv"):
            (folder / name).write_bytes((master.folder / name).read_bytes())
        courses = master.folder / "courses.csv"
        if courses.exists():
            (folder / "courses.csv").write_bytes(courses.read_bytes())
        for name, header, lines in (
            ("studentVle.csv", VLE_HEADER, self.files[0]),
            ("studentAssessment.csv", ASSESSED_HEADER, self.files[1]),
        ):
            with (folder / name).open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(header)
                writer.writerows(lines)

    def behaviour(self, phase: int, day: int | None = None) -> dict[str, Behaviour]:
        """By tenant, the events that are known: all up to a phase, of which only those up to a day where one is named."""
        out = {tenant: Behaviour() for tenant in TENANTS}
        for one in self.phases[: phase + 1]:
            for tenant, click in one.clicks:
                if one.number < phase or day is None or click.day <= day:
                    out[tenant].add(click)
            if one.number < phase or day is None:
                for tenant, click in one.late:
                    out[tenant].add(click)
        return out


def noon(day: int) -> int:
    """12:00 UTC: when the events of a day happened."""
    return day * DAY_MS + DAY_MS // 2
