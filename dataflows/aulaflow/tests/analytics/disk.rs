//! The disk that rows wait on for ClickHouse is full: profiles go on, it is said, and room is all that it takes.

use crate::instance::{ClickHouse, EMBEDDED, can_run, folder};
use crate::support::{eventually, exam, with};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

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
        let filled =
            Command::new("dd").args(["if=/dev/zero", "bs=64k"]).arg(format!("of={}", ballast.display())).output();
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
    if !can_run() {
        return;
    }
    let folder = folder(EMBEDDED);
    let Some(disk) = SmallDisk::mount(&folder.path().join("data/analytics")) else { return };
    let instance = folder.start();
    let (teacher, ops) = (instance.caller("teacher"), instance.caller("ops"));
    let sink = || ops.get("/v1/lag").expect(200)["sinks"][0].clone();
    let clickhouse = ClickHouse::of(&folder, &instance);
    let recorded = |score: &str| {
        let sql = format!("SELECT 1 FROM grades FINAL WHERE toString(score) = '{score}'");
        eventually("the grade in ClickHouse", || clickhouse.rows(&sql).ok().filter(|rows| rows.len() == 1));
    };
    teacher.post("/v1/evaluations", &exam("e1", "s1", 70)).expect(201);
    recorded("70");

    let ballast = disk.fill();
    let again = with(exam("e1", "s1", 80), json!({ "updated_at": "2026-03-02T16:00:00Z" }));
    teacher.post("/v1/evaluations", &again).expect(201);
    // Profiles do not wait for it.
    teacher.profile_when("s1", |profile| profile["grades"][0]["score"] == "80.00");
    eventually("the sink says so", || (sink()["state"] == "held").then_some(()));
    let reason = sink()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("No space left on device"), "{reason}");
    std::fs::remove_file(ballast).unwrap();
    recorded("80");
    eventually("it goes on", || (sink()["state"] == "live").then_some(()));
    instance.finish();
}
