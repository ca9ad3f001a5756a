//! The C interface of libchdb, made safe: connections, results, streams of results and of rows to insert. The only
//! file with `unsafe` code; everything that the C header demands of its callers is kept here by types.
//!
//! What the header (`chdb.h`, version 26.7) says, and what holds it here:
//!
//! - One engine and one data directory per process, several connections to it, which work side by side. A connection
//!   runs one statement at a time: all methods take `&mut self`, and a stream borrows its connection.
//! - Results and streams are freed by whoever got them: they have a `Drop`.
//! - The library is never unloaded: its threads outlive every connection.
#![allow(unsafe_code, reason = "calls into a shared library")]

use crate::exception::Exception;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

/// `chdb_connection`, `chdb_result *` and `chdb_insert_stream` are pointers to what only the library knows.
type Handle = *mut c_void;

/// A statement with values for its placeholders, by name and length.
type WithParameters = unsafe extern "C" fn(
    Handle,
    *const c_char,
    usize,
    *const c_char,
    usize,
    *const *const c_char,
    *const usize,
    *const *const c_char,
    *const usize,
    usize,
) -> Handle;

/// `chdb_query_analysis_v1`
#[repr(C)]
struct Analysis {
    struct_size: u32,
    statement_count: u32,
    flags: u32,
    query_class: u32,
}

macro_rules! functions {
    ($($(#[$doc:meta])* $field:ident = $name:literal: $kind:ty,)*) => {
        struct Functions { $($field: $kind,)* }

        impl Functions {
            fn load(library: &'static libloading::Library) -> Result<Self, OpenError> {
                // SAFETY: the types are those of the functions in `chdb.h` of the versions that `OLDEST` and later
                // have; the library is never unloaded, so that they stay valid.
                unsafe { Ok(Self { $($field: *library.get::<$kind>(concat!($name, "\0")).map_err(OpenError::symbol)?,)* }) }
            }
        }
    };
}

functions! {
    set_signal_handlers = "chdb_set_signal_handlers_enabled": unsafe extern "C" fn(c_int),
    connect = "chdb_connect": unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut Handle,
    close = "chdb_close_conn": unsafe extern "C" fn(*mut Handle),
    classify = "chdb_classify_query_n": unsafe extern "C" fn(Handle, *const c_char, usize, *const c_char, usize, *mut Analysis) -> c_int,
    query = "chdb_query_with_params_n": WithParameters,
    stream = "chdb_stream_query_with_params_n": WithParameters,
    fetch = "chdb_stream_fetch_result": unsafe extern "C" fn(Handle, Handle) -> Handle,
    cancel_stream = "chdb_stream_cancel_query": unsafe extern "C" fn(Handle, Handle),
    insert = "chdb_stream_insert_with_params_n": WithParameters,
    append = "chdb_stream_append": unsafe extern "C" fn(Handle, *const c_void, usize) -> c_int,
    done = "chdb_stream_done": unsafe extern "C" fn(Handle) -> Handle,
    insert_error = "chdb_stream_insert_error": unsafe extern "C" fn(Handle) -> *const c_char,
    destroy_insert = "chdb_destroy_insert_stream": unsafe extern "C" fn(Handle),
    destroy_result = "chdb_destroy_query_result": unsafe extern "C" fn(Handle),
    result_error = "chdb_result_error": unsafe extern "C" fn(Handle) -> *const c_char,
    result_buffer = "chdb_result_buffer": unsafe extern "C" fn(Handle) -> *const c_char,
    result_length = "chdb_result_length": unsafe extern "C" fn(Handle) -> usize,
    rows = "chdb_result_rows_read": unsafe extern "C" fn(Handle) -> u64,
    bytes = "chdb_result_bytes_read": unsafe extern "C" fn(Handle) -> u64,
    read_rows = "chdb_result_storage_rows_read": unsafe extern "C" fn(Handle) -> u64,
    read_bytes = "chdb_result_storage_bytes_read": unsafe extern "C" fn(Handle) -> u64,
    written_rows = "chdb_result_rows_written": unsafe extern "C" fn(Handle) -> u64,
    written_bytes = "chdb_result_bytes_written": unsafe extern "C" fn(Handle) -> u64,
}

/// Why a library cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is no shared library, or one for another machine.
    #[error("{0} cannot be loaded: {1}")]
    Load(String, String),
    /// It is another library, or an older version.
    #[error("it is not libchdb 26.7 or newer ({0}); `make libchdb` fetches one that is")]
    Symbol(String),
}

impl OpenError {
    fn symbol(error: libloading::Error) -> Self {
        Self::Symbol(error.to_string())
    }
}

/// What a statement would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Nothing: SELECT, SHOW, DESCRIBE, EXPLAIN, EXISTS, CHECK.
    ReadOnly,
    /// Something, or it is not known what.
    Other,
}

