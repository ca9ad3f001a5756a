//! Which partitions this process has: the consumer group says, and engines start and end accordingly. Where each partition
//! has an engine of its own they come and go one by one; where one engine has them all it runs while all are here.

use super::archiving::Archiving;
use super::restarts::{Next, Restarts};
use super::shares::Shares;
use anyhow::{Context, Result, bail};
use aulaflow_engine::StartError;
use aulaflow_log::kafka::{Membership, Ownership};
use aulaflow_log::{Log, LogError};
use aulaflow_model::share::Share;
use aulaflow_model::topic;
use aulaflow_plan::runtime::Kafka;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long one wait for the group lasts; also how long a stop may take.
const WAIT: Duration = Duration::from_millis(200);

/// Time between two tries to start an engine.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// How long a log that does not answer is asked again; whoever restarts the process then has more patience.
const PATIENCE: Duration = Duration::from_secs(120);

/// The thread that does what the group says.
pub struct Follow {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// What follows the group.
struct Follower {
    membership: Membership,
    log: Arc<dyn Log>,
    shares: Arc<Shares>,
    archiving: Option<Arc<Archiving>>,
    scale_out: bool,
    /// Partitions that are ours.
    owned: BTreeSet<u32>,
    /// Engines whose writer was at its end.
    restarts: Restarts,
    /// Engines to be started, and since when the log has not answered to that.
    pending: BTreeMap<Share, Option<Instant>>,
    /// The last try.
    tried: Option<Instant>,
    /// How many there were when the first came: a tenant's place depends on it.
    partitions: Option<u32>,
}

impl Follow {
    /// Starts. With `scale_out` in the settings each partition has an engine of its own.
    pub fn start(
        membership: Membership,
        log: &Arc<dyn Log>,
        shares: &Arc<Shares>,
        archiving: Option<Arc<Archiving>>,
        settings: &Kafka,
    ) -> Result<Self> {
        let (stop, stopped) = channel();
        let mut follower = Follower {
            membership,
            log: Arc::clone(log),
            shares: Arc::clone(shares),
            archiving,
            scale_out: settings.scale_out,
            owned: BTreeSet::new(),
            restarts: Restarts::new(settings.session_timeout),
            pending: BTreeMap::new(),
            tried: None,
            partitions: None,
        };
        follower.say_what_is_missing();
        let thread = std::thread::Builder::new().name("aulaflow-group".to_owned());
        let thread = thread.spawn(move || {
            while stopped.try_recv().is_err_and(|error| error == std::sync::mpsc::TryRecvError::Empty) {
                if let Err(error) = follower.step() {
                    follower.shares.fail(format!("{error:#}"));
                    // The membership goes with the process: whoever restarts it takes its place.
                    let _asked_to_stop: Result<(), RecvTimeoutError> = stopped.recv_timeout(Duration::MAX);
                    return;
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends: the engines go on as they are. The place in the group is kept for as long as the group waits for a member.
    pub fn stop(self) {
        // An ended thread does not hear it.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

impl Follower {
    fn step(&mut self) -> Result<()> {
        match self.membership.next(WAIT) {
            Some(Ownership::Gained(partitions)) => self.gained(&partitions),
            Some(Ownership::Lost(partitions)) => self.lost(&partitions)?,
            Some(Ownership::Gone(partitions)) => self.gone(&partitions),
            Some(Ownership::Ended(reason)) => bail!("this process has lost its place in the consumer group: {reason}"),
            None => {}
        }
        for (share, failure) in self.shares.end_writerless() {
            self.start_again(share, failure)?;
        }
        self.begin_pending()?;
        self.check_count()
    }

    /// A share's engine has ended since its writer has. It starts again after a pause, if its partitions are still ours then.
    fn start_again(&mut self, share: Share, failure: impl std::fmt::Display) -> Result<()> {
        match self.restarts.ended(share, Instant::now()) {
            Next::GiveUp(times) => bail!(
                "the engine of share {share} has ended {times} times in a row, the last time since {failure}: does \
                 another process write in the name of this consumer group? See the runbook `fenced-writer`"
            ),
            Next::StartLater => {
                self.pending.insert(share, None);
                self.say_what_is_missing();
                Ok(())
            }
        }
    }

    fn gained(&mut self, partitions: &[u32]) {
        tracing::info!(?partitions, "partitions have come");
        self.owned.extend(partitions);
        if self.scale_out {
            self.pending.extend(partitions.iter().map(|partition| (Share::Partition(*partition), None)));
        }
        self.tried = None;
        self.say_what_is_missing();
    }

    /// Ends engines before the group gives their partitions to another process: it finds their checkpoints in the archive.
    fn lost(&mut self, partitions: &[u32]) -> Result<()> {
        tracing::info!(?partitions, "partitions go");
        self.disown(partitions);
        for share in self.shares_of(partitions) {
            let last = self.shares.stop(share)?;
            if let (Some(archiving), Some(last)) = (&self.archiving, last) {
                archiving.copy_last(share, &last);
            }
        }
        self.membership.release(partitions);
        self.say_what_is_missing();
        Ok(())
    }

    /// The group has not heard of us for too long: another process may have these already. What ours still write is
    /// refused or changes nothing, and their checkpoints are not further than the other's will be.
    fn gone(&mut self, partitions: &[u32]) {
        tracing::warn!(?partitions, "the group has taken partitions away, since it did not hear of this process");
        self.disown(partitions);
        for share in self.shares_of(partitions) {
            self.shares.abandon(share);
        }
        self.say_what_is_missing();
    }

    fn has_all(&self) -> bool {
        self.log.partitions(topic::BEHAVIOR).is_ok_and(|all| self.owned.len() == all as usize)
    }

    /// Partitions are not ours any more, and nothing is started for them.
    fn disown(&mut self, partitions: &[u32]) {
        self.owned.retain(|partition| !partitions.contains(partition));
        let owned = &self.owned;
        self.pending.retain(|share, _| match share {
            Share::Partition(number) => owned.contains(number),
            Share::All => false,
        });
    }

    /// The engines that work on partitions.
    fn shares_of(&self, partitions: &[u32]) -> Vec<Share> {
        match self.scale_out {
            true => partitions.iter().map(|partition| Share::Partition(*partition)).collect(),
            false if self.shares.has(Share::All) => vec![Share::All],
            false => Vec::new(),
        }
    }

    /// Starts engines that are not started yet. A log that does not answer is asked again, for a while.
    fn begin_pending(&mut self) -> Result<()> {
        if !self.scale_out && self.has_all() && !self.shares.has(Share::All) {
            self.pending.entry(Share::All).or_default();
        }
        if self.pending.is_empty() || self.tried.is_some_and(|tried| tried.elapsed() < TRY_EVERY) {
            return Ok(());
        }
        let now = Instant::now();
        self.tried = Some(now);
        for (share, since) in std::mem::take(&mut self.pending) {
            if !self.restarts.may_start(share, now) {
                self.pending.insert(share, since);
                continue;
            }
            let Err(error) = self.begin(share) else { continue };
            if ends_writer(&error) {
                self.start_again(share, format!("{error:#}"))?;
                continue;
            }
            let since = since.unwrap_or_else(Instant::now);
            if !does_not_answer(&error) || since.elapsed() > PATIENCE {
                return Err(error);
            }
            tracing::warn!(%share, "the log does not answer yet: {error:#}");
            self.pending.insert(share, Some(since));
        }
        self.say_what_is_missing();
        Ok(())
    }

    fn begin(&self, share: Share) -> Result<()> {
        if let Some(archiving) = &self.archiving {
            archiving.bring(share, &self.shares.state_dir(share)).with_context(|| format!("share {share}"))?;
        }
        self.shares.start(share)
    }

    /// For whoever asks why nothing is served.
    fn say_what_is_missing(&self) {
        let waits = match (self.scale_out, self.log.partitions(topic::BEHAVIOR)) {
            (true, _) if self.owned.is_empty() => {
                Some("the consumer group has given this process no partition".to_owned())
            }
            (false, Ok(all)) if self.owned.len() < all as usize => Some(format!(
                "the consumer group has given this process {} of {all} partitions, and one engine needs all: stop the \
                 other processes of the group, or let several share the partitions with `scale_out = true`",
                self.owned.len()
            )),
            _ => None,
        };
        let now = Instant::now();
        let pauses = |share: &&Share| !self.restarts.may_start(**share, now);
        let pausing = self.pending.keys().find(pauses);
        let waits = waits
            .or_else(|| self.pending.values().flatten().next().map(|_| "the log does not answer".to_owned()))
            .or_else(|| pausing.map(|share| format!("the engine of share {share} is started again in a moment")));
        self.shares.waits_for(waits);
    }

    /// With an engine for each partition the number of partitions is fixed: adding one moves tenants away from their state.
    fn check_count(&mut self) -> Result<()> {
        if !self.scale_out {
            return Ok(());
        }
        let Ok(now) = self.log.partitions(topic::BEHAVIOR) else { return Ok(()) };
        let first = *self.partitions.get_or_insert(now);
        if now != first {
            bail!(
                "{} had {first} partitions and has {now} now: tenants' new records are in other partitions than their old \
                 ones. Go on with `scale_out = false`, where one engine reads all partitions, or put all records on new topics",
                topic::BEHAVIOR
            );
        }
        Ok(())
    }
}

/// Whether trying again may help.
fn does_not_answer(error: &anyhow::Error) -> bool {
    of_log(error).any(|error| matches!(error, LogError::Unavailable(_)))
}

/// Whether a writer was ended while it began.
fn ends_writer(error: &anyhow::Error) -> bool {
    of_log(error).any(LogError::ends_writer)
}

fn of_log(error: &anyhow::Error) -> impl Iterator<Item = &LogError> {
    error.chain().filter_map(|cause| match cause.downcast_ref::<StartError>() {
        Some(StartError::Log(error)) => Some(error),
        Some(StartError::State(_) | StartError::Workers(_)) | None => cause.downcast_ref(),
    })
}
