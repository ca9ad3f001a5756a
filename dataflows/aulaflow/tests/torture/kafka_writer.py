"""A producer of another kind: kafka-python, partitioned by tenant with murmur2, without the product's edge. It sends
repetitions, events in any order, corrections, deletions, poison, and records in the wrong partition."""

from __future__ import annotations

import json
import random
import threading
import time

from kafka import KafkaProducer
from kafka.errors import KafkaError
from kafka.partitioner.default import murmur2

import school
from stand import PARTITIONS
from traffic import BEHAVIOUR, EVALUATIONS, Sent

SEND_MAX_S = 5
FLUSH_MAX_S = 60


def partition_of(tenant: str) -> int:
    """The partition of a tenant's records in every topic."""
    return (murmur2(tenant.encode()) & 0x7FFF_FFFF) % PARTITIONS


class KafkaWriter(threading.Thread):
    """Sends random records until it is told to end."""

    def __init__(self, bootstrap: str, rng: random.Random, sent: Sent, pause_s: float, strays: bool) -> None:
        """`strays`: whether records in the wrong partition are sent."""
        super().__init__(name="kafka-writer", daemon=True)
        self.rng = rng
        self.sent = sent
        self.pause_s = pause_s
        self.strays = strays
        self.ids = school.Ids("k")
        self.ended = threading.Event()
        self.failure: BaseException | None = None
        self.last: list[tuple[str, int, bytes, bytes | None]] = []
        self.producer = KafkaProducer(
            bootstrap_servers=bootstrap,
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            max_block_ms=SEND_MAX_S * 1000,
            request_timeout_ms=4_000,
            delivery_timeout_ms=30_000,
            max_request_size=8 << 20,
        )

    def run(self) -> None:
        """Until it is told to end; then everything is delivered, or has failed."""
        try:
            while not self.ended.is_set():
                for _ in range(self.rng.choice((1, 5, 20))):
                    self.send(*self.record())
                self.ended.wait(self.rng.random() * 2 * self.pause_s)
        except BaseException as error:  # the run must fail, not go on without traffic
            self.failure = error

    def end(self) -> None:
        """Ends it."""
        self.ended.set()
        self.join(60)
        try:
            self.producer.flush(FLUSH_MAX_S)
        except KafkaError:
            self.sent.counts["records of the other producer that timed out"] += 1
        self.producer.close(5)

    def record(self) -> tuple[str, int, bytes, bytes | None]:
        """Topic, partition, key, value."""
        rng, now = self.rng, time.time_ns() // 1_000_000
        if self.last and rng.random() < 0.05:
            return rng.choice(self.last)
        tenant = rng.choice(school.TENANTS)
        dice = rng.random()
        if dice < 0.70:
            event = school.behaviour(rng, now, self.ids)
            topic, key = BEHAVIOUR, f"{tenant}/{event.student}"
            value: bytes | None = b'{"tenant_id":"%s",%s' % (tenant.encode(), event.json[1:])
        elif dice < 0.93:
            topic, evaluation = EVALUATIONS, school.evaluation(rng, now)
            if float(evaluation.get("score", 0)) > float(evaluation["max_score"]):
                evaluation["score"] = "0"
            members = list({"tenant_id": tenant, **evaluation}.items())
            rng.shuffle(members)
            key, value = f"{tenant}/{evaluation['evaluation_id']}", json.dumps(dict(members), indent=1).encode()
        elif dice < 0.97:
            topic, key, value = EVALUATIONS, f"{tenant}/e-{rng.randrange(60)}", None
        else:
            topic, raw, value = school.poison(rng, now, tenant)
            return topic, partition_of(tenant), raw, value
        partition = partition_of(tenant)
        if self.strays and rng.random() < 0.02:
            partition = (partition + rng.randrange(1, PARTITIONS)) % PARTITIONS
        made = (topic, partition, key.encode(), value)
        self.last = [*self.last[-30:], made]
        return made

    def send(self, topic: str, partition: int, key: bytes, value: bytes | None) -> None:
        """One record; what became of it is remembered when it is known."""
        try:
            future = self.producer.send(topic, value, key, partition=partition)
        except KafkaError:
            self.note(topic, key, value, False)
            self.ended.wait(0.2)
            return
        future.add_callback(lambda _: self.note(topic, key, value, True))
        future.add_errback(lambda _: self.note(topic, key, value, False))

    def note(self, topic: str, key: bytes, value: bytes | None, acknowledged: bool) -> None:
        """Remembers a record."""
        with self.sent.lock:
            self.sent.raw.append((topic, key, value, acknowledged))
            self.sent.counts[f"records of another producer {'acknowledged' if acknowledged else 'unknown'}"] += 1
