//! Nothing that was acknowledged is lost, and nothing is done twice, whatever happens to the server or
//! to its clients: the `check` tier. `scripts/witness` does the same for longer.

use anyhow::{Result, ensure};
use atrium_tests::witness::{Plan, Report, kill, leave, server};
use eventstore::Engine;

/// Times that the server is killed.
const CYCLES: u32 = 20;
/// Clients that go away.
const LEAVING: u32 = 1_000;
/// Fewer commands than this in twenty cycles would prove nothing; there are thousands.
const COMMANDS_MIN: u64 = 1_000;

fn plan(engine: Engine) -> Result<Plan> {
    Ok(Plan { engine, seed: 20_191_130, binary: server::built()?, keep: true })
}

fn assert_clean(report: &Report) {
    println!("{report}");
    assert!(report.is_clean(), "{report}");
}

async fn nothing_is_lost_when_the_server_is_killed(engine: Engine) -> Result<()> {
    let report = kill(&plan(engine)?, CYCLES, |told| println!("{told}")).await?;
    assert_clean(&report);
    let verdict = &report.verdict;
    ensure!(report.kills == CYCLES, "{report}");
    ensure!(verdict.acknowledged > COMMANDS_MIN, "that was no load: {report}");
    ensure!(verdict.refused > 0 && verdict.unknown_and_done > 0, "that was no trial: {report}");
    Ok(())
}

async fn clients_that_go_away_leave_nothing_behind(engine: Engine) -> Result<()> {
    let report = leave(&plan(engine)?, LEAVING).await?;
    assert_clean(&report);
    let verdict = &report.verdict;
    ensure!(report.gone >= u64::from(LEAVING), "{report}");
    ensure!(verdict.unknown >= u64::from(LEAVING), "the clients were not gone: {report}");
    let (done, unknown) = (verdict.unknown_and_done, verdict.unknown);
    ensure!(done > 0 && done < unknown, "all or none arrived, so this tried little: {report}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_on_sqlite_when_the_server_is_killed() -> Result<()> {
    nothing_is_lost_when_the_server_is_killed(Engine::Sqlite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_on_postgres_when_the_server_is_killed() -> Result<()> {
    nothing_is_lost_when_the_server_is_killed(Engine::Postgres).await
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_go_away_leave_nothing_behind_on_sqlite() -> Result<()> {
    clients_that_go_away_leave_nothing_behind(Engine::Sqlite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_go_away_leave_nothing_behind_on_postgres() -> Result<()> {
    clients_that_go_away_leave_nothing_behind(Engine::Postgres).await
}
