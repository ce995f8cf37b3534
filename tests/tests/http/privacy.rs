//! Persons: never in clear on any disk, and gone when they are erased.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use atrium_tests::http::{Answer, PASSWORD, TestApp, answer};
use commands::{Ambient as _, SystemAmbient};
use eventstore::{Database, Engine};
use reqwest::Method;
use serde_json::{Value, json};

use crate::BOTH;

const NOW: &str = "2019-11-01T08:00:00Z";

/// Somebody whom nothing else on the machine is called like, so that he can be looked for on the whole disk.
struct Somebody {
    mark: String,
    customer: String,
    id: String,
    mailbox: String,
    session: String,
}

impl Somebody {
    fn first_name(&self) -> String {
        format!("Zoë-{}", self.mark)
    }

    fn last_name(&self) -> String {
        format!("Quartermain{}", self.mark)
    }

    fn name(&self) -> String {
        format!("{} {}", self.first_name(), self.last_name())
    }

    fn email(&self) -> String {
        format!("Mail.{}@persons.test", self.mark)
    }

    fn login(&self) -> String {
        format!("Login.{}@persons.test", self.mark)
    }

    /// What must not be found anywhere, in any case.
    fn traces(&self) -> Vec<String> {
        vec![
            self.first_name(),
            self.last_name(),
            self.email(),
            self.login(),
            // As they were before the edit.
            format!("Maiden{}", self.mark),
        ]
    }

    fn creation(&self) -> Value {
        json!({
            "firstName": self.first_name(), "lastName": format!("Maiden{}", self.mark),
            "email": self.email(), "login": self.login(), "password": PASSWORD,
        })
    }

    /// Asks for her creation, always with the same key.
    async fn created(&self, app: &TestApp) -> Result<Answer> {
        let path = format!("/api/v2/customers/{}/users", self.customer);
        let request = app.request(&app.token, Method::POST, &path);
        answer(request.header("idempotency-key", "her creation").json(&self.creation())).await
    }

    /// She is hired, marries, gets a mailbox and a larger one, and signs in.
    async fn new(app: &TestApp) -> Result<Self> {
        let mark = SystemAmbient.id().simple().to_string();
        let customer = app.customer(&format!("Quartz{mark} Inc"), None).await?;
        let nothing = String::new;
        let mut she =
            Self { mark, customer, id: nothing(), mailbox: nothing(), session: nothing() };
        let made = she.created(app).await?.expect(201)?;
        assert_eq!(made["firstName"], she.first_name());
        she.id = made["id"].as_str().context("an id")?.to_owned();
        let path = format!("/api/v2/users/{}", she.id);
        let married = json!({ "lastName": she.last_name() });
        let edited =
            app.send(&app.token, Method::PATCH, &path, Some(married)).await?.expect(200)?;
        assert_eq!(edited["lastName"], she.last_name());
        assert_eq!(edited["login"], she.login());
        let mailbox = json!({ "service": "mailbox", "plan": "standard" });
        let held = app.post(&format!("{path}/subscriptions"), mailbox).await?;
        she.mailbox = held["id"].as_str().context("an id")?.to_owned();
        let path = format!("/api/v2/subscriptions/{}/change", she.mailbox);
        app.post(&path, json!({ "quantity": 2 })).await?;
        she.session = app.sign_in(&she.login().to_uppercase(), PASSWORD).await?;
        Ok(she)
    }

    async fn erase(&self, app: &TestApp) -> Result<Answer> {
        let path = format!("/api/v2/users/{}/erase", self.id);
        app.send(&app.token, Method::POST, &path, Some(json!({ "reason": "she asked" }))).await
    }

