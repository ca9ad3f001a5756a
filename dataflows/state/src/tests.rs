//! The whole store against a model: crashes at every step, damage anywhere, what is kept, and what merging costs.

use crate::disk::Disk;
use crate::store::SEGMENTS_MAX;
use crate::{CRASH_POINTS, Change, CheckpointStore, Expired, Options, Refusal, StoreError, manifest, never, segment};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const OPTIONS: Options = Options { kept: 3, format: 7, oldest: 7 };

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn open(dir: &Path) -> CheckpointStore {
    CheckpointStore::open(dir, OPTIONS).unwrap().0
}

fn rows(store: &CheckpointStore, prefix: &[u8], expired: &Expired) -> Model {
    let mut rows = store.rows(prefix, expired).unwrap();
    let mut all = Model::new();
    while let Some((key, value)) = rows.next_row().unwrap() {
        assert!(all.last_key_value().is_none_or(|(last, _)| last.as_slice() < key), "keys ascend");
        all.insert(key.to_vec(), value.to_vec());
    }
    all
}

fn put(key: &str, value: &str) -> Change {
    (key.into(), Some(value.into()))
}

fn model(rows: &[(&str, &str)]) -> Model {
    rows.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

fn commit(store: &CheckpointStore, changes: &[Change], meta: &str) -> u64 {
    store.commit(&mut changes.to_vec(), meta.as_bytes(), &never()).unwrap().number
}

#[test]
fn what_was_committed_last_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!((store.meta(), store.checkpoints().len()), (None, 0));
    let big = "x".repeat(300_000);
    let committed = store.commit(&mut [put("b/1", "old"), put("b/1", "one"), put("a", &big)], b"first", &never());
    assert_eq!(committed.unwrap().rows, 2);
    commit(&store, &[(b"a".to_vec(), None), put("b/2", ""), put("c", "three")], "second");
    assert_eq!(commit(&store, &[], "third"), 3);
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.meta().unwrap(), b"third");
    assert_eq!(rows(&store, b"", &never()), model(&[("b/1", "one"), ("b/2", ""), ("c", "three")]));
    assert_eq!(rows(&store, b"b/", &never()), model(&[("b/1", "one"), ("b/2", "")]));
    assert_eq!(rows(&store, b"bb", &never()), Model::new());
    let expired: Expired = Arc::new(|key| key < b"b/2".as_slice());
    assert_eq!(rows(&store, b"", &expired), model(&[("b/2", ""), ("c", "three")]));
}

#[test]
fn one_process_has_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let refused =
        |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::InUse { .. })), "{result:?}");
    refused(CheckpointStore::open(dir.path(), OPTIONS).map(drop));
    refused(CheckpointStore::inspect(dir.path(), OPTIONS).map(drop));
    commit(&store, &[], "m");
    assert!(!store.note_running(true).unwrap() && store.note_running(true).unwrap());
    drop(store);
    let found = CheckpointStore::inspect(dir.path(), OPTIONS).unwrap();
    assert_eq!(found.checkpoint, Some((1, b"m".to_vec())));
    let store = open(dir.path());
    assert!(store.note_running(false).unwrap() && !store.note_running(false).unwrap());
}

