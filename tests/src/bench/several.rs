//! Several real servers on one PostgreSQL: what their batches cost each other, since each queues for the one head
//! of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use eventstore::Engine;
use serde_json::{Value, json};

use super::served::{Connection, populate, post};
use super::{Figure, Size, closed_loop, machine, median, percentile, rate};
use crate::witness::server::{Program, Server};
use crate::world::TestDatabase;

/// Servers that are measured together: how many, on how many databases, and what the figures are called.
const GROUPS: [(usize, usize, [&str; 3]); 4] = [
    (1, 1, ["several-1", "outrun-1", "cpu-1"]),
    (2, 1, ["several-2", "outrun-2", "cpu-2"]),
    (4, 1, ["several-4", "outrun-4", "cpu-4"]),
    (2, 2, ["apart-2", "outrun-apart", "cpu-apart"]),
];
/// Connections to all of them together, on each of which one command follows the other.
const CONNECTIONS: usize = 128;
/// How soon every server takes the newest token.
const SOON: Duration = Duration::from_secs(10);

/// Measures commands over HTTP on one, two and four servers that share a database, and on two that have one each, as
/// many connections in all; PostgreSQL only.
///
/// # Errors
/// Where they cannot be started, or refuse what they should do.
pub async fn several(size: Size, tell: &mut impl FnMut(Figure)) -> Result<()> {
    let engine = Engine::Postgres;
    let folders = [tempfile::tempdir()?, tempfile::tempdir()?];
    let databases = [TestDatabase::new(engine).await?, TestDatabase::new(engine).await?];
    let mut programs = Vec::new();
    for (folder, database) in folders.iter().zip(&databases) {
        let binary = std::env::current_exe()?.with_file_name("atrium");
        let program = Program::new(binary, database.place.clone(), folder.path().to_owned());
        populate(&program, size.customers)?;
        programs.push(program);
    }
    let keys = Arc::new(AtomicUsize::new(0));
    for (count, databases, [name, outrun, cpu]) in GROUPS {
        let mut servers = Vec::new();
        while servers.len() < count {
            servers.push(programs[servers.len() % databases].start().await?);
        }
        let group = Group::of(&servers, databases).await?;
        group.run(size.commands / 10, &keys).await?; // so that nobody is measured cold
        let mut runs = Vec::new();
        for _ in 0..size.runs {
            let before = group.batches().await?;
            let busy = machine::busy_seconds();
            let began = Instant::now();
            let times = group.run(size.commands, &keys).await?;
            let took = began.elapsed();
            let busy = busy.zip(machine::busy_seconds()).map(|(from, to)| to - from);
            let after = group.batches().await?;
            let figure = Figure {
                in_flight: Some(CONNECTIONS),
                p50_ms: Some(percentile(&times, 50)),
                p99_ms: Some(percentile(&times, 99)),
                ..Figure::new(name, engine, rate(times.len(), took), "commands/s")
            };
            let handed_over = after.handed_over - before.handed_over;
            let in_vain = (after.outrun - before.outrun) / handed_over * 100.0;
            runs.push((figure, in_vain, busy.map(|busy| busy * 1e3 / times.len() as f64)));
        }
        let (figure, in_vain, busy) = median(runs, |(figure, ..)| figure.value);
        tell(figure);
        tell(Figure::new(outrun, engine, in_vain, "of 100 batches"));
        if let Some(busy) = busy {
            tell(Figure::new(cpu, engine, busy, "cpu-s/1,000 commands"));
        }
        for server in servers {
            server.stop().await?;
        }
    }
    Ok(())
}

/// Servers under load.
struct Group(Vec<Arc<Asked>>);

/// One of them.
struct Asked {
    address: String,
    token: String,
    customers: Vec<String>,
}

/// What the servers' writers have done so far.
#[derive(Default)]
struct Batches {
    /// Handed over to be written.
    handed_over: f64,
    /// Those among them that had to be decided again.
    outrun: f64,
}

impl Group {
    /// Servers that take turns on so many databases.
    async fn of(servers: &[Server], databases: usize) -> Result<Self> {
        let mut asked = Vec::new();
        for (number, server) in servers.iter().enumerate() {
            // Each start makes a new token for its database and ends the one before.
            let last = servers[number..].iter().step_by(databases).next_back().unwrap_or(server);
            let (address, token) = (server.url.replace("http://", ""), last.token.clone());
            let mut server = Asked { address, token, customers: Vec::new() };
            server.find_customers().await?;
            asked.push(Arc::new(server));
        }
        Ok(Self(asked))
    }

    async fn batches(&self) -> Result<Batches> {
        let mut batches = Batches::default();
        for server in &self.0 {
            let metrics = server.get("/metrics").await?;
            for line in String::from_utf8_lossy(&metrics).lines() {
                match line.split_once(' ') {
                    Some(("atrium_batch_commands_count", count)) => {
                        batches.handed_over += count.parse::<f64>()?;
                    }
                    Some(("atrium_batches_outrun_total", count)) => {
                        batches.outrun += count.parse::<f64>()?;
                    }
                    _ => {}
                }
            }
        }
        Ok(batches)
    }

    /// Has all connections provision until so many commands are done; gives the sorted times of the answers.
    async fn run(&self, commands: usize, keys: &Arc<AtomicUsize>) -> Result<Vec<Duration>> {
        let asked = closed_loop(CONNECTIONS, commands, |number, left| {
            let (server, keys) = (self.0[number % self.0.len()].clone(), keys.clone());
            async move {
                let head = server.head();
                let mut connection = Connection::to(&server.address).await?;
                let mut times = Vec::new();
                while left.take() {
                    let key = keys.fetch_add(1, Ordering::Relaxed);
                    let body = json!({
                        "service": "crm", "plan": "team", "instance": format!("several {key}"),
                    });
                    let customer = &server.customers[key % server.customers.len()];
                    let path = format!("/api/v2/customers/{customer}/subscriptions");
                    let key = format!("idempotency-key: several-{key}\r\n");
                    let asked = Instant::now();
                    connection.ask(&post(&head, &path, &key, &body)).await?;
                    times.push(asked.elapsed());
                }
                Ok(times)
            }
        });
        Ok(asked.await?.1)
    }
}

impl Asked {
    /// As soon as the token is taken.
    async fn find_customers(&mut self) -> Result<()> {
        let began = Instant::now();
        let list = loop {
            match self.get("/api/v2/customers?limit=500").await {
                Ok(list) => break list,
                Err(error) => ensure!(began.elapsed() < SOON, "{}: {error:#}", self.address),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let list: Value = serde_json::from_slice(&list)?;
        let list = list["data"].as_array().context("a list of customers")?;
        let ids = list.iter().filter_map(|it| it["id"].as_str());
        self.customers = ids.map(str::to_owned).collect();
        ensure!(!self.customers.is_empty(), "there are customers");
        Ok(())
    }

    fn head(&self) -> String {
        format!("host: {}\r\nauthorization: Bearer {}\r\n", self.address, self.token)
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>> {
        let request = format!("GET {path} HTTP/1.1\r\n{}\r\n", self.head());
        Connection::to(&self.address).await?.ask(request.as_bytes()).await
    }
}
