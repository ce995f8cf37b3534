//! What the machine says of itself; Linux only, nothing elsewhere.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Ticks of a second in `/proc/stat`: the same on every Linux.
const TICKS: f64 = 100.0;

/// Processor seconds that the whole machine has been busy for: the database's server and the load
/// are in it, and whatever else runs.
pub(super) fn busy_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let mut ticks = text.lines().next()?.split_whitespace().skip(1).map(|it| it.parse::<u64>());
    let mut next = || ticks.next()?.ok();
    let (user, nice, system) = (next()?, next()?, next()?);
    Some((user + nice + system) as f64 / TICKS)
}

/// Begins a new count of the most memory held.
pub(super) fn forget_peak() {
    // Where the system does not let us, the peak since the start is told.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Most memory that this process held, in MiB.
pub(super) fn peak_mib() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1_024)
}

/// How long the disk takes to keep a small addition to a file: the median of many.
pub(super) fn fsync(folder: &Path) -> Result<Duration> {
    let path = folder.join("fsync");
    let mut file = File::create(&path).with_context(|| format!("cannot write {path:?}"))?;
    let mut times = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        file.write_all(&[7; 4_096])?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    fs::remove_file(&path)?;
    times.sort_unstable();
    Ok(times[times.len() / 2])
}
