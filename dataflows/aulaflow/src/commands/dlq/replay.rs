//! `aulaflow dlq replay`

use super::{Door, Filters, Where, until_now};
use crate::failure::Misuse;
use crate::progress::Progress;
use anyhow::{Result, bail};
use std::io::{BufRead, IsTerminal};

/// Skipped letters that are named; the others are only counted.
const NAMED: u64 = 20;

/// Writes the records of dead letters once more to the topic that they were on. What is written twice counts once
#[derive(Debug, clap::Args)]
pub struct Replay {
    #[command(flatten)]
    filters: Filters,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    place: Where,
}

impl Replay {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let door = self.place.open()?;
        let filters = until_now(self.filters);
        let would = all(&door, &filters, true, None)?;
        println!("{would} records can be written once more");
        if would == 0 {
            bail!(
                "nothing was written: there are no dead letters{}",
                if filters.narrow() { " that match" } else { "" }
            );
        }
        if self.dry_run {
            return Ok(());
        }
        if !self.yes && !confirmed(would)? {
            println!("nothing was written");
            return Ok(());
        }
        let progress = Progress::start("replaying", Some(would));
        let done = all(&door, &filters, false, Some(&progress))?;
        progress.finish();
        println!("{done} records were written once more");
        Ok(())
    }
}

/// Goes through all letters; how many records were or would be written.
fn all(door: &Door, filters: &Filters, dry_run: bool, progress: Option<&Progress>) -> Result<u64> {
    let (mut cursor, mut done, mut skipped) = (None, 0, 0);
    loop {
        let part = door.replay(filters, cursor.as_deref(), dry_run)?;
        done += part.replayed;
        if let Some(progress) = progress {
            progress.advance(part.replayed);
        }
        for letter in part.skipped.iter().filter(|_| dry_run) {
            skipped += 1;
            if skipped <= NAMED {
                println!("{} cannot be: {}", letter.id, letter.reason);
            }
        }
        cursor = part.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if skipped > NAMED {
        println!("… nor can {} others", skipped - NAMED);
    }
    Ok(done)
}

fn confirmed(records: u64) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Misuse::error("nobody can be asked here: say --yes, or --dry-run"));
    }
    eprint!("write {records} records once more? [y/N] ");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
