//! Restore: a backup under load, restored elsewhere. It is a beginning of the history that the server went on with,
//! holds all that was acknowledged before it was begun, and verifies; a server goes on with it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::Trial;
use crate::laws;
use crate::witness::client::Client;
use crate::witness::{CLIENTS, Report, Witness, read};
use crate::world::{Place, TestDatabase};

/// Commands that are acknowledged before the backup begins.
const BEFORE: usize = 150;
/// How long they may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

pub(super) async fn run(trial: &Trial) -> Result<Report> {
    let mut report = Report::default();
    for time in 0..trial.count {
        let mut witness = Witness::new(&trial.plan(u64::from(time))).await?;
        let judged = back_up_and_restore(trial, &mut witness).await;
        report.absorb(witness.kept_unless_clean(judged)?);
    }
    Ok(report)
}

async fn back_up_and_restore(trial: &Trial, witness: &mut Witness) -> Result<Report> {
    let server = witness.prepare().await?;
    let client = Client::to(&server)?;
    let load = witness.load(&vec![client.clone(); CLIENTS]);
    load.until_acknowledged(BEFORE, PATIENCE).await?;
    let file = witness.folder().join("backup");
    let begun_at = position(&client).await?;
    let before = load.acknowledged();
    atrium(trial, "backup", &file, &witness.program.place, witness.folder()).await?;
    let meanwhile = load.acknowledged() - before;
    load.end().await?;
    witness.until_quiet(&client).await?;
    witness.recover(&client).await?;
    server.stop().await?;
    ensure!(meanwhile > 0, "nothing was acknowledged while the backup was made");

    let elsewhere = TestDatabase::new(trial.engine).await?;
    let folder = tempfile::tempdir()?;
    let place = match &elsewhere.place {
        Place::Folder(within) => Place::Folder(within.join("restored")),
        url @ Place::Url(_) => url.clone(),
    };
    atrium(trial, "restore", &file, &place, folder.path()).await?;
    let restored = TestDatabase::at(place);
    let database = restored.open().await?;
    let persons = witness.persons()?;
    let beginning = read(&database, &persons).await?;
    laws::check(&database).await.context("what was restored breaks a law")?;
    database.close().await;
    let database = witness.open().await?;
    let whole = read(&database, &persons).await?;
    database.close().await;
    ensure!(whole.starts_with(&beginning), "what was restored is no beginning of the history");
    let held = beginning.len() as u64;
    ensure!(
        held >= begun_at,
        "of {begun_at} events when the backup was begun {held} were restored"
    );
    trial.tell(&format!(
        "{begun_at} events when it was begun, {held} in the backup, {} in the end; {meanwhile} commands acknowledged \
         meanwhile", whole.len()
    ));
    let mut report = witness.judge().await?;
    report.count("backups restored", 1);
    Ok(report)
}

/// How long the log is, as the server tells.
async fn position(client: &Client) -> Result<u64> {
    let metrics = client.get("/metrics").await?;
    let position = metrics.lines().find_map(|line| line.strip_prefix("atrium_log_position "));
    Ok(position.context("the server tells its position")?.trim().parse()?)
}

/// Runs a command on a file and an installation; it must go well.
async fn atrium(
    trial: &Trial,
    verb: &str,
    file: &Path,
    place: &Place,
    folder: &Path,
) -> Result<()> {
    let mut command = Command::new(&trial.binary);
    command.arg(verb).arg(file).arg("--json").arg("--data");
    match place {
        Place::Folder(folder) => command.arg(folder),
        Place::Url(url) => command.arg(folder).arg("--database").arg(url),
    };
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "atrium {verb}: {said}");
    Ok(())
}
