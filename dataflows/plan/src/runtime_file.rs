//! The runtime's TOML file to [`Runtime`] and to the names of the other files. Every setting is read in one place
//! here, with its default, range and meaning; the reference page is made from the same calls.

mod clickhouse;
mod clickhouse_reads;
mod clickhouse_retention;
mod clickhouse_sink;
mod kafka;

use crate::diagnostic::{Diagnostic, Severity, Source, sort};
use crate::document::{At, Document};
use crate::quantity::{GIB, KIB, MIB};
use crate::runtime::{
    Archive, Auth, AuthKey, Changelog, ClickHouseKind, ClockMode, Engine, Fsync, KeyMaterial, LogKind, LogSettings,
    Runtime, SECRET_BYTES_MIN, SecretSource, Server, Serving, WriteChangelog,
};
use crate::settings::{Reader, Section, Setting, list};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3_600)
}

/// A runtime file, read. It may have faults: then it names its other files, so that those are checked too, and
/// [`crate::compile`] refuses it.
#[derive(Debug, Clone)]
pub struct RuntimeFile {
    /// The settings; stand-ins where a setting is faulty.
    pub(crate) runtime: Runtime,
    /// `dataflows`: SQL files.
    pub dataflows: Vec<Pattern>,
    /// `tenants`: tenants' TOML files.
    pub tenants: Vec<Pattern>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) document: Document,
}

/// A glob pattern, relative to the folder of the runtime file, and its place in it.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// The pattern: `*`, `?`, `[…]` within a folder, `**` over folders.
    pub text: String,
    place: Diagnostic,
}

impl Pattern {
    /// An error at the pattern, such as that no file matches.
    pub fn error(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic { message: message.into(), ..self.place.clone() }
    }
}

/// Reads a runtime file. The diagnostics are all that is wrong with it; [`crate::compile`] reports them again with
/// those of the other files. `None`: it is no TOML at all.
pub fn parse_runtime(source: &Source) -> (Option<RuntimeFile>, Vec<Diagnostic>) {
    let document = match Document::parse(source) {
        Ok(document) => document,
        Err(diagnostic) => return (None, vec![*diagnostic]),
    };
    let mut reader = Reader::default();
    let raw = read(&mut reader, document.value());
    reader.finish();
    let mut diagnostics: Vec<Diagnostic> = Vec::with_capacity(reader.faults.len());
    for fault in reader.faults {
        let at = if fault.key { At::Key } else { At::Value };
        let mut diagnostic = document.error(at, &fault.pointer, fault.message);
        diagnostic.help = fault.help;
        diagnostics.push(diagnostic);
    }
    diagnostics.extend(warnings(&document, &raw.runtime));
    sort(&mut diagnostics);
    let pattern = |(at, text): (String, String)| Pattern { text, place: document.error(At::Value, &at, "") };
    let file = RuntimeFile {
        runtime: raw.runtime,
        dataflows: raw.dataflows.into_iter().map(pattern).collect(),
        tenants: raw.tenants.into_iter().map(pattern).collect(),
        diagnostics: diagnostics.clone(),
        document: document.clone(),
    };
    (Some(file), diagnostics)
}

/// Every setting of the runtime file, in the order of the reference page.
pub fn settings() -> Vec<Setting> {
    let mut reader = Reader::default();
    read(&mut reader, &Value::Null);
    reader.settings
}

struct Raw {
    runtime: Runtime,
    dataflows: Vec<(String, String)>,
    tenants: Vec<(String, String)>,
}

fn read(reader: &mut Reader, value: &Value) -> Raw {
    let mut root = Section::root(reader, value);
    let data_dir =
        root.path("data_dir", "data", "where the log and the state are kept; relative to the working directory");
    let dataflows = root.texts(
        "dataflows",
        "list of patterns",
        "SQL files to load; relative to this file; `*` and `**` match names",
    );
    let tenants =
        root.texts("tenants", "list of patterns", "tenants' TOML files to load; relative to this file; likewise");
    let server = server(root.table("server"));
    let auth = auth(root.table("auth"), server.listen);
    let log = log(root.table("log"));
    let engine = engine(root.table("engine"));
    let serving = serving(root.table("serving"));
    let changelog = changelog(root.table("changelog"));
    let archive = archive(root.table("archive"));
    let (clickhouse, clickhouse_sink, clickhouse_reads) = clickhouse::clickhouse(root.table("clickhouse"));
    if serving.grades_keep.is_some() && clickhouse.kind == ClickHouseKind::Off {
        let message = "`grades_keep`: without ClickHouse nothing has the grades that leave the memory";
        let help = "write \"all\", or say in `[clickhouse]` where it is (`kind`)";
        root.reader.fault_with_help("/serving/grades_keep", message, help);
    }
    root.finish();
    let runtime = Runtime {
        data_dir,
        server,
        auth,
        log,
        engine,
        serving,
        changelog,
        archive,
        clickhouse,
        clickhouse_sink,
        clickhouse_reads,
    };
    Raw { runtime, dataflows, tenants }
}

