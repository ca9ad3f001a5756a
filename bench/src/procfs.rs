//! What Linux tells of processes and of the machine.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Clock ticks per second in `/proc/PID/stat`: a constant of Linux' interface, whatever the kernel's own rate.
const TICKS_PER_SECOND: f64 = 100.0;

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// The most that was ever resident.
    pub peak: u64,
}

/// CPU seconds that a process has used, its ended children not counted.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the process has ended")?;
    // The second field is the name in parentheses, which may hold anything; `utime` and `stime` are the 14th and 15th.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / TICKS_PER_SECOND)
}

/// The memory of a process.
pub fn memory(pid: u32) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process has ended")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib << 10).with_context(|| format!("/proc/{pid}/status has no {name}"))
    };
    Ok(Memory { resident: field("VmRSS:")?, peak: field("VmHWM:")? })
}

/// Processor, number of them, memory, kernel and the file system of a folder, for people.
pub fn machine(folder: &Path) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let named = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let kib = named(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok()).unwrap_or(0);
    format!(
        "{processors} × {}, {:.0} GiB, Linux {}, data on {}",
        named(&cpu, "model name").unwrap_or_else(|| "processor of unknown name".to_owned()),
        kib as f64 / f64::from(1 << 20),
        read("/proc/sys/kernel/osrelease").trim(),
        file_system(folder),
    )
}

/// The type of the file system that a folder is on.
pub fn file_system(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    // The longest mount point above the folder; of equal ones the last, which hides the others.
    let above = fields.filter(|(point, _)| folder.starts_with(point)).max_by_key(|(point, _)| point.len());
    above.map_or_else(|| "an unknown file system".to_owned(), |(_, kind)| kind.to_owned())
}
