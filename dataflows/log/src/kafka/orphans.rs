//! Partitions that no member of the consumer group has. A process that is killed in the middle of a handover, and comes back
//! under its name before its session ends, is given the place that it had then, without another round of the group: what was
//! on its way to another process stays with nobody. Nobody in the group is told; so each process looks, and a member that
//! comes and goes makes the group share its partitions out once more.

use super::client::Context;
use super::config::KafkaOpenError;
use super::signal::{Wake, join};
use super::watch::Watch;
use super::{KafkaConfig, KafkaLog};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two looks at the group. What is nobody's at two looks in a row is not on its way any more; a handover that
/// takes longer is not harmed by one more round.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long the group is waited for until it has shared out.
const ROUND_MAX: Duration = Duration::from_secs(30);
/// How long one look into what the group says to the passing member takes.
const POLL: Duration = Duration::from_millis(100);
/// The state of a group that shares nothing out at the moment.
const SETTLED: &str = "Stable";

/// What looks. Dropping it ends that.
pub(super) struct Orphans {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    config: KafkaConfig,
    context: Context,
    watch: Arc<Watch>,
    topic: String,
    /// A topic that no member is given: the passing member takes nothing from anybody.
    aside: String,
    stop: AtomicBool,
    wake: Wake,
}

impl Orphans {
    /// Starts. `None` where the log has no other topic than the one whose partitions are shared.
    pub fn start(log: &KafkaLog, topic: &str) -> Result<Option<Self>, KafkaOpenError> {
        let Some(aside) = log.config.topics.iter().find(|other| *other != topic) else { return Ok(None) };
        let shared = Arc::new(Shared {
            config: log.config.clone(),
            context: log.context.clone(),
            watch: Arc::clone(&log.watch),
            topic: topic.to_owned(),
            aside: aside.clone(),
            stop: AtomicBool::new(false),
            wake: Wake::default(),
        });
        let thread = std::thread::Builder::new().name("aulaflow-kafka-orphans".to_owned());
        let looking = Arc::clone(&shared);
        let thread = thread.spawn(move || looking.run());
        let thread = thread.map_err(|e| KafkaOpenError::Client(format!("no thread to look at the group: {e}")))?;
        Ok(Some(Self { shared, thread: Some(thread) }))
    }
}

impl Drop for Orphans {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake.wake();
        join(&mut self.thread, "looks at the consumer group");
    }
}

impl Shared {
    fn run(&self) {
        let mut before = BTreeSet::new();
        loop {
            self.wake.sleep(LOOK_EVERY);
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            let orphans = self.look().unwrap_or_default();
            let partitions: Vec<u32> = orphans.intersection(&before).copied().collect();
            before = orphans;
            if partitions.is_empty() {
                continue;
            }
            tracing::warn!(?partitions, "no process of the group has these partitions: it is made to share them out");
            if let Err(error) = self.pass() {
                tracing::warn!(%error, "the consumer group was not made to share out its partitions; trying on");
            }
            before.clear();
        }
    }

    /// What no member has; `None` while the group shares out, or where it cannot be seen.
    fn look(&self) -> Option<BTreeSet<u32>> {
        let all = self.watch.partitions(&self.topic).ok()?;
        let groups = self.watch.group(&self.config.group).ok()?;
        let group = groups.groups().iter().find(|group| group.name() == self.config.group)?;
        if group.state() != SETTLED || group.members().is_empty() {
            return None;
        }
        let mut orphans: BTreeSet<u32> = (0..all).collect();
        for member in group.members() {
            for partition in assigned(member.assignment().unwrap_or_default(), &self.topic)? {
                orphans.remove(&partition);
            }
        }
        Some(orphans)
    }

    /// Joins the group without a name of its own, for something else than what the others share, until it was shared out.
    fn pass(&self) -> KafkaResult<()> {
        let passing: BaseConsumer<Context> = self.config.passing().create_with_context(self.context.clone())?;
        passing.subscribe(&[&self.aside])?;
        let deadline = Instant::now() + ROUND_MAX;
        while Instant::now() < deadline && !self.stop.load(Ordering::Acquire) {
            // Nothing that it reads or is told matters: it is here to be counted.
            let _: Option<KafkaResult<_>> = passing.poll(POLL);
            if passing.assignment()?.count() > 0 {
                break;
            }
        }
        Ok(())
    }
}

/// A topic's partitions in a member's assignment as the protocol `consumer` writes it; nothing in one that is empty, `None`
/// where it is not understood.
fn assigned(mut bytes: &[u8], topic: &str) -> Option<Vec<u32>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    // Later versions only add behind what is read here.
    let _version = number::<2>(&mut bytes)?;
    let mut partitions = Vec::new();
    for _ in 0..number::<4>(&mut bytes)? {
        let length = usize::try_from(number::<2>(&mut bytes)?).ok()?;
        let (name, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        for _ in 0..number::<4>(&mut bytes)? {
            let partition = number::<4>(&mut bytes)?;
            if name == topic.as_bytes() {
                partitions.push(partition);
            }
        }
    }
    Some(partitions)
}

/// Takes a number that is not negative, most significant byte first.
fn number<const BYTES: usize>(bytes: &mut &[u8]) -> Option<u32> {
    let (taken, rest) = bytes.split_at_checked(BYTES)?;
    *bytes = rest;
    let number = taken.iter().fold(0u32, |number, byte| (number << 8) | u32::from(*byte));
    (number >> (BYTES * 8 - 1) == 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(topics: &[(&str, &[i32])]) -> Vec<u8> {
        let mut bytes = vec![0, 1];
        bytes.extend((topics.len() as i32).to_be_bytes());
        for (name, partitions) in topics {
            bytes.extend((name.len() as i16).to_be_bytes());
            bytes.extend(name.as_bytes());
            bytes.extend((partitions.len() as i32).to_be_bytes());
            partitions.iter().for_each(|partition| bytes.extend(partition.to_be_bytes()));
        }
        bytes.extend((-1i32).to_be_bytes());
        bytes
    }

    #[test]
    fn assignments_are_read() {
        let bytes = written(&[("other", &[7, 8]), ("own", &[0, 300]), ("more", &[])]);
        assert_eq!(assigned(&bytes, "own"), Some(vec![0, 300]));
        assert_eq!(assigned(&bytes, "none"), Some(Vec::new()));
        assert_eq!(assigned(&[], "own"), Some(Vec::new()));
        for length in 1..bytes.len() - 4 {
            assert_eq!(assigned(&bytes[..length], "own"), None, "{length} bytes");
        }
        assert_eq!(assigned(&written(&[("own", &[-1])]), "own"), None);
    }
}
