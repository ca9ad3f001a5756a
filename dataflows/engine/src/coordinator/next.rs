//! Whether an epoch is due, and which rows it emits: decisions over what is outstanding. Pure.
//!
//! Law (liveness): while something is outstanding that an epoch brings on, an epoch is due or under way. So an engine that
//! nothing comes to any more is caught up after finitely many epochs, has emitted and released everything, and has what it
//! made in a checkpoint; then it rests. What waits for something outside, a log that does not answer say, is not outstanding:
//! an epoch would change nothing.

use crate::shared::Tell;

/// How far reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Something that was on the log at the start is not read.
    Behind,
    /// All of it is read, and an epoch is to say that the views have it.
    Read,
    /// The views have it.
    CaughtUp,
}

/// What the coordinator knows when nothing new was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outstanding {
    /// No epoch was made yet: the first one shows what was loaded.
    pub first: bool,
    /// A question waits for an epoch.
    pub asked: bool,
    /// Workers have epochs that they have not completed: those bring on what follows.
    pub under_way: bool,
    /// How far reading is.
    pub reading: Reading,
    /// Offsets without records were passed since the last epoch: they are to be visible.
    pub passed: bool,
    /// Students have rows that are not emitted.
    pub unemitted: bool,
    /// Panes of a boundary are still being released.
    pub settling: bool,
    /// A checkpoint is exported in steps.
    pub exporting: bool,
    /// A checkpoint is to be begun.
    pub checkpoint: bool,
    /// The clock has reached an instant at which rows change, or the live clock's heartbeat is due.
    pub clock: bool,
}

impl Outstanding {
    /// Whether an epoch without records is due.
    pub fn epoch_is_due(&self) -> bool {
        if self.first || self.asked {
            return true;
        }
        if self.under_way {
            return false;
        }
        // Rows leave when all is read.
        let emits = self.unemitted && self.reading != Reading::Behind;
        let catches_up = self.reading == Reading::Read;
        emits || catches_up || self.passed || self.settling || self.exporting || self.checkpoint || self.clock
    }
}

/// Which rows leave while the log is read to where it ended at the start.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CatchingUp {
    /// The fewest students that had rows left to emit after an epoch that emitted some.
    fewest: Option<usize>,
    /// An epoch emits all, or did: so do those after it.
    all: bool,
}

impl CatchingUp {
    /// Which rows leave after the next epoch, where those of so many students wait. Until all is read nobody is told that
    /// they are true, so each student's leave once, and then in steps: fresh events don't wait behind all of them.
    pub fn tell(&mut self, reading: Reading, unemitted: usize) -> Tell {
        match reading {
            Reading::CaughtUp => Tell::All,
            Reading::Behind => {
                *self = Self::default();
                Tell::Later
            }
            Reading::Read => {
                self.all |= unemitted == 0;
                if self.all { Tell::All } else { Tell::Some }
            }
        }
    }

