//! Clients gone: they close or reset the connection 0 to 5 ms after sending a command, or in the middle of it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use sqlx::Connection as _;

use super::Trial;
use crate::witness::client::Client;
use crate::witness::server::Server;
use crate::witness::{Report, Witness};
use crate::world::Place;

/// Longest that a server may take for one request when a thousand clients have gone away.
const QUICK: Duration = Duration::from_secs(2);
/// Most sockets that a server with no load holds: to its database, and to clients that idle.
const SOCKETS_MAX: usize = 64;
/// How often its sockets are counted, and how long between two times.
const COUNTS: u32 = 50;
const COUNT_EVERY: Duration = Duration::from_millis(100);

pub(super) async fn run(trial: &Trial) -> Result<Report> {
    let mut witness = Witness::new(&trial.plan(0)).await?;
    let judged = leave(trial, &mut witness).await;
    witness.kept_unless_clean(judged)
}

async fn leave(trial: &Trial, witness: &mut Witness) -> Result<Report> {
    let server = witness.prepare().await?;
    let client = Client::to(&server)?;
    witness.leave(&client, u64::from(trial.count)).await?;
    for _ in 0..10 {
        let began = Instant::now();
        let answer = witness.ask(&client).await?;
        let took = began.elapsed();
        ensure!(took < QUICK, "{answer:?} took {took:?}");
    }
    witness.until_quiet(&client).await?;
    no_session_is_left(witness).await?;
    witness.recover(&client).await?;
    no_socket_is_left(&server).await?;
    server.stop().await?;
    let report = witness.judge().await?;
    let (unknown, done) = (report.verdict.unknown, report.verdict.unknown_and_done);
    ensure!(done > 0 && done < unknown, "all or none arrived, so this tried little: {report}");
    Ok(report)
}

/// No connection is in the middle of a transaction, and nobody holds a lock on the log.
async fn no_session_is_left(witness: &Witness) -> Result<()> {
    match &witness.program.place {
        Place::Url(url) => {
            let mut connection = sqlx::PgConnection::connect(url).await?;
            let held: Vec<String> = sqlx::query_scalar(
                "select state || ': ' || query from pg_stat_activity where datname = current_database() \
                 and pid <> pg_backend_pid() and state like 'idle in transaction%'",
            )
            .fetch_all(&mut connection)
            .await?;
            ensure!(held.is_empty(), "sessions are left: {held:?}");
            sqlx::query("select 1 from head where id = 1 for update nowait")
                .execute(&mut connection)
                .await
                .context("somebody holds the head of the log")?;
            connection.close().await?;
        }
        Place::Folder(_) => {
            let database = witness.open().await?;
            let mut connection = database.writer_connection().await?;
            let free = async {
                connection.execute("pragma busy_timeout = 0", &[]).await?;
                connection.execute("begin immediate", &[]).await?;
                connection.execute("rollback", &[]).await
            };
            free.await.context("somebody holds the database")?;
            connection.close().await;
            database.close().await;
        }
    }
    Ok(())
}

/// The connections of those who went away are closed.
async fn no_socket_is_left(server: &Server) -> Result<()> {
    let mut sockets = server.sockets()?;
    for _ in 0..COUNTS {
        if sockets <= SOCKETS_MAX {
            return Ok(());
        }
        tokio::time::sleep(COUNT_EVERY).await;
        sockets = server.sockets()?;
    }
    bail!("the server holds {sockets} sockets although hardly anybody is connected")
}
