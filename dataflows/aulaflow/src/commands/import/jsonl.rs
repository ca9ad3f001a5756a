//! `aulaflow import jsonl`: JSON lines from a file or from stdin.

use super::pump::Feeder;
use super::target::{Target, TargetArgs};
use crate::ingest::Kind;
use crate::progress::Progress;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

/// The longest line taken; a longer one ends the import, since nothing can be said about the rest of it.
const LINE_BYTES_MAX: usize = 4 << 20;

/// Imports JSON lines, as the HTTP API takes them; bad lines go to the dead-letter topic and are counted
///
/// An evaluation without `updated_at` is an edit: it wins over everything before it. Lines that may come again or out of
/// order, such as a history, give the `updated_at` of their version; then repeating them changes nothing
#[derive(Debug, clap::Args)]
pub struct Jsonl {
    /// What the lines are
    #[arg(long, value_name = "TOPIC")]
    topic: Kind,
    /// At most so many events a second
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    #[command(flatten)]
    target: TargetArgs,
    /// The file; `-` is stdin
    file: PathBuf,
}

impl Jsonl {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let stdin = self.file == Path::new("-");
        let (lines, input): (_, Box<dyn Read>) = if stdin {
            (None, Box::new(std::io::stdin()))
        } else {
            anyhow::ensure!(
                !self.file.is_dir(),
                "cannot read {}: it is a directory; name a file, or - for stdin",
                self.file.display()
            );
            let open = || File::open(&self.file).with_context(|| format!("cannot read {}", self.file.display()));
            (count_lines(open()?).ok(), Box::new(open()?))
        };
        let mut target = Target::open(self.target)?;
        let progress = Progress::start("import", lines);
        let mut input = BufReader::with_capacity(1 << 18, input);
        let tally = target.pump(self.rate, &progress, |feeder| {
            feed(&mut input, self.topic, feeder)
                .with_context(|| format!("stopped in {}; the lines before are on the log", self.file.display()))
        })?;
        target.finish(tally, &progress)
    }
}

fn feed(input: &mut dyn BufRead, kind: Kind, feeder: &mut Feeder<'_>) -> Result<()> {
    let mut line = Vec::new();
    let mut number = 0_u64;
    loop {
        line.clear();
        let read = input.take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        number += 1;
        anyhow::ensure!(read <= LINE_BYTES_MAX, "line {number} is longer than {LINE_BYTES_MAX} bytes");
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        if !feeder.has_room(kind, text.len()) {
            feeder.flush()?;
        }
        feeder.add(kind, number, |lines| {
            lines.extend_from_slice(text);
            lines.push(b'\n');
        })?;
    }
}

/// Lines of a regular file; an error for what can be read only once.
fn count_lines(file: File) -> std::io::Result<u64> {
    if !file.metadata()?.is_file() {
        return Err(std::io::ErrorKind::Unsupported.into());
    }
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut lines = 0;
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            return Ok(lines);
        }
        lines += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
        let read = chunk.len();
        reader.consume(read);
    }
}
