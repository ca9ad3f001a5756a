//! An instance's ClickHouse, asked beside it: where it is, and what it says.

use crate::support::{Folder, Instance, eventually};
use aulaflow_embedded_clickhouse::locate;
use serde_json::Value;
use std::time::Duration;

/// What `aulaflow.toml` says of it; tests add settings behind it.
pub const EMBEDDED: &str = "[clickhouse]\nkind = \"embedded\"\nblock_age = \"50 ms\"\n";

/// A question's time limit.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Whether the embedded engine is on this machine. Without it a test is skipped, and says so.
pub fn can_run() -> bool {
    let found = locate::library(None).is_ok();
    if !found {
        println!("SKIPPED: libchdb is missing: make libchdb");
        eprintln!("SKIPPED: libchdb is missing: make libchdb");
    }
    found
}

/// A folder whose instances have a ClickHouse, with more settings.
pub fn folder(more: &str) -> Folder {
    let folder = Folder::new();
    let runtime = std::fs::read_to_string(folder.path().join("aulaflow.toml")).unwrap();
    folder.write("aulaflow.toml", &format!("{runtime}{more}"));
    folder
}

/// The embedded ClickHouse of an instance that runs, as its user.
pub struct ClickHouse {
    url: String,
    password: String,
    agent: ureq::Agent,
}

impl ClickHouse {
    /// Where the instance says that it is.
    pub fn of(folder: &Folder, instance: &Instance<'_>) -> Self {
        let url = eventually("the place of ClickHouse", || {
            let said = instance.said();
            // An instance that was started again has a place of its own.
            let line = said.lines().rev().find(|line| line.contains("ClickHouse is embedded"))?;
            let line: Value = serde_json::from_str(line).ok()?;
            Some(line["url"].as_str()?.to_owned())
        });
        let password = std::fs::read_to_string(folder.path().join("data/clickhouse/password")).unwrap();
        let agent = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT)).proxy(None);
        Self { url, password: password.trim().to_owned(), agent: agent.build().into() }
    }

    /// An answer's text, or the error's.
    pub fn ask(&self, sql: &str) -> Result<String, String> {
        let request = self.agent.post(format!("{}/?database=aula&default_format=JSONEachRow", self.url));
        let request = request.header("X-ClickHouse-User", "aula").header("X-ClickHouse-Key", &self.password);
        let mut answer = request.send(sql).map_err(|error| error.to_string())?;
        let status = answer.status();
        let text = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
        if status.is_success() { Ok(text) } else { Err(text) }
    }

    /// The rows of an answer.
    pub fn rows(&self, sql: &str) -> Result<Vec<Value>, String> {
        let text = self.ask(sql)?;
        Ok(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }
}

/// What stands for a student of `school_1`.
pub fn pseudonym(folder: &Folder, student: &str) -> String {
    let arguments = ["pseudonym", "--config", "aulaflow.toml", "--tenant", "school_1", "--student", student];
    let done = folder.run(&arguments);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stdout.trim().to_owned()
}
