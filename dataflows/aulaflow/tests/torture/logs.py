"""Every record of every topic, read without the product's dataflows: the embedded log through the log crate's example
`log_tool`, Kafka with kafka-python."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

TOOL_MAX_S = 60


class Record(NamedTuple):
    """A record."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes | None
    headers: dict[str, bytes]


class EmbeddedLog:
    """The embedded log of a data directory, while no process has it open."""

    def __init__(self, tool: Path, data: Path, partitions: int) -> None:
        self.command = [str(tool)]
        self.place = [str(data / "log"), str(partitions)]

    def read(self) -> list[Record]:
        """Everything, by topic, partition and offset."""
        done = subprocess.run([*self.command, "dump", *self.place], capture_output=True, text=True, timeout=TOOL_MAX_S)
        if done.returncode != 0:
            raise RuntimeError(f"log_tool dump: {done.stderr[-2000:]}")
        return [self.record(line) for line in done.stdout.splitlines()]

    @staticmethod
    def record(line: str) -> Record:
        """A line's record."""
        topic, partition, offset, timestamp, key, value, headers = line.split("\t")
        named = dict(header.split("=", 1) for header in headers.split(",") if header)
        return Record(
            topic,
            int(partition),
            int(offset),
            int(timestamp),
            bytes.fromhex(key),
            None if value == "-" else bytes.fromhex(value),
            {name: bytes.fromhex(text) for name, text in named.items()},
        )

    def append(self, records: list[tuple[str, str, int, bytes, bytes | None]]) -> None:
        """Records (topic, partition or `-`, timestamp, key, value) from another producer."""
        text = "".join(
            f"{topic}\t{partition}\t{timestamp}\t{key.hex()}\t{'-' if value is None else value.hex()}\n"
            for topic, partition, timestamp, key, value in records
        )
        command = [*self.command, "append", *self.place]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=TOOL_MAX_S)
        if done.returncode != 0:
            raise RuntimeError(f"log_tool append: {done.stderr[-2000:]}")
