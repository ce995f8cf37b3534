//! Several processes: two or four servers on one PostgreSQL under load, one of which is killed, or stopped where it is
//! (SIGSTOP) and let go on later. The others go on meanwhile.

use std::time::Duration;

use anyhow::{Result, ensure};
use rand::Rng as _;

use super::{BACK_AGAIN, LOAD_MILLIS, Trial};
use crate::witness::client::Client;
use crate::witness::journal::Answer;
use crate::witness::server::Server;
use crate::witness::{Report, Witness};

/// Commands that the others acknowledge after one is gone.
const OTHERS_COMMANDS: usize = 50;
/// How long one is stopped.
const STALL: Duration = Duration::from_secs(3);
/// Servers, in turn.
const SERVERS: [usize; 2] = [2, 4];

pub(super) async fn run(trial: &Trial) -> Result<Report> {
    let mut witness = Witness::new(&trial.plan(0)).await?;
    let judged = async {
        let mut servers = vec![witness.prepare().await?];
        for time in 0..trial.count as usize {
            let wanted = SERVERS[time % SERVERS.len()];
            while servers.len() < wanted {
                servers.push(witness.program.join(&servers[0].token).await?);
            }
            for server in servers.drain(wanted..) {
                server.stop().await?;
            }
            // The last is stalled, each third time; otherwise one is killed.
            let is_stalled = time % 3 == 2;
            let what = if is_stalled {
                stall_one(&mut witness, &servers).await?
            } else {
                kill_one(&mut witness, &mut servers).await?
            };
            witness.report.count(what, 1);
            let client = Client::to(&servers[0])?;
            witness.until_quiet(&client).await?;
            let (acknowledged, unknown) = witness.recover(&client).await?;
            trial.tell(&format!(
                "{} of {}, {what} of {wanted} servers: {acknowledged} acknowledged and {unknown} unknown",
                time + 1,
                trial.count
            ));
        }
        for server in servers {
            server.stop().await?;
        }
        witness.judge().await
    };
    let judged = judged.await;
    witness.kept_unless_clean(judged)
}

async fn kill_one(witness: &mut Witness, servers: &mut Vec<Server>) -> Result<&'static str> {
    let clients = servers.iter().map(Client::to).collect::<Result<Vec<_>>>()?;
    let load = witness.load(&clients);
    tokio::time::sleep(Duration::from_millis(witness.dice.random_range(LOAD_MILLIS))).await;
    let victim = servers.swap_remove(witness.dice.random_range(0..servers.len()));
    let token = victim.token.clone();
    victim.kill();
    load.until_acknowledged(OTHERS_COMMANDS, BACK_AGAIN).await?;
    load.end().await?;
    // Whoever starts it again gives it the old data, and no new token.
    servers.push(witness.program.join(&token).await?);
    Ok("one killed")
}

async fn stall_one(witness: &mut Witness, servers: &[Server]) -> Result<&'static str> {
    let clients = servers.iter().map(Client::to).collect::<Result<Vec<_>>>()?;
    let load = witness.load(&clients);
    tokio::time::sleep(Duration::from_millis(witness.dice.random_range(LOAD_MILLIS))).await;
    let stalled = &servers[witness.dice.random_range(0..servers.len())];
    stalled.freeze()?;
    tokio::time::sleep(STALL).await;
    stalled.thaw()?;
    load.until_acknowledged(OTHERS_COMMANDS, BACK_AGAIN).await?;
    load.end().await?;
    let answer = witness.ask(&Client::to(stalled)?).await?;
    ensure!(
        !matches!(answer, Answer::Unknown { .. }),
        "the one that was stopped does not answer any more: {answer:?}"
    );
    Ok("one stalled")
}
