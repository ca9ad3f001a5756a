#!/usr/bin/env python3
"""The product against an independent recomputation of the Open University dataset.

Starts the release binary, sends the dataset over HTTP in several ways (imported, corrected, shuffled and twice, piece
by piece, with changing and previewed rules, killed in the middle, with 1, 2 and 3 workers), and compares every grade
and every feature that the API answers with what `grading.py` and `windows.py` make of the CSV files and the contract.
Twelve more views (`views/`) are compared with DuckDB's answers; where this Python has no `duckdb`, those runs are
skipped. Else Python's standard library only; nothing of the product's code.

    run.py                 everything (see --list)
    run.py --quick         one run of each scenario
    run.py --only NAME     the runs whose names contain this
    run.py --self-test     only the recomputation, on examples worked out by hand
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Callable

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import answers  # noqa: E402
import dataset  # noqa: E402
import engine  # noqa: E402
import previews  # noqa: E402
import scenarios  # noqa: E402
import selftest  # noqa: E402
import views  # noqa: E402
from report import Report  # noqa: E402
from scenarios import Run, Setting, name  # noqa: E402
from server import Program  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[4]
SCENARIOS = {
    "base": scenarios.base,
    "corrections": scenarios.corrections,
    "shuffled": scenarios.shuffled,
    "rules": scenarios.rules,
    "stages": scenarios.stages,
    "previews": previews.previews,
    "views": views.views,
    "changed views": views.changed,
    "answers": answers.answers,
}
BESIDE_DUCKDB = ("views", "changed views", "answers")
"""They need DuckDB, and have a configuration of their own."""

QUICK = [
    ("base", [2], True),
    ("corrections", [1], True),
    ("shuffled", [3], False),
    ("rules", [2], True),
    ("stages", [1, 2, 3], True),
    ("previews", [2], False),
    ("views", [2], True),
    ("answers", [2], False),
]


def full() -> list[tuple[str, list[int], bool]]:
    """Every scenario with 1, 2 and 3 workers, killed and not; killed `stages` go on with another number of workers."""
    runs = []
    for workers in (1, 2, 3):
        for scenario in SCENARIOS:
            runs.append((scenario, [workers], False))
            if scenario in ("previews", "answers"):
                continue
            cycle = [workers, workers % 3 + 1, (workers + 1) % 3 + 1]
            runs.append((scenario, cycle if scenario == "stages" else [workers], True))
    return runs


def main() -> int:
    options = arguments()
    report = Report()
    if options.self_test:
        selftest.run(report)
        return report.finish()
    runs = QUICK if options.quick else full()
    if options.list:
        print("\n".join(name(*run) for run in runs))
        return 0
    data = options.data or Path(os.environ.get("OULAD_DIR") or REPOSITORY.parent / "shared" / "oulad")
    if not dataset.present(data):
        print(f"SKIPPED: the Open University dataset is not in {data} (give --data DIR, or set OULAD_DIR)")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    binary = options.binary or build()
    work = options.work or Path(tempfile.mkdtemp(prefix="aulaflow-oulad-"))
    print(f"seed {options.seed}; data {data}; binary {binary}; working in {work}", flush=True)
    selftest.run(report)
    read = dataset.read(data)
    students = sorted({e.student for e in read.evaluations} | {c.student for c in read.clicks})
    report.say(f"{len(read.evaluations)} evaluations, {len(read.clicks)} behaviour events, {len(students)} students")
    program = Program(binary.resolve(), REPOSITORY / "configs" / "oulad.toml")
    setting = Setting(program, report, data.resolve(), read, students, options.seed, options.quick)
    for number, run in enumerate(runs):
        if options.only not in name(*run):
            continue
        beside_duckdb = run[0] in BESIDE_DUCKDB
        if beside_duckdb and not engine.there():
            report.skip(name(*run), "this Python has no duckdb")
            continue
        own = (
            setting._replace(program=Program(program.binary, views.FOLDER / "views.toml")) if beside_duckdb else setting
        )
        one(report, Run(own, *run, work / f"{number:02}-{run[0].replace(' ', '-')}"), SCENARIOS[run[0]], options.keep)
    if not report.failed and not options.keep and not options.work:
        shutil.rmtree(work, ignore_errors=True)
    return report.finish()


def one(report: Report, run: Run, scenario: Callable[[Run], None], keep: bool) -> None:
    """One run; what it leaves is removed unless something failed."""
    failed = report.failed
    print(f"\n== {run.name}", flush=True)
    try:
        run.go(scenario)
    except Exception as error:  # whatever it is, the other scenarios go on
        report.check(f"{run.name}: runs to its end", [f"{type(error).__name__}: {error}"])
        traceback.print_exc(file=sys.stdout)
    finally:
        run.server.kill()
    if report.failed > failed:
        print(f"the end of {run.server.log}:\n{run.server.tail()}", flush=True)
    elif not keep:
        shutil.rmtree(run.server.folder, ignore_errors=True)


def build() -> Path:
    """The release binary, built if it has to be."""
    target = Path(os.environ.setdefault("CARGO_TARGET_DIR", str(Path.home() / ".cache" / "aulaflow" / "target")))
    subprocess.run(["cargo", "build", "--release", "-p", "aulaflow"], cwd=REPOSITORY, check=True)
    # cargo takes a relative folder from where it runs
    return REPOSITORY / target / "release" / "aulaflow"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, help="the program [default: built with cargo]")
    parser.add_argument("--data", type=Path, help="the dataset's folder [default: $OULAD_DIR, or ../shared/oulad]")
    parser.add_argument("--seed", type=int, default=20260302, help="decides what is corrected, shuffled and killed")
    parser.add_argument("--quick", action="store_true", help="one run of each scenario")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the runs whose names contain this")
    parser.add_argument("--list", action="store_true", help="print the runs' names")
    parser.add_argument("--work", type=Path, help="where data directories go [default: a temporary folder]")
    parser.add_argument("--keep", action="store_true", help="keep data directories and logs also where all is well")
    parser.add_argument("--self-test", action="store_true", help="only the recomputation, without the program")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
