"""An Apache Kafka broker of the driver's own: one JVM on loopback, from the jars that `docker/kafka.sh fetch` keeps. It
has a listener for the driver, and one behind a proxy for each process. Topics are made anew for each run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError

from process import Broken, free_port, wait
from proxy import Proxy

START_MAX_S = 60
STOP_MAX_S = 40
HEAP = "-Xmx320m"
CLUSTER = "4L6g3nShT-eMCtK--X86sw"
COMPACTED = ("aula.evaluations.v1", "aula.tenants.v1", "aula.profiles.v1")
SOURCES = ("aula.evaluations.v1", "aula.behavior.v1", "aula.events.v1", "aula.tenants.v1")
TOPICS = (*SOURCES, *(f"{name}.dlq" for name in SOURCES), "aula.profiles.v1")

PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners={listeners}
advertised.listeners={advertised}
inter.broker.listener.name=DIRECT
listener.security.protocol.map={protocols}
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.dedupe.buffer.size=8388608
"""


class Broker:
    """The broker, its proxies and its topics."""

    def __init__(self, repository: Path, folder: Path, proxies: int) -> None:
        script = repository / "docker" / "kafka.sh"
        subprocess.run([str(script), "fetch"], check=True)
        cache = Path(os.environ.get("AULAFLOW_CACHE") or Path.home() / ".cache" / "aulaflow")
        version = (repository / "docker" / "kafka" / "pom.xml").read_text().split("<kafka.version>")[1].split("<")[0]
        self.jars = cache / f"kafka-{version}" / "*"
        self.log4j = repository / "docker" / "kafka" / "log4j2.properties"
        self.folder = folder
        folder.mkdir(parents=True)
        self.port, controller = free_port(), free_port()
        behind = [free_port() for _ in range(proxies)]
        self.proxies = [Proxy(free_port(), port) for port in behind]
        names = [f"PROXY{n}" for n in range(proxies)]
        listeners = [("DIRECT", self.port), ("CONTROLLER", controller), *zip(names, behind)]
        advertised = [("DIRECT", self.port), *((name, proxy.listen) for name, proxy in zip(names, self.proxies))]
        self.properties = folder / "server.properties"
        self.properties.write_text(
            PROPERTIES.format(
                controller=controller,
                listeners=",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners),
                advertised=",".join(f"{name}://127.0.0.1:{port}" for name, port in advertised),
                protocols=",".join(f"{name}:PLAINTEXT" for name, _ in listeners),
                data=folder / "data",
            )
        )
        command = ["kafka.tools.StorageTool", "format", "--config", str(self.properties), "--cluster-id", CLUSTER]
        with (folder / "format.log").open("wb") as log:
            subprocess.run(self.java(*command), stdout=log, stderr=log, check=True, timeout=START_MAX_S)
        self.process: subprocess.Popen | None = None

    def java(self, *arguments: str) -> list[str]:
        """A command of Kafka's."""
        quick = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", HEAP, f"-Dlog4j2.configurationFile={self.log4j}"]
        return ["java", *quick, "-cp", str(self.jars), *arguments]

    def bootstrap(self, proxy: int | None = None) -> str:
        """Where to ask first: directly, or behind a proxy."""
        return f"127.0.0.1:{self.port if proxy is None else self.proxies[proxy].listen}"

    # -- the process

    def start(self) -> float:
        """Starts it and waits until it answers; seconds."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.java("kafka.Kafka", str(self.properties)),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        return wait(START_MAX_S, "the broker answers", self.answers)

    def answers(self) -> bool:
        """Whether it does."""
        if self.process.poll() is not None:
            raise Broken(f"the broker ended with exit code {self.process.returncode}: see {self.folder}/server.log")
        try:
            admin = KafkaAdminClient(bootstrap_servers=self.bootstrap(), request_timeout_ms=3_000)
        except (KafkaError, OSError, ValueError):
            return False
        try:
            admin.list_topics()
            return True
        except (KafkaError, OSError):
            return False
        finally:
            admin.close()

    def stop(self) -> None:
        """SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_MAX_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """kill -9."""
        if self.process:
            self.process.kill()
            self.process.wait(STOP_MAX_S)

    def halt(self) -> None:
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Ends it and its proxies."""
        self.kill()
        for proxy in self.proxies:
            proxy.end()

    # -- topics

    def new_topics(self, partitions: int) -> None:
        """All topics, empty."""
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap())
        try:
            there = [name for name in admin.list_topics() if name in TOPICS]
            if there:
                admin.delete_topics(there)
                wait(30, "topics are removed", lambda: not set(there) & set(admin.list_topics()))
            made = []
            for name in TOPICS:
                settings = {"retention.ms": "-1", "min.insync.replicas": "1"}
                if name in COMPACTED:
                    settings |= {"cleanup.policy": "compact"}
                made.append(NewTopic(name, partitions, 1, topic_configs=settings))
            deadline = time.monotonic() + 30
            while True:
                try:
                    admin.create_topics(made)
                    break
                except KafkaError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)
            wait(30, "topics are made", lambda: set(TOPICS) <= set(admin.list_topics()))
        finally:
            admin.close()

    def ends(self, topics: tuple[str, ...]) -> dict[tuple[str, int], int]:
        """Where the topics' partitions end."""
        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap(), request_timeout_ms=10_000)
        try:
            places = [TopicPartition(name, n) for name in topics for n in consumer.partitions_for_topic(name) or ()]
            return {(place.topic, place.partition): end for place, end in consumer.end_offsets(places).items()}
        finally:
            consumer.close()
