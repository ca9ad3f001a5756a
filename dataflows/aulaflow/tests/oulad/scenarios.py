"""The scenarios: what is sent, when the process is killed, and what must come out. Each has a data directory of its
own.

Acknowledged requests are never repeated after a kill, so a lost acknowledged write shows as a difference.
"""

from __future__ import annotations

import json
import random
import urllib.parse
from pathlib import Path
from typing import Callable, Iterable, NamedTuple

from compare import Expected, Seen, compare, dead_letters, under_way
from dataset import DAY_MS, Click, Dataset, Evaluation
from grading import ITEMS_RULE
from report import Report
from server import Program, Request, Server
from windows import late

BATCH = 5_000
"""What the API takes at once."""


class Setting(NamedTuple):
    """What every run has in common."""

    program: Program
    report: Report
    data: Path
    dataset: Dataset
    students: list[str]
    seed: int
    quick: bool


class Run:
    """One scenario with one number of workers, killed in its middle or not."""

    def __init__(self, setting: Setting, scenario: str, workers: list[int], kill: bool, folder: Path) -> None:
        self.setting = setting
        self.report = setting.report
        self.kill = kill
        self.name = name(scenario, workers, kill)
        self.rng = random.Random(f"{setting.seed} {self.name}")
        self.workers = workers
        self.server = Server(setting.program, folder, workers[0])
        self.rules: dict[str, dict] = {"*": ITEMS_RULE}
        self.expected = Expected(setting.students, lambda subject, _: self.rules.get(subject, self.rules["*"]))

    def go(self, scenario: Callable[[Run], None]) -> None:
        """Runs the scenario."""
        self.server.start()
        scenario(self)
        self.server.stop()

    def restart(self) -> None:
        """Starts the killed process again, with the next number of workers."""
        self.server.workers = self.workers[self.server.lives % len(self.workers)]
        self.report.say(f"{self.name}: killed; starting again with {self.server.workers} workers")
        self.server.start()

    def compare(self, what: str) -> Seen:
        """Compares everything."""
        return compare(self.report, f"{self.name}: {what}", self.server, self.expected)

    def dead_letters(self, what: str, low: int, high: int, why: str) -> None:
        """Checks their number."""
        dead_letters(self.report, f"{self.name}: {what}", self.server, low, high, why)

    def send(self, requests: list[Request], kills: set[int]) -> None:
        """Sends requests in order, killing the process where it should."""
        acknowledged = self.server.send_all(requests, kills, self.rng, self.restart)
        if kills:
            self.report.say(
                f"{self.name}: of {len(kills)} requests that met a kill, {acknowledged} had been acknowledged"
            )

    def a_kill(self, requests: int) -> set[int]:
        """A request in the middle half, if this run is killed."""
        return {self.rng.randrange(requests // 4, max(requests // 4 + 1, 3 * requests // 4))} if self.kill else set()

    def import_all(self, kill: bool) -> int:
        """Imports the dataset, killed at a random place and done again where `kill`. Returns the dead letters that the
        repetition explains: what was late for the clock that the first attempt left."""
        clicks = self.setting.dataset.clicks
        repeated_late = 0
        if kill:
            place = self.rng.randrange(len(clicks) // 10, 9 * len(clicks) // 10)
            self.report.say(f"{self.name}: importing until {place} behaviour events are on the log, then kill -9")
            self.server.import_until(self.setting.data, place)
            self.restart()
            self.server.wait_visible()
            # The importer sends in order of time, so the number of records on the log says how far the clock must be.
            clock_day = sorted(click.day for click in clicks)[self.server.behaviour_records() - 1]
            self.server.wait_clock(clock_day * DAY_MS + DAY_MS // 2)
            repeated_late = sum(late(click.day, clock_day) for click in clicks)
        self.report.say(f"{self.name}: importing {len(clicks) + len(self.setting.dataset.evaluations)} events")
        for click in clicks:
            self.expected.behaviour.add(click)
        self.expected.evaluations = {e.id: e for e in self.setting.dataset.evaluations}
        active = sorted({click.student for click in clicks})
        watched: list[dict] = []
        look = lambda: watched.extend(self.server.profiles(self.rng.sample(active, 500))[0].values())
        self.server.run_import(self.setting.data, look)
        under_way(self.report, f"{self.name}: during the import", watched, self.expected.behaviour)
        return repeated_late


def name(scenario: str, workers: list[int], kill: bool) -> str:
    """A run's name, which also seeds it."""
    return (
        f"{scenario}, {'+'.join(map(str, workers))} worker{'s' if workers != [1] else ''}{', killed' if kill else ''}"
    )


def base(run: Run) -> None:
    """1. The import."""
    late_count = run.import_all(run.kill)
    run.compare("import")
    run.dead_letters("import", late_count, late_count, "repeated events that are older than every window")
    if run.kill:
        run.server.kill()
        run.restart()
        run.compare("after one more kill at rest")


def corrections(run: Run) -> None:
    """2. Corrections and deletions of 5 % of the evaluations, while it runs."""
    kill_import = run.kill and run.rng.random() < 0.5
    late_count = run.import_all(kill_import)
    before = run.compare("import")
    run.dead_letters("import", late_count, late_count, "repeated events that are older than every window")
    evaluations = run.setting.dataset.evaluations
    chosen = run.rng.sample(evaluations, len(evaluations) // 20)
    requests, changed = correction_requests(run, chosen)
    run.report.say(f"{run.name}: {len(chosen)} corrections and deletions in {len(requests)} requests")
    run.send(requests, run.a_kill(len(requests)))
    after = run.compare("corrected")
    kept_rows(run, before, after, changed)
    # A process that was killed may meet some of them again: it counts what it meets.
    low = 0 if run.kill else late_count
    run.dead_letters("corrected", low, late_count, "corrections are never late")


def kept_rows(run: Run, before: Seen, after: Seen, changed: set) -> None:
    """Grades that nobody corrected are the same rows. After a kill their content is, which was compared already: what
    no checkpoint had covered is replayed in other steps, and version and time of change count those."""
    kept = [key for key in before.grades if key not in changed]
    other = [key for key in kept if after.grades.get(key) != before.grades[key]]
    if run.kill:
        back = sum(after.versions.get(key, 0) < before.versions[key] for key in kept)
        run.report.say(
            f"{run.name}: of {len(kept)} grades that nobody corrected, {len(other)} have another version or time; "
            f"{back} versions went back"
        )
        return
    differences = [
        f"{key}: was {json.dumps(before.grades[key])}, is {json.dumps(after.grades.get(key))}" for key in other
    ]
    run.report.check(
        f"{run.name}: grades that nobody corrected keep version and time", differences, f"{len(kept)} grades"
    )


def correction_requests(run: Run, chosen: list[Evaluation]) -> tuple[list[Request], set]:
    """A fifth is deleted, the others change; some also get an older version afterwards, which must lose. The expected
    state is brought to what comes out of it."""
    rng = run.rng
    writes: list[tuple[str, Evaluation]] = []
    for old in chosen:
        if rng.random() < 0.2:
            writes.append(("delete", old))
            del run.expected.evaluations[old.id]
            continue
        new = corrected(rng, old)
        writes.append(("single" if rng.random() < 0.03 else "batch", new))
        run.expected.evaluations[old.id] = new
        if rng.random() < 0.1:
            stale = corrected(rng, old)._replace(
                updated_ms=old.updated_ms + rng.randrange(-DAY_MS, new.updated_ms - old.updated_ms)
            )
            writes.append(("batch", stale))
    requests, batch = [], []

    def flush() -> None:
        if batch:
            requests.append(
                Request("teacher", "POST", "/v1/evaluations:batch", json.dumps([e.json() for e in batch]).encode())
            )
            batch.clear()

    for kind, evaluation in writes:
        if kind == "batch":
            batch.append(evaluation)
            if len(batch) >= 100:
                flush()
            continue
        # A single write may overtake a batch with an older version of the same evaluation: `updated_at` decides.
        if kind == "single":
            requests.append(Request("admin", "POST", "/v1/evaluations", json.dumps(evaluation.json()).encode()))
        else:
            requests.append(
                Request("admin", "DELETE", f"/v1/evaluations/{urllib.parse.quote(evaluation.id, safe='')}", b"")
            )
    flush()
    return requests, {(e.student, e.subject, e.period) for e in chosen}


def corrected(rng: random.Random, old: Evaluation) -> Evaluation:
    """Another score, and now and then another status or weight; later than before."""
    status = rng.choices(["graded", "missing", "excused"], [90, 5, 5])[0]
    digits = rng.choice([0, 0, 1, 2, 6])
    score = f"{rng.randrange(0, 100 * 10**digits + 1) / 10**digits:.{digits}f}"
    return old._replace(
        status=status,
        score=score if status == "graded" else None,
        weight=rng.choice([old.weight, old.weight, old.weight, "0", "12.5"]),
        updated_ms=old.updated_ms + rng.randrange(1, 30 * DAY_MS),
    )


def put_rule(subject: str, rule: dict) -> Request:
    """`PUT /v1/rules/{subject}`."""
    return Request("admin", "PUT", f"/v1/rules/{urllib.parse.quote(subject, safe='*')}", json.dumps(rule).encode())


def behaviour_request(clicks: Iterable[Click]) -> Request:
    """`POST /v1/behavior`."""
    return Request("service", "POST", "/v1/behavior", f"[{','.join(click.json() for click in clicks)}]".encode())


def chunks(items: list, size: int) -> list[list]:
    """Pieces of a list."""
    return [items[at : at + size] for at in range(0, len(items), size)]


def shuffled(run: Run) -> None:
    """3. Everything twice and in random order."""
    dataset = run.setting.dataset
    clicks = dataset.clicks * 2
    evaluations = dataset.evaluations * 2
    run.rng.shuffle(clicks)
    run.rng.shuffle(evaluations)
    behaviour = [behaviour_request(chunk) for chunk in chunks(clicks, BATCH)]
    graded = [
        Request("admin", "POST", "/v1/evaluations:batch", json.dumps([e.json() for e in chunk]).encode())
        for chunk in chunks(evaluations, BATCH)
    ]
    first, rest = behaviour[0], behaviour[1:]
    # The rule comes when a third of the evaluations is there. The behaviour keeps its order; the others go between.
    graded.insert(len(graded) // 3, put_rule("*", ITEMS_RULE))
    turns = ["b"] * len(rest) + ["g"] * len(graded)
    run.rng.shuffle(turns)
    queues = {"b": iter(rest), "g": iter(graded)}
    requests = [next(queues[turn]) for turn in turns]
    run.report.say(
        f"{run.name}: {len(clicks)} events and {len(evaluations)} evaluations in {len(requests) + 1} requests"
    )
    run.server.send(first)
    run.server.wait_visible()
    # An event is late if it is older than every window at the clock that it meets. That is at least what the first
    # request left, and at most the newest of all the events before it.
    low = high = 0
    newest = max(click.day for click in clicks[:BATCH])
    for place, click in enumerate(clicks):
        if place >= BATCH:
            low += late(click.day, newest)
    running = clicks[0].day
    for click in clicks:
        high += late(click.day, running)
        running = max(running, click.day)
    run.send(requests, run.a_kill(len(requests)))
    run.expected.evaluations = {e.id: e for e in dataset.evaluations}
    for click in dataset.clicks:
        run.expected.behaviour.add(click)
    run.compare("twice and in random order")
    why = "events that are older than every window when they arrive"
    run.dead_letters(
        "twice and in random order", 0 if run.kill else low, high, why + ("; of this life" if run.kill else "")
    )


RULES = [
    (
        "*",
        {
            "weights": {"tma": "0.4", "cma": "0.2", "exam": "0.4"},
            "category": {"tma": {"drop_lowest": 1}},
            "min_passing": 40,
        },
    ),
    (
        "*",
        {
            "weights": {"tma": "0.75", "cma": "0.25"},
            "category": {"tma": {"combine": "points", "drop_lowest": 2}, "cma": {"drop_lowest": 1}},
            "absent_category": "zero",
            "rounding": {"mode": "half_even", "decimals": 1},
            "min_passing": "55.5",
        },
    ),
    (
        "AAA",
        {
            "weights": {"tma": "1"},
            "category": {"tma": {"combine": "weighted", "drop_lowest": 1}},
            "scale": {"min": 1, "max": 10},
            "rounding": {"mode": "down", "decimals": 3},
            "min_passing": "6",
        },
    ),
    ("*", {"weights": {"tma": 1, "cma": 0}, "rounding": {"decimals": 0}, "min_passing": 40}),
    ("AAA", ITEMS_RULE),
    ("*", ITEMS_RULE),
]
"""Rules in the order in which they are put; the last ones bring back what the import installed."""


def rules(run: Run) -> None:
    """4. Rules change while it runs; the last change brings back the first rule."""
    late_count = run.import_all(run.kill and run.rng.random() < 0.5)
    before = first = run.compare("import")
    kill_at = run.rng.randrange(len(RULES)) if run.kill else -1
    for number, (subject, rule) in enumerate(RULES):
        what = f"rule {number + 1} of {len(RULES)}, for {subject}"
        run.send([put_rule(subject, rule)], {0} if number == kill_at else set())
        run.rules[subject] = rule
        after = run.compare(what)
        since_kill = number - kill_at if 0 <= kill_at <= number else None
        versions(run, what, subject, before, after, since_kill)
        before = after
    back = [
        f"{k}: was {v}, is {before.rule_versions[k]}"
        for k, v in first.rule_versions.items()
        if v != before.rule_versions.get(k)
    ]
    run.report.check(f"{run.name}: the first rule's version is back", back)
    run.dead_letters("rules", 0, late_count, "repeated events that are older than every window; rules make none")


def versions(run: Run, what: str, subject: str, before: Seen, after: Seen, since_kill: int | None) -> None:
    """A new rule is one step of exactly the grades that it is for, and all of them name the rule that is in force. With the
    step that meets a kill others may be replayed, and the first change after it takes a grade's version above all
    that may have been shown."""
    answered = run.server.get(f"/v1/rules/{urllib.parse.quote(subject, safe='*')}", "admin").json()["rule_version"]
    differences = []
    for key, version in after.versions.items():
        own = key[1] in run.rules
        mine = key[1] == subject if subject != "*" else not own
        want = before.versions.get(key, 0) + mine
        jumps = since_kill is not None and mine and version > want
        if version != want and not jumps and since_kill != 0:
            differences.append(f"{key}: expected version {want}, got {version}")
        if mine and after.rule_versions[key] != answered:
            differences.append(f"{key}: rule_version is {after.rule_versions[key]}, the rule's {answered}")
    run.report.check(f"{run.name}: {what}: one version further where it changed", differences, f"rule {answered}")


STAGES = 12


def stages(run: Run) -> None:
    """6. The history piece by piece, in order, each event twice and some of them days late: compared at many instants,
    when the windows are full. Killed runs are killed in every third piece and go on with another number of workers."""
    dataset = run.setting.dataset
    run.server.send(put_rule("*", ITEMS_RULE))
    clicks = sorted(dataset.clicks, key=lambda click: (arrival(run.setting.seed, click), click.row))
    evaluations = sorted(dataset.evaluations, key=lambda e: (e.graded_ms, e.id))
    cuts = sorted(run.rng.sample(range(len(clicks) // 20, len(clicks)), STAGES - 1)) + [len(clicks)]
    at = graded_at = repeated_late = 0
    for stage, cut in enumerate(cuts, 1):
        # A piece ends between two days, so that no event of the next piece is for a day before this one's last.
        while cut < len(clicks) and arrival(run.setting.seed, clicks[cut]) == arrival(
            run.setting.seed, clicks[cut - 1]
        ):
            cut += 1
        piece, at = clicks[at:cut], max(at, cut)
        until = (arrival(run.setting.seed, clicks[at - 1]) + 1) * DAY_MS
        upto = next((i for i, e in enumerate(evaluations) if e.graded_ms >= until), len(evaluations))
        upto = len(evaluations) if stage == STAGES else max(graded_at, upto)
        graded, graded_at = evaluations[graded_at:upto], max(graded_at, upto)
        requests = []
        for chunk in chunks(piece, BATCH):
            requests += [behaviour_request(chunk), behaviour_request(run.rng.sample(chunk, len(chunk)))]
            # In quiet weeks one request spans many days: then some repetitions are older than every window.
            newest = max(click.day for click in chunk)
            repeated_late += sum(late(click.day, newest) for click in chunk)
        for chunk in chunks(graded, BATCH):
            body = json.dumps([e.json() for e in chunk]).encode()
            requests += [Request("admin", "POST", "/v1/evaluations:batch", body)] * 2
        run.report.say(f"{run.name}: piece {stage} of {STAGES}: {len(piece)} events, {len(graded)} evaluations, twice")
        kills = run.a_kill(len(requests)) if stage % 3 == 1 and requests else set()
        run.send(requests, kills)
        for click in piece:
            run.expected.behaviour.add(click)
        run.expected.evaluations.update({e.id: e for e in graded})
        run.compare(f"piece {stage}")
        # The request that met the kill is sent again, which can repeat its events once more.
        high = repeated_late * (2 if run.kill else 1)
        run.dead_letters(f"piece {stage}", 0, high, "repetitions that are older than every window when they arrive")


def arrival(seed: int, click: Click) -> int:
    """The day that an event is sent on: one in forty comes one to five days late."""
    mixed = (click.row * 2_654_435_761 + seed * 97) % 2**32 >> 8
    return click.day + (mixed // 40 % 5 + 1 if mixed % 40 == 0 else 0)