#[test]
fn several_are_kept_and_share_segments() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 1..=5 {
        commit(&store, &[put(&n.to_string(), "v")], &n.to_string());
    }
    let kept: Vec<_> = store.checkpoints().iter().map(|c| (c.number, c.rows, c.segments)).collect();
    assert_eq!(kept, [(3, 3, 3), (4, 4, 4), (5, 5, 5)]);
    let manifests = |dir: &Path| names(dir).iter().filter_map(|name| manifest::number(name)).collect::<Vec<_>>();
    assert_eq!(manifests(dir.path()), [3, 4, 5]);
    drop(store);
    for (broken, left) in [(5, "4"), (4, "3")] {
        fs::write(dir.path().join(manifest::name(broken)), b"torn").unwrap();
        let (store, refused) = CheckpointStore::open(dir.path(), OPTIONS).unwrap();
        assert_eq!(store.meta().unwrap(), left.as_bytes());
        assert!(refused[0].to_string().contains("cut short"), "{refused:?}");
        // A refused one's files stay for whoever looks into it.
        assert_eq!(names(dir.path()).iter().filter(|name| segment::number(name).is_some()).count(), 5);
    }
    // Newer ones get numbers above the refused ones', and push them out.
    let store = open(dir.path());
    for (n, expected) in [(6, vec![3, 4, 5, 6]), (7, vec![3, 4, 5, 6, 7]), (8, vec![6, 7, 8])] {
        assert_eq!(commit(&store, &[put("k", "v")], "m"), n);
        assert_eq!(manifests(dir.path()), expected);
    }
    assert_eq!(rows(&store, b"", &never()).len(), 4);
}

#[test]
fn another_version_is_refused_and_an_older_checkpoint_used() {
    let dir = tempfile::tempdir().unwrap();
    commit(&open(dir.path()), &[put("k", "old")], "old");
    let newer = Options { kept: 3, format: 8, oldest: 8 };
    let refused = CheckpointStore::open(dir.path(), newer).map(drop).unwrap_err();
    let said = refused.to_string();
    assert!(said.contains("written in format 7, and this version reads format 8"), "{said}");
    assert!(said.contains("move the folder away"), "{said}");
    // A later version of the files themselves, which nothing is known of but where its versions are.
    let mut bytes = b"AULACKPT\x02\0\0\0\x07\0\0\0another body".to_vec();
    bytes.extend(xxhash_rust::xxh3::xxh3_64(&bytes).to_le_bytes());
    fs::write(dir.path().join(manifest::name(2)), bytes).unwrap();
    let (store, refused) = CheckpointStore::open(dir.path(), OPTIONS).unwrap();
    assert_eq!(refused[0].why, Refusal::Layout { found: 2, reads: 1 });
    assert_eq!(store.meta().unwrap(), b"old");
}

#[test]
fn files_that_are_copied_stay_meanwhile_and_are_a_checkpoint() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    commit(&store, &[put("k", "v")], "copied");
    let pinned = store.pin().unwrap();
    assert_eq!(store.files(pinned.number()).unwrap(), pinned.files());
    for n in 0..10 {
        commit(&store, &[put("k", "w")], &n.to_string());
    }
    store.wait_for_merges();
    commit(&store, &[put("k", "w")], "m");
    for file in pinned.files() {
        let bytes = fs::read(pinned.dir().join(&file.name)).unwrap();
        assert_eq!((bytes.len() as u64, xxhash_rust::xxh3::xxh3_64(&bytes)), (file.bytes, file.checksum));
        fs::write(copy.path().join(&file.name), bytes).unwrap();
    }
    let copied = open(copy.path());
    assert_eq!((copied.meta().unwrap(), rows(&copied, b"", &never())), (b"copied".to_vec(), model(&[("k", "v")])));
    let first = pinned.files()[0].name.clone();
    assert!(store.files(pinned.number()).is_none() && names(dir.path()).contains(&first));
    drop(pinned);
    commit(&store, &[], "m");
    assert!(!names(dir.path()).contains(&first));
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, &[put("a", "1"), put("b", "2")], "one");
    commit(&store, &[put("c", "3")], "two");
    let segments = store.files(2).unwrap();
    drop(store);
    for file in segments {
        let path = dir.path().join(&file.name);
        let sound = fs::read(&path).unwrap();
        let refused = |bytes: &[u8], what: &str| {
            fs::write(&path, bytes).unwrap();
            match CheckpointStore::open(dir.path(), OPTIONS) {
                Ok((store, refused)) => {
                    assert_eq!(store.meta().unwrap(), b"one", "{what}");
                    assert!(refused.iter().any(|r| r.number == 2), "{what}");
                }
                Err(StoreError::Unusable { refused, .. }) => assert_eq!(refused.len(), 2, "{what}"),
                Err(error) => panic!("{what}: {error}"),
            }
        };
        for at in 0..sound.len() {
            let mut bytes = sound.clone();
            bytes[at] ^= 1 << (at % 8);
            refused(&bytes, &format!("{} bit {at}", file.name));
        }
        for length in [0, 1, sound.len() / 2, sound.len() - 1] {
            refused(&sound[..length], &format!("{} cut to {length}", file.name));
        }
        if file.name.starts_with("checkpoint") {
            fs::write(&path, &sound).unwrap();
            continue;
        }
        fs::remove_file(&path).unwrap();
        match CheckpointStore::open(dir.path(), OPTIONS) {
            Ok((store, _)) => assert_eq!(store.meta().unwrap(), b"one"),
            Err(error) => assert!(error.to_string().contains("is missing"), "{error}"),
        }
        fs::write(&path, &sound).unwrap();
    }
    assert_eq!(open(dir.path()).meta().unwrap(), b"two");
}