    /// An epoch is complete; rows of so many students wait now. Steps that do not get ahead of what comes meanwhile end
    /// in one that emits all.
    pub fn complete(&mut self, tell: Tell, unemitted: usize) {
        match tell {
            Tell::All | Tell::Later => {}
            Tell::Some => {
                self.all |= self.fewest.is_some_and(|fewest| unemitted >= fewest);
                self.fewest = Some(self.fewest.map_or(unemitted, |fewest| fewest.min(unemitted)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONE: Outstanding = Outstanding {
        first: false,
        asked: false,
        under_way: false,
        reading: Reading::CaughtUp,
        passed: false,
        unemitted: false,
        settling: false,
        exporting: false,
        checkpoint: false,
        clock: false,
    };

    #[test]
    fn an_epoch_is_due_while_something_is_outstanding_that_it_brings_on() {
        let behind = Outstanding { reading: Reading::Behind, ..NONE };
        let table = [
            ("nothing", NONE, false),
            ("the first", Outstanding { first: true, ..NONE }, true),
            ("the first, behind", Outstanding { first: true, ..behind }, true),
            ("a question", Outstanding { asked: true, ..NONE }, true),
            ("a question beside epochs", Outstanding { asked: true, under_way: true, ..NONE }, true),
            ("all read, nothing emitted last", Outstanding { reading: Reading::Read, ..NONE }, true),
            ("all read, rows wait", Outstanding { reading: Reading::Read, unemitted: true, ..NONE }, true),
            ("all read, an epoch under way", Outstanding { reading: Reading::Read, under_way: true, ..NONE }, false),
            ("the log gives nothing", behind, false),
            ("rows wait for a log that gives nothing", Outstanding { unemitted: true, ..behind }, false),
            ("rows wait", Outstanding { unemitted: true, ..NONE }, true),
            ("offsets without records", Outstanding { passed: true, ..NONE }, true),
            ("panes are released", Outstanding { settling: true, ..NONE }, true),
            ("panes are released, behind", Outstanding { settling: true, ..behind }, true),
            ("a checkpoint is exported", Outstanding { exporting: true, ..NONE }, true),
            ("a checkpoint is exported, behind", Outstanding { exporting: true, ..behind }, true),
            ("a checkpoint is due", Outstanding { checkpoint: true, ..NONE }, true),
            ("a checkpoint is due, behind", Outstanding { checkpoint: true, ..behind }, true),
            ("the clock has moved", Outstanding { clock: true, ..NONE }, true),
            ("the clock has moved, an epoch under way", Outstanding { clock: true, under_way: true, ..NONE }, false),
        ];
        for (what, outstanding, due) in table {
            assert_eq!(outstanding.epoch_is_due(), due, "{what}");
        }
    }

    #[test]
    fn rows_leave_in_steps_when_all_is_read() {
        let mut catching_up = CatchingUp::default();
        assert_eq!(catching_up.tell(Reading::Behind, 9), Tell::Later);
        assert_eq!(catching_up.tell(Reading::Read, 9), Tell::Some);
        catching_up.complete(Tell::Some, 5);
        assert_eq!(catching_up.tell(Reading::Read, 5), Tell::Some);
        catching_up.complete(Tell::Some, 0);
        assert_eq!(catching_up.tell(Reading::Read, 0), Tell::All);
        // An epoch that has all under way is not followed by one that has less.
        assert_eq!(catching_up.tell(Reading::Read, 3), Tell::All);
        // A source is read on that was not.
        assert_eq!(catching_up.tell(Reading::Behind, 3), Tell::Later);
        assert_eq!(catching_up.tell(Reading::Read, 3), Tell::Some);
        assert_eq!(catching_up.tell(Reading::CaughtUp, 3), Tell::All);
    }

    #[test]
    fn steps_that_get_nowhere_end() {
        let mut catching_up = CatchingUp::default();
        for left in [9, 7] {
            assert_eq!(catching_up.tell(Reading::Read, left), Tell::Some);
            catching_up.complete(Tell::Some, left);
        }
        catching_up.complete(Tell::Some, 7);
        assert_eq!(catching_up.tell(Reading::Read, 7), Tell::All);
    }

    /// An engine as the coordinator sees it: epochs are under way, two at most, and complete in order.
    #[derive(Debug)]
    struct Model {
        /// Records on the log at the start, and how many were read.
        end: usize,
        read: usize,
        unemitted: usize,
        settling: usize,
        parts: usize,
        unsaved: bool,
        first: bool,
        caught_up: bool,
        passed: bool,
        /// How it emits, and how many students its records change.
        under_way: Vec<(Tell, usize)>,
        catching_up: CatchingUp,
    }

    /// Students whose rows leave in one step.
    const STEP: usize = 3;

    impl Model {
        fn reading(&self) -> Reading {
            match (self.caught_up, self.read >= self.end) {
                (true, _) => Reading::CaughtUp,
                (false, true) => Reading::Read,
                (false, false) => Reading::Behind,
            }
        }

        fn outstanding(&self) -> Outstanding {
            Outstanding {
                first: self.first,
                asked: false,
                under_way: !self.under_way.is_empty(),
                reading: self.reading(),
                passed: self.passed,
                unemitted: self.unemitted > 0,
                settling: self.settling > 0,
                exporting: self.parts > 0,
                checkpoint: self.unsaved && self.parts == 0,
                clock: false,
            }
        }

        fn epoch(&mut self, records: usize) {
            self.read += records;
            let tell = self.catching_up.tell(self.reading(), self.unemitted);
            (self.first, self.passed) = (false, false);
            if std::mem::take(&mut self.unsaved) {
                self.parts = 2;
            }
            self.under_way.push((tell, records));
        }

        fn complete(&mut self) {
            let (tell, records) = self.under_way.remove(0);
            self.unemitted += records;
            self.unsaved |= records > 0;
            let leave = match tell {
                Tell::All => usize::MAX,
                Tell::Some => STEP,
                Tell::Later => 0,
            };
            self.unemitted = self.unemitted.saturating_sub(leave);
            self.settling = self.settling.saturating_sub(1);
            self.parts = self.parts.saturating_sub(1);
            self.catching_up.complete(tell, self.unemitted);
            // Emitted as of an epoch that has all.
            self.caught_up |= tell == Tell::All && self.read >= self.end;
            assert!(!self.caught_up || self.under_way.iter().all(|(tell, _)| *tell == Tell::All), "{self:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
        #[test]
        fn with_no_new_record_it_catches_up_and_rests(
            end in 0usize..40,
            settling in 0usize..5,
            unsaved: bool,
            // Records that the log gives, whether an epoch completes first, whether it passes offsets without records.
            steps in proptest::collection::vec((0usize..9, any::<bool>(), any::<bool>()), 0..12),
        ) {
            let mut model = Model {
                end, read: 0, unemitted: 0, settling, parts: 0, unsaved, first: true, caught_up: false, passed: false,
                under_way: Vec::new(), catching_up: CatchingUp::default(),
            };
            for (records, completes, passes) in steps {
                if (completes || model.under_way.len() >= 2) && !model.under_way.is_empty() {
                    model.complete();
                }
                if passes {
                    model.passed = true;
                    model.read += 1;
                }
                if records > 0 || model.outstanding().epoch_is_due() {
                    model.epoch(records);
                }
            }
            // What is left of the log comes, in whatever batches; from then on nothing.
            while model.read < model.end {
                if model.under_way.len() >= 2 {
                    model.complete();
                }
                model.epoch(7.min(model.end - model.read));
            }
            let mut epochs = 0;
            loop {
                if !model.under_way.is_empty() {
                    model.complete();
                } else if model.outstanding().epoch_is_due() {
                    model.epoch(0);
                    epochs += 1;
                } else {
                    break;
                }
                prop_assert!(epochs < 60, "{model:?}");
            }
            prop_assert!(model.caught_up && model.unemitted == 0 && model.settling == 0, "{model:?}");
            prop_assert!(model.parts == 0 && !model.unsaved, "{model:?}");
        }

        /// Also where more comes with each epoch than a step emits.
        #[test]
        fn under_load_it_catches_up(end in 1usize..40, load in 0usize..9) {
            let mut model = Model {
                end, read: 0, unemitted: 0, settling: 0, parts: 0, unsaved: false, first: true, caught_up: false,
                passed: false, under_way: Vec::new(), catching_up: CatchingUp::default(),
            };
            for _ in 0..200 {
                model.epoch(load.max(1));
                if model.under_way.len() == 2 {
                    model.complete();
                }
            }
            prop_assert!(model.caught_up, "{model:?}");
        }
    }
}
