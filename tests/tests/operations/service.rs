//! `atrium import service`: a definition is sold, or is told everything that is wrong with it at once.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use atrium_tests::world::Place;
use eventstore::{Database, Engine};
use serde_json::{Value, json};

use super::setting::{BOTH, Ended, Site, ended};

/// Longest that an import may take to come to the step that it is held at.
const PATIENCE: Duration = Duration::from_secs(60);

/// A provider and its administrator.
async fn provider(engine: Engine) -> Result<Site> {
    let site = Site::new(engine).await?;
    site.program()?.start().await?.stop().await?;
    Ok(site)
}

fn shipped(service: &str) -> PathBuf {
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("../services");
    services.join(service).join("definition.json")
}

fn definition(service: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(shipped(service))?)?)
}

async fn import(site: &Site, file: &Path, more: &[&str]) -> Result<Ended> {
    let file = file.to_str().context("a readable name")?;
    site.run(&[&["import", "service", file], more].concat()).await
}

/// The same with a document, in a file.
async fn import_document(site: &Site, document: &Value) -> Result<Ended> {
    let file = site.file("definition.json");
    std::fs::write(&file, document.to_string())?;
    import(site, &file, &[]).await
}

/// What a server says of a service.
async fn shown(site: &Site, service: &str) -> Result<Value> {
    let server = site.program()?.start().await?;
    let asked = reqwest::Client::new()
        .get(format!("{}/api/v2/services/{service}", server.url))
        .bearer_auth(&server.token)
        .send()
        .await?;
    let shown = serde_json::from_str(&asked.error_for_status()?.text().await?)?;
    server.stop().await?;
    Ok(shown)
}

