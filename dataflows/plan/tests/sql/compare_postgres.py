#!/usr/bin/env python3
"""Compares our SQL expressions with PostgreSQL: values, and whether an error is raised.

    compare_postgres.py --eval target/release/examples/eval_sql [--count 20000] [--seed 1]

Build the evaluator first: `cargo build --release -p aulaflow-plan --example eval_sql`.
PostgreSQL runs as a temporary cluster on a Unix socket, as another user where we are root; `initdb`, `postgres` and
`psql` must be on the PATH or under /usr/lib/postgresql.

Of four kinds of expressions, in turns: casts from texts of all types, over generated forms (`texts.py`); parts of times,
arithmetic and comparisons of values at the bounds of their types; operators before a sign; the expressions of
`expressions.py`. Prints counts, and exits 1 with the seed and the first differences if there are any.

RULES are the differences on purpose, as narrow as they can be said; each is in docs/guides/features.md ("Values as
texts").
"""

import argparse
import random
import re
import sys

from engines import Postgres, Report, evaluate_ours
from expressions import COLUMNS, E, Generator, build, make_rows, quote
from texts import Texts

# The texts of values at the bounds.
TIMES = ["4714-11-24 00:00:00 BC", "4714-11-24 00:00:00.001 BC", "4713-01-01 00:00:00 BC", "0001-12-31 23:59:59.999 BC",
         "0001-01-01 00:00:00", "1969-12-31 23:59:59.999", "1970-01-01 00:00:00", "2024-02-29 12:00:00", "2026-03-02 15:04:05.12",
         "9999-12-31 23:59:59.999", "10000-01-01 00:00:00", "294276-12-31 23:59:59.999", "294276-01-31 00:00:00",
         "1900-02-28 00:00:00", "2000-12-31 00:00:00", "2027-01-03 00:00:00"]
LENGTHS = ["00:00:00", "00:00:00.001", "-00:00:00.001", "1 day", "-1 day", "1 mon", "-1 mon", "30 days", "1 year", "400 years",
           "-300000 years", "300000 years", "178956970 years 7 mons", "-178956970 years -8 mons", "2147483647 days",
           "-2147483648 days", "2562047788:00:54.775", "-2562047788:00:54.775", "106751991 days", "1 mon -1 day 00:00:01",
           "1 year 2 mons -3 days +04:05:06.789", "23:59:59.999", "-25:00:00"]
BIGINTS = [0, 1, -1, 2, -2, 3, 10, 2**31, 2**32, 3037000500, -3037000499, 2**62, 2**63 - 1, -2**63, -2**63 + 1]
DOUBLES = ["0.0", "-0.0", "1.0", "-1.0", "0.5", "1.5", "2.5", "-2.5", "0.1", "1e-320", "1e-200", "1e200", "-1e308", "1.7e308",
           "9223372036854775807.0", "-9223372036854775808.0", "9223372036854774784.0", "1e15", "123456789.125", "2147483647.5",
           "1e-5", "0.0001", "1e16", "4.9e-324"]
UNITS = ["microseconds", "milliseconds", "second", "minute", "hour", "day", "week", "month", "quarter", "year", "decade",
         "century", "millennium", "us", "msec", "sec", "mins", "hr", "days", "w", "mon", "qtr", "yrs", "dec", "c", "mil"]
PARTS = [*UNITS, "dow", "isodow", "doy", "isoyear", "epoch", "julian", "mm"]
LENGTH_PARTS = [unit for unit in UNITS if unit not in ("week", "w")] + ["epoch"]


def instant(text):
    return E(f"timestamp {quote(text)}", f"instant({quote(text)})", None)


