//! A folder with a configuration, the program running in it, and calls to it. Every wait here ends.

use aulaflow_model::instant::Millis;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

pub const SECRET: &str = "a-secret-of-these-tests-that-is-long-enough";

pub const FEATURES: &str = "\
CREATE TABLE behavior (
  event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON
) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', lateness = '10 minutes',
        dedupe = 'event_id', dedupe_horizon = '24 hours');
CREATE MATERIALIZED VIEW points_7d WITH (serve = true) AS
SELECT student_id, count(*) AS events, sum(value) AS points
FROM behavior GROUP BY student_id, hop(interval '1 hour', interval '7 days');
";

pub const TENANT: &str = "\
tenant = \"school_1\"
timezone = \"UTC\"
[[period]]
id = \"P1\"
start = 2026-01-01
end = 2026-06-30
[[rule]]
subject = \"*\"
weights = { exam = 0.7, homework = 0.3 }
min_passing = 60
[[rule]]
subject = \"bonus\"
weights = { exam = 1 }
extra_credit = true
";

/// The longest wait for anything: far more than it takes, so that a busy machine changes nothing.
const WAIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

/// Asks until there is an answer.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {WAIT:?}");
        std::thread::sleep(PAUSE);
    }
}

/// The wall clock, moved by hours, as events carry it.
pub fn hours_from_now(hours: i64) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Millis(i64::try_from(since.as_millis()).unwrap() + hours * 3_600_000).to_string()
}

/// A behaviour event of an hour ago.
pub fn event(id: &str, student: &str) -> Value {
    json!({ "event_id": id, "student_id": student, "event_type": "answer", "occurred_at": hours_from_now(-1) })
}

/// An exam of period P1.
pub fn exam(id: &str, student: &str, score: u32) -> Value {
    json!({ "evaluation_id": id, "student_id": student, "subject": "art", "type": "exam", "score": score,
            "graded_at": "2026-03-02T15:04:05Z" })
}

/// The value with other members; `null` removes one.
pub fn with(mut value: Value, members: Value) -> Value {
    for (key, member) in members.as_object().unwrap() {
        match member {
            Value::Null => value.as_object_mut().unwrap().remove(key),
            member => value.as_object_mut().unwrap().insert(key.clone(), member.clone()),
        };
    }
    value
}

/// A folder with a configuration that listens on a free port and keeps its data in `data`.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(folder.path().join("tenants")).unwrap();
        folder.write("aulaflow.toml", &runtime());
        folder.write("features.sql", FEATURES);
        folder.write("tenants/school_1.toml", TENANT);
        folder
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aulaflow"));
        command.current_dir(self.path()).args(arguments).env_remove("RUST_LOG");
        command
    }

    /// Starts the program; nobody reads what it says.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Done {
        let mut child = self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (read_all(child.stdout.take().unwrap()), read_all(child.stderr.take().unwrap()));
        let status = wait_for(&mut child);
        let output = Output { status, stdout: out.recv().unwrap(), stderr: err.recv().unwrap() };
        Done {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub fn token(&self, tenant: &str, role: &str, subject: &str) -> String {
        let arguments =
            ["token", "--config", "aulaflow.toml", "--tenant", tenant, "--role", role, "--subject", subject];
        let done = self.run(&arguments);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        done.stdout.trim().to_owned()
    }

    /// Starts the program and waits until its views are there.
    pub fn start(&self) -> Instance<'_> {
        self.start_in(Path::new("data"))
    }

    pub fn start_in(&self, data_dir: &Path) -> Instance<'_> {
        let log = self.path().join("stderr.log");
        let arguments = ["run", "--config", "aulaflow.toml", "--data-dir", data_dir.to_str().unwrap()];
        let stderr = File::options().create(true).append(true).open(&log).unwrap();
        let mut child = self.command(&arguments).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut instance = Instance { folder: self, child, url: String::new(), agent: agent(), log };
        let (said, hear) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            // Nobody listens any more where the wait was over.
            let _ = said.send(read.map(|_| line));
        });
        let line = hear.recv_timeout(WAIT).expect("the program says nothing").unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        let url = url.unwrap_or_else(|| panic!("no URL in {line:?}: {}", instance.said()));
        instance.url = url.to_owned();
        eventually("ready", || (instance.anybody().get("/readyz").status == 200).then_some(()));
        instance
    }
}

fn runtime() -> String {
    format!(
        "data_dir = \"data\"\ndataflows = [\"*.sql\"]\ntenants = [\"tenants/*.toml\"]\n\
         [server]\nlisten = \"127.0.0.1:0\"\n\
         [[auth.key]]\nid = \"test\"\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\ndevelopment = true\n\
         [engine]\nworkers = 2\n[serving]\nstudents_expected = 1000\n"
    )
}

/// What a command that ended has left.
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    /// The exit code, and texts that stderr holds.
    pub fn failed(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        for text in says {
            assert!(self.stderr.contains(text), "{text:?} is not in {:?}", self.stderr);
        }
    }
}

fn read_all(mut from: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (done, wait) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).unwrap();
        // Nobody listens any more where the test has failed.
        let _ = done.send(all);
    });
    wait
}

