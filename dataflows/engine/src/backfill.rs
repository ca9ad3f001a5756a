//! Making what the state has nothing of, from the log: after a change of the configuration, the parts of aggregates that
//! no view needed before. Everything else keeps its state, and serves meanwhile.
//!
//! The records before the state's offsets are read once more, and only what is missing is taken from them. The clock does
//! not move: what left every window long ago is left out as it is read.

use crate::coordinator::{Coordinator, Source};
use crate::operators::behavior::BehaviorInput;
use crate::shared::Chunk;
use crate::worker::EpochInput;
use aulaflow_log::{Log, LogError, Offset, TopicPartition};
use aulaflow_model::topic::Input;

/// Records in one step, about.
const STEP_RECORDS: usize = 65_536;
/// Bytes read from one partition at a time.
const READ_BYTES_MAX: usize = 1 << 20;

/// Reads the behaviour events before the state's offsets once more; `progress` is told how many so far, and of how many.
pub fn run(coordinator: &mut Coordinator, progress: &dyn Fn(u64, u64)) -> Result<(), String> {
    let log = coordinator.log.clone();
    let ranges = ranges(log.as_ref(), &coordinator.sources).map_err(|e| e.to_string())?;
    let total = ranges.iter().map(|(_, start, end)| end.saturating_sub(*start)).sum();
    let mut done = 0;
    for (place, start, end) in ranges {
        partition(coordinator, log.as_ref(), &place, (start, end), &mut |records| {
            done += records;
            progress(done, total);
        })?;
    }
    Ok(())
}

/// What is read once more: behaviour events from where the log starts to where the state's offsets are.
pub fn ranges(log: &dyn Log, sources: &[Source]) -> Result<Vec<(TopicPartition, Offset, Offset)>, LogError> {
    let behavior = sources.iter().filter(|source| source.input == Input::Behavior);
    behavior.map(|source| Ok((source.place.clone(), log.start_offset(&source.place)?, source.next))).collect()
}

fn partition(
    coordinator: &mut Coordinator,
    log: &dyn Log,
    place: &TopicPartition,
    (mut next, end): (u64, u64),
    read: &mut dyn FnMut(u64),
) -> Result<(), String> {
    let workers = coordinator.workers.len();
    while next < end {
        let mut inputs: Vec<EpochInput> = (0..workers).map(|_| EpochInput::default()).collect();
        let mut records = 0;
        while next < end && records < STEP_RECORDS {
            let fetched = log.read(place, next, READ_BYTES_MAX).map_err(|e| e.to_string())?;
            if fetched.records.is_empty() {
                next = end;
                break;
            }
            let count = fetched.records.len();
            let before_end = fetched.records.iter().filter(|r| fetched.base_offset + u64::from(r.index) < end).count();
            let taken = u32::try_from(before_end).unwrap_or(count).min(count);
            for part in 0..workers as u32 {
                let of = workers as u32;
                let slice = fetched.records.slice(taken * part / of, taken * (part + 1) / of);
                let chunk = Chunk { partition: place.partition, base_offset: fetched.base_offset, records: slice };
                inputs[part as usize].behavior.push(BehaviorInput::Backfill(chunk));
            }
            records += taken as usize;
            next = fetched.next_offset;
        }
        coordinator.load(inputs)?;
        read(records as u64);
    }
    Ok(())
}
