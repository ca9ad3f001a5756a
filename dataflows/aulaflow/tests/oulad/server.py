"""The program under test: its processes and its HTTP API. Every wait is bounded."""

from __future__ import annotations

import http.client
import json
import random
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Callable, NamedTuple

from dataset import parse_rfc3339

START_MAX_S = 120
REQUEST_MAX_S = 60
BUSY_MAX_S = 120
VISIBLE_MAX_S = 300
IMPORT_MAX_S = 600
STOP_MAX_S = 60
CLOCK_MAX_S = 30
LOOK_EVERY_S = 0.02
TENANT = "oulad"


class Broken(Exception):
    """The program did not do what every scenario needs."""


class Request(NamedTuple):
    """A request that has not been sent yet."""

    role: str
    method: str
    path: str
    body: bytes


class Answer(NamedTuple):
    """An answer, read whole."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self):
        """Its body."""
        return json.loads(self.body)


class Program:
    """The binary and its configuration."""

    def __init__(self, binary: Path, config: Path) -> None:
        self.binary = binary
        self.config = config
        self.tokens: dict[tuple[str, str], str] = {}

    def token(self, role: str, tenant: str = TENANT) -> str:
        """A token, made once."""
        if (role, tenant) not in self.tokens:
            command = [self.binary, "token", "--tenant", tenant, "--role", role, "--config", self.config]
            made = subprocess.run(command, capture_output=True, text=True, timeout=30)
            if made.returncode != 0:
                raise Broken(f"`aulaflow token` exits with {made.returncode}: {made.stderr}")
            self.tokens[role, tenant] = made.stdout.strip()
        return self.tokens[role, tenant]


class Server:
    """A running instance with a data directory of its own, which outlives its processes."""

    def __init__(self, program: Program, folder: Path, workers: int) -> None:
        self.program = program
        self.folder = folder
        self.workers = workers
        self.log = folder / "server.log"
        self.process: subprocess.Popen | None = None
        self.connection: http.client.HTTPConnection | None = None
        self.positions: dict[tuple[str, int], int] = {}
        self.lives = 0

    # -- the process

    def start(self) -> None:
        """Starts it and waits until `/readyz` says that everything on the log is visible."""
        self.launch()
        self.until(START_MAX_S, "be ready", self.ready)

    def launch(self) -> None:
        """Starts it, and does not wait."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        options = [
            "--data-dir",
            self.folder / "data",
            "--listen",
            f"127.0.0.1:{self.port}",
            "--workers",
            str(self.workers),
        ]
        command = [self.program.binary, "run", "--config", self.program.config, *options]
        with self.log.open("ab") as log:
            log.write(f"--- life {self.lives + 1}: {' '.join(map(str, command))}\n".encode())
            log.flush()
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.lives += 1

    def ready(self) -> bool:
        """Whether `/readyz` says so."""
        try:
            return self.exchange("GET", "/readyz", None, {}).status == 200
        except OSError:
            return False

    def kill(self) -> None:
        """kill -9."""
        if self.process:
            self.process.kill()
            self.process.wait(STOP_MAX_S)
        self.hang_up()

    def stop(self) -> None:
        """Asks it to stop; it must do so, with exit code 0."""
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            code = self.process.wait(STOP_MAX_S)
            self.process = None
            if code != 0:
                raise Broken(f"stopped with exit code {code}")
        self.hang_up()

    def hang_up(self) -> None:
        """Forgets the connection."""
        if self.connection:
            self.connection.close()
            self.connection = None

    def tail(self, lines: int = 25) -> str:
        """The end of its log, without the requests that it answered."""
        text = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        telling = [line for line in text if '"message":"answered"' not in line or '"level":"INFO"' not in line]
        return "\n".join(telling[-lines:])

    def until(self, seconds: float, what: str, done: Callable[[], bool]) -> None:
        """Waits for something, as long as the process lives."""
        deadline = time.monotonic() + seconds
        while not done():
            code = self.process.poll() if self.process else None
            if code is not None:
                raise Broken(f"the server ended with exit code {code} while it should {what}")
            if time.monotonic() > deadline:
                raise Broken(f"the server did not {what} within {seconds} s")
            time.sleep(LOOK_EVERY_S)

    # -- requests

    def exchange(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        """One request on the kept connection; `OSError` where there is no answer."""
        kept = self.connection is not None
        if not kept:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_MAX_S)
        try:
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        except (http.client.HTTPException, OSError) as error:
            self.hang_up()
            # The server may have closed a connection that was idle; every request here may be repeated.
            if kept and isinstance(error, ConnectionError):
                return self.exchange(method, path, body, headers)
            raise error if isinstance(error, OSError) else ConnectionError(repr(error)) from error

    def send(self, request: Request, tenant: str = TENANT) -> Answer:
        """A request that must succeed. Waits where the server says that it is busy."""
        headers = {
            "Authorization": f"Bearer {self.program.token(request.role, tenant)}",
            "Content-Type": "application/json",
        }
        deadline = time.monotonic() + BUSY_MAX_S
        while True:
            answer = self.exchange(request.method, request.path, request.body or None, headers)
            if answer.status in (429, 503) and time.monotonic() < deadline:
                time.sleep(min(float(answer.headers.get("Retry-After", "1")), 5))
                continue
            if answer.status >= 300:
                raise Broken(f"{request.method} {request.path} answers {answer.status}: {answer.body[:600]!r}")
            position = answer.headers.get("X-Log-Position")
            if position:
                topic, partition, offset = position.split("/")
                place = (topic, int(partition))
                self.positions[place] = max(self.positions.get(place, -1), int(offset))
            return answer

    def get(self, path: str, role: str) -> Answer:
        """A GET that must succeed."""
        return self.send(Request(role, "GET", path, b""))

    def lag(self) -> dict:
        """`GET /v1/lag`."""
        return self.get("/v1/lag", "service").json()

    def wait_visible(self) -> None:
        """Waits until everything that was sent over this object, and all else on the log, is in the profiles."""

        def done() -> bool:
            places = {(p["topic"], p["partition"]): p for p in self.lag()["partitions"]}
            sent = all(places[place]["visible_offset"] > offset for place, offset in self.positions.items())
            return sent and all(p["lag_records"] == 0 for p in places.values())

        self.until(VISIBLE_MAX_S, "show what it was sent", done)

    def wait_clock(self, millis: int) -> None:
        """Waits until the clock has come to an instant: it follows the events a moment after they are visible. Where it
        does not come, whoever compares finds out."""
        deadline = time.monotonic() + CLOCK_MAX_S
        while parse_rfc3339(self.lag()["clock"]) < millis and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)

    def behaviour_records(self) -> int:
        """How many behaviour records the log has."""
        return sum(p["end_offset"] for p in self.lag()["partitions"] if p["topic"] == "aula.behavior.v1")

    def metrics(self) -> dict[str, float]:
        """`/metrics`: each sample by its name and labels."""
        text = self.exchange("GET", "/metrics", None, {}).body.decode()
        samples = (re.match(r"^([a-zA-Z_:][^ {]*(?:\{.*\})?) (\S+)", line) for line in text.splitlines())
        return {sample[1]: float(sample[2]) for sample in samples if sample}

    def dead_letters(self) -> int:
        """Dead letters that this process has counted."""
        return int(sum(n for name, n in self.metrics().items() if name.split("{")[0] == "aulaflow_dlq_records_total"))

    def profiles(self, students: list[str], tenant: str = TENANT) -> tuple[dict[str, dict], list[str]]:
        """Profiles by student, and who has none."""
        found: dict[str, dict] = {}
        missing: list[str] = []
        for start in range(0, len(students), 500):
            asked = students[start : start + 500]
            body = json.dumps({"student_ids": asked}).encode()
            answer = self.send(Request("service", "POST", "/v1/profiles:batchGet", body), tenant).json()
            order = [profile["student_id"] for profile in answer["profiles"]]
            if order != [s for s in asked if s not in set(answer["missing"])]:
                raise Broken("profiles:batchGet does not answer in the order asked")
            found.update(zip(order, answer["profiles"]))
            missing.extend(answer["missing"])
        return found, missing

    # -- killing

    def send_all(
        self, requests: list[Request], kills: set[int], rng: random.Random, restart: Callable[[], None]
    ) -> int:
        """Sends requests in order. While a request of `kills` is under way the process is killed; then `restart`, and
        that request again unless it was acknowledged. Returns how many were acknowledged although it was killed."""
        acknowledged = 0
        for number, request in enumerate(requests):
            if number not in kills:
                self.send(request)
                continue
            # Most answers come within a few milliseconds: most kills come before.
            timer = threading.Timer(rng.random() ** 3 * 0.03, self.process.kill)
            timer.start()
            try:
                self.send(request)
                done = True
                acknowledged += 1
            except OSError:
                done = False
            timer.join()
            self.kill()
            restart()
            if not done:
                self.send(request)
        return acknowledged

    # -- the importer

    def start_import(self, data: Path, wait: bool) -> subprocess.Popen:
        """`aulaflow import oulad`."""
        options = [
            "--dir",
            data,
            "--tenant",
            TENANT,
            "--url",
            f"http://127.0.0.1:{self.port}",
            "--config",
            self.program.config,
        ]
        command = [self.program.binary, "import", "oulad", *options, *(["--wait"] if wait else [])]
        with (self.folder / "import.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def run_import(self, data: Path, meanwhile: Callable[[], None]) -> None:
        """Imports everything and waits until it is visible; does something again and again until then."""
        importer = self.start_import(data, wait=True)

        def ended() -> bool:
            meanwhile()
            return importer.poll() is not None

        try:
            self.until(IMPORT_MAX_S, "take the import", ended)
        finally:
            importer.kill()
        if importer.returncode != 0:
            text = (self.folder / "import.log").read_text(errors="replace")
            raise Broken(f"the import ends with exit code {importer.returncode}: {text[-1500:]}")

    def import_until(self, data: Path, behaviour_records: int) -> None:
        """Imports until so many behaviour records are on the log, then kills this instance and the importer."""
        importer = self.start_import(data, wait=False)

        def enough() -> bool:
            return self.behaviour_records() >= behaviour_records or importer.poll() is not None

        try:
            self.until(IMPORT_MAX_S, "take the import", enough)
            self.kill()
        finally:
            importer.kill()
            importer.wait(STOP_MAX_S)
