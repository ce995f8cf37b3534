//! The real server, asked over HTTP by this process: commands, pages, bills; what it needs when nobody asks, and
//! to start again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use eventstore::Engine;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Figure, Size, closed_loop, machine, median, percentile, rate};
use crate::witness::server::{Program, Server};
use crate::world::{Place, TestDatabase};

/// Connections, on each of which one request follows the other.
const CONNECTIONS: usize = 128;
/// How long a server is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(3);

/// A page of a frontend: twenty customers with five subscriptions each.
const PAGE: &str =
    "{customers(first:20){nodes{name subscriptions(first:5){nodes{status plan{name}}}}}}";

/// Measures the server on a population of `size.population` customers with a year of history.
///
/// # Errors
/// Where it cannot be started, or refuses what it should do.
pub async fn served(engine: Engine, size: Size, tell: &mut impl FnMut(Figure)) -> Result<()> {
    let database = TestDatabase::new(engine).await?;
    let folder = tempfile::Builder::new().prefix("atrium-bench-").tempdir()?;
    let binary = std::env::current_exe()?.with_file_name("atrium");
    ensure!(binary.exists(), "{} is not there: build it, as scripts/bench does", binary.display());
    let place = database.place.clone();
    let program = Program::new(binary, place, folder.path().to_owned());
    let began = Instant::now();
    let events = populate(&program, size.population)?;
    let took = rate(events, began.elapsed());
    tell(Figure { size: Some(events), ..Figure::new("seed", engine, took, "events/s") });

    let server = program.start().await?;
    tokio::time::sleep(IDLE).await;
    tell(Figure::new("idle", engine, resident_mib(&server)? as f64, "MiB"));
    let asked = Asked { server, engine, size, events: None };
    let customers = asked.customers().await?;
    // Before the commands, which give some customers hundreds of subscriptions.
    asked.pages(tell).await?;
    asked.commands(customers.clone(), tell).await?;
    asked.server.kill();
    let server = program.start().await?;
    let ready = server.started_in.as_secs_f64() * 1e3;
    tell(Figure::new("start", engine, ready, "ms, after a kill"));
    // By a fresh server, so that its memory is what the bill needs.
    let asked = Asked { server, engine, size, events: None };
    asked.bill(tell).await?;
    // It has answered questions, and was asked for nothing to be done.
    let command = asked.provisionings(customers)();
    let began = Instant::now();
    asked.ask(command).await?;
    let first = began.elapsed().as_secs_f64() * 1e3;
    tell(Figure::new("first-command", engine, first, "ms, the first of a process"));
    asked.server.stop().await
}

/// Has `atrium seed` make the population; gives how many events it has.
pub(super) fn populate(program: &Program, customers: usize) -> Result<usize> {
    let mut command = std::process::Command::new(&program.binary);
    command.args(["seed", "--json", "--months", "12", "--customers", &customers.to_string()]);
    match &program.place {
        Place::Folder(folder) => command.arg("--data").arg(folder),
        Place::Url(url) => command.arg("--data").arg(&program.folder).arg("--database").arg(url),
    };
    let output = command.output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the population could not be made: {told}");
    let outcome: Value = serde_json::from_slice(&output.stdout)?;
    let events = outcome["events"].as_u64().context("the outcome tells how many events")?;
    Ok(usize::try_from(events)?)
}

/// Memory that the server holds now.
fn resident_mib(server: &Server) -> Result<u64> {
    memory_mib(server, "VmRSS:")
}

/// The name of the figure of processor time beside another.
fn cpu_of(name: &str) -> &'static str {
    match name {
        "http-commands" => "http-commands-cpu",
        "json-page" => "json-page-cpu",
        _ => "graphql-page-cpu",
    }
}

fn memory_mib(server: &Server, what: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/status", server.process()))?;
    let line = text.lines().find(|line| line.starts_with(what)).context("Linux tells this")?;
    let kib: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib / 1_024)
}

/// A server under load.
pub(super) struct Asked {
    pub(super) server: Server,
    pub(super) engine: Engine,
    pub(super) size: Size,
    /// Events in the log, where that matters.
    pub(super) events: Option<usize>,
}