/// The library, loaded.
pub struct Library {
    functions: Functions,
}

impl Library {
    /// Loads the library. It stays until the process ends. Its handlers of signals are turned off.
    pub fn open(file: &Path) -> Result<Arc<Self>, OpenError> {
        // SAFETY: what the library does when it is loaded is trusted as much as the library itself; whoever names the
        // file may run code here.
        let library = unsafe { libloading::Library::new(file) };
        let library = library.map_err(|error| OpenError::Load(file.display().to_string(), error.to_string()))?;
        // Its threads run until the process ends: it must stay where it is.
        let functions = Functions::load(Box::leak(Box::new(library)))?;
        // SAFETY: takes a flag; called before any other function, as the header asks.
        unsafe { (functions.set_signal_handlers)(0) };
        Ok(Arc::new(Self { functions }))
    }

    /// Opens a connection. The first one starts the engine with `arguments` such as `--path=DIR`; later ones must
    /// have the same path. `None`: the engine refused, and has told why on stderr.
    pub fn connect(self: &Arc<Self>, arguments: &[CString]) -> Option<Connection> {
        let mut pointers: Vec<*mut c_char> = arguments.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
        let count = c_int::try_from(pointers.len()).ok()?;
        // SAFETY: `count` pointers to texts that end with NUL and live through the call; the function only reads them
        // (its type says otherwise, as `main`'s does).
        let connection = unsafe { (self.functions.connect)(count, pointers.as_mut_ptr()) };
        Some(Connection { library: Arc::clone(self), connection: NonNull::new(connection)? })
    }
}

/// Values for a statement's placeholders.
pub type Parameters = [(String, String)];

/// A connection: settings, current database and temporary tables of its own. Dropping it closes it; the engine stops
/// with the last one.
pub struct Connection {
    library: Arc<Library>,
    /// `chdb_connection *`: where the handle is kept.
    connection: NonNull<Handle>,
}

// SAFETY: the header calls connections safe to use from any thread; `&mut self` keeps it to one at a time.
unsafe impl Send for Connection {}

impl Connection {
    fn handle(&self) -> Handle {
        // SAFETY: `chdb_connect` gave it, and it is valid until `chdb_close_conn`, which only `drop` calls.
        unsafe { *self.connection.as_ptr() }
    }

    /// What a statement would change. One that cannot be parsed is [`Class::Other`].
    pub fn classify(&mut self, statement: &[u8]) -> Class {
        let mut analysis =
            Analysis { struct_size: size_of::<Analysis>() as u32, statement_count: 0, flags: 0, query_class: u32::MAX };
        let (text, len) = (statement.as_ptr().cast(), statement.len());
        // SAFETY: the text is `len` bytes long, no database is named (NULL, 0), and the report is as large as it says.
        let state = unsafe {
            (self.library.functions.classify)(self.handle(), text, len, std::ptr::null(), 0, &raw mut analysis)
        };
        if state == 0 && analysis.query_class == 0 && analysis.statement_count == 1 {
            Class::ReadOnly
        } else {
            Class::Other
        }
    }

