//! `atrium serve --read-only`: all questions are answered, all commands refused, nothing is written.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use eventstore::Engine;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::setting::{BOTH, Site, edit, ended, installation};

/// How soon others' changes are to be seen, on a busy machine.
const SOON: Duration = Duration::from_secs(5);
/// Where the reader says that commands go.
const ELSEWHERE: &str = "https://atrium.example";

/// A server that only reads. Killed when it is dropped.
pub(super) struct Reader {
    child: Child,
    url: String,
    http: reqwest::Client,
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serving(site: &Site) -> Command {
    site.command(&["serve", "--read-only", "--commands-at", ELSEWHERE, "--listen", "127.0.0.1:0"])
}

impl Reader {
    /// On the database of a site.
    pub(super) async fn start(site: &Site) -> Result<Self> {
        let mut child = serving(site).stderr(Stdio::piped()).spawn()?;
        let told = child.stderr.take().context("its words are a pipe")?;
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        // Reads on, so that the server can say more.
        std::thread::spawn(move || {
            let mut ready = Some(ready);
            let mut before = Vec::new();
            for line in BufReader::new(told).lines().map_while(Result::ok) {
                match line.split_once("only to read, at ") {
                    Some((_, url)) => {
                        let _ = ready.take().map(|ready| ready.send(url.to_owned()));
                    }
                    None => before.push(line),
                }
            }
            if !before.is_empty() {
                println!("the reader said: {before:?}");
            }
        });
        let http = reqwest::Client::new();
        let mut reader = Self { child, url: String::new(), http };
        reader.url = is_ready.await.context("it did not get ready")?;
        Ok(reader)
    }

    pub(super) async fn send(&self, method: Method, path: &str, token: &str) -> Result<Response> {
        let request = self.http.request(method, format!("{}{path}", self.url));
        Ok(request.bearer_auth(token).header("content-type", "application/json").send().await?)
    }

    /// What it answers to a good question.
    pub(super) async fn get(&self, path: &str, token: &str) -> Result<Value> {
        let response = self.send(Method::GET, path, token).await?.error_for_status()?;
        Ok(serde_json::from_slice(&response.bytes().await?)?)
    }

    /// What it says of itself.
    pub(super) async fn ready(&self) -> Result<String> {
        let response = self.http.get(format!("{}/readyz", self.url)).send().await?;
        Ok(response.error_for_status()?.text().await?)
    }

    async fn graphql(&self, query: &str, token: &str) -> Result<Value> {
        let request = self.http.post(format!("{}/graphql", self.url)).bearer_auth(token);
        let request = request.header("content-type", "application/json");
        let response = request.body(json!({ "query": query }).to_string()).send().await?;
        let answer: Value = serde_json::from_slice(&response.bytes().await?)?;
        ensure!(answer["errors"].is_null(), "{answer}");
        Ok(answer["data"].clone())
    }

    /// Waits until an address answers with a status; gives how long it took.
    pub(super) async fn until(&self, status: u16, path: &str, token: &str) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let answered = self.send(Method::GET, path, token).await?.status();
            if answered == status {
                return Ok(began.elapsed());
            }
            ensure!(began.elapsed() < SOON, "{path}: {answered}, and not {status}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// It refuses a command with the one problem.
    pub(super) async fn refuses(&self, method: Method, path: &str, token: &str) -> Result<()> {
        let told = format!("{method} {path}");
        let response = self.send(method, path, token).await?;
        let header = |name| response.headers().get(name).and_then(|it| it.to_str().ok());
        ensure!(header("content-type") == Some("application/problem+json"), "{told}: {response:?}");
        ensure!(header("retry-after") == Some("10"), "{told}: {response:?}");
        let problem: Value = serde_json::from_slice(&response.bytes().await?)?;
        ensure!(problem["status"] == 503 && problem["code"] == "read_only", "{told}: {problem}");
        let detail = format!("This server only reads; send commands to {ELSEWHERE}.");
        ensure!(problem["detail"] == detail, "{told}: {problem}");
        Ok(())
    }
}

/// A token of the administrator that is there to be deleted: its own address, and the token itself.
async fn another_token(server: &Asked) -> Result<(String, String)> {
    let claims = server.token.split('.').nth(1).context("claims")?;
    let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims)?)?;
    let user = claims["sub"].as_str().context("a user")?;
    let path = format!("/api/v2/users/{user}/tokens");
    let made = server.command(Method::POST, &path, json!({ "name": "doomed" })).await?;
    let text = |field: &str| made[field].as_str().map(str::to_owned).context("a text");
    Ok((format!("{path}/{}", text("id")?), text("token")?))
}

/// A server that writes.
pub(super) struct Asked {
    pub(super) url: String,
    pub(super) token: String,
}

impl Asked {
    pub(super) async fn command(&self, method: Method, path: &str, body: Value) -> Result<Value> {
        let request = reqwest::Client::new().request(method, format!("{}{path}", self.url));
        let request = request.bearer_auth(&self.token).header("content-type", "application/json");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let response = request.body(body).send().await?.error_for_status()?;
        let bytes = response.bytes().await?;
        Ok(if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes)? })
    }

    /// A new customer's id.
    pub(super) async fn found(&self, name: &str) -> Result<String> {
        let made = self.command(Method::POST, "/api/v2/customers", json!({ "name": name })).await?;
        Ok(made["id"].as_str().context("an id")?.to_owned())
    }
}

/// What there is. To follow whoever comes, SQLite makes a write-ahead log, with nothing in it.
async fn state(site: &Site) -> Result<BTreeMap<String, String>> {
    let mut state = site.state().await?;
    let nothing = format!("{:x?}", Sha256::digest(b""));
    state.retain(|name, content| !(name.ends_with("-wal") && *content == nothing));
    Ok(state)
}

