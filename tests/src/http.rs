//! A served installation, spoken to over HTTP like anybody would.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::keys::Keys;
use api::password::Passwords;
use api::rate::REQUESTS_PER_MINUTE;
use api::server::Installation;
use chrono::{DateTime, Utc};
use commands::{Command, Password};
use domain::billing::CalendarRule;
use eventstore::{Database, Engine};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::laws;
use crate::world::{TestAmbient, TestDatabase, install};

/// The administrator's password in tests.
pub const PASSWORD: &str = "correct horse battery";
/// How long a test waits for what is due.
const DUE_PATIENCE: Duration = Duration::from_secs(20);
/// The master key in tests.
pub const MASTER_KEY: [u8; 32] = [7; 32];

/// A served installation with a provider and its administrator, Ada, who holds an API token.
pub struct TestApp {
    /// Its clock.
    pub ambient: Arc<TestAmbient>,
    /// Where it is.
    pub url: String,
    /// Ada's API token.
    pub token: String,
    /// Ada's id.
    pub administrator: String,
    /// Its database.
    pub database: Database,
    client: Client,
    place: TestDatabase,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<Result<()>>>,
    done_until: watch::Receiver<DateTime<Utc>>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: reqwest::header::HeaderMap,
    /// Its body; null where it has none.
    pub body: Value,
}

impl Answer {
    /// The body, of an answer that must have this status.
    ///
    /// # Errors
    /// Where it has another.
    pub fn expect(self, status: u16) -> Result<Value> {
        ensure!(
            self.status.as_u16() == status,
            "{} instead of {status}: {}",
            self.status,
            self.body
        );
        Ok(self.body)
    }

    /// The code of a problem that must have this status.
    ///
    /// # Errors
    /// Where it is none, or another.
    pub fn problem(self, status: u16) -> Result<String> {
        let kind = self.headers.get("content-type").and_then(|kind| kind.to_str().ok());
        ensure!(kind == Some("application/problem+json"), "{kind:?} is no problem: {}", self.body);
        let body = self.expect(status)?;
        ensure!(body["status"] == status && body["type"].is_string() && body["title"].is_string());
        ensure!(body["detail"].is_string() && body["instance"].is_string(), "{body}");
        Ok(body["code"].as_str().context("a problem has a code")?.to_owned())
    }
}

/// A served database: where, how to stop it, and up to when it has done what was due.
struct Served {
    url: String,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<()>>,
    done_until: watch::Receiver<DateTime<Utc>>,
}

/// Serves a database.
async fn serve(
    database: Database,
    ambient: Arc<TestAmbient>,
    requests_per_minute: Option<NonZeroU32>,
) -> Result<Served> {
    let keys = Keys::derive(&MASTER_KEY);
    let installation = Installation::start(database, keys, ambient, requests_per_minute).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let done_until = installation.done_until();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(installation.serve(listener, async {
        let _ = stopped.await;
    }));
    Ok(Served { url, stop, served, done_until })
}

impl TestApp {
    /// A new one, on a database of its own, at a time such as `2019-11-01T00:00:00Z`.
    ///
    /// # Errors
    /// Where there is no database.
    pub async fn new(engine: Engine, time: &str) -> Result<Self> {
        Self::limited(engine, time, Some(REQUESTS_PER_MINUTE)).await
    }

    /// The same, where the provider bills by another rule than the months of the calendar.
    ///
    /// # Errors
    /// Where there is no database.
    pub async fn with_calendar(engine: Engine, time: &str, rule: CalendarRule) -> Result<Self> {
        Self::installed(engine, time, Some(REQUESTS_PER_MINUTE), rule).await
    }

    /// The same, where each caller may make so many requests in a minute.
    ///
    /// # Errors
    /// Where there is no database.
    pub async fn limited(
        engine: Engine,
        time: &str,
        requests_per_minute: Option<NonZeroU32>,
    ) -> Result<Self> {
        Self::installed(engine, time, requests_per_minute, CalendarRule::CalendarMonth).await
    }

