//! All files together: statements in order, names that must be unique, every fault at once.

use super::expr::{Expr, Type};
use super::from::{self, Declared, Relations};
use super::parse::{Parsed, Source};
use super::resolve::{Resolver, fold_name};
use super::{SqlFault, Table, View, table, view};
use aulaflow_model::fault::nearest;
use sqlparser::ast::{CreateView, ObjectName, ObjectNamePart, Statement};
use std::ops::Range;

/// A fault and the index of its file.
pub type FileFault = (usize, SqlFault);

/// The longest name of a table, view or output, as in PostgreSQL.
const NAME_BYTES_MAX: usize = 63;

/// Names of views that are built in.
const RESERVED: [&str; 2] = ["grades", "cohorts"];

/// The most views: a profile with more would be no profile, and a view's index is a `u16`.
const VIEWS_MAX: usize = 1000;

/// The stack that parsing, checking and dropping a file's statements may need; see `parse.rs` on deep trees.
const STACK_BYTES: usize = 64 << 20;

/// Compiles the statements of all files, given as (name, text): tables in the order of files and statements, then views,
/// which may read the tables and views of any file. All faults of all files at once, in the order of files and places.
pub fn compile(files: &[(String, String)]) -> Result<(Vec<Table>, Vec<View>), Vec<FileFault>> {
    check(files).made
}

/// What statements make, and what is probably not meant in them.
pub struct Checked {
    /// Tables and views, or all faults.
    pub made: Result<(Vec<Table>, Vec<View>), Vec<FileFault>>,
    /// What is right and probably not meant, of the statements that have no fault, in the order of files and places.
    pub warnings: Vec<FileFault>,
}

/// Compiles as [`compile`] does, and says what is probably not meant.
pub fn check(files: &[(String, String)]) -> Checked {
    stacker::grow(STACK_BYTES, || {
        let mut compiler = Compiler::default();
        let mut parsed = Vec::new();
        for (file, (_, text)) in files.iter().enumerate() {
            parsed.extend(compiler.parse(file, text).map(|(source, statements)| (file, source, statements)));
        }
        for (file, source, statements) in &parsed {
            for parsed in statements {
                compiler.table(*file, source, parsed);
            }
        }
        let views = || {
            parsed.iter().flat_map(|(file, source, statements)| {
                let views = statements.iter().filter_map(|parsed| match &parsed.statement {
                    Statement::CreateView(create) => Some((*file, source, create, &parsed.range)),
                    _ => None,
                });
                views.collect::<Vec<_>>()
            })
        };
        for (file, source, create, range) in views() {
            compiler.declare(file, source, create, range);
        }
        // A view that reads another one needs its outputs, and is stacked on no third one: two rounds do.
        for second_round in [false, true] {
            for (index, (file, source, create, range)) in views().enumerate() {
                if compiler.relations().reads_view(&compiler.views[index]) == second_round {
                    compiler.view(index, file, source, create, range);
                }
            }
        }
        compiler.finish()
    })
}

/// Compiles an expression over columns, for tools and tests. Aggregates are refused.
pub fn compile_scalar(text: &str, columns: &[(String, Type)]) -> Result<Expr, Vec<SqlFault>> {
    stacker::grow(STACK_BYTES, || {
        let (source, statements) = Source::new(text).map_err(|fault| vec![fault])?;
        let Ok([tokens]) = <[Vec<_>; 1]>::try_from(statements) else {
            return Err(vec![SqlFault::new(0..text.len(), "expected one expression")]);
        };
        let expression = source.parse_expression(tokens).map_err(|fault| vec![fault])?;
        let mut resolver = Resolver::new(&source, 0..text.len(), columns, &[]);
        let compiled = resolver.compile(&expression);
        let faults = resolver.finish().faults;
        compiled.filter(|_| faults.is_empty()).ok_or(faults)
    })
}

#[derive(Default)]
struct Compiler {
    tables: Vec<Table>,
    /// All views, in the order of files and statements.
    views: Vec<Declared>,
    faults: Vec<FileFault>,
    warnings: Vec<FileFault>,
    /// Tables that could not be made, and views that could not be parsed.
    broken: Vec<String>,
    /// Every table and view so far, right or wrong.
    names: Vec<String>,
}

