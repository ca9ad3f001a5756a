//! The state store: what a restart needs, as checkpoints in files, each atomic with the log's offsets that it covers.
//!
//! It holds inputs and not operators' internals: the present evaluations, the open panes, the event ids seen, the
//! tenants' configurations, and what history adds to the rows shown (version, time of change). Rows carry names, never
//! this process's numbers. Any later version of the code can rebuild its views from it. How files are written is in
//! `aulaflow-state`; here is what rows mean.

use crate::dedupe::IdHash;
use crate::panes::{StoredRun, StoredStudent};
use crate::sum::Slot;
use crate::symbols::{StudentNo, Symbols};
use aulaflow_log::Offset;
use aulaflow_model::event::Evaluation;
use aulaflow_model::updated_at::UpdatedAt;
use aulaflow_sink::Token;
use aulaflow_state::{CheckpointStore, Committed, Expired, Options, Pinned, Refusal, Refused, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

mod format_4;
mod load;

pub use format_4::EvaluationOf4;
#[cfg(test)]
pub use load::Gather;
pub use load::{Load, Loaded};

/// The version of what is stored.
const FORMAT: u32 = 5;
/// The oldest version that is read. Earlier ones and later ones are refused.
const OLDEST: u32 = 4;
/// The version that was stored in another way.
const FORMAT_BEFORE: u32 = 3;

/// What went wrong with the state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The files.
    #[error(transparent)]
    Store(StoreError),
    /// A row.
    #[error("a row of the state cannot be decoded: {0}")]
    Row(String),
    /// Another version.
    #[error(
        "the state was written in format {found}, and this version reads format {FORMAT}; move the folder away to rebuild it from the log"
    )]
    Format {
        /// Its format.
        found: u32,
    },
}

impl From<StoreError> for StateError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unusable { refused, .. } => {
                let all = refused.iter().all(|refused| matches!(refused.why, Refusal::Format { .. }));
                match refused.first().map(|newest| &newest.why) {
                    Some(Refusal::Format { found, .. }) if all => Self::Format { found: *found },
                    _ => Self::Store(error),
                }
            }
            _ => Self::Store(error),
        }
    }
}

/// What the state covers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Covered {
    /// The time of the last epoch in it.
    pub time: u64,
    /// Per source topic and partition: the offset to read on from.
    pub offsets: BTreeMap<(String, u32), Offset>,
    /// Where the dead-letter topics ended, per source topic and partition.
    pub dead_letter_ends: BTreeMap<(String, u32), Offset>,
    /// Below which source offset every dead letter is written.
    pub dead_letters_written: BTreeMap<(String, u32), Offset>,
    /// The parts of aggregates that its panes hold.
    pub slots: KnownSlots,
    /// The views that were shown.
    pub views: Vec<KnownView>,
    /// Per source partition, the highest event time seen: the event clock's memory.
    pub event_high: BTreeMap<(String, u32), i64>,
    /// From where the participants of the checkpoint go on, by name (see `aulaflow_sink::Participant`).
    pub tokens: BTreeMap<String, Token>,
    /// Event ids that are forgotten, by table.
    pub forgotten: BTreeMap<u32, Forgotten>,
    /// The first pane that is needed, by grid: earlier ones and those of other grids are not.
    pub panes_from: BTreeMap<u64, i64>,
    /// A grade that changes has this version at least (see `Versions`).
    pub versions_floor: u32,
}

/// Which event ids of a table are forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// The horizon by which generations are counted.
    pub horizon_ms: i64,
    /// Generations before this one.
    pub before: i64,
}

impl Covered {
    /// How far on the log it is.
    pub fn progress(&self) -> u64 {
        self.offsets.values().sum()
    }

    /// Tells the rows that nobody needs any more.
    pub fn expired(&self) -> Expired {
        let (forgotten, panes_from) = (self.forgotten.clone(), self.panes_from.clone());
        Arc::new(move |key| match key.first() {
            Some(&IDS) => match Key::decode(key) {
                Some(Key::Ids(table, generation, ..)) => {
                    forgotten.get(&table).is_some_and(|forgotten| generation < forgotten.before)
                }
                _ => false,
            },
            Some(&PANES) => split_pane(key).is_some_and(|(_, grid, number)| {
                // A grid that the plan has again later starts anew, with other slots.
                panes_from.get(&grid).is_none_or(|from| number < *from)
            }),
            _ => false,
        })
    }
}

/// A view that was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownView {
    /// Its name.
    pub name: String,
    /// A hash of what it shows.
    pub identity: u64,
}

