//! `aulaflow import jsonl`: JSON lines from a file or from stdin.

use super::batch::Tally;
use super::pump::Feeder;
use super::target::{Target, TargetArgs};
use crate::ingest::Kind;
use crate::progress::Progress;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

/// The longest line that is sent, alone in a request below the server's default limit of 8 MiB. Of a longer one the rest is
/// read and thrown away: it is counted, and on the log in no form.
const LINE_BYTES_MAX: usize = 7 << 20;

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
        let mut target = Target::open(self.target, false)?;
        let progress = Progress::start("import", lines);
        let mut input = BufReader::with_capacity(1 << 18, input);
        let mut skipped = Tally::default();
        let mut tally = target.pump(self.rate, &progress, |feeder| {
            feed(&mut input, self.topic, feeder, &mut skipped)
                .with_context(|| format!("stopped in {}; the lines before are on the log", self.file.display()))
        })?;
        tally.add(skipped);
        target.finish(tally, &progress)
    }
}

fn feed(input: &mut dyn BufRead, kind: Kind, feeder: &mut Feeder<'_>, skipped: &mut Tally) -> Result<()> {
    let mut line = Vec::new();
    let mut number = 0_u64;
    loop {
        line.clear();
        let read = input.take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        number += 1;
        if read > LINE_BYTES_MAX {
            if !line.ends_with(b"\n") {
                input.skip_until(b'\n')?;
            }
            skipped.skip(number, &format!("is longer than {LINE_BYTES_MAX} bytes"));
            line = Vec::new();
            continue;
        }
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
