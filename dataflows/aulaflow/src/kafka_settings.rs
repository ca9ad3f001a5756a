//! The settings of Kafka as the log's crate wants them: secrets are read here, and the host's name.

use crate::config::read_secret;
use crate::failure::Misuse;
use crate::log_store::topics;
use anyhow::Result;
use aulaflow_log::kafka::topics::TopicSpec;
use aulaflow_log::kafka::{KafkaConfig, OAuth, Sasl, Secret, Security, Tls};
use aulaflow_model::topic::{self, Input, Topic};
use aulaflow_plan::Plan;
use aulaflow_plan::runtime::{Kafka, KafkaSasl, LogKind, LogSettings, Runtime, SecretSource};
use std::time::Duration;

/// How to open the log in Kafka. `None`: the log is embedded.
pub fn kafka_config(runtime: &Runtime) -> Result<Option<KafkaConfig>> {
    let LogKind::Kafka(kafka) = &runtime.log.kind else { return Ok(None) };
    let config = KafkaConfig {
        instance: kafka.instance.clone().map_or_else(host_name, Ok)?,
        security: security(kafka)?,
        properties: kafka.properties.clone(),
        partitions: runtime.log.partitions,
        read_ahead_bytes_max: kafka.read_ahead_bytes_max,
        buffer_bytes_max: runtime.log.buffer_bytes_max,
        append_timeout: runtime.log.append_timeout,
        request_timeout: kafka.request_timeout,
        stalled_after: kafka.stalled_after,
        session_timeout: kafka.session_timeout,
        release_timeout: kafka.release_timeout,
        ..KafkaConfig::new(&kafka.bootstrap, &kafka.group, topics())
    };
    config.check().map_err(|error| Misuse::error(error.to_string()))?;
    Ok(Some(config))
}

fn host_name() -> Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => Err(Misuse::error("this host has no name: set `instance` in `[log.kafka]`".to_owned())),
        name => Ok(name.to_owned()),
    }
}

fn security(kafka: &Kafka) -> Result<Security> {
    let tls = match &kafka.tls {
        None => None,
        Some(tls) => Some(Tls {
            ca_file: tls.ca_file.clone(),
            certificate_file: tls.certificate_file.clone(),
            key_file: tls.key_file.clone(),
            key_password: tls.key_password.as_ref().map(secret).transpose()?,
        }),
    };
    let sasl = match &kafka.sasl {
        None => None,
        Some(KafkaSasl::Plain { user, password }) => Some(Sasl::Plain(user.clone(), secret(password)?)),
        Some(KafkaSasl::ScramSha256 { user, password }) => Some(Sasl::ScramSha256(user.clone(), secret(password)?)),
        Some(KafkaSasl::ScramSha512 { user, password }) => Some(Sasl::ScramSha512(user.clone(), secret(password)?)),
        Some(KafkaSasl::OAuth { token_url, client_id, client_secret, scope, ca_file }) => Some(Sasl::OAuth(OAuth {
            token_url: token_url.clone(),
            client_id: client_id.clone(),
            client_secret: secret(client_secret)?,
            scope: scope.clone(),
            ca_file: ca_file.clone(),
        })),
    };
    Ok(Security { tls, sasl })
}

fn secret(place: &SecretSource) -> Result<Secret> {
    let bytes = read_secret(place).map_err(|why| Misuse::error(format!("a secret of Kafka cannot be read: {why}")))?;
    let text = String::from_utf8(bytes).map_err(|_| Misuse::error("a secret of Kafka is not UTF-8".to_owned()))?;
    Ok(Secret(text))
}

/// What the topics should be, those of dead letters too.
pub fn topic_specs(plan: &Plan, kafka: &Kafka) -> Vec<TopicSpec> {
    let log = &plan.runtime.log;
    let of_topic = |topic: &Topic| TopicSpec {
        together: true,
        compacted: topic.compacted,
        retention: topic.expires.then_some(log.retention),
        retention_min: longest_window(plan).filter(|_| topic.input == Some(Input::Behavior)),
        ..spec(topic.name, log, kafka)
    };
    let of_letters =
        |source: &str| TopicSpec { retention: Some(log.retention), ..spec(&topic::dead_letters(source), log, kafka) };
    let topics = topic::TOPICS.iter().map(of_topic);
    topics.chain(topic::SOURCES.map(of_letters)).collect()
}

fn spec(name: &str, log: &LogSettings, kafka: &Kafka) -> TopicSpec {
    TopicSpec {
        name: name.to_owned(),
        partitions: log.partitions,
        together: false,
        compacted: false,
        retention: None,
        retention_min: None,
        replication: kafka.replication,
        min_isr: kafka.min_isr,
    }
}

/// How long behaviour events must stay, so that every window can be made anew from the log.
fn longest_window(plan: &Plan) -> Option<(Duration, String)> {
    let ms = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let lateness = plan.tables.iter().map(|table| table.lateness_ms).max().unwrap_or(0);
    let windows = plan
        .views
        .iter()
        .map(|view| (ms(view.schema.window.size_ms + lateness), format!("the window of `{}`", view.schema.name)));
    let ids = plan
        .tables
        .iter()
        .filter_map(|table| Some((ms(table.dedupe_horizon_ms?), format!("the `dedupe_horizon` of `{}`", table.name))));
    windows.chain(ids).max_by_key(|(length, _)| *length)
}