/// The numbers that rows of the state use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownSlots {
    /// Those in use.
    pub slots: Vec<KnownSlot>,
    /// Above every number that any row may use.
    pub next: Slot,
    /// Tables by number.
    pub tables: Vec<String>,
}

/// A part of an aggregate that panes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownSlot {
    /// A hash of what it computes.
    pub identity: u64,
    /// Its number.
    pub number: Slot,
    /// For how many panes back it is complete.
    pub panes: i64,
}

/// A row of the state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Row {
    /// A tenant's configuration: the JSON of its record, and its offset.
    Tenant {
        /// The record's value.
        json: Vec<u8>,
        /// Its offset.
        offset: u64,
    },
    /// A present evaluation as format 4 wrote it, and its offset. Only read.
    EvaluationOf4(Box<EvaluationOf4>, u64),
    /// A pane of a student: what it holds, of a session grid its runs.
    Pane(Vec<StoredRun>),
    /// Event ids of one table and generation: (route, id).
    Ids(Vec<(u64, IdHash)>),
    /// What history adds to a student's rows.
    History(StoredHistory),
    /// A present evaluation.
    Evaluation(Box<StoredEvaluation>),
}

/// A present evaluation as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredEvaluation {
    /// What was sent.
    pub value: Evaluation,
    /// Where it stands on the log.
    pub offset: u64,
    /// The newest `updated_at` given before it, where it has none of its own.
    pub given: Option<UpdatedAt>,
}

/// What history adds to a student's rows: names, version, time of change, digest of the row (0: no row now).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StoredHistory {
    /// (subject, period, version, updated at, digest)
    pub grades: Vec<(String, String, u32, i64, u64)>,
    /// (view's identity, updated at, digest)
    pub features: Vec<(u64, i64, u64)>,
}

/// A row's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// Of a tenant's configuration.
    Tenant(String),
    /// Tenant, student and evaluation: a student's rows lie together, so that they are loaded together.
    Evaluation(String, String, String),
    /// Tenant and student, the grid's identity, the pane's number: a student's panes lie together.
    Pane(String, String, u64, i64),
    /// Table, generation, and a number that makes the row its own: time and worker.
    Ids(u32, i64, u64, u32),
    /// Tenant and student.
    History(String, String),
}

const TENANT: u8 = b'T';
const EVALUATION: u8 = b'E';
const PANES: u8 = b'P';
const IDS: u8 = b'I';
const HISTORY: u8 = b'H';

