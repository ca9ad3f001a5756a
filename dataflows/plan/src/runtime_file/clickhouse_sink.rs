//! `[clickhouse]`, what is written and how: blocks, the outbox, time limits, pseudonyms. Where the server is, is read elsewhere.

use super::clickhouse_retention::retention;
use super::{ms, seconds};
use crate::quantity::{GIB, KIB, MIB};
use crate::runtime::ClickHouseSink;
use crate::settings::Section;
use std::path::PathBuf;

/// Reads these settings of the section.
pub(super) fn sink(s: &mut Section<'_, '_>) -> ClickHouseSink {
    ClickHouseSink {
        block_rows: s.count("block_rows", 100_000, None, 1_000..=1_000_000, "rows that are inserted at once, at most")
            as usize,
        block_bytes: s.bytes("block_bytes", 16 * MIB, 64 * KIB..=256 * MIB, "bytes that are inserted at once, about"),
        block_age: s.duration(
            "block_age",
            seconds(1),
            ms(10)..=seconds(60),
            "how long rows wait for others before they are inserted; the history is behind by that much",
        ),
        outbox_bytes_max: s.bytes(
            "outbox_bytes_max",
            4 * GIB,
            16 * MIB..=1_024 * GIB,
            "rows that wait on the local disk while ClickHouse does not take them; beyond it the dataflows are held back",
        ) as u64,
        insert_timeout: s.duration(
            "insert_timeout",
            seconds(60),
            seconds(1)..=seconds(600),
            "how long ClickHouse may take for an insert before it is sent again",
        ),
        drain_timeout: s.duration(
            "drain_timeout",
            seconds(10),
            ms(100)..=seconds(300),
            "how long what waits may take to be sent when the process stops or a partition goes to another; the rest waits \
             on the disk, or is recorded anew there",
        ),
        pseudonym_keys: s
            .text(
                "pseudonym_keys",
                "path",
                "`pseudonym-keys` in the data directory if it is not said",
                "the folder of the tenants' keys that student ids are made unrecognisable with; whoever has a key can \
                 recognise them, and without it nobody can",
            )
            .map(PathBuf::from),
        leave_out_free_text: s.flag(
            "leave_out_free_text",
            "contexts, metadata and messages of events stay out of ClickHouse; an event's own student is a pseudonym in them \
             either way, others are what the sender wrote",
        ),
        retention: retention(s.table("retention")),
    }
}
