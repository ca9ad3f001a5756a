//! Bodies between the asynchronous server and the thread that a statement runs on, in both directions, through bounded
//! channels: neither side holds more than a few pieces.

use axum::body::Body;
use bytes::Bytes;
use futures_util::Stream;
use http_body_util::BodyExt;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Pieces that wait in a channel.
const PIECES: usize = 4;

/// So much of a body that nobody reads any more is still taken, so that the client comes to reading the answer.
const DRAINED_BYTES_MAX: usize = 64 << 20;

/// A request's body, read by a thread.
pub struct BodyReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl BodyReader {
    /// Reads the body in the background, as far ahead as the channel goes.
    pub fn spawn(body: Body) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES);
        tokio::spawn(pump(body, sender));
        Self { pieces, piece: Bytes::new() }
    }
}

async fn pump(mut body: Body, sender: mpsc::Sender<io::Result<Bytes>>) {
    let mut drained = 0;
    while let Some(frame) = body.frame().await {
        let piece = match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) => Ok(data),
            // Trailers say nothing here.
            Ok(Err(_)) => continue,
            Err(error) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, error)),
        };
        let (len, ended) = (piece.as_ref().map_or(0, Bytes::len), piece.is_err());
        let unread = sender.send(piece).await.is_err();
        drained += if unread { len } else { 0 };
        if ended || drained > DRAINED_BYTES_MAX {
            return;
        }
    }
}

impl Read for BodyReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let piece = self.piece.split_to(into.len().min(self.piece.len()));
        into[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

/// A piece of an answer.
pub enum Piece {
    /// Data.
    Data(Bytes),
    /// The answer is broken off here: the client must not take it as complete.
    Broken,
}

/// A channel for an answer.
pub fn answer() -> (mpsc::Sender<Piece>, mpsc::Receiver<Piece>) {
    mpsc::channel(PIECES)
}

/// An answer's body. `guard` lives as long as somebody reads it.
pub struct Answer<G> {
    pieces: mpsc::Receiver<Piece>,
    broken: bool,
    _guard: G,
}

impl<G> Answer<G> {
    /// Over the pieces.
    pub fn new(pieces: mpsc::Receiver<Piece>, guard: G) -> Self {
        Self { pieces, broken: false, _guard: guard }
    }
}

impl<G: Unpin> Stream for Answer<G> {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.broken {
            return Poll::Ready(Some(Err(io::Error::other("the statement failed"))));
        }
        match self.pieces.poll_recv(context) {
            Poll::Ready(Some(Piece::Data(data))) => Poll::Ready(Some(Ok(data))),
            Poll::Ready(Some(Piece::Broken)) => {
                // Once around, so that the server sends what it has: the text of the exception is in it.
                self.broken = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}
