"""A small disk for a data directory, that can be filled up. Needs root."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SIZE_MB = 300
LEFT_MB = 40
"""Less than what the embedded log wants to have free."""


class SmallDisk:
    """A tmpfs; unmounted at the end."""

    def __init__(self, at: Path) -> None:
        self.at = at
        at.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(at)], check=True)
        self.ballast = at / "ballast"

    def fill(self, completely: bool) -> None:
        """Takes the room, or most of it."""
        room = os.statvfs(self.at)
        left = room.f_bavail * room.f_frsize - (0 if completely else LEFT_MB << 20)
        with self.ballast.open("wb", buffering=0) as file:
            try:
                while left > 0:
                    left -= file.write(bytes(min(left, 1 << 20)))
            except OSError:
                return

    def free(self) -> None:
        """Gives the room back."""
        self.ballast.unlink(missing_ok=True)

    def unmount(self) -> None:
        """Ends it."""
        subprocess.run(["umount", "-l", str(self.at)], check=False)
