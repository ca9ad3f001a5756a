"""Checks, their lines and the count at the end. Knows nothing of what is checked."""

from __future__ import annotations

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
        self.started = time.monotonic()

    def seconds(self) -> float:
        """How long it has been at work."""
        return time.monotonic() - self.started

    def say(self, text: str) -> None:
        """A line of progress."""
        print(f"  .. [{self.seconds():6.1f} s] {text}", flush=True)

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
        print(f"took {self.seconds():.0f} s")
        closing = f"{self.passed} passed, {self.failed} failed"
        print(f"{closing}, {self.skipped} skipped" if self.skipped else closing, flush=True)
        return 1 if self.failed else 0
