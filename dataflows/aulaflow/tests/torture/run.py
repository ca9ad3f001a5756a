#!/usr/bin/env python3
"""Torture: seeded runs of random traffic while processes, broker, network and disk fail in every way that the driver
knows. After each run every profile, every replica and every dead letter must equal a batch recomputation of the log
that shares no code with the product (`batch.py`, `views.py`), and everything acknowledged must be on the log.

    run.py --binary BIN --log embedded --seeds 1..12
    run.py --binary BIN --log kafka --seeds 1..200 --report torture.json
    run.py --binary BIN --log kafka --seeds every-kind
    run.py --binary BIN --clickhouse --seeds 1..100
    run.py --binary BIN --self-test     plants differences into a run, and expects each to be found

A seed decides what is sent and what fails when; how long things take is the machine's. A run that differs keeps its
folder, says what differs, and ends the whole with exit code 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Callable

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[3]
# This folder first: some files of both have one name. Grades and cohorts are recomputed there.
sys.path[:0] = [str(HERE), str(HERE.parent / "oulad")]

import judge  # noqa: E402
import plan as plans  # noqa: E402
import planted  # noqa: E402
import stand as stands  # noqa: E402
from batch import Batch  # noqa: E402
from faults import Faults  # noqa: E402
from plan import Plan  # noqa: E402
from poller import Poller  # noqa: E402
from process import Broken, crash_points  # noqa: E402
from staleness import Staleness  # noqa: E402
from stand import Stand, Tools  # noqa: E402
from tally import Tally  # noqa: E402
from traffic import Sent, Writer  # noqa: E402

SHOWN_MAX = 12
CLICKHOUSE_POINTS = "clickhouse."
"""What the names of crash points begin with that only runs with ClickHouse come by."""
EVERY_KIND = "every-kind"
"""Of seeds: those that have every kind of fault between them."""


class Run:
    """One run: traffic with faults, and what is found after it."""

    strict_versions = False

    def __init__(self, stand: Stand, make_faults: type[Faults] = Faults) -> None:
        self.stand = stand
        self.plan = stand.plan
        self.sent = Sent()
        self.faults = make_faults(stand, self.sent)
        self.differences: list[str] = []
        self.poller = Poller(stand.processes, stand.replicas, self.plan.rng("poller"), self.strict_versions)
        self.staleness = Staleness(stand.processes, stand.replicas)
        self.reads: list[tuple[str, judge.Read]] = []
        self.records: list = []
        self.batch: Batch | None = None

    def go(self) -> None:
        """All of it. `Broken` where the product does not get there."""
        self.stand.start()
        self.poller.start()
        self.staleness.start()
        writers: list = [
            Writer(f"w{n}", f"{self.plan.seed}/writer/{n}", self.stand.clients, self.sent, self.plan.pause_s)
            for n in range(self.plan.writers)
        ]
        writers += self.stand.other_writers(self.sent)
        begun = time.monotonic()
        for writer in writers:
            writer.start()
        try:
            self.faults.run()
            time.sleep(max(0.0, begun + self.plan.traffic_s - time.monotonic()))
        finally:
            for writer in writers:
                writer.end()
        for writer in writers:
            if writer.failure:
                raise writer.failure
        self.stand.settle()
        self.read("after the traffic")
        self.counters()
        self.poller.end()
        self.staleness.end()
        self.differences += self.poller.differences + self.staleness.differences
        if self.faults.done["outage"] and self.stand.replicas:
            looks = (self.staleness.telling, self.poller.reads["replicas while no dataflow runs"])
            self.differences += [] if all(looks) else [f"nobody looked at the replica in an outage: {looks}"]
        self.differences += self.stand.end(self.plan.end_with_kill)
        self.restart()
        self.compare()
        self.differences += self.stand.verify()

    def restart(self) -> None:
        """Once more from the checkpoint, with nothing new on the log."""
        for process in self.stand.processes:
            process.workers = process.workers % 3 + 1
        for process in self.stand.everything():
            process.start()
        for process in self.stand.everything():
            process.wait_ready()
        if len(self.stand.processes) == 1:
            # Before the clock moves on and mends what it passes. (Of several, nobody knows yet who has which partition.)
            self.read("as soon as it is ready again")
        self.stand.settle()
        self.read("after a restart")
        self.counters()
        self.differences += self.stand.end(kill=False)

    def read(self, when: str) -> None:
        """Keeps what all profiles say now."""
        for name, tenants in self.stand.read().items():
            self.reads.append((f"{name} {when}", tenants))

    def counters(self) -> None:
        """The product's own alarms."""
        self.differences += [f"{name} is {n}" for name, n in self.faults.last_looks().items() if n != 0]

    def compare(self) -> None:
        """Everything that was read against the log."""
        self.records = self.stand.log.read()
        self.batch = Batch(self.records, self.stand.home())
        self.differences += judge.everything(self.reads, self.records, self.batch, self.sent)


