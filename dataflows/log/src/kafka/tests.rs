//! What needs no broker: configurations, errors, what a partition's buffer does, and what is right of topics.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::client::{Health, append_error};
use super::context;
use super::slot::{Incoming, Slot};
use super::topics::{Level, TopicSpec, TopicState, judge};
use super::writer::TransactionalWriter;
use super::{KafkaConfig, KafkaLog, Sasl, Secret, Security, Tls};
use crate::{LogError, Offset, RecordSetBuilder, SourceState, TopicPartition, Writer};
use aulaflow_model::instant::Millis;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::collections::BTreeMap;
use std::time::Duration;

fn config() -> KafkaConfig {
    KafkaConfig::new("127.0.0.1:1", "group", ["t"])
}

#[test]
fn wrong_configurations_are_refused() {
    let refused = |config: KafkaConfig| match KafkaLog::open(config) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.to_string(),
    };
    assert!(refused(KafkaConfig { group: String::new(), ..config() }).contains("`group` is empty"));
    for (name, words) in [
        ("auto.offset.reset", "never a jump"),
        ("enable.idempotence", "twice"),
        ("session.timeout.ms", "`session_timeout`"),
        ("delivery.timeout.ms", "`append_timeout`"),
        ("sasl.password", "`security`"),
        ("ssl.key.password", "`security`"),
    ] {
        let properties = BTreeMap::from([(name.to_owned(), "s3cret".to_owned())]);
        let error = refused(KafkaConfig { properties, ..config() });
        assert!(error.contains(name) && error.contains(words) && !error.contains("s3cret"), "{error}");
    }
    let plain = Some(Sasl::Plain("me".to_owned(), Secret("s3cret".to_owned())));
    let error = refused(KafkaConfig { security: Security { tls: None, sasl: plain }, ..config() });
    assert!(error.contains("without TLS"), "{error}");
    // What only the client library knows.
    let properties = BTreeMap::from([("no.such.property".to_owned(), "s3cret".to_owned())]);
    let error = refused(KafkaConfig { properties, ..config() });
    assert!(error.contains("no.such.property") && !error.contains("s3cret"), "{error}");
    let tls = Some(Tls { ca_file: Some("/no/such/file.pem".into()), ..Tls::default() });
    let error = refused(KafkaConfig { security: Security { tls, sasl: None }, ..config() });
    assert!(error.contains("cannot start"), "{error}");
}

#[test]
fn secrets_are_not_shown() {
    let sasl = Some(Sasl::ScramSha512("me".to_owned(), Secret("s3cret".to_owned())));
    let tls = Some(Tls { key_password: Some(Secret("s3cret".to_owned())), ..Tls::default() });
    let config = KafkaConfig { security: Security { tls, sasl }, ..config() };
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn errors_say_whether_to_try_again() {
    let health = Health::new(Duration::from_secs(10));
    let error = |code| append_error(&KafkaError::MessageProduction(code), Some("w"), &health);
    assert!(matches!(error(RDKafkaErrorCode::ProducerFenced), LogError::Fenced(name) if name == "w"));
    assert!(matches!(error(RDKafkaErrorCode::InvalidProducerEpoch), LogError::Fenced(_)));
    assert!(matches!(error(RDKafkaErrorCode::MessageSizeTooLarge), LogError::Refused(_)));
    assert!(matches!(error(RDKafkaErrorCode::MessageTimedOut), LogError::Unavailable(_)));
    let fenced = KafkaError::MessageProduction(RDKafkaErrorCode::ProducerFenced);
    assert!(matches!(append_error(&fenced, None, &health), LogError::Unavailable(_)));
}

#[test]
fn states_follow_what_is_heard() {
    let health = Health::new(Duration::from_millis(0));
    assert!(matches!(health.state(), SourceState::Stalled(why) if why.contains("have not answered")));
    health.complain(Some(RDKafkaErrorCode::BrokerTransportFailure), "connection refused");
    health.complain(Some(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
    assert!(matches!(health.state(), SourceState::Stalled(why) if why == "connection refused"));
    let patient = Health::new(Duration::from_secs(3_600));
    assert_eq!(patient.state(), SourceState::Connecting);
    patient.complain(Some(RDKafkaErrorCode::BrokerTransportFailure), "connection refused");
    assert_eq!(patient.state(), SourceState::Connecting);
    // A wrong password needs no patience.
    patient.complain(Some(RDKafkaErrorCode::Authentication), "invalid credentials");
    assert!(matches!(patient.state(), SourceState::Stalled(why) if why.contains("password")));
    patient.heard();
    assert_eq!(patient.state(), SourceState::Live);
}

fn incoming(offset: Offset) -> Incoming<'static> {
    Incoming { offset, timestamp: Millis(1), key: b"k", value: Some(b"v"), headers: &[] }
}

#[test]
fn gaps_become_holes_and_the_position_passes_them() {
    let slot = Slot::new(TopicPartition { topic: "t".to_owned(), partition: 0 }, 10);
    let mut inner = slot.inner.into_inner();
    for offset in [12, 13, 20] {
        assert!(inner.push(&incoming(offset)) > 0);
    }
    assert_eq!(inner.push(&incoming(13)), 0, "one that was received is not received again");
    // Further than an index reaches.
    inner.push(&incoming(1 << 40));
    inner.received = (1 << 40) + 5;
    let first = inner.take(10, 0);
    assert_eq!((first.base_offset, first.next_offset), (12, 21));
    assert!(first.records.iter().map(|r| first.base_offset + u64::from(r.index)).eq([12, 13, 20]));
    assert!(inner.goes_on_at(21) && !inner.goes_on_at(20) && !inner.goes_on_at(22));
    let second = inner.take(21, 0);
    assert_eq!((second.base_offset, second.next_offset, second.records.len()), (1 << 40, (1 << 40) + 1, 1));
    let third = inner.take(second.next_offset, 0);
    assert_eq!((third.records.len(), third.next_offset, third.end_offset), (0, (1 << 40) + 5, (1 << 40) + 5));
    // Whether the reader has heard of the gap or not.
    assert!(inner.goes_on_at(second.next_offset) && inner.goes_on_at(third.next_offset));
    assert_eq!(inner.bytes, 0);
    inner.push(&incoming((1 << 40) + 5));
    assert!(inner.move_to(3) > 0);
    assert!(inner.goes_on_at(3) && inner.moved);
}

#[test]
fn topics_are_judged_together() {
    let spec = |name: &str| TopicSpec {
        name: name.to_owned(),
        partitions: 4,
        together: true,
        compacted: false,
        retention: None,
        retention_min: None,
        replication: 3,
        min_isr: 2,
    };
    let state = |partitions, settings: &[(&str, &str)]| TopicState {
        partitions,
        replication: 3,
        settings: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    };
    let good = [("cleanup.policy", "delete"), ("min.insync.replicas", "2"), ("retention.ms", "-1")];
    let states = |a: TopicState, b: TopicState| BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]);
    let found = judge(&[spec("a"), spec("b")], &states(state(4, &good), state(4, &good)));
    assert_eq!(found, []);
    let found = judge(&[spec("a"), spec("b")], &states(state(4, &good), state(6, &good)));
    assert!(found.iter().any(|f| f.level == Level::Error && f.topic == "a" && f.what.contains("has 6")), "{found:?}");
    let odd = [("cleanup.policy", "compact,delete"), ("min.insync.replicas", "4"), ("retention.bytes", "1")];
    let compacted = TopicSpec { compacted: true, ..spec("a") };
    let found = judge(&[compacted], &states(state(4, &odd), state(4, &good)));
    let levels: Vec<_> = found.iter().map(|f| f.level).collect();
    assert_eq!(levels, [Level::Error, Level::Error], "{found:?}");
    let found = judge(&[spec("c")], &BTreeMap::new());
    assert!(found[0].to_string().contains("`aulaflow topics ensure`"), "{found:?}");
}

