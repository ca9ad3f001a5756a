//! The HTTP interface as curl sees it.

use crate::raw::{Ask, post, query, url_with};
use crate::{PASSWORD, USER, can_run, shared};
use base64::Engine as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[test]
fn statements_come_in_the_url_or_in_the_body() {
    if !can_run() {
        return;
    }
    let url = shared();
    assert_eq!(query(url, "SELECT 1 + 1"), "2\n");
    assert_eq!(post(url, &[("query", "SELECT 1,")], b"2").text(), "1\t2\n");
    let get = Ask {
        url,
        parameters: &[("query", "SELECT 'ñ'"), ("user", USER), ("password", PASSWORD)],
        headers: &[],
        body: None,
    };
    assert_eq!(get.send().text(), "ñ\n");
    let ping = |path: &str| ureq::get(format!("{url}{path}")).call().unwrap().body_mut().read_to_string().unwrap();
    for path in ["/ping", "/", "/replicas_status", "/health"] {
        assert_eq!(ping(path), "Ok.\n", "{path}");
    }
}

#[test]
fn formats_are_chosen_as_clickhouse_chooses_them() {
    if !can_run() {
        return;
    }
    let url = shared();
    let answer = post(url, &[("default_format", "JSONEachRow")], b"SELECT 1 AS a");
    assert_eq!((answer.text().as_str(), answer.header("x-clickhouse-format")), ("{\"a\":1}\n", "JSONEachRow"));
    assert_eq!(answer.header("content-type"), "application/x-ndjson; charset=UTF-8");
    let answer = post(url, &[("default_format", "JSON")], b"SELECT 1 AS a FORMAT CSVWithNames");
    assert_eq!((answer.text().as_str(), answer.header("x-clickhouse-format")), ("\"a\"\n1\n", "CSVWithNames"));
    let answer = post(url, &[], b"SELECT 1 AS a FORMAT JSON");
    let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((&json["data"][0]["a"], &json["rows"]), (&1.into(), &1.into()));
    let answer = post(url, &[], b"SELECT number FROM numbers(3) FORMAT Parquet");
    assert!(answer.body.starts_with(b"PAR1") && answer.body.ends_with(b"PAR1"));
    let headers = [("X-ClickHouse-Format", "CSV"), ("X-ClickHouse-User", USER), ("X-ClickHouse-Key", PASSWORD_HEADER)];
    let answer = Ask { url, parameters: &[], headers: &headers, body: Some(b"SELECT 'a'") }.send();
    assert_eq!(answer.code(), 516, "the wrong password, in a header");
}

const PASSWORD_HEADER: &str = "not it";

#[test]
fn long_results_are_whole_in_every_format() {
    if !can_run() {
        return;
    }
    let url = shared();
    let rows = 300_000;
    let select = format!("SELECT number AS n, toString(number) AS s FROM numbers({rows})");
    let text = query(url, &select);
    assert_eq!(text.lines().count(), rows);
    for format in ["CSVWithNames", "TSVWithNames", "JSONCompactEachRowWithNames"] {
        let text = query(url, &format!("{select} FORMAT {format}"));
        assert_eq!(text.lines().count(), rows + 1, "{format}: the header comes once");
        assert!(text.lines().last().unwrap().contains(&(rows - 1).to_string()), "{format}");
    }
    let text = query(url, &format!("{select} FORMAT CSVWithNamesAndTypes"));
    assert_eq!(text.lines().count(), rows + 2);
    assert_eq!(text.lines().nth(1), Some("\"UInt64\",\"String\""));
    let json: serde_json::Value = serde_json::from_str(&query(url, &format!("{select} FORMAT JSONCompact"))).unwrap();
    assert_eq!(json["data"].as_array().unwrap().len(), rows);
    let settings = [("output_format_json_array_of_rows", "1")];
    let json = post(url, &settings, format!("{select} FORMAT JSONEachRow").as_bytes());
    assert_eq!(serde_json::from_slice::<Vec<serde_json::Value>>(&json.body).unwrap().len(), rows);
    // With totals, which come in a piece of their own.
    let totals = query(
        url,
        "SELECT number % 2 AS k, count() AS c FROM numbers(10) GROUP BY k WITH TOTALS ORDER BY k FORMAT CSVWithNames",
    );
    assert_eq!(totals, "\"k\",\"c\"\n0,5\n1,5\n\n0,10\n");
}

