"""What a run is done to: its folder with the configuration, its processes, and where its log is read."""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Callable, NamedTuple

import school
from client import Client, Unanswered
from disk import SmallDisk
from logs import EmbeddedLog
from plan import Plan
from process import Broken, Process, wait
from traffic import Sent

PARTITIONS = 4
VISIBLE_MAX_S = 60
VERIFY_MAX_S = 120
SOURCES = ("aula.evaluations.v1", "aula.behavior.v1", "aula.tenants.v1")

CONFIG = """# Written by the torture driver.
dataflows = ["views.sql"]
tenants = ["tenants/*.toml"]

[[auth.key]]
id = "development"
algorithm = "HS256"
secret = "aulaflow-development-only-not-a-secret"
development = true

[log]
partitions = {partitions}
append_timeout = "3 seconds"
{log}
[engine]
clock = "live"
checkpoint_interval = "300 milliseconds"

[serving]
students_expected = 1000
"""


class Tools(NamedTuple):
    """The programs that every run uses."""

    binary: Path
    log_tool: Path | None


class Stand:
    """A run with the embedded log: one process, which has the log in its data directory."""

    def __init__(self, plan: Plan, tools: Tools, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.disk: SmallDisk | None = None
        folder.mkdir(parents=True)
        school.write_files(folder, datetime.date.today())
        if plan.small_disk:
            self.disk = SmallDisk(folder / "disk")
        data = folder / "disk" if self.disk else folder
        self.config = folder / "aulaflow.toml"
        self.config.write_text(CONFIG.format(partitions=PARTITIONS, **self.settings()))
        self.processes = [
            Process(f"process-{n}", tools.binary, self.config, data / f"data-{n}") for n in range(plan.processes)
        ]
        self.replicas: list[Process] = []
        self.log = EmbeddedLog(tools.log_tool, data / "data-0", PARTITIONS) if tools.log_tool else None

    def settings(self) -> dict[str, str]:
        """What this kind of run adds to the configuration."""
        return {"log": '\n[changelog]\nwrite = "always"\n' if self.plan.changelog else ""}

    def everything(self) -> list[Process]:
        """All processes."""
        return self.processes + self.replicas

    def start(self) -> None:
        """Starts everything, and waits until all is ready."""
        for process in self.everything():
            process.start()
        for process in self.everything():
            process.wait_ready()

    def clients(self) -> list[Client]:
        """Who may take writes: also a process that is down."""
        return [process.client for process in self.processes]

    def home(self) -> Callable[[str], int] | None:
        """The partition of a tenant, where other producers can put records into the wrong one: here they cannot."""
        return None

    def other_writers(self, sent: Sent) -> list:
        """Threads that write beside the edge, where the log can be written by others while it is in use."""
        return []

    def ends(self) -> dict[tuple[str, int], int]:
        """Where the source partitions end, as far as it is known outside the processes: here it is not."""
        return {}

    def settle(self) -> None:
        """Starts what is down, and waits until everything on the log is visible: the views are as of an instant after
        this call, and nothing is unread. (Where a partition ends is said as of the views' clock, not as of now.)"""
        for process in self.everything():
            if not process.alive():
                process.start()
        for process in self.everything():
            process.wait_ready()
        ends, begun_ms = self.ends(), time.time_ns() // 1_000_000

        def visible() -> bool:
            shown: dict[tuple[str, int], int] = {}
            for process in self.processes:
                if not process.alive():
                    if process.revive():
                        return False
                    raise Broken(f"{process.name} ended by itself:\n{process.tail()}")
                try:
                    lag = process.client.lag()
                except Unanswered:
                    return False
                if school.parse_rfc3339(lag["clock"]) < begun_ms:
                    return False
                for part in lag["partitions"]:
                    place = part["topic"], part["partition"]
                    shown[place] = max(shown.get(place, 0), part["visible_offset"])
                    if part["lag_records"] > 0:
                        return False
            everywhere = {(topic, partition) for topic in SOURCES for partition in range(PARTITIONS)}
            return everywhere <= shown.keys() and all(shown[place] >= end for place, end in ends.items())

        wait(VISIBLE_MAX_S, "everything on the log is visible", visible)
        shown_ms = time.time_ns() // 1_000_000
        for replica in self.replicas:
            follows = lambda one=replica: (one.clock() or 0) >= shown_ms  # noqa: E731
            wait(VISIBLE_MAX_S, f"{replica.name} shows what the others show", follows)

    def read(self) -> dict[str, dict[str, dict[str, dict]]]:
        """Profiles by process, tenant and student. Every tenant must be read somewhere."""
        out: dict[str, dict[str, dict[str, dict]]] = {}
        for process in self.everything():
            for tenant in school.TENANTS:
                profiles = process.client.profiles(tenant, school.STUDENTS)
                if profiles is not None:
                    out.setdefault(process.name, {})[tenant] = profiles
                elif process in self.replicas or len(self.processes) == 1:
                    raise Broken(f"{process.name} does not answer for {tenant} at the end")
        for tenant in school.TENANTS:
            if not any(tenant in out.get(process.name, {}) for process in self.processes):
                raise Broken(f"no process answers for {tenant} at the end")
        return out

    def verify(self) -> list[str]:
        """`aulaflow verify` on what the processes have left: the product's own recomputation."""
        return verify(self.processes[0], "--data-dir", str(self.processes[0].data))

    def end(self, kill: bool) -> list[str]:
        """Ends all processes; what was wrong with how they ended."""
        wrong = []
        for process in self.everything():
            if kill:
                process.kill()
            elif process.alive():
                code = process.stop()
                if code != 0:
                    wrong.append(f"{process.name} was asked to stop and ended with exit code {code}:\n{process.tail()}")
        return wrong

    def clear(self, keep: bool) -> None:
        """Ends what is left of the run; its folder stays where it is to be kept."""
        for process in self.everything():
            process.kill()
        if self.disk:
            if keep:
                shutil.copytree(self.folder / "disk", self.folder / "disk-kept", dirs_exist_ok=True)
            self.disk.unmount()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)


def verify(process: Process, *where: str) -> list[str]:
    """What `aulaflow verify` finds."""
    command = [str(process.binary), "verify", "--config", str(process.config), *where]
    done = subprocess.run(command, capture_output=True, text=True, timeout=VERIFY_MAX_S, stdin=subprocess.DEVNULL)
    said = f"{done.stdout[-1500:]}{done.stderr[-1000:]}"
    return [] if done.returncode == 0 else [f"aulaflow verify ends with exit code {done.returncode}: {said}"]


def may_mount() -> bool:
    """Whether small disks can be made."""
    return os.geteuid() == 0 and shutil.which("mount") is not None
