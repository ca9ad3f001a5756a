"""Does a plan's faults to a stand, one after the other, and counts what was done."""

from __future__ import annotations

import time
from collections import Counter

import school
from client import Unanswered
from plan import Fault
from process import READY_MAX_S, Broken, Process, wait
from stand import Stand
from traffic import Sent

CRASH_MAX_S = 2.5
"""How long a process that is ready may take to come to its crash point."""


AFTER_STOP = "running.noted"
"""A crash point that a start comes by only after an end in order."""


class Faults:
    """The faults of one run."""

    def __init__(self, stand: Stand, sent: Sent) -> None:
        self.stand = stand
        self.sent = sent
        self.rng = stand.plan.rng("faults")
        self.done: Counter[str] = Counter()
        self.points: Counter[str] = Counter()
        self.recovery_s: list[float] = []
        self.fresh_s: list[float] = []
        """After outages: seconds from when the dataflow was ready until replicas said so."""
        self.begun = 0.0

    def run(self) -> None:
        """All of them; what the product does wrong meanwhile is `Broken`."""
        self.begun = time.monotonic()
        for fault in self.stand.plan.faults:
            time.sleep(max(0.0, self.begun + fault.at_s - time.monotonic()))
            # One that ended by itself, or at a crash point, would make the next fault another one.
            self.all_run()
            action = getattr(self, fault.kind.replace(" ", "_"))
            action(fault, self.stand.processes[fault.process])
            self.done[fault.kind] += 1

    def all_run(self) -> None:
        """Nobody may have ended by itself."""
        for process in self.stand.everything():
            if not process.alive():
                if process.revive():
                    process.wait_ready()
                    continue
                code = process.process.returncode if process.process else None
                raise Broken(f"{process.name} ended by itself with exit code {code}:\n{process.tail()}")

    def again(self, process: Process, crash_at: str = "") -> None:
        """Starts a process with some number of workers, perhaps kills it while it restores, and waits until it is ready."""
        process.workers = self.rng.randrange(1, 4)
        process.start(crash_at)
        if not crash_at and self.rng.random() < 0.3:
            time.sleep(self.rng.random() * 0.4)
            process.kill()
            self.done["kill while it starts"] += 1
            process.start()
        if not crash_at:
            self.recovery_s.append(process.wait_ready())

    # -- processes

    def stopped(self, process: Process) -> None:
        """Asks a process to stop, which it must do in order."""
        if (code := process.stop()) != 0:
            raise Broken(f"{process.name} was asked to stop and ended with exit code {code}:\n{process.tail()}")

    def kill(self, fault: Fault, process: Process) -> None:
        """kill -9 at any instant."""
        process.kill()
        time.sleep(fault.seconds / 4)
        self.again(process)

    def crash(self, fault: Fault, process: Process) -> None:
        """The process ends itself before or after a durable step."""
        if fault.point == AFTER_STOP:
            self.stopped(process)
        else:
            process.kill()
        self.again(process, fault.point)
        ready: list[float] = []

        def ended() -> bool:
            if not ready and process.client.ready():
                ready.append(time.monotonic())
            # Not every point is come by in every life.
            return not process.alive() or (bool(ready) and time.monotonic() > ready[0] + CRASH_MAX_S)

        wait(READY_MAX_S, f"{process.name} is ready or comes to {fault.point}", ended)
        if process.alive():
            self.done["crash point not come by"] += 1
            # It must not end there later, where nobody reckons with it.
            process.kill()
        else:
            self.points[fault.point.split(":")[0]] += 1
        self.again(process)

    def stop(self, fault: Fault, process: Process) -> None:
        """SIGTERM: in order, with exit code 0."""
        self.stopped(process)
        time.sleep(fault.seconds / 4)
        self.again(process)

    def halt(self, fault: Fault, process: Process) -> None:
        """SIGSTOP for a while."""
        process.halt()
        time.sleep(fault.seconds)
        process.go_on()
        process.wait_ready()

    def full_disk(self, fault: Fault, process: Process) -> None:
        """No room, or hardly any, for a while. Reads must go on; nothing acknowledged may be lost."""
        disk = self.stand.disk
        completely = self.rng.random() < 0.5
        disk.fill(completely)
        time.sleep(fault.seconds)
        if not process.alive():
            self.done["ended by itself with no room on the disk"] += 1
        if self.rng.random() < 0.4:
            process.kill()
            self.done["kill with no room on the disk"] += 1
        disk.free()
        if not process.alive():
            self.again(process)
        process.wait_ready()

    def foreign_records(self, fault: Fault, process: Process) -> None:
        """Records of another producer, put into the embedded log while the process is down: poison, repetitions, and
        events in any order."""
        process.kill()
        now = time.time_ns() // 1_000_000
        rows = []
        ids = school.Ids(f"foreign-{self.done['foreign records']}")
        for _ in range(40):
            tenant = self.rng.choice(school.TENANTS)
            if self.rng.random() < 0.4:
                topic, key, value = school.poison(self.rng, now, tenant)
            else:
                event = school.behaviour(self.rng, now, ids)
                topic, key = "aula.behavior.v1", f"{tenant}/{event.student}".encode()
                value = b'{"tenant_id":"%s",%s' % (tenant.encode(), event.json[1:])
            rows.append((topic, "-", now, key, value))
        rows += self.rng.sample(rows, 10)
        self.stand.log.append(rows)
        with self.sent.lock:
            self.sent.raw += [(topic, key, value, True) for topic, _, _, key, value in rows]
        self.done["foreign records written"] += len(rows)
        self.again(process)

    # -- at the end

    def last_looks(self) -> dict[str, float]:
        """Counters of the product that say how its lives ended up."""
        out: dict[str, float] = {}
        for process in self.stand.processes:
            try:
                metrics = process.client.metrics()
            except Unanswered:
                continue
            for name in ("aulaflow_negative_multiplicity_total", "aulaflow_explain_disagreements_total"):
                out[f"{process.name} {name}"] = sum(v for n, v in metrics.items() if n.split("{")[0] == name)
        return out