class Bounds(Generator):
    """Expressions over values at the bounds of their types."""

    def literal(self, ty):
        rng = self.rng
        if ty == "bigint":
            n = rng.choice(BIGINTS)
            return E(f"({n})", f"({n})::bigint", None)
        if ty == "double":
            x = rng.choice(DOUBLES)
            return E(f"CAST('{x}' AS double)", f"'{x}'::float8", None)
        if ty == "timestamp":
            return instant(rng.choice(TIMES))
        if ty == "interval":
            text = quote(rng.choice(LENGTHS))
            return E(f"interval {text}", f"interval {text}", None)
        return super().literal(ty)

    def leaf(self, ty):
        return self.literal(ty).constant() if self.rng.random() < 0.6 else super().leaf(ty)

    def interval(self, d):
        """As there, where each result has whole milliseconds."""
        rng, e = self.rng, self.expression
        kind = rng.randrange(4)
        if kind == 0:
            return build("({0} * {1})", e("interval", d), e("double", 0), pg="whole({0} * {1})")
        if kind == 1:
            return build("({1} * {0})", e("interval", d), e("bigint", 0), pg="whole({1} * {0})")
        if kind == 2:
            return build("({0} / {1})", e("interval", d), e("double", 0), pg="whole({0} / {1})")
        made = super().interval(d)
        made.pg = f"whole({made.pg})"
        return made

    def double(self, d):
        rng, e = self.rng, self.expression
        kind = rng.randrange(6)
        if kind == 0:
            part = rng.choice(PARTS)
            return build("date_part('%s', {0})" % part, e("timestamp", d))
        if kind == 1:
            part = rng.choice(LENGTH_PARTS)
            return build("date_part('%s', {0})" % part, e("interval", d))
        if kind == 2:
            # DEC is a keyword there.
            part = rng.choice([part for part in PARTS if part != "dec"])
            return build("EXTRACT(%s FROM {0})" % part, e("timestamp", d), pg="EXTRACT(%s FROM {0})::float8" % part)
        return super().double(d)

    def timestamp(self, d):
        if self.rng.random() < 0.3:
            return build("date_trunc('%s', {0})" % self.rng.choice(UNITS), self.expression("timestamp", d))
        return super().timestamp(d)


class Casts:
    """Casts from texts."""

    def __init__(self, rng):
        self.rng = rng
        self.texts = Texts(rng)

    def expression(self):
        rng = self.rng
        ty = rng.choice(["timestamp"] * 5 + ["interval"] * 5 + ["double", "bigint", "boolean", "json"])
        text, _ = self.texts.of(ty)
        there = {"double": "float8", "timestamp": "timestamptz"}.get(ty, ty)
        wrap = {"timestamp": "instant(%s)", "interval": "whole(%s)", "json": "btrim((%s)::text, E' \\t\\n\\r')"}.get(ty, "%s")
        kind = rng.randrange(5)
        if ty == "json" and rng.random() < 0.5:
            key = rng.choice(["'a'", "'b'", "0", "1", "(-1)"])
            e = E(f"(CAST({quote(text)} AS json) ->> {key})", f"({quote(text)}::json ->> {key})", None)
            e.text, e.cast = text, "json"
            return "text", e
        if kind == 0:
            name = {"timestamp": "timestamptz"}.get(ty, ty)
            e = E(f"TRY_CAST({quote(text)} AS {ty})", wrap % f"try_{name}({quote(text)})", None)
        elif kind == 1 and ty in ("timestamp", "interval"):
            e = E(f"{ty} {quote(text)}", wrap % f"{there} {quote(text)}", None)
        elif kind == 2 and ty == "interval":
            field = rng.choice(["year", "month", "day", "hour", "minute", "second"])
            e = E(f"interval {quote(text)} {field}", f"whole(interval {quote(text)} {field})", None)
        elif kind == 3:
            e = E(f"({quote(text)}::{ty})", wrap % f"({quote(text)}::{there})", None)
        else:
            # Read for the row.
            e = E(f"CAST(concat({quote(text)}, '') AS {ty})", wrap % f"CAST(concat({quote(text)}, '') AS {there})", None)
        e.text, e.cast = text, ty
        return ty, e


def before_sign(rng):
    """An operator right before a sign."""
    spaces = lambda: rng.choice(["", "", "", " "])
    operator = rng.choice(["->", "->>", "+", "-", "*", "/", "%", "<", ">", "<=", ">=", "=", "<>", "!=", "||"])
    sign = rng.choice("-+")
    if operator in ("->", "->>"):
        text = quote(rng.choice(['[1, 2, 3]', '[[4], "x"]', '[]', '{"a": 1}']))
        number = f"{operator}{spaces()}{sign}{rng.choice([1, 2, 4])}"
        return ("text" if operator == "->>" else "json"), E(f"CAST({text} AS json){number}", f"{text}::json{number}", None)
    if operator == "||":
        e = f"'a'{spaces()}||{spaces()}{sign}7"
        return "text", E(e, e, None)
    if operator == "-" and sign == "-":
        sign = "+"
    e = f"7{spaces()}{operator}{spaces()}{sign}2"
    return ("bigint" if operator in "+-*/%" else "boolean"), E(e, re.sub(r"(\d)", r"\1::bigint", e), None)


