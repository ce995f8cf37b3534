//! Overload: five times what the server can do, for a while, and then nothing. Whoever is turned away hears it
//! quickly and nothing of his is done; memory stays flat; seconds later the server is as it was.
//!
//! The server gets a slow disk (a failpoint makes each commit take long), so that its capacity is small and what asks
//! it is not the limit. The load is open: it does not wait for answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::Trial;
use crate::witness::client::Client;
use crate::witness::journal::{Answer, Intent};
use crate::witness::server::Server;
use crate::witness::verdict::Verdict;
use crate::witness::wish::Wish;
use crate::witness::{Report, Witness, read};

/// What is asked for, in capacities.
const TIMES: u32 = 5;
/// What is asked for at least, of what is done: the capacity in the storm is not just what it was before.
const ASKED_MIN: u64 = 3;
/// Clients that find out the capacity, each with one command at a time: more than one batch of the writer, and less
/// than what the server takes in at a time.
const MEASURING: usize = 1_536;
/// For how much each of them asks: together for about eight batches.
const EACH_MAX: usize = 3;
/// How long the storm lasts.
const STORM: Duration = Duration::from_secs(6);
/// Connections of the storm: more than the server takes requests at a time (2,048).
const CONNECTIONS: usize = 4_096;
/// Each commit takes 800 ms: the disk's doing. A failpoint holds up a thread of the server's, where a disk would not,
/// so it gets more of them.
const SLOW_DISK: [(&str, &str); 2] =
    [("FAILPOINTS", "eventstore::append::commit=sleep(800)"), ("TOKIO_WORKER_THREADS", "4")];
/// Longest that a client may wait for being turned away, for 99 of 100: those who are let in wait for several batches.
const QUICK: Duration = Duration::from_secs(2);
/// Memory that the server may have more at the end of the storm than in the middle of it.
const FLAT_MIB: u64 = 48;
/// How soon after the storm it is as it was, and how long one command takes then: two commits of the slow disk.
const RECOVERY: Duration = Duration::from_secs(5);
const NORMAL: Duration = Duration::from_millis(2_000);
/// Least part of the capacity that is still used in the storm, in percent.
const GOODPUT_MIN: u64 = 50;

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// 2xx.
    Done,
    /// 4xx: the server has looked into it.
    Refused,
    /// 503.
    TurnedAway,
}

pub(super) async fn run(trial: &Trial) -> Result<Report> {
    let mut report = Report::default();
    if !trial.has_faults {
        let why = "overload: this `atrium` has no failpoints, which make its disk slow";
        report.skipped.push(why.to_owned());
        return Ok(report);
    }
    for storm in 0..trial.count {
        let mut witness = Witness::new(&trial.plan(u64::from(storm))).await?;
        let judged = overload(trial, &mut witness).await;
        report.absorb(witness.kept_unless_clean(judged)?);
    }
    Ok(report)
}

async fn overload(trial: &Trial, witness: &mut Witness) -> Result<Report> {
    // Made ready at full speed, and then started with a slow disk.
    witness.prepare().await?.stop().await?;
    witness.program.environment = SLOW_DISK.map(|(name, value)| (name, value.to_owned())).into();
    let server = witness.start().await?;
    let capacity = capacity(witness, &server).await?;
    let storm = Storm::new(witness, &server, capacity).await?;
    let seen = storm.rage(&server).await?;
    recovered(witness, &server).await?;
    trial.tell(&format!(
        "it can do {capacity}/s and was asked for {}/s: did {}/s, turned away {} (99 % within {:.0?}); \
         memory {} MiB in the middle, {} MiB at the end",
        seen.asked_per_second, seen.done_per_second, seen.turned_away, seen.turned_away_p99,
        seen.middle_mib, seen.end_mib
    ));
    ensure!(seen.unsent == 0, "{} commands of the storm could not be sent in time", seen.unsent);
    ensure!(
        seen.asked_per_second >= ASKED_MIN * seen.done_per_second,
        "in the storm it did {}/s of {}/s, so this was no overload",
        seen.done_per_second,
        seen.asked_per_second
    );
    ensure!(seen.turned_away_p99 < QUICK, "being turned away took {:?}", seen.turned_away_p99);
    ensure!(
        seen.end_mib <= seen.middle_mib + FLAT_MIB,
        "memory grew from {} to {} MiB in the storm",
        seen.middle_mib,
        seen.end_mib
    );
    let used = seen.done_per_second * 100 / capacity;
    ensure!(used >= GOODPUT_MIN, "in the storm only {used} % of the capacity were used");
    server.stop().await?;
    nothing_is_lost(witness, &seen.fates).await?;
    witness.program.environment.clear();
    let mut report = witness.judge().await?;
    // The storm's commands are not in the journal; they were looked for just now.
    report.verdict = Verdict::default();
    report.count("storms", 1);
    report.count("commands asked for", seen.fates.len() as u64);
    report.count("turned away", seen.turned_away);
    Ok(report)
}

