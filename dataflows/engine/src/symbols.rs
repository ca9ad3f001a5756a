//! Names to small numbers and back, so that the dataflows move and compare integers instead of texts.
//! Numbers are this process's own: what is stored or sent carries names.

use aulaflow_model::ids::{PeriodId, StudentId, Subject, TenantId};
use compact_str::CompactString;
use hashbrown::HashTable;
use parking_lot::RwLock;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A tenant's number.
pub type TenantNo = u32;
/// A student's number; it implies the tenant.
pub type StudentNo = u32;
/// A subject's or a period's number.
pub type WordNo = u32;

/// Shards of a table: enough that two workers rarely meet in one.
const SHARDS: usize = 64;

struct Entry {
    hash: u64,
    scope: u32,
    name: CompactString,
    number: u32,
}

/// What a name takes in memory up to 24 bytes of text, in the table and in the list by number: for estimates.
pub const NAME_BYTES: (usize, usize) = (size_of::<Entry>(), size_of::<(u32, CompactString)>());

/// One table of names within scopes.
struct Table {
    shards: Vec<RwLock<HashTable<Entry>>>,
    names: RwLock<Vec<(u32, CompactString)>>,
}

impl Table {
    fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| RwLock::default()).collect(), names: RwLock::default() }
    }

    fn find_or_add(&self, scope: u32, hash: u64, name: &str) -> u32 {
        // The low bits choose the worker of a student; the shard takes others.
        let shard = &self.shards[(hash >> 32) as usize % SHARDS];
        let same = |e: &Entry| e.scope == scope && e.name == name;
        if let Some(found) = shard.read().find(hash, same) {
            return found.number;
        }
        let mut entries = shard.write();
        if let Some(found) = entries.find(hash, same) {
            return found.number;
        }
        let number = {
            let mut names = self.names.write();
            names.push((scope, CompactString::new(name)));
            u32::try_from(names.len() - 1).unwrap_or_else(|_| panic!("more than 2^32 names"))
        };
        entries.insert_unique(hash, Entry { hash, scope, name: CompactString::new(name), number }, |e| e.hash);
        number
    }

    fn find(&self, scope: u32, hash: u64, name: &str) -> Option<u32> {
        let shard = &self.shards[(hash >> 32) as usize % SHARDS];
        shard.read().find(hash, |e| e.scope == scope && e.name == name).map(|found| found.number)
    }

    fn name(&self, number: u32) -> (u32, CompactString) {
        self.names.read()[number as usize].clone()
    }
}

/// All names of a process. Grows with the names seen; shared by its workers.
pub struct Symbols {
    tenants: Table,
    students: Table,
    words: Table,
}

impl Default for Symbols {
    fn default() -> Self {
        Self { tenants: Table::new(), students: Table::new(), words: Table::new() }
    }
}

/// A student as the dataflows know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StudentRef {
    /// The number.
    pub number: StudentNo,
    /// A hash of (tenant, student) that is the same in every process: it chooses the worker.
    pub route: u64,
}

impl Symbols {
    /// A tenant's number, and the hash that its students' routes start from.
    pub fn tenant(&self, tenant: &str) -> (TenantNo, u64) {
        let hash = xxh3_64_with_seed(tenant.as_bytes(), 0);
        (self.tenants.find_or_add(0, hash, tenant), hash)
    }

    /// A student's number and route.
    pub fn student(&self, tenant: (TenantNo, u64), student: &str) -> StudentRef {
        let route = xxh3_64_with_seed(student.as_bytes(), tenant.1);
        StudentRef { number: self.students.find_or_add(tenant.0, route, student), route }
    }

    /// A subject's or period's number.
    pub fn word(&self, word: &str) -> WordNo {
        self.words.find_or_add(0, xxh3_64_with_seed(word.as_bytes(), 0), word)
    }

    /// A tenant's number, if it has one: looking for a name adds none.
    pub fn find_tenant(&self, tenant: &str) -> Option<TenantNo> {
        self.tenants.find(0, xxh3_64_with_seed(tenant.as_bytes(), 0), tenant)
    }

    /// Likewise, the numbers of a tenant and its student.
    pub fn find_student(&self, tenant: &str, student: &str) -> Option<(TenantNo, StudentNo)> {
        let number = self.find_tenant(tenant)?;
        let route = xxh3_64_with_seed(student.as_bytes(), xxh3_64_with_seed(tenant.as_bytes(), 0));
        Some((number, self.students.find(number, route, student)?))
    }

    /// Likewise, of a subject or period.
    pub fn find_word(&self, word: &str) -> Option<WordNo> {
        self.words.find(0, xxh3_64_with_seed(word.as_bytes(), 0), word)
    }

    /// A tenant by its number.
    pub fn tenant_id(&self, number: TenantNo) -> TenantId {
        TenantId::new(self.tenants.name(number).1).unwrap_or_else(|_| unreachable!("only checked names get numbers"))
    }

    /// A student by number: the tenant's number and the student.
    pub fn student_id(&self, number: StudentNo) -> (TenantNo, StudentId) {
        let (tenant, name) = self.students.name(number);
        (tenant, StudentId::new(name).unwrap_or_else(|_| unreachable!("only checked names get numbers")))
    }

    /// A subject by its number.
    pub fn subject(&self, number: WordNo) -> Subject {
        Subject::new(self.words.name(number).1).unwrap_or_else(|_| unreachable!("only checked names get numbers"))
    }

    /// A period by its number.
    pub fn period(&self, number: WordNo) -> PeriodId {
        PeriodId::new(self.words.name(number).1).unwrap_or_else(|_| unreachable!("only checked names get numbers"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_tenants_are_apart() {
        let symbols = Symbols::default();
        let (a, b) = (symbols.tenant("a"), symbols.tenant("b"));
        let (sa, sb) = (symbols.student(a, "s"), symbols.student(b, "s"));
        assert_ne!(sa.number, sb.number);
        assert_ne!(sa.route, sb.route);
        assert_eq!(symbols.student(a, "s"), sa);
        assert_eq!(symbols.student_id(sb.number), (b.0, StudentId::new("s").unwrap()));
        assert_eq!(symbols.tenant_id(b.0).as_str(), "b");
        assert_eq!(symbols.find_student("b", "s"), Some((b.0, sb.number)));
        assert_eq!((symbols.find_student("b", "other"), symbols.find_tenant("c")), (None, None));
        assert_eq!(symbols.find_word("mate"), None);
        assert_eq!(symbols.subject(symbols.word("mate")).as_str(), "mate");
    }
}