def one(run: Run, tally: Tally, keep: bool) -> bool:
    """One run; whether nothing differs."""
    begun, stand, plan = time.monotonic(), run.stand, run.plan
    try:
        run.go()
    except Broken as error:
        run.differences.append(str(error))
    except Exception:  # of the driver, or of a read that nobody foresaw: a failed run too
        run.differences.append(traceback.format_exc())
    finally:
        run.poller.ended.set()
        run.staleness.ended.set()
        stand.clear(keep=keep or bool(run.differences))
    tally.add(run, time.monotonic() - begun)
    faults = ", ".join(f"{f.kind}{' ' + f.point if f.point else ''} at {f.at_s} s" for f in plan.faults)
    good = not run.differences
    records = run.batch.records if run.batch else 0
    print(
        f"{'ok  ' if good else 'FAIL'} seed {plan.seed}: {time.monotonic() - begun:.1f} s, {records} records, "
        f"{len(run.batch.dead) if run.batch else 0} dead; {faults}",
        flush=True,
    )
    if not good and run.records:
        (stand.folder / "records.txt").write_text("\n".join(map(repr, run.records)))
        (stand.folder / "differences.txt").write_text("\n".join(run.differences))
    for difference in run.differences[:SHOWN_MAX]:
        print(f"       {difference}", flush=True)
    if len(run.differences) > SHOWN_MAX:
        print(f"       … and {len(run.differences) - SHOWN_MAX} more")
    if not good:
        print(f"       its folder: {stand.folder}", flush=True)
    return good


def main() -> int:
    options = arguments()
    if options.clickhouse or options.clickhouse_self_test:
        return with_clickhouse(options)
    points = [point for point in crash_points(REPOSITORY) if not point.startswith(CLICKHOUSE_POINTS)]
    tools = Tools(options.binary.resolve(), options.log_tool or options.binary.resolve().parent / "examples" / "log_tool")
    work = options.keep or Path(tempfile.mkdtemp(prefix="aulaflow-torture-"))
    root = stands.may_mount()
    if options.self_test:
        outcome = planted.run(Run, tools, work / "self-test")
        if not options.keep:
            shutil.rmtree(work, ignore_errors=True)
        return outcome
    Run.strict_versions = options.strict_versions
    tally = Tally(options.log, points)
    print(f"{options.log} log; {len(points)} crash points; {'' if root else 'no small disks (needs root); '}working in {work}")
    make = embedded(tools, work) if options.log == "embedded" else in_kafka(tools, work)
    good = True

    def plan_of(seed: int) -> Plan:
        return plans.make(seed, options.log, points, root, not options.alone, not options.no_replica)

    try:
        for seed in seeds(options.seeds, plan_of):
            good = one(make(plan_of(seed)), tally, keep=bool(options.keep)) and good
            if not good and not options.go_on:
                break
    finally:
        make(None)
    print(tally.text())
    if options.report:
        options.report.write_text(tally.json())
    if good and not options.keep:
        os.rmdir(work)
    if options.every_point and tally.missed():
        print(f"no run came to {', '.join(tally.missed())}")
        return 1
    return 0 if good else 1


