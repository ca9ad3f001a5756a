//! `aulaflow dlq list`

use super::{Filters, PAGE, Where};
use anyhow::{Result, bail};
use std::collections::BTreeMap;

/// Lists dead letters by topic, partition and offset, or counts them
#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    filters: Filters,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Count all of them by topic and class instead
    #[arg(long)]
    summary: bool,
    #[command(flatten)]
    place: Where,
}

impl List {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let door = self.place.open()?;
        let mut cursor: Option<String> = None;
        let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
        let mut found = false;
        let mut left = if self.summary { usize::MAX } else { self.limit };
        while left > 0 {
            let page = door.page(&self.filters, cursor.as_deref(), PAGE.min(left))?;
            left -= page.dead_letters.len();
            for letter in page.dead_letters {
                found = true;
                if self.summary {
                    *counts.entry((letter.topic, letter.class)).or_default() += 1;
                } else {
                    let tenant = letter.tenant.as_deref().unwrap_or("-");
                    println!("{}  {}  {tenant}  {}  {}", letter.id, letter.failed_at, letter.class, letter.error);
                }
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        if !found {
            bail!("there are no dead letters{}", if self.filters.narrow() { " that match" } else { "" });
        }
        if self.summary {
            println!("{:<24} {:<12} {:>10}", "TOPIC", "CLASS", "LETTERS");
            counts.iter().for_each(|((topic, class), count)| println!("{topic:<24} {class:<12} {count:>10}"));
        } else if cursor.is_some() {
            eprintln!("there may be more: raise --limit, or narrow the search");
        }
        Ok(())
    }
}
