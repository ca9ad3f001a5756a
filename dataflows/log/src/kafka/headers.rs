//! A message's headers, also those that the client library would panic at.

use rdkafka::message::{BorrowedMessage, Headers, Message};
use std::cell::Cell;

thread_local! {
    static READING_HEADERS: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is where a panic is caught: the client library panics at a header whose name is not UTF-8. A
/// panic hook that ends the process leaves this one alone.
pub fn panic_is_caught() -> bool {
    READING_HEADERS.get()
}

/// Gives a message's headers to `use_them`; one whose name is not UTF-8 is left out.
pub(super) fn with_headers<T>(message: &BorrowedMessage<'_>, use_them: impl FnOnce(&[(&str, &[u8])]) -> T) -> T {
    let Some(headers) = message.headers() else { return use_them(&[]) };
    let mut all = Vec::with_capacity(headers.count());
    for index in 0..headers.count() {
        READING_HEADERS.set(true);
        let header = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| headers.try_get(index)));
        READING_HEADERS.set(false);
        match header {
            Ok(Some(header)) => all.push((header.key, header.value.unwrap_or_default())),
            Ok(None) => {}
            Err(_) => tracing::warn!(offset = message.offset(), "a header's name is not UTF-8: it is left out"),
        }
    }
    use_them(&all)
}
