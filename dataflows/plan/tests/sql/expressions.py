"""Random well-typed SQL expressions and values, written side by side in our dialect, PostgreSQL's and DuckDB's, so that a
difference of dialect is visible at the construct that has it. `compare_postgres.py` and `compare_duckdb.py` evaluate them.

Dialect differences from PostgreSQL, on purpose or by type system:
  P1  integers are bigint here: literals get ::bigint there (int4 would overflow earlier); int4 results get ::bigint.
  P2  numbers with a point are doubles here: literals are '…'::float8 there (numeric else).
  P3  round(x, n) exists for doubles here, with the meaning of round(x::numeric, n) there.
  P4  % exists for doubles here; there only for integers and numeric, so only integers are compared.
  P5  extract() is double here (there numeric, cast to float8); boolean <-> bigint goes over int4 there.
  P6  TRY_CAST is emulated there by a function that catches the error.
  P7  our clock ticks in milliseconds, theirs in microseconds: intervals are divided only where the result is whole.
  P8  their planner evaluates constant parts before the row (CASE WHEN false THEN 1/0 END may raise) and drops parts
      that cannot matter (x AND false); ours raises what evaluation from left to right raises. Constants are hidden
      from the planner there by a volatile function.
  P9  the difference of timestamps is checked there by minus(): PostgreSQL 15 lets it wrap around, 16 raises.
  P10 the items of IN are evaluated in an order of their own there: only items that raise no error are compared.
DuckDB differs more; it is compared on values only, over the constructs that mean the same:
  D1  division by zero is NULL (integers) or infinite (doubles) there; ours is an error: guarded there by error().
  D2  / on integers divides doubles there: // is used. D3  round(x) rounds half away there: round_even(x, 0) is used.
  D4  round(x, n), negative positions of substr, casts of doubles to text, text to numbers with white space, intervals
      as results, fractions of intervals, LIKE's default escape character: left out.
  D5  date_part('second') has no fraction there: milliseconds / 1000. date_trunc may be a DATE there: cast back.
  D6  The optimizer reorders and drops parts, and infinite doubles are values: where either side raises an error, the
      row is counted as skipped. D7  date_trunc of a century or millennium starts at the year 0 there: left out.
"""

COLUMNS = [
    ("a", "bigint"), ("b", "bigint"), ("x", "double precision"), ("y", "double precision"),
    ("s", "text"), ("t", "text"), ("p", "boolean"), ("q", "boolean"),
    ("ts", "timestamp"), ("us", "timestamp"), ("iv", "interval"), ("j", "json"),
]
BIGINTS = [0, 1, -1, 2, 3, 7, 10, -5, 100, 2**31, -2**31, 2**62, 2**63 - 1, -2**63]
DOUBLES = [0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 3.14159, 100.25, 1e15, 1e-7, 123456.789, -0.001, 1e300, 2.675]
TEXTS = ["", "a", "abc", "ABC", "participation", "answer", "10", " 7 ", "-3.5", "1e3", "x%y", "a_b", "héllo", "ñandú",
         "true", "no", "2026-03-02", "Zürich", "aXbXc", "100%", "a\\b", "it's"]
PATTERNS = ["%", "a%", "%b", "%an%", "_", "a_c", "h_llo", "%%", "", "A%", "%X%X%", "100\\%", "x\\%y", "a\\_b", "%é%", "__%"]
TIMESTAMPS = ["2026-03-02 15:04:05.12", "2024-02-29 00:00:00", "1999-12-31 23:59:59.999", "1970-01-01 00:00:00",
              "1960-07-15 12:30:00", "2025-01-01 00:00:00", "2026-12-28 08:00:00", "2000-01-31 06:00:00"]
INTERVALS = ["1 hour", "7 days", "-1 day", "1 month", "1 year 2 months", "00:00:01.5", "2 days 03:00:00", "-2 hours",
             "1 month -1 day", "0 seconds"]
JSONS = ['{"k": "v", "n": 5, "f": 2.5, "b": true, "z": null}', '{"a": [1, "two", {"k": "deep"}], "k": ""}', "[]", "{}",
         '"text"', "12", "null", '{"k": "quo\\"te\\n", "a": {"k": [10, 20, 30]}, "k2": "é"}', '[[1, 2], {"k": 1e2}]',
         '{"k": 1, "k": 2}']
UNITS = ["second", "minute", "hour", "day", "week", "month", "quarter", "year", "decade", "century", "millennium"]
PARTS = UNITS + ["dow", "isodow", "doy", "isoyear", "epoch", "milliseconds", "microseconds"]
INTERVAL_PARTS = ["second", "minute", "hour", "day", "month", "quarter", "year", "epoch", "milliseconds", "decade"]