    async fn installed(
        engine: Engine,
        time: &str,
        requests_per_minute: Option<NonZeroU32>,
        rule: CalendarRule,
    ) -> Result<Self> {
        let place = TestDatabase::new(engine).await?;
        let database = place.open().await?;
        let ambient = TestAmbient::at(time);
        let passwords = Passwords::new(&Keys::derive(&MASTER_KEY).pepper);
        let proof = passwords.hash(&Password(PASSWORD.to_owned())).await;
        let proof = proof.map_err(|problem| anyhow::anyhow!(problem.detail))?;
        let Command::Install(mut provider) = install() else { unreachable!("it installs") };
        provider.password = proof;
        provider.settings.rule = rule;
        let (writer, thread) = commands::Writer::start(
            database.clone(),
            crate::world::vault(),
            ambient.clone(),
            commands::WriterSettings::default(),
            Box::new(|_| ()),
        )
        .await?;
        let submission = commands::Submission {
            caller: commands::Caller::SYSTEM,
            command: Command::Install(provider),
            idempotency: None,
        };
        let made = writer.submit(submission).await?;
        let made: Value = serde_json::from_str(made.reply.body.get())?;
        drop(writer);
        tokio::task::spawn_blocking(move || thread.join())
            .await?
            .ok()
            .context("the writer ends")?;
        let Served { url, stop, served, done_until } =
            serve(database.clone(), ambient.clone(), requests_per_minute).await?;
        let mut app = Self {
            administrator: made["id"].as_str().context("an id")?.to_owned(),
            token: String::new(),
            client: Client::new(),
            stop: Some(stop),
            served: Some(served),
            done_until,
            ambient,
            url,
            database,
            place,
        };
        // A session would not outlive the turning of the clock.
        app.token = app.sign_in("admin@example.com", PASSWORD).await?;
        let path = format!("/api/v2/users/{}/tokens", app.administrator);
        let made = app.post(&path, json!({ "name": "tests", "days": 3_650 })).await?;
        app.token = made["token"].as_str().context("a token")?.to_owned();
        Ok(app)
    }

    /// Turns the clock, and waits until all is done that is due then.
    ///
    /// # Errors
    /// Where it is not done.
    pub async fn turn(&self, time: &str) -> Result<()> {
        self.ambient.set(time);
        let now = commands::Ambient::now(self.ambient.as_ref());
        let mut done_until = self.done_until.clone();
        let done = done_until.wait_for(|until| *until >= now);
        tokio::time::timeout(DUE_PATIENCE, done).await.context("what is due is not done")??;
        Ok(())
    }

    /// Signs somebody in; gives the session's token.
    ///
    /// # Errors
    /// Where he is not let in.
    pub async fn sign_in(&self, login: &str, password: &str) -> Result<String> {
        let sent = json!({ "login": login, "password": password });
        let answer =
            self.send("", Method::POST, "/api/v2/session", Some(sent)).await?.expect(201)?;
        Ok(answer["token"].as_str().context("a token")?.to_owned())
    }

    /// A request that is not sent yet.
    pub fn request(&self, token: &str, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        if token.is_empty() { request } else { request.bearer_auth(token) }
    }

    /// Sends a request with a token, or without where it is empty.
    ///
    /// # Errors
    /// Where no answer comes.
    pub async fn send(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer> {
        let request = self.request(token, method, path);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        answer(request).await
    }

    /// Reads as Ada.
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.send(&self.token, Method::GET, path, None).await?.expect(200)
    }

    /// Commands as Ada; gives the resource.
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn post(&self, path: &str, body: Value) -> Result<Value> {
        let answer = self.send(&self.token, Method::POST, path, Some(body)).await?;
        ensure!(answer.status.is_success(), "POST {path}: {} {}", answer.status, answer.body);
        Ok(answer.body)
    }

    /// Replaces as Ada; gives the resource.
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn put(&self, path: &str, body: Value) -> Result<Value> {
        self.send(&self.token, Method::PUT, path, Some(body)).await?.expect(200)
    }