impl Key {
    fn encode(&self) -> Vec<u8> {
        let two = |kind: u8, a: &str, b: &str| [&[kind], a.as_bytes(), b"\0", b.as_bytes()].concat();
        match self {
            Self::Tenant(tenant) => [&[TENANT], tenant.as_bytes()].concat(),
            Self::Evaluation(tenant, student, id) => {
                [&[EVALUATION], tenant.as_bytes(), b"\0", student.as_bytes(), b"\0", id.as_bytes()].concat()
            }
            Self::Pane(tenant, student, grid, number) => {
                let mut key = two(PANES, tenant, student);
                key.push(0);
                put_pane(&mut key, *grid, *number);
                key
            }
            Self::History(tenant, student) => two(HISTORY, tenant, student),
            Self::Ids(table, generation, time, worker) => {
                [&[IDS][..], &table.to_be_bytes(), &ordered(*generation), &time.to_be_bytes(), &worker.to_be_bytes()]
                    .concat()
            }
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let text = |b: &[u8]| String::from_utf8(b.to_vec()).ok();
        // Ids hold no control characters, so a NUL separates.
        let split = |b: &[u8]| {
            let at = b.iter().position(|b| *b == 0)?;
            Some((text(&b[..at])?, b[at + 1..].to_vec()))
        };
        let two = || {
            let (a, b) = split(rest)?;
            Some((a, text(&b)?))
        };
        Some(match *kind {
            TENANT => Self::Tenant(text(rest)?),
            EVALUATION => {
                let (tenant, rest) = split(rest)?;
                let (student, id) = split(&rest)?;
                Self::Evaluation(tenant, student, text(&id)?)
            }
            PANES => {
                let (student, grid, number) = split_pane(bytes)?;
                let (tenant, rest) = split(student.get(1..)?)?;
                Self::Pane(tenant, text(rest.strip_suffix(b"\0")?)?, grid, number)
            }
            HISTORY => two().map(|(a, b)| Self::History(a, b))?,
            IDS => Self::Ids(
                u32::from_be_bytes(rest.get(..4)?.try_into().ok()?),
                from_ordered(rest.get(4..12)?)?,
                u64::from_be_bytes(rest.get(12..20)?.try_into().ok()?),
                u32::from_be_bytes(rest.get(20..24)?.try_into().ok()?),
            ),
            _ => return None,
        })
    }
}

/// A number such that the order of the bytes is the order of the numbers.
fn ordered(number: i64) -> [u8; 8] {
    (number as u64 ^ (1 << 63)).to_be_bytes()
}

fn from_ordered(bytes: &[u8]) -> Option<i64> {
    Some((u64::from_be_bytes(bytes.try_into().ok()?) ^ (1 << 63)) as i64)
}

fn put_pane(key: &mut Vec<u8>, grid: u64, number: i64) {
    key.extend(grid.to_be_bytes());
    key.extend(ordered(number));
}

/// Of a pane's key: what all panes of the student have in common, the grid and the number.
fn split_pane(key: &[u8]) -> Option<(&[u8], u64, i64)> {
    let (student, pane) = key.split_at_checked(key.len().checked_sub(16)?)?;
    let (grid, number) = pane.split_at(8);
    Some((student, u64::from_be_bytes(grid.try_into().ok()?), from_ordered(number)?))
}

/// A change of the state: `None` removes the row.
pub type Change = (Key, Option<Row>);

/// An encoded change.
pub type EncodedChange = (Vec<u8>, Option<Vec<u8>>);

/// Encodes a change.
pub fn encode((key, row): &Change) -> EncodedChange {
    (key.encode(), row.as_ref().map(encode_row))
}

fn encode_row(row: &Row) -> Vec<u8> {
    postcard::to_stdvec(row).unwrap_or_else(|e| panic!("a row of plain values can always be encoded: {e}"))
}

/// Encodes a student's history.
pub fn encode_history(symbols: &Symbols, student: StudentNo, history: StoredHistory) -> EncodedChange {
    let (tenant, id) = symbols.student_id(student);
    let key = Key::History(symbols.tenant_id(tenant).to_string(), id.to_string());
    (key.encode(), Some(encode_row(&Row::History(history))))
}

/// Encodes panes of a student, a row each.
pub fn encode_panes(symbols: &Symbols, student: StudentNo, panes: StoredStudent, out: &mut Vec<EncodedChange>) {
    let (tenant, id) = symbols.student_id(student);
    let tenant = symbols.tenant_id(tenant);
    let common = [&[PANES], tenant.as_str().as_bytes(), b"\0", id.as_str().as_bytes(), b"\0"].concat();
    for (grid, number, runs) in panes.panes() {
        let mut key = Vec::with_capacity(common.len() + 16);
        key.extend_from_slice(&common);
        put_pane(&mut key, grid, number);
        out.push((key, Some(encode_row(&Row::Pane(runs)))));
    }
}

/// The store on disk. A cheap handle.
#[derive(Clone)]
pub struct StateStore {
    store: CheckpointStore,
    /// Checkpoints that could not be used.
    refused: Arc<[Refused]>,
}

impl StateStore {
    /// Whether a folder holds a state, of this or of another version.
    pub fn exists(dir: &Path) -> bool {
        CheckpointStore::is_there(dir) || is_of_format_before(dir)
    }

    /// Opens or creates the store, at the newest checkpoint that is sound; `kept` of them are kept.
    pub fn open(dir: &Path, kept: usize) -> Result<Self, StateError> {
        check_format(dir)?;
        let (store, refused) = CheckpointStore::open(dir, Options { kept, format: FORMAT, oldest: OLDEST })?;
        for refused in &refused {
            tracing::warn!(%refused, "a checkpoint cannot be used: the state goes on from an older one");
        }
        Ok(Self { store, refused: refused.into() })
    }

    /// What the state in a folder covers, without opening it for work; `None` before the first checkpoint.
    pub fn inspect(dir: &Path) -> Result<Option<Covered>, StateError> {
        check_format(dir)?;
        let found = CheckpointStore::inspect(dir, Options { kept: 1, format: FORMAT, oldest: OLDEST })?;
        found.checkpoint.map(|(_, meta)| decode_covered(&meta)).transpose()
    }

    /// Notes, durably, whether an engine runs on this state. Returns whether rows may have been shown that the state does
    /// not cover: at a start `true` means that the last one ended without a last checkpoint, or that it cannot be used.
    pub fn note_running(&self, running: bool) -> Result<bool, StateError> {
        Ok(self.store.note_running(running)? || !self.refused.is_empty())
    }

    /// What the state covers; `None` before the first commit.
    pub fn covered(&self) -> Result<Option<Covered>, StateError> {
        self.store.meta().map(|meta| decode_covered(&meta)).transpose()
    }

