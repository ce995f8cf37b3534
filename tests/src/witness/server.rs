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
/// How the server is started that makes the installation where there is none, and says a token on its output.
const FIRST: &[&str] = &["demo", "--empty", "--json"];
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
    /// What the server sees beside the environment of whoever runs this.
    pub environment: Vec<(&'static str, String)>,
    /// Files and sockets that the server may have open, where that is not left to the system.
    pub descriptors_max: Option<u32>,
}

impl Program {
    /// With nothing special about it.
    #[must_use]
    pub fn new(binary: PathBuf, place: Place, folder: PathBuf) -> Self {
        Self { binary, place, folder, environment: Vec::new(), descriptors_max: None }
    }

    fn spawn(&self, verb: &[&str], log: &Path) -> Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = match self.descriptors_max {
            // Nothing in the standard library sets limits; every shell does.
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\"")]);
                shell.arg(&self.binary);
                shell
            }
            None => Command::new(&self.binary),
        };
        for (name, _) in std::env::vars_os() {
            // Settings of whoever runs this are none of the server's, but for the mistake that it is to make.
            if name.to_string_lossy().starts_with("ATRIUM_") && name != "ATRIUM_PLANTED" {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(verb).args(["--listen", "127.0.0.1:0", "--rate-limit", "0", "--data"]);
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
        let mut child = Killed(self.spawn(FIRST, &self.log())?);
        let out = child.0.stdout.take().context("its output is a pipe")?;
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(out).read_line(&mut line).map(|_| line)
        });
        let line = match tokio::time::timeout(START, line).await {
            Ok(line) => line??,
            Err(_) => bail!("atrium is not ready after {START:?}; {}", last_words(&self.log())),
        };
        let ready: Ready = serde_json::from_str(&line)
            .with_context(|| format!("atrium did not get ready; {}", last_words(&self.log())))?;
        Ok(Server { child, url: ready.url, token: ready.token, started_in: began.elapsed() })
    }

    /// Starts one more server on the same data, for those who have a token already, and waits until it is ready.
    ///
    /// # Errors
    /// Where it does not get ready.
    pub async fn join(&self, token: &str) -> Result<Server> {
        let began = Instant::now();
        let mut log = tempfile::Builder::new();
        let (_, log) = log.prefix("server-").suffix(".log").tempfile_in(&self.folder)?.keep()?;
        let mut child = Killed(self.spawn(&["serve"], &log)?);
        loop {
            let told = std::fs::read_to_string(&log)?;
            let url = told.lines().find_map(|line| line.strip_prefix("Atrium is ready at "));
            if let Some(url) = url {
                let (url, token) = (url.to_owned(), token.to_owned());
                return Ok(Server { child, url, token, started_in: began.elapsed() });
            }
            let ended = child.0.try_wait()?.is_some();
            ensure!(
                !ended && began.elapsed() < START,
                "atrium did not get ready; {}",
                last_words(&log)
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts it, and kills it before it can be ready, or a little after.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub async fn start_in_vain(&self, alive: Duration) -> Result<()> {
        let _child = Killed(self.spawn(FIRST, &self.log())?);
        tokio::time::sleep(alive).await;
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }
}

/// The end of a server's log.
fn last_words(log: &Path) -> String {
    let lines = File::open(log).map(|file| BufReader::new(file).lines().map_while(Result::ok));
    let mut last: Vec<_> = lines.map(Iterator::collect).unwrap_or_default();
    last.drain(..last.len().saturating_sub(10));
    format!("its log {} ends with:\n  {}", log.display(), last.join("\n  "))
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

    /// Whether it has not ended.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.0.try_wait()?.is_none())
    }

    /// Files and sockets that it holds open.
    ///
    /// # Errors
    /// Where there is no `/proc`.
    pub fn descriptors(&self) -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.process()))?.count())
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

    /// Stops it where it is, until it is [let go on](Self::thaw).
    ///
    /// # Errors
    /// Where it is gone.
    pub fn freeze(&self) -> Result<()> {
        freeze(&[self.process()])
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn thaw(&self) -> Result<()> {
        signal_to(&[self.process()], "CONT")
    }

    /// Memory that it holds, in MiB.
    ///
    /// # Errors
    /// Where there is no `/proc`.
    pub fn resident_mib(&self) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.process()))?;
        let line = text.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.split_whitespace().nth(1).context("no VmRSS")?.parse()?;
        Ok(kib / 1_024)
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    ///
    /// # Errors
    /// Where it does not end in time, or not well.
    pub async fn stop(mut self) -> Result<()> {
        signal_to(&[self.process()], "TERM")?;
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

/// Stops processes where they are (SIGSTOP), and waits until none of their threads is in a system call any more.
pub(crate) fn freeze(processes: &[u32]) -> Result<()> {
    signal_to(processes, "STOP")?;
    let give_up = Instant::now() + STOP;
    while !processes.iter().all(|process| is_frozen(*process)) {
        ensure!(Instant::now() < give_up, "told to stop, {processes:?} had not {STOP:?} later");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Whether every thread of a process is stopped, or has ended.
fn is_frozen(process: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return true };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // `PID (NAME) STATE ...`, and the name may hold anything.
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        matches!(state, None | Some('T' | 't' | 'Z' | 'X'))
    })
}

/// Sends a signal to processes.
pub(crate) fn signal_to(processes: &[u32], signal: &str) -> Result<()> {
    let mut kill = Command::new("kill");
    kill.arg("-s").arg(signal).args(processes.iter().map(u32::to_string));
    let sent = kill.stderr(Stdio::null()).status()?;
    ensure!(sent.success(), "SIG{signal} cannot be sent to {processes:?}");
    Ok(())
}