    /// Runs a statement and gives its whole result. `format` is what the statement's own `FORMAT` overrides.
    pub fn query(&mut self, statement: &[u8], format: &str, parameters: &Parameters) -> Result<Outcome, Exception> {
        let result = self.call(self.library.functions.query, statement, format, parameters);
        Outcome::new(&self.library, result)
    }

    /// Runs a SELECT whose result is fetched in pieces. Other statements are refused before they do anything.
    pub fn stream(&mut self, statement: &[u8], format: &str, parameters: &Parameters) -> Result<Stream<'_>, Exception> {
        let result = self.call(self.library.functions.stream, statement, format, parameters);
        // An error is in it at once; it has no data yet.
        let opened = Outcome::new(&self.library, result)?;
        Ok(Stream { connection: self, result: opened, ended: false })
    }

    /// Begins an INSERT, without `FORMAT` and data, whose data is appended in pieces in this format.
    pub fn insert(&mut self, statement: &[u8], format: &str, parameters: &Parameters) -> Result<Insert<'_>, Exception> {
        let stream = self.call(self.library.functions.insert, statement, format, parameters);
        let stream = NonNull::new(stream).ok_or_else(nothing)?;
        let insert = Insert { connection: self, stream };
        match insert.error() {
            Some(exception) => Err(exception),
            None => Ok(insert),
        }
    }

    fn call(&self, function: WithParameters, statement: &[u8], format: &str, parameters: &Parameters) -> Handle {
        let names: Vec<*const c_char> = parameters.iter().map(|(name, _)| name.as_ptr().cast()).collect();
        let name_lens: Vec<usize> = parameters.iter().map(|(name, _)| name.len()).collect();
        let values: Vec<*const c_char> = parameters.iter().map(|(_, value)| value.as_ptr().cast()).collect();
        let value_lens: Vec<usize> = parameters.iter().map(|(_, value)| value.len()).collect();
        // SAFETY: every pointer comes with its length, texts need no NUL at their end, all live through the call, and
        // the function copies what it keeps.
        unsafe {
            function(
                self.handle(),
                statement.as_ptr().cast(),
                statement.len(),
                format.as_ptr().cast(),
                format.len(),
                names.as_ptr(),
                name_lens.as_ptr(),
                values.as_ptr(),
                value_lens.as_ptr(),
                parameters.len(),
            )
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: it is open, and nothing uses it any more: streams borrow it, results do not need it.
        unsafe { (self.library.functions.close)(self.connection.as_ptr()) };
    }
}

/// What a statement did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows of the result.
    pub rows: u64,
    /// Bytes of the result, as the engine holds them.
    pub bytes: u64,
    /// Rows read from tables.
    pub read_rows: u64,
    /// Bytes read from tables.
    pub read_bytes: u64,
    /// Rows written.
    pub written_rows: u64,
    /// Bytes written.
    pub written_bytes: u64,
}

/// A result, or a piece of one.
pub struct Outcome {
    library: Arc<Library>,
    result: NonNull<c_void>,
}

// SAFETY: a result belongs to whoever holds it and is not tied to a thread or to its connection.
unsafe impl Send for Outcome {}

impl Outcome {
    fn new(library: &Arc<Library>, result: Handle) -> Result<Self, Exception> {
        let outcome = Self { library: Arc::clone(library), result: NonNull::new(result).ok_or_else(nothing)? };
        // SAFETY: the result is valid until it is dropped; the text belongs to it and is copied.
        match text(unsafe { (library.functions.result_error)(outcome.result.as_ptr()) }) {
            Some(error) => Err(Exception::from_engine(&error)),
            None => Ok(outcome),
        }
    }

    /// The data, in the format that was asked for.
    pub fn data(&self) -> &[u8] {
        let (functions, result) = (&self.library.functions, self.result.as_ptr());
        // SAFETY: the result is valid as long as `self`.
        let (data, len) = unsafe { ((functions.result_buffer)(result), (functions.result_length)(result)) };
        if data.is_null() || len == 0 {
            return &[];
        }
        // SAFETY: the buffer has `len` bytes, nobody writes to it, and it is freed with the result.
        unsafe { std::slice::from_raw_parts(data.cast(), len) }
    }

