//! The parent's side: starts the child process, sees that it answers, starts it again when it does not, and ends it.

use parking_lot::{Condvar, Mutex};
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two looks at the child, and how long one may take.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_MAX: Duration = Duration::from_secs(5);

/// A child that does not answer for so long is killed, and started again. A busy engine takes its time.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How long a start may take: a database with many parts is slow to open.
const START_MAX: Duration = Duration::from_secs(120);

/// Time before a start after one that ended: doubled each time, and back to the first after a child that lived long.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(30);
const LIVED_LONG: Duration = Duration::from_secs(60);

/// How long a child that shall stop may take.
const STOP_MAX: Duration = Duration::from_secs(10);

/// The environment variable by which the child gets its password: other users do not see it, as they do arguments.
pub const PASSWORD_VARIABLE: &str = "AULAFLOW_CLICKHOUSE_PASSWORD";

/// How the child is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program; it must call [`crate::serve`].
    pub program: PathBuf,
    /// Its arguments, to which `--listen ADDR` is added.
    pub arguments: Vec<OsString>,
    /// Where it shall listen; of port 0 a free one is chosen once, and kept.
    pub listen: SocketAddr,
    /// The password, for the variable [`PASSWORD_VARIABLE`].
    pub password: String,
    /// How long it may be silent before it is killed. `None`: half a minute.
    pub silence_max: Option<Duration>,
}

/// How the child is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It has not answered yet.
    Starting,
    /// It answers.
    Up,
    /// It does not, and is being started again.
    Down {
        /// Why.
        reason: String,
    },
    /// It was stopped.
    Stopped,
}

/// A child that is kept running.
pub struct Supervisor {
    /// Where it answers, now or later.
    pub url: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    status: Mutex<Status>,
    changed: Condvar,
}

struct Status {
    state: State,
    stop: bool,
    starts: u64,
    process: Option<u32>,
}

impl Supervisor {
    /// Starts a child, and keeps one running until it is stopped.
    pub fn start(mut launch: Launch) -> io::Result<Self> {
        if launch.listen.port() == 0 {
            // Every child gets the same, so that whoever knows the URL finds the next one there.
            launch.listen = TcpListener::bind(launch.listen)?.local_addr()?;
        }
        let url = format!("http://{}", launch.listen);
        let status = Status { state: State::Starting, stop: false, starts: 0, process: None };
        let shared = Arc::new(Shared { status: Mutex::new(status), changed: Condvar::new() });
        let keeper = Keeper { launch, url: url.clone(), shared: Arc::clone(&shared), agent: agent() };
        let thread = std::thread::Builder::new().name("clickhouse-keeper".to_owned()).spawn(move || keeper.run())?;
        Ok(Self { url, shared, thread: Some(thread) })
    }

    /// How it is.
    pub fn state(&self) -> State {
        self.shared.status.lock().state.clone()
    }

    /// How often a child was started.
    pub fn starts(&self) -> u64 {
        self.shared.status.lock().starts
    }

    /// The child's process id, while there is one.
    pub fn process(&self) -> Option<u32> {
        self.shared.status.lock().process
    }

    /// Waits until it answers, for a while; how it is then.
    pub fn wait_until_up(&self, timeout: Duration) -> State {
        let mut status = self.shared.status.lock();
        let until = Instant::now() + timeout;
        while status.state != State::Up && status.state != State::Stopped {
            if self.shared.changed.wait_until(&mut status, until).timed_out() {
                break;
            }
        }
        status.state.clone()
    }

    /// Stops the child and waits for its end, at most ten seconds and then with force.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.status.lock().stop = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that keeps ClickHouse has panicked");
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.end();
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(LOOK_MAX)).build().into()
}

/// The thread that keeps a child.
struct Keeper {
    launch: Launch,
    url: String,
    shared: Arc<Shared>,
    agent: ureq::Agent,
}

