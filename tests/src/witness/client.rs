//! Asking over HTTP, patiently or not.

use std::time::Duration;

use anyhow::Result;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::journal::Answer;
use super::server::Server;
use super::wish::{Wish, sha256};

/// Longest that the witness waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a client goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// Closes the connection after sending everything.
    Close,
    /// Resets the connection after sending everything.
    Reset,
    /// Closes the connection after sending all but the end of the body: never a command.
    HalfSent,
}

/// The way to one running server. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

/// What the witness looks at in a resource.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    id: Option<String>,
    request_id: Option<String>,
    code: Option<String>,
}

impl Client {
    /// To a server.
    ///
    /// # Errors
    /// Where no client can be made.
    pub fn to(server: &Server) -> Result<Self> {
        Self::new(&server.url, &server.token)
    }

    /// To whoever is at an address.
    ///
    /// # Errors
    /// Where no client can be made.
    pub fn new(url: &str, token: &str) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(PATIENCE).build()?;
        Ok(Self { http, url: url.to_owned(), token: token.to_owned() })
    }

    /// The text at an address.
    ///
    /// # Errors
    /// Where it is not given.
    pub async fn get(&self, path: &str) -> Result<String> {
        let response = self.http.get(format!("{}{path}", self.url)).send().await?;
        Ok(response.error_for_status()?.text().await?)
    }

    /// Sends a wish and waits for the answer.
    pub async fn ask(&self, wish: &Wish) -> Answer {
        match self.answer(wish).await {
            Ok(answer) => answer,
            Err(error) => Answer::Unknown { what: format!("{error:#}") },
        }
    }

    async fn answer(&self, wish: &Wish) -> Result<Answer> {
        let method = Method::from_bytes(wish.method.as_bytes())?;
        let mut request = self.http.request(method, format!("{}{}", self.url, wish.path));
        for (name, value) in self.headers(wish) {
            request = request.header(name, value);
        }
        let response = request.body(wish.body.clone()).send().await?;
        let status = response.status();
        let header = |name: &str| response.headers().get(name).and_then(|it| it.to_str().ok());
        let version = header("etag").and_then(|etag| etag.trim_matches('"').parse().ok());
        let replayed = header("idempotent-replay") == Some("true");
        let body = response.bytes().await?;
        let shown: Shown = serde_json::from_slice(&body).unwrap_or_default();
        let code = shown.code.unwrap_or_default();
        Ok(if status.is_success() {
            let (id, request) = (shown.id, shown.request_id);
            let (status, hash) = (status.as_u16(), sha256(&body));
            Answer::Acknowledged { status, version, id, request, hash, replayed }
        } else if status.is_client_error() && !(wish.signed && status == StatusCode::UNAUTHORIZED) {
            Answer::Refused { status: status.as_u16(), code }
        } else {
            // A token that is not let in any more says nothing about what was asked with it before.
            Answer::Unknown { what: format!("{status} {code}") }
        })
    }

    fn headers(&self, wish: &Wish) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("idempotency-key", wish.idempotency_key.clone()),
        ];
        if wish.signed {
            headers.push(("authorization", format!("Bearer {}", self.token)));
        }
        headers.extend(wish.if_match.map(|version| ("if-match", format!("\"{version}\""))));
        headers
    }

    /// Sends a wish on a connection of its own, and goes away after some time without having read
    /// an answer.
    pub async fn leave(&self, wish: &Wish, leaving: Leaving, after: Duration) -> Answer {
        let what = match self.send_and_leave(wish, leaving, after).await {
            Ok(()) if leaving == Leaving::HalfSent => {
                return Answer::Refused { status: 0, code: "never_sent_whole".to_owned() };
            }
            Ok(()) => format!("left after {after:?}"),
            Err(error) => format!("{error:#}"),
        };
        Answer::Unknown { what }
    }

    /// What is sent over the connection to ask for a wish.
    #[must_use]
    pub fn bytes(&self, wish: &Wish) -> String {
        let (method, path, host) = (wish.method, &wish.path, self.address());
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n");
        for (name, value) in self.headers(wish) {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("content-length: {}\r\n\r\n{}", wish.body.len(), wish.body));
        request
    }

    fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    async fn send_and_leave(&self, wish: &Wish, leaving: Leaving, after: Duration) -> Result<()> {
        let mut stream = TcpStream::connect(self.address()).await?;
        stream.set_nodelay(true)?;
        let mut request = self.bytes(wish);
        if leaving == Leaving::HalfSent {
            request.truncate(request.len() - wish.body.len() / 2);
        }
        stream.write_all(request.as_bytes()).await?;
        tokio::time::sleep(after).await;
        if leaving == Leaving::Reset {
            stream.set_zero_linger()?;
        }
        Ok(())
    }
}
