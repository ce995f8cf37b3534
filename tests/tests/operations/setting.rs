//! Places for installations, and running `atrium` on them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use atrium_tests::laws;
use atrium_tests::witness::client::Client;
use atrium_tests::witness::journal::Answer;
use atrium_tests::witness::server::{Program, Server, built};
use atrium_tests::witness::wish::{Wish, Wishes};
use atrium_tests::world::{Place, TestDatabase};
use eventstore::{Database, Engine, Head, Log};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _};
use tempfile::TempDir;

/// Every test runs on both.
pub(super) const BOTH: [Engine; 2] = [Engine::Sqlite, Engine::Postgres];

/// Longest that a command may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) complaint: String,
}

impl Ended {
    /// The one JSON line of a command that went well.
    pub(super) fn well(self) -> Result<Value> {
        ensure!(self.code == Some(0), "{self:?}");
        serde_json::from_str(&self.out).with_context(|| format!("{self:?}"))
    }

    /// Refused, with words that contain these.
    pub(super) fn refused(&self, words: &str) -> Result<()> {
        ensure!(self.code == Some(2), "{words}: {self:?}");
        ensure!(self.complaint.contains(words), "{words}: {self:?}");
        ensure!(self.out.is_empty(), "{words}: {self:?}");
        Ok(())
    }
}

/// The program, built once in each process.
fn binary() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built().expect("atrium can be built")).clone()
}

/// `atrium` with no settings but those of its arguments.
pub(super) fn atrium() -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ATRIUM_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(super) async fn ended(mut command: Command) -> Result<Ended> {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let process = child.id();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output());
    let Ok(output) = tokio::time::timeout(PATIENCE, output).await else {
        Command::new("kill").args(["-9", &process.to_string()]).status()?;
        bail!("{command:?} does not end");
    };
    let output = output??;
    Ok(Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout)?,
        complaint: String::from_utf8(output.stderr)?,
    })
}

/// A place for an installation: a data folder, and a database in it or on the server.
pub(super) struct Site {
    pub(super) database: TestDatabase,
    /// A folder that is not there before somebody makes it, in one that is.
    around: TempDir,
}

impl Site {
    /// With nothing in it.
    pub(super) async fn new(engine: Engine) -> Result<Self> {
        let around = tempfile::Builder::new().prefix("atrium-operations-").tempdir()?;
        let mut database = TestDatabase::new(engine).await?;
        if engine == Engine::Sqlite {
            database.place = Place::Folder(around.path().join("data"));
        }
        Ok(Self { database, around })
    }

    pub(super) fn data(&self) -> PathBuf {
        self.around.path().join("data")
    }

    /// A file beside the data folder.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.around.path().join(name)
    }

    /// `atrium` with these arguments, on this place.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = atrium();
        command.args(arguments).arg("--data").arg(self.data());
        if let Place::Url(url) = &self.database.place {
            command.args(["--database", url]);
        }
        command
    }

    /// Runs `atrium` with these arguments and `--json`.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<Ended> {
        let mut command = self.command(arguments);
        command.arg("--json");
        ended(command).await
    }

    /// The same with a file as its last argument.
    pub(super) async fn run_on(&self, name: &str, file: &Path) -> Result<Ended> {
        self.run(&[name, file.to_str().context("a readable name")?]).await
    }

    pub(super) fn program(&self) -> Result<Program> {
        std::fs::create_dir_all(self.data())?;
        let (binary, folder) = (binary(), self.data());
        Ok(Program::new(binary, self.database.place.clone(), folder))
    }

    pub(super) async fn open(&self) -> Result<Database> {
        self.database.open().await
    }

    /// Where the log ends.
    pub(super) async fn head(&self) -> Result<Head> {
        let database = self.open().await?;
        let head = Log::new(database.clone()).head().await?;
        database.close().await;
        Ok(head)
    }

    /// The laws hold.
    pub(super) async fn check(&self) -> Result<()> {
        let database = self.open().await?;
        laws::check(&database).await?;
        database.close().await;
        Ok(())
    }

    /// Takes over the master key of another place.
    pub(super) fn take_key(&self, from: &Self) -> Result<()> {
        std::fs::create_dir_all(self.data())?;
        let key = self.data().join("master.key");
        std::fs::copy(from.data().join("master.key"), &key)?;
        Ok(())
    }

    /// Has this master key.
    pub(super) fn have_key(&self, key: &[u8; 32]) -> Result<()> {
        std::fs::create_dir_all(self.data())?;
        Ok(std::fs::write(self.data().join("master.key"), api::keys::hex(key))?)
    }

    /// What there is: every file's hash, every table's rows.
    pub(super) async fn state(&self) -> Result<BTreeMap<String, String>> {
        let mut state = BTreeMap::new();
        for folder in [self.around.path().to_owned(), self.data()] {
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            for entry in entries {
                let path = entry?.path();
                // SQLite's index of the write-ahead log has locks in it, and says nothing else.
                if path.extension().is_some_and(|end| end == "db-shm") {
                    continue;
                }
                let content = match path.is_dir() {
                    true => "folder".to_owned(),
                    false => format!("{:x?}", Sha256::digest(std::fs::read(&path)?)),
                };
                state.insert(path.display().to_string(), content);
            }
        }
        if let Place::Url(url) = &self.database.place {
            let database = Database::look_postgres(url).await?;
            for table in database.tables().await? {
                let sql = format!(
                    "select count(*), md5(string_agg(t::text, '' order by t::text)) \
                                   || '' from {table} as t"
                );
                let rows = database.fetch(&sql, &[]).await?;
                let hash = rows[0].text(1).unwrap_or("empty");
                state.insert(table, format!("{} {hash}", rows[0].int(0)?));
            }
            database.close().await;
        }
        Ok(state)
    }
}