    /// Everything that the interfaces tell of her, as one text.
    async fn told(&self, app: &TestApp) -> Result<Vec<(String, Value)>> {
        let request = format!("/api/v2/subscriptions/{}", self.mailbox);
        let request = app.get(&request).await?["requestId"].as_str().unwrap_or("").to_owned();
        let mut told = Vec::new();
        for path in [
            format!("/api/v2/users/{}", self.id),
            format!("/api/v2/customers/{}/users", self.customer),
            format!("/api/v2/requests/{request}"),
            "/api/v2/events?limit=500".to_owned(),
            "/api/Billing/2019-11-30/detail".to_owned(),
        ] {
            let body = app.get(&path).await?;
            told.push((path, body));
        }
        for query in [
            "{ users { nodes { id name firstName lastName email login erasedAt } } }",
            "{ requests { nodes { ingredients subscription { user { name } } } } }",
            "{ events(last: 100) { nodes { kind payload } } }",
            "{ ledgerEntries(endDate: \"2019-11-30\") { nodes { userName lineDescription } } }",
        ] {
            let body = app.post("/graphql", json!({ "query": query })).await?;
            ensure!(body["errors"].is_null(), "{query}: {body}");
            told.push((query.to_owned(), body));
        }
        Ok(told)
    }
}

/// The files below a folder that have one of these texts in them, in upper or lower case.
fn files_with(folder: &Path, texts: &[String]) -> Result<String> {
    let mut grep = Command::new("grep");
    grep.env("LC_ALL", "C").args(["-rlaFi"]);
    for text in texts {
        grep.arg("-e").arg(text);
    }
    let found = grep.arg(folder).stdin(Stdio::null()).output()?;
    let complaints = String::from_utf8_lossy(&found.stderr).into_owned();
    // A server goes on while its files are looked at.
    let unread = complaints.lines().find(|line| !line.ends_with("No such file or directory"));
    ensure!(unread.is_none(), "not all files could be read: {complaints}");
    Ok(String::from_utf8_lossy(&found.stdout).into_owned())
}

/// Where a database keeps all that it keeps.
async fn folder(database: &Database) -> Result<PathBuf> {
    let sql = match database.engine() {
        Engine::Sqlite => "select file from pragma_database_list where name = 'main'",
        Engine::Postgres => "select setting from pg_settings where name = 'data_directory'",
    };
    let path = PathBuf::from(database.fetch(sql, &[]).await?[0].text(0)?);
    Ok(match database.engine() {
        Engine::Sqlite => path.parent().context("a file is in a folder")?.to_owned(),
        Engine::Postgres => path,
    })
}

/// She is nowhere on the disk; what may be there in clear is found.
async fn is_nowhere(app: &TestApp, she: &Somebody) -> Result<()> {
    are_nowhere(app, &she.mark, &she.traces()).await
}

/// These traces are nowhere on the disk; the name of the employer, who is called after the mark, is found.
async fn are_nowhere(app: &TestApp, mark: &str, traces: &[String]) -> Result<()> {
    if app.database.engine() == Engine::Postgres {
        // What is only in memory so far would not be found.
        let mut connection = app.database.writer_connection().await?;
        connection.execute("checkpoint", &[]).await?;
        connection.close().await;
    }
    let folder = folder(&app.database).await?;
    let control = files_with(&folder, &[format!("quartz{mark} inc")])?;
    ensure!(!control.is_empty(), "not even the employer is found in {}", folder.display());
    let found = files_with(&folder, traces)?;
    ensure!(found.is_empty(), "somebody stands in clear in {found}");
    Ok(())
}

async fn sealed_key(app: &TestApp, she: &Somebody) -> Result<Option<Vec<u8>>> {
    let sql = "select sealed from person_key where subject_id = $1";
    let rows = app.database.fetch(sql, &[she.id.as_str().into()]).await?;
    rows.first().map(|row| Ok(row.bytes(0)?.to_vec())).transpose()
}

