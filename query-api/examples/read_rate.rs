//! Measures reads over loopback: the profile route beside a handler that answers a constant of the same size on the
//! same server, taking turns. `cargo run --release -p aulaflow-query-api --example read_rate [connections] [seconds]`.

use aulaflow_log::embedded::{EmbeddedConfig, EmbeddedLog};
use aulaflow_model::change::{FeatureRow, FeatureValue, ViewIndex, ViewSchema};
use aulaflow_model::explain::{FeatureExplanation, GradeExplanation};
use aulaflow_model::grade::Preview;
use aulaflow_model::ids::{PeriodId, StudentId, Subject, TenantId};
use aulaflow_model::instant::{ClockTime, Millis};
use aulaflow_model::tenant::Rule;
use aulaflow_model::topic;
use aulaflow_model::window::WindowSpec;
use aulaflow_query_api::auth::{AuthKey, KeyMaterial, TokenClaims, make_token};
use aulaflow_query_api::{ApiConfig, ApiState, Ask, AskFailure, LagReport, NoHistory, Parts, Role, router};
use aulaflow_serving::{Stores, store};
use aulaflow_sink::update::{ChangeBatch, FeatureChange, StudentChange};
use aulaflow_sink::{IdempotentSink, Outcome};
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tower::ServiceExt;

const STUDENTS: usize = 100_000;
const VIEWS: u16 = 9;

// As in the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Fault = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Fault> {
    let mut args = std::env::args().skip(1);
    let connections: usize = args.next().map_or(Ok(8), |a| a.parse())?;
    let seconds: u64 = args.next().map_or(Ok(3), |a| a.parse())?;
    let dir = tempfile::tempdir()?;
    let (state, token, profile_bytes) = edge(dir.path())?;
    let constant: &'static [u8] = Vec::leak(vec![b'x'; profile_bytes]);
    let app = router(state).merge(axum::Router::new().route(
        "/constant",
        get(move || async move { ([("content-type", "application/json"), ("cache-control", "no-store")], constant) }),
    ));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for (name, path) in [("constant", "/constant"), ("profile", "/v1/students/student_00000007/profile")] {
        let ns = runtime.block_on(in_process(app.clone(), path, &token))?;
        println!("{name} without a network: {ns} ns");
    }
    let address = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok::<_, Fault>(address)
    })?;
    println!("{connections} connections, {profile_bytes} bytes per answer");
    for round in 0..3 {
        let constant = load(address, connections, seconds, &token, |_| "/constant".into())?;
        let profile = load(address, connections, seconds, &token, |i| {
            format!("/v1/students/student_{:08}/profile", i * 7919 % STUDENTS)
        })?;
        println!(
            "round {round}: constant {constant}; profile {profile}; {:.0} %",
            100.0 * profile.rate / constant.rate
        );
    }
    Ok(())
}

/// Nanoseconds per request through the router alone.
async fn in_process(app: axum::Router, path: &str, token: &str) -> Result<u128, Fault> {
    const N: u32 = 300_000;
    let started = Instant::now();
    for _ in 0..N {
        let request = Request::builder().uri(path).header("authorization", format!("Bearer {token}"));
        let answer = app.clone().oneshot(request.body(Body::empty())?).await?;
        if !answer.status().is_success() {
            return Err(format!("{path}: {}", answer.status()).into());
        }
    }
    Ok(started.elapsed().as_nanos() / u128::from(N))
}

struct Load {
    rate: f64,
    p50: Duration,
    p99: Duration,
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0}/s (p50 {:?}, p99 {:?})", self.rate, self.p50, self.p99)
    }
}

fn load(
    address: SocketAddr,
    connections: usize,
    seconds: u64,
    token: &str,
    path: impl Fn(usize) -> String + Sync,
) -> Result<Load, Fault> {
    let started = Instant::now();
    let until = started + Duration::from_secs(seconds);
    let mut times = std::thread::scope(|scope| -> Result<Vec<Duration>, Fault> {
        let handles: Vec<_> = (0..connections)
            .map(|c| {
                let path = &path;
                scope.spawn(move || connection(address, token, until, |i| path(c * 1_000_003 + i)))
            })
            .collect();
        let mut times = Vec::new();
        for handle in handles {
            times.extend(handle.join().map_err(|_| "a connection's thread failed")??);
        }
        Ok(times)
    })?;
    let rate = times.len() as f64 / started.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |q: f64| times.get((times.len() as f64 * q) as usize).copied().unwrap_or_default();
    Ok(Load { rate, p50: at(0.5), p99: at(0.99) })
}

