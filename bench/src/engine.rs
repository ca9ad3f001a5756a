//! ClickHouse for a case: the embedded engine in a process of its own, as a server that a product writes to, and questions to it.

use crate::http;
use crate::server::Server;
use crate::setting::Setting;
use anyhow::{Context, Result, bail};
use aulaflow_clickhouse::Access;
use aulaflow_embedded_clickhouse::PASSWORD_VARIABLE;
use serde::Deserialize;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const USER: &str = "aula";
const PASSWORD: &str = "bench-only-and-on-loopback";
/// Its database, where a product writes to it.
pub const DATABASE: &str = "aula";
/// How long one statement may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(600);
/// How long what waits for it may take to be sent.
const SENT_WITHIN: Duration = Duration::from_secs(1_800);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The engine with its folder.
pub struct Engine {
    folder: TempDir,
    binary: PathBuf,
    /// The same at every start.
    address: SocketAddr,
    server: Option<Server>,
}

/// What waits in the sinks, by `GET /v1/lag`.
#[derive(Deserialize)]
struct Waits {
    #[serde(default)]
    sinks: Vec<Sink>,
}

#[derive(Deserialize)]
struct Sink {
    state: String,
    waiting_blocks: u64,
}

impl Engine {
    /// Starts one in a new folder.
    pub fn start(setting: &Setting) -> Result<Self> {
        let folder = setting.folder()?;
        std::fs::write(folder.path().join("password"), PASSWORD)?;
        // Nobody else takes it between two starts, as far as one can tell.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut engine = Self { folder, binary: setting.binary.clone(), address, server: None };
        engine.again()?;
        Ok(engine)
    }

    /// Starts it again, at the same place.
    pub fn again(&mut self) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command.args(["clickhouse", "serve", "--user", USER, "--listen", &self.address.to_string(), "--data-dir"]);
        command.arg(self.folder.path().join("clickhouse")).env(PASSWORD_VARIABLE, PASSWORD);
        self.server = Some(Server::start(command, self.folder.path()).context("see `make libchdb`")?);
        Ok(())
    }

    /// Ends it, as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.server.take().map_or(Ok(()), Server::kill)
    }

    /// CPU seconds used since its start.
    pub fn cpu_seconds(&self) -> Result<f64> {
        self.server.as_ref().map_or(Ok(0.0), Server::cpu_seconds)
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The settings of a product that writes to it.
    pub fn settings(&self) -> String {
        self.settings_at(self.address)
    }

    /// The same, of one that reaches it somewhere else.
    pub fn settings_at(&self, address: SocketAddr) -> String {
        let password = self.folder.path().join("password");
        format!(
            "\n[clickhouse]\nkind = \"server\"\nurl = \"http://{}\"\ndatabase = \"{DATABASE}\"\nuser = \"{USER}\"\n\
             password_file = {:?}\n",
            address,
            password.display().to_string()
        )
    }

    /// How the sink's own code reaches a database of it.
    pub fn access(&self, database: &str) -> Access {
        Access {
            url: format!("http://{}", self.address),
            database: database.to_owned(),
            user: Some(USER.to_owned()),
            password: Some(PASSWORD.to_owned()),
            timeout: Duration::from_secs(60),
        }
    }

    /// What it answers to a statement.
    pub fn ask(&self, sql: &str) -> Result<String> {
        Ok(String::from_utf8(self.post("/", sql.as_bytes()).with_context(|| sql.to_owned())?)?)
    }

    /// A number that it answers.
    pub fn number(&self, sql: &str) -> Result<u64> {
        self.ask(sql)?.trim().parse().with_context(|| format!("no number is answered to {sql}"))
    }

    /// Inserts rows as they are.
    pub fn insert(&self, statement: &str, rows: &[u8]) -> Result<()> {
        let path = format!("/?query={}", statement.replace(' ', "+").replace('`', "%60"));
        self.post(&path, rows).with_context(|| statement.to_owned()).map(drop)
    }

    /// A counter of its own, such as `SelectQuery`.
    pub fn counter(&self, name: &str) -> Result<u64> {
        self.number(&format!("SELECT sum(value) FROM system.events WHERE event = '{name}'"))
    }

    /// A connection for each request: its answer ends where the connection does.
    fn post(&self, path: &str, body: &[u8]) -> Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        let head = format!(
            "POST {path} HTTP/1.0\r\nX-ClickHouse-User: {USER}\r\nX-ClickHouse-Key: {PASSWORD}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("an answer's head is cut off")?;
        let body = answer.split_off(end + 4);
        let head = String::from_utf8_lossy(&answer);
        if head.split(' ').nth(1) != Some("200") {
            bail!("ClickHouse answers {head}{}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }

    /// Waits until a product at this address has sent all that it recorded, seen for some time, since what was shown may not be
    /// recorded yet.
    pub fn until_sent(&self, product: SocketAddr, token: &str) -> Result<()> {
        const QUIET: Duration = Duration::from_secs(2);
        let mut since = None;
        until(product, token, |blocks| {
            since = since.filter(|_| blocks == 0).or((blocks == 0).then(Instant::now));
            since.is_some_and(|since| since.elapsed() >= QUIET)
        })
    }

    /// Waits until at most so many blocks wait to be sent.
    pub fn until_less_waits(&self, product: SocketAddr, token: &str, most: u64) -> Result<()> {
        until(product, token, |blocks| blocks <= most)
    }
}

/// Looks how many blocks wait until it is enough. While the sink does not send, any number may.
fn until(product: SocketAddr, token: &str, mut enough: impl FnMut(u64) -> bool) -> Result<()> {
    let mut connection = http::Connection::open(product)?;
    let ask = http::request("GET", "/v1/lag", token, None);
    let started = Instant::now();
    loop {
        let answer = connection.call(&ask)?.success("GET /v1/lag")?;
        let waits: Waits = serde_json::from_slice(&answer.body)?;
        let live = !waits.sinks.is_empty() && waits.sinks.iter().all(|sink| sink.state == "live");
        let blocks = waits.sinks.iter().map(|sink| sink.waiting_blocks).sum();
        if enough(if live { blocks } else { u64::MAX }) {
            return Ok(());
        }
        if started.elapsed() > SENT_WITHIN {
            bail!("{blocks} blocks wait to be sent to ClickHouse after {} s", SENT_WITHIN.as_secs());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// SQL whose views are all kept in ClickHouse.
pub fn kept(sql: &str, how: &str) -> String {
    sql.replace("serve = true", &format!("serve = true, analytics = '{how}'"))
}
