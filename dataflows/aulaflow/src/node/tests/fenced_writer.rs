//! A writer that another one fences ends its share's engine, which starts again: the process and its other engines go on.
//! With a real broker, which `make test-kafka` starts.

use super::*;
use crate::kafka_settings::{kafka_config, topic_specs};
use aulaflow_log::kafka::topics;
use aulaflow_log::{RecordSetBuilder, TopicPartition};

/// How long anything may take.
const WAIT: Duration = Duration::from_secs(60);

fn kafka_plan(data_dir: &Path) -> Option<Plan> {
    let Some(broker) = std::env::var("AULAFLOW_KAFKA").ok().filter(|address| !address.is_empty()) else {
        eprintln!("!!! SKIPPED: AULAFLOW_KAFKA names no broker; `make test-kafka` starts one");
        return None;
    };
    let group = format!("fenced-{}", tenant_records::now().0);
    let runtime = format!(
        "{RUNTIME}\n[log]\nkind = \"kafka\"\npartitions = 2\n[log.kafka]\nbootstrap = \"{broker}\"\ngroup = \"{group}\"\n\
         instance = \"one\"\nscale_out = true\nsession_timeout = \"6 s\"\nreplication = 1\nmin_isr = 1\n"
    );
    Some(plan_of(data_dir, &runtime))
}

/// How often engines of a share were started again.
fn restarts(world: &World, node: &Node, share: u32) -> u64 {
    let authorization = format!("Bearer {}", world.token);
    let mut answer =
        world.agent.get(format!("{}/metrics", node.url)).header("Authorization", &authorization).call().unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    let name = format!("aulaflow_engine_restarts_total{{share=\"{share}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < WAIT, "in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// A record that becomes a dead letter.
fn append_unusable(log: &dyn Log, partition: u32) {
    let mut set = RecordSetBuilder::default();
    set.push(tenant_records::now(), b"t", Some(b"no JSON"), &[]);
    let place = TopicPartition { topic: topic::BEHAVIOR.to_owned(), partition };
    log.append_wait(&place, set.finish(), WAIT).unwrap();
}

#[test]
fn a_fenced_writer_ends_its_engine_and_not_the_process() {
    let world = World::new();
    let Some(plan) = kafka_plan(world.dir.path()) else { return };
    let LogKind::Kafka(kafka) = &plan.runtime.log.kind else { panic!("the log is in Kafka") };
    let config = kafka_config(&plan.runtime).unwrap().unwrap();
    topics::ensure(&config, &topic_specs(&plan, kafka)).unwrap();
    let mut node = Node::start_on(plan, Roles::ALL, StopSignal::never(), log_store::open).unwrap();
    until("a node that is ready", || world.get(&node, "/readyz").0 == 200);
    let write = |node: &Node, score: u32| {
        let updated = format!("2026-03-02T10:00:{score:02}Z");
        let accepted = || [200, 201].contains(&world.post(node, "/v1/evaluations", &evaluation(score, &updated)).0);
        until("an evaluation that is accepted", accepted);
        world.profile(node, &format!("{score}.00"));
    };
    write(&node, 10);
    let other = Arc::new(KafkaLog::open(config).unwrap());
    let share = other.partition_of(topic::BEHAVIOR, "t").unwrap();
    for (round, name) in ["aulaflow-changelog", "dead-letters"].into_iter().enumerate() {
        // It stays, as that of a process which believes that it has the share.
        let _later = Arc::clone(&other).writer(&format!("{name}-{share}")).unwrap();
        append_unusable(node.log.as_ref(), share);
        let restarted = round as u64 + 1;
        until(&format!("an engine whose writer {name} was fenced and that starts again"), || {
            assert!(node.until_end_or(Duration::from_millis(1)).is_none(), "the process goes on");
            restarts(&world, &node, share) == restarted
        });
        write(&node, 20 + restarted as u32);
    }
    assert_eq!(restarts(&world, &node, share), 2);
    assert_eq!(restarts(&world, &node, 1 - share), 0, "the other share's engine goes on");
    assert!(node.until_end_or(Duration::from_millis(1)).is_none());
    node.stop().unwrap();
}
