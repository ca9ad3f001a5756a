//! Standard output and error whose readers are gone, and signals at any instant of a start.

use crate::support::{Folder, event, eventually, wait_for};
use serde_json::json;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// More than a start takes on a busy machine.
const WAIT: Duration = Duration::from_secs(60);

/// How often a start is interrupted: more where `AULAFLOW_INTERRUPTS` says so.
fn interrupts() -> u64 {
    std::env::var("AULAFLOW_INTERRUPTS").ok().and_then(|n| n.parse().ok()).unwrap_or(6)
}

/// An instant within a start, the same ones each time.
fn instant(n: u64, within_ms: u64) -> Duration {
    let mixed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Duration::from_micros((mixed >> 20) % (within_ms * 1_000))
}

#[test]
fn a_server_outlives_the_readers_of_what_it_prints() {
    let folder = Folder::new();
    let instance = folder.start();
    // Its standard output was closed after the first line. What follows is logged and printed to nobody.
    let service = instance.caller("service");
    service.post("/v1/behavior", &json!([event("e1", "s1")])).expect(202);
    service.events_of("s1", 1);
    instance.finish();

    for pipes in ["2>&1 | head -n 1", "2> /dev/full > /dev/full", "2>&- >&-"] {
        // `head` leaves after a line; a start and a clean stop print more.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let program = env!("CARGO_BIN_EXE_aulaflow");
        let run = format!("{program} run --config aulaflow.toml --listen {free}");
        let script = format!("({run} & echo $! > pid; wait $!; echo $? > code) {pipes}");
        let mut shell = Command::new("bash");
        shell.args(["-c", &script]).current_dir(folder.path()).env("RUST_LOG", "info").stdout(Stdio::null());
        let mut shell = shell.stderr(Stdio::null()).spawn().unwrap();
        let is_ready = || ureq::get(format!("http://{free}/readyz")).call().ok().map(|_| ());
        eventually("ready", is_ready);
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap().trim().to_owned();
        assert!(
            Command::new("kill").args(["-TERM", &read("pid")]).status().unwrap().success(),
            "{pipes}: it has ended"
        );
        wait_for(&mut shell);
        assert_eq!(read("code"), "0", "{pipes}");
    }
    let last = folder.start();
    last.caller("service").events_of("s1", 1);
    last.finish();
}

/// A command that only prints ends where nobody reads, quietly.
#[test]
fn a_command_ends_with_its_reader() {
    let folder = Folder::new();
    let script = format!(
        "{} plan --config aulaflow.toml 2> said | head -n 1; echo ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_aulaflow")
    );
    let done = Command::new("bash").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
    let code = String::from_utf8(done.stdout).unwrap().lines().last().unwrap().to_owned();
    // All of it may have been in the pipe before its reader left.
    assert!(["0", "141"].contains(&code.as_str()), "{code}");
    assert_eq!(std::fs::read_to_string(folder.path().join("said")).unwrap(), "");
}

#[test]
fn a_start_that_is_interrupted_leaves_a_folder_that_starts() {
    let folder = Folder::new();
    let instance = folder.start();
    instance.caller("service").post("/v1/behavior", &json!([event("e1", "s1")])).expect(202);
    instance.finish();
    for n in 0..interrupts() {
        let mut child = folder.spawn(&["run", "--config", "aulaflow.toml"]);
        std::thread::sleep(instant(n, 400));
        let signal = ["-INT", "-TERM", "-HUP"][n as usize % 3];
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let code = wait_for(&mut child).code();
        // Before the program's first instruction a signal ends it.
        assert!(matches!(code, Some(0) | None), "{signal}: {code:?}");
    }
    let again = folder.start();
    again.caller("service").events_of("s1", 1);
    again.finish();
}

#[test]
fn a_demo_that_is_interrupted_leaves_nothing() {
    let folder = Folder::new();
    let temporary = folder.path().join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    for n in 0..interrupts() {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_aulaflow"));
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/demo.toml");
        demo.args(["demo", "--listen", "127.0.0.1:0", "--students", "20", "--config", config])
            .env("TMPDIR", &temporary);
        let mut child = demo.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(instant(n, 3_000));
        let begun = Instant::now();
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let code = wait_for(&mut child).code();
        assert!(matches!(code, Some(0) | None), "{code:?}");
        assert!(begun.elapsed() < WAIT);
        let left: Vec<_> = std::fs::read_dir(&temporary).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, Vec::<std::path::PathBuf>::new(), "after {:?}", instant(n, 3_000));
    }
}
