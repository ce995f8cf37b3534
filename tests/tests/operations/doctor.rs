//! Each trouble that is planted is found, and looking changes nothing.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use eventstore::Engine;
use serde_json::Value;

use super::setting::{BOTH, Site, edit, installation, population};

/// Every check's verdict and words; that the exit code is theirs, and that nothing was changed.
async fn looked(site: &Site, deep: bool) -> Result<BTreeMap<String, (String, String)>> {
    let before = site.state().await?;
    let arguments: &[_] = if deep { &["doctor", "--deep"] } else { &["doctor"] };
    let ended = site.run(arguments).await?;
    assert_eq!(site.state().await?, before, "the doctor changed something");
    let report: Value = serde_json::from_str(&ended.out).with_context(|| format!("{ended:?}"))?;
    let faults = report["faults"].as_u64().context("it counts")?;
    assert_eq!(ended.code, Some(i32::from(faults > 0)), "{ended:?}");
    let checks = report["checks"].as_array().context("it has checks")?;
    let text = |check: &Value, field: &str| check[field].as_str().unwrap_or_default().to_owned();
    for check in checks {
        let is_ok = check["verdict"] == "ok";
        ensure!(is_ok == text(check, "remedy").is_empty(), "{check} says what to do, or need not");
    }
    let checks = checks
        .iter()
        .map(|check| (text(check, "check"), (text(check, "verdict"), text(check, "found"))));
    Ok(checks.collect())
}

/// The checks that are not as they should be. (The tests' PostgreSQL is quick, and not durable.)
async fn troubles(site: &Site, deep: bool) -> Result<Vec<String>> {
    let looked = looked(site, deep).await?;
    let troubles = looked.into_iter().filter(|(check, (verdict, _))| {
        verdict != "ok" && check != "durability" && check != "disk space"
    });
    Ok(troubles.map(|(check, (verdict, _))| format!("{check}: {verdict}")).collect())
}

async fn found(site: &Site, deep: bool, expected: &[&str]) -> Result<()> {
    assert_eq!(troubles(site, deep).await?, expected, "{:?}", site.database.place);
    Ok(())
}

/// Closed to all but their owner.
fn close(site: &Site) -> Result<()> {
    std::fs::set_permissions(site.data(), PermissionsExt::from_mode(0o700))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_installation_has_no_trouble_while_it_is_served_too() -> Result<()> {
    for engine in BOTH {
        let (site, _) = installation(engine).await?;
        close(&site)?;
        found(&site, false, &[]).await?;
        found(&site, true, &[]).await?;
        let _server = site.program()?.start().await?;
        found(&site, false, &[]).await?;
        found(&site, true, &[]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_keys_that_are_not_as_they_should_be_are_found() -> Result<()> {
    for engine in BOTH {
        let (site, _) = installation(engine).await?;
        close(&site)?;
        let key = site.data().join("master.key");
        let text = std::fs::read_to_string(&key)?;
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644))?;
        found(&site, false, &["master key: fault"]).await?;
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600))?;

        std::fs::set_permissions(site.data(), PermissionsExt::from_mode(0o777))?;
        let looked = looked(&site, false).await?;
        assert_eq!(looked["data folder"].0, "fault");
        close(&site)?;

        std::fs::write(&key, "ab".repeat(32))?;
        found(&site, false, &["master key fits: fault"]).await?;
        std::fs::write(&key, "no key")?;
        found(&site, false, &["master key fits: fault"]).await?;
        std::fs::remove_file(&key)?;
        found(&site, false, &["master key: fault"]).await?;
        let told = super::setting::ended(site.command(&["doctor"])).await?.out;
        let faults = told.matches("FAULT ").count();
        let counted = if faults == 1 { "\n1 fault, " } else { "\n2 faults, " };
        assert!(told.contains(counted), "{told}");
        std::fs::write(&key, text)?;
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600))?;

        std::fs::write(site.data().join(".atrium.db.partial"), "half of it")?;
        found(&site, false, &["data folder: warning"]).await?;
        std::fs::remove_file(site.data().join(".atrium.db.partial"))?;
        found(&site, false, &[]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_at_the_end_is_found_at_once_and_deep_damage_by_looking_deeper() -> Result<()> {
    for engine in BOTH {
        let site = population(engine).await?;
        found(&site, true, &[]).await?;
        edit(&site, "update event set path = '/9/' where position = 5").await?;
        found(&site, false, &[]).await?;
        let looked = looked(&site, true).await?;
        assert_eq!(looked["log"].0, "fault");
        assert!(looked["log"].1.contains("position 5 "), "{:?}", looked["log"]);

        let site = population(engine).await?;
        edit(
            &site,
            "update event set version = version + 1 where position = \
                     (select max(position) from event)",
        )
        .await?;
        found(&site, false, &["log: fault"]).await?;

        let site = population(engine).await?;
        edit(&site, "delete from event where position = (select max(position) from event)").await?;
        found(&site, false, &["log: fault"]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn views_that_are_not_the_logs_and_what_a_rebuild_left_are_found() -> Result<()> {
    for engine in BOTH {
        let (site, _) = installation(engine).await?;
        close(&site)?;
        edit(&site, "create table view_user_rebuild_7 (key text)").await?;
        found(&site, false, &["rebuild: warning"]).await?;
        edit(&site, "drop table view_user_rebuild_7").await?;
        edit(&site, "delete from view_user where key = (select max(key) from view_user)").await?;
        found(&site, false, &[]).await?;
        found(&site, true, &["views: fault"]).await?;
        site.run(&["rebuild"]).await?;
        found(&site, true, &[]).await?;
        edit(
            &site,
            "update view_subscription set sort = 'x' || sort where key = \
                     (select min(key) from view_subscription)",
        )
        .await?;
        found(&site, true, &["views: fault"]).await?;
        site.run(&["rebuild"]).await?;
        edit(&site, "drop table view_user").await?;
        found(&site, false, &["views: fault"]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_behind_is_found() -> Result<()> {
    for engine in BOTH {
        let (site, _) = installation(engine).await?;
        close(&site)?;
        edit(&site, "update head set recorded_at = recorded_at + 3600000000").await?;
        found(&site, false, &["clock: fault"]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_looked_at_is_told_apart_from_what_is_wrong() -> Result<()> {
    let site = Site::new(Engine::Sqlite).await?;
    site.run(&["doctor"]).await?.refused("there is no database in")?;
    assert!(!site.data().exists());

    let site = Site::new(Engine::Postgres).await?;
    let looked = looked(&site, false).await?;
    assert_eq!(looked["database"].0, "fault");
    assert!(looked["database"].1.contains("there is no Atrium database"), "{looked:?}");

    // A file that is none, and one of a newer version.
    let (site, _) = installation(Engine::Sqlite).await?;
    edit(&site, "insert into _sqlx_migrations values (9001, 'tomorrow', '', true, x'00', 1)")
        .await?;
    let newer = self::looked(&site, true).await?;
    assert_eq!(newer["database"].0, "fault");
    assert!(newer["database"].1.contains("newer Atrium"), "{newer:?}");
    for entry in std::fs::read_dir(site.data())? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("atrium.db-")) {
            std::fs::remove_file(path)?;
        }
    }
    std::fs::write(site.data().join("atrium.db"), "Dear Ann,\n".repeat(1_000))?;
    let none = self::looked(&site, true).await?;
    assert_eq!(none["database"].0, "fault");
    assert!(none["database"].1.contains("not a SQLite database"), "{none:?}");
    Ok(())
}
