//! A log in memory that can be full, silent or broken; an edge over it; and requests.

use aulaflow_log::record::RecordSetBuilder;
use aulaflow_log::{Ack, Appended, Fetched, Log, LogError, Offset, RecordSet, TopicPartition};
use aulaflow_model::change::{ViewIndex, ViewSchema};
use aulaflow_model::explain::{FeatureExplanation, GradeExplanation};
use aulaflow_model::grade::Preview;
use aulaflow_model::ids::{PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::Millis;
use aulaflow_model::tenant::Rule;
use aulaflow_model::window::WindowSpec;
use aulaflow_query_api::auth::{AuthKey, KeyMaterial, TokenClaims, make_token};
use aulaflow_query_api::{
    ApiConfig, ApiState, Ask, AskFailure, History, LagReport, NoHistory, PartitionLag, Parts, Role, router,
};
use aulaflow_serving::{Stores, WriteHalf, store};
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use parking_lot::{Condvar, Mutex};
use prometheus_client::registry::Registry;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tower::ServiceExt;

pub const PARTITIONS: u32 = 4;

/// How the log behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Appends are taken and their acknowledgements kept until [`MemoryLog::release`].
    Silent,
    Full,
    Broken,
}

#[derive(Clone)]
pub struct Stored {
    pub key: String,
    pub value: Option<Vec<u8>>,
    pub headers: BTreeMap<String, String>,
}

impl Stored {
    pub fn json(&self) -> Value {
        serde_json::from_slice(self.value.as_deref().unwrap()).unwrap()
    }
}

pub struct MemoryLog {
    mood: Mutex<Mood>,
    parts: Mutex<BTreeMap<(String, u32), Vec<Stored>>>,
    held: Mutex<Vec<(TopicPartition, RecordSet, Ack)>>,
    appends: Mutex<u64>,
    appended: Condvar,
}

impl MemoryLog {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            mood: Mutex::new(Mood::Well),
            parts: Mutex::default(),
            held: Mutex::default(),
            appends: Mutex::new(0),
            appended: Condvar::new(),
        })
    }

    pub fn set(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    pub fn held(&self) -> usize {
        self.held.lock().len()
    }

    /// Stores and acknowledges what is held.
    pub fn release(&self) {
        let held = std::mem::take(&mut *self.held.lock());
        for (place, records, ack) in held {
            ack(Ok(self.store(&place, &records)));
        }
    }

    /// All records of a topic, with their partitions.
    pub fn records(&self, topic: &str) -> Vec<(u32, Stored)> {
        let parts = self.parts.lock();
        let of_topic = parts.iter().filter(|((name, _), _)| name == topic);
        of_topic.flat_map(|((_, p), records)| records.iter().map(|r| (*p, r.clone()))).collect()
    }

    fn store(&self, place: &TopicPartition, records: &RecordSet) -> Appended {
        let mut parts = self.parts.lock();
        let part = parts.entry((place.topic.clone(), place.partition)).or_default();
        let base_offset = part.len() as u64;
        part.extend(records.iter().map(|record| {
            Stored {
                key: String::from_utf8(record.key.to_vec()).unwrap(),
                value: record.value.map(<[u8]>::to_vec),
                headers: record
                    .headers
                    .iter()
                    .map(|(name, value)| (name.to_owned(), String::from_utf8(value.to_vec()).unwrap()))
                    .collect(),
            }
        }));
        *self.appends.lock() += 1;
        self.appended.notify_all();
        let last_offset = base_offset + u64::from(records.len().saturating_sub(1));
        Appended { place: place.clone(), base_offset, last_offset, count: records.len() }
    }
}

impl Log for MemoryLog {
    fn partitions(&self, _topic: &str) -> Result<u32, LogError> {
        Ok(PARTITIONS)
    }

    fn partition_of(&self, _topic: &str, tenant: &str) -> Result<u32, LogError> {
        Ok(tenant.bytes().map(u32::from).sum::<u32>() % PARTITIONS)
    }

    fn append(&self, place: &TopicPartition, records: RecordSet, ack: Ack) -> Result<(), LogError> {
        let mood = *self.mood.lock();
        match mood {
            Mood::Well => ack(Ok(self.store(place, &records))),
            Mood::Silent => self.held.lock().push((place.clone(), records, ack)),
            Mood::Full => return Err(LogError::Full { retry_after: Duration::from_millis(2500) }),
            Mood::Broken => ack(Err(LogError::Unavailable("/dev/secret: no space".into()))),
        }
        Ok(())
    }

