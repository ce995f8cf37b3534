//! Whatever is sent, there is an answer, and a refusal is a problem that gives nothing away.
//!
//! The requests are derived from the published description, with a generator whose seed is fixed: what
//! fails once fails again.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use atrium_tests::http::TestApp;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::published::{Route, resolved, routes};
use super::tenants::Tenants;
use crate::BOTH;

const SEED: u64 = 20_191_130;
/// Requests to each database.
const REQUESTS: usize = 1_500;
/// Longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What no answer may show.
const SECRETS: [&str; 14] = [
    "panicked",
    "backtrace",
    ".rs:",
    "select ",
    "sqlx",
    "view_",
    "sqlite",
    "postgres",
    "/src/",
    "/tmp/",
    "argon2",
    "serde",
    "proof",
    "master",
];

/// An answer as it came.
struct Raw {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Raw {
    fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(own, _)| own == name);
        header.map(|(_, value)| value.as_str())
    }
}

/// Sends bytes, and reads the answer to its end.
async fn send(app: &TestApp, request: &[u8]) -> Result<Raw> {
    let address = app.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await?;
    // The server may have answered and hung up before it has read everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.context("no answer")?;
    let answer = String::from_utf8(answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer has a head")?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("a status")?;
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_ascii_lowercase(), value.to_owned()))
    });
    Ok(Raw { status: status.parse()?, headers: headers.collect(), body: body.to_owned() })
}

/// What every answer is held to. Whether HTTP itself was broken: then there is nobody to ask for a
/// problem.
fn check(raw: &Raw, is_http: bool) -> Result<()> {
    ensure!(raw.status < 500, "{}: {}", raw.status, raw.body);
    let lower = raw.body.to_lowercase();
    if raw.status < 400 {
        return Ok(());
    }
    for secret in SECRETS {
        ensure!(!lower.contains(secret), "{secret} is given away: {}", raw.body);
    }
    let Some("application/problem+json") = raw.header("content-type") else {
        ensure!(!is_http && raw.body.is_empty(), "{} is no problem: {}", raw.status, raw.body);
        return Ok(());
    };
    let body: Value = serde_json::from_str(&raw.body)?;
    ensure!(body["status"] == raw.status, "{body}");
    ensure!(body["instance"].as_str() == raw.header("x-request-id"), "{body}");
    for member in ["type", "title", "detail", "code"] {
        ensure!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {body}");
    }
    let known = ["type", "title", "status", "detail", "code", "instance", "lacking", "errors"];
    let members = body.as_object().context("an object")?;
    ensure!(members.keys().all(|member| known.contains(&member.as_str())), "{body}");
    for fault in body["errors"].as_array().into_iter().flatten() {
        ensure!(fault["pointer"].is_string() && fault["detail"].is_string(), "{body}");
    }
    Ok(())
}

/// Makes requests up.
struct Attacker<'a> {
    random: StdRng,
    tenants: &'a Tenants,
    routes: Vec<Route>,
}

