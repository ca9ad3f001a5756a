//! Compression of bodies: `Content-Encoding` of requests, `Accept-Encoding` for answers, and ClickHouse's own frames.

use crate::exception::{Exception, code};
use crate::frames::{self, Frames};
use flate2::Compression;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use lz4_flex::frame::{FrameDecoder, FrameEncoder};
use std::io::{self, Read, Write};

/// Fast: the other side is on the same machine.
const ZSTD_LEVEL: i32 = 1;

/// An HTTP content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`
    Gzip,
    /// `deflate`: the zlib format.
    Deflate,
    /// `lz4`: LZ4 frames.
    Lz4,
    /// `zstd`
    Zstd,
}

impl Coding {
    const ALL: [Self; 4] = [Self::Lz4, Self::Zstd, Self::Gzip, Self::Deflate];

    /// As headers name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// What a `Content-Encoding` says.
    pub fn of_content(header: &str) -> Result<Option<Self>, Exception> {
        let name = header.trim().to_ascii_lowercase();
        if name.is_empty() || name == "identity" {
            return Ok(None);
        }
        let known = Self::ALL.into_iter().find(|coding| coding.name() == name);
        known.map(Some).ok_or_else(|| {
            let message = format!("Unknown compression method {name:?}: send gzip, deflate, lz4 or zstd");
            Exception::new(code::NOT_IMPLEMENTED, "NOT_IMPLEMENTED", message)
        })
    }

    /// The first that an `Accept-Encoding` names and that is known, in ClickHouse's way: weights are not looked at,
    /// but a weight of 0.
    pub fn accepted(header: &str) -> Option<Self> {
        header.split(',').find_map(|part| {
            let (name, weight) = part.split_once(';').unwrap_or((part, ""));
            let refused = matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
            let name = name.trim().to_ascii_lowercase();
            Self::ALL.into_iter().find(|coding| coding.name() == name && !refused)
        })
    }
}

/// The data of a request's body.
pub fn decoder<'a>(body: impl Read + 'a, coding: Option<Coding>, in_frames: bool) -> io::Result<Box<dyn Read + 'a>> {
    let body: Box<dyn Read + 'a> = match coding {
        None => Box::new(body),
        Some(Coding::Gzip) => Box::new(MultiGzDecoder::new(body)),
        Some(Coding::Deflate) => Box::new(ZlibDecoder::new(body)),
        Some(Coding::Lz4) => Box::new(FrameDecoder::new(body)),
        Some(Coding::Zstd) => Box::new(zstd::stream::read::Decoder::new(body)?),
    };
    Ok(if in_frames { Box::new(Frames::new(body)) } else { body })
}

/// Compresses an answer.
pub enum Encoder {
    /// Not at all.
    Plain,
    /// In ClickHouse's frames.
    Frames,
    /// `gzip`
    Gzip(GzEncoder<Vec<u8>>),
    /// `deflate`
    Deflate(ZlibEncoder<Vec<u8>>),
    /// `lz4`
    Lz4(Box<FrameEncoder<Vec<u8>>>),
    /// `zstd`
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// For an answer.
    pub fn new(coding: Option<Coding>, in_frames: bool) -> io::Result<Self> {
        if in_frames {
            return Ok(Self::Frames);
        }
        Ok(match coding {
            None => Self::Plain,
            Some(Coding::Gzip) => Self::Gzip(GzEncoder::new(Vec::new(), Compression::fast())),
            Some(Coding::Deflate) => Self::Deflate(ZlibEncoder::new(Vec::new(), Compression::fast())),
            Some(Coding::Lz4) => Self::Lz4(Box::new(FrameEncoder::new(Vec::new()))),
            Some(Coding::Zstd) => Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?),
        })
    }

    /// Takes data and adds to `out` what is ready.
    pub fn write(&mut self, data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Plain => out.extend(data),
            Self::Frames => frames::write(data, out),
            Self::Gzip(encoder) => {
                encoder.write_all(data)?;
                out.append(encoder.get_mut());
            }
            Self::Deflate(encoder) => {
                encoder.write_all(data)?;
                out.append(encoder.get_mut());
            }
            Self::Lz4(encoder) => {
                encoder.write_all(data)?;
                out.append(encoder.get_mut());
            }
            Self::Zstd(encoder) => {
                encoder.write_all(data)?;
                out.append(encoder.get_mut());
            }
        }
        Ok(())
    }

    /// Adds the end.
    pub fn finish(self, out: &mut Vec<u8>) -> io::Result<()> {
        let mut end = match self {
            Self::Plain | Self::Frames => return Ok(()),
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Deflate(encoder) => encoder.finish()?,
            Self::Lz4(encoder) => encoder.finish().map_err(io::Error::other)?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        out.append(&mut end);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let data: Vec<u8> = (0..3_000_000_u32).flat_map(|i| (i / 5).to_le_bytes()).collect();
        for coding in [None, Some(Coding::Gzip), Some(Coding::Deflate), Some(Coding::Lz4), Some(Coding::Zstd)] {
            for in_frames in [false, true] {
                // An answer in frames has no coding.
                let coding = if in_frames { None } else { coding };
                let mut encoder = Encoder::new(coding, in_frames).unwrap();
                let mut out = Vec::new();
                for piece in data.chunks(999_999) {
                    encoder.write(piece, &mut out).unwrap();
                }
                encoder.finish(&mut out).unwrap();
                let mut back = Vec::new();
                decoder(out.as_slice(), coding, in_frames).unwrap().read_to_end(&mut back).unwrap();
                assert!(back == data, "{coding:?} {in_frames}");
            }
        }
    }

    #[test]
    fn headers_are_read() {
        assert_eq!(Coding::of_content("gzip").unwrap(), Some(Coding::Gzip));
        assert_eq!(Coding::of_content("identity").unwrap(), None);
        assert_eq!(Coding::of_content("br").unwrap_err().code, 48);
        assert_eq!(Coding::accepted("br, lz4;q=0, zstd;q=0.5, gzip"), Some(Coding::Zstd));
        assert_eq!(Coding::accepted("identity"), None);
    }
}
