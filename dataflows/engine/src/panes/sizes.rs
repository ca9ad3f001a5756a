//! What entries of the pane store take in memory: the sizes of its types, for estimates.

use super::{Pane, Ring, Student};
use crate::sum::Sums;
use crate::symbols::StudentNo;

/// A student's entry; rings on up to [`RINGS_INLINE`] grids are in it.
pub const STUDENT: usize = size_of::<(StudentNo, Student)>();
/// Rings that a student's entry holds without memory of their own.
pub const RINGS_INLINE: usize = 2;
/// A student's ring on a grid; the running sum of one window is in it.
pub const RING: usize = size_of::<Ring>();
/// The running sum of a further window, without its amounts.
pub const WINDOW: usize = size_of::<Sums>();
/// A pane, without its contents.
pub const PANE: usize = size_of::<Pane>();