#[test]
fn a_block_that_goes_bad_after_the_check_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, &[put("a", "1")], "one");
    let path = dir.path().join(&store.files(1).unwrap()[0].name);
    let mut bytes = fs::read(&path).unwrap();
    bytes[17] ^= 4;
    fs::write(&path, bytes).unwrap();
    let refused = store.rows(b"", &never()).map(drop).unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
}

#[test]
fn what_is_staged_counts_with_the_commit_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, &[put("a", "1"), put("b", "1")], "one");
    store.stage(&mut [put("a", "2"), put("c", "2")]).unwrap();
    store.stage(&mut [put("a", "3"), (b"b".to_vec(), None)]).unwrap();
    assert_eq!(rows(&store, b"", &never()), model(&[("a", "1"), ("b", "1")]));
    drop(store);
    let store = open(dir.path());
    assert_eq!(rows(&store, b"", &never()), model(&[("a", "1"), ("b", "1")]));
    let segments = names(dir.path()).iter().filter(|name| segment::number(name).is_some()).count();
    assert_eq!(segments, 1, "what nobody committed is removed at a start");
    store.stage(&mut [put("a", "2"), put("c", "2")]).unwrap();
    store.stage(&mut [put("a", "3"), (b"b".to_vec(), None)]).unwrap();
    let committed = store.commit(&mut [put("d", "4")], b"two", &never()).unwrap();
    assert_eq!((committed.rows, committed.segments), (5, 4));
    assert_eq!(rows(&store, b"", &never()), model(&[("a", "3"), ("c", "2"), ("d", "4")]));
    commit(&store, &[], "three");
    drop(store);
    assert_eq!(rows(&open(dir.path()), b"", &never()), model(&[("a", "3"), ("c", "2"), ("d", "4")]));
}

#[test]
fn a_commit_finds_room_however_much_was_staged() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut staged = 0;
    let refused = loop {
        match store.stage(&mut [put(&format!("{staged:03}"), "row")]) {
            Ok(()) => staged += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::Behind { segments: SEGMENTS_MAX }) && staged == SEGMENTS_MAX, "{refused}");
    // What was refused goes with the commit; later ones find what was staged merged.
    assert_eq!(store.commit(&mut [put("last", "row")], b"1", &never()).unwrap().segments, SEGMENTS_MAX + 1);
    store.wait_for_merges();
    store.stage(&mut [put("more", "row")]).unwrap();
    commit(&store, &[], "2");
    assert_eq!(rows(&store, b"", &never()).len(), SEGMENTS_MAX + 2);
}

/// A disk whose steps fail on request.
fn failing(dir: &Path, fails: impl Fn(&str) -> bool + Send + Sync + 'static) -> Disk {
    let mut disk = Disk::new(dir);
    disk.hook =
        Some(Arc::new(move |step| if fails(step) { Err(std::io::Error::other("as the test asks")) } else { Ok(()) }));
    disk
}