impl Compiler {
    /// The statements of a file. One that does not parse is a fault; the others are checked all the same.
    fn parse<'t>(&mut self, file: usize, text: &'t str) -> Option<(Source<'t>, Vec<Parsed>)> {
        let (source, statements) = match Source::new(text) {
            Ok(cut) => cut,
            Err(fault) => {
                self.faults.push((file, fault));
                return None;
            }
        };
        let mut parsed = Vec::new();
        for tokens in statements {
            match source.parse(tokens) {
                Ok(statement) => parsed.push(statement),
                Err(unparsed) => {
                    self.broken.extend(unparsed.name);
                    self.faults.push((file, unparsed.fault));
                }
            }
        }
        Some((source, parsed))
    }

    fn table(&mut self, file: usize, source: &Source<'_>, parsed: &Parsed) {
        let create = match &parsed.statement {
            Statement::CreateTable(create) => create,
            Statement::CreateView(_) => return,
            _ => {
                let help = "CREATE TABLE for sources, CREATE MATERIALIZED VIEW for features";
                let first = source.text(parsed.range.clone()).split_whitespace().next().map_or(0, str::len);
                let at = parsed.range.start..parsed.range.start + first;
                self.faults.push((file, SqlFault::new(at, "this statement is not supported").help(help)));
                return;
            }
        };
        let mut faults = Vec::new();
        let table = table::check(source, create, &parsed.range, &mut faults);
        self.unique(source, &create.name, &mut faults);
        match table {
            Some(table) if faults.is_empty() => self.tables.push(table),
            _ => self.broken.extend(plain_name(&create.name)),
        }
        self.faults.extend(faults.into_iter().map(|fault| (file, fault)));
    }

    /// Notes a view, so that others can name it.
    fn declare(&mut self, file: usize, source: &Source<'_>, create: &CreateView, range: &Range<usize>) {
        let mut faults = Vec::new();
        self.unique(source, &create.name, &mut faults);
        if self.views.len() == VIEWS_MAX {
            let at = source.place(&create.name, range);
            faults.push(SqlFault::new(at, format!("there are more than {VIEWS_MAX} views")));
        }
        let name = plain_name(&create.name).unwrap_or_default();
        self.views.push(Declared { name, reads: from::name_in_from(&create.query), view: None });
        self.faults.extend(faults.into_iter().map(|fault| (file, fault)));
    }

    fn relations(&self) -> Relations<'_> {
        Relations { tables: &self.tables, broken: &self.broken, views: &self.views }
    }

    fn view(&mut self, index: usize, file: usize, source: &Source<'_>, create: &CreateView, range: &Range<usize>) {
        let (mut faults, mut warnings) = (Vec::new(), Vec::new());
        self.views[index].view = view::check(source, create, range, &self.relations(), (&mut faults, &mut warnings));
        self.warnings.extend(warnings.into_iter().map(|warning| (file, warning)));
        self.faults.extend(faults.into_iter().map(|fault| (file, fault)));
    }

    /// Tables and views share their names.
    fn unique(&mut self, source: &Source<'_>, name: &ObjectName, faults: &mut Vec<SqlFault>) {
        let Some(plain) = plain_name(name) else { return };
        if self.names.contains(&plain) {
            let fault = SqlFault::new(source.place(name, &(0..0)), format!("the name \"{plain}\" is taken already"));
            faults.push(fault.help("tables and views of all files share one set of names"));
        }
        self.names.push(plain);
    }

    fn finish(mut self) -> Checked {
        self.warnings.sort_by_key(|(file, warning)| (*file, warning.span.start));
        self.faults.sort_by_key(|(file, fault)| (*file, fault.span.start));
        let made = if self.faults.is_empty() {
            // Without faults every view was made, so that a view's place is that of its statement.
            Ok((self.tables, self.views.into_iter().filter_map(|declared| declared.view).collect()))
        } else {
            Err(self.faults)
        };
        Checked { made, warnings: self.warnings }
    }
}

fn plain_name(name: &ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => Some(fold_name(ident)),
        _ => None,
    }
}

/// The name of a table or view, checked.
pub fn object_name(
    source: &Source<'_>,
    name: &ObjectName,
    kind: &str,
    within: &Range<usize>,
    faults: &mut Vec<SqlFault>,
) -> Option<String> {
    let at = source.place(name, within);
    let Some(plain) = plain_name(name) else {
        faults.push(SqlFault::new(at, format!("a {kind} is named without a schema")));
        return None;
    };
    if RESERVED.contains(&plain.as_str()) {
        faults.push(SqlFault::new(at, format!("the name \"{plain}\" is reserved for a view that is built in")));
        return None;
    }
    check_name(&plain, kind, &at, faults).then_some(plain)
}

/// Whether a name can be a key in profiles and a table in ClickHouse as it is.
pub fn check_name(name: &str, kind: &str, at: &Range<usize>, faults: &mut Vec<SqlFault>) -> bool {
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let good = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if starts && good && name.len() <= NAME_BYTES_MAX {
        return true;
    }
    let fault = SqlFault::new(at.clone(), format!("\"{name}\" is not a valid {kind} name"));
    let help = format!(
        "names have lower-case letters, digits and _, start with no digit, and have at most {NAME_BYTES_MAX} characters"
    );
    faults.push(fault.help(help));
    false
}

/// What was probably meant, and what is known.
pub fn nearest_help(given: &str, known: &[&str], what: &str) -> String {
    let list = known.join(", ");
    match nearest(given, known.iter().copied()) {
        Some(name) => format!("did you mean \"{name}\"? known {what}: {list}"),
        None => format!("known {what}: {list}"),
    }
}
