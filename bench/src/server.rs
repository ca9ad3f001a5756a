//! Child processes that serve: started, waited for, and ended whatever happens to the measurement.

use crate::http::{Connection, request};
use crate::interrupt;
use crate::procfs::{self, Memory};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// How long a process may take until it says where it listens; loading a large state is not part of it.
const START_WITHIN: Duration = Duration::from_secs(120);

/// How long a process may take to end when asked to.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// Time between two looks at whether an instance is ready.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A serving child process. Dropping it kills it.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// When it was started.
    pub started: Instant,
    errors: PathBuf,
}

impl Server {
    /// Starts a command that prints a line with `http://ADDRESS` on stdout once it listens. Its stderr goes to a file
    /// in `folder`.
    pub fn start(mut command: Command, folder: &Path) -> Result<Self> {
        let errors = folder.join("stderr.log");
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors)?)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let stdout = child.stdout.take();
        interrupt::started(Pid::from_child(&child));
        // From here on the child is ended with the value.
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), started, errors };
        let stdout = stdout.context("a piped stdout is there")?;
        let (said, first_line) = sync_channel(1);
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines();
            // Nobody listens any more where the start took too long.
            let _ = said.send(lines.next());
            // Reads on, so that the process can go on printing.
            lines.for_each(drop);
        });
        let line = first_line.recv_timeout(START_WITHIN);
        let Ok(Some(Ok(line))) = line else { bail!("the process did not start:\n{}", server.last_errors()) };
        server.address =
            address(&line).with_context(|| format!("the process does not say where it listens: {line}"))?;
        Ok(server)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU seconds used since its start.
    pub fn cpu_seconds(&self) -> Result<f64> {
        procfs::cpu_seconds(self.pid())
    }

    /// Its memory.
    pub fn memory(&self) -> Result<Memory> {
        procfs::memory(self.pid())
    }

    /// Waits until `/readyz` says that the views are there; returns the time since the start.
    pub fn until_ready(&self, within: Duration) -> Result<Duration> {
        let ask = request("GET", "/readyz", "", None);
        let mut connection = Connection::open(self.address)?;
        loop {
            let answer = connection.call(&ask).with_context(|| self.last_errors())?;
            if answer.status == 200 {
                return Ok(self.started.elapsed());
            }
            if self.started.elapsed() > within {
                answer.success("/readyz")?;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let asked = Instant::now();
        while asked.elapsed() < STOP_WITHIN {
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    bail!("the process ended with {status}:\n{}", self.last_errors());
                }
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the process did not end within {} s:\n{}", STOP_WITHIN.as_secs(), self.last_errors())
    }

    /// Ends it at once, as a crash would.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The last lines of its stderr.
    fn last_errors(&self) -> String {
        let text = fs::read_to_string(&self.errors).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        interrupt::ended(Pid::from_child(&self.child));
    }
}

fn address(line: &str) -> Option<SocketAddr> {
    let rest = line.split("http://").nth(1)?;
    rest.split(|c: char| c.is_whitespace() || c == '/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn finds_the_address_in_the_first_line() {
        let line = "aulaflow is running at http://127.0.0.1:41234 (API: http://127.0.0.1:41234/docs)";
        assert_eq!(address(line).unwrap(), SocketAddr::from(([127, 0, 0, 1], 41_234)));
        assert_eq!(address("no address"), None);
    }
}
