//! Random names and passwords, from the operating system.

use std::fmt::Write;

/// 128 bits, as 32 hexadecimal digits.
fn digits() -> String {
    let mut bytes = [0; 16];
    // Without the system's randomness there is no password; it is there on every system that this runs on.
    #[allow(clippy::expect_used)]
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    bytes.iter().fold(String::with_capacity(32), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A random UUID, version 4.
pub fn uuid() -> String {
    let d = digits();
    let variant = match d.as_bytes()[16] {
        b'0'..=b'3' => '8',
        b'4'..=b'7' => '9',
        b'8' | b'9' | b'a' | b'b' => 'a',
        _ => 'b',
    };
    format!("{}-{}-4{}-{variant}{}-{}", &d[..8], &d[8..12], &d[13..16], &d[17..20], &d[20..])
}

/// What marks an exception in a body.
pub fn tag() -> String {
    digits()[..16].to_owned()
}

/// A password.
pub fn password() -> String {
    digits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_have_their_form() {
        let (a, b) = (uuid(), uuid());
        assert_ne!(a, b);
        let parts: Vec<_> = a.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(a.as_bytes()[14], b'4');
        assert_eq!((tag().len(), password().len()), (16, 32));
    }
}