#[test]
fn a_failed_commit_leaves_the_last_one_and_is_tried_again() {
    for point in CRASH_POINTS.iter().filter(|point| point.starts_with("checkpoint.")) {
        let dir = tempfile::tempdir().unwrap();
        let on = Arc::new(AtomicBool::new(false));
        let asked = on.clone();
        let disk = failing(dir.path(), move |step| asked.load(Ordering::Acquire) && step == *point);
        let (store, _) = CheckpointStore::open_on(disk, OPTIONS).unwrap();
        for n in 0..4 {
            commit(&store, &[put("k", &n.to_string())], &n.to_string());
        }
        on.store(true, Ordering::Release);
        let mut changes = [put("k", "new")];
        let result = store.commit(&mut changes, b"new", &never());
        // Files that cannot be removed are no reason to refuse a checkpoint.
        assert_eq!(result.is_ok(), point.starts_with("checkpoint.remove"), "{point}");
        if result.is_err() {
            assert_eq!(rows(&store, b"", &never()), model(&[("k", "3")]), "{point}");
            assert_eq!(store.meta().unwrap(), b"3", "{point}");
        }
        on.store(false, Ordering::Release);
        store.commit(&mut changes, b"new", &never()).unwrap();
        assert_eq!(store.checkpoints().len(), 3, "{point}");
        drop(store);
        assert_eq!(rows(&open(dir.path()), b"", &never()), model(&[("k", "new")]), "{point}");
        let manifests = names(dir.path()).iter().filter(|name| name.starts_with("checkpoint")).count();
        assert_eq!(manifests, 3, "{point}");
    }
}

#[test]
fn commits_wait_and_then_fail_where_nothing_can_be_merged() {
    let dir = tempfile::tempdir().unwrap();
    let broken = Arc::new(AtomicBool::new(true));
    let asked = broken.clone();
    let disk = failing(dir.path(), move |step| asked.load(Ordering::Acquire) && step == "compaction.begin");
    let (store, _) = CheckpointStore::open_on(disk, OPTIONS).unwrap();
    let mut committed = 0;
    let refused = loop {
        match store.commit(&mut [put("k", &committed.to_string())], b"m", &never()) {
            Ok(_) => committed += 1,
            Err(error) => break error,
        }
        assert!(committed <= SEGMENTS_MAX, "the number of segments is bounded");
    };
    assert_eq!(committed, SEGMENTS_MAX, "{refused}");
    broken.store(false, Ordering::Release);
    let waited = store.commit(&mut [put("k", "new")], b"m", &never()).unwrap();
    assert!(waited.segments < 4 && waited.compacted_bytes > 0, "{waited:?}");
    assert_eq!(rows(&store, b"", &never()), model(&[("k", "new")]));
}

#[test]
fn a_byte_is_written_again_at_most_so_often() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (mut written, mut compacted, mut random, mut most) = (0u64, 0u64, 1u64, 0);
    let commits = 300u64;
    for n in 0..commits {
        let mut changes: Vec<Change> = Vec::new();
        for _ in 0..10 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            changes.push((format!("{:04}", random >> 54).into_bytes(), Some(random.to_le_bytes().repeat(4))));
        }
        let done = store.commit(&mut changes, b"m", &never()).unwrap();
        written += done.bytes;
        compacted += done.compacted_bytes;
        most = most.max(done.segments);
        // As fast as on a machine that has the time.
        store.wait_for_merges();
        assert!(done.segments as u64 <= 7 * u64::from(n.max(1).ilog(8)) + 8, "{} segments after {n}", done.segments);
    }
    let bound = written * u64::from(commits.ilog(8) + 2);
    assert!(compacted <= bound, "{compacted} bytes merged of {written} written: more than {bound}");
    assert!(compacted > 0 && most > 1);
    let live: u64 = rows(&store, b"", &never()).iter().map(|(k, v)| (k.len() + v.len()) as u64).sum();
    assert!(store.checkpoints().last().unwrap().bytes < 4 * live, "superseded rows go");
}