impl Attacker<'_> {
    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices.choose(&mut self.random).expect("there is a choice").clone()
    }

    /// A text that somebody may not have thought of.
    fn text(&mut self) -> String {
        let long = self.pick(&[200, 2_001, 20_000]);
        self.pick(&[
            String::new(),
            " ".to_owned(),
            "\0".to_owned(),
            "a\0b".to_owned(),
            "\u{202e}\u{feff}é😀\u{301}".to_owned(),
            "é".repeat(long),
            "../../../../etc/passwd".to_owned(),
            "'; drop table event; --".to_owned(),
            "\" or \"1\"=\"1".to_owned(),
            "<script>alert(1)</script>".to_owned(),
            "{{7*7}}${7*7}%s%n".to_owned(),
            "=cmd|' /C calc'!A0".to_owned(),
            "a\r\nSet-Cookie: x=1".to_owned(),
            "9999-12-31T23:59:60Z".to_owned(),
            "2019-02-30".to_owned(),
            "+262142-12-31".to_owned(),
            "-262143-01-01".to_owned(),
            "2019-11-30T10:00:00.123456789123+23:59".to_owned(),
            "99999999999999999999".to_owned(),
            "18446744073709551615".to_owned(),
            "9223372036854775807".to_owned(),
            "-9223372036854775808".to_owned(),
            "0.000000000000000000000000001".to_owned(),
            "1e309".to_owned(),
            "NaN".to_owned(),
            "00000000-0000-0000-0000-000000000000".to_owned(),
            "{00000000-0000-0000-0000-000000000000}".to_owned(),
            "urn:uuid:00000000-0000-0000-0000-000000000000".to_owned(),
            "%".to_owned(),
            "null".to_owned(),
        ])
    }

    /// A value of JSON, as text: also such as no library would write.
    fn value(&mut self) -> String {
        let text = self.text();
        let text = serde_json::to_string(&text).expect("a text");
        self.pick(&[
            text.clone(),
            text,
            "null".to_owned(),
            "true".to_owned(),
            "0".to_owned(),
            "-0".to_owned(),
            "-1".to_owned(),
            "1.0".to_owned(),
            "1e400".to_owned(),
            "-1e-400".to_owned(),
            "1E30".to_owned(),
            "9223372036854775807".to_owned(),
            "9223372036854775808".to_owned(),
            "-9223372036854775809".to_owned(),
            "9".repeat(500),
            "[]".to_owned(),
            "{}".to_owned(),
            format!("{}{}", "[".repeat(100), "]".repeat(100)),
            "[".repeat(2_000),
            "{\"a\":".repeat(200),
            "\"\\ud800\"".to_owned(),
            "\"\\u0000\"".to_owned(),
            "\"\\x\"".to_owned(),
            "undefined".to_owned(),
            "[null,1,\"x\",{}]".to_owned(),
        ])
    }

    /// A value that a field may well have, by its name.
    fn plausible(&mut self, field: &str) -> String {
        let own = self.tenants.own.clone();
        let number = self.random.random_range(0..1_000_000);
        match field {
            "service" => self.pick(&["\"backup\"", "\"mailbox\"", "\"unpriced\""]).to_owned(),
            "plan" => self.pick(&["\"BU001\"", "\"BU010\"", "\"standard\"", "\"one\""]).to_owned(),
            "effectiveAt" | "effectiveFrom" | "effectiveTo" => self
                .pick(&["\"2019-11-30\"", "\"1990-01-01\"", "\"2199-12-31T23:59:59Z\""])
                .to_owned(),
            "quantity" | "days" => self.pick(&["1", "2", "1000000"]).to_owned(),
            "property" => self.pick(&["\"SupportLevel\"", "\"Quota\""]).to_owned(),
            "price" => self.pick(&["\"0.01\"", "\"92233720368547758.07\"", "\"0\""]).to_owned(),
            "percent" => {
                self.pick(&["\"-100\"", "\"100000\"", "\"-12.5\"", "\"0.0001\""]).to_owned()
            }
            "clear" | "retired" => self.pick(&["true", "false"]).to_owned(),
            "parentId" => format!("\"{}\"", own.reseller),
            "roles" => self.pick(&["[]", "[\"Customer Administrator\"]"]).to_owned(),
            "email" | "login" => format!("\"a{number}@b.test\""),
            "password" => "\"a good password\"".to_owned(),
            "code" => format!("\"C{number}\""),
            "currency" => "\"EUR\"".to_owned(),
            "type" => self.pick(&["\"standard\"", "\"test\""]).to_owned(),
            "contact" => self.pick(&["{}", "{\"email\":\"a@b.c\"}"]).to_owned(),
            "level" => self.pick(&["\"user\"", "\"customer\""]).to_owned(),
            "instancing" => self.pick(&["\"single\"", "\"multi\""]).to_owned(),
            "plans" => "[{\"key\":\"one\",\"name\":\"One\",\"price\":\"1.00\"}]".to_owned(),
            "properties" => "[]".to_owned(),
            "key" => "\"backup\"".to_owned(),
            _ => format!("\"Text {number}\""),
        }
    }

    fn body(&mut self, route: &Route) -> Vec<u8> {
        let fields: Vec<_> = route.fields().collect();
        let required: Vec<_> = route.required().collect();
        let mut parts = Vec::new();
        for (field, schema) in fields {
            let wanted = if required.contains(&field.as_str()) { 95 } else { 40 };
            if !self.chance(wanted) {
                continue;
            }
            let value = if self.chance(60) {
                self.plausible(field)
            } else if resolved(schema)["type"] == "object" && self.chance(50) {
                let inner = self.value();
                format!("{{\"email\":{inner},\"name\":{inner}}}")
            } else if resolved(schema)["type"] == "array" && self.chance(50) {
                let inner = self.value();
                format!("[{inner},{inner}]")
            } else {
                self.value()
            };
            parts.push(format!("\"{field}\":{value}"));
        }
        if self.chance(5) {
            let (name, value) = (self.text(), self.value());
            parts.push(format!("{}:{value}", serde_json::to_string(&name).expect("a text")));
        }
        let mut body = format!("{{{}}}", parts.join(",")).into_bytes();
        self.damage(&mut body);
        body
    }

    /// Changes some bytes, sometimes.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        if self.chance(85) || bytes.is_empty() {
            return;
        }
        let at = self.random.random_range(0..bytes.len());
        match self.random.random_range(0..4) {
            0 => bytes.truncate(at),
            1 => bytes[at] = self.random.random(),
            2 => bytes.splice(at..at, [0xff, 0xfe, 0xc0, 0x80]).for_each(drop),
            _ => bytes.insert(at, 0),
        }
    }

    fn document(&mut self) -> Vec<u8> {
        let text = self.text();
        let text = serde_json::to_string(&text).expect("a text");
        let id = format!("\"{}\"", self.tenants.own.customer);
        let field = self.pick(&[
            "viewer { user { subscriptions { nodes { id } } } }".to_owned(),
            format!("node(id: {text}) {{ id }}"),
            format!("organization(id: {text}) {{ id }}"),
            format!(
                "organization(id: {id}) {{ activity(first: 2, after: {text}) {{ totalCount }} }}"
            ),
            format!("customers(first: 1, after: {text}) {{ nodes {{ name }} }}"),
            format!("customers(filter: {{ sellerId: {text} }}) {{ totalCount }}"),
            format!("users(before: {text}, last: 2) {{ nodes {{ name }} }}"),
            format!("subscriptions(filter: {{ service: {text} }}) {{ totalCount }}"),
            format!("requests(filter: {{ subscriptionId: {text} }}) {{ totalCount }}"),
            format!("events(filter: {{ kinds: [{text}] }}) {{ totalCount }}"),
            format!("events(filter: {{ afterPosition: {text} }}) {{ nodes {{ payload }} }}"),
            format!("billingPeriods(knownAt: {text}) {{ totalCount }}"),
            format!("ledgerEntries(endDate: {text}) {{ totalCount }}"),
            format!("billingSummary(endDate: \"2019-11-30\", knownAt: {text}) {{ totalCount }}"),
            "events(filter: { afterPosition: 18446744073709551615 }) { totalCount }".to_owned(),
            "ledgerEntries(endDate: \"2019-11-30\", knownAt: 18446744073709551615) { totalCount }"
                .to_owned(),
            "customers(first: -1) { totalCount }".to_owned(),
            "customers(first: 99999999999) { totalCount }".to_owned(),
            "__typename @skip(if: true) @skip(if: false)".to_owned(),
            "...F".to_owned(),
            "{".repeat(300),
        ]);
        let query = format!("{{ {field} }}");
        let mut query = query.into_bytes();
        self.damage(&mut query);
        let query = String::from_utf8_lossy(&query).into_owned();
        let query = serde_json::to_string(&query).expect("a text");
        let variables = self.value();
        let mut body = match self.random.random_range(0..4) {
            0 => format!("{{\"query\":{query},\"variables\":{variables}}}"),
            1 => format!("{{\"query\":{query},\"operationName\":{variables}}}"),
            _ => format!("{{\"query\":{query}}}"),
        }
        .into_bytes();
        self.damage(&mut body);
        body
    }

    /// A text as a part of an address.
    fn encoded(&mut self, text: &str) -> String {
        let text: String = text.chars().take(2_000).collect();
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
        text.bytes()
            .map(
                |byte| {
                    if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") }
                },
            )
            .collect()
    }

    fn segment(&mut self) -> String {
        if self.chance(50) {
            let text = self.text();
            return self.encoded(&text);
        }
        self.pick(&[
            "%",
            "%zz",
            "%2",
            "%00",
            "%ff%fe",
            "%c0%80",
            "..",
            ".",
            "%2e%2e%2f%2e%2e",
            "%2f",
            ";a=b",
            "*",
            "{id}",
            ":id",
            "~",
            "1",
            "0x1",
        ])
        .to_owned()
    }

    fn address(&mut self, route: &Route) -> String {
        let known = self.tenants.address(&route.path);
        let mut path: Vec<_> = known.split('/').map(str::to_owned).collect();
        if self.chance(30) {
            let at = self.random.random_range(1..path.len());
            path[at] = self.segment();
        }
        if self.chance(3) {
            path.push(self.segment());
        }
        let mut address = path.join("/");
        let mut query = Vec::new();
        for (name, _) in &route.parameters {
            if self.chance(40) {
                let text = if self.chance(30) {
                    self.pick(&["1", "500", "true", "2019-11-30T00:00:00Z"]).to_owned()
                } else {
                    self.text()
                };
                query.push(format!("{name}={}", self.encoded(&text)));
            }
        }
        if self.chance(10) {
            query.push(self.segment());
        }
        if !query.is_empty() {
            address = format!("{address}?{}", query.join("&"));
        }
        address
    }

    /// A header that is odd, and whether it is HTTP all the same.
    fn header(&mut self) -> (Vec<u8>, bool) {
        let name = self.pick(&[
            "X-Request-Id",
            "Idempotency-Key",
            "If-Match",
            "If-None-Match",
            "Traceparent",
            "Accept",
            "Accept-Language",
            "Range",
            "Cookie",
            "Origin",
            "X-Forwarded-For",
            "X-Http-Method-Override",
            "Content-Encoding",
            "Last-Event-Id",
            "Prefer",
            "X-Odd",
        ]);
        let mut value = match self.random.random_range(0..6) {
            0 => b"\xff\xfe\x80".to_vec(),
            1 => b"\"1\"".to_vec(),
            2 => b"bytes=0-1".to_vec(),
            3 => vec![b'x'; 3_000],
            _ => {
                let text = self.text();
                text.into_bytes()
            }
        };
        // What no header may have would break off the request.
        value.retain(|byte| *byte >= b' ' && *byte != 0x7f);
        value.truncate(8_000);
        let mut header = format!("{name}: ").into_bytes();
        header.extend(value);
        if self.chance(2) {
            // And this does.
            header.push(0);
            return (header, false);
        }
        (header, true)
    }

    /// A request, and whether it is HTTP at all.
    fn request(&mut self) -> (Vec<u8>, bool) {
        let mut is_http = true;
        let route = {
            let at = self.random.random_range(0..self.routes.len());
            self.routes[at].clone()
        };
        let is_graphql = self.chance(15);
        let (mut method, address, body) = if is_graphql {
            ("POST".to_owned(), "/graphql".to_owned(), self.document())
        } else {
            let body = if route.body.is_some() { self.body(&route) } else { Vec::new() };
            (route.method.to_string(), self.address(&route), body)
        };
        if self.chance(3) {
            method = self.pick(&["HEAD", "OPTIONS", "TRACE", "BREW", "get"]).to_owned();
        }
        let token = match self.random.random_range(0..10) {
            0 => self
                .pick(&self.tenants.callers.iter().map(|it| it.token.clone()).collect::<Vec<_>>()),
            1 => self.encoded("a.b.c"),
            _ => self.tenants.app.token.clone(),
        };
        let kind = match self.random.random_range(0..20) {
            0 => "text/plain",
            1 => "application/json; charset=utf-16",
            2 => "application/x-www-form-urlencoded",
            3 => "multipart/form-data; boundary=x",
            _ => "application/json",
        };
        let version = if self.chance(2) { "HTTP/1.0" } else { "HTTP/1.1" };
        let mut request = format!(
            "{method} {address} {version}\r\nHost: x\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\nContent-Type: {kind}\r\n"
        )
        .into_bytes();
        for _ in 0..self.random.random_range(0..4) {
            let (header, fits) = self.header();
            is_http &= fits;
            request.extend(header);
            request.extend(b"\r\n");
        }
        match self.random.random_range(0..40) {
            0 => {
                // It ends before it has come.
                request.extend(b"Transfer-Encoding: chunked\r\n\r\n5\r\n{\"a\"\r\nzz\r\n");
                is_http = false;
            }
            1 => {
                // Which the older HTTP does not have.
                is_http &= version == "HTTP/1.1";
                request.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                request.extend(format!("{:x}\r\n", body.len().max(1)).bytes());
                request.extend(if body.is_empty() { b" ".to_vec() } else { body });
                request.extend(b"\r\n0\r\n\r\n");
            }
            _ => {
                request.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
                request.extend(body);
            }
        }
        (request, is_http)
    }
}

