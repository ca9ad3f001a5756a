//! Runs one statement on a thread of its own: takes its text and data from the body, hands it to the engine in the way
//! that its kind and format ask for, and writes the answer.

use crate::body::BodyReader;
use crate::codec;
use crate::engine::{Engine, prepare, prepared_names};
use crate::exception::{Exception, code};
use crate::format::{self, Way};
use crate::library::{Class, Connection};
use crate::reply::Reply;
use crate::request::Request;
use crate::sessions::Sessions;
use crate::statement::{self, Reading, Statement};
use std::io::{self, Read};
use std::sync::Arc;

/// What is read of a body to find out what it is.
const BEGINNING_BYTES: usize = 256 << 10;

/// The longest statement, without the data of an INSERT. (The engine's `max_query_size` is lower, unless it is set.)
pub const STATEMENT_BYTES_MAX: usize = 16 << 20;

/// The data of an INSERT is handed over in parts of this size.
const PART_BYTES: usize = 1 << 20;

/// What a result is written in where nobody says it.
const DEFAULT_FORMAT: &str = "TabSeparated";

/// A statement to run.
pub struct Work {
    /// On which engine.
    pub engine: Arc<Engine>,
    /// Its sessions.
    pub sessions: Arc<Sessions>,
    /// What is asked for.
    pub request: Request,
    /// What it is found by, to stop it.
    pub mark: String,
}

impl Work {
    /// Runs it to its end.
    pub fn run(self, body: BodyReader, mut reply: Reply) {
        let outcome = self.perform(body, &mut reply);
        if let Err(exception) = &outcome {
            tracing::debug!(%exception, "a statement failed");
        }
        reply.finish(outcome);
    }

    fn perform(&self, body: BodyReader, reply: &mut Reply) -> Result<(), Exception> {
        let request = &self.request;
        let mut body = codec::decoder(body, request.content_coding, request.body_in_frames).map_err(body_fault)?;
        let mut text = request.query.clone().into_bytes();
        let statement = read_statement(&mut text, &mut body)?;
        let whole = self.is_whole(&statement, &text);
        let mut held = self.sessions.take(&self.engine, request.session.as_ref())?;
        let outcome = prepare(held.connection()?, request, &self.mark, whole);
        let outcome = outcome.and_then(|()| match &statement {
            Statement::Insert { head, format, data } => {
                let (head, begun) = (&text[..*head], &text[*data..]);
                self.insert(held.connection()?, (head, format.as_deref()), begun, &mut body, reply)
            }
            Statement::Whole { format, .. } => {
                self.statement(held.connection()?, &text, format.as_deref(), whole, reply)
            }
        });
        if matches!((&statement, &outcome), (Statement::Whole { changes_session: true, .. }, Ok(()))) {
            held.remember(&text);
        }
        held.restore(&prepared_names(request, whole), request.database.is_some());
        outcome
    }

    fn format<'a>(&'a self, own: Option<&'a str>) -> &'a str {
        own.or(self.request.default_format.as_deref()).unwrap_or(DEFAULT_FORMAT)
    }

    /// Whether the result must be made as a whole.
    fn is_whole(&self, statement: &Statement, text: &[u8]) -> bool {
        let Statement::Whole { format, .. } = statement else { return false };
        let set = self.request.settings.iter().any(|(name, _)| format::SETTINGS_OF_WHOLES.contains(&name.as_str()));
        set || format::way(self.format(format.as_deref())) == Way::Whole
            || statement::has_word(text, format::WORDS_OF_WHOLES)
    }

    fn insert(
        &self,
        connection: &mut Connection,
        (head, format): (&[u8], Option<&str>),
        begun: &[u8],
        body: &mut dyn Read,
        reply: &mut Reply,
    ) -> Result<(), Exception> {
        if self.request.read_only {
            return Err(read_only());
        }
        let format = format.or(self.request.default_format.as_deref()).unwrap_or("Values");
        reply.format(format);
        let mut insert = connection.insert(head, format, &self.request.parameters)?;
        if !begun.is_empty() {
            insert.append(begun)?;
        }
        let mut part = vec![0; PART_BYTES];
        loop {
            let len = fill(body, &mut part).map_err(body_fault)?;
            if len == 0 {
                break;
            }
            insert.append(&part[..len])?;
        }
        // Only now: a body that was cut off must not be taken as complete.
        let outcome = insert.finish()?;
        reply.count(outcome.counts());
        Ok(())
    }