class E:
    """An expression: our text, PostgreSQL's, DuckDB's (None where there is none)."""

    # Of a cast from a text: the type and the text.
    cast = text = None

    def __init__(self, ours, pg=None, duck=""):
        self.ours = ours
        self.pg = ours if pg is None else pg
        self.duck = (ours if pg is None else pg) if duck == "" else duck

    def constant(self):
        """Hides PostgreSQL's text from its planner (P8)."""
        self.pg = f"hide({self.pg})"
        return self


def quote(text):
    return "'" + text.replace("'", "''") + "'"


def build(template, *parts, pg=None, duck=""):
    """Fills {0}, {1}, … in each dialect's template."""
    def fill(form, texts):
        return None if form is None or None in texts else form.format(*texts)
    pg = template if pg is None else pg
    duck = pg if duck == "" else duck
    return E(*(fill(form, [getattr(p, which) for p in parts])
               for form, which in [(template, "ours"), (pg, "pg"), (duck, "duck")]))


class Generator:
    def __init__(self, rng):
        self.rng = rng

    def expression(self, ty, depth):
        if depth <= 0 or self.rng.random() < 0.12:
            return self.leaf(ty)
        if self.rng.random() < 0.12:
            return self.choice(ty, depth - 1)
        return getattr(self, ty)(depth - 1)

    def leaf(self, ty):
        rng = self.rng
        if rng.random() < 0.6:
            names = {"bigint": "ab", "double": "xy", "text": "st", "boolean": "pq", "json": "j"}
            if ty in names:
                return E(rng.choice(names[ty]))
            return E(rng.choice(["ts", "us"]) if ty == "timestamp" else "iv")
        return self.literal(ty).constant()

    def literal(self, ty):
        rng = self.rng
        if rng.random() < 0.12:
            pg = {"double": "float8"}.get(ty, ty)
            return E(f"CAST(NULL AS {ty})", f"CAST(NULL AS {pg})", f"CAST(NULL AS {ty})")
        if ty == "bigint":
            n = rng.choice(BIGINTS[:10])
            return E(f"({n})", f"({n})::bigint", f"({n})::bigint")
        if ty == "double":
            n = repr(rng.choice(DOUBLES))
            n = n if "." in n or "e" in n else n + ".0"
            return E(f"({n})", f"'{n}'::float8", f"({n})::double")
        if ty == "text":
            text = quote(rng.choice(TEXTS))
            return E(text, text + "::text", text)
        if ty == "boolean":
            return E(rng.choice(["true", "false"]))
        if ty == "timestamp":
            return E(f"timestamp '{rng.choice(TIMESTAMPS)}'")
        if ty == "interval":
            return E(f"interval '{rng.choice(INTERVALS)}'")
        text = quote(rng.choice(JSONS))
        return E(f"CAST({text} AS json)")

    def choice(self, ty, d):
        """Constructs of any type."""
        rng, e = self.rng, self.expression
        if ty == "json":
            return build("CASE WHEN {0} THEN {1} ELSE {2} END", e("boolean", d), e(ty, d), e(ty, d))
        kind = rng.randrange(6)
        if kind == 0:
            return build("CASE WHEN {0} THEN {1} WHEN {2} THEN {3} ELSE {4} END",
                         e("boolean", d), e(ty, d), e("boolean", d), e(ty, d), e(ty, d))
        if kind == 1:
            of = rng.choice(["bigint", "text", "timestamp"])
            return build("CASE {0} WHEN {1} THEN {2} WHEN {3} THEN {4} END", e(of, d), e(of, d), e(ty, d), e(of, d), e(ty, d))
        if kind == 2:
            return build("COALESCE({0}, {1}, {2})", e(ty, d), e(ty, d), e(ty, d))
        if kind == 3:
            return build("NULLIF({0}, {1})", e(ty, d), e(ty, d))
        name = "least" if kind == 4 else "greatest"
        return build(name + "({0}, {1}, {2})", e(ty, d), e(ty, d), e(ty, d))

    def bigint(self, d):
        rng, e = self.rng, self.expression
        kind = rng.randrange(10)
        if kind < 3:
            return build("({0} " + rng.choice("+-*") + " {1})", e("bigint", d), e("bigint", d))
        if kind < 5:
            op = rng.choice("/%")
            duck = "//" if op == "/" else "%"
            return build("({0} " + op + " {1})", e("bigint", d), e("bigint", d),
                         duck="CASE WHEN {1} = 0 THEN error('zero') ELSE {0} " + duck + " {1} END")
        if kind == 5:
            return build("abs({0})", e("bigint", d))
        if kind == 6:
            return build("(- {0})", e("bigint", d))
        if kind == 7:
            return build("length({0})", e("text", d), pg="length({0})::bigint")
        if kind == 8:
            return build("CAST({0} AS bigint)", e("double", d), duck="CAST(round_even({0}, 0) AS bigint)")
        if rng.random() < 0.4:
            return build("CAST({0} AS bigint)", e("boolean", d), pg="({0})::int::bigint")
        return build("TRY_CAST({0} AS bigint)", e("text", d), pg="try_bigint({0})", duck=None)

    def double(self, d):
        rng, e = self.rng, self.expression
        kind = rng.randrange(13)
        if kind < 3:
            return build("({0} " + rng.choice("+-*") + " {1})", e("double", d), e("double", d))
        if kind == 3:
            return build("({0} / {1})", e("double", d), e("double", d),
                         duck="CASE WHEN {1} = 0 THEN error('zero') ELSE {0} / {1} END")
        if kind == 4:
            return build("({0} " + rng.choice("+-*") + " {1})", e("bigint", d), e("double", d))
        if kind == 5:
            return build("abs({0})", e("double", d))
        if kind == 6:
            return build("round({0})", e("double", d), duck="round_even({0}, 0)")
        if kind == 7:
            n = rng.choice([-2, -1, 0, 1, 2, 3, 6])
            return build("round({0}, %d)" % n, e("double", d), pg="round(({0})::numeric, %d)::float8" % n, duck=None)
        if kind == 8:
            name = rng.choice(["floor", "ceil", "ceiling"])
            return build(name + "({0})", e("double", d))
        if kind == 9:
            return build("CAST({0} AS double)", e("bigint", d), pg="({0})::float8", duck="({0})::double")
        if kind == 10:
            return build("TRY_CAST({0} AS double)", e("text", d), pg="try_double({0})", duck=None)
        if kind == 11:
            part = rng.choice(PARTS)
            duck = {"second": "(date_part('milliseconds', {0}) / 1000.0)"}.get(part, "date_part('%s', {0})::double" % part)
            if rng.random() < 0.5:
                return build("EXTRACT(%s FROM {0})" % part, e("timestamp", d), pg="EXTRACT(%s FROM {0})::float8" % part, duck=duck)
            return build("date_part('%s', {0})" % part, e("timestamp", d), duck=duck)
        part = rng.choice(INTERVAL_PARTS)
        return build("date_part('%s', {0})" % part, e("interval", d), duck=None)

    def text(self, d):
        rng, e = self.rng, self.expression
        kind = rng.randrange(10)
        if kind == 0:
            return build("({0} || {1})", e("text", d), e("text", d))
        if kind == 1:
            ty = rng.choice(["bigint", "boolean", "timestamp"])
            return build("({0} || {1})", e("text", d), e(ty, d))
        if kind == 2:
            return build(rng.choice(["lower", "upper"]) + "({0})", e("text", d))
        if kind == 3:
            start, count = rng.randrange(-3, 6), rng.randrange(-1, 5)
            duck = "substr({0}, %d, %d)" % (start, count) if start > 0 and count >= 0 else None
            return build("substr({0}, %d, %d)" % (start, count), e("text", d), duck=duck)
        if kind == 4:
            start = rng.randrange(-3, 6)
            duck = "substring({0}, %d)" % start if start > 0 else None
            return build("substring({0} FROM %d)" % start, e("text", d), duck=duck)
        if kind == 5:
            return build("concat({0}, {1}, {2})", e("text", d), e("bigint", d), e("text", d))
        if kind == 6:
            return build("concat({0}, {1})", e("text", d), e("boolean", d), duck=None)
        if kind == 7:
            ty = rng.choice(["bigint", "double", "boolean", "timestamp", "interval"])
            return build("CAST({0} AS text)", e(ty, d), duck=None if ty in ("double", "interval") else "CAST({0} AS text)")
        if kind == 8:
            return build("({0} ->> " + self.key() + ")", e("json", d), duck=None)
        key = rng.choice(["k", "a", "none"])
        return build("({0} ->> '%s')" % key, e("json", 0), duck=None)

    def key(self):
        rng = self.rng
        return rng.choice(["'k'", "'a'", "'n'", "'z'", "'none'", "0", "1", "2", "(-1)"])

    def json(self, d):
        return build("({0} -> " + self.key() + ")", self.expression("json", d), duck=None)

    def timestamp(self, d):
        rng, e = self.rng, self.expression
        kind = rng.randrange(4)
        if kind == 0:
            return build("({0} + {1})", e("timestamp", d), e("interval", 0))
        if kind == 1:
            return build("({0} - {1})", e("timestamp", d), e("interval", 0))
        if kind == 2:
            unit = rng.choice(UNITS)
            duck = None if unit in ("century", "millennium") else "date_trunc('%s', {0})::timestamp" % unit
            return build("date_trunc('%s', {0})" % unit, e("timestamp", d), duck=duck)
        text = E(quote(rng.choice(TIMESTAMPS))).constant()
        text.pg = text.pg.replace("hide(", "hide(text ")
        return build("TRY_CAST({0} AS timestamp)", text, pg="({0})::timestamp", duck="({0})::timestamp")

    def interval(self, d):
        rng, e = self.rng, self.expression
        kind = rng.randrange(6)
        if kind == 0:
            return build("({0} - {1})", e("timestamp", d), e("timestamp", d), pg="minus({0}, {1})", duck=None)
        if kind == 1:
            return build("({0} " + rng.choice("+-") + " {1})", e("interval", d), e("interval", d))
        if kind == 2:
            return build("({0} * %d)" % rng.choice([0, 1, 2, -3, 10]), e("interval", d))
        if kind == 3:
            factor = rng.choice(["0.5", "1.5", "-2.5", "0.25"])
            return build("(" + factor + " * {0})", e("interval", 0), pg="(hide('%s'::float8) * {0})" % factor, duck=None)
        if kind == 4:
            return build("({0} / {1})", e("interval", 0), E(rng.choice(["2", "4", "5", "0"])).constant(), duck=None)
        return build("(- {0})", e("interval", d), duck=None)

    def boolean(self, d):
        rng, e = self.rng, self.expression
        kind = rng.randrange(16)
        if kind < 4:
            ty = rng.choice(["bigint", "double", "text", "timestamp", "interval", "boolean"])
            op = rng.choice(["=", "<>", "<", "<=", ">", ">="])
            return build("({0} " + op + " {1})", e(ty, d), e(ty, d))
        if kind == 4:
            return build("({0} < {1})", e("bigint", d), e("double", d))
        if kind < 7:
            op = rng.choice(["AND", "OR"])
            return build("({0} " + op + " {1} " + op + " {2})", e("boolean", d), e("boolean", d), e("boolean", d))
        if kind == 7:
            return build("(NOT {0})", e("boolean", d))
        if kind == 8:
            ty = rng.choice(["bigint", "double", "text", "timestamp"])
            return build("({0} " + rng.choice(["", "NOT "]) + "BETWEEN {1} AND {2})", e(ty, d), e(ty, d), e(ty, d))
        if kind == 9:
            ty = rng.choice(["bigint", "double", "text"])
            items = [self.leaf(ty) for _ in range(rng.choice([1, 2, 3, 12]))]
            if rng.random() < 0.15:
                items.append(E("NULL"))
            holes = ", ".join("{%d}" % (i + 1) for i in range(len(items)))
            return build("({0} " + rng.choice(["", "NOT "]) + "IN (" + holes + "))", e(ty, d), *items)
        if kind == 10:
            return build("({0} " + rng.choice(["IS NULL", "IS NOT NULL"]) + ")", e(rng.choice(["bigint", "text", "json"]), d))
        if kind == 11:
            word = rng.choice(["TRUE", "FALSE", "NOT TRUE", "NOT FALSE", "UNKNOWN", "NOT UNKNOWN"])
            return build("({0} IS " + word + ")", e("boolean", d), duck=None if "UNKNOWN" in word else "({0} IS " + word + ")")
        if kind == 12:
            ty = rng.choice(["bigint", "text", "timestamp", "interval"])
            return build("({0} IS " + rng.choice(["", "NOT "]) + "DISTINCT FROM {1})", e(ty, d), e(ty, d))
        if kind == 13:
            text = quote(rng.choice(TIMESTAMPS))
            literal = E(text, f"hide({text}::timestamp)", text)
            return build("({0} " + rng.choice(["=", "<", ">"]) + " {1})", e("timestamp", d), literal)
        word = rng.choice(["LIKE", "NOT LIKE", "ILIKE", "NOT ILIKE"])
        if rng.random() < 0.2:
            return build("({0} " + word + " {1})", e("text", d), e("text", 0), duck=None)
        pattern = rng.choice(PATTERNS)
        if rng.random() < 0.3:
            pattern = quote(pattern.replace("\\", "#")) + " ESCAPE '#'"
            return build("({0} " + word + " " + pattern.replace("{", "{{") + ")", e("text", d))
        duck = None if "\\" in pattern else "({0} " + word + " " + quote(pattern) + ")"
        return build("({0} " + word + " " + quote(pattern) + ")", e("text", d), duck=duck)


def make_rows(rng, count):
    values = {"bigint": [str(n) for n in BIGINTS], "double precision": [repr(x) for x in DOUBLES], "text": TEXTS,
              "boolean": ["true", "false"], "timestamp": TIMESTAMPS, "interval": INTERVALS, "json": JSONS}
    def cell(ty):
        return None if rng.random() < 0.15 else rng.choice(values[ty])
    return [[cell(ty) for _, ty in COLUMNS] for _ in range(count)]