def refused(ty, pattern, says=""):
    """Texts of a type that match are read there; here they are an error (with TRY_CAST NULL), which says something."""
    pattern = re.compile(pattern, re.IGNORECASE | re.DOTALL)
    def holds(_, e, o, t):
        raised = o[0] == "n" and e.ours.startswith("TRY_CAST") or o[0] == "e" and says in o[1]
        return e.cast == ty and raised and t[0] == "v" and bool(pattern.search(e.text))
    return holds


RULES = [
    ("now, today, tomorrow, yesterday", refused("timestamp", r"now|today|tomorrow|yesterday", "now, today")),
    ("infinite times", refused("timestamp", r"infinity", "infinite times")),
    ("abbreviations and rules of time zones", refused("timestamp", r"[a-z]", "a time zone is")),
    # PostgreSQL 16 refuses them too.
    ("a label for no number",
     refused("timestamp", r"(?<![a-z])(y|m|mm|d|h|s|j|jd|julian|dow|doy|isodow|isoyear)[^a-z0-9]*($|[-+a-z])", "a letter before a number")),
    ("NaN, infinite and hexadecimal doubles", refused("double", r"nan|inf|0x")),
    ("ago before the end", refused("interval", r"ago.*\S", "ago stands at the end")),
    ("digits of a second behind the sixth", lambda _, e, o, t: e.cast == "timestamp" and o[0] == t[0] == "v"
     and re.search(r"\.\d{3}999[5-9]", e.text) is not None),
    ("escapes in JSON that are no text", lambda _, e, o, t: e.cast == "json" and o[0] != "e" and t[0] == "e"
     and re.search(r"\\u(0000|d[89a-f])", e.text) is not None and "->>" in e.ours),
    # There it depends on whether the plan knows that the operand is NULL; here it always does.
    ("an operator and a constant NULL", lambda _, e, o, t: o[0] == "n" and t[0] == "e" and "CAST(NULL AS" in e.ours),
    ("!= before a sign", lambda _, e, o, t: t[0] == "e" and o[0] == "v" and re.search(r"!=[-+]", e.ours) is not None),
]


def main():
    arguments = argparse.ArgumentParser(description="Compares our SQL expressions with PostgreSQL.")
    arguments.add_argument("--eval", required=True, help="the built example eval_sql")
    arguments.add_argument("--count", type=int, default=20_000, help="expressions")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--show", type=int, default=10, help="differences to print")
    args = arguments.parse_args()

    rng = random.Random(args.seed)
    general, bounds, casts = Generator(rng), Bounds(rng), Casts(rng)
    rows = make_rows(rng, 60)
    ids = lambda count: sorted(rng.sample(range(len(rows)), count))
    types = ["boolean"] * 4 + ["bigint", "double", "text"] * 2 + ["timestamp", "interval", "json"]
    wide = ["timestamp", "interval", "double"] * 2 + ["bigint", "boolean", "text"]
    tasks = []
    while len(tasks) < args.count:
        kind = rng.random()
        if kind < 0.5:
            tasks.append((*casts.expression(), ids(1)))
        elif kind < 0.75:
            ty = rng.choice(wide)
            tasks.append((ty, bounds.expression(ty, rng.randrange(1, 4)), ids(2)))
        elif kind < 0.78:
            tasks.append((*before_sign(rng), ids(1)))
        else:
            ty = rng.choice(types)
            tasks.append((ty, general.expression(ty, rng.randrange(1, 5)), ids(3)))
    tasks = [task for task in tasks if len(task[1].pg) <= 3000]

    engine = Postgres()
    try:
        theirs = engine.evaluate(rows, tasks)
    finally:
        engine.close()
    report = Report("postgres", rows, args.show, RULES)
    report.compare(tasks, evaluate_ours(args.eval, rows, tasks), theirs)
    for name, count in report.meant.items():
        print(f"on purpose: {name}: {count}")
    print(f"PostgreSQL {engine.version}, seed {args.seed}: {len(tasks)} expressions, {sum(len(t[2]) for t in tasks)} evaluations: {report}")
    sys.exit(1 if report.counts["different"] else 0)


if __name__ == "__main__":
    main()
