//! The disk that rows wait on for ClickHouse is full: profiles go on, it is said, and room is all that it takes.

use crate::instance::folder;
use crate::support::{event, eventually, exam};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Nobody is there: everything waits.
const AWAY: &str = "[clickhouse]\nkind = \"server\"\nurl = \"http://127.0.0.1:9\"\nblock_age = \"50 ms\"\n";

/// A small file system; unmounted when dropped, also by a panic.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        match Command::new("mount").args(["-t", "tmpfs", "-o", "size=160m", "tmpfs"]).arg(at).output() {
            Ok(done) if done.status.success() => Some(Self(at.to_owned())),
            failed => {
                eprintln!("SKIPPED: the full-disk test needs to mount a tmpfs, and may not: {failed:?}");
                None
            }
        }
    }

    /// Leaves no room; the file that takes it.
    fn fill(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        let filled = Command::new("dd").args(["if=/dev/zero", "bs=64k"]).arg(format!("of={}", ballast.display())).output();
        assert!(!filled.unwrap().status.success(), "it ends where no space is left");
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("could not unmount {}", self.0.display());
        }
    }
}

#[test]
fn a_full_disk_of_the_outbox_is_said_and_waited_for() {
    let folder = folder(AWAY);
    let Some(disk) = SmallDisk::mount(&folder.path().join("data/analytics")) else { return };
    let instance = folder.start();
    let (teacher, ops) = (instance.caller("teacher"), instance.caller("ops"));
    let sink = || ops.get("/v1/lag").expect(200)["sinks"][0].clone();
    teacher.post("/v1/evaluations", &exam("e1", "s1", 70)).expect(201);
    // A store that is new waits for a word of ClickHouse before anything is recorded; it is told that nobody answers.
    eventually("the sink says so", || (sink()["state"] == "retrying").then_some(()));
    let reason = sink()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("cannot be reached"), "{reason}");
    let ballast = disk.fill();
    teacher.post("/v1/behavior", &json!([event("b1", "s1")])).expect(202);
    // Profiles do not wait for it.
    teacher.events_of("s1", 1);
    std::fs::remove_file(ballast).unwrap();
    let waits = |sink: &Value| sink["waiting_blocks"].as_u64().unwrap();
    assert_eq!(waits(&sink()), 0);
    instance.finish();
}
