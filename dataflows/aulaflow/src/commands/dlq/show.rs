//! `aulaflow dlq show`

use super::Where;
use anyhow::Result;
use aulaflow_log::letters::LetterId;

/// Shows a dead letter with the record's headers, key and bytes
#[derive(Debug, clap::Args)]
pub struct Show {
    /// The letter: topic/partition/offset, as `dlq list` prints it
    #[arg(value_name = "LETTER")]
    letter: LetterId,
    #[command(flatten)]
    place: Where,
}

impl Show {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let letter = self.place.open()?.letter(self.letter)?;
        let summary = &letter.summary;
        println!("letter     {}", summary.id);
        println!("source     {}", summary.source.as_deref().unwrap_or("refused before it was on the log"));
        println!("class      {}", summary.class);
        println!("error      {}", summary.error);
        println!("failed at  {}", summary.failed_at);
        if let Some(at) = &summary.accepted_at {
            println!("accepted   {at}");
        }
        for (name, value) in &letter.headers {
            println!("header     {name}: {} ({})", value.bytes, value.encoding);
        }
        println!("key        {} ({})", letter.key.bytes, letter.key.encoding);
        match &letter.value {
            None => println!("value      none: the record deletes"),
            Some(value) => {
                let cut = summary.truncated_from.map(|n| format!(", the start of {n} bytes")).unwrap_or_default();
                println!("value      {} bytes, as {}{cut}:\n{}", summary.value_bytes, value.encoding, value.bytes);
            }
        }
        Ok(())
    }
}
