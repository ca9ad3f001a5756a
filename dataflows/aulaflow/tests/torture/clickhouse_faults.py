"""What happens to ClickHouse and on the way to it while a run goes on: one fault after the other, as the seed says."""

from __future__ import annotations

import random
import signal
import threading
from collections import Counter

from clickhouse_engine import Engine
from http_proxy import WAYS, HttpProxy

FAULTS = {**dict.fromkeys(WAYS, 3), "kill ClickHouse": 3, "stop ClickHouse": 1, "halt ClickHouse": 1}
"""What happens to ClickHouse and on the way to it, and how often it is chosen."""


class Faults(threading.Thread):
    """What happens to ClickHouse, one after the other, until it is told to end."""

    def __init__(self, engine: Engine, proxy: HttpProxy, seed: int) -> None:
        super().__init__(name="faults", daemon=True)
        self.engine = engine
        self.proxy = proxy
        self.rng = random.Random(f"{seed}/faults")
        self.ended = threading.Event()
        self.calm = threading.Event()
        """While it is set nothing new happens."""
        self.failure: BaseException | None = None
        self.done: Counter[str] = Counter()

    def run(self) -> None:
        """Until it is told to end."""
        try:
            while not self.ended.wait(self.rng.random() * 0.8):
                if self.calm.is_set():
                    continue
                self.one(self.rng.choices(list(FAULTS), list(FAULTS.values()))[0], 0.2 + 1.8 * self.rng.random())
        except BaseException as error:  # the run must fail, not go on without faults
            self.failure = error

    def one(self, kind: str, seconds: float) -> None:
        """One fault."""
        self.done[kind] += 1
        if kind in WAYS:
            self.proxy.be(kind, self.rng.choice((0.3, 0.7, 1.0)))
            self.ended.wait(seconds)
            self.proxy.be(None)
        elif kind == "halt ClickHouse":
            self.engine.halt()
            # Longer than an insert may take, as often as not.
            self.ended.wait(seconds * 2)
            self.engine.halt(signal.SIGCONT)
        else:
            if kind == "kill ClickHouse":
                self.engine.kill()
            else:
                self.engine.stop()
            self.ended.wait(seconds)
            self.engine.start()

    def end(self) -> None:
        """Ends it; nothing is wrong any more."""
        self.ended.set()
        self.join(120)
        self.proxy.be(None)
        if self.failure:
            raise self.failure