/// On SQLite not even the sealed key is left in the file: it is written over.
async fn key_is_gone(app: &TestApp, key: &[u8]) -> Result<()> {
    if app.database.engine() == Engine::Postgres {
        return Ok(());
    }
    app.database.fetch("pragma wal_checkpoint(truncate)", &[]).await?;
    for entry in std::fs::read_dir(folder(&app.database).await?)? {
        let path = entry?.path();
        let bytes = std::fs::read(&path)?;
        let is_there = bytes.windows(key.len()).any(|part| part == key);
        ensure!(!is_there, "her key is still in {}", path.display());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_never_in_clear_on_disk_and_gone_when_erased() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        app.publish("mailbox").await?;
        let she = Somebody::new(&app).await?;
        for (what, told) in she.told(&app).await? {
            ensure!(told.to_string().contains(&she.last_name()), "{engine:?}: {what}: {told}");
        }
        is_nowhere(&app, &she).await.with_context(|| format!("{engine:?}, before"))?;

        // Nobody is erased for whom something is still charged.
        let refused = she.erase(&app).await?;
        assert_eq!(refused.clone().problem(409)?, "holds_services");
        let detail = refused.body["detail"].as_str().unwrap_or_default();
        ensure!(detail.contains("mailbox") && detail.contains("deprovision"), "{detail}");
        app.ambient.set("2019-11-11T08:00:00Z");
        let path = format!("/api/v2/subscriptions/{}/deprovision", she.mailbox);
        app.post(&path, json!({ "effectiveAt": "2019-11-20" })).await?;
        assert_eq!(she.erase(&app).await?.problem(409)?, "holds_services", "it ends later");
        app.ambient.set("2019-11-21T08:00:00Z");
        let bill = app.get("/api/Billing/2019-11-30/detail").await?.to_string();
        ensure!(bill.contains(&she.name()), "{bill}");
        let key = sealed_key(&app, &she).await?.context("she has a key")?;
        // Nobody erases himself.
        let own = format!("/api/v2/users/{}/erase", app.administrator);
        let himself = app.send(&app.token, Method::POST, &own, Some(json!({}))).await?;
        assert_eq!(himself.problem(409)?, "yourself");

        let erased = she.erase(&app).await?.expect(200)?;
        assert_eq!((&erased["firstName"], &erased["lastName"]), (&json!("Erased"), &json!("user")));
        assert_eq!((&erased["email"], &erased["login"]), (&Value::Null, &Value::Null));
        assert_eq!((&erased["status"], &erased["roles"]), (&json!("disabled"), &json!([])));
        ensure!(erased["erasedAt"].is_string(), "{erased}");
        assert_eq!(she.erase(&app).await?.expect(200)?, erased, "once more changes nothing");

        // She is told of nowhere, and what was charged for her is what it was, to the byte.
        for (what, told) in she.told(&app).await? {
            let told = told.to_string();
            for trace in she.traces() {
                let (told, trace) = (told.to_lowercase(), trace.to_lowercase());
                ensure!(!told.contains(&trace), "{engine:?}: {what}: {told}");
            }
        }
        let after = app.get("/api/Billing/2019-11-30/detail").await?;
        assert_eq!(after["data"][0]["userName"], "Erased user");
        assert_eq!(after.to_string(), bill.replace(&she.name(), "Erased user"));
        let feed = app.get("/api/v2/events?limit=500").await?;
        let kinds = ["user.created", "user.edited"];
        let hers: Vec<_> = feed["data"].as_array().context("events")?.iter().collect();
        let of_her = |event: &&&Value| event["subject"] == format!("user-{}", she.id);
        let persons: Vec<_> = hers
            .iter()
            .filter(of_her)
            .filter(|event| kinds.iter().any(|kind| event["type"] == *kind))
            .map(|event| &event["data"]["person"])
            .collect();
        assert_eq!(persons, [&Value::Null, &Value::Null]);

        // She cannot come back, and nobody can bring her back.
        let path = format!("/api/v2/users/{}", she.id);
        assert_eq!(app.send(&she.session, Method::GET, &path, None).await?.status, 401);
        ensure!(app.sign_in(&she.login(), PASSWORD).await.is_err(), "she signs in");
        for (method, path, body) in [
            (Method::POST, format!("{path}/enable"), json!({})),
            (Method::PATCH, path.clone(), json!({ "firstName": "Ann" })),
            (Method::PUT, format!("{path}/roles"), json!({ "roles": [] })),
            (
                Method::POST,
                format!("{path}/subscriptions"),
                json!({ "service": "mailbox", "plan": "standard" }),
            ),
        ] {
            let refused = app.send(&app.token, method, &path, Some(body)).await?;
            assert_eq!(refused.problem(409)?, "erased", "{path}");
        }
        let again = she.created(&app).await?;
        assert_eq!(again.headers["idempotent-replay"], "true");
        let again = again.expect(201)?;
        assert_eq!((&again["firstName"], &again["login"]), (&json!("Erased"), &Value::Null));

        // Her login is free.
        let other = json!({ "firstName": "Uli", "lastName": "Other", "email": she.login() });
        app.post(&format!("/api/v2/customers/{}/users", she.customer), other).await?;

        assert_eq!(sealed_key(&app, &she).await?, None);
        key_is_gone(&app, &key).await?;
        is_nowhere(&app, &she).await.with_context(|| format!("{engine:?}, afterwards"))?;
        if engine == Engine::Sqlite {
            let copy = folder(&app.database).await?.join("backup.db");
            let name = copy.to_str().context("a readable name")?;
            app.database.fetch("vacuum into $1", &[name.into()]).await?;
            is_nowhere(&app, &she).await.context("in a backup made afterwards")?;
        }
        app.finish().await?;
    }
    Ok(())
}