    /// What was read and written.
    pub fn counts(&self) -> Counts {
        let (f, result) = (&self.library.functions, self.result.as_ptr());
        // SAFETY: these read numbers of a valid result.
        unsafe {
            Counts {
                rows: (f.rows)(result),
                bytes: (f.bytes)(result),
                read_rows: (f.read_rows)(result),
                read_bytes: (f.read_bytes)(result),
                written_rows: (f.written_rows)(result),
                written_bytes: (f.written_bytes)(result),
            }
        }
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        // SAFETY: it is freed once, here.
        unsafe { (self.library.functions.destroy_result)(self.result.as_ptr()) };
    }
}

/// The result of a SELECT, in pieces. Dropping it before its end cancels the statement.
pub struct Stream<'a> {
    connection: &'a mut Connection,
    result: Outcome,
    ended: bool,
}

impl Stream<'_> {
    /// The next piece; `None`: that was all.
    pub fn next(&mut self) -> Result<Option<Outcome>, Exception> {
        let library = &self.connection.library;
        // SAFETY: the connection and its stream are open, and `&mut self` keeps calls apart.
        let piece = unsafe { (library.functions.fetch)(self.connection.handle(), self.result.result.as_ptr()) };
        let piece = Outcome::new(library, piece).inspect_err(|_| self.ended = true)?;
        self.ended = piece.data().is_empty();
        Ok(if self.ended { None } else { Some(piece) })
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // SAFETY: as in `next`; the result is freed after this, by its own `Drop`.
            unsafe {
                (self.connection.library.functions.cancel_stream)(
                    self.connection.handle(),
                    self.result.result.as_ptr(),
                );
            }
        }
    }
}

/// An INSERT that takes its data in pieces. Dropping it before [`Insert::finish`] gives it up: what the engine has not
/// made a block of is not inserted.
pub struct Insert<'a> {
    connection: &'a mut Connection,
    stream: NonNull<c_void>,
}

impl Insert<'_> {
    /// Hands data over; blocks while the engine is behind.
    pub fn append(&mut self, data: &[u8]) -> Result<(), Exception> {
        let append = self.connection.library.functions.append;
        // SAFETY: the stream is open, and the engine copies `len` bytes.
        let state = unsafe { append(self.stream.as_ptr(), data.as_ptr().cast(), data.len()) };
        if state == 0 { Ok(()) } else { Err(self.error().unwrap_or_else(nothing)) }
    }

    /// Ends the data. What is returned without an error is inserted.
    pub fn finish(self) -> Result<Outcome, Exception> {
        let library = &self.connection.library;
        // SAFETY: the stream is open; it is freed by `drop`, the result by its own.
        let result = unsafe { (library.functions.done)(self.stream.as_ptr()) };
        Outcome::new(library, result)
    }

    fn error(&self) -> Option<Exception> {
        let insert_error = self.connection.library.functions.insert_error;
        // SAFETY: the stream is valid, and its text is copied at once.
        text(unsafe { insert_error(self.stream.as_ptr()) }).map(|error| Exception::from_engine(&error))
    }
}

impl Drop for Insert<'_> {
    fn drop(&mut self) {
        // SAFETY: every stream is freed once, here; one that was not finished is cancelled by it.
        unsafe { (self.connection.library.functions.destroy_insert)(self.stream.as_ptr()) };
    }
}

/// Ends the process at once: no destructors of the library's global objects, whose threads are still running.
pub fn end_process(exit_code: i32) -> ! {
    unsafe extern "C" {
        fn _exit(status: c_int) -> !;
    }
    // SAFETY: takes a number and does not return.
    unsafe { _exit(exit_code) }
}

fn nothing() -> Exception {
    Exception::from_engine("libchdb gave no result")
}

/// A copy of a C text; `None`: there is none.
fn text(pointer: *const c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the library's texts end with NUL, and the caller's is still valid.
    Some(unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}
