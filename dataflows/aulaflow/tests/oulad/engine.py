"""Views recomputed by DuckDB from the CSV files: runs the queries of views/expected.sql. Knows no scenario."""

from __future__ import annotations

import re
from pathlib import Path

try:
    import duckdb
except ModuleNotFoundError:
    duckdb = None

QUERIES = Path(__file__).resolve().parent / "views" / "expected.sql"

LOAD = """
-- One thread: a row's number is its place in the file.
SET threads = 1;
CREATE TABLE history AS
SELECT click.id_student AS student_id, 'vle-' || (click.row - 1) AS event_id,
  coalesce(page.activity_type, 'unknown') AS event_type, click.sum_click::BIGINT AS value,
  epoch_ms(make_timestamp(code_presentation[:4]::BIGINT, if(code_presentation[5:] = 'B', 2, 10), 1, 12, 0, 0)
    + to_days(click.date::INTEGER)) AS ms
FROM (SELECT *, row_number() OVER () AS row FROM read_csv('{data}/studentVle.csv', all_varchar = true)) click
LEFT JOIN (SELECT id_site, activity_type FROM read_csv('{data}/vle.csv', all_varchar = true)) page
  ON page.id_site = click.id_site;
SET threads = 2;
CREATE TABLE clock (ms BIGINT);
CREATE TABLE events AS FROM history WHERE false;
"""


def there() -> bool:
    """Whether this Python has DuckDB."""
    return duckdb is not None


class Engine:
    """DuckDB with the dataset's events, and the queries."""

    def __init__(self, data: Path) -> None:
        self.connection = duckdb.connect()
        self.connection.execute(LOAD.format(data=str(data).replace("'", "''")))
        head, *parts = re.split(r"^-- (view|changed): (\w+)$", QUERIES.read_text(), flags=re.MULTILINE)
        self.connection.execute(head)
        sections = list(zip(parts[::3], parts[1::3], parts[2::3]))
        self.queries = {name: query for kind, name, query in sections if kind == "view"}
        self.changed = {name: query for kind, name, query in sections if kind == "changed"}

    def change(self) -> None:
        """From now on queries are about the changed views."""
        self.queries |= self.changed

    def history(self) -> list[tuple[str, str, str, int, int]]:
        """All events in file order: student, id, type, value, milliseconds."""
        query = "FROM history ORDER BY event_id[5:]::BIGINT"
        return self.connection.execute(query).fetchall()

    def set_clock(self, at_ms: int) -> None:
        """From now on queries are about this instant."""
        self.connection.execute("DELETE FROM clock")
        self.connection.execute("INSERT INTO clock VALUES (?)", [at_ms])
        self.connection.execute("CREATE OR REPLACE TABLE events AS FROM history WHERE ms <= ?", [at_ms])

    def rows(self, view: str) -> dict[str, tuple[dict, int, int]]:
        """A view's rows at the clock by student: the outputs, and the window's bounds in milliseconds."""
        result = self.connection.execute(self.queries[view])
        names = [column[0] for column in result.description][1:-2]
        rows = {}
        for student, *values, start, end in result.fetchall():
            assert student not in rows, f"{view} has two rows of {student}"
            rows[student] = (dict(zip(names, values)), start, end)
        return rows

    def newest(self, student: str, start_ms: int, end_ms: int, most: int) -> list[dict]:
        """A student's newest events of a stretch of time, newest first, as an explanation shows them."""
        query = (
            "SELECT event_id, rfc3339(ms) FROM events WHERE student_id = ? AND ms >= ? AND ms < ? "
            "ORDER BY ms DESC, event_id DESC LIMIT ?"
        )
        rows = self.connection.execute(query, [student, start_ms, end_ms, most]).fetchall()
        return [{"event_id": event_id, "occurred_at": at} for event_id, at in rows]