/// Whom an organisation names as its contact is a person, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_contact_is_never_in_clear_on_disk_and_gone_when_erased() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let mark = SystemAmbient.id().simple().to_string();
        let contact = json!({
            "name": format!("Quentin Maiden{mark}"), "email": format!("q.{mark}@persons.test"),
            "phone": format!("+49 {}", &mark[..12]),
        });
        let married = json!({ "name": format!("Quentin Ferreira{mark}") });
        let traces: Vec<_> = ["Maiden", "Ferreira", "q."]
            .iter()
            .map(|what| format!("{what}{mark}"))
            .chain([format!("+49 {}", &mark[..12])])
            .collect();
        let name = format!("Quartz{mark} Inc");
        let founding = json!({ "name": name, "contact": contact });
        let found = async || {
            let request = app.request(&app.token, Method::POST, "/api/v2/customers");
            answer(request.header("idempotency-key", "founding").json(&founding)).await
        };
        let made = found().await?.expect(201)?;
        assert_eq!(made["contact"], contact);
        let id = made["id"].as_str().context("an id")?.to_owned();
        let path = format!("/api/v2/customers/{id}");
        let same = json!({ "contact": contact });
        let same = app.send(&app.token, Method::PATCH, &path, Some(same)).await?.expect(200)?;
        assert_eq!(same["version"], made["version"], "the same contact is no change");
        let edit = json!({ "contact": married });
        let edited = app.send(&app.token, Method::PATCH, &path, Some(edit)).await?.expect(200)?;
        assert_eq!(edited["contact"], married);

        let told = async || -> Result<[Value; 5]> {
            let query = "{ customers { nodes { uuid contact { name email phone } } } }";
            let events = "{ events(last: 50) { nodes { kind payload } } }";
            Ok([
                app.get(&path).await?,
                app.get("/api/v2/customers").await?,
                app.get("/api/v2/events?limit=500").await?,
                app.post("/graphql", json!({ "query": query })).await?,
                app.post("/graphql", json!({ "query": events })).await?,
            ])
        };
        for told in told().await? {
            ensure!(told.to_string().contains(&traces[1]), "{engine:?}: {told}");
        }
        let feed = app.get("/api/v2/events?limit=500").await?.to_string();
        ensure!(feed.contains(&traces[0]), "history tells whom it named first: {feed}");
        are_nowhere(&app, &mark, &traces).await.with_context(|| format!("{engine:?}, before"))?;

        // Naming nobody is no erasure: history still tells.
        let edit = json!({ "contact": {} });
        let edited = app.send(&app.token, Method::PATCH, &path, Some(edit)).await?.expect(200)?;
        assert_eq!(edited["contact"], json!({}));
        let feed = app.get("/api/v2/events?limit=500").await?.to_string();
        ensure!(feed.contains(&traces[0]) && feed.contains(&traces[1]), "{feed}");

        let (url, stop, served) = app.another().await?;
        let other = reqwest::Client::new();
        let history = async || -> Result<String> {
            let request = other.get(format!("{url}/api/v2/events?limit=500"));
            Ok(answer(request.bearer_auth(&app.token)).await?.expect(200)?.to_string())
        };
        ensure!(history().await?.contains(&traces[0]), "the other process knows the key");
        let erase = format!("{path}/erase-contact");
        let because = json!({ "reason": "he asked" });
        let erased = app.post(&erase, because.clone()).await?;
        assert_eq!(erased["contact"], json!({}));
        assert_eq!(app.post(&erase, because).await?, erased, "once more changes nothing");
        for told in told().await? {
            let told = told.to_string().to_lowercase();
            for trace in &traces {
                ensure!(!told.contains(&trace.to_lowercase()), "{engine:?}: {told}");
            }
        }
        let again = found().await?;
        assert_eq!(again.headers["idempotent-replay"], "true");
        assert_eq!(again.expect(201)?["contact"], json!({}));
        are_nowhere(&app, &mark, &traces)
            .await
            .with_context(|| format!("{engine:?}, afterwards"))?;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(1);
        while history().await?.contains(&traces[0]) {
            if tokio::time::Instant::now() > deadline {
                bail!("{engine:?}: the other process still opens the contact after a second");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let _ = stop.send(());
        served.await??;

        // Somebody else can be named.
        let edit = json!({ "contact": { "name": "Uli Other" } });
        let edited = app.send(&app.token, Method::PATCH, &path, Some(edit)).await?.expect(200)?;
        assert_eq!(edited["contact"]["name"], "Uli Other");
        app.finish().await?;
    }
    Ok(())
}