    fn statement(
        &self,
        connection: &mut Connection,
        text: &[u8],
        own: Option<&str>,
        whole: bool,
        reply: &mut Reply,
    ) -> Result<(), Exception> {
        if self.request.read_only && connection.classify(text) != Class::ReadOnly {
            return Err(read_only());
        }
        let format = self.format(own);
        reply.format(format);
        if !whole && self.streamed(connection, text, format, reply)? {
            return Ok(());
        }
        let outcome = connection.query(text, format, &self.request.parameters)?;
        reply.count(outcome.counts());
        reply.write(outcome.data())
    }

    /// False: it is no SELECT, which the engine says before it does anything.
    fn streamed(
        &self,
        connection: &mut Connection,
        text: &[u8],
        format: &str,
        reply: &mut Reply,
    ) -> Result<bool, Exception> {
        let mut stream = match connection.stream(text, format, &self.request.parameters) {
            Ok(stream) => stream,
            Err(exception) if is_not_streamed(&exception) => return Ok(false),
            Err(exception) => return Err(exception),
        };
        let mut header: Option<Vec<u8>> = None;
        while let Some(piece) = stream.next()? {
            reply.count(piece.counts());
            let data = piece.data();
            let data = match (&header, format::way(format)) {
                // Every piece has the header of the first.
                (Some(header), _) => data.strip_prefix(header.as_slice()).unwrap_or(data),
                (None, Way::PiecesAfter(kind)) => {
                    header = Some(data[..kind.len(data)].to_vec());
                    data
                }
                (None, Way::Pieces | Way::Whole) => data,
            };
            reply.write(data)?;
        }
        Ok(true)
    }
}

/// Reads as much of the body as the statement needs, behind what the URL says: for an INSERT its beginning, else all.
fn read_statement(text: &mut Vec<u8>, body: &mut dyn Read) -> Result<Statement, Exception> {
    if !text.is_empty() {
        // The engine ends a comment there.
        text.push(b'\n');
        if let Reading::Known(statement) = statement::read(text, false)? {
            return Ok(statement);
        }
    }
    let mut wanted = BEGINNING_BYTES;
    loop {
        let have = text.len();
        let read = body.take((wanted - have.min(wanted)) as u64).read_to_end(text).map_err(body_fault)?;
        let complete = read == 0 && text.len() < wanted;
        if let Reading::Known(statement) = statement::read(text, complete)? {
            return Ok(statement);
        }
        if text.len() > STATEMENT_BYTES_MAX {
            let message = format!("the statement has more than {STATEMENT_BYTES_MAX} bytes");
            return Err(Exception::new(code::QUERY_IS_TOO_LARGE, "QUERY_IS_TOO_LARGE", message));
        }
        wanted = if text.len() < wanted { wanted } else { (wanted * 2).min(STATEMENT_BYTES_MAX + 1) };
    }
}

/// Reads until the part is full or the body ends.
fn fill(body: &mut dyn Read, part: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < part.len() {
        match body.read(&mut part[len..])? {
            0 => break,
            read => len += read,
        }
    }
    Ok(len)
}

fn is_not_streamed(exception: &Exception) -> bool {
    exception.code == code::BAD_ARGUMENTS && exception.text.contains("Streaming query is not supported for query")
}

fn body_fault(error: io::Error) -> Exception {
    if error.kind() == io::ErrorKind::ConnectionAborted {
        return Exception::new(code::NETWORK_ERROR, "NETWORK_ERROR", format!("the body was cut off: {error}"));
    }
    Exception::new(code::INCORRECT_DATA, "INCORRECT_DATA", format!("Cannot decompress the body: {error}"))
}

fn read_only() -> Exception {
    let message = "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. You should \
                   use method POST for modifying queries";
    Exception::new(code::READONLY, "READONLY", message)
}