impl Asked {
    /// The ids of some customers.
    async fn customers(&self) -> Result<Vec<String>> {
        let customers: Value =
            serde_json::from_slice(&self.get("/api/v2/customers?limit=500").await?)?;
        let customers = customers["data"].as_array().context("a list of customers")?;
        Ok(customers.iter().filter_map(|it| it["id"].as_str().map(str::to_owned)).collect())
    }

    /// Provisionings, each for the next of these customers.
    pub(super) async fn commands(
        &self,
        customers: Vec<String>,
        tell: &mut impl FnMut(Figure),
    ) -> Result<()> {
        ensure!(!customers.is_empty(), "there are customers");
        let (count, request) = (self.size.commands, self.provisionings(customers));
        self.measure("http-commands", "commands/s", count, None, request, tell).await
    }

    /// Has every connection provision again and again, until the server is gone.
    pub(super) fn keep_busy(&self, customers: Vec<String>) {
        let request = self.provisionings(customers);
        for _ in 0..CONNECTIONS {
            let (request, address) = (request.clone(), self.address().to_owned());
            tokio::spawn(async move {
                let Ok(mut connection) = Connection::to(&address).await else { return };
                while connection.ask(&request()).await.is_ok() {}
            });
        }
    }

    /// Requests to provision, each for the next of these customers.
    fn provisionings(&self, customers: Vec<String>) -> impl Fn() -> Vec<u8> + Clone + Send + use<> {
        /// So that none is ever asked for twice.
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let (head, customers) = (self.head(), Arc::new(customers));
        move || {
            let number = ASKED.fetch_add(1, Ordering::Relaxed);
            let body = json!({
                "service": "crm", "plan": "team", "instance": format!("bench {number}"),
            });
            let customer = &customers[number % customers.len()];
            let path = format!("/api/v2/customers/{customer}/subscriptions");
            post(&head, &path, &format!("idempotency-key: bench-{number}\r\n"), &body)
        }
    }

    /// A page of customers, plain and as a frontend asks for it.
    pub(super) async fn pages(&self, tell: &mut impl FnMut(Figure)) -> Result<()> {
        let head = self.head();
        let list = format!("GET /api/v2/customers?limit=20 HTTP/1.1\r\n{head}\r\n").into_bytes();
        let mut plain = None;
        let count = self.size.commands;
        self.measure("json-page", "pages/s", count, None, move || list.clone(), &mut |figure| {
            plain.get_or_insert(figure.value);
            tell(figure);
        })
        .await?;
        let page = post(&head, "/graphql", "", &json!({ "query": PAGE }));
        let answer: Value = serde_json::from_slice(&self.ask(page.clone()).await?)?;
        ensure!(answer["errors"].is_null(), "the page has errors: {answer}");
        self.measure("graphql-page", "pages/s", count, plain, move || page.clone(), tell).await
    }

    /// The fullest of the bills.
    async fn bill(&self, tell: &mut impl FnMut(Figure)) -> Result<()> {
        let path = "/api/Billing/2025-12-31/detail";
        let mut times = Vec::new();
        let mut rows = 0;
        for _ in 0..self.size.runs {
            // Where the system does not let us, the peak since the start is told.
            let _ = std::fs::write(format!("/proc/{}/clear_refs", self.server.process()), "5");
            let look = machine::Look::at("billing", self.server.process())?;
            let began = Instant::now();
            let bytes = self.get(path).await?;
            times.push(began.elapsed());
            drop(look);
            let bill: Value = serde_json::from_slice(&bytes)?;
            rows = bill["data"].as_array().map_or(0, Vec::len);
            ensure!(rows > 0, "the bill has rows");
        }
        let took = median(times, Duration::as_secs_f64);
        let peak_mib = Some(memory_mib(&self.server, "VmHWM:")?);
        let figure = Figure::new("billing", self.engine, rate(rows, took), "rows/s");
        tell(Figure { in_flight: Some(1), size: Some(rows), ..figure });
        let millis = took.as_secs_f64() * 1e3;
        let figure = Figure::new("billing-ms", self.engine, millis, "ms to the last byte");
        tell(Figure { in_flight: Some(1), size: Some(rows), peak_mib, ..figure });
        Ok(())
    }