/// A server that knows somebody's key forgets it when another one erases him.
#[tokio::test(flavor = "multi_thread")]
async fn every_process_forgets_whom_one_of_them_erases() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        app.publish("mailbox").await?;
        let she = Somebody::new(&app).await?;
        let (url, stop, served) = app.another().await?;
        let other = reqwest::Client::new();
        let ask = async || -> Result<Value> {
            let request = other.get(format!("{url}/api/v2/users/{}", she.id));
            answer(request.bearer_auth(&app.token)).await?.expect(200)
        };
        assert_eq!(ask().await?["lastName"], she.last_name());
        let path = format!("/api/v2/subscriptions/{}/deprovision", she.mailbox);
        app.post(&path, json!({})).await?;
        she.erase(&app).await?.expect(200)?;
        assert_eq!(ask().await?["firstName"], "Erased", "what is read now is the truth");
        // What the log tells of her is still there, and the key must not be.
        let history = async || -> Result<String> {
            let request = other.get(format!("{url}/api/v2/events?limit=500"));
            Ok(answer(request.bearer_auth(&app.token)).await?.expect(200)?.to_string())
        };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(1);
        while history().await?.contains(&she.last_name()) {
            if tokio::time::Instant::now() > deadline {
                bail!("{engine:?}: the other process still opens her after a second");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let _ = stop.send(());
        served.await??;
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_found_and_sorted_by_name_though_the_database_knows_no_names() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        for (first, last) in [("Zora", "Émile"), ("ann", "Lee"), ("Ben", "Leeds"), ("Cid", "Poe")]
        {
            let email = format!("{first}@aanimals.test");
            let body = json!({ "firstName": first, "lastName": last, "email": email });
            app.post(&format!("/api/v2/customers/{customer}/users"), body).await?;
        }
        let names = async |arguments: &str| -> Result<(Vec<String>, Value)> {
            let query = format!(
                "{{ users({arguments}) {{ totalCount pageInfo {{ hasNextPage endCursor }} \
                 nodes {{ firstName }} }} }}"
            );
            let body = app.post("/graphql", json!({ "query": query })).await?;
            ensure!(body["errors"].is_null(), "{arguments}: {body}");
            let users = body["data"]["users"].clone();
            let nodes = users["nodes"].as_array().context("nodes")?;
            let first = |node: &Value| node["firstName"].as_str().unwrap_or("").to_owned();
            Ok((nodes.iter().map(first).collect(), users))
        };
        let of = format!("filter: {{ organizationId: \"{customer}\" }}");
        let by_name = "orderBy: { field: NAME }";
        assert_eq!(names(&of).await?.0, ["Zora", "ann", "Ben", "Cid"], "as they were added");
        let listed = app.get(&format!("/api/v2/customers/{customer}/users")).await?;
        assert_eq!(listed["data"][0]["firstName"], "Zora");
        assert_eq!(names(&format!("{of}, {by_name}")).await?.0, ["ann", "Ben", "Cid", "Zora"]);
        let descending = "orderBy: { field: NAME, direction: DESC }";
        assert_eq!(names(&format!("{of}, {descending}, first: 2")).await?.0, ["Zora", "Cid"]);
        let (page, users) = names(&format!("{of}, {by_name}, first: 3")).await?;
        assert_eq!((page.len(), &users["totalCount"]), (3, &json!(4)));
        assert_eq!(users["pageInfo"]["hasNextPage"], true);
        let after = users["pageInfo"]["endCursor"].as_str().context("a cursor")?;
        let (rest, users) = names(&format!("{of}, {by_name}, after: \"{after}\"")).await?;
        assert_eq!((rest, &users["pageInfo"]["hasNextPage"]), (vec!["Zora".into()], &json!(false)));
        let (last, _) = names(&format!("{of}, {by_name}, last: 2")).await?;
        assert_eq!(last, ["Cid", "Zora"]);

        assert_eq!(names("filter: { name: \"LEE\" }").await?.0, ["ann", "Ben"]);
        assert_eq!(names("filter: { name: \"émile\" }").await?.0, ["Zora"]);
        assert_eq!(names("filter: { login: \"CID@aanimals.test\" }").await?.0, ["Cid"]);
        for nobody in ["nobody@aanimals.test", "no address"] {
            let (found, users) = names(&format!("filter: {{ login: \"{nobody}\" }}")).await?;
            assert_eq!((found.len(), &users["totalCount"]), (0, &json!(0)), "{nobody}");
        }
        let elsewhere = app.customer("Beta Inc", None).await?;
        let (found, _) = names(&format!(
            "filter: {{ login: \"cid@aanimals.test\", organizationId: \"{elsewhere}\" }}"
        ))
        .await?;
        assert_eq!(found.len(), 0, "he belongs to another one");
        // Whom somebody cannot see he does not find by login either.
        let (_, session) =
            app.user(&elsewhere, "boss@beta.test", &["Customer Administrator"]).await?;
        let query = "{ users(filter: { login: \"cid@aanimals.test\" }) { totalCount } }";
        let sent = Some(json!({ "query": query }));
        let body = app.send(&session, Method::POST, "/graphql", sent).await?.expect(200)?;
        assert_eq!(body["data"]["users"]["totalCount"], 0, "{body}");
        app.finish().await?;
    }
    Ok(())
}
