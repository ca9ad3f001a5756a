"""Processes of the product: started, killed, stopped in order, halted and let go on. Every wait is bounded."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Callable

from client import Client, Unanswered
from school import parse_rfc3339

READY_MAX_S = 60
STOP_MAX_S = 40
LOOK_EVERY_S = 0.05
ENGINES_START = b'"message":"partitions have come"'
"""What a process logs before it starts engines because the consumer group gave it partitions."""


class Broken(Exception):
    """The product did not do what every run needs: the run fails."""


def free_port() -> int:
    """A port that nobody has now, and that no outgoing connection gets: it is bound again after each kill."""
    while True:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def wait(seconds: float, what: str, done: Callable[[], bool]) -> float:
    """Waits for something; how long it took."""
    begun = time.monotonic()
    while not done():
        if time.monotonic() > begun + seconds:
            raise Broken(f"not within {seconds} s: {what}")
        time.sleep(LOOK_EVERY_S)
    return time.monotonic() - begun


def crash_points(repository: Path) -> list[str]:
    """The named points at which a process can be told to end itself: what the code says."""
    names: list[str] = []
    for source in sorted(path for top in ("dataflows", "sinks") for path in (repository / top).glob("*/src/**/*.rs")):
        found = re.search(r"pub const CRASH_POINTS[^=]*=\s*&?\[(.*?)\];", source.read_text(), re.DOTALL)
        if found:
            names += re.findall(r'"([a-z0-9_.:-]+)"', found[1])
    return names

FENCED = ("another process writes as", "Static consumer fenced by other consumer with same group.instance.id")
"""What a process says that ends because the brokers hold another one for the rightful one."""
REVIVED_MAX = 3
"""How often that may happen to a process in one run."""


class Process:
    """One process and its folder, which outlives its lives. One thread starts and ends it; others only look."""

    def __init__(self, name: str, binary: Path, config: Path, data: Path, roles: str = "") -> None:
        self.name = name
        self.binary = binary
        self.config = config
        self.data = data
        self.roles = roles
        self.port = free_port()
        self.client = Client(self.port)
        self.log = config.parent / f"{name}.log"
        self.process: subprocess.Popen | None = None
        self.workers = 1
        self.lives = 0
        self.looked_to = 0
        self.gains = 0
        self.revived = 0
        self.halted = False
        self.changing = threading.RLock()
        self.down_since: float | None = time.monotonic()
        """From when on reads may fail; `None` while it was found to be ready."""
        self.gone_since: float | None = time.time()
        """From when on it certainly does nothing, by the wall clock; `None` while it may do something."""

    def start(self, crash_at: str = "") -> None:
        """Starts it, and does not wait. `crash_at`: where it is to end itself."""
        with self.changing:
            self.lives += 1
            self.gone_since = None
            command = [str(self.binary), "run", "--config", str(self.config), "--data-dir", str(self.data)]
            command += ["--listen", f"127.0.0.1:{self.port}", "--workers", str(self.workers)]
            if self.roles:
                command += ["--roles", self.roles]
            environment = {**os.environ, "RUST_BACKTRACE": "1"}
            if crash_at:
                environment["AULAFLOW_CRASH_AT"] = crash_at
            with self.log.open("ab") as log:
                log.write(f"--- life {self.lives} {crash_at}: {' '.join(command)}\n".encode())
                log.flush()
                self.process = subprocess.Popen(
                    command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
                )

    def alive(self) -> bool:
        """Whether it runs, halted or not."""
        return self.process is not None and self.process.poll() is None

    def wait_ready(self) -> float:
        """Waits until `/readyz` says so; seconds."""

        def done() -> bool:
            if not self.alive():
                if self.revive():
                    return False
                code = self.process.returncode if self.process else None
                raise Broken(f"{self.name} ended with exit code {code} while it should become ready:\n{self.tail()}")
            return self.client.ready()

        took = wait(READY_MAX_S, f"{self.name} is ready", done)
        self.down_since = None
        return took

    def kill(self) -> None:
        """kill -9."""
        with self.changing:
            self.down_since = self.down_since or time.monotonic()
            if self.process:
                self.process.kill()
                self.process.wait(STOP_MAX_S)
            self.gone_since = self.gone_since or time.time()
            self.halted = False

    def stop(self) -> int:
        """Asks it to stop, and waits; its exit code."""
        with self.changing:
            self.down_since = self.down_since or time.monotonic()
            if not self.process:
                return 0
            self.process.send_signal(signal.SIGTERM)
            try:
                code = self.process.wait(STOP_MAX_S)
            except subprocess.TimeoutExpired:
                self.kill()
                raise Broken(f"{self.name} did not stop within {STOP_MAX_S} s:\n{self.tail()}") from None
            self.gone_since = self.gone_since or time.time()
            return code

    def halt(self) -> None:
        """SIGSTOP: it holds its connections and does nothing."""
        with self.changing:
            if self.alive():
                self.down_since = self.down_since or time.monotonic()
                self.halted = True
                self.process.send_signal(signal.SIGSTOP)
                self.gone_since = self.gone_since or time.time()

    def go_on(self) -> None:
        """SIGCONT."""
        with self.changing:
            if self.alive():
                self.gone_since = None
                self.process.send_signal(signal.SIGCONT)
            self.halted = False

    def lag(self) -> dict[tuple[str, int], int] | None:
        """Records not yet visible, by topic and partition; none where it does not say."""
        try:
            return {(p["topic"], p["partition"]): p["lag_records"] for p in self.client.lag()["partitions"]}
        except Unanswered:
            return None

    def clock(self) -> int | None:
        """As of when its views are true, as it says; none where it does not say."""
        try:
            return parse_rfc3339(self.client.lag()["clock"])
        except Unanswered:
            return None

    def starts(self) -> int:
        """How often the process or an engine in it was started, by its log: where partitions come, engines start. For one
        thread only."""
        if self.log.exists():
            with self.log.open("rb") as log:
                log.seek(self.looked_to)
                # The last line may not be whole yet.
                whole = log.read().rpartition(b"\n")
            self.looked_to += len(whole[0]) + len(whole[1])
            self.gains += whole[0].count(ENGINES_START)
        return self.lives + self.gains

    def staleness(self) -> float | None:
        """How stale a replica says that its stalest partition is; none where it does not say."""
        try:
            said = [part["staleness_seconds"] for part in self.client.lag().get("replica", [])]
        except Unanswered:
            return None
        return max(said) if said and None not in said else None

    def revive(self) -> bool:
        """Starts it again, as its supervisor would, if it has ended since the brokers took another one for it, which must not
        happen often. A client that comes back asks for its old place: where a rightful one has a transaction open at that
        moment both are ended, and a member whose answer was lost is taken for two."""
        code = self.process.returncode if self.process else None
        fenced = any(text in self.tail(3) for text in FENCED)
        if self.alive() or code != 1 or not fenced or self.revived >= REVIVED_MAX:
            return False
        self.revived += 1
        self.down_since = self.down_since or time.monotonic()
        self.start()
        return True

    def tail(self, lines: int = 15) -> str:
        """The end of its log, without the requests that it answered."""
        text = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        telling = [line for line in text if '"message":"answered"' not in line or '"level":"INFO"' not in line]
        return "\n".join(line[:500] for line in telling[-lines:])