const WRITE: Duration = Duration::from_secs(10);

/// Brokers that answer the ends of transactions with these errors, and a writer there.
fn refusing(errors: &[RDKafkaRespErr]) -> (MockCluster<'static, DefaultProducerContext>, TransactionalWriter) {
    let brokers = MockCluster::new(1).unwrap();
    brokers.create_topic("t", 1, 1).unwrap();
    let config = KafkaConfig::new(&brokers.bootstrap_servers(), "group", ["t"]);
    let mut writer = TransactionalWriter::new(&config, context(&config).unwrap(), "w").unwrap();
    write(&mut writer).unwrap();
    brokers.request_errors(RDKafkaApiKey::EndTxn, errors);
    (brokers, writer)
}

fn write(writer: &mut TransactionalWriter) -> Result<(), LogError> {
    let mut set = RecordSetBuilder::default();
    set.push(Millis(1), b"key", Some(b"value"), &[]);
    let place = TopicPartition { topic: "t".to_owned(), partition: 0 };
    writer.write(&[(place, set.finish())], WRITE).map(drop)
}

#[test]
fn a_writer_that_the_client_library_has_ended_says_so_every_time() {
    let (_brokers, mut writer) = refusing(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE]);
    for _ in 0..3 {
        let error = write(&mut writer).unwrap_err();
        assert!(error.ends_writer(), "{error}");
        let LogError::Ended { name, why } = &error else { panic!("{error}") };
        assert!(name == "w" && !why.is_empty(), "{error}");
    }
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    let (_brokers, mut writer) = refusing(&[denied]);
    let error = write(&mut writer).unwrap_err();
    assert!(error.ends_writer() && error.to_string().contains("allow this user"), "{error}");
}

#[test]
fn a_writer_that_was_fenced_says_so_every_time() {
    let (_brokers, mut writer) = refusing(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR_PRODUCER_FENCED]);
    for _ in 0..3 {
        let error = write(&mut writer).unwrap_err();
        assert!(matches!(&error, LogError::Fenced(name) if name == "w"), "{error}");
    }
}

#[test]
fn a_writer_goes_on_after_errors_that_pass() {
    let busy = RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
    let (_brokers, mut writer) = refusing(&[busy, busy]);
    write(&mut writer).unwrap();
    // The transaction must be taken back: the write has failed, the one after it goes through.
    let (_brokers, mut writer) = refusing(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN]);
    let error = write(&mut writer).unwrap_err();
    assert!(!error.ends_writer(), "{error}");
    write(&mut writer).unwrap();
}