fn connection(
    address: SocketAddr,
    token: &str,
    until: Instant,
    path: impl Fn(usize) -> String,
) -> Result<Vec<Duration>, Fault> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let (mut times, mut buffer, mut request) = (Vec::new(), vec![0; 64 << 10], Vec::new());
    for i in 0.. {
        let started = Instant::now();
        if started >= until {
            break;
        }
        request.clear();
        write!(request, "GET {} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n", path(i))?;
        stream.write_all(&request)?;
        let mut have = 0;
        loop {
            let n = stream.read(buffer.get_mut(have..).ok_or("an answer is too long")?)?;
            have += n;
            let answer = buffer.get(..have).unwrap_or_default();
            if n == 0 {
                return Err("the server closed the connection".into());
            }
            let Some(head) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let text = std::str::from_utf8(answer.get(..head).unwrap_or_default())?;
            if !text.starts_with("HTTP/1.1 200") {
                return Err(text.to_owned().into());
            }
            let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            if have >= head + 4 + length.ok_or("no content-length")?.parse::<usize>()? {
                break;
            }
        }
        times.push(started.elapsed());
    }
    Ok(times)
}

/// An edge over 100,000 profiles; a token; the size of a profile.
fn edge(dir: &std::path::Path) -> Result<(ApiState, String, usize), Fault> {
    let schemas: Arc<[ViewSchema]> = (0..VIEWS)
        .map(|i| ViewSchema {
            name: format!("feature_{i}_7d"),
            window: WindowSpec::hop(3_600_000, 604_800_000),
            outputs: vec!["participations".into(), "points".into()],
        })
        .collect();
    let (mut writers, read) = store(schemas, Vec::new(), STUDENTS, 1);
    let mut write = writers.pop().ok_or("a store has a writer")?;
    let tenant = TenantId::new("school_123")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let clock = Millis(now.as_millis() as i64);
    for i in 0..STUDENTS {
        let feature = |view| FeatureChange {
            view,
            before: None,
            after: Some(FeatureRow {
                session: None,
                values: [FeatureValue::Int(i as i128), FeatureValue::Micros(12_500_000)].into(),
                updated_at: clock,
            }),
        };
        let change = StudentChange {
            tenant: tenant.clone(),
            student: StudentId::new(format!("student_{i:08}"))?,
            grades: Vec::new(),
            features: (0..VIEWS).map(feature).collect(),
        };
        if write.apply(&ChangeBatch { time: ClockTime::at(clock), changes: vec![change] }) != Outcome::Applied {
            return Err("the store refused a batch".into());
        }
    }
    write.advance(ClockTime::at(Millis(clock.0 + 10)));
    // Every profile is read once before: what is measured is reading, not the first rendering after a change.
    let mut json = Vec::new();
    for i in 0..STUDENTS {
        json.clear();
        let student = StudentId::new(format!("student_{i:08}"))?;
        read.profile(&tenant, &student).ok_or("no profile")?.write_json(&mut json);
    }

    let key = AuthKey { id: "bench".into(), material: KeyMaterial::Hs256(vec![7; 32]), development: true };
    let claims = TokenClaims {
        tenant: Some(tenant),
        role: Role::Teacher,
        sub: None,
        sections: vec![],
        iss: None,
        aud: None,
        iat: now.as_secs() as i64,
        exp: now.as_secs() as i64 + 3600,
    };
    let token = make_token(&key, &claims)?;
    let parts = Parts {
        log: Arc::new(EmbeddedLog::open(EmbeddedConfig::new(dir.join("log"), topic::SOURCES))?),
        stores: Stores::single(read),
        registry: Arc::default(),
        not_ready: Box::new(|| None),
        lag: Box::new(|| LagReport {
            clock: Millis(0),
            frontier_lag_seconds: None,
            checkpoint_age_seconds: None,
            partitions: Vec::new(),
            replica: Vec::new(),
            sinks: Vec::new(),
        }),
        clock: Box::new(|| Millis(0)),
        dataflow: Box::new(NoDataflow),
        history: Box::new(NoHistory("analytics are off")),
    };
    let state = ApiState::new(ApiConfig::new(([127, 0, 0, 1], 0).into(), vec![key]), parts)?;
    Ok((state, token, json.len()))
}

/// Only reads are measured here: nothing can be asked.
struct NoDataflow;

impl Ask for NoDataflow {
    fn grade(
        &self,
        _: &TenantId,
        _: &StudentId,
        _: &Subject,
        _: &PeriodId,
        _: Duration,
    ) -> Result<Option<GradeExplanation>, AskFailure> {
        Err(AskFailure::Stopped)
    }

    fn feature(
        &self,
        _: &TenantId,
        _: &StudentId,
        _: ViewIndex,
        _: Duration,
    ) -> Result<Option<FeatureExplanation>, AskFailure> {
        Err(AskFailure::Stopped)
    }

    fn preview(&self, _: &TenantId, _: &Rule, _: Duration) -> Result<Preview, AskFailure> {
        Err(AskFailure::Stopped)
    }

    fn compared(&self, _: &'static str, _: bool) {}
}
