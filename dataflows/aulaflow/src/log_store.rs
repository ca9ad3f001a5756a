//! Opens the log that the configuration names, as every command that needs it does.

use crate::kafka_settings::kafka_config;
use anyhow::{Context, Result, anyhow, bail};
use aulaflow_log::embedded::{EmbeddedConfig, EmbeddedLog, Fsync, OpenError};
use aulaflow_log::{KafkaLog, Log};
use aulaflow_model::topic;
use aulaflow_plan::runtime::{self, LogKind, Runtime};
use std::path::Path;
use std::sync::Arc;

/// Every topic, dead-letter topics too. A log remembers the order in which it met them.
pub fn topics() -> Vec<String> {
    let topics = topic::TOPICS.iter().map(|topic| topic.name.to_owned());
    topics.chain(topic::SOURCES.map(topic::dead_letters)).collect()
}

/// Whether other processes can have the log open as well. The embedded one belongs to one process.
pub fn is_shared(runtime: &Runtime) -> bool {
    match runtime.log.kind {
        LogKind::Embedded => false,
        LogKind::Kafka(_) => true,
    }
}

/// Where the log is, in words.
pub fn place(runtime: &Runtime) -> String {
    match &runtime.log.kind {
        LogKind::Embedded => format!("the log in {}", runtime.data_dir.display()),
        LogKind::Kafka(kafka) => format!("the log in Kafka at {}", kafka.bootstrap),
    }
}

/// A log, open.
pub struct Opened {
    /// Whatever it is.
    pub log: Arc<dyn Log>,
    /// The same, where it is in Kafka: for membership of the consumer group.
    pub kafka: Option<Arc<KafkaLog>>,
}

/// Opens the log to read it: nothing is made, and a data directory without one is an error that says what to do.
pub fn open_existing(runtime: &Runtime) -> Result<Opened> {
    match kafka_config(runtime)? {
        None => {
            let dir = runtime.data_dir.join("log");
            if !has_entries(&dir)? {
                bail!(
                    "there is no log in {}: no instance has run there. Name the folder of one with --data-dir, or its \
                     configuration with --config",
                    runtime.data_dir.display()
                );
            }
            Ok(Opened { log: Arc::new(open_log_in(runtime)?), kafka: None })
        }
        Some(config) => Ok(in_kafka(Arc::new(KafkaLog::open(config)?))),
    }
}

/// Whether there may be a log already: an embedded one has a folder.
pub fn is_there(runtime: &Runtime) -> Result<bool> {
    Ok(is_shared(runtime) || has_entries(&runtime.data_dir.join("log"))?)
}

/// Whether a folder is there and holds something. One that cannot be looked into is an error: it may hold a log.
fn has_entries(dir: &Path) -> Result<bool> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| {
            format!(
                "the log in {} cannot be read: give this user the right to, or run as the instance's user",
                dir.display()
            )
        }),
    }
}

fn in_kafka(log: Arc<KafkaLog>) -> Opened {
    Opened { log: Arc::clone(&log) as Arc<dyn Log>, kafka: Some(log) }
}

/// Opens the log: in the runtime's data directory, which is made if it is missing, or in Kafka, whether its brokers
/// answer yet or not.
pub fn open(runtime: &Runtime) -> Result<Opened> {
    match kafka_config(runtime)? {
        None => Ok(Opened { log: Arc::new(open_embedded(runtime)?), kafka: None }),
        Some(config) => {
            make_data_dir(&runtime.data_dir)?;
            Ok(in_kafka(Arc::new(KafkaLog::open(config)?)))
        }
    }
}

fn open_embedded(runtime: &Runtime) -> Result<EmbeddedLog> {
    make_data_dir(&runtime.data_dir)?;
    open_log_in(runtime)
}

fn open_log_in(runtime: &Runtime) -> Result<EmbeddedLog> {
    let settings = &runtime.log;
    let config = EmbeddedConfig {
        partitions: settings.partitions,
        fsync: match settings.fsync {
            runtime::Fsync::Group => Fsync::Group,
            runtime::Fsync::Never => Fsync::Never,
        },
        buffer_bytes_max: settings.buffer_bytes_max,
        append_timeout: settings.append_timeout,
        ..EmbeddedConfig::new(runtime.data_dir.join("log"), topics())
    };
    Ok(EmbeddedLog::open(config)?)
}

/// Whether a log could not be opened because another process has it.
pub fn is_in_use(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<OpenError>(), Some(OpenError::InUse { .. }))
}

/// Makes the data directory and makes sure that it can be written.
fn make_data_dir(dir: &Path) -> Result<()> {
    let what_next = || format!("cannot write to the data directory {}: choose another with --data-dir", dir.display());
    std::fs::create_dir_all(dir).with_context(what_next)?;
    let probe = dir.join(format!(".writable-{}", std::process::id()));
    let written = std::fs::write(&probe, b"aulaflow\n");
    // What could not be written need not be removed.
    let _ = std::fs::remove_file(&probe);
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::StorageFull => anyhow!(
            "the disk of the data directory {} is full: make room, or choose another with --data-dir",
            dir.display()
        ),
        _ => anyhow::Error::new(error).context(what_next()),
    })
}
