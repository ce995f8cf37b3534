//! The same arguments and the same master key give the same population, to the byte.

use anyhow::{Context, Result, ensure};
use atrium_tests::witness::client::Client;
use eventstore::Engine;
use serde_json::Value;

use super::setting::{BOTH, Site};

const SMALL: [&str; 5] = ["seed", "--customers", "40", "--months", "6"];

#[tokio::test(flavor = "multi_thread")]
async fn the_same_arguments_give_the_same_log_on_both_databases() -> Result<()> {
    let mut hashes = Vec::new();
    for engine in [Engine::Sqlite, Engine::Sqlite, Engine::Postgres] {
        let site = Site::new(engine).await?;
        site.have_key(&[7; 32])?;
        let seeded = site.run(&SMALL).await?.well()?;
        let users = seeded["users"].as_u64();
        ensure!(seeded["customers"] == 40 && users > Some(100), "{seeded}");
        assert_eq!(site.run(&["verify"]).await?.well()?["hash"], seeded["hash"]);
        site.check().await?;
        hashes.push(seeded["hash"].as_str().context("it tells the hash")?.to_owned());
    }
    assert_eq!(hashes[0], hashes[1]);
    assert_eq!(hashes[0], hashes[2]);
    for other in [["--seed", "2"], ["--until", "2025-01-01"], ["--months", "5"]] {
        let site = Site::new(Engine::Sqlite).await?;
        site.have_key(&[7; 32])?;
        let arguments: Vec<_> = if other[0] == "--months" {
            [&SMALL[..3], &other[..]].concat()
        } else {
            [&SMALL[..], &other[..]].concat()
        };
        let seeded = site.run(&arguments).await?.well()?;
        ensure!(seeded["hash"] != hashes[0], "{other:?} makes no difference");
    }
    // Another installation's persons are sealed with other keys.
    let site = Site::new(Engine::Sqlite).await?;
    site.have_key(&[8; 32])?;
    ensure!(site.run(&SMALL).await?.well()?["hash"] != hashes[0], "the key makes no difference");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_population_is_varied() -> Result<()> {
    let site = Site::new(Engine::Sqlite).await?;
    site.run(&["seed", "--customers", "150", "--months", "12"]).await?.well()?;
    let database = site.open().await?;
    let count = async |sql: &str| anyhow::Ok(database.fetch(sql, &[]).await?[0].int(0)?);
    // Every kind of thing that happens, and resellers below resellers.
    for kind in [
        "subscription.changed",
        "subscription.deprovisioned",
        "organization.overridden",
        "user.disabled",
        "user.enabled",
    ] {
        let sql = format!("select count(*) from event_shape where kind = '{kind}'");
        assert_eq!(count(&sql).await?, 1, "{kind}");
    }
    let deepest =
        "select max(length(path) - length(replace(path, '/', ''))) from view_organization";
    ensure!(count(deepest).await? >= 5, "there are resellers below resellers, and customers there");
    // Facts that were told days after they were true.
    let backdated = "select count(*) from event where \
        json_extract(cast(substr(body, 1, instr(body || x'0a', x'0a') - 1) as text), '$.effectiveAt') \
        < json_extract(cast(substr(body, 1, instr(body || x'0a', x'0a') - 1) as text), \
        '$.recordedAt') - 86400000000";
    ensure!(count(backdated).await? > 20, "few things are told late");
    database.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_population_is_made_only_where_nothing_is_and_not_in_the_future() -> Result<()> {
    for engine in BOTH {
        let site = Site::new(engine).await?;
        for (arguments, words) in [
            (vec!["seed", "--customers", "0"], "0 is not in 1..=1000000"),
            (vec!["seed", "--months", "0"], "0 is not in 1..=600"),
            (vec!["seed", "--until", "tomorrow"], "invalid value"),
            (vec!["seed", "--until", "2100-01-01"], "is in the future"),
        ] {
            site.run(&arguments).await?.refused(words)?;
            assert!(!site.data().exists(), "{arguments:?}");
        }
        site.run(&["seed", "--customers", "3", "--months", "1"]).await?.well()?;
        let before = site.state().await?;
        let refused = site.run(&["seed", "--customers", "3", "--months", "1"]).await?;
        refused.refused("there is an installation in the database already")?;
        assert_eq!(site.state().await?, before, "{engine:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_population_is_served_with_a_token() -> Result<()> {
    for engine in BOTH {
        let site = Site::new(engine).await?;
        site.run(&["seed", "--customers", "30", "--months", "2"]).await?.well()?;
        let server = site.program()?.start().await?;
        let http = reqwest::Client::new();
        let asked = http
            .get(format!("{}/api/v2/customers?limit=5", server.url))
            .bearer_auth(&server.token)
            .send()
            .await?;
        let page: Value = serde_json::from_str(&asked.error_for_status()?.text().await?)?;
        ensure!(page.to_string().contains("Aanimals Inc"), "{page}");
        let client = Client::new(&server.url, &server.token)?;
        ensure!(client.get("/readyz").await.is_ok(), "it is not ready");
        server.stop().await?;
        site.check().await?;
    }
    Ok(())
}