    fn append_wait(&self, place: &TopicPartition, records: RecordSet, _: Duration) -> Result<Appended, LogError> {
        Ok(self.store(place, &records))
    }

    fn read(&self, place: &TopicPartition, offset: Offset, _: usize) -> Result<Fetched, LogError> {
        let parts = self.parts.lock();
        let part = parts.get(&(place.topic.clone(), place.partition)).map_or(&[][..], Vec::as_slice);
        let end_offset = part.len() as u64;
        let mut builder = RecordSetBuilder::default();
        for record in &part[(offset as usize).min(part.len())..] {
            let headers: Vec<_> =
                record.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
            builder.push(Millis(0), record.key.as_bytes(), record.value.as_deref(), &headers);
        }
        Ok(Fetched { records: builder.finish(), base_offset: offset, next_offset: end_offset, end_offset })
    }

    fn start_offset(&self, _: &TopicPartition) -> Result<Offset, LogError> {
        Ok(0)
    }

    fn end_offset(&self, place: &TopicPartition) -> Result<Offset, LogError> {
        Ok(self.read(place, 0, 0)?.end_offset)
    }

    fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        let mut appends = self.appends.lock();
        if *appends == seen {
            self.appended.wait_for(&mut appends, timeout);
        }
        *appends
    }

    fn wake(&self) {
        self.appended.notify_all();
    }

    fn retain(&self, _: &str, _: Millis) -> Result<u64, LogError> {
        Ok(0)
    }
}

/// What the dataflows are asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    Grade(TenantId, StudentId, Subject, PeriodId),
    Feature(TenantId, StudentId, ViewIndex),
    Preview(TenantId, Box<Rule>),
}

/// Answers as the test says, and remembers what was asked.
#[derive(Default)]
pub struct Dataflow {
    pub asked: Mutex<Vec<Question>>,
    pub compared: Mutex<Vec<(&'static str, bool)>>,
    pub grade: Mutex<Option<GradeExplanation>>,
    pub feature: Mutex<Option<FeatureExplanation>>,
    pub preview: Mutex<Option<Preview>>,
    pub failure: Mutex<Option<AskFailure>>,
    /// What happens while the dataflows answer.
    pub meanwhile: Mutex<Option<Box<dyn FnMut() + Send>>>,
}

/// The stub as the edge gets it.
pub struct Shared(pub Arc<Dataflow>);

impl Dataflow {
    fn ask(&self, question: Question) -> Result<(), AskFailure> {
        self.asked.lock().push(question);
        if let Some(meanwhile) = &mut *self.meanwhile.lock() {
            meanwhile();
        }
        self.failure.lock().map_or(Ok(()), Err)
    }
}

impl Ask for Shared {
    fn grade(
        &self,
        tenant: &TenantId,
        student: &StudentId,
        subject: &Subject,
        period: &PeriodId,
        _: Duration,
    ) -> Result<Option<GradeExplanation>, AskFailure> {
        self.0.ask(Question::Grade(tenant.clone(), student.clone(), subject.clone(), period.clone()))?;
        Ok(self.0.grade.lock().clone())
    }

    fn feature(
        &self,
        tenant: &TenantId,
        student: &StudentId,
        view: ViewIndex,
        _: Duration,
    ) -> Result<Option<FeatureExplanation>, AskFailure> {
        self.0.ask(Question::Feature(tenant.clone(), student.clone(), view))?;
        Ok(self.0.feature.lock().clone())
    }

    fn preview(&self, tenant: &TenantId, rule: &Rule, _: Duration) -> Result<Preview, AskFailure> {
        self.0.ask(Question::Preview(tenant.clone(), Box::new(rule.clone())))?;
        Ok(self.0.preview.lock().clone().unwrap())
    }

