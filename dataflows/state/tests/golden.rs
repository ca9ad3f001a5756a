//! Checkpoints that earlier versions wrote, kept as files: every later version reads them, and the present version writes
//! the newest of them byte by byte. `UPDATE_EXPECT=1` writes that one anew; a person reads the difference.
#![allow(clippy::unwrap_used)]

use aulaflow_state::{CheckpointStore, Options, never};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const OPTIONS: Options = Options { kept: 3, format: 4, oldest: 4 };

/// The layout that the present version writes.
const PRESENT: &str = "layout-1";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Two checkpoints: some hundred rows, then a change, a removal and a new row.
fn write(dir: &Path) {
    let (store, _) = CheckpointStore::open(dir, OPTIONS).unwrap();
    let row = |n: u64| (format!("row/{n:03}").into_bytes(), Some(format!("the value of row {n}").into_bytes()));
    let mut rows: Vec<_> = (0..300).map(row).collect();
    store.commit(&mut rows, b"the first note", &never()).unwrap();
    let mut changes =
        [(b"row/007".to_vec(), None), (b"row/008".to_vec(), Some(b"".to_vec())), (b"a".to_vec(), Some(vec![0, 255]))];
    store.commit(&mut changes, b"the second note", &never()).unwrap();
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let name = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    fs::read_dir(dir).unwrap().map(|entry| name(entry.unwrap())).filter(|(name, _)| name != "lock").collect()
}

#[test]
fn the_present_version_writes_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let expected = golden().join(PRESENT);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::create_dir_all(&expected).unwrap();
        for (name, bytes) in files(dir.path()) {
            fs::write(expected.join(name), bytes).unwrap();
        }
    }
    assert!(files(dir.path()) == files(&expected), "the files of a checkpoint have changed: is there a new layout?");
}

#[test]
fn all_are_read() {
    let mut read = 0;
    for folder in fs::read_dir(golden()).unwrap() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files(&folder.unwrap().path()) {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        let (store, refused) = CheckpointStore::open(dir.path(), OPTIONS).unwrap();
        assert_eq!((store.meta().unwrap(), refused.len()), (b"the second note".to_vec(), 0));
        let mut rows = store.rows(b"", &never()).unwrap();
        let mut found = BTreeMap::new();
        while let Some((key, value)) = rows.next_row().unwrap() {
            found.insert(key.to_vec(), value.to_vec());
        }
        let mut expected: BTreeMap<_, _> = (0..300)
            .map(|n| (format!("row/{n:03}").into_bytes(), format!("the value of row {n}").into_bytes()))
            .collect();
        expected.remove(b"row/007".as_slice());
        expected.insert(b"row/008".to_vec(), Vec::new());
        expected.insert(b"a".to_vec(), vec![0, 255]);
        assert_eq!(found, expected);
        read += 1;
    }
    assert!(read >= 1);
}
