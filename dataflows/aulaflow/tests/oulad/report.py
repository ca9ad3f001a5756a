"""Checks, their lines and the count at the end. Knows nothing of what is checked."""

from __future__ import annotations

import os
import sys
import time

SHOWN_MAX = 10
"""Differences shown per check."""
SHOWN_CHARACTERS_MAX = 1_000
"""Of each."""


class Report:
    """Prints every check as it is made."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0
        self.skipped = 0
        self.numbers: list[str] = []
        self.started = time.monotonic()

    def seconds(self) -> float:
        """How long it has been at work."""
        return time.monotonic() - self.started

    def say(self, text: str) -> None:
        """A line of progress."""
        print(f"  .. [{self.seconds():6.1f} s] {text}", flush=True)

    def number(self, text: str) -> None:
        """What was counted or measured: said now, and again at the end."""
        self.say(text)
        self.numbers.append(text)

    def skip(self, name: str, why: str) -> None:
        """Says that something was left out."""
        self.skipped += 1
        print(f"SKIPPED {name}: {why}", flush=True)

    def check(self, name: str, differences: list[str] | bool, detail: str = "") -> bool:
        """One check: passes where there is no difference. A bool says only whether it passes."""
        good = differences if isinstance(differences, bool) else not differences
        self.passed += good
        self.failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {name}{': ' + detail if detail else ''}", flush=True)
        if not isinstance(differences, bool):
            for difference in differences[:SHOWN_MAX]:
                print(f"       {difference[:SHOWN_CHARACTERS_MAX]}")
            if len(differences) > SHOWN_MAX:
                print(f"       … and {len(differences) - SHOWN_MAX} more")
        sys.stdout.flush()
        return good

    def finish(self) -> int:
        """The closing line; the exit code."""
        if self.numbers:
            # Times are those of a machine that may have other work to do.
            print(f"\n== numbers (load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)")
            print("\n".join(self.numbers))
        print(f"took {self.seconds():.0f} s")
        closing = f"{self.passed} passed, {self.failed} failed"
        print(f"{closing}, {self.skipped} skipped" if self.skipped else closing, flush=True)
        return 1 if self.failed else 0


def percentiles(seconds: list[float]) -> str:
    """Times in words."""
    ordered = [1_000 * second for second in sorted(seconds)]
    p50, p99 = (ordered[min(len(ordered) * p // 100, len(ordered) - 1)] for p in (50, 99))
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {ordered[-1]:.1f} ms"
