"""clickhouse-connect against the embedded ClickHouse: client.py PORT USER, with the password in CLICKHOUSE_PASSWORD."""

import datetime
import os
import sys

import clickhouse_connect
from clickhouse_connect.driver.exceptions import DatabaseError

port, user = int(sys.argv[1]), sys.argv[2]


def connect(password, **more):
    return clickhouse_connect.get_client(host="127.0.0.1", port=port, username=user, password=password, **more)


for compress in (True, False, "lz4", "zstd", "gzip"):
    client = connect(os.environ["CLICKHOUSE_PASSWORD"], compress=compress)
    client.command("DROP TABLE IF EXISTS py")
    client.command("CREATE TABLE py (a UInt64, b String, c Nullable(Float64), d DateTime('UTC'), e Array(LowCardinality(String)))"
                   " ENGINE = MergeTree ORDER BY a")
    when = datetime.datetime(2026, 3, 2, 15, 4, 5, tzinfo=datetime.timezone.utc)
    rows = [[i, f"it's {i}\n", None if i % 2 else i / 4, when, ["x", str(i % 3)]] for i in range(10_000)]
    summary = client.insert("py", rows, column_names=["a", "b", "c", "d", "e"])
    assert summary.written_rows == 10_000, summary.summary
    result = client.query("SELECT * FROM py ORDER BY a")
    assert result.column_names == ("a", "b", "c", "d", "e")
    # UTC is what the client leaves unsaid.
    expected = [row[:3] + [when.replace(tzinfo=None)] + row[4:] for row in rows[:3]]
    assert [list(row) for row in result.result_rows[:3]] == expected, result.result_rows[:3]
    assert len(result.result_rows) == 10_000

    # Parameters, bound by the server and by the client.
    assert client.query("SELECT b FROM py WHERE a = {a:UInt64} AND b = {b:String}", parameters={"a": 7, "b": "it's 7\n"}).result_rows == [("it's 7\n",)]
    assert client.query("SELECT count() FROM py WHERE a IN %(a)s", parameters={"a": [1, 2, 3]}).first_row == (3,)

    # Settings of a statement, and those of the session stay.
    assert client.query("SELECT getSetting('max_block_size')", settings={"max_block_size": 123}).first_row == (123,)
    assert client.query("SELECT getSetting('max_block_size')").first_row != (123,)

    # Streams.
    seen = 0
    with client.query_row_block_stream("SELECT number, toString(number) FROM numbers(500000)") as stream:
        for block in stream:
            for number, text in block:
                assert number == seen and text == str(seen)
                seen += 1
    assert seen == 500_000

    # A temporary table lives in the session that the client makes.
    client.command("CREATE TEMPORARY TABLE tmp (x UInt8)")
    client.insert("tmp", [[1], [2]], column_names=["x"], database="", column_type_names=["UInt8"])
    assert client.query("SELECT sum(x) FROM tmp").first_row == (3,)
    client.command("DROP TABLE tmp")

    # Raw formats.
    assert client.raw_query("SELECT 1 AS a, 'x' AS b", fmt="CSVWithNames") == b'"a","b"\n1,"x"\n'
    client.raw_insert("py", ["a", "b"], b"20000,raw\n", fmt="CSV")
    assert client.command("SELECT count() FROM py") == 10_001

    # Errors, early and late.
    for text, code in (("SELECT * FROM no_such_table", 60), ("SELEC 1", 62), ("SELECT no_such_function()", 46)):
        try:
            client.query(text)
        except DatabaseError as error:
            assert f"code {code}" in str(error) or f"Code: {code}" in str(error), error
        else:
            raise AssertionError(text)
    try:
        client.query("SELECT throwIf(number = 3000000) FROM numbers(4000000)")
    except Exception as error:
        assert "395" in str(error), error
    else:
        raise AssertionError("a late error was not seen")
    assert client.ping()
    client.close()

try:
    connect("wrong")
except DatabaseError as error:
    assert "516" in str(error), error
else:
    raise AssertionError("a wrong password")
print("all good")
