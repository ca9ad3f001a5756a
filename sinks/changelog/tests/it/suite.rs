//! The changelog under the suite of idempotent sinks: what a replica shows of it.

use crate::harness::until;
use aulaflow_changelog::{Changelog, ChangelogStart, Replica, ReplicaMetrics, ReplicaStart, WriterMetrics};
use aulaflow_log::{EmbeddedConfig, EmbeddedLog, Fsync, Log, TopicPartition};
use aulaflow_model::change::ViewIndex;
use aulaflow_model::instant::ClockTime;
use aulaflow_model::share::Share;
use aulaflow_model::topic;
use aulaflow_serving::{ProfileRead, ReadHalf, Stores};
use aulaflow_sink::conformance::{self, Reader, Rows};
use aulaflow_sink::update::{ChangeBatch, CohortBatch};
use aulaflow_sink::{Fanout, IdempotentSink, Outcome, Part, Participant};
use std::sync::Arc;
use std::time::Duration;

/// How long a round of the writer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A store with its changelog behind it, as a worker has them.
struct Logged([Part; 1]);

impl IdempotentSink for Logged {
    fn apply(&mut self, batch: &ChangeBatch) -> Outcome {
        self.0[0].apply(batch);
        Outcome::Applied
    }

    fn apply_cohorts(&mut self, batch: &CohortBatch) -> Outcome {
        self.0[0].apply_cohorts(batch);
        Outcome::Applied
    }

    fn advance(&mut self, frontier: ClockTime) {
        self.0[0].advance(frontier);
    }
}

/// What keeps the other end.
struct Followed {
    _dir: tempfile::TempDir,
    log: Arc<EmbeddedLog>,
    store: ReadHalf,
    changelog: Option<Changelog>,
    replica: Option<Replica>,
}

impl Followed {
    /// Waits until the replica shows what the store does.
    fn catch_up(&self) -> &Replica {
        let (Some(changelog), Some(replica)) = (&self.changelog, &self.replica) else { panic!("it was ended") };
        let frontier = self.store.frontier();
        changelog.writer().prepare(ClockTime(frontier.0.saturating_sub(1)), PATIENCE).unwrap();
        let end =
            |partition| self.log.end_offset(&TopicPartition { topic: topic::PROFILES.to_owned(), partition }).unwrap();
        let ends: Vec<_> = replica.stores().iter().map(|(partition, _)| end(*partition)).collect();
        until("the replica has read", || {
            replica.status().partitions.iter().zip(&ends).all(|(place, end)| place.visible >= *end)
        });
        replica
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.changelog.take().into_iter().for_each(Changelog::stop);
        self.replica.take().into_iter().for_each(Replica::stop);
    }
}

fn rows(store: &ReadHalf, profile: &ProfileRead<'_>) -> Rows {
    let view = |name: &str| store.schemas().iter().position(|schema| schema.name == name).unwrap() as ViewIndex;
    Rows {
        grades: profile.grades().iter().map(|g| ((g.subject.clone(), g.period.clone()), g.row.clone())).collect(),
        features: profile.features().map(|(schema, row)| (view(&schema.name), row.clone())).collect(),
    }
}

fn open() -> (Logged, Reader) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = EmbeddedConfig::new(dir.path().join("log"), [topic::PROFILES.to_owned()]);
    config.fsync = Fsync::Never;
    let log = Arc::new(EmbeddedLog::open(config).unwrap());
    let (halves, store) = aulaflow_serving::store(conformance::schemas(), Vec::new(), 100, 1);
    let (changelog, notes) = Changelog::start(ChangelogStart {
        log: log.clone(),
        share: Share::All,
        store: store.clone(),
        workers: 1,
        views: 1,
        interval: Duration::from_millis(1),
        metrics: WriterMetrics::default(),
        at: |_| {},
    })
    .unwrap();
    let writer = changelog.writer();
    writer.restore(None);
    writer.loaded();
    writer.caught_up();
    let replica = Replica::start(ReplicaStart {
        log: log.clone(),
        shown: Stores::new(conformance::schemas()),
        derived: Vec::new(),
        students_expected: 100,
        live: true,
        metrics: ReplicaMetrics::default(),
    })
    .unwrap();
    let mut sinks = halves.into_iter().zip(notes).map(|(half, notes)| Fanout::new().with(half).with(notes));
    let sink = Logged(sinks.next().unwrap().split());
    let followed = Followed { _dir: dir, log, store, changelog: Some(changelog), replica: Some(replica) };
    let read: Reader = Box::new(move |tenant, student| {
        let replica = followed.catch_up();
        replica.stores().iter().find_map(|(_, store)| Some(rows(store, &store.profile(tenant, student)?)))
    });
    (sink, read)
}

#[test]
fn a_replica_of_the_changelog_is_an_idempotent_sink() {
    conformance::replay_changes_nothing(open());
    conformance::retraction_removes(open());
    conformance::restart_converges(open);
}