fn server(mut s: Section<'_, '_>) -> Server {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
    let server = Server {
        listen: s.address("listen", loopback, "IP address and port of the HTTP server"),
        body_bytes_max: s.bytes(
            "body_bytes_max",
            8 * MIB,
            KIB..=GIB,
            "larger request bodies are refused with 413; a plain number counts bytes",
        ),
        request_timeout: s.duration(
            "request_timeout",
            seconds(30),
            ms(100)..=seconds(600),
            "a request that takes longer is answered 503",
        ),
    };
    s.finish();
    server
}

fn auth(mut s: Section<'_, '_>, listen: SocketAddr) -> Auth {
    let issuer = s.text("issuer", "text", "", "the `iss` that a token must have");
    let audience = s.text("audience", "text", "", "the `aud` that a token must have");
    let mut first: BTreeMap<String, String> = BTreeMap::new();
    let keys = s.tables("key", |s| auth_key(s, listen, &mut first));
    s.finish();
    Auth { issuer, audience, keys }
}

/// One `[[auth.key]]`. `first` knows where each id was first seen.
fn auth_key(s: &mut Section<'_, '_>, listen: SocketAddr, first: &mut BTreeMap<String, String>) -> Option<AuthKey> {
    let id = s.required_text("id", "the token's `kid`; unique");
    let algorithms = [("HS256", Algorithm::Hs256), ("EdDSA", Algorithm::EdDsa)];
    let algorithm = s.required_choice("algorithm", algorithms, "how tokens are signed; `EdDSA` means Ed25519");
    let secret = s.text("secret", "text", "at least 32 bytes", "HS256: the secret itself; for development");
    let secret_env = s.text("secret_env", "text", "", "HS256: the environment variable that holds the secret");
    let secret_file = s.text("secret_file", "path", "", "HS256: the file that holds the secret");
    let public = s.text("public_key_file", "path", "", "EdDSA, required: the public key (PEM, SubjectPublicKeyInfo)");
    let private = s.text("private_key_file", "path", "", "EdDSA: the private key (PEM, PKCS#8), to make tokens here");
    let development = s.flag("development", "the key is no secret; refused on any listener but loopback");
    if development && !listen.ip().is_loopback() {
        let message = format!("a development key on {listen}, which is not a loopback address");
        let help = "listen on 127.0.0.1, or use a key that only this server knows (`secret_env` or EdDSA)";
        s.reader.fault_with_help(s.pointer("development"), message, help);
    }
    if let Some(id) = &id {
        let here = s.pointer("id");
        match first.get(id) {
            Some(_) => s.reader.fault(here, format!("the key id {id:?} is already taken")),
            None if s.at.is_empty() => {}
            None => {
                first.insert(id.clone(), here);
            }
        }
    }
    let material = match algorithm? {
        Algorithm::Hs256 => {
            refuse(s, &["public_key_file", "private_key_file"], "HS256");
            hs256(s, secret, secret_env, secret_file)
        }
        Algorithm::EdDsa => {
            refuse(s, &["secret", "secret_env", "secret_file"], "EdDSA");
            if !s.has("public_key_file") {
                let at = s.pointer("public_key_file");
                s.reader.fault(at, "missing key `public_key_file`: EdDSA tokens are checked with it");
            }
            let private_key_file = private.map(PathBuf::from);
            public.map(|file| KeyMaterial::EdDsa { public_key_file: file.into(), private_key_file })
        }
    };
    Some(AuthKey { id: id?, material: material?, development })
}

#[derive(Clone, Copy)]
enum Algorithm {
    Hs256,
    EdDsa,
}

/// Faults for keys of the other algorithm.
fn refuse(s: &mut Section<'_, '_>, names: &[&str], algorithm: &str) {
    for name in names.iter().filter(|name| s.has(name)).collect::<Vec<_>>() {
        let at = s.pointer(name);
        s.reader.key_fault(at, format!("`{name}` is not a key of {algorithm}"), None);
    }
}