/// Every command that the interface has, with ids that are some.
fn commands() -> Vec<(Method, String)> {
    let id = "00000000-0000-7000-8000-000000000001";
    let openapi = serde_json::to_value(api::rest::openapi()).expect("it has a JSON form");
    let paths = openapi["paths"].as_object().expect("paths");
    let mut commands = Vec::new();
    for (path, operations) in paths {
        let mut filled = path.clone();
        while let (Some(from), Some(to)) = (filled.find('{'), filled.find('}')) {
            filled.replace_range(from..=to, id);
        }
        for method in operations.as_object().expect("operations").keys() {
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes());
            let method = method.expect("a method");
            if [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(&method) {
                commands.push((method, filled.clone()));
            }
        }
    }
    commands
}

async fn every_question_is_answered_and_every_command_refused(engine: Engine) -> Result<()> {
    let (site, _) = installation(engine).await?;
    let server = site.program()?.start().await?;
    let writer = Asked { url: server.url.clone(), token: server.token.clone() };
    let reader = Reader::start(&site).await?;
    let token = &writer.token;
    ensure!(reader.ready().await? == "ready, only reads\n");

    // What was there, and what comes.
    for path in ["/api/v2/customers", "/api/v2/events", "/api/Billing/parameters"] {
        let there = reader.get(path, token).await?;
        ensure!(there["data"].as_array().is_none_or(|it| !it.is_empty()), "{path}: {there}");
    }
    let shown = reader.graphql("{customers(first:5){totalCount}}", token).await?;
    ensure!(shown["customers"]["totalCount"].as_u64() > Some(0), "{shown}");
    let head = site.head().await?.position;
    let events = format!("/api/v2/events?after={head}");
    let feed = reader.http.get(format!("{}{events}", reader.url)).bearer_auth(token);
    let mut feed = feed.header("accept", "text/event-stream").send().await?;
    let customer = writer.found("Latecomer").await?;
    reader.until(200, &format!("/api/v2/customers/{customer}"), token).await?;
    let heard = async {
        let mut text = String::new();
        while !text.contains(&customer) {
            let part = feed.chunk().await?.context("the feed has ended")?;
            text.push_str(&String::from_utf8_lossy(&part));
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(SOON, heard).await.context("the feed tells nothing")??;

    // Who may not come in any more.
    let (path, doomed) = another_token(&writer).await?;
    reader.until(200, "/api/v2/customers", &doomed).await?;
    writer.command(Method::DELETE, &path, Value::Null).await?;
    let took = reader.until(401, "/api/v2/customers", &doomed).await?;
    println!("{engine:?}: a revocation was felt after {took:?}");

    // Commands: refused whatever they say, but to whom, that is told first.
    let before = site.head().await?;
    let commands = commands();
    ensure!(commands.len() > 15, "{commands:?}");
    for (method, path) in commands {
        reader.refuses(method.clone(), &path, token).await?;
        if path != "/api/v2/session" || method != Method::POST {
            ensure!(reader.send(method, &path, "nobody").await?.status() == 401, "{path}");
        }
    }
    ensure!(site.head().await? == before, "{engine:?}: something was written");
    server.stop().await?;

    // The writer has gone; the reader goes on, and leaves everything as it is.
    drop(reader);
    let there = state(&site).await?;
    let reader = Reader::start(&site).await?;
    reader.get(&format!("/api/v2/customers/{customer}"), token).await?;
    reader.refuses(Method::POST, "/api/v2/customers", token).await?;
    let left = state(&site).await?;
    ensure!(left == there, "{left:?}, and there was {there:?}");
    let server = site.program()?.start().await?;
    let writer = Asked { url: server.url.clone(), token: server.token.clone() };
    let customer = writer.found("Later").await?;
    reader.until(200, &format!("/api/v2/customers/{customer}"), &writer.token).await?;
    server.stop().await?;
    drop(reader);
    site.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_question_is_answered_and_every_command_refused_on_sqlite() -> Result<()> {
    every_question_is_answered_and_every_command_refused(Engine::Sqlite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_question_is_answered_and_every_command_refused_on_postgres() -> Result<()> {
    every_question_is_answered_and_every_command_refused(Engine::Postgres).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_only_reads_makes_nothing_and_says_why_it_does_not_start() -> Result<()> {
    for engine in BOTH {
        let refused = async |site: &Site, words: &str| {
            let before = state(site).await?;
            ended(serving(site)).await?.refused(words)?;
            ensure!(state(site).await? == before, "{engine:?}: {words}");
            anyhow::Ok(())
        };
        let nothing = Site::new(engine).await?;
        refused(&nothing, "there is no").await?;
        // The tables, and nobody in them.
        ended(nothing.command(&["migrate"])).await?;
        refused(&nothing, "there is no installation").await?;

        let (site, _) = installation(engine).await?;
        let key = site.data().join("master.key");
        let right = std::fs::read(&key)?;
        std::fs::write(&key, "0".repeat(64))?;
        refused(&site, "the master key does not fit").await?;
        std::fs::remove_file(&key)?;
        refused(&site, "there is no master key").await?;
        std::fs::write(&key, right)?;
        edit(&site, "update installation set value = '0' where name = 'views'").await?;
        refused(&site, "of another version").await?;
        edit(&site, "update _sqlx_migrations set version = 999 where version = 1").await?;
        refused(&site, "a newer Atrium").await?;
        let mut demo = site.command(&["demo"]);
        demo.args(["--read-only", "--listen", "127.0.0.1:0"]);
        ended(demo).await?.refused("a demo is written")?;
    }
    Ok(())
}
