"""Runs with ClickHouse: a real history, from files and over HTTP, while ClickHouse and the way to it fail in every way that the
driver knows and the process is killed; then everything that ClickHouse has is compared (`clickhouse_judge`)."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import traceback
import urllib.parse
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from clickhouse_data import PHASES, TENANTS, History, Master, Phase, noon
from clickhouse_engine import PASSWORD, USER, VARIABLE, Engine
from clickhouse_judge import Instant, Judge, instants_of
from grading import ITEMS_RULE
from http_proxy import WAYS, HttpProxy
from process import free_port
from scenarios import behaviour_request, put_rule
from server import TENANT, Broken, Program, Request, Server

assert TENANT == TENANTS[0]
POINTS_OF = ("sinks/clickhouse/src/recorder.rs", "sinks/clickhouse/src/sender.rs")
DRAINED_MAX_S = 90
RECORDED_MAX_S = 90
CALM_AFTER_S = 15
NUDGE_S = 0.3
"""Longer than the time between two checkpoints."""
COMPARED = b"what is shown was compared with what was recorded for ClickHouse"
SHOWN_MAX = 12
Sending = tuple[str, Request]
"""Whose request it is, and what."""

FAULTS = {**dict.fromkeys(WAYS, 3), "kill ClickHouse": 3, "stop ClickHouse": 1, "halt ClickHouse": 1}
"""What happens to ClickHouse and on the way to it, and how often it is chosen."""
ENDS = {"kill": 5, "crash": 5, "stop": 2, "lose the store": 1}
"""What happens to the process in a phase."""

CONFIG = """# Written by the torture driver.
data_dir = "data"
dataflows = ["views.sql"]

[[auth.key]]
id = "development"
algorithm = "HS256"
secret = "aulaflow-development-only-not-a-secret"
development = true

[log]
partitions = 1
retention = "3650 days"

[engine]
clock = "event"
checkpoint_interval = "200 milliseconds"

[serving]
students_expected = 1000

