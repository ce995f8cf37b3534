//! The real `atrium`: building it, starting it, killing it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::world::Place;

/// Longest that a start may take, recovery included.
const START: Duration = Duration::from_secs(60);
/// Longest that an orderly stop may take.
const STOP: Duration = Duration::from_secs(15);

/// The `atrium` binary that belongs to this program: the one beside it, built now if need be.
///
/// # Errors
/// Where it cannot be built.
pub fn built() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let mut folder = own.parent().context("a program is in a folder")?;
    if folder.ends_with("deps") {
        folder = folder.parent().context("deps is in a folder")?;
    }
    let profile = folder.file_name().and_then(|name| name.to_str()).context("no profile")?;
    let target = folder.parent().context("a profile's folder is in target")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("tests is in the project")?;
    // The whole workspace with the features that we have ourselves, as `scripts/test` builds it: nothing
    // is left to do there. With other features, tests that run side by side would replace the program
    // under each other's feet.
    let output = Command::new(cargo)
        .current_dir(top)
        .args(["build", "--quiet", "--workspace", "--bins", "--profile"])
        .arg(if profile == "debug" { "dev" } else { profile })
        .arg("--target-dir")
        .arg(target)
        .args(if cfg!(feature = "faults") {
            ["--features", "atrium-tests/faults"].as_slice()
        } else {
            &[]
        })
        .stdin(Stdio::null())
        .output()
        .context("cargo cannot be run")?;
    ensure!(
        output.status.success(),
        "`cargo build --workspace --bins` failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let binary = folder.join("atrium");
    ensure!(binary.exists(), "{} is not there after building it", binary.display());
    Ok(binary)
}

/// What to start, and on which data.
#[derive(Clone, Debug)]
pub struct Program {
    /// The binary.
    pub binary: PathBuf,
    /// Where the database is.
    pub place: Place,
    /// Folder for the master key, and for the server's log.
    pub folder: PathBuf,
}

impl Program {
    fn spawn(&self) -> Result<Child> {
        let log = self.folder.join("server.log");
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = Command::new(&self.binary);
        for (name, _) in std::env::vars_os() {
            // Settings of whoever runs this are none of the server's.
            if name.to_string_lossy().starts_with("ATRIUM_") {
                command.env_remove(name);
            }
        }
        command.args(["demo", "--empty", "--json", "--listen", "127.0.0.1:0"]);
        command.args(["--rate-limit", "0", "--data"]);
        match &self.place {
            Place::Folder(folder) => command.arg(folder),
            Place::Url(url) => command.arg(&self.folder).arg("--database").arg(url),
        };
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} cannot be started", self.binary.display()))
    }

    /// Starts it, and waits until it is ready.
    ///
    /// # Errors
    /// Where it does not get ready.
    pub async fn start(&self) -> Result<Server> {
        let began = Instant::now();
        let mut child = Killed(self.spawn()?);
        let out = child.0.stdout.take().context("its output is a pipe")?;
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(out).read_line(&mut line).map(|_| line)
        });
        let line = match tokio::time::timeout(START, line).await {
            Ok(line) => line??,
            Err(_) => bail!("atrium is not ready after {START:?}; {}", self.last_words()),
        };
        let ready: Ready = serde_json::from_str(&line)
            .with_context(|| format!("atrium did not get ready; {}", self.last_words()))?;
        Ok(Server { child, url: ready.url, token: ready.token, started_in: began.elapsed() })
    }

    /// Starts it, and kills it before it can be ready, or a little after.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub async fn start_in_vain(&self, alive: Duration) -> Result<()> {
        let _child = Killed(self.spawn()?);
        tokio::time::sleep(alive).await;
        Ok(())
    }

    /// The end of the server's log.
    fn last_words(&self) -> String {
        let path = self.folder.join("server.log");
        let lines =
            File::open(&path).map(|file| BufReader::new(file).lines().map_while(Result::ok));
        let mut last: Vec<_> = lines.map(Iterator::collect).unwrap_or_default();
        last.drain(..last.len().saturating_sub(10));
        format!("its log {} ends with:\n  {}", path.display(), last.join("\n  "))
    }
}

#[derive(Deserialize)]
struct Ready {
    url: String,
    token: String,
}

/// A process that is killed (SIGKILL) when this is dropped.
#[derive(Debug)]
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running server. Dropping it kills it, as `kill -9` does.
#[derive(Debug)]
pub struct Server {
    child: Killed,
    /// Where it listens.
    pub url: String,
    /// Of the provider's administrator.
    pub token: String,
    /// From its start until it was ready.
    pub started_in: Duration,
}

impl Server {
    /// `kill -9`, and waits until it is gone.
    pub fn kill(self) {
        drop(self);
    }

    /// Its process's number.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.0.id()
    }

    /// Sockets that it holds open.
    ///
    /// # Errors
    /// Where there is no `/proc`.
    pub fn sockets(&self) -> Result<usize> {
        let folder = format!("/proc/{}/fd", self.child.0.id());
        let is_socket = |link: PathBuf| link.to_string_lossy().starts_with("socket:");
        let held = std::fs::read_dir(folder)?.flatten();
        Ok(held.filter(|held| std::fs::read_link(held.path()).is_ok_and(is_socket)).count())
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    ///
    /// # Errors
    /// Where it does not end in time, or not well.
    pub async fn stop(mut self) -> Result<()> {
        let asked = Command::new("kill").arg(self.child.0.id().to_string()).status()?;
        ensure!(asked.success(), "kill failed");
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline {
            if let Some(status) = self.child.0.try_wait()? {
                ensure!(status.success(), "asked to stop, atrium ended with {status}");
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("asked to stop, atrium had not ended {STOP:?} later")
    }
}