/// Commands that the server answers in a second when enough of them wait.
async fn capacity(witness: &Witness, server: &Server) -> Result<u64> {
    let mut waiting = Vec::new();
    for _ in 0..MEASURING {
        let wishes: Vec<_> = (0..EACH_MAX).map(|_| witness.wish()).collect();
        waiting.push((Connection::to(server).await?, requests(server, &wishes)));
    }
    let mut asking = JoinSet::new();
    for (mut connection, requests) in waiting {
        asking.spawn(async move {
            for request in requests {
                connection.ask(&request).await?;
            }
            anyhow::Ok(())
        });
    }
    let began = Instant::now();
    while let Some(asked) = asking.join_next().await {
        asked??;
    }
    let answered = (MEASURING * EACH_MAX) as u128;
    let capacity = answered * 1_000 / began.elapsed().as_millis().max(1);
    ensure!(capacity > 0, "the server answers hardly anything");
    Ok(capacity.try_into()?)
}

/// What is asked for in the storm, and the connections on which it is.
struct Storm {
    wishes: Vec<Wish>,
    requests: Vec<Vec<u8>>,
    per_second: u64,
    idle: Arc<Mutex<Vec<Connection>>>,
}

/// What was seen in the storm.
struct Seen {
    /// What became of each command.
    fates: Vec<(Intent, Fate)>,
    asked_per_second: u64,
    done_per_second: u64,
    turned_away: u64,
    turned_away_p99: Duration,
    /// Commands that had no connection when their time came.
    unsent: u64,
    middle_mib: u64,
    end_mib: u64,
}

impl Storm {
    async fn new(witness: &mut Witness, server: &Server, capacity: u64) -> Result<Self> {
        let per_second = capacity * u64::from(TIMES);
        let wishes: Vec<_> = (0..per_second * STORM.as_secs()).map(|_| witness.wish()).collect();
        let requests = requests(server, &wishes);
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS {
            idle.push(Connection::to(server).await?);
        }
        Ok(Self { wishes, requests, per_second, idle: Arc::new(Mutex::new(idle)) })
    }