[clickhouse]
kind = "server"
url = "http://127.0.0.1:{port}"
user = "{user}"
password_env = "{variable}"
pseudonym_keys = "{keys}"
block_rows = {block_rows}
block_age = "{block_age} milliseconds"
insert_timeout = "2 seconds"
drain_timeout = "{drain} seconds"
"""


class Plan(NamedTuple):
    """What a seed decides, besides the data."""

    seed: int
    cadence: dict[str, str]
    block_rows: int
    block_age_ms: int
    drain_s: int
    ends: tuple[str | None, ...]
    """By phase, what ends the process in it: a kind of `ENDS`, or a crash point."""
    faulty: bool
    """Whether anything happens to ClickHouse."""

    @staticmethod
    def of(seed: int, views: list[str], points: list[str]) -> "Plan":
        """The plan of a seed."""
        rng = random.Random(f"{seed}/plan")
        cadence = {view: rng.choice(("changes", "daily")) for view in views}
        # Of both kinds there is one.
        cadence[views[0]], cadence[views[1]] = rng.sample(("changes", "daily"), 2)
        ends: list[str | None] = []
        for phase in range(PHASES):
            kind = rng.choices(list(ENDS), list(ENDS.values()))[0] if rng.random() < 0.55 else None
            if kind == "crash":
                kind = f"crash {rng.choice(points)}:{rng.randrange(1, 4)}"
            ends.append(("kill" if rng.random() < 0.3 else None) if phase == 0 else kind)
        return Plan(
            seed=seed,
            cadence=cadence,
            block_rows=rng.choice((1_000, 100_000)),
            block_age_ms=rng.choice((10, 100, 1_000)),
            drain_s=rng.choice((1, 5)),
            ends=tuple(ends),
            faulty=rng.random() < 0.9,
        )


class Faults(threading.Thread):
    """What happens to ClickHouse, one after the other, until it is told to end."""

    def __init__(self, engine: Engine, proxy: HttpProxy, seed: int) -> None:
        super().__init__(name="faults", daemon=True)
        self.engine = engine
        self.proxy = proxy
        self.rng = random.Random(f"{seed}/faults")
        self.ended = threading.Event()
        self.calm = threading.Event()
        """While it is set nothing new happens."""
        self.failure: BaseException | None = None
        self.done: Counter[str] = Counter()

    def run(self) -> None:
        """Until it is told to end."""
        try:
            while not self.ended.wait(self.rng.random() * 0.8):
                if self.calm.is_set():
                    continue
                self.one(self.rng.choices(list(FAULTS), list(FAULTS.values()))[0], 0.2 + 1.8 * self.rng.random())
        except BaseException as error:  # the run must fail, not go on without faults
            self.failure = error

    def one(self, kind: str, seconds: float) -> None:
        """One fault."""
        self.done[kind] += 1
        if kind in WAYS:
            self.proxy.be(kind, self.rng.choice((0.3, 0.7, 1.0)))
            self.ended.wait(seconds)
            self.proxy.be(None)
        elif kind == "halt ClickHouse":
            self.engine.halt()
            # Longer than an insert may take, as often as not.
            self.ended.wait(seconds * 2)
            self.engine.halt(signal.SIGCONT)
        else:
            if kind == "kill ClickHouse":
                self.engine.kill()
            else:
                self.engine.stop()
            self.ended.wait(seconds)
            self.engine.start()

    def end(self) -> None:
        """Ends it; nothing is wrong any more."""
        self.ended.set()
        self.join(120)
        self.proxy.be(None)
        if self.failure:
            raise self.failure


class Product(Server):
    """The process under test, which can be told to end itself."""

    crash_at = ""
    begins_at = 0

    def launch(self) -> None:
        """Starts it, and does not wait."""
        self.begins_at = self.log.stat().st_size if self.log.exists() else 0
        os.environ[VARIABLE] = PASSWORD
        os.environ.pop("AULAFLOW_CRASH_AT", None)
        if self.crash_at:
            os.environ["AULAFLOW_CRASH_AT"] = self.crash_at
        super().launch()
        os.environ.pop("AULAFLOW_CRASH_AT", None)

    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def compared(self) -> bool:
        """Whether this life has compared what is shown with what was recorded."""
        with self.log.open("rb") as log:
            log.seek(self.begins_at)
            return COMPARED in log.read()


class Run:
    """One seed."""

    def __init__(self, plan: Plan, master: Master, setting: "Setting", folder: Path) -> None:
        self.plan, self.folder, self.setting = plan, folder, setting
        folder.mkdir(parents=True)
        self.rng = random.Random(f"{plan.seed}/run")
        self.history = History(master, plan.seed)
        self.history.write_files(master, folder / "slice")
        sql = setting.sql
        for view, cadence in plan.cadence.items():
            sql = sql.replace(f"VIEW {view} WITH (serve = true", f"VIEW {view} WITH (serve = true, analytics = '{cadence}'")
        (folder / "views.sql").write_text(sql)
        self.engine = Engine(setting.binary, folder)
        self.proxy = HttpProxy(free_port(), self.engine.port, f"{plan.seed}/proxy")
        config = folder / "aulaflow.toml"
        text = CONFIG.format(
            port=self.proxy.listen,
            keys=folder / "keys",
            user=USER,
            variable=VARIABLE,
            block_rows=plan.block_rows,
            block_age=plan.block_age_ms,
            drain=plan.drain_s,
        )
        config.write_text(text)
        program = Program(setting.binary, config)
        program.tokens = setting.tokens
        self.product = Product(program, folder, self.rng.randrange(1, 4))
        self.faults = Faults(self.engine, self.proxy, plan.seed)
        self.judge = Judge(self.history, plan.cadence, folder / "keys", self.engine)
        self.instants: list[Instant] = []
        self.sent_until = 0
        """Instants before this one were sent: they do not depend on the store."""
        self.done: Counter[str] = Counter()
        self.differences: list[str] = []
        self.seconds = 0.0

    def go(self) -> None:
        """All of it."""
        self.engine.start()
        config = self.product.program.config
        migrate = [str(self.setting.binary), "clickhouse", "migrate", "--config", str(config)]
        made = subprocess.run(migrate, capture_output=True, text=True, timeout=60, env={**os.environ, VARIABLE: PASSWORD})
        if made.returncode != 0:
            raise Broken(f"`aulaflow clickhouse migrate` exits with {made.returncode}: {made.stderr[-1500:]}")
        self.product.start()
        if self.plan.faulty:
            self.faults.start()
        for number in range(PHASES):
            self.phase(number)
        if self.plan.faulty:
            self.faults.end()
        self.phase(PHASES)
        self.drain()
        self.end()

    def end(self) -> None:
        """Ends it in order, looks at everything, and sees that one more start adds nothing."""
        counts = self.differences_counted()
        self.product.stop()
        self.differences += self.judge.everything(self.instants, self.rng)
        if self.rng.random() < 0.3:
            self.product.start()
            self.recorded(PHASES)
            self.drain()
            if (now := self.differences_counted()) != counts:
                self.differences.append(f"one more start makes {counts} differences {now}")
            self.product.stop()

    def differences_counted(self) -> int:
        """How many rows of differences there are."""
        each = " + ".join(f"(SELECT count() FROM aula.{table}_changes)" for table in self.judge.tables)
        return self.engine.ask(f"SELECT {each} AS n")[0]["n"]

    # -- a phase

    def phase(self, number: int) -> None:
        """Sends a phase, with what ends the process in it, and notes what is shown when all of it is recorded."""
        phase = self.history.phases[number]
        how = self.plan.ends[number] if number < PHASES else None
        lives = self.product.lives
        if number == 0:
            self.import_files(how)
        else:
            self.send_all(phase, how)
        self.product.wait_visible()
        self.product.wait_clock(noon(phase.last))
        self.recorded(number)
        profiles = {t: self.product.profiles(self.history.students[t], t)[0] for t in TENANTS}
        exact = self.product.lives == lives
        sent = all(sink["waiting_blocks"] == 0 for sink in self.sinks())
        self.instants += instants_of(self.history, number, exact, profiles, self.rng)
        if sent:
            self.sent_until = len(self.instants)

    def import_files(self, how: str | None) -> None:
        """The importer brings the first phase; of the second tenant there is a rule."""
        slice_of = self.folder / "slice"
        if how:
            self.product.import_until(slice_of, self.rng.randrange(1, len(self.history.phases[0].clicks)))
            self.done[how] += 1
            self.start()
        self.product.run_import(slice_of, lambda: None)
        self.product.send(put_rule("*", ITEMS_RULE), TENANTS[1])

    def requests(self, phase: Phase) -> list[tuple[int, list[Sending]]]:
        """A phase as requests, by days: events in the order of days, and what has no instant of its own between them."""
        by_day = {
            day: behaviour([sent for sent in phase.clicks if sent[1].day == day])
            for day in range(phase.before + 1, phase.last + 1)
        }
        others = [(tenant, write_request(kind, made)) for tenant, kind, made in phase.writes]
        others += [(tenant, put_rule(subject, rule)) for tenant, subject, rule in phase.rules]
        for other, day in zip(others, sorted(self.rng.choices(list(by_day), k=len(others)))):
            by_day[day].append(other)
        # What comes late is apart: the clock stands in the last day before it.
        return [*by_day.items(), (phase.last, behaviour(phase.late))]

    def send_all(self, phase: Phase, how: str | None) -> None:
        """Sends a phase in order, and ends the process as the plan says at one of its requests. The first events move the clock on,
        before anything that has no instant of its own can come: where the process is ended, that is in a checkpoint first, since
        it begins with its checkpoint's clock. In phases in which it is not ended the clock stands in every day for a moment."""
        days = self.requests(phase)
        moving = behaviour([sent for sent in phase.clicks if sent[1].day == phase.before + 1])
        for sending in moving:
            self.sent(*sending)
        self.product.wait_visible()
        self.product.wait_clock(noon(phase.before + 1))
        if how:
            self.recorded(phase.number - 1)
        rest = [(place, sending) for place, (_, sendings) in enumerate(days) for sending in sendings][len(moving) :]
        at = self.rng.randrange(len(rest) + 1) if how else -1
        if how and how.startswith("crash "):
            # What comes after it brings the process there.
            at //= 2
        before = 0
        for number, (place, sending) in enumerate(rest):
            if number == at:
                self.end_process(how)
            if not how and place > before:
                self.product.wait_visible()
                self.product.wait_clock(noon(days[place - 1][0]))
            before = place
            self.sent(*sending)
        if at == len(rest):
            self.end_process(how)
        self.settle_crash()

    def sent(self, tenant: str, request: Request) -> None:
        """Sends a request."""
        self.steady(lambda: self.product.send(request, tenant))

    def steady(self, what) -> None:
        """Does something; again where the process ended itself meanwhile, as it was told to."""
        while True:
            try:
                what()
                return
            except (OSError, Broken):
                time.sleep(0.05)
                if self.product.alive() or not self.product.crash_at:
                    raise
                self.crashed()

    def crashed(self) -> None:
        """It has ended itself: it is started again."""
        self.done[f"crash {self.product.crash_at.split(':')[0]}"] += 1
        self.product.crash_at = ""
        self.product.kill()
        self.start()

    def settle_crash(self) -> None:
        """A crash point that was not come by must not come later."""
        if self.product.crash_at:
            if self.product.alive():
                self.done["crash point not come by"] += 1
                self.product.crash_at = ""
                self.product.kill()
                self.start()
            else:
                self.crashed()

    def end_process(self, how: str) -> None:
        """Ends it somehow, and starts it again with some number of workers."""
        product = self.product
        if how == "lose the store":
            # What was not sent is lost with it, and found again by the comparison, at a later instant; so is what waits for its day.
            del self.instants[self.sent_until :]
            last = max((instant.phase for instant in self.instants), default=0)
            self.instants = [i for i in self.instants if (i.tables, i.phase, i.day) != ("daily", last, None)]
            self.sent_until = len(self.instants)
            product.kill()
            shutil.rmtree(self.folder / "data" / "analytics")
        elif how == "stop":
            product.stop()
        else:
            product.kill()
        if how.startswith("crash "):
            product.crash_at = how.removeprefix("crash ")
        else:
            self.done[how] += 1
        self.start()

    def start(self) -> None:
        """Starts it again."""
        self.product.workers = self.rng.randrange(1, 4)
        try:
            self.product.start()
        except Broken:
            if self.product.alive() or not self.product.crash_at:
                raise
            self.crashed()

    # -- waiting

    def sinks(self) -> list[dict]:
        """How far the sink is."""
        return self.product.lag().get("sinks", [])

    def recorded(self, phase: int) -> None:
        """Waits until all that is shown is recorded on the disk: the comparison after the start is done, and two checkpoints are
        made from now on, which wait for that (the first may be under way)."""
        begun = time.monotonic()

        def compared() -> bool:
            # A store that is made again reads all tables in one go, which comes to no end while something breaks each second.
            if time.monotonic() > begun + CALM_AFTER_S:
                self.faults.calm.set()
            return self.product.compared()

        self.product.until(RECORDED_MAX_S, "compare what is shown with what was recorded", compared)
        self.faults.calm.clear()
        rule = put_rule("*", self.history.known[phase].rules[TENANTS[1]]["*"])
        for _ in range(2):
            since, nudged = time.time(), 0.0

            def younger() -> bool:
                nonlocal nudged
                if time.time() > nudged + NUDGE_S:
                    # A record that changes nothing: without one that is read when a checkpoint is due, there is none.
                    self.product.send(rule, TENANTS[1])
                    nudged = time.time()
                age = self.product.lag()["checkpoint_age_seconds"]
                return age is not None and time.time() - age > since

            self.product.until(RECORDED_MAX_S, "make a checkpoint", younger)
        self.product.wait_visible()

    def drain(self) -> None:
        """Waits until everything was sent."""

        def drained() -> bool:
            sinks = self.sinks()
            return bool(sinks) and all(s["state"] == "live" and s["waiting_blocks"] == 0 for s in sinks)

        self.product.until(DRAINED_MAX_S, "send everything to ClickHouse", drained)

    def clear(self, keep: bool) -> None:
        """Ends what is left."""
        self.faults.ended.set()
        if self.faults.ident:
            self.faults.join(60)
        self.product.kill()
        self.engine.kill()
        self.proxy.end()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)