#[test]
fn removed_and_expired_rows_go_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let expired: Expired = Arc::new(|key| key.starts_with(b"x"));
    let all: Vec<_> = (0..200).map(|n| put(&format!("{}{n}", ["a", "x"][n % 2]), "some value")).collect();
    commit(&store, &all, "m");
    let gone: Vec<_> = (0..200).step_by(2).map(|n| (format!("a{n}").into_bytes(), None)).collect();
    for part in gone.chunks(10) {
        store.commit(&mut part.to_vec(), b"m", &expired).unwrap();
        store.wait_for_merges();
    }
    for _ in 0..16 {
        store.commit(&mut [put("b", "left")], b"m", &expired).unwrap();
        store.wait_for_merges();
    }
    assert_eq!(rows(&store, b"", &never()), model(&[("b", "left")]));
    assert!(store.checkpoints().last().unwrap().rows < 50);
}

/// One thing that happens to a store.
#[derive(Debug, Clone)]
enum Happens {
    /// A commit of these rows (key, value; 0 removes); what is before the threshold expires.
    Commit(Vec<(u8, u8)>, u8),
    /// Merges come to an end.
    Merged,
    /// A crash at the so-manieth step from here on, and what becomes of files that were not durable.
    CrashAfter(u64, u64),
    /// A clean end and a start.
    Restart,
}

fn happens() -> impl Strategy<Value = Happens> {
    let rows = proptest::collection::vec((0u8..24, 0u8..4), 0..7);
    prop_oneof![
        8 => (rows, 0u8..3).prop_map(|(rows, more)| Happens::Commit(rows, more)),
        3 => Just(Happens::Merged),
        2 => (1u64..25, any::<u64>()).prop_map(|(steps, seed)| Happens::CrashAfter(steps, seed)),
        1 => Just(Happens::Restart),
    ]
}

/// What a disk does with files that were not made durable: it cuts, loses or keeps them.
fn lose_what_is_not_durable(dir: &Path, at: &str, seed: u64) {
    let files = names(dir);
    let mut named = BTreeSet::new();
    let newest = files.iter().filter_map(|name| manifest::number(name)).max();
    for number in files.iter().filter_map(|name| manifest::number(name)) {
        let name = manifest::name(number);
        if at == "checkpoint.manifest.renamed" && Some(number) == newest && seed.is_multiple_of(2) {
            fs::rename(dir.join(&name), dir.join(format!("{name}.tmp"))).unwrap();
            continue;
        }
        let manifest =
            manifest::Manifest::decode(&fs::read(dir.join(&name)).unwrap(), OPTIONS.format..=OPTIONS.format).unwrap();
        named.extend(manifest.segments.iter().map(|segment| segment.id));
    }
    for name in names(dir) {
        let not_durable = name.ends_with(".tmp") || segment::number(&name).is_some_and(|id| !named.contains(&id));
        if !not_durable {
            continue;
        }
        match seed % 3 {
            0 => fs::remove_file(dir.join(&name)).unwrap(),
            1 => {
                let bytes = fs::read(dir.join(&name)).unwrap();
                fs::write(dir.join(&name), &bytes[..bytes.len() / 2]).unwrap();
            }
            _ => {}
        }
    }
}

/// A store that crashes on request, and what it should hold: by the note of each commit that was tried.
struct Play {
    dir: tempfile::TempDir,
    store: Option<CheckpointStore>,
    /// Steps until it crashes; 0: it does not.
    left: Arc<AtomicU64>,
    dead: Arc<parking_lot::Mutex<Option<&'static str>>>,
    seed: u64,
    tried: BTreeMap<u32, (Model, u8)>,
    /// The last that was confirmed, and the last that was tried.
    confirmed: u32,
    last: u32,
}

impl Play {
    fn new() -> Self {
        let (left, dead) = (Arc::new(AtomicU64::new(0)), Arc::default());
        let tried = BTreeMap::from([(0, (Model::new(), 0))]);
        let dir = tempfile::tempdir().unwrap();
        let mut play = Self { dir, store: None, left, dead, seed: 0, tried, confirmed: 0, last: 0 };
        play.open();
        play
    }

