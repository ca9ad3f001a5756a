"""The engines that expressions are compared with, and ours: each evaluates tasks over rows.

A task is a type, an expression and the numbers of the rows. The results are a list for each task, with `["v", text]`,
`["n"]` for NULL or `["e", message]` for each row.
"""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from glob import glob

from expressions import COLUMNS, quote

# Expressions that one run of psql evaluates.
BATCH = 20_000


def evaluate_ours(program, rows, tasks):
    lines = [json.dumps({"columns": [list(c) for c in COLUMNS], "rows": rows})]
    lines += [json.dumps({"expr": e.ours, "rows": ids}) for _, e, ids in tasks]
    done = subprocess.run([program], input="\n".join(lines) + "\n", capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{program} failed: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


class Postgres:
    """A temporary cluster."""

    def __init__(self):
        path = os.pathsep.join([os.environ["PATH"], *sorted(glob("/usr/lib/postgresql/*/bin"), reverse=True)])
        find = lambda name: shutil.which(name, path=path) or sys.exit(f"{name} is not installed: apt-get install postgresql")
        initdb, self.postgres, self.psql = os.path.realpath(find("initdb")), os.path.realpath(find("postgres")), find("psql")
        self.folder = tempfile.mkdtemp(prefix="aulaflow-pg-")
        self.user = []
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            self.user = ["runuser", "-u", "nobody", "--"]
            shutil.chown(self.folder, "nobody")
        data = os.path.join(self.folder, "data")
        subprocess.run([*self.user, initdb, "-D", data, "-U", "postgres", "--auth=trust", "--locale=C.UTF-8", "-E", "UTF8", "-N"],
                       check=True, stdout=subprocess.DEVNULL, cwd="/")
        self.server = subprocess.Popen(
            [*self.user, self.postgres, "-D", data, "-k", self.folder, "-h", "", "-c", "fsync=off", "-c", "timezone=UTC"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
        for _ in range(300):
            started = self.run("SHOW server_version_num", check=False)
            if started.returncode == 0:
                self.version = int(started.stdout.split()[2])
                return
            time.sleep(0.1)
        sys.exit("PostgreSQL does not start")

    def run(self, script, check=True):
        done = subprocess.run([self.psql, "-X", "-q", "-h", self.folder, "-U", "postgres", "-v", "ON_ERROR_STOP=1", "postgres"],
                              input=script, capture_output=True, text=True, timeout=900,
                              env={**os.environ, "PGCONNECT_TIMEOUT": "5", "PGOPTIONS": "-c client_min_messages=error"})
        if check and done.returncode != 0:
            sys.exit(f"psql failed: {done.stderr[-2000:]}")
        return done

    def close(self):
        self.server.terminate()
        self.server.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def copied(cell):
        return "\\N" if cell is None else cell.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")

    def evaluate(self, rows, tasks):
        self.run("\n".join(self.prepared(rows)))
        results = []
        for first in range(0, len(tasks), BATCH):
            results += self.batch(tasks[first:first + BATCH])
        return results

    def prepared(self, rows):
        script = ["DROP TABLE IF EXISTS d;"]
        script.append("CREATE TABLE d (id int PRIMARY KEY, " + ", ".join(f"{n} {t}" for n, t in COLUMNS) + ");")
        for ty, name in [("bigint", "bigint"), ("float8", "double"), ("boolean", "boolean"), ("json", "json"),
                         ("timestamptz", "timestamptz"), ("interval", "interval")]:
            script.append(f"""CREATE OR REPLACE FUNCTION try_{name}(v text) RETURNS {ty} LANGUAGE plpgsql VOLATILE AS
                $$ BEGIN RETURN {"whole(v::interval)" if name == "interval" else f"v::{ty}"};
                EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$;""")
        script.append("""CREATE OR REPLACE FUNCTION hide(v anyelement) RETURNS anyelement LANGUAGE plpgsql VOLATILE AS
            $$ BEGIN RETURN v; END $$;""")
        # Our timestamps are instants, shown in UTC, of whole milliseconds: what is finer is cut off.
        script.append("""CREATE OR REPLACE FUNCTION instant(v timestamptz) RETURNS timestamp LANGUAGE plpgsql VOLATILE AS
            $$ BEGIN RETURN date_trunc('milliseconds', v::timestamp); END $$;""")
        # Our intervals have whole milliseconds too. interval(3) wraps around at the ends.
        script.append("""CREATE OR REPLACE FUNCTION whole(v interval) RETURNS interval LANGUAGE plpgsql VOLATILE AS $$ BEGIN
              IF abs(extract(hour FROM v) * 3600 + extract(minute FROM v) * 60 + extract(second FROM v)) > 9223372036854.7755
              THEN RAISE 'interval out of range' USING ERRCODE = '22008'; END IF;
              RETURN v::interval(3); END $$;""")
        script.append("""CREATE OR REPLACE FUNCTION minus(v timestamp, w timestamp) RETURNS interval LANGUAGE plpgsql VOLATILE AS $$ BEGIN
              IF abs(extract(epoch FROM v) - extract(epoch FROM w)) > 9223372036854.775
              THEN RAISE 'interval out of range' USING ERRCODE = '22008'; END IF;
              RETURN v - w; END $$;""")
        script.append("""CREATE OR REPLACE FUNCTION attempt(e text, r int) RETURNS text LANGUAGE plpgsql AS $$
            DECLARE v text; BEGIN
              EXECUTE 'SELECT CAST((' || e || ') AS text) FROM d WHERE id = ' || r INTO v; RETURN coalesce('v' || v, 'n');
            EXCEPTION WHEN OTHERS THEN RETURN 'e' || SQLSTATE || ' ' || SQLERRM; END $$;""")
        script.append("COPY d FROM STDIN;")
        script += ["\t".join([str(i), *map(self.copied, row)]) for i, row in enumerate(rows)]
        return [*script, "\\.", ""]

    def batch(self, tasks):
        script = ["CREATE TEMPORARY TABLE e (n int, r int, e text);", "COPY e FROM STDIN;"]
        for n, (_, e, ids) in enumerate(tasks):
            script += [f"{n}\t{i}\t{self.copied(e.pg)}" for i in ids]
        script += ["\\.", "COPY (SELECT n, to_json(attempt(e, r)) FROM e ORDER BY n, r) TO STDOUT WITH (DELIMITER '|');"]
        results = [[] for _ in tasks]
        for line in self.run("\n".join(script)).stdout.splitlines():
            n, value = line.split("|", 1)
            value = json.loads(value.replace("\\\\", "\\").replace("\\|", "|"))
            results[int(n)].append(["n"] if value == "n" else [value[0], value[1:]])
        return results


class DuckDb:
    """DuckDB in this process."""

    def __init__(self):
        import duckdb
        self.connection = duckdb.connect()
        self.error = duckdb.Error
        self.connection.execute("SET TimeZone = 'UTC'")

    def close(self):
        self.connection.close()

    def evaluate(self, rows, tasks):
        run = self.connection.execute
        run("CREATE OR REPLACE TABLE d (id int, " + ", ".join(f"{n} {t}" for n, t in COLUMNS) + ")")
        for i, row in enumerate(rows):
            cells = ["NULL" if cell is None else f"CAST({quote(cell)} AS {ty})" for cell, (_, ty) in zip(row, COLUMNS)]
            run(f"INSERT INTO d VALUES ({i}, {', '.join(cells)})")
        results = []
        for ty, e, ids in tasks:
            result = []
            for i in ids:
                try:
                    value = run(f"SELECT CAST(({e.duck}) AS VARCHAR) FROM d WHERE id = {i}").fetchone()[0]
                    result.append(["n"] if value is None else ["v", value])
                except self.error as error:
                    result.append(["e", str(error)])
            results.append(result)
        return results


def with_duckdb():
    """Runs this script again in a virtual environment that has DuckDB, unless it is here."""
    try:
        import duckdb  # noqa: F401
        return
    except ImportError:
        pass
    folder = os.path.join(tempfile.gettempdir(), "aulaflow-duckdb-venv")
    python = os.path.join(folder, "bin", "python")
    if os.environ.get("AULAFLOW_DUCKDB_VENV"):
        sys.exit("DuckDB could not be imported after its installation")
    if not os.path.exists(python):
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "duckdb"], check=True)
    os.execve(python, [python, *sys.argv], {**os.environ, "AULAFLOW_DUCKDB_VENV": "1"})


def same_value(ty, ours, theirs):
    if ty != "double":
        return ours == theirs
    ours, theirs = float(ours), float(theirs)
    return ours == theirs or (math.isfinite(theirs) and math.isclose(ours, theirs, rel_tol=1e-15))


def verdict(engine, ty, ours, theirs):
    """'same', 'error' (both raise), 'skipped' with the reason in `expressions.py`, or 'different'."""
    if ours[0] == theirs[0]:
        if ours[0] == "e":
            return "error"
        return "same" if ours[0] == "n" or same_value(ty, ours[1], theirs[1]) else "different"
    if engine == "duckdb" and "e" in (ours[0], theirs[0]):
        return "skipped"
    return "different"


class Report:
    """Counts what is the same and what is not, and prints the first differences.

    A rule is a name and a function of a task's type and expression and both results: whether the difference is meant.
    """

    def __init__(self, engine, rows, show, rules=()):
        self.engine, self.rows, self.show, self.rules = engine, rows, show, rules
        self.counts = {"same": 0, "error": 0, "skipped": 0, "different": 0}
        self.meant = {name: 0 for name, _ in rules}

    def compare(self, tasks, ours, theirs):
        for (ty, e, ids), our, their in zip(tasks, ours, theirs, strict=True):
            if isinstance(our, dict):
                # What is wrong with a constant is found when the expression is compiled.
                our = [["e", "; ".join(our["faults"])] for _ in their]
            for row, o, t in zip(ids, our, their, strict=True):
                found = verdict(self.engine, ty, o, t)
                rule = next((name for name, holds in self.rules if holds(ty, e, o, t)), None) if found == "different" else None
                if rule is not None:
                    self.meant[rule] += 1
                    continue
                self.counts[found] += 1
                if found == "different" and self.show > 0:
                    self.show -= 1
                    there = e.pg if self.engine == "postgres" else e.duck
                    values = dict(zip((name for name, _ in COLUMNS), self.rows[row]))
                    print(f"\n{e.ours}\n  there: {there}\n  ours {o}\n  {self.engine} {t}\n  row {values}")

    def __str__(self):
        c = self.counts
        return (f"{c['same']} same values, {c['error']} errors on both sides, {c['skipped']} skipped, "
                f"{sum(self.meant.values())} different on purpose, {c['different']} different")