/// A few hundred events with kept answers, made over HTTP; the wishes that were granted, with their answers.
pub(super) async fn installation(engine: Engine) -> Result<(Site, Vec<(Wish, Answer)>)> {
    let site = Site::new(engine).await?;
    let server = site.program()?.start().await?;
    let granted = fill(&server).await?;
    server.stop().await?;
    Ok((site, granted))
}

/// The same on a server.
pub(super) async fn fill(server: &Server) -> Result<Vec<(Wish, Answer)>> {
    let client = Client::new(&server.url, &server.token)?;
    let mut wishes = Wishes::new(7);
    let mut granted = Vec::new();
    for _ in 0..80 {
        let wish = wishes.preparation().unwrap_or_else(|| wishes.any());
        let answer = client.ask(&wish).await;
        wishes.learn(&wish, &answer);
        if matches!(answer, Answer::Acknowledged { .. }) {
            granted.push((wish, answer));
        }
    }
    ensure!(granted.len() > 40, "only {} wishes were granted", granted.len());
    Ok(granted)
}

/// What was granted is answered in the same way again, and nothing is done twice.
pub(super) async fn asked_again(site: &Site, granted: &[(Wish, Answer)]) -> Result<()> {
    let server = site.program()?.start().await?;
    let client = Client::new(&server.url, &server.token)?;
    for (wish, before) in granted {
        let again = client.ask(wish).await;
        let same = match (before, &again) {
            (
                Answer::Acknowledged { status, version, id, hash, .. },
                Answer::Acknowledged {
                    status: status_again,
                    version: version_again,
                    id: id_again,
                    hash: hash_again,
                    replayed: true,
                    ..
                },
            ) => (status, version, id, hash) == (status_again, version_again, id_again, hash_again),
            _ => false,
        };
        ensure!(same, "{} {} was {before:?} and is {again:?}", wish.method, wish.path);
    }
    server.stop().await
}

/// A population of some thousand events.
pub(super) async fn population(engine: Engine) -> Result<Site> {
    let site = Site::new(engine).await?;
    let seeded = site.run(&["seed", "--customers", "40", "--months", "6"]).await?.well()?;
    ensure!(seeded["events"].as_u64() > Some(1_500), "{seeded}");
    Ok(site)
}

/// Takes away what keeps the log from being edited, and edits the database, as somebody with all rights
/// could.
pub(super) async fn edit(site: &Site, sql: &str) -> Result<()> {
    match &site.database.place {
        Place::Folder(folder) => edit_sqlite(&folder.join("atrium.db"), sql).await,
        Place::Url(url) => {
            let mut connection = sqlx::PgConnection::connect(url).await?;
            let disarm = "drop trigger if exists event_is_never_changed on event";
            sqlx::raw_sql(disarm).execute(&mut connection).await?;
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
            Ok(connection.close().await?)
        }
    }
}

/// The same with a SQLite file.
pub(super) async fn edit_sqlite(file: &Path, sql: &str) -> Result<()> {
    let options = SqliteConnectOptions::new().filename(file);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await?;
    let disarm = "drop trigger if exists event_is_never_updated; \
                  drop trigger if exists event_is_never_deleted";
    sqlx::raw_sql(disarm).execute(&mut connection).await?;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    Ok(connection.close().await?)
}
