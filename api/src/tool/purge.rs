//! `atrium purge`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use api::config::{ServeArguments, Settings};
use api::keys::Keys;
use api::server::{Installation, master_key};
use chrono::TimeDelta;
use clap::Args;
use commands::due::{Watch, purges};
use commands::{Ambient, SystemAmbient};
use serde_json::json;

use super::{ToolArguments, ensure_is_there, open};

/// Hide for good who was deleted and can be restored no more
///
/// What is personal of users is forgotten with that: their keys are destroyed. What happened, and the bills, stay as they are. Servers do so by themselves while they run; this is for when none does. A server on the same data may go on meanwhile. What is purged already stays so.
///
/// Exit code 0: done.
#[derive(Args)]
pub(crate) struct PurgeArguments {
    /// Days in which they could be restored [default: 90]
    #[arg(long, value_name = "DAYS", env = "ATRIUM_RETENTION_DAYS")]
    retention_days: Option<u32>,

    #[command(flatten)]
    tool: ToolArguments,
}

pub(crate) async fn run(arguments: &PurgeArguments) -> Result<ExitCode> {
    let settings = Settings::load(&ServeArguments {
        data: arguments.tool.data.clone(),
        retention_days: arguments.retention_days,
        ..ServeArguments::default()
    })?;
    ensure_is_there(&settings)?;
    let database = open(&settings).await?;
    let keys = Keys::derive(&master_key(&settings, &database).await?);
    let installation = Installation::start(database, keys, Arc::new(SystemAmbient), None).await?;
    let (database, writer) =
        (installation.app.database().clone(), installation.app.writer().clone());
    let sorts = [purges(TimeDelta::days(settings.retention_days.into()))];
    let watch = Watch::new(database, writer, sorts);
    let now = SystemAmbient.now();
    let mut purged = 0;
    let outcome = loop {
        match watch.look(now).await {
            Ok(0) => break Ok(()),
            Ok(some) => purged += some,
            Err(error) => break Err(error),
        }
    };
    installation.close().await;
    outcome?;
    arguments.tool.tell(&json!({ "purged": purged }), &format!("Purged: {purged}."));
    Ok(ExitCode::SUCCESS)
}