    async fn rage(self, server: &Server) -> Result<Seen> {
        let began = Instant::now();
        let mut asking = JoinSet::new();
        let (mut unsent, mut middle_mib) = (0, None);
        for (number, request) in self.requests.into_iter().enumerate() {
            let due = Duration::from_micros(number as u64 * 1_000_000 / self.per_second);
            if let Some(early) = due.checked_sub(began.elapsed()) {
                tokio::time::sleep(early).await;
            }
            if middle_mib.is_none() && due > STORM / 2 {
                middle_mib = Some(server.resident_mib()?);
            }
            let Some(mut connection) = self.idle.lock().await.pop() else {
                unsent += 1;
                continue;
            };
            let idle = self.idle.clone();
            asking.spawn(async move {
                let asked = Instant::now();
                let fate = connection.ask(&request).await?;
                let took = asked.elapsed();
                idle.lock().await.push(connection);
                anyhow::Ok((number, fate, took))
            });
        }
        let seconds = began.elapsed().as_millis() as u64;
        let end_mib = server.resident_mib()?;
        let asked_per_second = asking.len() as u64 * 1_000 / seconds;
        let mut fates = Vec::new();
        let mut turned_away = Vec::new();
        while let Some(asked) = asking.join_next().await {
            let (number, fate, took) = asked??;
            if fate == Fate::TurnedAway {
                turned_away.push(took);
            }
            fates.push((self.wishes[number].intent.clone(), fate));
        }
        // With those that were waiting when the last was sent.
        let until_answered = began.elapsed().as_millis() as u64;
        turned_away.sort_unstable();
        let p99 = turned_away.get(turned_away.len() * 99 / 100).copied().unwrap_or_default();
        Ok(Seen {
            asked_per_second,
            done_per_second: (fates.len() - turned_away.len()) as u64 * 1_000 / until_answered,
            turned_away: turned_away.len() as u64,
            turned_away_p99: p99,
            fates,
            unsent,
            middle_mib: middle_mib.context("the storm was long enough")?,
            end_mib,
        })
    }
}

/// One command after another is answered as on any day.
async fn recovered(witness: &Witness, server: &Server) -> Result<()> {
    let client = Client::to(server)?;
    let deadline = Instant::now() + RECOVERY;
    loop {
        let began = Instant::now();
        let answer = witness.ask(&client).await?;
        let took = began.elapsed();
        if took < NORMAL && !matches!(answer, Answer::Unknown { .. }) {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{RECOVERY:?} after the storm a command still takes {took:?}: {answer:?}"
        );
    }
}

/// Of the storm's commands, those that were done are in the log once, and those that were turned away are not.
async fn nothing_is_lost(witness: &Witness, fates: &[(Intent, Fate)]) -> Result<()> {
    let database = witness.open().await?;
    let log = read(&database, &witness.persons()?).await?;
    database.close().await;
    let mut commands: HashMap<&str, Vec<&str>> = HashMap::new();
    for effect in &log {
        if let Some(key) = &effect.key {
            let commands = commands.entry(key).or_default();
            if commands.last() != Some(&effect.command.as_str()) {
                commands.push(&effect.command);
            }
        }
    }
    for (Intent { key, kind, .. }, fate) in fates {
        let times = commands.get(key.as_str()).map_or(0, Vec::len);
        let right = match fate {
            Fate::Done => times == 1 || (times == 0 && kind.may_be_true_already()),
            Fate::Refused | Fate::TurnedAway => times == 0,
        };
        ensure!(right, "{key}, {kind:?}, was answered {fate:?} and is {times} times in the log");
    }
    Ok(())
}

/// A connection that has one request at a time.
struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    async fn to(server: &Server) -> Result<Self> {
        let address = server.url.strip_prefix("http://").context("plain HTTP")?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: vec![0; 16 << 10] })
    }

    async fn ask(&mut self, request: &[u8]) -> Result<Fate> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.answer[filled..]).await?;
            ensure!(read > 0, "the server closed the connection instead of answering");
            filled += read;
            let answer = &self.answer[..filled];
            let Some(end) = answer.windows(4).position(|it| it == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&answer[..end])?;
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
            });
            let length = length.transpose()?.unwrap_or(0);
            if filled < end + 4 + length {
                continue;
            }
            return match head.get(9..12).and_then(|it| it.parse::<u16>().ok()) {
                Some(503) => Ok(Fate::TurnedAway),
                Some(200..300) => Ok(Fate::Done),
                Some(400..500) => Ok(Fate::Refused),
                _ => bail!("overloaded, the server answered {head}"),
            };
        }
    }
}

/// The bytes of the requests.
fn requests(server: &Server, wishes: &[Wish]) -> Vec<Vec<u8>> {
    let client = Client::to(server).expect("a client of a running server");
    wishes.iter().map(|wish| client.bytes(wish).into_bytes()).collect()
}