    /// Writes changes and what they cover, all or nothing, durably. Of a row's changes the last one counts.
    pub fn commit(&self, changes: &mut [EncodedChange], covered: &Covered) -> Result<Committed, StateError> {
        let meta = postcard::to_stdvec(covered).map_err(|e| StateError::Row(e.to_string()))?;
        Ok(self.store.commit(changes, &meta, &covered.expired())?)
    }

    /// Writes changes that come before those of the next commit, so that they need not wait for it in memory.
    pub fn stage(&self, changes: &mut [EncodedChange]) -> Result<(), StateError> {
        Ok(self.store.stage(changes)?)
    }

    /// All rows, in the order in which they are to be loaded: histories, configurations, evaluations, ids, panes.
    pub fn load(&self) -> Result<Load, StateError> {
        let expired = self.covered()?.unwrap_or_default().expired();
        Ok(Load::new(self.store.clone(), expired))
    }

    /// The newest checkpoint, whose files stay as long.
    pub fn pin(&self) -> Option<Pinned> {
        self.store.pin()
    }

    /// How many rows there are, roughly: for a progress bar.
    pub fn approximate_rows(&self) -> u64 {
        self.store.checkpoints().last().map_or(0, |newest| newest.rows)
    }
}

/// What a checkpoint's note says.
pub fn decode_covered(meta: &[u8]) -> Result<Covered, StateError> {
    postcard::from_bytes(meta).map_err(|e| StateError::Row(e.to_string()))
}

/// The marker of the LSM store that held the state before.
fn is_of_format_before(dir: &Path) -> bool {
    dir.join("version").is_file()
}

fn check_format(dir: &Path) -> Result<(), StateError> {
    if is_of_format_before(dir) { Err(StateError::Format { found: FORMAT_BEFORE }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_in_order() {
        let keys = [
            Key::Tenant("t".into()),
            Key::Evaluation("t".into(), "s 1".into(), "a/b".into()),
            Key::Pane("t".into(), "ñandú".into(), 0x0102_0003_0000_0000, -7),
            Key::History("t".into(), "s".into()),
            Key::Ids(1, -5, 7, 2),
        ];
        for key in keys {
            assert_eq!(Key::decode(&key.encode()), Some(key));
        }
        assert!(Key::Ids(1, -5, 9, 0).encode() < Key::Ids(1, 3, 0, 0).encode());
        assert_eq!(Key::decode(b"?x"), None);
        assert_eq!(Key::decode(b""), None);
    }

    #[test]
    fn a_commit_is_read_back_without_what_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let store = StateStore::open(dir.path(), 3).unwrap();
        assert_eq!(store.covered().unwrap(), None);
        let ids = |generation| (Key::Ids(0, generation, 5, 0), Some(Row::Ids(vec![(7, 8)])));
        let mut covered = Covered { time: 5, ..Covered::default() };
        store.commit(&mut [encode(&ids(2)), encode(&ids(1)), encode(&ids(-1))], &covered).unwrap();
        drop(store);
        assert_eq!(StateStore::inspect(dir.path()).unwrap().as_ref(), Some(&covered));
        let store = StateStore::open(dir.path(), 3).unwrap();
        assert_eq!(store.covered().unwrap().as_ref(), Some(&covered));
        let loaded = || {
            store
                .load()
                .unwrap()
                .map(|row| row.unwrap())
                .map(|row| match row {
                    Loaded::Row(key, _) => key,
                    Loaded::Student(tenant, ..) => panic!("no panes were stored: {tenant}"),
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(loaded(), [ids(-1).0, ids(1).0, ids(2).0]);
        covered.forgotten.insert(0, Forgotten { horizon_ms: 3, before: 2 });
        store.commit(&mut [], &covered).unwrap();
        assert_eq!(loaded(), [ids(2).0]);
    }

    #[test]
    fn panes_expire_by_grid_and_number() {
        let covered = Covered { panes_from: BTreeMap::from([(7, -2)]), ..Covered::default() };
        let expired = covered.expired();
        let pane = |grid, number| expired(&Key::Pane("t".into(), "s".into(), grid, number).encode());
        assert_eq!([pane(7, -3), pane(7, -2), pane(7, 5), pane(8, 5)], [true, false, false, true]);
        assert!(!expired(&Key::History("t".into(), "s".into()).encode()) && !expired(b"P"));
    }

    fn evaluation() -> Evaluation {
        let json =
            br#"{"tenant_id":"t","evaluation_id":"e1","student_id":"s","subject":"math","period":"p1","type":"exam",
            "score":"7.5","max_score":"10","graded_at":"2026-03-01T10:00:00Z","updated_at":"2026-03-01T10:00:00Z"}"#;
        let tenant = aulaflow_model::ids::TenantId::new("t").unwrap();
        aulaflow_model::event::decode_evaluation(json, aulaflow_model::event::Origin::Log(&tenant)).unwrap()
    }

    /// A state that the version before wrote goes on to be read.
    #[test]
    fn rows_of_format_4_are_read() {
        let bytes = |hex: &str| -> Vec<u8> {
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
        };
        let mut gather = Gather::default();
        let mut read = Vec::new();
        for line in include_str!("../tests/golden/rows-4.hex").lines() {
            let (key, row) = line.split_once(' ').unwrap();
            read.extend(gather.push(&bytes(key), &bytes(row)).unwrap());
        }
        let stored = StoredEvaluation { value: evaluation(), offset: 5, given: None };
        let key = Key::Evaluation("t".into(), "s".into(), "e1".into());
        assert!(read.contains(&Loaded::Row(key, Row::Evaluation(Box::new(stored)))), "{read:?}");
        read.extend(gather.finish());
        assert_eq!(read.len(), 5);
    }

    /// What is stored must mean the same to every later version that reads the format.
    #[test]
    fn rows_are_written_as_ever() {
        let history = StoredHistory {
            grades: vec![("math".into(), "p1".into(), 3, 1_700_000_000_000, 99)],
            features: vec![(5, -1, 7)],
        };
        let run: StoredRun = serde_json::from_str(
            r#"{"run":[1,2],"sums":[[0,3],[4,-5000000]],"parts":[[1,{"Extreme":{"Int":9}}],[2,{"Edge":[{"at":5,"id":"e"},"Null"]}]]}"#,
        )
        .unwrap();
        let rows = [
            (Key::Tenant("t".into()), Row::Tenant { json: b"{}".to_vec(), offset: 12 }),
            (
                Key::Evaluation("t".into(), "s".into(), "e1".into()),
                Row::Evaluation(Box::new(StoredEvaluation { value: evaluation(), offset: 5, given: None })),
            ),
            (
                Key::Evaluation("t".into(), "s".into(), "e2".into()),
                Row::Evaluation(Box::new(StoredEvaluation {
                    given: evaluation().updated_at,
                    value: Evaluation { updated_at: None, ..evaluation() },
                    offset: 6,
                })),
            ),
            (Key::Pane("t".into(), "s".into(), 77, 490_000), Row::Pane(vec![run])),
            (Key::Ids(1, -2, 3, 0), Row::Ids(vec![(7, 8 << 16)])),
            (Key::History("t".into(), "s".into()), Row::History(history)),
        ];
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut text = String::new();
        for (key, row) in rows {
            let (key, row) = encode(&(key, Some(row)));
            text += &format!("{} {}\n", hex(&key), hex(&row.unwrap()));
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rows-5.hex");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "stored rows have changed: is there a new format?");
    }

    #[test]
    fn the_state_of_another_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("version"), "").unwrap();
        assert!(StateStore::exists(dir.path()));
        assert!(matches!(StateStore::open(dir.path(), 3).map(drop), Err(StateError::Format { found: 3 })));
        let dir = tempfile::tempdir().unwrap();
        let newer = Options { kept: 3, format: 99, oldest: 99 };
        let (store, _) = CheckpointStore::open(dir.path(), newer).unwrap();
        store.commit(&mut [], b"?", &aulaflow_state::never()).unwrap();
        drop(store);
        let refused = StateStore::open(dir.path(), 3).map(drop).unwrap_err();
        assert!(refused.to_string().contains("written in format 99, and this version reads format 5"), "{refused}");
    }

    #[test]
    fn a_state_that_goes_on_from_an_older_checkpoint_counts_as_crashed() {
        let dir = tempfile::tempdir().unwrap();
        let store = StateStore::open(dir.path(), 3).unwrap();
        for time in 1..=2 {
            store.commit(&mut [], &Covered { time, ..Covered::default() }).unwrap();
        }
        drop(store);
        let newest = dir.path().join("checkpoint-0000000000000002");
        let bytes = std::fs::read(&newest).unwrap();
        std::fs::write(&newest, &bytes[..bytes.len() - 1]).unwrap();
        let store = StateStore::open(dir.path(), 3).unwrap();
        assert_eq!(store.covered().unwrap().unwrap().time, 1);
        assert!(store.note_running(true).unwrap());
    }
}
