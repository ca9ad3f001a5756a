"""ClickHouse for a run: the embedded engine in a process of its own, which is killed and started again, and questions to it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import urllib.parse
from pathlib import Path

from process import Broken, free_port, wait

USER, PASSWORD = "aula", "torture-and-nothing-else"
DATABASE = "aula"
VARIABLE = "AULAFLOW_CLICKHOUSE_PASSWORD"
START_MAX_S = 40
ASK_MAX_S = 60
FORMAT = {
    "default_format": "JSONEachRow",
    "output_format_json_quote_64bit_integers": "0",
    "output_format_json_quote_decimals": "1",
    "date_time_output_format": "iso",
}


class Engine:
    """`aulaflow clickhouse serve`. One thread starts and ends it."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self.binary = binary
        self.data = folder / "clickhouse"
        self.log = folder / "clickhouse.log"
        self.port = free_port()
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        command = [str(self.binary), "clickhouse", "serve", "--data-dir", str(self.data)]
        command += ["--listen", f"127.0.0.1:{self.port}", "--user", USER]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, VARIABLE: PASSWORD}
            )
        wait(START_MAX_S, "ClickHouse answers", self.answers)

    def answers(self) -> bool:
        """Whether it does."""
        if self.process is None or self.process.poll() is not None:
            raise Broken(f"ClickHouse has ended by itself: {self.log.read_text(errors='replace')[-1500:]}")
        try:
            return self.ask("SELECT 1 AS n") == [{"n": 1}]
        except OSError:
            return False

    def kill(self) -> None:
        """kill -9."""
        if self.process:
            self.process.kill()
            self.process.wait(START_MAX_S)

    def stop(self) -> None:
        """SIGTERM."""
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(START_MAX_S)
            except subprocess.TimeoutExpired:
                self.kill()
                raise Broken(f"ClickHouse did not stop within {START_MAX_S} s") from None

    def halt(self, signal_number: int = signal.SIGSTOP) -> None:
        """SIGSTOP, or SIGCONT."""
        if self.process:
            self.process.send_signal(signal_number)

    def ask(self, sql: str) -> list[dict]:
        """The rows of an answer. Numbers with a point are texts, so that no digit is lost."""
        query = urllib.parse.urlencode(FORMAT)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ASK_MAX_S)
        headers = {"X-ClickHouse-User": USER, "X-ClickHouse-Key": PASSWORD}
        try:
            connection.request("POST", f"/?{query}", sql.encode(), headers)
            answer = connection.getresponse()
            body = answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(repr(error)) from error
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"ClickHouse answers {answer.status} to {sql[:300]}: {body[:600]!r}")
        return [json.loads(line) for line in body.splitlines() if line]
