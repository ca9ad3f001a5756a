//! Opens the log that the configuration names, as every command that needs it does.

use crate::kafka_settings::kafka_config;
use anyhow::{Context, Result, anyhow};
use aulaflow_log::embedded::{EmbeddedConfig, EmbeddedLog, Fsync, OpenError};
use aulaflow_log::{KafkaLog, Log};
use aulaflow_model::topic;
use aulaflow_plan::runtime::{self, LogKind, Runtime};
use std::path::Path;
use std::sync::Arc;

/// Every topic, dead-letter topics too. New ones go to the end: a topic's id in the log is its place.
pub fn topics() -> Vec<String> {
    let sources = topic::SOURCES.iter().map(|name| (*name).to_owned());
    let dead_letters = topic::SOURCES.iter().map(|name| topic::dead_letters(name));
    sources.chain(dead_letters).chain([topic::PROFILES.to_owned()]).collect()
}

/// Whether other processes can have the log open as well. The embedded one belongs to one process.
pub fn is_shared(runtime: &Runtime) -> bool {
    match runtime.log.kind {
        LogKind::Embedded => false,
        LogKind::Kafka(_) => true,
    }
}

/// A log, open.
pub struct Opened {
    /// Whatever it is.
    pub log: Arc<dyn Log>,
    /// The same, where it is in Kafka: for membership of the consumer group.
    pub kafka: Option<Arc<KafkaLog>>,
}

/// Opens the log: in the runtime's data directory, which is made if it is missing, or in Kafka, whether its brokers
/// answer yet or not.
pub fn open(runtime: &Runtime) -> Result<Opened> {
    match kafka_config(runtime)? {
        None => Ok(Opened { log: Arc::new(open_embedded(runtime)?), kafka: None }),
        Some(config) => {
            make_data_dir(&runtime.data_dir)?;
            let log = Arc::new(KafkaLog::open(config)?);
            Ok(Opened { log: Arc::clone(&log) as Arc<dyn Log>, kafka: Some(log) })
        }
    }
}

fn open_embedded(runtime: &Runtime) -> Result<EmbeddedLog> {
    make_data_dir(&runtime.data_dir)?;
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
