//! `aulaflow clickhouse check` and `migrate` against a ClickHouse that is not as it should be: what they say, and that following
//! it mends it.

use crate::instance::{ClickHouse, EMBEDDED, can_run, folder};
use crate::support::{Done, Folder, eventually};

fn server(url: &str, database: &str, password_file: &str) -> String {
    format!(
        "[clickhouse]\nkind = \"server\"\nurl = \"{url}\"\ndatabase = \"{database}\"\npassword_file = \"{password_file}\"\n"
    )
}

/// A configuration beside the instance's own.
fn configure(folder: &Folder, name: &str, section: &str) {
    let runtime = std::fs::read_to_string(folder.path().join("aulaflow.toml")).unwrap();
    folder.write(name, &runtime.replace(EMBEDDED, section));
}

fn clickhouse(folder: &Folder, config: &str, arguments: &[&str]) -> Done {
    folder.run(&[&["clickhouse"], arguments, &["--config", config]].concat())
}

/// It went well, and said this.
fn says(done: &Done, text: &str) {
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains(text), "{text:?} is not in {:?}", done.stdout);
}

const GOOD: &str = "everything is as it should be";

#[test]
fn tables_are_made_checked_and_mended_by_commands() {
    if !can_run() {
        return;
    }
    let folder = folder(EMBEDDED);
    let instance = folder.start();
    let embedded = ClickHouse::of(&folder, &instance);
    let url = embedded.url.as_str();
    eventually("the tables", || embedded.rows("SELECT 1 FROM migrations LIMIT 1").ok().filter(|rows| !rows.is_empty()));
    // The instance's own, which made themselves.
    eventually("all of them", || {
        let done = clickhouse(&folder, "aulaflow.toml", &["check", "--url", url]);
        (done.code == Some(0)).then_some(done)
    });

    let password = "data/clickhouse/password";
    folder.write("wrong", "not the password\n");
    configure(&folder, "wrong.toml", &server(url, "aula", "wrong"));
    for what in ["check", "migrate"] {
        clickhouse(&folder, "wrong.toml", &[what]).failed(1, &["Authentication failed"]);
    }
    configure(&folder, "away.toml", &server("http://127.0.0.1:9", "aula", password));
    clickhouse(&folder, "away.toml", &["check"]).failed(1, &["cannot be reached", "refused"]);
    configure(&folder, "off.toml", "[clickhouse]\nkind = \"off\"\n");
    clickhouse(&folder, "off.toml", &["check"]).failed(2, &["there is no ClickHouse server in the configuration"]);

    // A database that is not there is made.
    configure(&folder, "other.toml", &server(url, "other", password));
    let done = clickhouse(&folder, "other.toml", &["check"]);
    done.failed(1, &["not as they should be"]);
    assert!(
        done.stdout.contains("grades: there is no such table: run `aulaflow clickhouse migrate`"),
        "{}",
        done.stdout
    );
    says(&clickhouse(&folder, "other.toml", &["migrate"]), "made the table grades_changes");
    says(&clickhouse(&folder, "other.toml", &["migrate"]), GOOD);
    says(&clickhouse(&folder, "other.toml", &["check"]), GOOD);

    // A hand was there.
    embedded.ask("ALTER TABLE other.grades_changes MODIFY COLUMN evaluations_count UInt64").unwrap();
    let done = clickhouse(&folder, "other.toml", &["check"]);
    done.failed(1, &[]);
    let fault = "its column evaluations_count is \"UInt64\" and should be \"UInt32\": change it back by hand, or run `aulaflow \
                 clickhouse migrate --replace grades`";
    assert!(done.stdout.contains(fault), "{}", done.stdout);
    clickhouse(&folder, "other.toml", &["migrate"]).failed(1, &["without losing rows", "--replace NAME"]);
    says(
        &clickhouse(&folder, "other.toml", &["migrate", "--replace", "grades"]),
        "renamed the table grades_changes to",
    );
    says(&clickhouse(&folder, "other.toml", &["check"]), GOOD);
    instance.finish();
}
