//! Shared fate: a panic of a worker ends the process, since the other workers would wait for it for ever. A panic
//! while answering a request ends that request only.

use std::panic::PanicHookInfo;

/// The name of the threads that answer requests.
pub const HTTP_THREAD: &str = "aulaflow-http";

/// Makes a panic say what happened and, on any thread but those of the HTTP server, end the process with code 1.
pub fn install() {
    std::panic::set_hook(Box::new(|info| {
        // The Kafka client panics at a header that is not UTF-8; its caller leaves such a header out.
        if aulaflow_log::kafka::panic_is_caught() {
            return;
        }
        let current = std::thread::current();
        let thread = current.name().unwrap_or("unnamed");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(thread, place, reason = reason(info), "panic");
        if thread != HTTP_THREAD {
            // No unwinding: other threads may wait for what this one holds.
            std::process::exit(1);
        }
    }));
}

fn reason<'a>(info: &'a PanicHookInfo<'_>) -> &'a str {
    info.payload_as_str().unwrap_or("it gave no reason")
}
