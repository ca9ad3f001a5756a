//! One pane of one student.

use crate::cells::Cells;

/// What the events of a pane add up to. Of a session grid, one run of events without a gap.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pane {
    /// The number, and in the lowest bit whether the state lacks what the pane holds: there are very many panes.
    number_and_unsaved: i64,
    /// The first and the last event of a run, in milliseconds from the pane's start; else 0.
    pub(super) run: (u32, u32),
    pub(super) cells: Cells,
}

impl Pane {
    /// A pane as the state has it. Numbers are instants divided by slides, and far from the ends of their range.
    pub(super) fn new(number: i64, run: (u32, u32), cells: Cells) -> Self {
        Self { number_and_unsaved: number << 1, run, cells }
    }

    /// Its number: panes of a grid are numbered by time.
    pub(super) fn number(&self) -> i64 {
        self.number_and_unsaved >> 1
    }

    /// Whether the state lacks what it holds.
    pub(super) fn is_unsaved(&self) -> bool {
        self.number_and_unsaved & 1 != 0
    }

    /// It has changed. Returns whether the state had it as it was.
    pub(super) fn set_unsaved(&mut self) -> bool {
        let was_saved = !self.is_unsaved();
        self.number_and_unsaved |= 1;
        was_saved
    }

    /// It is on its way to the state.
    pub(super) fn set_saved(&mut self) {
        self.number_and_unsaved &= !1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_bit_share_a_word() {
        for number in [-5, -1, 0, 1, i64::MAX / 2, i64::MIN / 2] {
            let mut pane = Pane::new(number, (0, 0), Cells::default());
            assert!(!pane.is_unsaved() && pane.set_unsaved() && !pane.set_unsaved());
            assert_eq!((pane.number(), pane.is_unsaved()), (number, true));
            pane.set_saved();
            assert_eq!((pane.number(), pane.is_unsaved()), (number, false));
        }
        assert_eq!(size_of::<Pane>(), 64);
    }
}
