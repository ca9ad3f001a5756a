//! The embedded ClickHouse: `libchdb`, the engine as a shared library, in a child process behind ClickHouse's HTTP
//! interface, so that one way of talking to ClickHouse serves a laptop and a cluster, and a fault of the library ends
//! neither the dataflows nor their process. What is written to it and read from it is not known here.

mod body;
mod codec;
mod engine;
mod exception;
mod format;
mod frames;
mod lexer;
mod library;
pub mod locate;
mod password;
mod random;
mod reply;
mod request;
mod serve;
mod server;
mod sessions;
mod statement;
mod supervisor;
mod work;

pub use engine::StartError;
pub use password::password_in;
pub use serve::{Options, ServeError, serve};
pub use server::Account;
pub use supervisor::{Launch, PASSWORD_VARIABLE, State, Supervisor};
