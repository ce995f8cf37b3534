//! Database killed: PostgreSQL stops at once (`pg_ctl -m immediate`), or all its sessions are terminated, under
//! load. Atrium goes on, and nobody starts it again.

use std::time::Duration;

use anyhow::{Result, ensure};
use rand::Rng as _;

use super::lodging::Lodging;
use super::volume::open_to_all;
use super::{BACK_AGAIN, LOAD_MILLIS, Trial};
use crate::witness::client::Client;
use crate::witness::server::Server;
use crate::witness::{CLIENTS, Report, Witness};
use crate::world::TestDatabase;

/// How long the database is away, in milliseconds.
const AWAY_MILLIS: std::ops::Range<u64> = 0..500;
/// Commands that are acknowledged afterwards, before it counts as being back.
const BACK_COMMANDS: usize = 50;

pub(super) async fn run(trial: &Trial) -> Result<Report> {
    let folder = open_to_all()?;
    let lodging = Lodging::in_folder(trial.engine, folder.path())?;
    let mut witness = Witness::on(&trial.plan(0), TestDatabase::at(lodging.place.clone()))?;
    let judged = async {
        let mut server = witness.prepare().await?;
        for time in 1..=trial.count {
            take_away(trial, &mut witness, &lodging, &mut server, time).await?;
        }
        server.stop().await?;
        witness.judge().await
    };
    let judged = judged.await;
    witness.kept_unless_clean(judged)
}

async fn take_away(
    trial: &Trial,
    witness: &mut Witness,
    lodging: &Lodging,
    server: &mut Server,
    time: u32,
) -> Result<()> {
    let Some(cluster) = &lodging.cluster else { return Ok(()) };
    let client = Client::to(server)?;
    let load = witness.load(&vec![client.clone(); CLIENTS]);
    tokio::time::sleep(Duration::from_millis(witness.dice.random_range(LOAD_MILLIS))).await;
    let what = if time % 2 == 1 {
        cluster.stop_immediately()?;
        tokio::time::sleep(Duration::from_millis(witness.dice.random_range(AWAY_MILLIS))).await;
        cluster.start_again()?;
        "stops at once"
    } else {
        ensure!(cluster.terminate_sessions().await? > 0, "there were no sessions");
        "sessions terminated"
    };
    load.until_acknowledged(BACK_COMMANDS, BACK_AGAIN).await?;
    load.end().await?;
    ensure!(server.is_running()?, "atrium ended when its database was away");
    witness.report.count(what, 1);
    witness.until_quiet(&client).await?;
    let (acknowledged, unknown) = witness.recover(&client).await?;
    trial.tell(&format!(
        "{time} of {}, {what}: {acknowledged} acknowledged, {unknown} unknown",
        trial.count
    ));
    Ok(())
}