#[tokio::test]
async fn whatever_is_sent_a_refusal_is_a_problem_that_gives_nothing_away() -> Result<()> {
    for engine in BOTH {
        let tenants = Tenants::new(engine).await?;
        let routes = routes()?;
        let random = StdRng::seed_from_u64(SEED);
        let mut attacker = Attacker { random, tenants: &tenants, routes };
        let (mut done, mut failed) = (0, Vec::new());
        for number in 0..REQUESTS {
            let (request, is_http) = attacker.request();
            let shown = || {
                let request = String::from_utf8_lossy(&request);
                format!("request {number}: {}", request.chars().take(3_000).collect::<String>())
            };
            let raw = send(&tenants.app, &request).await.with_context(shown)?;
            // An answer to HEAD has no body to look at.
            if !request.starts_with(b"HEAD ") {
                failed.extend(check(&raw, is_http).with_context(shown).err());
            }
            ensure!(raw.status < 500, "{}", shown());
            done += usize::from(raw.status < 300);
        }
        if let Some(first) = failed.first() {
            bail!("{} requests are answered wrongly, the first is {first:?}", failed.len());
        }
        // Else nothing has been tried but the door.
        if done < REQUESTS / 10 {
            bail!("only {done} of {REQUESTS} requests did anything");
        }
        tenants.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_no_http_is_refused_and_the_server_goes_on() -> Result<()> {
    for engine in BOTH {
        let tenants = Tenants::new(engine).await?;
        let many: String = (0..200).map(|number| format!("X-{number}: x\r\n")).collect();
        for (request, status) in [
            ("nonsense\r\n\r\n".to_owned(), 400),
            ("GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n".to_owned(), 400),
            ("GET /heal thz HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400),
            ("GET /healthz HTTP/1.1\r\nHost: x\r\nA\0: b\r\n\r\n".to_owned(), 400),
            (format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{many}\r\n"), 431),
            (
                "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"
                    .to_owned(),
                400,
            ),
            ("POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_owned(), 400),
        ] {
            let raw = send(&tenants.app, request.as_bytes()).await.context(request.clone())?;
            assert_eq!(raw.status, status, "{request}");
            check(&raw, false).context(request)?;
        }
        let health = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        assert_eq!(send(&tenants.app, health).await?.status, 200);
        tenants.app.finish().await?;
    }
    Ok(())
}
