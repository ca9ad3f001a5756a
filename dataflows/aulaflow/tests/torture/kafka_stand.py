"""A stand whose log is in Apache Kafka: several processes in one consumer group or one alone, a replica that follows
the changelog, and a proxy between each of them and the broker."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Callable

from kafka import KafkaConsumer, TopicPartition

from broker import TOPICS, Broker
from kafka_writer import KafkaWriter, partition_of
from logs import Record
from plan import Plan
from process import Process
from stand import CONFIG, PARTITIONS, SOURCES, Stand, Tools
from traffic import Sent

READ_MAX_S = 60

LOG = """kind = "kafka"

[log.kafka]
bootstrap = "{bootstrap}"
group = "torture-{run}"
instance = "{instance}"
scale_out = {scale_out}
replication = 1
min_isr = 1
request_timeout = "3 seconds"
stalled_after = "3 seconds"
session_timeout = "6 seconds"
"""
ARCHIVE = """
[archive]
url = "file://{folder}"
interval = "1 second"
"""


class KafkaLog:
    """Every record, by a consumer of another kind that reads what is committed."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    def read(self) -> list[Record]:
        """Everything, by topic, partition and offset."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.broker.bootstrap(),
            isolation_level="read_committed",
            enable_auto_commit=False,
            check_crcs=False,
        )
        records = []
        try:
            places = [TopicPartition(name, n) for name in TOPICS for n in range(PARTITIONS)]
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            ends = consumer.end_offsets(places)
            deadline = time.monotonic() + READ_MAX_S
            while any(consumer.position(place) < end for place, end in ends.items()):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"the log cannot be read to its end in {READ_MAX_S} s")
                for place, batch in consumer.poll(200).items():
                    records += [
                        Record(place.topic, place.partition, r.offset, r.timestamp, r.key or b"", r.value, dict(r.headers))
                        for r in batch
                    ]
        finally:
            consumer.close()
        return sorted(records, key=lambda r: (r.topic, r.partition, r.offset))


class KafkaStand(Stand):
    """Processes and a replica on one broker, which other runs use before and after this one."""

    def __init__(self, plan: Plan, tools: Tools, folder: Path, broker: Broker, run: str) -> None:
        self.broker = broker
        self.run = run
        super().__init__(plan, tools, folder)
        for number, process in enumerate(self.processes):
            process.config = self.write_config(f"process-{number}", number)
        if plan.replica:
            config = self.write_config("replica", len(broker.proxies) - 1)
            self.replicas = [Process("replica", tools.binary, config, folder / "data-replica", roles="serve")]
        self.log = KafkaLog(broker)

    def settings(self) -> dict[str, str]:
        """Of a file that nobody uses: each process has its own."""
        return {"log": ""}

    def write_config(self, name: str, proxy: int) -> Path:
        """A process's own configuration: who it is, and its way to the broker."""
        several = self.plan.processes > 1
        where = self.broker.bootstrap(proxy)
        log = LOG.format(bootstrap=where, run=self.run, instance=name, scale_out=str(several).lower())
        if several:
            log += ARCHIVE.format(folder=self.folder / "archive")
        config = CONFIG.format(partitions=PARTITIONS, log=log)
        path = self.folder / f"{name}.toml"
        path.write_text(config)
        return path

    def verify(self) -> list[str]:
        """Nothing: the processes have ended."""
        return []

    def home(self) -> Callable[[str], int] | None:
        """Where a tenant belongs. One process with all partitions takes a record wherever it stands."""
        return partition_of if self.plan.processes > 1 else None

    def start(self) -> None:
        """On empty topics."""
        self.broker.new_topics(PARTITIONS)
        super().start()

    def other_writers(self, sent: Sent) -> list:
        """One of another kind, straight to the broker."""
        rng, strays = self.plan.rng("kafka writer"), self.plan.processes > 1
        return [KafkaWriter(self.broker.bootstrap(), rng, sent, 0.1, strays)]

    def ends(self) -> dict[tuple[str, int], int]:
        """By the broker."""
        return self.broker.ends(SOURCES)
