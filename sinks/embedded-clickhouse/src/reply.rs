//! The answer to one statement, written by the thread that it runs on. The beginning is held back, so that an early error
//! has a status of its own; a late one is marked in the body, as ClickHouse's server does.

use crate::body::Piece;
use crate::codec::Encoder;
use crate::exception::{Exception, code};
use crate::library::Counts;
use bytes::Bytes;
use std::io;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

/// An answer that waits for its end (`wait_end_of_query`) holds at most so many bytes.
const HELD_BYTES_MAX: usize = 256 << 20;

/// What the headers of an answer say.
#[derive(Debug)]
pub struct Head {
    /// The format of the data.
    pub format: String,
    /// `X-ClickHouse-Summary`: what was done until now.
    pub summary: String,
}

/// Where the answer is written to.
pub struct Reply {
    head: Option<oneshot::Sender<Result<Head, Exception>>>,
    pieces: mpsc::Sender<Piece>,
    encoder: Encoder,
    /// Encoded and not sent.
    held: Vec<u8>,
    /// How much is held back before the head goes; `None`: all.
    hold: Option<usize>,
    format: String,
    counts: Counts,
    begun: Instant,
    version: String,
    tag: String,
}

impl Reply {
    /// An answer. `tag` marks an exception in the body.
    pub fn new(
        head: oneshot::Sender<Result<Head, Exception>>,
        pieces: mpsc::Sender<Piece>,
        (encoder, hold): (Encoder, Option<usize>),
        version: &str,
        tag: &str,
    ) -> Self {
        let (version, tag) = (version.to_owned(), tag.to_owned());
        let (format, counts) = (String::new(), Counts::default());
        Self {
            head: Some(head),
            pieces,
            encoder,
            held: Vec::new(),
            hold,
            format,
            counts,
            begun: Instant::now(),
            version,
            tag,
        }
    }

    /// The format of what is written.
    pub fn format(&mut self, format: &str) {
        format.clone_into(&mut self.format);
    }

    /// Adds to what the summary says.
    pub fn count(&mut self, counts: Counts) {
        let mine = &mut self.counts;
        mine.rows += counts.rows;
        mine.bytes += counts.bytes;
        mine.read_rows += counts.read_rows;
        mine.read_bytes += counts.read_bytes;
        mine.written_rows += counts.written_rows;
        mine.written_bytes += counts.written_bytes;
    }

    /// Writes data. An error: nobody reads it any more, or it is too much to hold.
    pub fn write(&mut self, data: &[u8]) -> Result<(), Exception> {
        self.encoder.write(data, &mut self.held).map_err(|error| broken(&error))?;
        match self.hold {
            Some(hold) if self.held.len() > hold => self.send(),
            None if self.held.len() > HELD_BYTES_MAX => {
                let message =
                    format!("wait_end_of_query: the answer has more than {HELD_BYTES_MAX} bytes; do without it");
                Err(Exception::new(code::TOO_MANY_ROWS_OR_BYTES, "TOO_MANY_ROWS_OR_BYTES", message))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Sends what is held, the head first.
    fn send(&mut self) -> Result<(), Exception> {
        if let Some(head) = self.head.take() {
            // Whoever does not wait for it does not read the pieces either.
            let _ = head.send(Ok(Head { format: self.format.clone(), summary: self.summary() }));
            // From now on pieces go as they come.
            self.hold = Some(0);
        }
        let data = Bytes::from(std::mem::take(&mut self.held));
        if data.is_empty() {
            return Ok(());
        }
        self.pieces.blocking_send(Piece::Data(data)).map_err(|_| gone())
    }

    /// Ends the answer.
    pub fn finish(mut self, outcome: Result<(), Exception>) {
        let outcome = outcome.and_then(|()| {
            let encoder = std::mem::replace(&mut self.encoder, Encoder::Plain);
            encoder.finish(&mut self.held).map_err(|error| broken(&error))
        });
        let sent = match outcome {
            Ok(()) => self.send(),
            Err(exception) => self.fail(exception),
        };
        if sent.is_err() {
            tracing::debug!("the client did not wait for the answer");
        }
    }

    fn fail(&mut self, exception: Exception) -> Result<(), Exception> {
        if let Some(head) = self.head.take() {
            // As above.
            let _ = head.send(Err(exception));
            return Ok(());
        }
        let text = exception.body(&self.version);
        let (tag, len) = (&self.tag, text.len());
        let block = format!("\r\n__exception__\r\n{tag}\r\n{text}{len} {tag}\r\n__exception__\r\n");
        let mut encoder = std::mem::replace(&mut self.encoder, Encoder::Plain);
        encoder.write(block.as_bytes(), &mut self.held).map_err(|error| broken(&error))?;
        encoder.finish(&mut self.held).map_err(|error| broken(&error))?;
        self.send()?;
        self.pieces.blocking_send(Piece::Broken).map_err(|_| gone())
    }

    fn summary(&self) -> String {
        let Counts { rows, bytes, read_rows, read_bytes, written_rows, written_bytes } = self.counts;
        let elapsed = self.begun.elapsed().as_nanos();
        format!(
            r#"{{"read_rows":"{read_rows}","read_bytes":"{read_bytes}","written_rows":"{written_rows}","written_bytes":"{written_bytes}","total_rows_to_read":"0","result_rows":"{rows}","result_bytes":"{bytes}","elapsed_ns":"{elapsed}"}}"#
        )
    }
}

fn gone() -> Exception {
    Exception::new(code::QUERY_WAS_CANCELLED, "QUERY_WAS_CANCELLED", "The client did not wait for the answer")
}

fn broken(error: &io::Error) -> Exception {
    Exception::from_engine(&format!("the answer cannot be compressed: {error}"))
}
