//! `[clickhouse]`: where ClickHouse is, and who we are there. What is written to it, and how, is read in `clickhouse_sink`.

use super::clickhouse_reads::reads;
use super::clickhouse_sink::sink;
use super::kafka::secret;
use crate::runtime::{ClickHouse, ClickHouseKind, ClickHouseReads, ClickHouseSink};
use crate::settings::Section;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Off,
    Embedded,
    Server,
}

/// Reads the section.
pub(super) fn clickhouse(mut s: Section<'_, '_>) -> (ClickHouse, ClickHouseSink, ClickHouseReads) {
    let kind = s.choice(
        "kind",
        [("off", Kind::Off), ("embedded", Kind::Embedded), ("server", Kind::Server)],
        "where analysts' tables are: `embedded` runs ClickHouse as a child process, in `data_dir`, if its library is there; \
         `server` is one of your own",
    );
    let url =
        s.text("url", "text", "`http://host:8123` or `https://host:8443`", "required for `server`: its HTTP interface");
    let library = s.text(
        "library",
        "path",
        "`$AULAFLOW_LIBCHDB`, what `make libchdb` fetched, or the one beside the program",
        "for `embedded`: `libchdb.so`",
    );
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listen =
        s.address("listen", anywhere, "for `embedded`: where it listens, on loopback; port 0 takes a free one");
    let database = s.text_or("database", "aula", "the database that our tables are in");
    let user = s.text_or("user", "aula", "who we are there; the only user of the embedded one");
    let password = secret(&mut s, ("password_env", "password_file"), "the password; the embedded one makes its own");
    if kind == Kind::Server && !s.has("url") {
        let at = s.pointer("url");
        let help = "name its HTTP interface, such as `url = \"http://clickhouse-1:8123\"`";
        s.reader.fault_with_help(at, "missing key `url` in `[clickhouse]`", help);
    }
    if let Some(url) = url.as_ref().filter(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
        let (at, message) = (s.pointer("url"), format!("{url:?} is not a URL of ClickHouse's HTTP interface"));
        s.reader.fault_with_help(at, message, "write `http://host:8123` or `https://host:8443`");
    }
    if !listen.ip().is_loopback() {
        let (at, message) = (s.pointer("listen"), format!("{listen} is not a loopback address"));
        let help = "its user may read and write files of this machine; run a server of your own for others (`kind = \"server\"`)";
        s.reader.fault_with_help(at, message, help);
    }
    let reads = reads(&mut s);
    // With a table of its own at its end.
    let sink = sink(&mut s);
    s.finish();
    let kind = match kind {
        Kind::Off => ClickHouseKind::Off,
        Kind::Embedded => ClickHouseKind::Embedded { library: library.map(PathBuf::from), listen },
        Kind::Server => ClickHouseKind::Server { url: url.unwrap_or_default() },
    };
    (ClickHouse { kind, database, user, password }, sink, reads)
}
