//! Disk full, read-only, out of descriptors: under load. Nothing that was acknowledged is lost, and when the cause is
//! gone, the server goes on, or starts again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::net::TcpStream;

use super::lodging::Lodging;
use super::volume::{self, Small, Volume};
use super::{BACK_AGAIN, Trial};
use crate::witness::client::Client;
use crate::witness::journal::Answer;
use crate::witness::server::Server;
use crate::witness::{CLIENTS, Report, Witness};
use crate::world::TestDatabase;
use eventstore::Engine;

/// Load before and while the disk is at fault.
const LOAD: Duration = Duration::from_millis(700);
/// Commands that are acknowledged afterwards, before it counts as being back.
const BACK_COMMANDS: usize = 50;
/// Between two looks at how many descriptors are open.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Room of the database, in MiB; a new cluster of PostgreSQL takes 40, and each part of its log 16.
const SQLITE_MIB: u32 = 64;
const POSTGRES_MIB: u32 = 160;
/// Files and sockets that the server may have open: enough to start, with the connections to the database.
const DESCRIPTORS_MAX: u32 = 96;
/// Clients that hold a connection and ask for nothing: more than a queue of connections has room for by default (128).
const IDLE_CLIENTS: usize = 400;

/// Rounds through the three faults.
pub(super) async fn run(trial: &Trial) -> Result<Report> {
    let mut report = Report::default();
    for round in 0..trial.count.div_ceil(3) {
        let seed = u64::from(3 * round);
        match volume::why_not() {
            Some(why) => report.skipped.push(format!("a full and a read-only disk: {why}")),
            None => {
                report.absorb(full(trial, seed).await?);
                report.absorb(read_only(trial, seed + 1).await?);
            }
        }
        report.absorb(out_of_descriptors(trial, seed + 2).await?);
    }
    Ok(report)
}

/// A disk that is full for a while. The server is not started again.
async fn full(trial: &Trial, seed: u64) -> Result<Report> {
    let mib = if trial.engine == Engine::Sqlite { SQLITE_MIB } else { POSTGRES_MIB };
    let disk = Small::new(mib)?;
    let lodging = Lodging::in_folder(trial.engine, disk.path())?;
    let mut witness = Witness::on(&trial.plan(seed), TestDatabase::at(lodging.place.clone()))?;
    let judged = async {
        let mut server = witness.prepare().await?;
        let client = Client::to(&server)?;
        let load = witness.load(&vec![client.clone(); CLIENTS]);
        tokio::time::sleep(LOAD).await;
        disk.fill()?;
        // PostgreSQL has made room for its log before: until that is used up, nothing is amiss.
        let refused = until_unknown(&witness, &client).await;
        tokio::time::sleep(LOAD).await;
        disk.make_room()?;
        refused?;
        if lodging.cluster.as_ref().is_some_and(|cluster| !cluster.is_running()) {
            // Without room for its log it gives up; somebody has to start it again.
            lodging.start_again()?;
        }
        load.until_acknowledged(BACK_COMMANDS, BACK_AGAIN).await?;
        load.end().await?;
        ensure!(server.is_running()?, "atrium ended when the disk was full");
        witness.report.count("disk full", 1);
        finish(trial, &mut witness, server, "disk full").await
    };
    let judged = judged.await;
    witness.kept_unless_clean(judged)
}

/// A file system that fails, and is mounted again. Everything is started again afterwards.
async fn read_only(trial: &Trial, seed: u64) -> Result<Report> {
    let mut volume = Volume::new()?;
    let lodging = Lodging::in_folder(trial.engine, &volume.path())?;
    lodging.keep_settings(&volume)?;
    let mut witness = Witness::on(&trial.plan(seed), TestDatabase::at(lodging.place.clone()))?;
    let judged = async {
        let server = witness.prepare().await?;
        let client = Client::to(&server)?;
        let load = witness.load(&vec![client.clone(); CLIENTS]);
        tokio::time::sleep(LOAD).await;
        // ext4 tells whoever is syncing at that very moment that it has synced (docs/adr/0038), and no program could
        // keep its promises.
        server.freeze()?;
        lodging.freeze()?;
        volume.fail()?;
        lodging.thaw()?;
        server.thaw()?;
        until_unknown(&witness, &client).await?;
        tokio::time::sleep(LOAD).await;
        load.end().await?;
        server.kill();
        lodging.kill()?;
        volume.mend()?;
        lodging.start_again()?;
        let server = witness.start().await?;
        witness.report.count("disk read-only", 1);
        finish(trial, &mut witness, server, "disk read-only").await
    };
    let judged = judged.await;
    witness.kept_unless_clean(judged)
}

/// Idle clients take all the descriptors for a while. The server is not started again.
async fn out_of_descriptors(trial: &Trial, seed: u64) -> Result<Report> {
    let mut witness = Witness::new(&trial.plan(seed)).await?;
    witness.program.descriptors_max = Some(DESCRIPTORS_MAX);
    let judged = async {
        let mut server = witness.prepare().await?;
        let address = server.url.trim_start_matches("http://").to_owned();
        let load = witness.load(&vec![Client::to(&server)?; CLIENTS]);
        tokio::time::sleep(LOAD).await;
        let mut idle = Vec::new();
        for _ in 0..IDLE_CLIENTS {
            idle.push(TcpStream::connect(&address).await?);
        }
        until_out_of_descriptors(&server).await?;
        tokio::time::sleep(LOAD).await;
        drop(idle);
        load.until_acknowledged(BACK_COMMANDS, BACK_AGAIN).await?;
        load.end().await?;
        ensure!(server.is_running()?, "atrium ended when it was out of descriptors");
        witness.report.count("out of descriptors", 1);
        finish(trial, &mut witness, server, "out of descriptors").await
    };
    let judged = judged.await;
    witness.kept_unless_clean(judged)
}

/// Waits until clients have taken what there is. A server that was refused a descriptor waits a moment before it
/// takes in the next client, and those that it serves leave meanwhile.
async fn until_out_of_descriptors(server: &Server) -> Result<()> {
    let give_up = Instant::now() + BACK_AGAIN;
    while server.descriptors()? + 1 < DESCRIPTORS_MAX as usize {
        let open = server.descriptors()?;
        ensure!(Instant::now() < give_up, "{open} descriptors are open, so this was no trial");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// Asks until somebody is told that it is not known, because nothing can be written.
async fn until_unknown(witness: &Witness, client: &Client) -> Result<()> {
    let asking = async {
        while !matches!(witness.ask(client).await?, Answer::Unknown { .. }) {}
        anyhow::Ok(())
    };
    match tokio::time::timeout(BACK_AGAIN, asking).await {
        Ok(asked) => asked,
        Err(_) => anyhow::bail!("commands are acknowledged although nothing can be written"),
    }
}

async fn finish(
    trial: &Trial,
    witness: &mut Witness,
    server: Server,
    what: &str,
) -> Result<Report> {
    let client = Client::to(&server)?;
    witness.until_quiet(&client).await?;
    let (acknowledged, unknown) = witness.recover(&client).await?;
    trial.tell(&format!("{what}: {acknowledged} acknowledged and {unknown} unknown"));
    server.stop().await?;
    witness.judge().await
}
