//! A streaming standby of PostgreSQL on one machine: it answers questions while it follows, and takes over.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use atrium_tests::world::Place;
use eventstore::Engine;
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;

use super::reading::{Asked, Reader};
use super::setting::{Site, asked_again, ended, fill};

/// Customers founded one after another, each looked for on the standby.
const FOUNDED: usize = 20;

/// A folder with clusters of `scripts/postgres`, which are stopped when it is dropped.
struct Clusters(TempDir);

impl Clusters {
    fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("atrium-clusters-").tempdir()?;
        // The server is another user where we are root.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        Ok(Self(folder))
    }

    /// Runs the script with folders for its last arguments; gives what it prints.
    async fn script(&self, arguments: &[&str], folders: &[&str]) -> Result<String> {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a folder above")?;
        let mut command = Command::new(top.join("scripts/postgres"));
        command.args(arguments).args(folders.iter().map(|name| self.0.path().join(name)));
        command.stdin(Stdio::null());
        let ended = ended(command).await?;
        ensure!(ended.code == Some(0), "{arguments:?}: {ended:?}");
        Ok(ended.out.trim().to_owned())
    }
}

impl Drop for Clusters {
    fn drop(&mut self) {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a folder above");
        for name in ["standby", "primary"] {
            if self.0.path().join(name).exists() {
                let mut command = Command::new(top.join("scripts/postgres"));
                let _ =
                    command.args(["stop", "--immediate"]).arg(self.0.path().join(name)).output();
            }
        }
    }
}

/// A place for an installation in the database that this URL names.
async fn site_at(url: String) -> Result<Site> {
    let mut site = Site::new(Engine::Sqlite).await?;
    site.database.place = Place::Url(url);
    Ok(site)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_answers_questions_while_it_follows_and_takes_over() -> Result<()> {
    let clusters = Clusters::new()?;
    let primary = site_at(clusters.script(&["start", "--durable"], &["primary"]).await?).await?;
    let server = primary.program()?.start().await?;
    let granted = fill(&server).await?;
    let url = clusters.script(&["standby", "--durable"], &["primary", "standby"]).await?;
    let standby = site_at(url).await?;
    standby.take_key(&primary)?;
    let reader = Reader::start(&standby).await?;
    let writer = Asked { url: server.url.clone(), token: server.token.clone() };
    let token = writer.token.clone();

    // What is acknowledged there is seen here soon.
    let mut slowest = Duration::ZERO;
    for number in 0..FOUNDED {
        let customer = writer.found(&format!("Customer {number} of the primary")).await?;
        let path = format!("/api/v2/customers/{customer}");
        slowest = slowest.max(reader.until(200, &path, &token).await?);
    }
    println!("{FOUNDED} customers, the slowest was seen on the standby after {slowest:?}");
    let began = Instant::now();
    while reader.ready().await? != "ready, only reads, 0.000 s behind\n" {
        ensure!(began.elapsed() < Duration::from_secs(5), "{}", reader.ready().await?);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let all = "/api/v2/events?limit=500";
    let of_primary = reqwest::Client::new().get(format!("{}{all}", writer.url));
    let of_primary = of_primary.bearer_auth(&token).send().await?.bytes().await?;
    let of_primary: Value = serde_json::from_slice(&of_primary)?;
    assert_eq!(reader.get(all, &token).await?, of_primary);

    // Commands are not taken, by this server nor by one that would write.
    reader.refuses(Method::POST, "/api/v2/customers", &token).await?;
    let would_write = standby.command(&["serve", "--listen", "127.0.0.1:0"]);
    ended(would_write).await?.refused("is a standby, which only reads")?;
    let verified = standby.run(&["verify"]).await?.well()?;
    let events = verified["events"].as_u64().context("a number")?;
    assert_eq!(events, primary.head().await?.position);

    // The primary is lost; the standby answers on, and says how old it may be.
    server.kill();
    clusters.script(&["stop", "--immediate"], &["primary"]).await?;
    reader.get("/api/v2/customers", &token).await?;
    let began = Instant::now();
    while reader.ready().await?.contains(" 0.000 s") {
        ensure!(began.elapsed() < Duration::from_secs(5), "{}", reader.ready().await?);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    // Promoted, it takes commands from a server that writes; nothing is lost or done again.
    clusters.script(&["promote"], &["standby"]).await?;
    asked_again(&standby, &granted).await?;
    let server = standby.program()?.start().await?;
    let writer = Asked { url: server.url.clone(), token: server.token.clone() };
    let customer = writer.found("Founded on the standby").await?;
    reader.until(200, &format!("/api/v2/customers/{customer}"), &writer.token).await?;
    server.stop().await?;
    let verified = standby.run(&["verify"]).await?.well()?;
    ensure!(verified["events"].as_u64() > Some(events), "{verified}");
    drop(reader);
    standby.check().await
}