class Setting:
    """What all runs have in common."""

    def __init__(self, repository: Path, binary: Path, data: Path) -> None:
        self.binary = binary
        self.tokens: dict[tuple[str, str], str] = {}
        self.sql = (repository / "configs" / "dataflows" / "oulad" / "oulad.sql").read_text()
        self.views = re.findall(r"VIEW (\w+) WITH \(serve = true", self.sql)
        self.master = Master(data)
        self.points: list[str] = []
        for source in POINTS_OF:
            listed = re.findall(r"CRASH_POINTS: &\[&str\] =\s*&\[(.*?)\];", (repository / source).read_text(), re.DOTALL)
            self.points += re.findall(r'"([a-z.]+)"', " ".join(listed))


def run(repository: Path, binary: Path, data: Path, seeds: list[int], options) -> int:
    """All seeds; the exit code."""
    setting = Setting(repository, binary, data)
    work = options.keep or Path(tempfile.mkdtemp(prefix="aulaflow-torture-"))
    print(f"ClickHouse; {len(setting.points)} crash points of the sink; working in {work}", flush=True)
    tally, begun, good = Tally(), time.monotonic(), True
    for seed in seeds:
        plan = Plan.of(seed, setting.views, setting.points)
        good = tally.add(one(plan, setting, work / f"seed-{seed}", bool(options.keep))) and good
        if not good and not options.go_on:
            break
    print(tally.text(time.monotonic() - begun, setting.points))
    if options.report:
        options.report.write_text(tally.json(time.monotonic() - begun, setting.points))
    if good and not options.keep:
        os.rmdir(work)
    return 0 if good else 1