    /// Publishes a service that is shipped.
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn publish(&self, key: &str) -> Result<()> {
        let (_, text) = api::population::SERVICES
            .iter()
            .find(|(shipped, _)| *shipped == key)
            .context("it is shipped")?;
        let path = format!("/api/v2/services/{key}");
        self.put(&format!("{path}/draft"), serde_json::from_str(text)?).await?;
        self.post(&format!("{path}/publish"), json!({ "rollOut": true })).await?;
        Ok(())
    }

    /// Founds a customer below the provider, or below a seller; gives its id.
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn customer(&self, name: &str, below: Option<&str>) -> Result<String> {
        self.organization("customers", name, below).await
    }

    /// Founds a reseller below the provider; gives its id.
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn reseller(&self, name: &str) -> Result<String> {
        self.organization("resellers", name, None).await
    }

    async fn organization(&self, plural: &str, name: &str, below: Option<&str>) -> Result<String> {
        let sent = match below {
            Some(seller) => json!({ "name": name, "parentId": seller }),
            None => json!({ "name": name }),
        };
        let made = self.post(&format!("/api/v2/{plural}"), sent).await?;
        Ok(made["id"].as_str().context("an id")?.to_owned())
    }

    /// Adds a user who can sign in with [`PASSWORD`]; gives his id and a session.
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn user(
        &self,
        organization: &str,
        login: &str,
        roles: &[&str],
    ) -> Result<(String, String)> {
        let sent = json!({
            "firstName": "Uli", "lastName": login, "email": login, "roles": roles,
            "password": PASSWORD,
        });
        let path = format!("/api/v2/organizations/{organization}/users");
        let made = self.post(&path, sent).await?;
        let id = made["id"].as_str().context("an id")?.to_owned();
        Ok((id, self.sign_in(login, PASSWORD).await?))
    }

    /// Another server process on the same database, as far as a test can tell.
    ///
    /// # Errors
    /// Where it cannot start.
    pub async fn another(&self) -> Result<(String, oneshot::Sender<()>, JoinHandle<Result<()>>)> {
        let served = serve(self.place.open().await?, self.ambient.clone(), None).await?;
        Ok((served.url, served.stop, served.served))
    }

    /// Stops the server gracefully and checks the laws.
    ///
    /// # Errors
    /// Where it does not stop, or a law does not hold.
    pub async fn finish(mut self) -> Result<()> {
        if let (Some(stop), Some(served)) = (self.stop.take(), self.served.take()) {
            let _ = stop.send(());
            served.await??;
        }
        let database = self.place.open().await?;
        laws::check(&database).await?;
        database.close().await;
        Ok(())
    }
}

/// Sends a request and reads the answer.
///
/// # Errors
/// Where none comes.
pub async fn answer(request: RequestBuilder) -> Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await?;
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Ok(Answer { status, headers, body })
}

/// A feed of server-sent events.
#[derive(Debug)]
pub struct Feed {
    response: Response,
    /// What came and is not read yet.
    text: String,
}

/// A message of a feed.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// From which a client that is cut off goes on.
    pub id: u64,
    /// The event.
    pub data: Value,
}

impl Feed {
    /// Opens one.
    ///
    /// # Errors
    /// Where the answer is none.
    pub async fn open(request: RequestBuilder) -> Result<Self> {
        let response = request.header("accept", "text/event-stream").send().await?;
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        ensure!(response.status() == 200, "{}", response.text().await?);
        ensure!(kind == Some("text/event-stream"), "{kind:?} is no feed");
        Ok(Self { response, text: String::new() })
    }

    /// The next message; none where the feed has ended.
    ///
    /// # Errors
    /// Where it is not as a stream is written, or is cut off.
    pub async fn next(&mut self) -> Result<Option<Message>> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    let mut lines = block.lines();
                    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                };
                if let (Some(id), Some(data)) = (field("id"), field("data")) {
                    return Ok(Some(Message {
                        id: id.parse()?,
                        data: serde_json::from_str(data)?,
                    }));
                }
            }
            let Some(chunk) = self.response.chunk().await? else { return Ok(None) };
            self.text.push_str(std::str::from_utf8(&chunk)?);
        }
    }
}