fn hs256(
    s: &mut Section<'_, '_>,
    secret: Option<String>,
    env: Option<String>,
    file: Option<String>,
) -> Option<KeyMaterial> {
    let names = ["secret", "secret_env", "secret_file"];
    let given: Vec<&str> = names.into_iter().filter(|name| s.has(name)).collect();
    match given.as_slice() {
        [_] => {}
        [] => {
            let message = format!("HS256 needs a secret: one of {}", list(names));
            s.reader.fault(s.pointer("secret"), message);
        }
        [_, second, ..] => {
            let at = s.pointer(second);
            s.reader.key_fault(at, format!("only one of {} can be given", list(&given)), None);
        }
    }
    if let Some(secret) = secret {
        // What shells and compose files replace stays as it is here.
        let is_variable = secret.starts_with('$');
        return match KeyMaterial::hs256(secret.into_bytes()) {
            Ok(material) => Some(material),
            Err(short) => {
                let help = if is_variable {
                    "variables are not replaced in this file: `secret_env = \"NAME\"` reads one".to_owned()
                } else {
                    format!("`openssl rand -hex {SECRET_BYTES_MIN}` makes one")
                };
                s.reader.fault_with_help(s.pointer("secret"), short.to_string(), help);
                None
            }
        };
    }
    let source = env.map(SecretSource::Env).or_else(|| file.map(|file| SecretSource::File(file.into())));
    source.map(KeyMaterial::Hs256From)
}

fn log(mut s: Section<'_, '_>) -> LogSettings {
    let is_kafka = s.choice(
        "kind",
        [("embedded", false), ("kafka", true)],
        "where the log is: `embedded`, in the data directory; `kafka`, in Apache Kafka, as `[log.kafka]` says",
    );
    if is_kafka && s.has("fsync") {
        let help = "Kafka's brokers decide when a write is safe: `min_isr` in `[log.kafka]`";
        s.reader.key_fault(
            s.pointer("fsync"),
            "`fsync` is not a key of a log in Kafka".to_owned(),
            Some(help.to_owned()),
        );
    }
    let log = LogSettings {
        kind: LogKind::Embedded,
        partitions: s.count("partitions", 4, None, 1..=256, "partitions per topic; fixed when the log or the topics are first made"),
        fsync: s.choice(
            "fsync",
            [("group", Fsync::Group), ("never", Fsync::Never)],
            "`group`: every acknowledged write is on the disk, and writes that wait share one fsync; `never`: the \
             operating system decides, and an acknowledged write survives a crash of the process but not of the machine",
        ),
        buffer_bytes_max: s.bytes(
            "buffer_bytes_max",
            64 * MIB,
            MIB..=64 * GIB,
            "writes that wait for the disk or the brokers; beyond it they are refused with 503",
        ),
        append_timeout: s.duration(
            "append_timeout",
            seconds(10),
            ms(100)..=seconds(300),
            "how long a write may wait for the disk or the brokers",
        ),
        retention: s.duration(
            "retention",
            hours(24 * 30),
            hours(1)..=hours(24 * 3_650),
            "how long behaviour and service events stay on the log; evaluations and tenants stay; in Kafka, of topics \
             that `aulaflow topics ensure` makes",
        ),
    };
    let kafka = kafka::kafka(s.table("kafka"), is_kafka);
    s.finish();
    if is_kafka { LogSettings { kind: LogKind::Kafka(kafka), ..log } } else { log }
}

fn engine(mut s: Section<'_, '_>) -> Engine {
    // The one fact from outside: a default that fits the machine. A plan for another machine sets `workers`.
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = u32::try_from(processors / 2).unwrap_or(1).clamp(1, 64);
    let engine = Engine {
        workers: s.count("workers", workers, Some("half the processors, at least 1"), 1..=64, "worker threads")
            as usize,
        clock: s.choice(
            "clock",
            [("live", ClockMode::Live), ("event", ClockMode::Event)],
            "`live`: the wall clock; `event`: the highest event time seen, less the table's lateness, for replay and \
             import",
        ),
        tick: s.duration(
            "tick",
            ms(10),
            ms(1)..=seconds(1),
            "how often the clock advances while events arrive; results are that fresh at best",
        ),
        max_skew: s.duration(
            "max_skew",
            seconds(300),
            ms(0)..=hours(24),
            "how far ahead an event or `updated_at` may be on the live clock; others are refused or dead letters",
        ),
        idle_timeout: s.duration(
            "idle_timeout",
            seconds(2),
            ms(10)..=hours(1),
            "after it a silent partition no longer holds the event clock back",
        ),
        batch_records_max: s.count("batch_records_max", 65_536, None, 1..=1_048_576, "records in one step of the clock")
            as usize,
        batch_bytes_max: s.bytes(
            "batch_bytes_max",
            32 * MIB,
            MIB..=4 * GIB,
            "bytes in one step of the clock, about; two steps are in memory at once",
        ),
        memory_max: memory_max(&mut s),
        checkpoint_interval: s.duration(
            "checkpoint_interval",
            seconds(5),
            ms(100)..=hours(1),
            "time between checkpoints; a restart reads again what came after the last one",
        ),
        checkpoints_kept: s.count(
            "checkpoints_kept",
            3,
            None,
            1..=100,
            "checkpoints that are kept: a start goes on from the newest that is sound",
        ) as usize,
        record_bytes_max: s.bytes("record_bytes_max", MIB, 1024..=64 * MIB, "larger records go to the dead letters"),
        error_budget_percent: s.count(
            "error_budget_percent",
            50,
            None,
            1..=100,
            "a source partition is not read on when more of its last records than this cannot be used; 100: never",
        ),
        error_budget_records: s.count("error_budget_records", 10_000, None, 1..=10_000_000, "that many last records"),
        error_budget_records_min: s.count(
            "error_budget_records_min",
            1_000,
            None,
            1..=10_000_000,
            "before so many records nothing is judged",
        ),
    };
    s.finish();
    engine
}

