"""The faults that need a broker, a network or a second process."""

from __future__ import annotations

import time

from faults import Faults
from kafka_stand import KafkaStand
from plan import Fault
from process import Process, wait

SESSION_S = 6.0
"""The group's session timeout: see `kafka_stand.LOG`."""
MOVED_MAX_S = 40
OUTAGE_S = 3.0
FRESH_S = 2.5
"""Less than an outage makes a replica stale, and more than it ever is while the dataflow runs undisturbed."""
FRESH_MAX_S = 60


class KafkaFaults(Faults):
    """Everything that `Faults` does, and more."""

    stand: KafkaStand

    # -- the broker

    def broker_stop(self, fault: Fault, process: Process) -> None:
        """SIGTERM, and start again."""
        self.stand.broker.stop()
        time.sleep(fault.seconds / 4)
        self.stand.broker.start()

    def broker_kill(self, fault: Fault, process: Process) -> None:
        """kill -9, and start again."""
        self.stand.broker.kill()
        time.sleep(fault.seconds / 4)
        self.stand.broker.start()

    def broker_halt(self, fault: Fault, process: Process) -> None:
        """SIGSTOP for a while: connections stay, nothing answers."""
        self.stand.broker.halt()
        time.sleep(2 * fault.seconds)
        self.stand.broker.go_on()

    # -- the network between a process and the broker

    def cut(self, fault: Fault, process: Process) -> None:
        """Connections break off, and cannot be made for a while."""
        proxy = self.stand.broker.proxies[fault.process]
        proxy.cut(refuse=True)
        time.sleep(fault.seconds / 2)
        proxy.mode = "pass"

    def stall(self, fault: Fault, process: Process) -> None:
        """Connections stay, nothing comes through."""
        proxy = self.stand.broker.proxies[fault.process]
        proxy.mode = "stall"
        time.sleep(2 * fault.seconds)
        proxy.mode = "pass"

    def slow(self, fault: Fault, process: Process) -> None:
        """Everything takes long."""
        proxy = self.stand.broker.proxies[fault.process]
        proxy.mode = "slow"
        time.sleep(2 * fault.seconds)
        proxy.mode = "pass"

    # -- several processes

    def outage(self, fault: Fault, process: Process) -> None:
        """All processes of the dataflow are gone for a while. Replicas go on answering, which others look at, say how stale
        they are, and that they are not any more once the dataflow is back."""
        for one in self.stand.processes:
            one.kill()
        time.sleep(OUTAGE_S + fault.seconds)
        for one in self.stand.processes:
            self.again(one)
        for replica in self.stand.replicas:
            fresh = lambda one=replica: (said := one.staleness()) is not None and said < FRESH_S  # noqa: E731
            self.fresh_s.append(wait(FRESH_MAX_S, f"{replica.name} says that it is not stale any more", fresh))

    def replica_kill(self, fault: Fault, process: Process) -> None:
        """The replica starts from nothing: its store comes from the changelog."""
        for replica in self.stand.replicas:
            replica.kill()
            time.sleep(fault.seconds / 4)
            replica.start()
            self.recovery_s.append(replica.wait_ready())

    def others_have_all(self, process: Process) -> bool:
        """Whether every partition is another process's."""
        held: set[tuple[str, int]] = set()
        for other in self.stand.processes:
            if other is not process:
                held |= (other.lag() or {}).keys()
        return {n for topic, n in held if topic == "aula.behavior.v1"} == set(range(4))

    def leave(self, fault: Fault, process: Process) -> None:
        """A process stops; the other one takes its partitions over; it comes back."""
        if self.rng.random() < 0.5:
            process.kill()
        else:
            self.stopped(process)
        wait(MOVED_MAX_S, "the other process has all partitions", lambda: self.others_have_all(process))
        self.done["partitions moved to another process"] += 1
        time.sleep(fault.seconds / 2)
        self.again(process)

    def zombie(self, fault: Fault, process: Process) -> None:
        """A process is halted until its partitions are another's. When it goes on it does not know that yet, and must
        do no harm."""
        process.halt()
        time.sleep(SESSION_S)
        wait(MOVED_MAX_S, "the other process has all partitions", lambda: self.others_have_all(process))
        self.done["partitions moved to another process"] += 1
        time.sleep(fault.seconds / 2)
        process.go_on()
        time.sleep(1.0)
        if not process.alive():
            # It may find out that it is no longer the one, and leave it to its supervisor to start it again.
            self.done["zombie ended by itself"] += 1
            self.again(process)
        process.wait_ready()