    fn open(&mut self) {
        let mut disk = Disk::new(self.dir.path());
        let (left, dead) = (self.left.clone(), self.dead.clone());
        disk.hook = Some(Arc::new(move |step| {
            let mut dead = dead.lock();
            let before = left.load(Ordering::Acquire);
            left.store(before.saturating_sub(1), Ordering::Release);
            if before == 1 && dead.is_none() {
                *dead = Some(step);
            }
            dead.map_or(Ok(()), |at| Err(std::io::Error::other(at)))
        }));
        self.store = Some(CheckpointStore::open_on(disk, OPTIONS).unwrap().0);
        self.check();
    }

    /// What is there is what was tried with its note, and nothing that was confirmed is lost.
    fn check(&mut self) {
        let store = self.store.as_ref().unwrap();
        let note = store.meta().map_or(0, |meta| u32::from_le_bytes(meta.try_into().unwrap()));
        assert!(note == self.confirmed || note == self.last, "{note} is neither the last confirmed nor the last tried");
        let (model, threshold) = &self.tried[&note];
        let expected: Model =
            model.iter().filter(|(key, _)| key[0] >= *threshold).map(|(k, v)| (k.clone(), v.clone())).collect();
        assert_eq!(rows(store, b"", &before(*threshold)), expected);
        assert!(store.checkpoints().len() <= OPTIONS.kept);
        (self.confirmed, self.last) = (note, note);
    }

    fn commit(&mut self, changes: &[(u8, u8)], more: u8) {
        let (mut model, threshold) = self.tried[&self.confirmed].clone();
        let threshold = threshold + u8::from(more == 2);
        let note = self.tried.last_key_value().unwrap().0 + 1;
        for (key, value) in changes {
            match value {
                0 => drop(model.remove([*key].as_slice())),
                _ => drop(model.insert(vec![*key], vec![*value; usize::from(*value) * 9])),
            }
        }
        let change =
            |(key, value): &(u8, u8)| (vec![*key], (*value > 0).then(|| vec![*value; usize::from(*value) * 9]));
        let mut changes: Vec<Change> = changes.iter().map(change).collect();
        self.tried.insert(note, (model, threshold));
        self.last = note;
        let store = self.store.as_ref().unwrap();
        // A part of it may be written before; a crash between the two leaves nothing of it.
        let mut first: Vec<Change> = changes.drain(..changes.len() * usize::from(more) / 2).collect();
        if !first.is_empty() && store.stage(&mut first).is_err() {
            first.append(&mut changes);
            changes = first;
        }
        if store.commit(&mut changes, &note.to_le_bytes(), &before(threshold)).is_ok() {
            self.confirmed = note;
            if self.dead.lock().is_none() {
                self.check();
            }
        }
        self.end_if_dead();
    }

    fn end_if_dead(&mut self) {
        let Some(at) = *self.dead.lock() else { return };
        self.store = None;
        lose_what_is_not_durable(self.dir.path(), at, self.seed);
        *self.dead.lock() = None;
        self.left.store(0, Ordering::Release);
        self.open();
    }
}

fn before(threshold: u8) -> Expired {
    Arc::new(move |key| key[0] < threshold)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn random_crashes_lose_nothing_that_was_confirmed(all in proptest::collection::vec(happens(), 1..60)) {
        let mut play = Play::new();
        for one in all {
            match one {
                Happens::Commit(rows, more) => play.commit(&rows, more),
                Happens::Merged => {
                    if let Some(store) = &play.store {
                        store.wait_for_merges();
                    }
                    play.end_if_dead();
                }
                Happens::CrashAfter(steps, seed) => {
                    play.seed = seed;
                    play.left.store(steps, Ordering::Release);
                }
                Happens::Restart => {
                    play.store = None;
                    if play.dead.lock().is_some() {
                        play.end_if_dead();
                    } else {
                        play.left.store(0, Ordering::Release);
                        play.open();
                    }
                }
            }
        }
    }
}