async fn position(site: &Site) -> Result<u64> {
    Ok(site.head().await?.position)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_that_is_shipped_is_sold_after_its_import_and_twice_is_once() -> Result<()> {
    for engine in BOTH {
        let site = provider(engine).await?;
        let before = position(&site).await?;
        let mut services = 0;
        for entry in std::fs::read_dir(shipped("").parent().context("a folder")?)? {
            let service = entry?.file_name().into_string().ok().context("a readable name")?;
            let imported = import(&site, &shipped(&service), &[]).await?.well()?;
            assert_eq!(imported, json!({ "service": service, "published": true }));
            services += 1;
            assert_eq!(position(&site).await?, before + 2 * services, "{service}");
            import(&site, &shipped(&service), &[]).await?.well()?;
            assert_eq!(position(&site).await?, before + 2 * services, "{service}, again");
        }
        ensure!(services >= 5, "only {services} services are shipped");
        let backup = shown(&site, "backup").await?;
        assert_eq!(backup["publishedVersion"], 1);
        // What is shown can be imported: it says the same.
        import_document(&site, &backup["published"]).await?.well()?;
        let settled = position(&site).await?;
        let mut next = definition("backup")?;
        next["description"] = json!("Another one.");
        let file = site.file("next.json");
        std::fs::write(&file, next.to_string())?;
        let drafted = import(&site, &file, &["--draft"]).await?.well()?;
        assert_eq!(drafted, json!({ "service": "backup", "published": false }));
        let backup = shown(&site, "backup").await?;
        assert_eq!(backup["publishedVersion"], 1);
        assert_eq!(backup["draft"]["description"], "Another one.");
        import(&site, &file, &[]).await?.well()?;
        assert_eq!(shown(&site, "backup").await?["publishedVersion"], 2);
        ensure!(position(&site).await? > settled + 2, "a draft and a publication");
        site.check().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_go_on_meanwhile_and_sells_it_at_once() -> Result<()> {
    for engine in BOTH {
        let site = provider(engine).await?;
        let server = site.program()?.start().await?;
        import(&site, &shipped("crm"), &["--roll-out"]).await?.well()?;
        let http = reqwest::Client::new();
        let draft = json!({ "name": "Acme" });
        let ask = async |path: &str, sent: &Value| -> Result<Value> {
            let url = format!("{}{path}", server.url);
            let asked = http.post(url).bearer_auth(&server.token).json(sent).send().await?;
            let (status, text) = (asked.status(), asked.text().await?);
            ensure!(status == 201, "{path}: {status} {text}");
            Ok(serde_json::from_str(&text)?)
        };
        let customer = ask("/api/v2/customers", &draft).await?;
        let id = customer["id"].as_str().context("an id")?;
        let wish = json!({ "service": "crm", "plan": "team", "instance": "production" });
        ask(&format!("/api/v2/customers/{id}/subscriptions"), &wish).await?;
        server.stop().await?;
        site.check().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_wrong_is_told_at_once_with_where_it_stands() -> Result<()> {
    for engine in BOTH {
        let site = provider(engine).await?;
        let before = position(&site).await?;
        let told = async |document: &Value, words: &str, pointers: &[&str]| -> Result<()> {
            let ended = import_document(&site, document).await?;
            ended.refused(words)?;
            for pointer in pointers {
                let line = format!("\n  {pointer}: ");
                ensure!(ended.complaint.contains(&line), "{pointer}: {}", ended.complaint);
            }
            let lines = ended.complaint.matches("\n  /").count();
            ensure!(
                lines == pointers.len(),
                "{lines} and not {}: {}",
                pointers.len(),
                ended.complaint
            );
            Ok(())
        };
        // What has not the shape of a definition.
        let mut odd = definition("backup")?;
        odd["colour"] = json!("red");
        odd["level"] = json!("planet");
        odd["plans"][1]["price"] = json!(180);
        odd["plans"][2].as_object_mut().context("a plan")?.remove("name");
        odd["properties"][0]["unlimited"] = json!("yes");
        let pointers =
            ["/colour", "/level", "/plans/1/price", "/plans/2/name", "/properties/0/unlimited"];
        told(&odd, "is no definition of a service", &pointers).await?;
        // What cannot be kept even as a draft.
        let mut bad = definition("backup")?;
        bad["name"] = json!(" ");
        bad["properties"][1]["key"] = json!("support level");
        bad["properties"][2]["maxLength"] = json!(9);
        bad["plans"][0]["price"] = json!("much");
        let pointers = ["/name", "/properties/1/key", "/properties/2/maxLength", "/plans/0/price"];
        told(&bad, "is refused, and nothing is changed", &pointers).await?;
        assert_eq!(position(&site).await?, before, "{engine:?}");
        // What can be kept and not be sold.
        let mut unsold = definition("backup")?;
        unsold["validations"][0]["pattern"] = json!("(");
        unsold["properties"][3]["default"] = json!("http://backup.example");
        unsold["properties"][7]["options"] = json!([]);
        unsold["plans"][2]["sku"] = json!("BU001");
        unsold["plans"][1]["properties"]["Storage"] = json!("ten");
        let pointers = [
            "/validations/0/pattern",
            "/properties/3/default",
            "/properties/7/options",
            "/properties/7/default",
            "/plans/2/sku",
            "/plans/1/properties/Storage",
        ];
        told(&unsold, "is drafted, and not sold", &pointers).await?;
        assert_eq!(position(&site).await?, before + 1, "{engine:?}: a draft");
        import(&site, &shipped("backup"), &[]).await?.well()?;
        assert_eq!(shown(&site, "backup").await?["publishedVersion"], 1);
        site.check().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_definition_or_no_installation_changes_nothing() -> Result<()> {
    for engine in BOTH {
        let site = provider(engine).await?;
        let text = std::fs::read_to_string(shipped("backup"))?;
        let file = site.file("definition.json");
        std::fs::create_dir(site.file("folder"))?;
        std::fs::write(&file, "")?;
        let before = site.state().await?;
        for (bytes, words) in [
            (Vec::new(), "/plans: This field is missing."),
            (b"Dear Ann,\n".to_vec(), "is no definition"),
            (b"\xff\xfe".to_vec(), "is no definition"),
            (b"[]".to_vec(), "is no definition"),
            (b"{\"a\":1}".to_vec(), "/a: There is no such field."),
            (text.as_bytes()[..text.len() / 2].to_vec(), "is no definition"),
            (text.replacen("\"key\"", "\"name\"", 1).into_bytes(), "/name: "),
            (text.replacen("\"key\": \"backup\",", "", 1).into_bytes(), "has no `key`"),
            (text.replacen("\"backup\"", "\"back up\"", 1).into_bytes(), "has no `key`"),
            (vec![b' '; 1024 * 1024 + 1], "is larger than"),
        ] {
            std::fs::write(&file, &bytes)?;
            import(&site, &file, &[]).await?.refused(words)?;
            std::fs::write(&file, "")?;
            assert_eq!(site.state().await?, before, "{engine:?}: {words}");
        }
        for missing in ["nothing.json", "folder"] {
            import(&site, &site.file(missing), &[]).await?.refused("cannot be read")?;
        }
        assert_eq!(site.state().await?, before, "{engine:?}");
        let nowhere = Site::new(Engine::Sqlite).await?;
        import(&nowhere, &shipped("backup"), &[]).await?.refused("there is no database in")?;
        assert!(!nowhere.data().exists());
    }
    Ok(())
}

async fn events(site: &Site) -> Result<u64> {
    let database = match &site.database.place {
        Place::Folder(folder) => Database::look_sqlite(&folder.join("atrium.db")).await?,
        Place::Url(url) => Database::look_postgres(url).await?,
    };
    let rows = database.fetch("select position from head", &[]).await?;
    let position = rows[0].unsigned(0)?;
    database.close().await;
    Ok(position)
}

/// The draft is there, its publication is not: the same again sells it.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "faults"), ignore = "needs failpoints")]
async fn an_interrupted_import_is_made_whole_by_the_next() -> Result<()> {
    for engine in BOTH {
        for kill in [false, true] {
            let site = provider(engine).await?;
            let before = position(&site).await?;
            let file = shipped("backup");
            let file = file.to_str().context("a readable name")?;
            let mut command = site.command(&["import", "service", file]);
            let point =
                if kill { "append::begin=1*off->pause" } else { "append::begin=1*off->return" };
            command.env("FAILPOINTS", format!("eventstore::{point}"));
            if kill {
                command.stdout(Stdio::null()).stderr(Stdio::null());
                let mut child = command.spawn()?;
                let drafted = async {
                    while events(&site).await? == before {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    anyhow::Ok(())
                };
                let drafted = tokio::time::timeout(PATIENCE, drafted).await;
                child.kill()?;
                child.wait()?;
                drafted.context("the draft is never there")??;
            } else {
                let ended = ended(command).await?;
                ensure!(ended.code == Some(2), "{ended:?}");
            }
            assert_eq!(position(&site).await?, before + 1, "{engine:?}, killed: {kill}");
            site.check().await?;
            import(&site, Path::new(file), &[]).await?.well()?;
            assert_eq!(position(&site).await?, before + 2, "{engine:?}, killed: {kill}");
            assert_eq!(shown(&site, "backup").await?["publishedVersion"], 1);
            site.check().await?;
        }
    }
    Ok(())
}
