//! Rows on their way into the dataflows: in the order of kinds, a student's panes together.

use super::{EVALUATION, HISTORY, IDS, Key, PANES, Row, StateError, StoredEvaluation, TENANT, split_pane};
use crate::panes::StoredStudent;
use aulaflow_state::{CheckpointStore, Expired, Rows};

/// What is loaded as one.
#[derive(Debug, Clone, PartialEq)]
pub enum Loaded {
    /// A row.
    Row(Key, Row),
    /// All panes of a student: tenant, student, panes.
    Student(String, String, StoredStudent),
}

/// Kinds of rows as they are loaded.
const KINDS: [u8; 5] = [HISTORY, TENANT, EVALUATION, IDS, PANES];

/// The rows of a checkpoint.
pub struct Load {
    store: CheckpointStore,
    expired: Expired,
    kinds: std::slice::Iter<'static, u8>,
    rows: Option<Rows>,
    gather: Gather,
    read: u64,
}

impl Load {
    pub(super) fn new(store: CheckpointStore, expired: Expired) -> Self {
        Self { store, expired, kinds: KINDS.iter(), rows: None, gather: Gather::default(), read: 0 }
    }

    /// Stored rows read so far.
    pub fn rows_read(&self) -> u64 {
        self.read
    }

    fn next_loaded(&mut self) -> Result<Option<Loaded>, StateError> {
        loop {
            if let Some(rows) = &mut self.rows {
                while let Some((key, value)) = rows.next_row()? {
                    self.read += 1;
                    if let Some(loaded) = self.gather.push(key, value)? {
                        return Ok(Some(loaded));
                    }
                }
            }
            let Some(kind) = self.kinds.next() else {
                self.rows = None;
                return Ok(self.gather.finish());
            };
            self.rows = Some(self.store.rows(&[*kind], &self.expired)?);
        }
    }
}

impl Iterator for Load {
    type Item = Result<Loaded, StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_loaded().transpose()
    }
}

/// Decodes rows in the order of their keys, and puts the panes of a student together.
#[derive(Default)]
pub struct Gather {
    /// What the keys of the student's panes have in common.
    common: Vec<u8>,
    student: Option<Loaded>,
}

impl Gather {
    /// Takes a row in; what is complete comes out.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<Option<Loaded>, StateError> {
        let unknown = || StateError::Row("unknown key".to_owned());
        let mut row: Row = postcard::from_bytes(value).map_err(|e| StateError::Row(e.to_string()))?;
        if let Row::EvaluationOf4(old, offset) = row {
            row = Row::Evaluation(Box::new(StoredEvaluation { value: (*old).into(), offset, given: None }));
        }
        let Row::Pane(runs) = row else {
            return Ok(Some(Loaded::Row(Key::decode(key).ok_or_else(unknown)?, row)));
        };
        let (common, grid, number) = split_pane(key).ok_or_else(unknown)?;
        if common == self.common
            && let Some(Loaded::Student(_, _, panes)) = &mut self.student
        {
            panes.push(grid, number, runs);
            return Ok(None);
        }
        let Some(Key::Pane(tenant, student, ..)) = Key::decode(key) else { return Err(unknown()) };
        self.common.clear();
        self.common.extend_from_slice(common);
        let mut panes = StoredStudent::default();
        panes.push(grid, number, runs);
        Ok(self.student.replace(Loaded::Student(tenant, student, panes)))
    }

    /// What is left.
    pub fn finish(&mut self) -> Option<Loaded> {
        self.student.take()
    }
}
