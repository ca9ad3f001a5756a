//! UUIDs: 16 bytes, their text, and how ClickHouse lays them out. Not a general library of UUIDs: only what is written here.

use std::fmt;
use std::str::FromStr;

/// A UUID, in the order of its text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid([u8; 16]);

/// Why a text is not a UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not a UUID such as 0190b6a2-5c1e-8f3a-9d11-5b0e6f2c7a44")]
pub struct UuidError;

impl Uuid {
    /// Sixteen bytes with the bits of version 8 (the bytes mean what their maker says; RFC 9562 §5.8) and of its variant set.
    pub fn custom(bytes: [u8; 16]) -> Self {
        Self::stamped(bytes, 0x80)
    }

    /// A random one (version 4). The error is the operating system's.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        Ok(Self::stamped(bytes, 0x40))
    }

    fn stamped(mut bytes: [u8; 16], version: u8) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | version;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }

    /// Its bytes, in the order of its text.
    pub fn bytes(&self) -> [u8; 16] {
        self.0
    }

    /// As ClickHouse's binary formats have it: two little-endian numbers, the first half of the text first.
    pub fn to_row_binary(&self) -> [u8; 16] {
        let mut bytes = self.0;
        bytes[..8].reverse();
        bytes[8..].reverse();
        bytes
    }

    /// The opposite of [`Uuid::to_row_binary`].
    pub fn from_row_binary(mut bytes: [u8; 16]) -> Self {
        bytes[..8].reverse();
        bytes[8..].reverse();
        Self(bytes)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uuid({self})")
    }
}

impl FromStr for Uuid {
    type Err = UuidError;

    fn from_str(text: &str) -> Result<Self, UuidError> {
        let groups: Vec<&str> = text.split('-').collect();
        if groups.iter().map(|group| group.len()).ne([8, 4, 4, 4, 12]) {
            return Err(UuidError);
        }
        let digits = groups.concat();
        let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u128::from_str_radix(&digits, 16).ok().filter(|_| plain).ok_or(UuidError)?;
        Ok(Self(number.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn texts_and_layouts() {
        let text = "00112233-4455-6677-8899-aabbccddeeff";
        let uuid: Uuid = text.parse().unwrap();
        assert_eq!(uuid.to_string(), text);
        let laid_out = uuid.to_row_binary();
        assert_eq!(laid_out[..8], [0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x00]);
        assert_eq!(laid_out[8..], [0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99, 0x88]);
        assert_eq!(Uuid::from_row_binary(laid_out), uuid);
        for bad in [
            "",
            "00112233445566778899aabbccddeeff",
            "00112233-4455-6677-8899-aabbccddeefg",
            "+0112233-4455-6677-8899-aabbccddeeff",
        ] {
            assert_eq!(bad.parse::<Uuid>(), Err(UuidError), "{bad}");
        }
    }

    #[test]
    fn versions_are_stamped() {
        assert_eq!(Uuid::custom([0xff; 16]).to_string(), "ffffffff-ffff-8fff-bfff-ffffffffffff");
        assert_eq!(Uuid::custom([0; 16]).to_string(), "00000000-0000-8000-8000-000000000000");
        let (a, b) = (Uuid::random().unwrap(), Uuid::random().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.to_string().as_bytes()[14], b'4');
    }
}
