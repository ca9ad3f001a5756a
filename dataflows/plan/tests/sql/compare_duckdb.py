#!/usr/bin/env python3
"""Compares our SQL expressions with DuckDB, over random well-typed expressions and values.

    compare_duckdb.py --eval target/release/examples/eval_sql [--count 20000] [--seed 1]

Build the evaluator first: `cargo build --release -p aulaflow-plan --example eval_sql`.
DuckDB is imported if it is there; else the script makes a virtual environment with it, under the temporary directory.

Prints counts, and exits 1 with the seed and the first differences if there are any. What is not compared, because it
means something else there, is listed in `expressions.py`.
"""

import argparse
import random
import sys

from engines import DuckDb, Report, evaluate_ours, with_duckdb
from expressions import Generator, make_rows


def main():
    arguments = argparse.ArgumentParser(description="Compares our SQL expressions with DuckDB.")
    arguments.add_argument("--eval", required=True, help="the built example eval_sql")
    arguments.add_argument("--count", type=int, default=20_000, help="expressions")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--show", type=int, default=10, help="differences to print")
    args = arguments.parse_args()
    with_duckdb()

    rng = random.Random(args.seed)
    generator = Generator(rng)
    rows = make_rows(rng, 60)
    types = ["boolean"] * 4 + ["bigint", "double", "text"] * 2 + ["timestamp"]
    tasks = []
    while len(tasks) < args.count:
        ty = rng.choice(types)
        e = generator.expression(ty, rng.randrange(1, 5))
        if e.duck is not None and len(e.pg) <= 3000:
            tasks.append((ty, e, sorted(rng.sample(range(len(rows)), 3))))
    report = Report("duckdb", rows, args.show)
    report.compare(tasks, evaluate_ours(args.eval, rows, tasks), DuckDb().evaluate(rows, tasks))
    print(f"duckdb, seed {args.seed}: {len(tasks)} expressions over 3 rows each: {report}")
    sys.exit(1 if report.counts["different"] else 0)


if __name__ == "__main__":
    main()
