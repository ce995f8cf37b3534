//! What the machine says of itself; Linux only, nothing elsewhere.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
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

/// Processor seconds that a process has used.
pub(super) fn process_seconds(process: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Behind its name, which may have anything in it.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    let (user, system) = (next()?, next()?);
    Some((user + system) as f64 / TICKS)
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

/// Which figure is looked into, and where what is seen goes.
static LOOKED_INTO: OnceLock<(String, PathBuf)> = OnceLock::new();

/// Has `perf` look into whatever measures this figure. Its numbers are worth nothing then.
pub fn look_into(figure: String, file: PathBuf) {
    // Asked for once, by whoever reads the command line.
    let _ = LOOKED_INTO.set((figure, file));
}

/// `perf` at work on a process; it stops when this is dropped.
pub(super) struct Look(Child);

impl Look {
    /// Begins where this figure is to be looked into.
    pub(super) fn at(figure: &str, process: u32) -> Result<Option<Self>> {
        let Some((_, file)) = LOOKED_INTO.get().filter(|(name, _)| name == figure) else {
            return Ok(None);
        };
        let mut perf = Command::new("perf");
        perf.args(["record", "--quiet", "--event", "cpu-clock", "--freq", "499"]);
        perf.args(["--call-graph", "dwarf,16384", "--pid", &process.to_string(), "--output"]);
        let perf = perf.arg(file).stdin(Stdio::null()).spawn();
        let look = Self(perf.context("perf cannot be run: Debian has it in linux-perf")?);
        // Nothing says when it has begun.
        std::thread::sleep(Duration::from_millis(500));
        Ok(Some(look))
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        // What it has seen is complete only where it is asked to stop.
        let _ = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}
