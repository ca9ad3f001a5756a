//! A made-up school on the live clock: its configuration, which every case but the import uses, and its events.

use crate::client::{Client, Kind};
use crate::server::Server;
use crate::setting::Setting;
use anyhow::{Context, Result, bail};
use aulaflow_model::instant::Millis;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// The features, of which one event changes all.
pub const FEATURES: &str = include_str!("features.sql");

/// The school.
const TENANT: &str = "bench";

/// Its subject in the cases with one.
pub const SUBJECT: &str = "mathematics";

/// A rule for all subjects, and one period that holds every instant a run can have.
const TENANT_FILE: &str = r#"tenant = "bench"
timezone = "America/Mexico_City"

[[period]]
id = "all"
start = 2020-01-01
end = 2099-12-31

[[rule]]
subject = "*"
weights = { exam = 0.5, homework = 0.3, quiz = 0.2 }
min_passing = 60
rounding = { mode = "half_up", decimals = 2 }
"#;

/// How long an instance without a state may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A temporary folder with a school's configuration and data.
pub struct School {
    folder: TempDir,
    binary: PathBuf,
}

/// Tokens of the roles that the cases need.
#[derive(Clone)]
pub struct Tokens {
    /// Writes evaluations and rules.
    pub admin: String,
    /// Writes behaviour events, reads profiles and the lag.
    pub service: String,
}

impl School {
    /// Writes the configuration.
    pub fn make(setting: &Setting, students_expected: usize) -> Result<Self> {
        Self::make_with(setting, students_expected, "")
    }

    /// The same with further settings.
    pub fn make_with(setting: &Setting, students_expected: usize, settings: &str) -> Result<Self> {
        Self::make_of(setting, students_expected, settings, FEATURES)
    }

    /// The same with these features.
    pub fn make_of(setting: &Setting, students_expected: usize, settings: &str, features: &str) -> Result<Self> {
        let folder = setting.folder()?;
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        write("features.sql", features)?;
        write("school.tenant.toml", TENANT_FILE)?;
        write("runtime.toml", &(runtime(folder.path(), students_expected) + settings))?;
        Ok(Self { folder, binary: setting.binary.clone() })
    }

    /// Where everything is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the instance keeps its log and state.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The runtime's file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("runtime.toml")
    }

    /// Adds settings to the runtime's file, for the next start.
    pub fn set(&self, settings: &str) -> Result<()> {
        let mut file = fs::OpenOptions::new().append(true).open(self.config())?;
        Ok(writeln!(file, "\n{settings}")?)
    }

    /// A command of the product with this school's configuration.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--config").arg(self.config());
        command
    }

    /// Starts an instance.
    pub fn start(&self, workers: usize) -> Result<Server> {
        let command = self.command(&["run", "--listen", "127.0.0.1:0", "--workers", &workers.to_string()]);
        Server::start(command, self.folder.path())
    }

    /// Puts events straight on the log, of the students in turn.
    pub fn import_events(&self, prefix: &str, students: usize, events: usize) -> Result<()> {
        let mut import = self.command(&["import", "jsonl", "--topic", "behavior", "--tenant", TENANT]);
        let mut child = import.arg("-").stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let written = match child.stdin.take() {
            Some(mut input) => write_events(&mut input, prefix, students, events),
            None => bail!("a piped stdin is there"),
        };
        let status = child.wait()?;
        written?;
        if !status.success() {
            bail!("`aulaflow import` ended with {status}");
        }
        Ok(())
    }

    /// Starts an instance and waits until it is ready; with tokens, and a connection to it.
    pub fn open(&self, workers: usize) -> Result<(Server, Tokens, Client)> {
        let server = self.start(workers)?;
        server.until_ready(READY_WITHIN)?;
        let tokens = self.tokens()?;
        let client = Client::open(server.address, &tokens)?;
        Ok((server, tokens, client))
    }

    /// Starts a replica that serves alone.
    pub fn start_replica(&self) -> Result<Server> {
        let folder = self.folder.path().join("replica");
        fs::create_dir_all(&folder)?;
        let mut command = self.command(&["run", "--roles", "serve", "--listen", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(folder.join("data"));
        Server::start(command, &folder)
    }

    /// Tokens for the school.
    pub fn tokens(&self) -> Result<Tokens> {
        let token = |role| token(&self.binary, &self.config(), TENANT, role);
        Ok(Tokens { admin: token("admin")?, service: token("service")? })
    }
}

/// A token from the product's own command.
pub fn token(binary: &Path, config: &Path, tenant: &str, role: &str) -> Result<String> {
    let mut command = Command::new(binary);
    command.args(["token", "--tenant", tenant, "--role", role, "--ttl", "1 day", "--config"]).arg(config);
    let output = command.output().with_context(|| format!("cannot start {}", binary.display()))?;
    if !output.status.success() {
        bail!("`aulaflow token` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn write_events(input: &mut impl Write, prefix: &str, students: usize, events: usize) -> Result<()> {
    let (mut lines, at) = (Vec::new(), now());
    for n in 0..events {
        event(&mut lines, format_args!("{prefix}{n}"), &student(n % students), &at);
        if lines.len() > 1 << 20 {
            input.write_all(&lines)?;
            lines.clear();
        }
    }
    Ok(input.write_all(&lines)?)
}

fn runtime(folder: &Path, students_expected: usize) -> String {
    format!(
        "data_dir = {:?}\ndataflows = [\"features.sql\"]\ntenants = [\"school.tenant.toml\"]\n\n\
         [[auth.key]]\nid = \"bench\"\nalgorithm = \"HS256\"\n\
         secret = \"bench-only-and-on-loopback-not-a-secret\"\ndevelopment = true\n\n\
         [serving]\nstudents_expected = {students_expected}\n",
        folder.join("data").display().to_string()
    )
}

/// Sends one event of each student, and waits until all are visible.
pub fn first_events(client: &mut Client, students: usize) -> Result<()> {
    let at = now();
    client.load(Kind::Events, students, |lines, n| event(lines, format_args!("first-{n}"), &student(n), &at))
}

/// The name of student number `n`.
pub fn student(n: usize) -> String {
    format!("student-{n:07}")
}

/// The wall clock as events carry it.
pub fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)).to_string()
}

/// Appends a behaviour event, which every view counts, as a JSON line.
pub fn event(out: &mut Vec<u8>, id: std::fmt::Arguments<'_>, student: &str, at: &str) {
    // Writing to a vector cannot fail.
    let _ = writeln!(
        out,
        r#"{{"event_id":"{id}","student_id":"{student}","event_type":"answer","value":2,"occurred_at":"{at}","context":{{"seconds":420}}}}"#
    );
}

/// Appends an evaluation as a JSON line. Its category is decided by `n`, its number among the student's.
pub fn evaluation(out: &mut Vec<u8>, student: &str, subject: &str, n: usize, score: u32, at: &str) {
    let category = ["exam", "homework", "quiz", "homework"][n % 4];
    // Writing to a vector cannot fail.
    let _ = writeln!(
        out,
        r#"{{"evaluation_id":"{student}-{subject}-{n}","student_id":"{student}","subject":"{subject}","type":"{category}","score":{score},"graded_at":"{at}"}}"#
    );
}