fn memory_max(s: &mut Section<'_, '_>) -> Option<u64> {
    let meaning = "memory that the process may use: near it less is read at a time, and at it nothing is read, which its \
                   sources then say; 0: no limit. What the views need is kept in any case";
    let bytes = s.bytes("memory_max", 0, 0..=1024 * GIB, meaning) as u64;
    (bytes > 0).then_some(bytes)
}

fn serving(mut s: Section<'_, '_>) -> Serving {
    let serving = Serving {
        students_expected: s.count(
            "students_expected",
            100_000,
            None,
            1..=100_000_000,
            "sizes the profiles' store at start, so that it need not grow under its readers",
        ) as usize,
        stale_after: s.duration(
            "stale_after",
            seconds(10),
            ms(100)..=hours(1),
            "`/readyz` fails when the views are older than this, on the live clock",
        ),
        grades_keep: s.duration_or(
            ("grades_keep", "all"),
            hours(24)..=hours(24 * 36_500),
            "how long after its end a period's grades stay in memory; after it they are read from ClickHouse",
        ),
    };
    s.finish();
    serving
}

fn changelog(mut s: Section<'_, '_>) -> Changelog {
    let changelog = Changelog {
        write: s.choice(
            "write",
            [("auto", WriteChangelog::Auto), ("always", WriteChangelog::Always), ("never", WriteChangelog::Never)],
            "whether profiles are written to `aula.profiles.v1`, which serve-only replicas follow; `auto`: where other \
             processes can read the log, which the embedded one they cannot",
        ),
        interval: s.duration(
            "interval",
            ms(100),
            ms(10)..=seconds(60),
            "time between two writes; a profile that changes more often is written once, as it is then",
        ),
    };
    s.finish();
    changelog
}

fn archive(mut s: Section<'_, '_>) -> Option<Archive> {
    let place = "`file:///folder` or `s3://bucket/folder`";
    let help = "where checkpoints are copied to, so that another machine can go on from them; for S3 keys, region and \
                endpoint come from the `AWS_…` environment variables; without it nothing is copied";
    let url = s.text("url", "text", place, help);
    let interval = s.duration("interval", seconds(60), seconds(1)..=hours(24), "time between copies");
    let known = ["file://", "s3://"];
    if let Some(url) = url.as_ref().filter(|url| !known.iter().any(|scheme| url.starts_with(scheme))) {
        s.reader.fault(s.pointer("url"), format!("{url:?} is neither {place}"));
    }
    s.finish();
    url.map(|url| Archive { url, interval })
}

/// What is allowed and probably not meant.
fn warnings(document: &Document, runtime: &Runtime) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    let mut warn = |at: &str, message: String, help: &str| {
        warnings.push(document.diagnostic(Severity::Warning, At::Value, at, message).with_help(help));
    };
    if runtime.auth.keys.is_empty() && document.value().pointer("/auth/key").is_none() {
        let message = "no `[[auth.key]]`: no token can be checked, so that every request is refused".to_owned();
        warn("/auth/key", message, "add an `[[auth.key]]`; `configs/local.toml` shows one for development");
    }
    if matches!(runtime.log.kind, LogKind::Embedded) && document.value().pointer("/log/kafka").is_some() {
        let message = "`[log.kafka]` is not used: the log is embedded".to_owned();
        warn("/log/kafka", message, "set `kind = \"kafka\"` in `[log]`, or remove the section");
    }
    if runtime.server.body_bytes_max > runtime.log.buffer_bytes_max {
        let message = "`body_bytes_max` is larger than `log.buffer_bytes_max`: the largest bodies never fit".to_owned();
        warn("/server/body_bytes_max", message, "raise `log.buffer_bytes_max` or lower `body_bytes_max`");
    }
    warnings
}
