//! PostgreSQL's own tools: finding them, and running them without showing the password to anybody.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use eventstore::Database;
use url::Url;

/// How often it is asked whether a tool has ended.
const ASKED_EVERY: Duration = Duration::from_millis(20);
/// Bytes of what a tool complains about that are shown.
const COMPLAINT_BYTES: u64 = 4_096;
/// Where Debian and Ubuntu put each version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// A server, as its tools reach it.
pub(crate) struct Server {
    /// Without the password.
    url: Url,
    password: Option<String>,
    /// Its major version.
    version: u32,
}

/// A tool that is running. It is killed when nobody waits for it any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// The server that a database is on.
    pub(crate) async fn of(url: &str, database: &Database) -> Result<Self> {
        let mut url = Url::parse(url).context("the database's URL")?;
        let mut password = url.password().map(decoded).transpose()?;
        // Without one, neither of these can fail.
        let _ = url.set_password(None);
        let (hidden, shown): (Vec<_>, Vec<_>) = url
            .query_pairs()
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .partition(|(name, _)| name == "password");
        if let Some((_, hidden)) = hidden.into_iter().next_back() {
            password = Some(hidden);
            url.query_pairs_mut().clear().extend_pairs(shown);
        }
        let rows = database.fetch("select current_setting('server_version_num')", &[]).await?;
        let version = rows[0].text(0)?.parse::<u32>()? / 10_000;
        Ok(Self { url, password, version })
    }

    /// The tool of this name that fits: of the server's version, or else of the next one.
    fn tool(&self, name: &str) -> Result<PathBuf> {
        let mut found: Vec<_> = places()
            .into_iter()
            .map(|place| place.join(name))
            .filter_map(|tool| Some((version_of(&tool)?, tool)))
            .collect();
        // Stable: of two of the same version, the one that is found first.
        found.sort_by_key(|(version, _)| *version);
        let fits = found.iter().find(|(version, _)| *version >= self.version);
        if let Some((_, tool)) = fits {
            return Ok(tool.clone());
        }
        let found = match found.last() {
            Some((version, tool)) => format!("{} is of version {version}", tool.display()),
            None => "there is none".to_owned(),
        };
        bail!(
            "{name} of version {} or newer is needed, as the server is, and {found}: install \
             PostgreSQL's client programs of that version, or put their folder into PATH",
            self.version
        )
    }

    /// Runs a tool on the server, to its end.
    pub(crate) async fn run(&self, name: &str, arguments: &[String]) -> Result<()> {
        let mut command = Command::new(self.tool(name)?);
        command.args(arguments).arg(format!("--dbname={}", self.url)).stdout(Stdio::null());
        self.wait(name, command).await
    }

    /// Has `pg_restore` read all of a backup, which shows whether it is whole.
    pub(crate) async fn read_all(&self, file: &Path) -> Result<()> {
        let mut command = Command::new(self.tool("pg_restore")?);
        command.arg("--file=/dev/null").arg(file).stdout(Stdio::null());
        self.wait("pg_restore", command).await
    }

    /// The rows of a table in a backup, as texts; none where it has no such table.
    pub(crate) async fn rows(&self, file: &Path, table: &str) -> Result<Vec<Vec<String>>> {
        let mut command = Command::new(self.tool("pg_restore")?);
        let mut out = tempfile::tempfile()?;
        command.args(["--data-only", "--file=-"]).arg(format!("--table={table}")).arg(file);
        command.stdout(out.try_clone()?);
        self.wait("pg_restore", command).await?;
        out.rewind()?;
        let mut text = String::new();
        out.read_to_string(&mut text)?;
        let rows = text.lines().skip_while(|line| !line.starts_with("COPY ")).skip(1);
        let rows = rows.take_while(|line| *line != "\\.");
        Ok(rows.map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    async fn wait(&self, name: &str, mut command: Command) -> Result<()> {
        // Seen by the owner of this process only, where a command line is seen by everybody.
        match &self.password {
            Some(password) => command.env("PGPASSWORD", password),
            None => &mut command,
        };
        let mut complaint = tempfile::tempfile()?;
        command.env("LC_ALL", "C").stdin(Stdio::null()).stderr(complaint.try_clone()?);
        let child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        let mut running = Running(child);
        let status = loop {
            match running.0.try_wait()? {
                Some(status) => break status,
                None => tokio::time::sleep(ASKED_EVERY).await,
            }
        };
        if status.success() {
            return Ok(());
        }
        bail!("{name} failed: {}", text_of(&mut complaint)?.trim())
    }
}

fn text_of(file: &mut File) -> Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(COMPLAINT_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A part of a URL as it was before it was made one.
fn decoded(text: &str) -> Result<String> {
    let text = percent_encoding::percent_decode_str(text).decode_utf8();
    Ok(text.context("the password in the database's URL")?.into_owned())
}

/// Where tools may be: PATH, where `pg_config` says, where Debian puts them.
fn places() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<_> = std::env::split_paths(&path).collect();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).output() {
        places.push(String::from_utf8_lossy(&output.stdout).trim().into());
    }
    let versions = std::fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    places.extend(versions.map(|version| version.path().join("bin")));
    places
}

/// The major version of a tool; none where it is not there.
fn version_of(tool: &Path) -> Option<u32> {
    if !tool.is_file() {
        return None;
    }
    let output = Command::new(tool).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // `pg_dump (PostgreSQL) 16.3 (Debian 16.3-1)`
    let (_, version) = text.split_once(") ")?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
