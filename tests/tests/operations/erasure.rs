//! What copies hold of somebody who was erased: nothing, if they were made afterwards.

use anyhow::{Context, Result, ensure};
use atrium_tests::http::answer;
use atrium_tests::witness::server::Server;
use eventstore::Engine;
use serde_json::{Value, json};

use super::setting::{BOTH, Site, edit};

async fn post(server: &Server, path: &str, body: Value) -> Result<Value> {
    let request = reqwest::Client::new().post(format!("{}{path}", server.url));
    let answer = answer(request.bearer_auth(&server.token).json(&body)).await?;
    ensure!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.body);
    Ok(answer.body)
}

/// What a place tells of a user's last name, when it is served.
async fn last_name(site: &Site, user: &str) -> Result<Value> {
    let server = site.program()?.start().await?;
    let request = reqwest::Client::new().get(format!("{}/api/v2/users/{user}", server.url));
    let told = answer(request.bearer_auth(&server.token)).await?.expect(200)?;
    server.stop().await?;
    Ok(told["lastName"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_has_whom_was_erased_only_if_it_was_made_before() -> Result<()> {
    for engine in BOTH {
        let site = Site::new(engine).await?;
        let server = site.program()?.start().await?;
        let customer = post(&server, "/api/v2/customers", json!({ "name": "Zoo" })).await?;
        let path = format!("/api/v2/customers/{}/users", customer["id"].as_str().unwrap_or(""));
        let zoe = json!({
            "firstName": "Zoe", "lastName": "Quartermain", "email": "zoe@quartermain.test",
        });
        let zoe = post(&server, &path, zoe).await?;
        let user = zoe["id"].as_str().context("an id")?;
        let (before, after) = (site.file("before"), site.file("after"));
        site.run_on("backup", &before).await?.well()?;
        post(&server, &format!("/api/v2/users/{user}/erase"), json!({})).await?;
        site.run_on("backup", &after).await?.well()?;
        let export = site.file("export");
        site.run_on("export", &export).await?.well()?;
        server.stop().await?;

        site.run(&["verify"]).await?.well()?;
        let healthy = site.run(&["doctor", "--deep"]).await?;
        ensure!(healthy.out.contains("sealed, each with a key"), "{healthy:?}");
        let checks: Value = serde_json::from_str(&healthy.out)?;
        let mut checks = checks["checks"].as_array().into_iter().flatten();
        // A throw-away PostgreSQL is not durable, and doctor says so.
        let trouble = checks.find(|it| it["verdict"] == "fault" && it["check"] != "durability");
        ensure!(trouble.is_none(), "{trouble:?}");
        site.check().await?;
        for file in [&before, &after, &export] {
            let bytes = std::fs::read(file)?.to_ascii_lowercase();
            let is_there = bytes.windows(11).any(|part| part == b"quartermain");
            ensure!(!is_there, "she stands in clear in {}", file.display());
        }
        for (copy, name) in [(&before, "Quartermain"), (&after, "user")] {
            let elsewhere = Site::new(engine).await?;
            elsewhere.take_key(&site)?;
            elsewhere.run_on("restore", copy).await?.well()?;
            assert_eq!(last_name(&elsewhere, user).await?, name, "{engine:?}");
            elsewhere.check().await?;
        }
        let other = if engine == Engine::Sqlite { Engine::Postgres } else { Engine::Sqlite };
        let elsewhere = Site::new(other).await?;
        elsewhere.take_key(&site)?;
        elsewhere.run_on("import", &export).await?.well()?;
        assert_eq!(last_name(&elsewhere, user).await?, "user", "{engine:?} to {other:?}");

        edit(&elsewhere, "delete from person_key").await?;
        let lost = elsewhere.run(&["doctor"]).await?;
        ensure!(lost.code == Some(1) && lost.out.contains("cannot be read"), "{lost:?}");
    }
    Ok(())
}
