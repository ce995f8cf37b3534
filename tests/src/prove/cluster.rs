//! A PostgreSQL of one's own, to be killed, frozen and started again (`scripts/postgres`).

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use sqlx::Connection as _;

use crate::witness::server::{freeze, signal_to};

/// A running cluster. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Cluster {
    folder: PathBuf,
    /// Its database `postgres`.
    pub(super) url: String,
}

impl Cluster {
    /// Makes one that syncs, in a folder that is empty; or starts the one that is there, with its old address.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let started = script(&["start", "--durable"], folder)?;
        let url = String::from_utf8(started.stdout)?.trim().to_owned();
        Ok(Self { folder: folder.to_owned(), url })
    }

    /// Stops it as if the machine had stopped: without a checkpoint.
    pub(super) fn stop_immediately(&self) -> Result<()> {
        script(&["stop", "--immediate"], &self.folder).map(|_| ())
    }

    /// Starts it again where it has stopped.
    pub(super) fn start_again(&self) -> Result<()> {
        if !self.is_running() {
            // PostgreSQL takes one that was killed for a running one until its parent has waited for it, which in a
            // container may be seconds later.
            let _ = std::fs::remove_file(self.lock_file());
        }
        let started = Self::start(&self.folder)?;
        ensure!(started.url == self.url, "it is at {} now", started.url);
        std::mem::forget(started);
        Ok(())
    }

    /// Ends all sessions but the one that does it; says how many.
    pub(super) async fn terminate_sessions(&self) -> Result<u64> {
        let mut connection = sqlx::PgConnection::connect(&self.url).await?;
        let ended = sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where datname = current_database() and pid <> pg_backend_pid()",
        )
        .execute(&mut connection)
        .await?;
        connection.close().await?;
        Ok(ended.rows_affected())
    }

    /// Whether it runs.
    pub(super) fn is_running(&self) -> bool {
        self.postmaster().is_some_and(is_alive)
    }

    /// Stops every process of it, until they are [let go on](Self::thaw).
    pub(super) fn freeze(&self) -> Result<()> {
        let postmaster = self.postmaster().context("PostgreSQL runs")?;
        // The parent first: stopped, it starts no more children.
        freeze(&[postmaster])?;
        freeze(&children(postmaster)?)
    }

    /// Lets them go on.
    pub(super) fn thaw(&self) -> Result<()> {
        let postmaster = self.postmaster().context("PostgreSQL runs")?;
        let mut all = children(postmaster)?;
        all.push(postmaster);
        signal_to(&all, "CONT")
    }

    /// Kills it, and waits until all of it is gone.
    pub(super) fn kill(&self) -> Result<()> {
        let Some(postmaster) = self.postmaster().filter(|process| is_alive(*process)) else {
            return Ok(());
        };
        let mut all = children(postmaster)?;
        all.push(postmaster);
        // One that has just ended is no failure.
        let _ = signal_to(&all, "KILL");
        while all.iter().any(|process| is_alive(*process)) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Ok(())
    }

    /// Where the server says that it runs.
    fn lock_file(&self) -> PathBuf {
        self.folder.join("data/postmaster.pid")
    }

    fn postmaster(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.lock_file()).ok()?;
        text.lines().next()?.parse().ok()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn script(verb: &[&str], folder: &Path) -> Result<Output> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/postgres");
    let output = Command::new(&script).args(verb).arg(folder).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{} cannot be run", script.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "scripts/postgres {verb:?} {}: {said}", folder.display());
    Ok(output)
}

/// Whether a process is there, and no zombie.
fn is_alive(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    state.is_some_and(|state| !matches!(state.trim().chars().next(), Some('Z' | 'X')))
}

/// The processes that a process has started.
fn children(process: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(candidate) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // `PID (NAME) STATE PARENT ...`, and the name may hold anything.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        if parent.and_then(|it| it.parse().ok()) == Some(process) {
            children.push(candidate);
        }
    }
    Ok(children)
}