def one(plan: Plan, setting: Setting, folder: Path, keep: bool, after=None) -> Run:
    """One run, whatever comes of it. `after` is done while what it left is still there."""
    begun = time.monotonic()
    made = Run(plan, setting.master, setting, folder)
    try:
        made.go()
        if after:
            after(made)
    except Exception as error:  # of the product, of the driver, or of a read that nobody foresaw: a failed run
        expected = isinstance(error, Broken)
        made.differences.append(f"{error}\n{made.product.tail(8)}" if expected else traceback.format_exc())
    finally:
        made.clear(keep or bool(made.differences))
    made.seconds = time.monotonic() - begun
    good = not made.differences
    faults = ", ".join(f"{kind} {n}" for kind, n in (made.done + made.faults.done).items()) or "nothing"
    print(f"{'ok  ' if good else 'FAIL'} seed {plan.seed}: {made.seconds:.1f} s; {faults}", flush=True)
    if not good:
        (folder / "differences.txt").write_text("\n".join(made.differences))
        for difference in made.differences[:SHOWN_MAX]:
            print(f"       {difference[:1500]}", flush=True)
        print(f"       {len(made.differences)} in all; its folder: {folder}", flush=True)
    return made


class Tally:
    """The sums over all runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.failed: list[int] = []
        self.differences = 0
        self.seconds: list[float] = []
        self.ends: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.compared: Counter[str] = Counter()

    def add(self, made: Run) -> bool:
        """A run that has ended; whether it was good."""
        self.runs += 1
        self.seconds.append(made.seconds)
        self.differences += len(made.differences)
        if made.differences:
            self.failed.append(made.plan.seed)
        self.ends += made.done
        self.faults += made.faults.done
        self.requests += made.proxy.done
        self.compared += made.judge.compared
        return not made.differences

    def facts(self, seconds: float, points: list[str]) -> dict:
        """Everything."""
        ordered = sorted(self.seconds)
        met = {point for point in points if self.ends[f"crash {point}"]}
        return {
            "runs": self.runs,
            "failed_seeds": self.failed,
            "differences": self.differences,
            "seconds": round(seconds, 1),
            "seconds_per_run": {"median": round(ordered[len(ordered) // 2], 1), "max": round(ordered[-1], 1)},
            "ends_of_the_process": dict(self.ends.most_common()),
            "points_never_come_to": sorted(set(points) - met),
            "faults_of_clickhouse": dict(self.faults.most_common()),
            "requests_that_met_one": dict(self.requests.most_common()),
            "compared": dict(self.compared.most_common()),
        }

    def json(self, seconds: float, points: list[str]) -> str:
        """For a file."""
        return json.dumps(self.facts(seconds, points), indent=2) + "\n"

    def text(self, seconds: float, points: list[str]) -> str:
        """For people."""
        lines = [""]
        for name, value in self.facts(seconds, points).items():
            if isinstance(value, dict):
                value = ", ".join(f"{key} {n}" for key, n in value.items()) or "none"
            elif isinstance(value, list):
                value = ", ".join(map(str, value)) or "none"
            lines.append(f"{name.replace('_', ' '):22} {value}")
        return "\n".join(lines)


def behaviour(sent: list[tuple[str, object]]) -> list[Sending]:
    """Events as requests, one for each tenant."""
    each = [(tenant, [click for whose, click in sent if whose == tenant]) for tenant in TENANTS]
    return [(tenant, behaviour_request(clicks)) for tenant, clicks in each if clicks]


def write_request(kind: str, made) -> Request:
    """A write of an evaluation, or its deletion."""
    path = "/v1/evaluations"
    if kind == "delete":
        return Request("admin", "DELETE", f"{path}/{urllib.parse.quote(made.id, safe='')}", b"")
    return Request("teacher", "POST", path, json.dumps(made.json()).encode())
