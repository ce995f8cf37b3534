//! Power cut: the database is on a file system in an image file. Under load the server is frozen, the image is
//! copied, everything is killed, and the copy takes the image's place: what nobody had synced is gone.
//!
//! `kill -9` cannot tell a server that syncs from one that does not: the operating system still has what was
//! written. This can, and shows it, by a build of Atrium that is told not to sync.

use std::time::Duration;

use anyhow::{Result, ensure};
use rand::Rng as _;

use super::lodging::Lodging;
use super::volume::{self, Volume};
use super::{LOAD_MILLIS, Trial};
use crate::witness::client::Client;
use crate::witness::server::Server;
use crate::witness::verdict::Loss;
use crate::witness::{CLIENTS, Report, Witness};
use crate::world::TestDatabase;

/// Cuts on one database; then what it holds is judged, and the next begin with an empty one.
const CUTS_PER_DATABASE: u32 = 20;
/// The planted bug that leaves out the syncing.
const UNSYNCED: (&str, &str) = ("ATRIUM_PLANTED", "normal-for-full");

pub(super) async fn run(trial: &Trial) -> Result<Report> {
    if let Some(why) = volume::why_not() {
        return Ok(Report { skipped: vec![format!("power cuts: {why}")], ..Report::default() });
    }
    let mut report = Report::default();
    let mut done = 0;
    while done < trial.count && report.is_clean() {
        let round = CUTS_PER_DATABASE.min(trial.count - done);
        report.absorb(cut_often(trial, done, round).await?);
        done += round;
    }
    if !trial.has_faults {
        let why =
            "whether a cut notices a server that does not sync: this `atrium` has no planted bugs";
        report.skipped.push(why.to_owned());
    } else if report.is_clean() {
        report.absorb(cut_without_syncing(trial).await?);
    }
    Ok(report)
}

async fn cut_often(trial: &Trial, before: u32, times: u32) -> Result<Report> {
    let mut volume = Volume::new()?;
    let lodging = Lodging::in_folder(trial.engine, &volume.path())?;
    lodging.keep_settings(&volume)?;
    let database = TestDatabase::at(lodging.place.clone());
    let mut witness = Witness::on(&trial.plan(u64::from(before)), database)?;
    let judged = async {
        let mut server = witness.prepare().await?;
        for time in 1..=times {
            let millis = cut(&mut witness, server, &mut volume, &lodging).await?;
            witness.report.count("cuts", 1);
            lodging.start_again()?;
            lodging.keep_settings(&volume)?;
            server = witness.start().await?;
            let (acknowledged, unknown) = witness.recover(&Client::to(&server)?).await?;
            trial.tell(&format!(
                "cut {} of {}: {acknowledged} acknowledged and {unknown} unknown in {millis} ms; \
                 ready again after {:.0?}",
                before + time,
                trial.count,
                server.started_in
            ));
        }
        server.stop().await?;
        witness.judge().await
    };
    let judged = judged.await;
    witness.kept_unless_clean(judged)
}

/// One cut of a server that does not sync: commands that it has acknowledged must be missing, or this suite could
/// not tell.
async fn cut_without_syncing(trial: &Trial) -> Result<Report> {
    let mut volume = Volume::new()?;
    let lodging = Lodging::in_folder(trial.engine, &volume.path())?;
    lodging.keep_settings(&volume)?;
    let database = TestDatabase::at(lodging.place.clone());
    let mut witness = Witness::on(&trial.plan(u64::from(trial.count)), database)?;
    witness.program.environment.push((UNSYNCED.0, UNSYNCED.1.to_owned()));
    let server = witness.prepare().await?;
    cut(&mut witness, server, &mut volume, &lodging).await?;
    lodging.start_again()?;
    lodging.keep_settings(&volume)?;
    witness.start().await?.stop().await?;
    let verdict = witness.judge().await?.verdict;
    let (lost, acknowledged) = (verdict.count(Loss::Lost), verdict.acknowledged);
    ensure!(lost > 0, "of {acknowledged} commands none was lost although nothing was synced");
    trial.tell(&format!(
        "told not to sync, the server loses {lost} of {acknowledged} commands: noticed"
    ));
    let mut report = Report::default();
    report.count("cuts without syncing, noticed", 1);
    Ok(report)
}

/// Load, and then the power fails; says after how many milliseconds. What the disk held is in its place again.
async fn cut(
    witness: &mut Witness,
    server: Server,
    volume: &mut Volume,
    lodging: &Lodging,
) -> Result<u64> {
    let load = witness.load(&vec![Client::to(&server)?; CLIENTS]);
    let millis = witness.dice.random_range(LOAD_MILLIS);
    tokio::time::sleep(Duration::from_millis(millis)).await;
    // The server first: what is acknowledged from here on is nothing.
    server.freeze()?;
    lodging.freeze()?;
    let cut = volume.cut()?;
    server.kill();
    lodging.kill()?;
    load.end().await?;
    volume.restore(cut)?;
    Ok(millis)
}