    /// Has every connection ask again and again; the median run is told.
    async fn measure(
        &self,
        name: &'static str,
        unit: &'static str,
        count: usize,
        raw: Option<f64>,
        request: impl Fn() -> Vec<u8> + Clone + Send + 'static,
        tell: &mut impl FnMut(Figure),
    ) -> Result<()> {
        let mut runs = Vec::new();
        for _ in 0..self.size.runs {
            let look = machine::Look::at(name, self.server.process())?;
            let busy = || machine::process_seconds(self.server.process());
            let before = busy();
            let (took, times) = closed_loop(CONNECTIONS, count, |_, left| {
                let (request, address) = (request.clone(), self.address().to_owned());
                async move {
                    let mut connection = Connection::to(&address).await?;
                    let mut times = Vec::new();
                    while left.take() {
                        let asked = Instant::now();
                        connection.ask(&request()).await?;
                        times.push(asked.elapsed());
                    }
                    Ok(times)
                }
            })
            .await?;
            drop(look);
            let busy = before.zip(busy()).map(|(from, to)| to - from);
            let figure = Figure::new(name, self.engine, rate(count, took), unit);
            let figure = raw.map_or(figure.clone(), |raw| figure.beside(raw));
            runs.push((
                Figure {
                    in_flight: Some(CONNECTIONS),
                    p50_ms: Some(percentile(&times, 50)),
                    p99_ms: Some(percentile(&times, 99)),
                    peak_mib: Some(memory_mib(&self.server, "VmHWM:")?),
                    size: self.events,
                    ..figure
                },
                busy.map(|busy| busy * 1e3 / count as f64),
            ));
        }
        let (figure, busy) = median(runs, |(figure, _)| figure.value);
        tell(figure);
        if let (Some(busy), true) = (busy, self.events.is_none()) {
            let cpu = Figure::new(cpu_of(name), self.engine, busy, "cpu-s/1,000 requests");
            tell(Figure { in_flight: Some(CONNECTIONS), ..cpu });
        }
        Ok(())
    }

    fn address(&self) -> &str {
        self.server.url.trim_start_matches("http://")
    }

    /// What every request begins with, behind its first line.
    fn head(&self) -> String {
        format!("host: {}\r\nauthorization: Bearer {}\r\n", self.address(), self.server.token)
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>> {
        self.ask(format!("GET {path} HTTP/1.1\r\n{}\r\n", self.head()).into_bytes()).await
    }

    async fn ask(&self, request: Vec<u8>) -> Result<Vec<u8>> {
        Connection::to(self.address()).await?.ask(&request).await
    }
}

pub(super) fn post(head: &str, path: &str, headers: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\n{head}{headers}content-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// One connection, on which one answer follows the other. Hardly anything between the clock and the socket: an
/// HTTP library would take as much of the processors as the server.
pub(super) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    pub(super) async fn to(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(64 << 10) })
    }

    /// The body of the answer, which must be a good one.
    pub(super) async fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>> {
        self.stream.write_all(request).await?;
        self.read.clear();
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|it| it == b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let head = std::str::from_utf8(&self.read[..end])?.to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap_or_default();
        let is_good = status.starts_with('2');
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let body = match length {
            Some(length) => {
                let length: usize = length.trim().parse()?;
                while self.read.len() < end + length {
                    self.more().await?;
                }
                self.read[end..end + length].to_vec()
            }
            None => self.chunks(end).await?,
        };
        ensure!(is_good, "{status}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }

    /// A body in chunks (RFC 9112, section 7.1).
    async fn chunks(&mut self, mut at: usize) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(line) = self.read[at..].windows(2).position(|it| it == b"\r\n") {
                    break at + line;
                }
                self.more().await?;
            };
            let length = usize::from_str_radix(std::str::from_utf8(&self.read[at..line])?, 16)?;
            let begin = line + 2;
            while self.read.len() < begin + length + 2 {
                self.more().await?;
            }
            if length == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&self.read[begin..begin + length]);
            at = begin + length + 2;
        }
    }

    async fn more(&mut self) -> Result<()> {
        let read = self.stream.read_buf(&mut self.read).await?;
        ensure!(read > 0, "the server has closed the connection");
        Ok(())
    }
}
