//! Standard output and standard error, whose readers may go: `println!`, `eprintln!`, `print!` and `eprint!` of this crate.
//!
//! The standard library's macros of these names panic where a write fails, and a panic ends the process (see `crash`). A
//! log shipper that restarts, or `aulaflow run 2>&1 | head -1`, would end a server without its last checkpoint. So here a
//! failed write is ignored. What a server says is lost then; it goes on. A command that only prints ends at the first line
//! that nobody reads, as other programs do: with the exit code of SIGPIPE, which Rust programs ignore.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code of a process that SIGPIPE has ended, as shells show it.
const BROKEN_PIPE: i32 = 128 + 13;

static OUTLIVES_READERS: AtomicBool = AtomicBool::new(false);

/// For servers: the process goes on where nobody reads what it prints.
pub fn outlive_readers() {
    OUTLIVES_READERS.store(true, Ordering::Relaxed);
}

/// Prints on the standard output.
pub fn print(text: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let written = out.write_fmt(text).and_then(|()| out.flush());
    let is_unread = written.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe);
    if is_unread && !OUTLIVES_READERS.load(Ordering::Relaxed) {
        std::process::exit(BROKEN_PIPE);
    }
}

/// Prints on the standard error.
pub fn print_error(text: Arguments<'_>) {
    // There is nowhere left to say that it failed.
    let _ = std::io::stderr().lock().write_fmt(text);
}

/// The standard error as log lines are written to it: no write fails.
#[derive(Debug, Clone, Copy)]
pub struct LogLines;

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // As above.
        let _ = std::io::stderr().lock().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

macro_rules! print {
    ($($text:tt)*) => { $crate::stdio::print(format_args!($($text)*)) };
}

macro_rules! println {
    () => { $crate::stdio::print(format_args!("\n")) };
    ($($text:tt)*) => { $crate::stdio::print(format_args!("{}\n", format_args!($($text)*))) };
}

macro_rules! eprint {
    ($($text:tt)*) => { $crate::stdio::print_error(format_args!($($text)*)) };
}

macro_rules! eprintln {
    ($($text:tt)*) => { $crate::stdio::print_error(format_args!("{}\n", format_args!($($text)*))) };
}