def with_clickhouse(options: argparse.Namespace) -> int:
    """The runs with ClickHouse, which have a history of their own."""
    # Only here: other runs need no dataset.
    import clickhouse_planted
    import clickhouse_run
    import dataset

    data = options.data or Path(os.environ.get("OULAD_DIR") or REPOSITORY.parent / "shared" / "oulad")
    if not dataset.present(data):
        print(f"the Open University dataset is not in {data}: give --data DIR, or set OULAD_DIR", file=sys.stderr)
        return 2
    where = REPOSITORY, options.binary.resolve(), data.resolve()
    if options.clickhouse_self_test:
        return clickhouse_planted.run(*where)
    return clickhouse_run.run(*where, seeds(options.seeds, lambda seed: None), options)


def embedded(tools: Tools, work: Path) -> Callable[[Plan | None], Run | None]:
    """Makes runs with the embedded log; none: there are no more."""
    return lambda plan: plan and Run(Stand(plan, tools, work / f"seed-{plan.seed}"))


def in_kafka(tools: Tools, work: Path) -> Callable[[Plan | None], Run | None]:
    """Makes runs on one broker, which is started now and ends with the last one."""
    # Only here: the embedded log needs no kafka-python.
    from broker import Broker
    from kafka_faults import KafkaFaults
    from kafka_stand import KafkaStand

    broker = Broker(REPOSITORY, work / "broker", proxies=3)
    print(f"the broker answers after {broker.start():.1f} s", flush=True)

    def make(plan: Plan | None) -> Run | None:
        if plan is None:
            broker.end()
            shutil.rmtree(broker.folder, ignore_errors=True)
            return None
        # A group of its own: what an earlier run committed is none of its business.
        name = f"{os.getpid()}-{plan.seed}"
        return Run(KafkaStand(plan, tools, work / f"seed-{plan.seed}", broker, name), KafkaFaults)

    return make


def seeds(text: str, plan_of: Callable[[int], Plan]) -> list[int]:
    """`7`, `1..12`, `1,5,9` or `every-kind`, each seed once."""
    out: list[int] = []
    for part in text.split(","):
        if part == EVERY_KIND:
            out += plans.covering(plan_of)
            continue
        first, _, last = part.partition("..")
        out += range(int(first), int(last or first) + 1)
    return list(dict.fromkeys(out))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True, help="the program")
    parser.add_argument("--log-tool", type=Path, help="the log crate's example [default: examples/log_tool beside it]")
    parser.add_argument("--log", choices=("embedded", "kafka"), default="embedded", help="which log")
    parser.add_argument(
        "--seeds", default="1..12", help="such as 7, 1..12, 1,5,9, or every-kind: few that have every fault [default: 1..12]"
    )
    parser.add_argument("--clickhouse", action="store_true", help="the runs with ClickHouse instead (embedded log)")
    parser.add_argument("--clickhouse-self-test", action="store_true", help="whether their comparisons can fail")
    parser.add_argument("--data", type=Path, help="the Open University dataset, for those [default: $OULAD_DIR]")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep every run's folder, in this one")
    parser.add_argument("--report", type=Path, metavar="FILE", help="the report as JSON")
    parser.add_argument("--alone", action="store_true", help="Kafka: never two processes")
    parser.add_argument("--no-replica", action="store_true", help="Kafka: no replica")
    parser.add_argument("--strict-versions", action="store_true", help="versions must not go back across crashes either")
    parser.add_argument("--go-on", action="store_true", help="go on after a run that differs")
    parser.add_argument("--every-point", action="store_true", help="fail where no run came to some crash point")
    parser.add_argument("--self-test", action="store_true", help="only whether differences would be found")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
