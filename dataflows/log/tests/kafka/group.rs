//! Membership of the consumer group.

use crate::support::*;
use aulaflow_log::KafkaLog;
use aulaflow_log::kafka::{KafkaConfig, Membership, Ownership, topics};
use std::collections::BTreeSet;
use std::time::Duration;

/// One member, as a process would have it.
struct Process {
    _log: KafkaLog,
    member: Membership,
    /// By what it was told.
    owned: BTreeSet<u32>,
    told: Vec<Ownership>,
}

impl Process {
    fn start(config: &KafkaConfig, instance: &str, topic: &str) -> Self {
        let log = KafkaLog::open(KafkaConfig { instance: instance.to_owned(), ..config.clone() }).unwrap();
        let member = Membership::join(&log, topic).unwrap();
        Self { _log: log, member, owned: BTreeSet::new(), told: Vec::new() }
    }

    /// Takes what there is; releases what it must when `releases`.
    fn look(&mut self, releases: bool) {
        while let Some(change) = self.member.next(Duration::from_millis(20)) {
            match &change {
                Ownership::Gained(gained) => self.owned.extend(gained),
                Ownership::Lost(lost) if releases => {
                    self.owned.retain(|p| !lost.contains(p));
                    self.member.release(lost);
                }
                Ownership::Lost(_) => {}
                Ownership::Gone(gone) => self.owned.retain(|p| !gone.contains(p)),
                Ownership::Ended(_) => self.owned.clear(),
            }
            self.told.push(change);
        }
    }

    /// Looks until it has so many partitions.
    fn until_it_has(&mut self, count: usize, releases: bool) {
        until("partitions", || {
            self.look(releases);
            (self.owned.len() == count).then_some(())
        });
    }
}

/// Looks at two until each has two partitions.
fn until_halves(first: &mut Process, second: &mut Process) {
    until("halves", || {
        first.look(true);
        second.look(true);
        (first.owned.len() == 2 && second.owned.len() == 2).then_some(())
    });
}

fn setup(broker: &str, partitions: u32) -> (KafkaConfig, String) {
    let (topic, log) = open(broker, "group", partitions);
    (log.config().clone(), topic)
}

#[test]
fn partitions_are_shared_and_handed_over_only_when_released() {
    let Some(broker) = broker() else { return };
    let (config, topic) = setup(&broker, 6);
    let mut first = Process::start(&config, "first", &topic);
    first.until_it_has(6, true);
    let mut second = Process::start(&config, "second", &topic);
    // The first one is asked for half of them, and takes its time.
    let lost = until("a loss", || {
        first.look(false);
        second.look(true);
        first.told.iter().find_map(|change| match change {
            Ownership::Lost(lost) => Some(lost.clone()),
            Ownership::Gained(_) | Ownership::Gone(_) | Ownership::Ended(_) => None,
        })
    });
    assert_eq!(lost.len(), 3, "{lost:?}");
    assert!(second.member.next(Duration::from_millis(1500)).is_none(), "before they were released");
    assert_eq!(first.member.partitions().len(), 6);
    first.owned.retain(|p| !lost.contains(p));
    first.member.release(&lost);
    until("the other half", || {
        first.look(true);
        second.look(true);
        (second.owned.len() == 3).then_some(())
    });
    assert!(first.owned.is_disjoint(&second.owned));
    assert_eq!(second.owned, lost.into_iter().collect());
    assert_eq!(first.member.partitions(), first.owned.iter().copied().collect::<Vec<_>>());
}

#[test]
fn a_restart_keeps_its_partitions() {
    let Some(broker) = broker() else { return };
    let (config, topic) = setup(&broker, 4);
    let mut first = Process::start(&config, "first", &topic);
    let mut second = Process::start(&config, "second", &topic);
    until_halves(&mut first, &mut second);
    let before = first.owned.clone();
    second.told.clear();
    drop(first);
    let mut first = Process::start(&config, "first", &topic);
    until("the same again", || {
        first.look(true);
        second.look(true);
        (first.owned == before).then_some(())
    });
    assert_eq!(second.told, [], "nobody else was troubled");
    // One that does not come back is missed after its session.
    drop(first);
    second.until_it_has(4, true);
}

#[test]
fn what_a_killed_process_was_handing_over_is_shared_out_again() {
    let Some(broker) = broker() else { return };
    let (topic, aside) = (fresh("group"), fresh("aside"));
    let config = config(&broker, &[&topic, &aside]);
    topics::ensure(&config, &[spec(&topic, 4), spec(&aside, 4)]).unwrap();
    let mut killed = Process::start(&config, "first", &topic);
    killed.until_it_has(4, true);
    let mut second = Process::start(&config, "second", &topic);
    until("a loss", || {
        killed.look(false);
        killed.told.iter().find(|change| matches!(change, Ownership::Lost(_))).map(drop)
    });
    // Another one of its name ends it as it is, and is given the place that it had by then.
    let mut first = Process::start(&config, "first", &topic);
    until_halves(&mut first, &mut second);
    assert!(first.owned.is_disjoint(&second.owned));
}

#[test]
fn partitions_that_are_not_released_go_after_a_while() {
    let Some(broker) = broker() else { return };
    let (mut config, topic) = setup(&broker, 2);
    config.release_timeout = Duration::from_millis(500);
    let mut first = Process::start(&config, "first", &topic);
    first.until_it_has(2, false);
    let mut second = Process::start(&config, "second", &topic);
    until("a partition", || {
        first.look(false);
        second.look(false);
        (second.owned.len() == 1).then_some(())
    });
    assert_eq!(first.member.partitions().len(), 1);
}

/// The living one has the name: who is put out does not put it out in turn.
#[test]
fn a_second_process_of_the_same_name_ends_the_first() {
    let Some(broker) = broker() else { return };
    let (config, topic) = setup(&broker, 2);
    let mut first = Process::start(&config, "same", &topic);
    first.until_it_has(2, true);
    let mut second = Process::start(&config, "same", &topic);
    until("the end", || {
        first.look(true);
        second.look(true);
        first.told.iter().find(|told| matches!(told, Ownership::Ended(why) if why.contains("instance"))).map(drop)
    });
    assert!(first.member.partitions().is_empty());
    second.until_it_has(2, true);
    assert!(second.told.iter().all(|told| matches!(told, Ownership::Gained(_))), "{:?}", second.told);
}

/// A name that nobody is behind, as a join whose answer was lost leaves it: who is put out by it comes back after its session.
#[test]
fn who_was_put_out_comes_back_when_nobody_has_its_name() {
    let Some(broker) = broker() else { return };
    let (config, topic) = setup(&broker, 2);
    let mut first = Process::start(&config, "same", &topic);
    first.until_it_has(2, true);
    // A member that says nothing any more, and does not leave.
    let mut passing = Process::start(&config, "same", &topic);
    passing.until_it_has(2, true);
    drop(passing);
    until("it is put out", || {
        first.look(true);
        first.told.iter().find(|told| matches!(told, Ownership::Gone(_))).map(drop)
    });
    assert!(first.member.partitions().is_empty());
    first.until_it_has(2, true);
    assert_eq!(first.member.partitions(), [0, 1]);
    assert!(!first.told.iter().any(|told| matches!(told, Ownership::Ended(_))), "{:?}", first.told);
}
