//! Processes of several roles around one log, over HTTP.
#![allow(clippy::unwrap_used)]

mod fenced_writer;

use super::*;
use crate::log_store::Opened;
use crate::stop_signal::StopSignal;
use crate::token::Bearer;
use aulaflow_log::embedded::{EmbeddedConfig, EmbeddedLog, Fsync};
use aulaflow_model::ids::TenantId;
use aulaflow_plan::{Source, compile, parse_runtime};
use aulaflow_query_api::Role;
use serde_json::Value;
use std::path::Path;
use std::time::Instant;

const RUNTIME: &str = r#"
[server]
listen = "127.0.0.1:0"
[changelog]
write = "always"
interval = "10 ms"
[engine]
workers = 1
checkpoint_interval = "100 ms"
[[auth.key]]
id = "test"
algorithm = "HS256"
secret = "a secret of 32 bytes or more, for tests"
development = true
"#;

const SQL: &str = "
CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON)
WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at');
CREATE MATERIALIZED VIEW counts WITH (serve = true) AS
SELECT student_id, count(*) AS events FROM behavior GROUP BY student_id, tumble(interval '1 day');
";

const TENANT: &str = "tenant = \"t\"\ntimezone = \"UTC\"\n[[period]]\nid = \"p\"\nstart = 2026-01-01\nend = 2099-12-31\n\
                      [[rule]]\nsubject = \"*\"\nweights = \"items\"\n";

fn plan(data_dir: &Path) -> Plan {
    plan_of(data_dir, RUNTIME)
}

fn plan_of(data_dir: &Path, runtime: &str) -> Plan {
    let (file, diagnostics) = parse_runtime(&Source::new("test.toml", runtime));
    let file = file.unwrap_or_else(|| panic!("{diagnostics:?}"));
    let (tenants, sql) = ([Source::new("t.toml", TENANT)], [Source::new("test.sql", SQL)]);
    let mut plan = compile(file, &tenants, &sql).unwrap_or_else(|d| panic!("{}", aulaflow_plan::render(&d)));
    plan.runtime.data_dir = data_dir.to_owned();
    plan
}

struct World {
    dir: tempfile::TempDir,
    log: Arc<dyn Log>,
    agent: ureq::Agent,
    token: String,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config =
            EmbeddedConfig { fsync: Fsync::Never, ..EmbeddedConfig::new(dir.path().join("log"), log_store::topics()) };
        let log = Arc::new(EmbeddedLog::open(config).unwrap());
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
        let tenant = TenantId::new("t").unwrap();
        let bearer = Bearer::program(&tenant, Role::Admin);
        let token = token::sign(&plan(dir.path()).runtime.auth, &bearer, Duration::from_secs(600)).unwrap();
        Self { dir, log, agent: config.build().new_agent(), token }
    }

    fn start(&self, roles: Roles) -> Node {
        let log = Arc::clone(&self.log);
        Node::start_on(plan(self.dir.path()), roles, StopSignal::never(), |_| Ok(Opened { log, kafka: None })).unwrap()
    }

    fn get(&self, node: &Node, path: &str) -> (u16, Value) {
        let authorization = format!("Bearer {}", self.token);
        let answer = self.agent.get(format!("{}{path}", node.url)).header("Authorization", &authorization).call();
        said(answer.unwrap())
    }

    fn post(&self, node: &Node, path: &str, body: &str) -> (u16, Value) {
        let authorization = format!("Bearer {}", self.token);
        let request = self.agent.post(format!("{}{path}", node.url)).header("Authorization", &authorization);
        said(request.header("Content-Type", "application/json").send(body).unwrap())
    }

    /// The profile of a student, once its grade has a score and its cohort is the student alone with it: a grade may be
    /// visible a moment before its cohort is, at a process and at whoever follows it.
    fn profile(&self, node: &Node, score: &str) -> Value {
        let number = |text: &Value| text.as_str().and_then(|text| text.parse::<f64>().ok());
        let begun = Instant::now();
        loop {
            let (status, mut profile) = self.get(node, "/v1/students/s1/profile");
            let grade = &profile["grades"][0];
            if status == 200 && grade["score"] == score && number(&grade["cohort"]["mean"]) == number(&score.into()) {
                profile.as_object_mut().unwrap().remove("as_of");
                return profile;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{status} {profile}");
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }
}

fn said(mut answer: ureq::http::Response<ureq::Body>) -> (u16, Value) {
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.body_mut().read_to_vec().unwrap()).unwrap_or_default())
}