/// Waits for a process's end.
pub fn wait_for(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + WAIT;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("the program has not ended within {WAIT:?}");
        }
        std::thread::sleep(PAUSE);
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .allow_non_standard_methods(true)
        .timeout_global(Some(WAIT))
        // A request that is refused before its body was read ends its connection, perhaps just when it is used again.
        .max_idle_connections(0)
        .build();
    config.into()
}

/// The program, running; killed when dropped.
pub struct Instance<'f> {
    folder: &'f Folder,
    child: Child,
    pub url: String,
    agent: ureq::Agent,
    log: PathBuf,
}

impl Instance<'_> {
    /// A caller of `school_1`; a student is `s1`.
    pub fn caller(&self, role: &str) -> Caller {
        self.bearer(&self.folder.token("school_1", role, "s1"))
    }

    pub fn bearer(&self, token: &str) -> Caller {
        Caller { agent: self.agent.clone(), url: self.url.clone(), token: Some(token.to_owned()) }
    }

    /// A caller without a token.
    pub fn anybody(&self) -> Caller {
        Caller { agent: self.agent.clone(), url: self.url.clone(), token: None }
    }

    /// What it said on stderr.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end; the exit code, none where a signal ended it.
    pub fn ended(mut self) -> Option<i32> {
        wait_for(&mut self.child).code()
    }

    /// It is still up and ends in order when asked to.
    pub fn finish(self) {
        assert_eq!(self.anybody().get("/healthz").status, 200);
        let said = self.said();
        assert!(!said.contains("panic"), "{said}");
        self.signal("-TERM");
        assert_eq!(self.ended(), Some(0));
    }

    /// A metric's value; 0 where it is not there.
    pub fn metric(&self, name_and_labels: &str) -> u64 {
        let metrics = self.anybody().get("/metrics").body;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name_and_labels));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }
}

impl Drop for Instance<'_> {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Calls an instance, perhaps with a token.
#[derive(Clone)]
pub struct Caller {
    agent: ureq::Agent,
    url: String,
    token: Option<String>,
}

impl Caller {
    /// Any request; an error where there is no answer.
    pub fn send(&self, call: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, ureq::Error> {
        let (method, path) = call.split_once(' ').unwrap();
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = match method {
            "POST" | "PUT" | "PATCH" => self.agent.run(request.body(body).unwrap()),
            _ => self.agent.run(request.body(()).unwrap()),
        };
        let mut answer = answer?;
        let body = answer.body_mut().with_config().limit(64 << 20).read_to_string()?;
        Ok(Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), body })
    }

    /// A request with a JSON body that must be answered, such as `POST /v1/behavior`.
    pub fn call(&self, call: &str, body: &str) -> Answer {
        self.send(call, &[("content-type", "application/json")], body.as_bytes()).unwrap()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.call(&format!("GET {path}"), "")
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.call(&format!("PUT {path}"), &body.to_string())
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(&format!("POST {path}"), &body.to_string())
    }

    pub fn profile(&self, student: &str) -> Option<Value> {
        let answer = self.get(&format!("/v1/students/{student}/profile"));
        match answer.status {
            200 => Some(answer.json()),
            404 => None,
            other => panic!("{other}: {}", answer.body),
        }
    }

    /// The profile once it is as wanted.
    pub fn profile_when(&self, student: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("the profile of {student}"), || self.profile(student).filter(&wanted))
    }

    /// The profile once it shows this many behaviour events.
    pub fn events_of(&self, student: &str, count: u64) -> Value {
        self.profile_when(student, |profile| events(profile) >= count)
    }
}

/// How many behaviour events a profile shows.
pub fn events(profile: &Value) -> u64 {
    profile["features"]["points_7d"]["events"].as_u64().unwrap_or(0)
}

/// The grade of a subject and period.
pub fn grade<'p>(profile: &'p Value, subject: &str, period: &str) -> Option<&'p Value> {
    let grades = profile["grades"].as_array().unwrap();
    grades.iter().find(|grade| grade["subject"] == subject && grade["period"] == period)
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The answer where it must be this one.
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.json()
    }

    /// A problem (RFC 9457) that says this; `pointer` is where the fault is, if it has a place.
    pub fn problem(&self, status: u16, slug: &str, pointer: Option<&str>, says: &str) {
        assert_eq!(self.status, status, "{says}: {}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert!(!self.header("x-request-id").is_empty());
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        // What to do is in the documentation, at this place of it.
        assert_eq!(problem["type"], format!("/docs#{slug}"), "{problem}");
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{problem}");
        match pointer {
            None => {
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.contains(says), "{says:?} is not in {problem}");
            }
            Some(pointer) => assert!(says_at(&problem["errors"], pointer, says), "{says:?} at {pointer:?}: {problem}"),
        }
    }
}

/// Whether a list of faults has this one.
pub fn says_at(faults: &Value, pointer: &str, says: &str) -> bool {
    let faults = faults.as_array().map(Vec::as_slice).unwrap_or_default();
    faults.iter().any(|fault| fault["pointer"] == pointer && fault["detail"].as_str().unwrap().contains(says))
}
