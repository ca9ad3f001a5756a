//! The official `clickhouse` crate against it.

use crate::raw::query as raw;
use crate::{PASSWORD, USER, can_run, shared};
use clickhouse::{Client, Compression, Row};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Row, Serialize, Deserialize)]
struct Grade {
    student: String,
    subject: String,
    version: u64,
    score: Option<i64>,
}

fn grade(i: u64) -> Grade {
    Grade {
        student: format!("s{i}"),
        subject: "matemáticas\n'".to_owned(),
        version: i,
        score: (!i.is_multiple_of(3)).then_some(-(i as i64)),
    }
}

fn client() -> Client {
    Client::default().with_url(shared()).with_user(USER).with_password(PASSWORD)
}

async fn insert(
    client: &Client,
    table: &str,
    rows: impl Iterator<Item = Grade>,
    token: &str,
) -> clickhouse::error::Result<()> {
    let mut insert = client.insert::<Grade>(table).await?.with_setting("insert_deduplication_token", token);
    for row in rows {
        insert.write(&row).await?;
    }
    insert.end().await
}

fn table(name: &str) -> String {
    format!(
        "CREATE TABLE {name} (student String, subject LowCardinality(String), version UInt64, score Nullable(Int64))
         ENGINE = ReplacingMergeTree(version) ORDER BY (student, subject) SETTINGS non_replicated_deduplication_window = 100"
    )
}

#[tokio::test]
async fn rows_go_in_and_out_with_and_without_compression() {
    if !can_run() {
        return;
    }
    for (name, compression) in [("client_lz4", Compression::Lz4), ("client_plain", Compression::None)] {
        let client = client().with_compression(compression);
        client.query(&table(name)).execute().await.unwrap();
        let rows = 20_000;
        insert(&client, name, (0..rows).map(grade), "a").await.unwrap();
        // The same again is nothing, by its token; another token is another block.
        insert(&client, name, (0..rows).map(grade), "a").await.unwrap();
        assert_eq!(
            client
                .query("SELECT count() FROM ?")
                .bind(clickhouse::sql::Identifier(name))
                .fetch_one::<u64>()
                .await
                .unwrap(),
            rows
        );
        insert(&client, name, (0..10).map(|i| Grade { version: i + rows, ..grade(i) }), "b").await.unwrap();
        let all: Vec<Grade> =
            client.query(&format!("SELECT ?fields FROM {name} FINAL ORDER BY version")).fetch_all().await.unwrap();
        assert_eq!(all.len() as u64, rows);
        assert_eq!(all[0], grade(10));
        let one: Grade = client
            .query(&format!("SELECT ?fields FROM {name} FINAL WHERE student = ? AND subject = ?"))
            .bind("s5")
            .bind(grade(5).subject)
            .fetch_one()
            .await
            .unwrap();
        assert_eq!(one, Grade { version: 5 + rows, ..grade(5) });
        let found: Vec<String> = client
            .query(&format!("SELECT student FROM {name} FINAL WHERE subject = {{s:String}} AND version < {{v:UInt64}} ORDER BY version"))
            .param("s", grade(0).subject)
            .param("v", 12)
            .fetch_all()
            .await
            .unwrap();
        assert_eq!(found, ["s10", "s11"]);
    }
}

#[tokio::test]
async fn long_results_are_read_to_their_end() {
    if !can_run() {
        return;
    }
    let mut cursor =
        client().query("SELECT number, toString(number) FROM numbers(2000000)").fetch::<(u64, String)>().unwrap();
    let mut rows = 0;
    while let Some((number, text)) = cursor.next().await.unwrap() {
        assert_eq!((number, text), (rows, rows.to_string()));
        rows += 1;
    }
    assert_eq!(rows, 2_000_000);
}

#[tokio::test]
async fn errors_are_told_early_and_late() {
    if !can_run() {
        return;
    }
    let error = client().query("SELECT * FROM no_such_table").fetch_all::<u64>().await.unwrap_err();
    assert!(error.to_string().contains("Code: 60. DB::Exception"), "{error}");
    let wrong = client().with_password("wrong").query("SELECT 1").fetch_one::<u8>().await.unwrap_err();
    assert!(wrong.to_string().contains("Code: 516"), "{wrong}");
    for compression in [Compression::Lz4, Compression::None] {
        let late = client().with_compression(compression);
        let mut cursor = late.query("SELECT throwIf(number = 3000000) FROM numbers(4000000)").fetch::<u8>().unwrap();
        let error = loop {
            match cursor.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended well"),
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("Code: 395"), "{error}");
    }
    let gone = insert(&client(), "no_such_table", std::iter::once(grade(1)), "x").await.unwrap_err();
    assert!(gone.to_string().contains("Code: 60"), "{gone}");
}

#[tokio::test]
async fn an_insert_that_is_not_ended_is_not_there() {
    if !can_run() {
        return;
    }
    let client = client();
    client.query(&table("client_dropped")).execute().await.unwrap();
    let mut unfinished = client.insert::<Grade>("client_dropped").await.unwrap();
    for i in 0..10_000 {
        unfinished.write(&grade(i)).await.unwrap();
    }
    drop(unfinished);
    insert(&client, "client_dropped", std::iter::once(grade(1)), "x").await.unwrap();
    assert_eq!(raw(shared(), "SELECT count() FROM client_dropped"), "1\n");
}
