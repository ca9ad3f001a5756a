//! `aulaflow topics`: makes and checks the topics in Kafka.

use crate::config::{self, ConfigArg, Overrides};
use crate::failure::Misuse;
use crate::kafka_settings::{kafka_config, topic_specs};
use anyhow::{Result, anyhow, bail};
use aulaflow_log::kafka::KafkaConfig;
use aulaflow_log::kafka::topics::{self, Finding, Level, TopicSpec, TopicState};
use aulaflow_plan::Plan;
use aulaflow_plan::runtime::LogKind;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Makes the topics in Kafka, or says what is wrong with them
#[derive(Debug, clap::Args)]
pub struct Topics {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Makes topics that are missing, gives empty ones more partitions where they have too few, and checks all
    Ensure(ConfigArg),
    /// Checks partitions, compaction, retention, copies and min ISR; changes nothing; exit code 1 if something is wrong
    Check(ConfigArg),
}

impl Topics {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        match self.what {
            What::Ensure(config) => {
                let (kafka, specs) = read(&config.config)?;
                let ensured = topics::ensure(&kafka, &specs)?;
                for name in &ensured.made {
                    eprintln!("made {name}");
                }
                show(&kafka, &specs, &ensured.findings)
            }
            What::Check(config) => {
                let (kafka, specs) = read(&config.config)?;
                let findings = topics::check(&kafka, &specs)?;
                show(&kafka, &specs, &findings)
            }
        }
    }
}

fn read(config: &Path) -> Result<(KafkaConfig, Vec<TopicSpec>)> {
    let plan = config::load(config, &Overrides::default())?;
    wanted(&plan)?.ok_or_else(|| {
        Misuse::error(format!(
            "the log of {} is embedded and has no topics to make: set `kind = \"kafka\"` in `[log]`",
            config.display()
        ))
    })
}

fn wanted(plan: &Plan) -> Result<Option<(KafkaConfig, Vec<TopicSpec>)>> {
    let LogKind::Kafka(kafka) = &plan.runtime.log.kind else { return Ok(None) };
    Ok(kafka_config(&plan.runtime)?.map(|config| (config, topic_specs(plan, kafka))))
}

/// Refuses to start on topics that would make results wrong; warnings are logged. Nothing to do where the log is embedded.
pub fn refuse_wrong(plan: &Plan) -> Result<()> {
    let Some((config, specs)) = wanted(plan)? else { return Ok(()) };
    let findings = topics::check(&config, &specs)?;
    let (errors, warnings): (Vec<_>, Vec<_>) = findings.iter().partition(|found| found.level == Level::Error);
    for Kind { what, remedy, topics } in kinds(warnings) {
        tracing::warn!(topics, "{what}: {remedy}");
    }
    if errors.is_empty() {
        return Ok(());
    }
    let lines: String = errors.iter().map(|error| format!("\n  {error}")).collect();
    Err(anyhow!("the topics in Kafka are not as they must be:{lines}"))
}

fn show(kafka: &KafkaConfig, specs: &[TopicSpec], findings: &[Finding]) -> Result<()> {
    print!("{}", table(specs, &topics::describe(kafka, specs)?));
    for (level, word) in [(Level::Error, "error"), (Level::Warning, "warning")] {
        for Kind { what, remedy, topics } in kinds(findings.iter().filter(|found| found.level == level)) {
            eprintln!("{word}: {topics}: {what}: {remedy}");
        }
    }
    match findings.iter().filter(|found| found.level == Level::Error).count() {
        0 => Ok(()),
        1 => bail!("1 topic is not as it must be"),
        count => bail!("{count} things are not as they must be"),
    }
}

/// What is found of several topics alike.
struct Kind<'a> {
    what: &'a str,
    remedy: &'a str,
    /// Their names.
    topics: String,
}

/// Findings of a kind together, in the order of their first ones.
fn kinds<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Vec<Kind<'a>> {
    let mut kinds: Vec<Kind<'a>> = Vec::new();
    for Finding { topic, what, remedy, .. } in findings {
        match kinds.iter_mut().find(|kind| (kind.what, kind.remedy) == (what, remedy)) {
            Some(kind) => {
                kind.topics.push_str(", ");
                kind.topics.push_str(topic);
            }
            None => kinds.push(Kind { what, remedy, topics: topic.clone() }),
        }
    }
    kinds
}

fn table(specs: &[TopicSpec], states: &BTreeMap<String, TopicState>) -> String {
    let mut out = format!(
        "{:<26} {:>10} {:>7} {:>8} {:<10} {:>12}\n",
        "TOPIC", "PARTITIONS", "COPIES", "MIN ISR", "CLEANUP", "RETENTION"
    );
    for spec in specs {
        let Some(state) = states.get(&spec.name) else {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{:<26} {:>10}", spec.name, "missing");
            continue;
        };
        let setting = |name: &str| state.settings.get(name).map_or("?", String::as_str);
        let retention = match setting("retention.ms").parse::<i64>() {
            Ok(ms) if ms >= 0 && !spec.compacted => format!("{:.1} days", ms as f64 / 86_400_000.0),
            Ok(_) => "for ever".to_owned(),
            Err(_) => "?".to_owned(),
        };
        let _ = writeln!(
            out,
            "{:<26} {:>10} {:>7} {:>8} {:<10} {:>12}",
            spec.name,
            state.partitions,
            state.replication,
            setting("min.insync.replicas"),
            setting("cleanup.policy"),
            retention
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_several_topics_alike_is_said_once() {
        let finding = |topic: &str, what: &str| Finding {
            level: Level::Warning,
            topic: topic.to_owned(),
            what: what.to_owned(),
            remedy: "raise it".to_owned(),
        };
        let findings =
            [finding("a", "one copy"), finding("a", "min ISR"), finding("b", "one copy"), finding("c", "more")];
        let said: Vec<_> = kinds(&findings).into_iter().map(|kind| (kind.topics, kind.what)).collect();
        let expected = [("a, b", "one copy"), ("a", "min ISR"), ("c", "more")];
        assert_eq!(said, expected.map(|(topics, what)| (topics.to_owned(), what)));
    }
}
