//! Consume-only rates from a broker: the Kafka log's reader beside librdkafka's bare consumer, on the same records.
//!
//!     AULAFLOW_KAFKA=127.0.0.1:19092 cargo run --release -p aulaflow-log --example kafka_bench -- [MILLIONS] [PARTITIONS]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use aulaflow_log::kafka::topics::{self, TopicSpec};
use aulaflow_log::{KafkaConfig, KafkaLog, Log, RecordSetBuilder, TopicPartition};
use aulaflow_model::instant::Millis;
use rdkafka::ClientConfig;
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;
use std::time::{Duration, Instant, SystemTime};

const WAIT: Duration = Duration::from_secs(60);
/// Repetitions: the best and the worst are shown.
const RUNS: usize = 3;

fn main() {
    let bootstrap = std::env::var("AULAFLOW_KAFKA").expect("AULAFLOW_KAFKA names the broker");
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let records = arguments.next().unwrap_or(4) * 1_000_000;
    let partitions = arguments.next().unwrap_or(4) as u32;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64;
    let topic = format!("bench.{now}");
    let config = KafkaConfig::new(&bootstrap, &topic, [&topic]);
    let spec = TopicSpec {
        name: topic.clone(),
        partitions,
        together: false,
        compacted: false,
        retention: None,
        retention_min: None,
        replication: 1,
        min_isr: 1,
    };
    topics::ensure(&config, &[spec]).unwrap();
    fill(&config, &topic, records, partitions, now);
    for run in 0..RUNS {
        println!(
            "run {run}: Kafka log {:>10.0} records/s",
            records as f64 / ours(&config, &topic, partitions, records)
        );
        println!(
            "run {run}: bare      {:>10.0} records/s",
            records as f64 / bare(&bootstrap, &topic, partitions, records)
        );
    }
}

fn fill(config: &KafkaConfig, topic: &str, records: u64, partitions: u32, now: i64) {
    let log = KafkaLog::open(config.clone()).unwrap();
    let begun = Instant::now();
    const SET: u64 = 5_000;
    for set in 0..records / SET {
        let mut builder = RecordSetBuilder::default();
        for n in set * SET..(set + 1) * SET {
            let value = format!(
                "{{\"tenant_id\":\"school_{:03}\",\"event_id\":\"{n:012}\",\"student_id\":\"student_{:06}\",\
                 \"event_type\":\"participation\",\"value\":1,\"occurred_at\":\"2026-03-02T15:04:05.{:03}Z\",\
                 \"context\":{{\"page\":\"{:>08}\"}}}}",
                n % 50,
                n * 7919 % 100_000,
                n % 1000,
                n * 31 % 100_000_000
            );
            builder.push(Millis(now), format!("school/{}", n % 100_000).as_bytes(), Some(value.as_bytes()), &[]);
        }
        let place = TopicPartition { topic: topic.to_owned(), partition: (set % u64::from(partitions)) as u32 };
        let records = builder.finish();
        loop {
            match log.append(&place, records.clone(), Box::new(|outcome| drop(outcome.unwrap()))) {
                Ok(()) => break,
                Err(_full) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
    drop(log);
    println!("wrote {records} records at {:.0} records/s", records as f64 / begun.elapsed().as_secs_f64());
}

/// Seconds from the first read to the last record.
fn ours(config: &KafkaConfig, topic: &str, partitions: u32, records: u64) -> f64 {
    let log = KafkaLog::open(config.clone()).unwrap();
    let places: Vec<_> =
        (0..partitions).map(|partition| TopicPartition { topic: topic.to_owned(), partition }).collect();
    let mut next = vec![0; places.len()];
    let (mut read, mut seen, mut bytes) = (0, 0, 0);
    let begun = Instant::now();
    while read < records && begun.elapsed() < WAIT {
        let before = read;
        for (place, next) in places.iter().zip(&mut next) {
            let fetched = log.read(place, *next, 1 << 20).unwrap();
            *next = fetched.next_offset;
            read += u64::from(fetched.records.len());
            bytes += fetched.records.len_bytes();
        }
        if read == before {
            seen = log.wait(seen, Duration::from_millis(100));
        }
    }
    assert_eq!(read, records);
    println!("       {:.0} bytes a record", bytes as f64 / records as f64);
    begun.elapsed().as_secs_f64()
}

/// The same with librdkafka's consumer alone, which only counts.
fn bare(bootstrap: &str, topic: &str, partitions: u32, records: u64) -> f64 {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", topic)
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        // By default it rests for a second whenever its queue is full.
        .set("fetch.queue.backoff.ms", "5")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition as i32, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let begun = Instant::now();
    let mut read = 0;
    while read < records && begun.elapsed() < WAIT {
        if let Some(Ok(_)) = consumer.poll(Duration::from_millis(100)) {
            read += 1;
        }
    }
    assert_eq!(read, records);
    begun.elapsed().as_secs_f64()
}
