//! A disk that fills up under the program: writes are refused in time, reads go on, and room is all it needs to go on.

use crate::support::{Answer, Caller, Folder, Instance, event, events, eventually, with};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

const BALLAST_BYTES: usize = 50 << 20;
const BATCH_EVENTS: u64 = 500;
const STUDENTS: u64 = 5;
/// More batches than fit by far.
const BATCHES_MAX: u64 = 1_000;

/// A small file system; unmounted when dropped, also by a panic.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=160m", "tmpfs"]).arg(at).output();
        match mounted {
            Ok(done) if done.status.success() => Some(Self(at.to_owned())),
            failed => {
                eprintln!("SKIPPED: the full-disk test needs to mount a tmpfs, and may not: {failed:?}");
                None
            }
        }
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

/// Events whose context does not compress: about 1 kB each.
fn batch(number: u64) -> Value {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{state:016x}")
    };
    (0..BATCH_EVENTS)
        .map(|i| {
            let text: String = (0..60).map(|_| random()).collect();
            with(event(&format!("{number}-{i}"), &format!("s{}", i % STUDENTS)), json!({ "context": { "text": text } }))
        })
        .collect()
}

/// Posts batches from `next` on until one is refused, which is returned. Moves `next` behind what was acknowledged.
fn fill(service: &Caller, next: &mut u64) -> Answer {
    for number in *next..BATCHES_MAX {
        let answer = service.post("/v1/behavior", &batch(number));
        if answer.status != 202 {
            return answer;
        }
        assert_eq!(answer.json()["accepted"], BATCH_EVENTS);
        *next = number + 1;
    }
    panic!("the disk never filled up");
}

fn refused(answer: &Answer) {
    answer.problem(503, "log-unavailable", None, "the log did not");
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds));
}

/// Every acknowledged event is shown, and nothing else.
fn all_there(service: &Caller, acknowledged: u64) {
    let expected = acknowledged * BATCH_EVENTS / STUDENTS;
    for student in 0..STUDENTS {
        let profile = service.events_of(&format!("s{student}"), expected);
        assert_eq!(events(&profile), expected);
    }
}

fn killed(instance: Instance<'_>) {
    instance.signal("-KILL");
    assert_eq!(instance.ended(), None);
}

#[test]
fn a_full_disk_refuses_writes_and_loses_nothing() {
    let folder = Folder::new();
    let at = folder.path().join("disk");
    let Some(_disk) = SmallDisk::mount(&at) else { return };
    let (ballast, data) = (at.join("ballast"), at.join("data"));
    std::fs::write(&ballast, vec![0; BALLAST_BYTES]).unwrap();

    let instance = folder.start_in(&data);
    let service = instance.caller("service");
    let mut next = 0;
    refused(&fill(&service, &mut next));
    assert!(next > 5, "{next}");
    // Reads go on, and all that was acknowledged becomes visible.
    all_there(&service, next);
    assert_eq!(instance.anybody().get("/readyz").status, 200);
    assert!(instance.said().contains("disk nearly full"), "the operator's log does not say why");
    killed(instance);

    // It starts on the full disk as well, and what it refused then it takes when there is room, without a restart.
    let instance = folder.start_in(&data);
    let service = instance.caller("service");
    all_there(&service, next);
    std::fs::write(at.join("more"), vec![0; free_above(&at, 66 << 20)]).unwrap();
    refused(&service.post("/v1/behavior", &batch(next)));
    all_there(&service, next);
    std::fs::remove_file(at.join("more")).unwrap();
    std::fs::remove_file(&ballast).unwrap();
    let before = next;
    eventually("room for writes", || (service.post("/v1/behavior", &batch(next)).status == 202).then_some(()));
    next += 1;
    refused(&fill(&service, &mut next));
    assert!(next > before + 3, "{before} {next}");
    all_there(&service, next);
    killed(instance);

    let instance = folder.start_in(&data);
    all_there(&instance.caller("service"), next);
    instance.finish();
}

/// The free bytes beyond `keep`.
fn free_above(at: &Path, keep: usize) -> usize {
    let done = Command::new("df").args(["--block-size=1", "--output=avail"]).arg(at).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    let free: usize = text.lines().nth(1).unwrap().trim().parse().unwrap();
    free.saturating_sub(keep)
}