    fn compared(&self, kind: &'static str, agrees: bool) {
        self.0.compared.lock().push((kind, agrees));
    }
}

/// An edge over a log, a store and dataflows.
pub struct Edge {
    pub log: Arc<MemoryLog>,
    pub write: WriteHalf,
    pub state: ApiState,
    pub not_ready: Arc<Mutex<Option<String>>>,
    pub dataflow: Arc<Dataflow>,
    /// The clock that rules come into force by.
    pub clock: Arc<Mutex<Millis>>,
}

pub fn key() -> AuthKey {
    AuthKey {
        id: "test".into(),
        material: KeyMaterial::Hs256(b"0123456789abcdef0123456789abcdef".to_vec()),
        development: true,
    }
}

pub fn config() -> ApiConfig {
    ApiConfig::new(([127, 0, 0, 1], 0).into(), vec![key()])
}

pub fn edge() -> Edge {
    edge_with(config(), MemoryLog::new())
}

/// What is said where there is no history.
pub const OFF: &str = "analytics are off: turn them on";

pub fn edge_with(config: ApiConfig, log: Arc<MemoryLog>) -> Edge {
    edge_over(config, log, Box::new(NoHistory(OFF)))
}

pub fn edge_over(config: ApiConfig, log: Arc<MemoryLog>, history: Box<dyn History>) -> Edge {
    let schemas = [ViewSchema {
        name: "participation_7d".into(),
        window: WindowSpec::hop(3_600_000, 604_800_000),
        outputs: vec!["participations".into()],
    }];
    let (mut writers, read) = store(schemas.into(), vec![], 100, 1);
    let not_ready = Arc::new(Mutex::new(None));
    let why = Arc::clone(&not_ready);
    let dataflow = Arc::new(Dataflow::default());
    let clock = Arc::new(Mutex::new(Millis(1_772_463_845_120)));
    let reads = Arc::clone(&clock);
    let parts = Parts {
        log: log.clone(),
        stores: Stores::single(read),
        registry: Arc::new(Mutex::new(Registry::with_prefix("aulaflow"))),
        not_ready: Box::new(move || why.lock().clone()),
        lag: Box::new(|| LagReport {
            clock: Millis(1_772_463_845_120),
            frontier_lag_seconds: Some(0.01),
            checkpoint_age_seconds: None,
            partitions: vec![PartitionLag {
                topic: "aula.behavior.v1".into(),
                partition: 0,
                visible_offset: 5,
                end_offset: 7,
                lag_records: 2,
                lag_seconds: Some(0.5),
                state: "stalled",
                reason: Some("error budget".into()),
                idle: false,
            }],
            replica: vec![],
            sinks: Vec::new(),
        }),
        clock: Box::new(move || *reads.lock()),
        dataflow: Box::new(Shared(Arc::clone(&dataflow))),
        history,
    };
    let state = ApiState::new(config, parts).unwrap();
    Edge { log, write: writers.remove(0), state, not_ready, dataflow, clock }
}

pub fn claims(tenant: &str, role: Role, subject: Option<&str>) -> TokenClaims {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    TokenClaims {
        tenant: (role != Role::Platform).then(|| TenantId::new(tenant).unwrap()),
        role,
        sub: subject.map(str::to_owned),
        sections: vec![],
        iss: None,
        aud: None,
        iat: now,
        exp: now + 3600,
    }
}

pub fn token(tenant: &str, role: Role) -> String {
    make_token(&key(), &claims(tenant, role, None)).unwrap()
}

pub fn student_token(tenant: &str, student: &str) -> String {
    make_token(&key(), &claims(tenant, Role::Student, Some(student))).unwrap()
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that it is a well-formed problem of a kind, and returns it.
    pub fn problem(&self, status: u16, slug: &str) -> Value {
        let body = self.json();
        assert_eq!(self.status.as_u16(), status, "{body}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(body["type"], format!("/docs#{slug}"), "{body}");
        assert_eq!(body["status"], status);
        for member in ["title", "detail", "instance"] {
            assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member} of {body}");
        }
        assert!(body["instance"].as_str().unwrap().ends_with(self.header("x-request-id")), "{body}");
        body
    }

    /// Pointers of a 422's errors.
    pub fn pointers(&self) -> Vec<String> {
        let body = self.problem(422, "invalid");
        body["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap().to_owned()).collect()
    }
}

impl Edge {
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = router(self.state.clone()).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub async fn call(&self, method: &str, path: &str, token: &str, body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    pub async fn get(&self, path: &str, token: &str) -> Answer {
        self.call("GET", path, token, Body::empty()).await
    }
}

/// Waits for a condition that other threads make true.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}");
}

/// An edge over any log, with an empty store.
pub fn state_over(log: Arc<dyn Log>) -> ApiState {
    let (_, read) = store([].into(), vec![], 10, 1);
    let parts = Parts {
        log,
        stores: Stores::single(read),
        registry: Arc::new(Mutex::new(Registry::with_prefix("aulaflow"))),
        not_ready: Box::new(|| None),
        lag: Box::new(|| LagReport {
            clock: Millis(0),
            frontier_lag_seconds: None,
            checkpoint_age_seconds: None,
            partitions: vec![],
            replica: vec![],
            sinks: Vec::new(),
        }),
        clock: Box::new(|| Millis(0)),
        dataflow: Box::new(Shared(Arc::default())),
        history: Box::new(NoHistory(OFF)),
    };
    ApiState::new(config(), parts).unwrap()
}
