//! Which checkpoint of a folder to go on from: the newest whose manifest and segments are sound. Every byte of it is read
//! and compared with its checksums before a row of it is used, so that loading never has to start over from an older one;
//! the second reading comes from memory where there is enough.

use crate::disk::Disk;
use crate::error::StoreError;
use crate::manifest::{self, Manifest};
use crate::segment::{self, SegmentRef};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// How a folder is used.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many checkpoints are kept, at least 1.
    pub kept: usize,
    /// The caller's version of rows and notes, which checkpoints are written in.
    pub format: u32,
    /// The oldest version that the caller still reads: checkpoints of earlier and of later ones are refused.
    pub oldest: u32,
}

/// A checkpoint that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its number.
    pub number: u64,
    /// Why.
    pub why: Refusal,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The caller's version is another one.
    Format {
        /// That of the checkpoint.
        found: u32,
        /// That which is read.
        reads: u32,
    },
    /// The files look otherwise: another version of the program wrote them.
    Layout {
        /// That of the checkpoint.
        found: u32,
        /// That which is read.
        reads: u32,
    },
    /// A file is missing.
    Missing(String),
    /// A file is cut short or does not match its checksum, or cannot be read.
    Damaged(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", manifest::name(self.number), self.why)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format { found, reads } => {
                write!(f, "written in format {found}, and this version reads format {reads}")
            }
            Self::Layout { found, reads } => {
                write!(f, "its files have layout {found}, and this version reads layout {reads}")
            }
            Self::Missing(file) => write!(f, "{file} is missing"),
            Self::Damaged(why) => f.write_str(why),
        }
    }
}

/// What a look at a folder finds.
#[derive(Debug, Default)]
pub struct Inspected {
    /// The checkpoint that a start would go on from, and its note.
    pub checkpoint: Option<(u64, Vec<u8>)>,
    /// Newer ones that it would refuse, and older ones that are not whole; the newest first.
    pub refused: Vec<Refused>,
}

/// A folder's checkpoints.
#[derive(Debug, Default)]
pub struct Survey {
    /// Those that can be used, the newest last; only the newest was read wholly.
    pub usable: Vec<Manifest>,
    /// Those that cannot, the newest first.
    pub refused: Vec<Refused>,
    /// Numbers that no file has, and higher than any that one has.
    pub next_number: u64,
    /// Likewise, of segments.
    pub next_segment: u64,
}

/// Looks at a folder without changing it. `InUse` while a process works on it.
pub fn inspect(dir: &Path, options: Options) -> Result<Inspected, StoreError> {
    let disk = Disk::new(dir);
    if disk.names()?.is_empty() {
        return Ok(Inspected::default());
    }
    let _lock = disk.lock()?;
    let survey = survey(&disk, options)?;
    let checkpoint = survey.usable.into_iter().next_back().map(|manifest| (manifest.number, manifest.meta));
    Ok(Inspected { checkpoint, refused: survey.refused })
}

/// Reads all manifests, and the newest sound one's segments.
pub fn survey(disk: &Disk, options: Options) -> Result<Survey, StoreError> {
    let names = disk.names()?;
    let numbers: BTreeSet<u64> = names.iter().filter_map(|name| manifest::number(name)).collect();
    let highest_segment = names.iter().filter_map(|name| segment::number(name)).max();
    let mut survey = Survey {
        next_number: numbers.last().map_or(1, |number| number + 1),
        next_segment: highest_segment.map_or(1, |id| id + 1),
        ..Survey::default()
    };
    let mut checked = BTreeMap::new();
    for number in numbers.iter().rev() {
        let wholly = survey.usable.is_empty();
        match read(disk, *number, options).and_then(|m| check(disk, m, wholly, &mut checked)) {
            Ok(manifest) => survey.usable.insert(0, manifest),
            Err(why) => survey.refused.push(Refused { number: *number, why }),
        }
    }
    if survey.usable.is_empty() && !survey.refused.is_empty() {
        return Err(StoreError::Unusable { dir: disk.dir().to_owned(), refused: survey.refused });
    }
    Ok(survey)
}

fn read(disk: &Disk, number: u64, options: Options) -> Result<Manifest, Refusal> {
    let name = manifest::name(number);
    let bytes = std::fs::read(disk.path(&name)).map_err(|e| Refusal::Damaged(format!("the manifest: {e}")))?;
    let manifest = Manifest::decode(&bytes, options.oldest..=options.format)?;
    if manifest.number == number {
        Ok(manifest)
    } else {
        Err(Refusal::Damaged(format!("the manifest is of checkpoint {}", manifest.number)))
    }
}

type Checked = BTreeMap<u64, Result<(), Refusal>>;

/// Whether a checkpoint's segments are there, and, if `wholly`, whether they hold what was written.
fn check(disk: &Disk, manifest: Manifest, wholly: bool, checked: &mut Checked) -> Result<Manifest, Refusal> {
    for segment in &manifest.segments {
        let name = segment.name();
        match disk.length(&name) {
            None => return Err(Refusal::Missing(name)),
            Some(bytes) if bytes != segment.bytes => {
                return Err(Refusal::Damaged(format!("{name} has {bytes} bytes instead of {}", segment.bytes)));
            }
            Some(_) => {}
        }
    }
    for segment in manifest.segments.iter().filter(|_| wholly) {
        checked.entry(segment.id).or_insert_with(|| compare(disk, segment)).clone()?;
    }
    Ok(manifest)
}

fn compare(disk: &Disk, segment: &SegmentRef) -> Result<(), Refusal> {
    let name = segment.name();
    match disk.checksum(&name) {
        Ok(found) if found == (segment.bytes, segment.checksum) => Ok(()),
        Ok(_) => Err(Refusal::Damaged(format!("{name} does not match its checksum"))),
        Err(error) => Err(Refusal::Damaged(error.to_string())),
    }
}
