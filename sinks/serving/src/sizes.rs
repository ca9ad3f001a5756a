//! What the store takes in memory for its students, beside the rows themselves: for estimates.

use crate::key::StudentKey;
use crate::profile::Profile;
use crate::{SHARDS, capacity};
use std::sync::Arc;

/// A student's profile, with the counts in front of it and without its rows.
pub const PROFILE: usize = 2 * size_of::<usize>() + size_of::<Profile>();
/// A place of the table by student.
pub const ENTRY: usize = size_of::<(StudentKey, Arc<Profile>)>();

/// The tables by student: how many there are, and for how many entries each has room. Room for `students_expected` is there
/// from the start.
pub fn tables(students: u64, students_expected: usize) -> (u64, u64) {
    let expected = (capacity(students_expected) / SHARDS) as u64;
    (SHARDS as u64, expected.max(students.div_ceil(SHARDS as u64)))
}
