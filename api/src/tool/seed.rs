//! `atrium seed`.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use api::keys::{Keys, hex};
use api::population::{CUSTOMERS_MAX, MONTHS_MAX, Plan, populate};
use api::server::master_key;
use api::setup::Demo;
use chrono::NaiveDate;
use clap::Args;
use commands::{Ambient as _, SystemAmbient};
use serde_json::json;

use super::{ToolArguments, ensure_is_empty, open, progress, settings_of};

/// The first day after the history where nobody names another.
const UNTIL: &str = "2026-01-01";

/// Fill an empty installation with a population, through the ordinary commands
///
/// Resellers at several levels and customers of many sizes, who hire, subscribe, change, let people go, get special terms and tell some things too late, for months. The same arguments and the same master key give the same log, to the byte, on both databases; time, ids and keys are made up too.
///
/// Exit code 0: done. 2: it is not, and why; begin again with another --data.
#[derive(Args)]
pub(crate) struct SeedArguments {
    /// Customers: few large ones, many small ones
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(CUSTOMERS_MAX)))]
    customers: u32,

    /// Months of history
    #[arg(long, value_name = "M", default_value_t = 24)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(MONTHS_MAX)))]
    months: u32,

    /// Another number makes another population
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,

    /// The first day after the history
    #[arg(long, value_name = "DATE", default_value = UNTIL)]
    until: NaiveDate,

    #[command(flatten)]
    tool: ToolArguments,
}

pub(crate) async fn run(arguments: &SeedArguments) -> Result<ExitCode> {
    let settings = settings_of(&arguments.tool.data)?;
    let SeedArguments { customers, months, seed, until, .. } = *arguments;
    ensure!(
        until <= SystemAmbient.now().date_naive(),
        "--until {until} is in the future: what is recorded later could not be later"
    );
    ensure_is_empty(&settings).await?;
    let database = open(&settings).await?;
    let log = eventstore::Log::new(database.clone());
    let keys = Keys::derive(&master_key(&settings, &database).await?);
    keys.check(&database).await?;
    let billing = settings.billing.clone();
    let plan = Plan { customers, months, seed, until, proof: None, billing };
    let days = plan.days()?;
    let bar = progress("Living", "{msg} {bar:30} {pos} of {len} days, {eta} left", days.into());
    let made = populate(&database, &keys, plan, |day| bar.set_position(day)).await?;
    bar.finish_and_clear();
    let head = log.head().await?;
    Demo::Seeded.note(&database).await?;
    database.close().await;
    let (events, hash) = (head.position, hex(&head.hash));
    arguments.tool.tell(
        &json!({
            "resellers": made.resellers,
            "customers": made.customers,
            "users": made.users,
            "commands": made.commands,
            "events": events,
            "hash": hash,
        }),
        &format!(
            "{} resellers, {} customers and {} users have lived through {days} days: {} commands, \
             {events} events. The last hash is {hash}\n\
             Nobody has a password: `atrium demo` on the same data serves it, with a token.",
            made.resellers, made.customers, made.users, made.commands,
        ),
    );
    Ok(ExitCode::SUCCESS)
}
