//! Process killed: `kill -9` of the server at a random moment under load, sometimes again while it starts.

use std::time::Duration;

use anyhow::Result;
use rand::Rng as _;

use super::{LOAD_MILLIS, Trial};
use crate::witness::client::Client;
use crate::witness::server::Server;
use crate::witness::{CLIENTS, Report, Witness};

/// How long a server lives that is killed while it starts, in milliseconds.
const IN_VAIN_MILLIS: std::ops::Range<u64> = 0..400;
/// Kills on one database; then what it holds is judged, and the next begin with an empty one.
const KILLS_PER_DATABASE: u32 = 20;

pub(super) async fn run(trial: &Trial) -> Result<Report> {
    let mut report = Report::default();
    let mut done = 0;
    while done < trial.count && report.is_clean() {
        let round = KILLS_PER_DATABASE.min(trial.count - done);
        let mut witness = Witness::new(&trial.plan(u64::from(done))).await?;
        let judged = kill_often(trial, &mut witness, done, round).await;
        report.absorb(witness.kept_unless_clean(judged)?);
        done += round;
    }
    Ok(report)
}

async fn kill_often(
    trial: &Trial,
    witness: &mut Witness,
    before: u32,
    times: u32,
) -> Result<Report> {
    let mut server = witness.prepare().await?;
    for time in 1..=times {
        server = kill(trial, witness, server, before + time).await?;
    }
    server.stop().await?;
    witness.judge().await
}

async fn kill(trial: &Trial, witness: &mut Witness, server: Server, time: u32) -> Result<Server> {
    let clients = vec![Client::to(&server)?; CLIENTS];
    let load = witness.load(&clients);
    let millis = witness.dice.random_range(LOAD_MILLIS);
    tokio::time::sleep(Duration::from_millis(millis)).await;
    server.kill();
    load.end().await?;
    witness.report.count("kills", 1);
    while witness.dice.random_range(0..4) == 0 {
        let alive = Duration::from_millis(witness.dice.random_range(IN_VAIN_MILLIS));
        witness.start_in_vain(alive).await?;
        witness.report.count("kills at start", 1);
    }
    let server = witness.start().await?;
    let (acknowledged, unknown) = witness.recover(&Client::to(&server)?).await?;
    trial.tell(&format!(
        "kill {time} of {}: {acknowledged} acknowledged and {unknown} unknown in {millis} ms; ready again after {:.0?}",
        trial.count, server.started_in
    ));
    Ok(server)
}