impl Keeper {
    fn run(&self) {
        let mut pause = PAUSE_MIN;
        loop {
            let begun = Instant::now();
            let reason = match self.spawn() {
                Ok(mut child) => {
                    let reason = self.keep(&mut child);
                    self.shared.status.lock().process = None;
                    reason
                }
                Err(error) => Some(format!("{} does not start: {error}", self.launch.program.display())),
            };
            let Some(reason) = reason else { break };
            if begun.elapsed() > LIVED_LONG {
                pause = PAUSE_MIN;
            }
            tracing::error!(reason, again_in_ms = pause.as_millis(), "the embedded ClickHouse is down");
            self.set(State::Down { reason });
            if self.stops_within(pause) {
                break;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        self.set(State::Stopped);
    }

    fn spawn(&self) -> io::Result<Child> {
        let mut command = Command::new(&self.launch.program);
        command
            .args(&self.launch.arguments)
            .arg("--listen")
            .arg(self.launch.listen.to_string())
            .env(PASSWORD_VARIABLE, &self.launch.password)
            // Its end tells the child that its parent is gone, however that went.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the parent, which still writes to it before it stops.
            .process_group(0);
        let child = command.spawn()?;
        let mut status = self.shared.status.lock();
        status.starts += 1;
        status.process = Some(child.id());
        Ok(child)
    }

    /// Looks after a child until it ends; `None`: it was stopped.
    fn keep(&self, child: &mut Child) -> Option<String> {
        if let Some(stdout) = child.stdout.take() {
            read_away(stdout);
        }
        let silence_max = self.launch.silence_max.unwrap_or(SILENCE_MAX);
        let (mut heard, mut was_up) = (Instant::now(), false);
        loop {
            match child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => return Some(format!("its process ended with {status}")),
                Err(error) => return Some(format!("its process is lost: {error}")),
            }
            if self.answers() {
                (heard, was_up) = (Instant::now(), true);
                self.set(State::Up);
            } else if heard.elapsed() > if was_up { silence_max } else { START_MAX } {
                kill(child);
                return Some(format!("it did not answer for {} seconds and was killed", heard.elapsed().as_secs()));
            }
            // Closely while it starts.
            if self.stops_within(if was_up { LOOK_EVERY } else { LOOK_EVERY / 20 }) {
                stop(child);
                return None;
            }
        }
    }

    fn answers(&self) -> bool {
        self.agent.get(format!("{}/health", self.url)).call().is_ok()
    }

    fn set(&self, state: State) {
        let mut status = self.shared.status.lock();
        if status.state != state {
            status.state = state;
            self.shared.changed.notify_all();
        }
    }

    /// Waits; true: it shall stop.
    fn stops_within(&self, time: Duration) -> bool {
        let mut status = self.shared.status.lock();
        let until = Instant::now() + time;
        while !status.stop && !self.shared.changed.wait_until(&mut status, until).timed_out() {}
        status.stop
    }
}

/// Stops a child: it sees the end of its stdin. If it does not end in time it is killed.
fn stop(child: &mut Child) {
    drop(child.stdin.take());
    let until = Instant::now() + STOP_MAX;
    while Instant::now() < until {
        match child.try_wait() {
            Ok(Some(_)) => return,
            Ok(None) => std::thread::sleep(LOOK_EVERY / 50),
            Err(_) => break,
        }
    }
    tracing::warn!("the embedded ClickHouse did not stop in time and is killed");
    kill(child);
}

fn kill(child: &mut Child) {
    // One that ended in the meantime cannot be killed; it is waited for all the same.
    let _ = child.kill();
    let _ = child.wait();
}

/// Reads what the child prints, so that it never waits for that.
fn read_away(stdout: std::process::ChildStdout) {
    let read = move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            tracing::debug!(line, "the embedded ClickHouse says");
        }
    };
    if let Err(error) = std::thread::Builder::new().name("clickhouse-stdout".to_owned()).spawn(read) {
        tracing::warn!(%error, "what the embedded ClickHouse prints is not read");
    }
}
