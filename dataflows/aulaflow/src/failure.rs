//! How the process ends: 0, 1 for a failure at work, 2 for a command line or configuration that makes no sense.

/// Whoever typed or configured it must change it: nothing was done.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misuse(pub String);

impl Misuse {
    /// As an error with the exit code 2.
    pub fn error(message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self(message.into()))
    }
}

/// The exit code for an error.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<Misuse>()) { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn misuse_is_two_wherever_it_stands() {
        let misuse: anyhow::Result<()> = Err(Misuse::error("no such thing"));
        assert_eq!(misuse.context("while reading").map_err(|e| exit_code(&e)), Err(2));
        assert_eq!(exit_code(&anyhow::anyhow!("the disk is full")), 1);
    }
}
