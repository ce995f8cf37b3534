//! Answer lost: a proxy between clients and server loses requests before they arrive, and answers after the commit,
//! whole or in the middle. Clients ask again with the same key until they have an answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::Trial;
use crate::witness::client::Client;
use crate::witness::{CLIENTS, Report, Witness};

/// Answers that are lost, of a hundred: half of them whole, half in the middle.
const ANSWERS_LOST: u32 = 20;
/// Requests that are lost, of a hundred.
const REQUESTS_LOST: u32 = 3;
/// How long the first command may take, and how much longer each other.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_EACH: Duration = Duration::from_millis(60);
/// Bytes that are passed on at a time.
const CHUNK_BYTES: usize = 16 << 10;

pub(super) async fn run(trial: &Trial) -> Result<Report> {
    let mut witness = Witness::new(&trial.plan(0)).await?;
    let judged = lose_answers(trial, &mut witness).await;
    witness.kept_unless_clean(judged)
}

async fn lose_answers(trial: &Trial, witness: &mut Witness) -> Result<Report> {
    let server = witness.prepare().await?;
    let address = server.url.strip_prefix("http://").context("plain HTTP")?.parse()?;
    let proxy = Proxy::start(address, witness.dice.random()).await?;
    let client = Client::new(&proxy.url, &server.token)?;
    let load = witness.insisting_load(&vec![client; CLIENTS]);
    let patience = PATIENCE + PATIENCE_EACH * trial.count;
    load.until_acknowledged(trial.count.try_into()?, patience).await?;
    load.end().await?;
    let lost = proxy.lost.load(Ordering::SeqCst);
    drop(proxy);
    let direct = Client::to(&server)?;
    witness.until_quiet(&direct).await?;
    witness.recover(&direct).await?;
    server.stop().await?;
    let mut report = witness.judge().await?;
    report.count("answers lost", lost);
    ensure!(lost > u64::from(trial.count) / 10, "hardly an answer was lost: {report}");
    let done = report.verdict.unknown_and_done;
    ensure!(done > 0, "no lost answer was one of a command that was done: {report}");
    Ok(report)
}

/// Passes on what it is sent, but for what it loses. Ends when dropped.
struct Proxy {
    url: String,
    lost: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    async fn start(server: SocketAddr, seed: u64) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        let accepting = tokio::spawn(async move {
            let mut dice = StdRng::seed_from_u64(seed);
            while let Ok((client, _)) = listener.accept().await {
                let (lost, dice) = (counted.clone(), StdRng::seed_from_u64(dice.random()));
                tokio::spawn(async move {
                    // However it ends, both connections are closed.
                    let _ = pass_on(client, server, dice, &lost).await;
                });
            }
        });
        Ok(Self { url, lost, accepting })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Between one client and the server, until either goes away or something is to be lost.
async fn pass_on(
    mut client: TcpStream,
    server: SocketAddr,
    mut dice: StdRng,
    lost: &AtomicU64,
) -> Result<()> {
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut request, mut answer) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    loop {
        tokio::select! {
            read = client.read(&mut request) => {
                let read = read?;
                if read == 0 || dice.random_range(0..100) < REQUESTS_LOST {
                    return Ok(());
                }
                server.write_all(&request[..read]).await?;
            }
            read = server.read(&mut answer) => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                match dice.random_range(0..100) {
                    fate if fate < ANSWERS_LOST / 2 => {
                        lost.fetch_add(1, Ordering::SeqCst);
                        return Ok(());
                    }
                    fate if fate < ANSWERS_LOST => {
                        lost.fetch_add(1, Ordering::SeqCst);
                        client.write_all(&answer[..read / 2]).await?;
                        return Ok(());
                    }
                    _ => client.write_all(&answer[..read]).await?,
                }
            }
        }
    }
}