#[test]
fn parameters_are_values() {
    if !can_run() {
        return;
    }
    let url = shared();
    let evil = "x'; DROP TABLE t; --";
    let answer = post(url, &[("param_s", evil), ("param_n", "7")], b"SELECT {s:String}, {n:UInt8} + 1");
    assert_eq!(answer.text(), "x\\'; DROP TABLE t; --\t8\n");
    let answer = post(url, &[("param_s", "a\\tb")], b"SELECT length({s:String}), {s:String} = 'a\\tb'");
    assert_eq!(answer.text(), "3\t1\n", "values are escaped as in TSV, as ClickHouse's server has it");
    let answer = post(url, &[("param_s", "x")], b"SELECT {other:String}");
    assert_eq!((answer.code(), answer.status), (456, 500), "{}", answer.text());
    post(url, &[], b"CREATE TABLE params (a String) ENGINE = MergeTree ORDER BY a");
    let answer = post(url, &[("param_t", "params")], b"SELECT count() FROM {t:Identifier}");
    assert_eq!(answer.text(), "0\n");
}

#[test]
fn settings_are_for_one_statement() {
    if !can_run() {
        return;
    }
    let url = shared();
    let block = |parameters: &[(&str, &str)]| post(url, parameters, b"SELECT getSetting('max_block_size')").text();
    assert_eq!(block(&[("max_block_size", "1234")]), "1234\n");
    assert_eq!(block(&[]), "65409\n");
    let zone = post(url, &[("session_timezone", "America/Mexico_City")], b"SELECT timezone()");
    assert_eq!(zone.text(), "America/Mexico_City\n");
    for (name, value, code, status) in [
        ("no_such_setting", "1", 115, 404),
        ("max_threads", "many", 27, 400),
        ("max_threads=1, readonly", "0", 115, 404),
        ("database", "no_such_database", 81, 404),
    ] {
        let answer = post(url, &[(name, value)], b"SELECT 1");
        assert_eq!((answer.code(), answer.status), (code, status), "{name}: {}", answer.text());
    }
    let answer = post(url, &[("max_result_rows", "10")], b"SELECT number FROM numbers(1000)");
    assert_eq!((answer.code(), answer.status), (396, 500), "{}", answer.text());
    let begun = Instant::now();
    let answer =
        post(url, &[("max_execution_time", "1")], b"SELECT sum(cityHash64(number)) FROM numbers(1000000000000)");
    assert_eq!((answer.code(), answer.status), (159, 408), "{}", answer.text());
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn errors_have_their_number_status_and_text() {
    if !can_run() {
        return;
    }
    let url = shared();
    for (text, code, status, name) in [
        ("SELECT * FROM no_such_table", 60, 404, "UNKNOWN_TABLE"),
        ("SELECT * FROM no_such_database.t", 81, 404, "UNKNOWN_DATABASE"),
        ("SELEC 1", 62, 400, "SYNTAX_ERROR"),
        ("", 62, 400, "SYNTAX_ERROR"),
        ("SELECT 1; SELECT 2", 62, 400, "SYNTAX_ERROR"),
        ("SELECT 1 FORMAT NoSuchFormat", 73, 404, "UNKNOWN_FORMAT"),
        ("SELECT throwIf(1)", 395, 500, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", 358, 500, "INTO_OUTFILE_NOT_ALLOWED"),
        ("SELECT toUInt8('x')", 6, 400, "CANNOT_PARSE_TEXT"),
    ] {
        let answer = post(url, &[], text.as_bytes());
        assert_eq!((answer.code(), answer.status), (code, status), "{text}: {}", answer.text());
        let body = answer.text();
        assert!(body.starts_with(&format!("Code: {code}. DB::Exception: ")) && body.contains(name), "{body}");
        assert!(body.contains("(version 26."), "{body}");
    }
}

#[test]
fn whoever_has_no_password_gets_nothing() {
    if !can_run() {
        return;
    }
    let url = shared();
    let ask = |parameters: &[(&str, &str)], headers: &[(&str, &str)]| {
        let answer = Ask { url, parameters, headers, body: Some(b"SELECT 1") }.send();
        (answer.status, answer.code(), answer.header("www-authenticate").is_empty())
    };
    assert_eq!(ask(&[], &[]), (401, 194, false));
    assert_eq!(ask(&[("user", USER), ("password", "wrong")], &[]), (403, 516, true));
    assert_eq!(ask(&[("user", "other"), ("password", PASSWORD)], &[]), (403, 516, true));
    let basic = |user: &str| {
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{PASSWORD}"));
        ask(&[], &[("Authorization", &format!("Basic {text}"))])
    };
    assert_eq!(basic(USER), (200, 0, true));
    assert_eq!(basic("default"), (200, 0, true));
    assert_eq!(basic("other"), (403, 516, true));
    assert_eq!(ask(&[("user", USER), ("password", PASSWORD)], &[("X-ClickHouse-Key", "wrong")]), (403, 516, true));
}

#[test]
fn get_changes_nothing() {
    if !can_run() {
        return;
    }
    let url = shared();
    query(url, "CREATE TABLE read_only (a UInt8) ENGINE = MergeTree ORDER BY a");
    for text in [
        "DROP TABLE read_only",
        "INSERT INTO read_only VALUES (1)",
        "SET max_threads = 1",
        "INSERT INTO read_only SELECT 1",
    ] {
        let parameters = [("query", text), ("user", USER), ("password", PASSWORD)];
        let answer = Ask { url, parameters: &parameters, headers: &[], body: None }.send();
        assert_eq!((answer.code(), answer.status), (164, 500), "{text}: {}", answer.text());
    }
    assert_eq!(query(url, "SELECT count() FROM read_only"), "0\n");
}

#[test]
fn inserts_take_their_data_from_the_url_and_the_body() {
    if !can_run() {
        return;
    }
    let url = shared();
    query(url, "CREATE TABLE ins (a UInt32, b String) ENGINE = MergeTree ORDER BY a");
    let insert = |parameters: &[(&str, &str)], body: &[u8]| {
        let answer = post(url, parameters, body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let summary: serde_json::Value = serde_json::from_str(answer.header("x-clickhouse-summary")).unwrap();
        summary["written_rows"].as_str().unwrap().to_owned()
    };
    assert_eq!(insert(&[("query", "INSERT INTO ins FORMAT CSV")], b"1,\"a\n\"\n2,b\n"), "2");
    assert_eq!(
        insert(&[], b"INSERT INTO ins (b, a) FORMAT JSONEachRow\n{\"a\":3,\"b\":\"c\"}\n{\"a\":4,\"b\":\";\"}"),
        "2"
    );
    assert_eq!(insert(&[], b"INSERT INTO ins VALUES (5, 'e'), (6, 'it''s; fine')"), "2");
    assert_eq!(insert(&[("query", "INSERT INTO ins VALUES")], b"(7, toString(7))"), "1");
    // Zero bytes and ends of lines are data.
    assert_eq!(insert(&[("query", "INSERT INTO ins FORMAT RowBinary")], b"\x08\0\0\0\x03\n\0\n\x09\0\0\0\x01;"), "2");
    assert_eq!(insert(&[], b"INSERT INTO ins SELECT number + 10, 'x' FROM numbers(5)"), "5");
    assert_eq!(insert(&[("query", "INSERT INTO ins FORMAT CSV")], b""), "0");
    assert_eq!(query(url, "SELECT count(), sum(a), hex(argMax(b, a = 8)) FROM ins"), "14\t105\t0A000A\n");
    let wrong = post(url, &[("query", "INSERT INTO ins FORMAT CSV")], b"1,a\nx,b\n");
    assert_eq!((wrong.code(), wrong.status), (27, 400), "{}", wrong.text());
    assert_eq!(query(url, "SELECT count() FROM ins"), "14\n", "nothing of a block with a fault is inserted");
}

#[test]
fn a_token_makes_a_repeated_insert_nothing() {
    if !can_run() {
        return;
    }
    let url = shared();
    query(
        url,
        "CREATE TABLE tokens (a UInt32) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100",
    );
    let insert = |token: &str, data: &[u8]| {
        let parameters = [("query", "INSERT INTO tokens FORMAT CSV"), ("insert_deduplication_token", token)];
        assert_eq!(post(url, &parameters, data).status, 200);
    };
    insert("one", b"1\n");
    insert("one", b"1\n");
    insert("one", b"2\n");
    insert("two", b"1\n");
    assert_eq!(query(url, "SELECT a FROM tokens ORDER BY a"), "1\n1\n");
}

#[test]
fn bodies_are_compressed_both_ways() {
    if !can_run() {
        return;
    }
    let url = shared();
    query(url, "CREATE TABLE packed (a UInt32) ENGINE = MergeTree ORDER BY a");
    let data: String = (0..100_000).map(|i| format!("{i}\n")).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(data.as_bytes()).unwrap();
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(data.as_bytes()).unwrap();
    let bodies = [
        ("gzip", gzip.finish().unwrap()),
        ("lz4", lz4.finish().unwrap()),
        ("zstd", zstd::encode_all(data.as_bytes(), 1).unwrap()),
    ];
    for (coding, body) in &bodies {
        let parameters = [("query", "INSERT INTO packed FORMAT CSV"), ("user", USER), ("password", PASSWORD)];
        let answer =
            Ask { url, parameters: &parameters, headers: &[("Content-Encoding", coding)], body: Some(body) }.send();
        assert_eq!(answer.status, 200, "{coding}: {}", answer.text());
    }
    assert_eq!(query(url, "SELECT count(), sum(a) FROM packed"), "300000\t14999850000\n");
    for (coding, body) in &bodies {
        let broken = &body[..body.len() / 2];
        let parameters = [("query", "INSERT INTO packed FORMAT CSV"), ("user", USER), ("password", PASSWORD)];
        let answer =
            Ask { url, parameters: &parameters, headers: &[("Content-Encoding", coding)], body: Some(broken) }.send();
        assert_eq!(answer.status, 400, "{coding}: {}", answer.text());
    }
    assert_eq!(query(url, "SELECT count() FROM packed"), "300000\n");
    let select = |accept: &str| {
        let parameters = [("query", "SELECT number FROM numbers(100000)"), ("user", USER), ("password", PASSWORD)];
        Ask { url, parameters: &parameters, headers: &[("Accept-Encoding", accept)], body: Some(b"") }.send()
    };
    let answer = select("gzip");
    assert_eq!(answer.header("content-encoding"), "gzip");
    let mut text = String::new();
    flate2::read::GzDecoder::new(answer.body.as_slice()).read_to_string(&mut text).unwrap();
    assert_eq!(text, data);
    let answer = select("zstd;q=1.0, br");
    assert_eq!(answer.header("content-encoding"), "zstd");
    assert_eq!(zstd::decode_all(answer.body.as_slice()).unwrap(), data.as_bytes());
    // ClickHouse's own frames, there and back.
    let answer = post(url, &[("query", "SELECT number FROM numbers(100000)"), ("compress", "1")], b"");
    assert!(answer.body.len() < data.len());
    let inserted = post(url, &[("query", "INSERT INTO packed FORMAT CSV"), ("decompress", "1")], &answer.body);
    assert_eq!(inserted.status, 200, "{}", inserted.text());
    let plain = post(url, &[("query", "INSERT INTO packed FORMAT CSV"), ("decompress", "1")], data.as_bytes());
    assert_eq!((plain.code(), plain.status), (117, 400), "{}", plain.text());
    assert_eq!(query(url, "SELECT count() FROM packed"), "400000\n");
}

#[test]
fn sessions_keep_what_a_statement_did_and_not_what_a_request_set() {
    if !can_run() {
        return;
    }
    let url = shared();
    let ask = |text: &str, more: &[(&str, &str)]| {
        let mut parameters = vec![("session_id", "s1")];
        parameters.extend(more);
        post(url, &parameters, text.as_bytes())
    };
    assert_eq!(ask("SELECT 1", &[("session_check", "1")]).code(), 372);
    assert_eq!(ask("CREATE TEMPORARY TABLE tmp AS SELECT 5 AS a", &[]).status, 200);
    assert_eq!(ask("SELECT a FROM tmp", &[("session_check", "1")]).text(), "5\n");
    assert_eq!(ask("SET max_block_size = 77", &[]).status, 200);
    let block = "SELECT getSetting('max_block_size'), currentDatabase()";
    assert_eq!(ask(block, &[("max_block_size", "99"), ("database", "system")]).text(), "99\tsystem\n");
    assert_eq!(ask(block, &[]).text(), "77\tdefault\n");
    assert_eq!(ask("USE system", &[]).status, 200);
    assert_eq!(ask(block, &[("database", "default")]).text(), "77\tdefault\n");
    assert_eq!(ask(block, &[]).text(), "77\tsystem\n");
    assert_eq!(post(url, &[], b"SELECT a FROM tmp").code(), 60, "others do not see it");
    std::thread::scope(|scope| {
        // Either may be the one that finds the session taken.
        let slow = scope.spawn(|| {
            loop {
                let answer = ask("SELECT sleepEachRow(0.5) FROM numbers(4)", &[("max_block_size", "1")]);
                if answer.code() != 373 {
                    return answer.status;
                }
            }
        });
        until(|| ask("SELECT 1", &[]).code() == 373);
        assert_eq!(slow.join().unwrap(), 200);
    });
    assert_eq!(ask("SELECT 1", &[]).text(), "1\n");
}

#[test]
fn a_late_error_is_marked_and_the_body_does_not_end_well() {
    if !can_run() {
        return;
    }
    let url = shared();
    let text = "SELECT throwIf(number = 5000000), repeat('x', 20) FROM numbers(10000000)";
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    let target = url_with("", &[("query", text), ("user", USER), ("password", PASSWORD)]);
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    let tail = String::from_utf8_lossy(&answer[answer.len() - 1_000..]).into_owned();
    assert!(tail.contains("Code: 395. DB::Exception") && tail.contains("__exception__"), "{tail}");
    assert!(!answer.ends_with(b"0\r\n\r\n"), "the body must not look complete");
    // All of the answer is waited for: then it is an ordinary error.
    let answer = post(url, &[("wait_end_of_query", "1")], text.as_bytes());
    assert_eq!((answer.status, answer.code()), (500, 395));
}

#[test]
fn a_large_result_is_streamed() {
    if !can_run() {
        return;
    }
    let url = shared();
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    // Some 2 TB: the beginning comes while the rest is not made.
    let text = "SELECT number, repeat('x', 200) FROM numbers(10000000000) FORMAT RowBinary";
    let target = url_with("", &[("query", text), ("user", USER), ("password", PASSWORD), ("log_comment", "endless")]);
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut beginning = vec![0; 20 << 20];
    stream.read_exact(&mut beginning).unwrap();
    assert!(beginning.starts_with(b"HTTP/1.1 200 OK\r\n"));
    let running = "SELECT count() FROM system.processes WHERE Settings['log_comment'] = 'endless'";
    assert_eq!(query(url, running), "1\n");
    // Whoever does not read on ends it.
    drop(stream);
    until(|| query(url, running) == "0\n");
}

#[test]
fn a_statement_that_nobody_waits_for_is_stopped() {
    if !can_run() {
        return;
    }
    let url = shared();
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    let text = "SELECT sum(cityHash64(number, 'nobody waits')) FROM numbers(1000000000000)";
    let target = url_with("", &[("query", text), ("user", USER), ("password", PASSWORD)]);
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let running =
        "SELECT count() FROM system.processes WHERE query LIKE '%nobody waits%' AND query NOT LIKE '%processes%'";
    until(|| query(url, running) == "1\n");
    drop(stream);
    until(|| query(url, running) == "0\n");
}

#[test]
fn a_body_that_is_cut_off_inserts_nothing() {
    if !can_run() {
        return;
    }
    let url = shared();
    query(url, "CREATE TABLE cut (a UInt32) ENGINE = MergeTree ORDER BY a");
    let address = url.trim_start_matches("http://");
    let target = url_with("", &[("query", "INSERT INTO cut FORMAT CSV"), ("user", USER), ("password", PASSWORD)]);
    for head in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "POST {target} HTTP/1.1\r\nHost: {address}\r\n{head}\r\n\r\n").unwrap();
        stream.write_all(if head.starts_with('C') { b"1\n2\n" } else { b"4\r\n1\n2\n\r\n" }).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    // The same connection limit that runs them ends them: a later statement of the same kind is behind them.
    query(url, "INSERT INTO cut FORMAT CSV\n3\n");
    assert_eq!(query(url, "SELECT a FROM cut"), "3\n");
}

#[test]
fn many_at_once_are_answered_or_refused() {
    if !can_run() {
        return;
    }
    let url = shared();
    std::thread::scope(|scope| {
        let asks: Vec<_> = (0..60)
            .map(|i| scope.spawn(move || query(url, &format!("SELECT {i} + sum(number) FROM numbers(1000000)"))))
            .collect();
        for (i, ask) in asks.into_iter().enumerate() {
            assert_eq!(ask.join().unwrap(), format!("{}\n", i as u64 + 499_999_500_000));
        }
    });
}

/// Waits for a condition.
fn until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}
