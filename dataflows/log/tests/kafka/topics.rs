//! Making and checking topics, and what Kafka's own tools see of what we write.

use crate::support::*;
use aulaflow_log::kafka::murmur2;
use aulaflow_log::kafka::topics::{self, Level, TopicSpec};
use aulaflow_log::{Log, RecordSetBuilder};
use std::time::Duration;

#[test]
fn what_is_missing_is_made_and_what_is_wrong_is_said() {
    let Some(broker) = broker() else { return };
    let (a, b, c) = (fresh("a"), fresh("b"), fresh("c"));
    let config = config(&broker, &[&a]);
    let together = |name: &str, partitions| TopicSpec { together: true, ..spec(name, partitions) };
    let wanted = [
        together(&a, 4),
        TopicSpec { compacted: true, ..together(&b, 4) },
        TopicSpec { retention: Some(Duration::from_secs(3_600)), ..spec(&c, 1) },
    ];
    let missing = topics::check(&config, &wanted).unwrap();
    assert_eq!(missing.len(), 3);
    assert!(missing.iter().all(|found| found.level == Level::Error && found.what.contains("missing")), "{missing:?}");
    let ensured = topics::ensure(&config, &wanted).unwrap();
    assert_eq!(ensured.made, [a.clone(), b.clone(), c.clone()]);
    let errors = |findings: &[topics::Finding]| {
        let errors = findings.iter().filter(|found| found.level == Level::Error);
        errors.map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(errors(&ensured.findings), Vec::<String>::new());
    assert!(ensured.findings.iter().any(|found| found.what.contains("1 copy")), "a single broker is no production");
    let states = topics::describe(&config, &wanted).unwrap();
    assert_eq!(states[&b].settings["cleanup.policy"], "compact");
    assert_eq!((states[&c].settings["retention.ms"].as_str(), states[&c].partitions), ("3600000", 1));
    assert!(topics::ensure(&config, &wanted).unwrap().made.is_empty(), "nothing is done twice");

    // The other way round, everything is wrong.
    let least = Some((Duration::from_secs(7 * 24 * 3_600), "the longest window".to_owned()));
    let wrong = [
        TopicSpec { compacted: true, ..together(&a, 4) },
        together(&b, 4),
        TopicSpec { retention_min: least, ..spec(&c, 2) },
    ];
    let found = errors(&topics::check(&config, &wrong).unwrap());
    let has = |words: &[&str]| found.iter().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(has(&[&a, "cleanup.policy", "compact"]) && has(&[&b, "cleanup.policy", "delete"]), "{found:#?}");
    assert!(has(&[&c, "1 hour,", "the longest window", "7 days"]) && has(&[&c, "1 partition,"]), "{found:#?}");

    // Empty topics get more partitions, others do not.
    let log = aulaflow_log::KafkaLog::open(config.clone()).unwrap();
    log.append_wait(&at(&a, 0), numbered(0, 1), WAIT).unwrap();
    let more = [together(&a, 6), TopicSpec { compacted: true, ..together(&b, 6) }];
    let ensured = topics::ensure(&config, &more).unwrap();
    assert_eq!(ensured.made, std::slice::from_ref(&b));
    let found = errors(&ensured.findings);
    assert!(found.iter().any(|line| line.contains(&a) && line.contains("another source topic has 6")), "{found:?}");
    let refused = topics::ensure(&config, &[TopicSpec { replication: 3, ..spec(&fresh("copies"), 1) }]).unwrap_err();
    assert!(refused.to_string().contains("`replication`"), "{refused}");
}

#[test]
fn kafkas_own_consumer_reads_what_we_write() {
    let Some(broker) = broker() else { return };
    let (topic, log) = open(&broker, "console", 2);
    let mut builder = RecordSetBuilder::default();
    builder.push(now(), b"school_1/s1", Some(b"{\"a\":1}"), &[("error", b"late"), ("n", b"2")]);
    builder.push(now(), b"school_1/s2", None, &[]);
    log.append_wait(&at(&topic, 1), builder.finish(), WAIT).unwrap();
    let properties =
        ["print.key=true", "print.headers=true", "print.partition=true", "print.offset=true", "null.literal=NULL"];
    let properties: Vec<_> = properties.iter().flat_map(|p| ["--formatter-property", *p]).collect();
    let tool = "org.apache.kafka.tools.consumer.ConsoleConsumer";
    let common = ["tools", tool, "--bootstrap-server", &broker, "--topic", &topic, "--from-beginning"];
    let limits = ["--max-messages", "2", "--timeout-ms", "20000"];
    let text = script(&[&common[..], &limits, &properties].concat());
    let lines: Vec<_> = text.lines().map(|line| line.split('\t').collect::<Vec<_>>()).collect();
    assert_eq!(lines[0], ["Partition:1", "Offset:0", "error:late,n:2", "school_1/s1", "{\"a\":1}"], "{text}");
    assert_eq!(lines[1], ["Partition:1", "Offset:1", "NO_HEADERS", "school_1/s2", "NULL"], "{text}");
}

#[test]
fn we_partition_as_kafkas_own_producer_does() {
    let Some(broker) = broker() else { return };
    let (topic, log) = open(&broker, "partition", 7);
    // The producer's default partitioner, by the key: a tenant's id here.
    let tenants: Vec<String> = (0..40).map(|n| format!("escuela_ñ{n}")).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines: String = tenants.iter().map(|tenant| format!("{tenant}\t{tenant}\n")).collect();
    std::fs::write(file.path(), lines).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docker/kafka.sh");
    let status = std::process::Command::new(script)
        .args(["tools", "org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", &broker, "--topic", &topic])
        .args(["--reader-property", "parse.key=true"])
        .stdin(std::fs::File::open(file.path()).unwrap())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let mut found = 0;
    for partition in 0..7 {
        let place = at(&topic, partition);
        let end = log.read_aside(&place, 0, 1).unwrap().end_offset;
        for (_, tenant) in read_to(log.as_ref(), &place, 0, end) {
            assert_eq!(
                log.partition_of(&topic, &tenant).unwrap(),
                partition,
                "{tenant} {:x}",
                murmur2(tenant.as_bytes())
            );
            found += 1;
        }
    }
    assert_eq!(found, tenants.len());
}
