//! ClickHouse's own compression of a body, `compress=1` and `decompress=1`: frames of a checksum (CityHash 1.0.2, 16
//! bytes), a method (1 byte), the size with these 9 bytes (4), the size of the data (4), and the data.

use std::io::{self, Read};

const CHECKSUM: usize = 16;
const HEADER: usize = 9;
const LZ4: u8 = 0x82;
const ZSTD: u8 = 0x90;
const NONE: u8 = 0x02;

/// A larger frame is refused, on either side of the compression; clients make frames of about 1 MiB.
const FRAME_BYTES_MAX: usize = 256 << 20;

/// The data in a frame that is written.
const FRAME_BYTES: usize = 1 << 20;

/// Reads the data in frames.
pub struct Frames<R> {
    inner: R,
    data: Vec<u8>,
    at: usize,
}

impl<R: Read> Frames<R> {
    /// Over frames.
    pub fn new(inner: R) -> Self {
        Self { inner, data: Vec::new(), at: 0 }
    }

    /// Reads a frame; false: there is none any more.
    fn next(&mut self) -> io::Result<bool> {
        let mut head = [0; CHECKSUM + HEADER];
        let mut have = 0;
        while have < head.len() {
            match self.inner.read(&mut head[have..])? {
                0 if have == 0 => return Ok(false),
                0 => return Err(broken("the body ends within a frame")),
                read => have += read,
            }
        }
        let size = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let (compressed, uncompressed) = (size(CHECKSUM + 1), size(CHECKSUM + 5));
        if !(HEADER..=FRAME_BYTES_MAX).contains(&compressed) || uncompressed > FRAME_BYTES_MAX {
            return Err(broken("a frame is too large, or the body is not in frames"));
        }
        let mut frame = head[CHECKSUM..].to_vec();
        let read = (&mut self.inner).take((compressed - HEADER) as u64).read_to_end(&mut frame)?;
        if read < compressed - HEADER {
            return Err(broken("the body ends within a frame"));
        }
        if checksum(&frame) != head[..CHECKSUM] {
            return Err(broken("Checksum doesn't match: corrupted data"));
        }
        let packed = &frame[HEADER..];
        self.data = match frame[0] {
            LZ4 => lz4_flex::block::decompress(packed, uncompressed).map_err(io::Error::other)?,
            ZSTD => zstd::bulk::decompress(packed, uncompressed)?,
            NONE => packed.to_vec(),
            method => return Err(broken(&format!("Unknown compression method: {method:#x}"))),
        };
        if self.data.len() != uncompressed {
            return Err(broken("a frame does not hold what it says"));
        }
        self.at = 0;
        Ok(true)
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.data.len() {
            if !self.next()? {
                return Ok(0);
            }
        }
        let len = into.len().min(self.data.len() - self.at);
        into[..len].copy_from_slice(&self.data[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

/// Adds `data` to `out` in frames.
pub fn write(data: &[u8], out: &mut Vec<u8>) {
    for data in data.chunks(FRAME_BYTES) {
        let mut frame = vec![LZ4, 0, 0, 0, 0, 0, 0, 0, 0];
        frame.extend(lz4_flex::block::compress(data));
        // A frame is far below 4 GiB.
        let (compressed, uncompressed) = (frame.len() as u32, data.len() as u32);
        frame[1..5].copy_from_slice(&compressed.to_le_bytes());
        frame[5..9].copy_from_slice(&uncompressed.to_le_bytes());
        out.extend(checksum(&frame));
        out.extend(frame);
    }
}

fn checksum(frame: &[u8]) -> [u8; CHECKSUM] {
    cityhash_rs::cityhash_102_128(frame).rotate_right(64).to_le_bytes()
}

fn broken(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(frames: &[u8]) -> io::Result<Vec<u8>> {
        let mut data = Vec::new();
        Frames::new(frames).read_to_end(&mut data)?;
        Ok(data)
    }

    fn framed(method: u8, packed: &[u8], uncompressed: u32) -> Vec<u8> {
        let mut frame = vec![method];
        frame.extend((packed.len() as u32 + 9).to_le_bytes());
        frame.extend(uncompressed.to_le_bytes());
        frame.extend(packed);
        [checksum(&frame).to_vec(), frame].concat()
    }

    #[test]
    fn what_is_written_is_read() {
        for len in [0, 1, 100, FRAME_BYTES, FRAME_BYTES * 2 + 1] {
            let data: Vec<u8> = (0..len).map(|i| (i * i / 7) as u8).collect();
            let mut frames = Vec::new();
            write(&data, &mut frames);
            assert_eq!(read(&frames).unwrap(), data, "{len}");
        }
    }

    #[test]
    fn other_methods_are_read() {
        assert_eq!(read(&framed(NONE, b"abc", 3)).unwrap(), b"abc");
        assert_eq!(read(&framed(ZSTD, &zstd::bulk::compress(b"abcabc", 1).unwrap(), 6)).unwrap(), b"abcabc");
        let two = [framed(NONE, b"ab", 2), framed(NONE, b"c", 1)].concat();
        assert_eq!(read(&two).unwrap(), b"abc");
    }

    #[test]
    fn broken_frames_are_refused() {
        let good = framed(NONE, b"abc", 3);
        for at in [0, 20, 26] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(read(&bad).is_err(), "{at}");
        }
        assert!(read(&good[..27]).is_err());
        assert!(read(&good[..5]).is_err());
        assert!(read(&framed(0x33, b"abc", 3)).unwrap_err().to_string().contains("0x33"));
        assert!(read(&framed(NONE, b"abc", 4)).is_err());
        assert!(read(&framed(LZ4, b"\xff\xff\xff\xff", 100)).is_err());
        assert!(read(b"SELECT 1, not in frames at all").is_err());
    }
}
