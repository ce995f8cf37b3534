//! The demo: a small MSP with two years of history up to today.

use anyhow::Result;
use aws_lc_rs::hmac;
use chrono::{DateTime, Utc};
use commands::Password;
use domain::billing::BillingSettings;
use domain::user::Proof;
use eventstore::Database;

use crate::keys::{Keys, hex};
use crate::password::Passwords;
use crate::population::{self, Plan};

/// Customers.
const CUSTOMERS: u32 = 12;
/// Months of history.
const MONTHS: u32 = 24;
/// The same demo every time, but for the dates.
const SEED: u64 = 2019;

/// The password of the demo's people: follows from the master key, so that it need not be stored,
/// is the same at the next start, and is another one in every installation.
#[must_use]
pub fn password(keys: &Keys) -> Password {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &keys.pepper);
    Password(hex(&hmac::sign(&key, b"the demo's password").as_ref()[..8]))
}

/// Makes the demo in an empty database. `progress` hears of how many days have been lived through.
///
/// # Errors
/// Where the database fails.
pub async fn make(
    database: &Database,
    keys: &Keys,
    billing: &BillingSettings,
    now: DateTime<Utc>,
    progress: impl FnMut(u64),
) -> Result<()> {
    let plan = Plan {
        customers: CUSTOMERS,
        months: MONTHS,
        seed: SEED,
        until: now.date_naive(),
        proof: Some(proof(keys).await?),
        billing: billing.clone(),
    };
    population::populate(database, keys, plan, progress).await?;
    Ok(())
}

/// Makes only the provider and its administrator.
///
/// # Errors
/// Where the database fails.
pub async fn install(database: &Database, keys: &Keys, billing: &BillingSettings) -> Result<()> {
    population::install(database, keys, billing, proof(keys).await?).await
}

async fn proof(keys: &Keys) -> Result<Proof> {
    let hashed = Passwords::new(&keys.pepper).hash(&password(keys)).await;
    hashed.map_err(|problem| anyhow::anyhow!(problem.detail))
}