fn evaluation(score: u32, updated: &str) -> String {
    format!(
        r#"{{"evaluation_id":"e1","student_id":"s1","subject":"math","type":"exam","score":{score},"graded_at":"2026-03-02T10:00:00Z","updated_at":"{updated}"}}"#
    )
}

fn roles(edge: bool, dataflow: bool, serve: bool) -> Roles {
    Roles { edge, dataflow, serve }
}

#[test]
fn a_replica_serves_while_the_dataflows_are_gone() {
    let world = World::new();
    let whole = world.start(Roles::ALL);
    let replica = world.start(roles(false, false, true));
    let edge = world.start(roles(true, false, false));
    // Writes go through a process that does nothing else.
    assert_eq!(world.post(&edge, "/v1/evaluations", &evaluation(80, "2026-03-02T10:00:00Z")).0, 201);
    let shown = world.profile(&whole, "80.00");
    assert_eq!(world.profile(&replica, "80.00"), shown);
    let cohorts = |node| world.get(node, "/v1/cohorts");
    assert_eq!(cohorts(&replica), cohorts(&whole));
    // What a process does not do, it says.
    let other_role = |(status, problem): (u16, Value), role: &str| {
        assert_eq!((status, problem["type"].as_str().unwrap()), (503, "/docs#other-role"), "{problem}");
        assert!(problem["detail"].as_str().unwrap().ends_with(role), "{problem}");
    };
    other_role(world.get(&edge, "/v1/students/s1/profile"), "serve");
    other_role(world.post(&replica, "/v1/evaluations", &evaluation(1, "2026-03-02T10:00:00Z")), "edge");
    other_role(world.get(&replica, "/v1/students/s1/explain/math?period=p"), "dataflow");
    assert_eq!(world.get(&edge, "/readyz").0, 200);
    // The dataflows end; the replica does not.
    whole.stop().unwrap();
    assert_eq!(world.post(&edge, "/v1/evaluations", &evaluation(90, "2026-03-02T11:00:00Z")).0, 201);
    assert_eq!(world.profile(&replica, "80.00"), shown);
    let begun = Instant::now();
    loop {
        let (status, ready) = world.get(&replica, "/readyz");
        assert_eq!(status, 200, "{ready}");
        if ready["staleness_seconds"].as_f64().unwrap() > 1.0 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{ready}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
    // They come back, and what was written meanwhile is shown.
    let whole = world.start(Roles::ALL);
    world.profile(&replica, "90.00");
    assert_eq!(world.profile(&replica, "90.00"), world.profile(&whole, "90.00"));
    for node in [replica, edge, whole] {
        node.stop().unwrap();
    }
}

#[test]
fn dataflows_alone_answer_no_reads() {
    let world = World::new();
    let dataflow = world.start(roles(false, true, false));
    let (status, problem) = world.get(&dataflow, "/v1/students/s1/profile");
    assert_eq!((status, problem["type"].as_str().unwrap()), (503, "/docs#other-role"), "{problem}");
    let begun = Instant::now();
    while world.get(&dataflow, "/readyz").0 != 200 {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::park_timeout(Duration::from_millis(5));
    }
    dataflow.stop().unwrap();
}

#[test]
fn what_a_restarted_process_shows_is_as_old_as_it_says() {
    let world = World::new();
    let whole = world.start(Roles::ALL);
    assert_eq!(world.post(&whole, "/v1/evaluations", &evaluation(80, "2026-03-02T10:00:00Z")).0, 201);
    world.profile(&whole, "80.00");
    whole.stop().unwrap();
    let edge = world.start(roles(true, false, false));
    let accepted = crate::tenant_records::now();
    for second in 1..60 {
        let updated = format!("2026-03-02T10:00:{second:02}Z");
        assert_eq!(world.post(&edge, "/v1/evaluations", &evaluation(30 + second, &updated)).0, 201);
    }
    edge.stop().unwrap();
    let whole = world.start(Roles::ALL);
    let begun = Instant::now();
    loop {
        let (status, profile) = world.get(&whole, "/v1/students/s1/profile");
        let score = profile["grades"][0]["score"].as_str().map(str::to_owned);
        if score.as_deref() == Some("89.00") {
            break;
        }
        if status == 200 {
            let as_of = profile["as_of"].as_str().unwrap();
            assert!(as_of < accepted.to_string().as_str(), "{profile}");
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{status} {profile}");
    }
    // Once it has caught up, it claims what is true now.
    let restarted = crate::tenant_records::now().to_string();
    loop {
        let (_, profile) = world.get(&whole, "/v1/students/s1/profile");
        if profile["as_of"].as_str().unwrap() >= restarted.as_str() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{profile}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
    whole.stop().unwrap();
}
