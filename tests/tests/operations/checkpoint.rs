//! What a chain alone cannot tell is told by what was signed and kept elsewhere.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use atrium_tests::witness::client::Client;
use atrium_tests::witness::journal::Answer;
use atrium_tests::witness::wish::Wishes;
use eventstore::Engine;
use serde_json::{Value, json};

use super::setting::{BOTH, Ended, Site, edit, ended, installation};

/// Longest that a server may take to get ready, to make a file, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

fn readable(file: &Path) -> Result<&str> {
    file.to_str().context("a readable name")
}

/// Runs `atrium verify` with checkpoints; nothing is changed by it.
async fn verified(site: &Site, checkpoints: &[&Path]) -> Result<Ended> {
    let mut arguments = vec!["verify"];
    for file in checkpoints {
        arguments.extend(["--checkpoint", readable(file)?]);
    }
    let before = site.state().await?;
    let ended = site.run(&arguments).await?;
    assert_eq!(site.state().await?, before, "looking changed something");
    Ok(ended)
}

/// Not as noted: the position that is named, and the words.
fn finding(ended: &Ended) -> Result<(u64, String)> {
    ensure!(ended.code == Some(1), "{ended:?}");
    let line: Value = serde_json::from_str(&ended.out)?;
    ensure!(line["whole"] == false, "{ended:?}");
    let position = line["position"].as_u64().context("it names a position")?;
    Ok((position, line["what"].as_str().context("it says what")?.to_owned()))
}

/// A checkpoint of where the log ends now.
async fn checkpoint(site: &Site, name: &str) -> Result<PathBuf> {
    let file = site.file(name);
    let made = site.run_on("checkpoint", &file).await?.well()?;
    assert_eq!(made["position"], site.head().await?.position);
    Ok(file)
}

/// Some more commands.
async fn go_on(site: &Site, seed: u64) -> Result<()> {
    let server = site.program()?.start().await?;
    ask(&server.url, &server.token, seed).await?;
    server.stop().await
}

async fn ask(url: &str, token: &str, seed: u64) -> Result<()> {
    let client = Client::new(url, token)?;
    let (mut wishes, mut granted) = (Wishes::new(seed), 0);
    for _ in 0..30 {
        let wish = wishes.preparation().unwrap_or_else(|| wishes.any());
        let answer = client.ask(&wish).await;
        wishes.learn(&wish, &answer);
        granted += i32::from(matches!(answer, Answer::Acknowledged { .. }));
    }
    ensure!(granted > 10, "only {granted} wishes were granted");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn history_agrees_with_every_checkpoint_that_was_made_of_it() -> Result<()> {
    for engine in BOTH {
        let (site, _) = installation(engine).await?;
        let first = checkpoint(&site, "first.json").await?;
        let server = site.program()?.start().await?;
        ask(&server.url, &server.token, 21).await?;
        let second = site.file("second.json");
        let made = site.run_on("checkpoint", &second).await?.well()?;
        ensure!(made["position"].as_u64() > Some(100), "{made}");
        // While it is served, too.
        let well = verified(&site, &[&second, &first]).await?.well()?;
        server.stop().await?;
        let expected = json!({
            "count": 2,
            "position": made["position"],
            "time": made["time"],
            "publicKey": made["publicKey"],
            "keyCompared": true,
        });
        assert_eq!(well["checkpoints"], expected, "{engine:?}");
        assert_eq!(verified(&site, &[]).await?.well()?["checkpoints"], Value::Null);

        let text = std::fs::read_to_string(&second)?;
        let kept: Value = serde_json::from_str(&text)?;
        for field in ["position", "hash", "time", "publicKey"] {
            assert_eq!(kept[field], made[field], "{field}");
        }
        site.run_on("checkpoint", &second).await?.refused("is there already")?;
        assert_eq!(std::fs::read_to_string(&second)?, text);

        // Without the master key there is nothing to compare the public one with.
        let key = site.data().join("master.key");
        std::fs::rename(&key, site.file("away"))?;
        let well = verified(&site, &[&first, &second]).await?.well()?;
        assert_eq!(well["checkpoints"]["keyCompared"], false);
        let (first, second) = (readable(&first)?, readable(&second)?);
        let told = ended(site.command(&["verify", "--checkpoint", first, second])).await?;
        ensure!(told.out.contains("compared with no other: there is no master key"), "{told:?}");
        ensure!(told.out.contains("2 checkpoints"), "{told:?}");
        let refused = site.run_on("checkpoint", &site.file("third.json")).await?;
        refused.refused("there is no master key in")?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_chain_alone_takes_for_whole_is_found_with_a_checkpoint() -> Result<()> {
    for engine in BOTH {
        let (site, _) = installation(engine).await?;
        let earlier = checkpoint(&site, "earlier.json").await?;
        let yesterday = site.head().await?.position;
        let backup = site.file("backup");
        site.run_on("backup", &backup).await?.well()?;
        go_on(&site, 22).await?;
        let noted = checkpoint(&site, "noted.json").await?;
        let end = site.head().await?.position;

        // Yesterday's database.
        let old = Site::new(engine).await?;
        old.take_key(&site)?;
        old.run_on("restore", &backup).await?.well()?;
        verified(&old, &[]).await?.well()?;
        verified(&old, &[&earlier]).await?.well()?;
        let (position, what) = finding(&verified(&old, &[&earlier, &noted]).await?)?;
        assert_eq!(position, yesterday + 1);
        ensure!(what.contains("is missing: the log ends before it"), "{what}");
        ensure!(what.contains(&format!("noted the one at position {end}")), "{what}");
        ensure!(what.contains(&format!("up to position {yesterday} all is as the")), "{what}");
        // And then it goes on as if nothing had been.
        for seed in 23.. {
            go_on(&old, seed).await?;
            if old.head().await?.position > end {
                break;
            }
        }
        verified(&old, &[]).await?.well()?;
        let (position, what) = finding(&verified(&old, &[&noted]).await?)?;
        assert_eq!(position, end);
        ensure!(what.contains("is not the one that the checkpoint"), "{what}");
        ensure!(what.contains("noted.json noted"), "{what}");

        // The end cut off, and the head put there.
        let row = format!("select max(position) from event where position < {end} - 5");
        edit(
            &site,
            &format!(
                "delete from event where position > ({row}); \
                 update head set position = (select max(position) from event), \
                 hash = (select substr(hash, length(hash) - 31) from event \
                         order by position desc limit 1)"
            ),
        )
        .await?;
        verified(&site, &[]).await?.well()?;
        let (position, what) = finding(&verified(&site, &[&noted, &earlier]).await?)?;
        assert_eq!(position, site.head().await?.position + 1);
        ensure!(what.contains("is missing: the log ends before it"), "{what}");

        // All of it another history, whole in itself.
        let (other, _) = installation(engine).await?;
        other.take_key(&site)?;
        verified(&other, &[]).await?.well()?;
        let (_, what) = finding(&verified(&other, &[&noted, &earlier]).await?)?;
        ensure!(what.contains("the checkpoint"), "{what}");

        // What the chain tells by itself is told first.
        edit(&other, "update event set path = '/9/' where position = 5").await?;
        let (position, what) = finding(&verified(&other, &[&noted]).await?)?;
        ensure!(position == 5 && what.contains("stands in another stream"), "{what}");
    }
    Ok(())
}

/// A checkpoint with something done to it; the words that it is refused with.
type Damage = (&'static str, fn(&str) -> String, &'static str);

/// The text of a checkpoint with another value in a field.
fn with(text: &str, field: &str, value: Value) -> String {
    let mut fields: Value = serde_json::from_str(text).expect("a checkpoint is JSON");
    fields[field] = value;
    fields.to_string()
}

/// A digit that is not this one.
fn turned(text: &str, field: &str) -> String {
    let fields: Value = serde_json::from_str(text).expect("a checkpoint is JSON");
    let digits = fields[field].as_str().expect("text");
    let first = if digits.starts_with('0') { "1" } else { "0" };
    with(text, field, format!("{first}{}", &digits[1..]).into())
}

const NONE: &str = "is no checkpoint of Atrium; they are made with `atrium checkpoint`";
const UNFIT: &str = "was changed: its signature does not fit";

const DAMAGES: &[Damage] = &[
    ("an empty file", |_| String::new(), NONE),
    ("a letter", |_| "Dear Ann,\n".repeat(50), NONE),
    ("a long letter", |_| "Dear Ann,\n".repeat(50_000), NONE),
    ("other JSON", |_| "{\"a\":1}\n".to_owned(), NONE),
    ("no object", |_| "[1]".to_owned(), NONE),
    ("half of it", |text| text[..text.len() / 2].to_owned(), NONE),
    ("two of them", |text| text.repeat(2), NONE),
    ("much behind it", |text| text.to_owned() + &" ".repeat(5_000), NONE),
    ("a field too many", |text| with(text, "more", json!(1)), NONE),
    ("a field twice", |text| text.replacen('{', "{\"position\":1,", 1), NONE),
    ("a position that is text", |text| with(text, "position", json!("12")), NONE),
    ("a negative position", |text| with(text, "position", json!(-1)), NONE),
    ("half a position", |text| with(text, "position", json!(0.5)), NONE),
    ("no hash", |text| with(text, "hash", Value::Null), NONE),
    ("another form", |text| with(text, "checkpoint", json!(2)), "has the form 2, and this program"),
    ("another position", |text| with(text, "position", json!(7)), UNFIT),
    ("the position 0", |text| with(text, "position", json!(0)), UNFIT),
    ("a huge position", |text| with(text, "position", json!(u64::MAX)), UNFIT),
    ("another hash", |text| turned(text, "hash"), UNFIT),
    ("a long hash", |text| with(text, "hash", json!("ab".repeat(33))), UNFIT),
    ("another time", |text| with(text, "time", json!("2019-11-30T00:00:00.000Z")), UNFIT),
    ("another key", |text| turned(text, "publicKey"), UNFIT),
    ("no key", |text| with(text, "publicKey", json!("")), UNFIT),
    ("another signature", |text| turned(text, "signature"), UNFIT),
    ("a short signature", |text| with(text, "signature", json!("abcd")), UNFIT),
    ("odd digits", |text| with(text, "signature", json!("é".repeat(64))), UNFIT),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_cannot_be_trusted_is_refused() -> Result<()> {
    let (site, _) = installation(Engine::Sqlite).await?;
    let whole = checkpoint(&site, "whole.json").await?;
    let (text, file) = (std::fs::read_to_string(&whole)?, site.file("file"));
    for (what, damage, words) in DAMAGES {
        let damaged = damage(&text);
        ensure!(damaged != text, "{what} is no damage");
        std::fs::write(&file, damaged)?;
        // The good one beside it does not help.
        let ended = verified(&site, &[&whole, &file]).await?;
        ended.refused(words).with_context(|| (*what).to_owned())?;
    }
    verified(&site, &[&site.file("none")]).await?.refused("cannot be read")?;
    verified(&site, &[&site.data()]).await?.refused("cannot be read")?;
    // The same fields in another order and form are the same checkpoint.
    let fields: Value = serde_json::from_str(&text)?;
    std::fs::write(&file, serde_json::to_string_pretty(&fields)?)?;
    verified(&site, &[&file]).await?.well()?;

    // Of another installation.
    let (other, _) = installation(Engine::Sqlite).await?;
    let foreign = checkpoint(&other, "foreign.json").await?;
    let ended = verified(&site, &[&whole, &foreign]).await?;
    ended.refused("foreign.json was signed with another key than the master key in")?;
    std::fs::remove_file(site.data().join("master.key"))?;
    verified(&site, &[&whole, &foreign]).await?.refused("one is another installation's")?;
    let nowhere = Site::new(Engine::Sqlite).await?;
    verified(&nowhere, &[&whole]).await?.refused("there is no database in")?;
    assert!(!nowhere.data().exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_signed_that_is_not_there_was_edited_or_is_anothers() -> Result<()> {
    for engine in BOTH {
        let (site, _) = installation(engine).await?;
        let refuses = async |site: &Site, name: &str, words: &str| {
            let before = site.state().await?;
            site.run_on("checkpoint", &site.file(name)).await?.refused(words)?;
            assert_eq!(site.state().await?, before, "{engine:?}: {words}");
            anyhow::Ok(())
        };
        refuses(&site, "no/such/folder", "no file can be made").await?;
        let empty = Site::new(engine).await?;
        empty.take_key(&site)?;
        empty.open().await?.close().await;
        refuses(&empty, "file", "nothing has happened yet").await?;

        let (other, _) = installation(engine).await?;
        let key = std::fs::read(other.data().join("master.key"))?;
        other.take_key(&site)?;
        refuses(&other, "file", "is not the one that this installation was made with").await?;
        std::fs::write(other.data().join("master.key"), "no key")?;
        refuses(&other, "file", "a master key is 64 hexadecimal digits").await?;
        std::fs::write(other.data().join("master.key"), key)?;
        edit(&other, "delete from event where position = (select max(position) from event)")
            .await?;
        refuses(&other, "file", "is missing; nothing is signed that was edited").await?;
    }
    let nowhere = Site::new(Engine::Sqlite).await?;
    nowhere
        .run_on("checkpoint", &nowhere.file("file"))
        .await?
        .refused("there is no database in")?;
    Ok(())
}

/// A server that makes checkpoints; killed when this is dropped.
struct Served {
    child: Child,
    ready: Value,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    async fn start(site: &Site, checkpoints: &Path) -> Result<Self> {
        let mut command = site.command(&[
            "demo",
            "--empty",
            "--json",
            "--listen",
            "127.0.0.1:0",
            "--checkpoints",
            readable(checkpoints)?,
        ]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let out = child.stdout.take().context("it is a pipe")?;
        let mut served = Self { child, ready: Value::Null };
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(out).read_line(&mut line).map(|_| line)
        });
        served.ready = serde_json::from_str(&tokio::time::timeout(PATIENCE, line).await???)?;
        Ok(served)
    }

    fn text(&self, field: &str) -> &str {
        self.ready[field].as_str().unwrap_or_default()
    }

    /// Asks it to end, and waits until it has.
    async fn stop(&mut self) -> Result<()> {
        let asked = std::process::Command::new("kill").arg(self.child.id().to_string()).status()?;
        ensure!(asked.success(), "kill failed");
        let ended = until(|| Ok(self.child.try_wait()?)).await?;
        ensure!(ended.success(), "it ended with {ended}");
        Ok(())
    }
}

/// Waits for something that another process does.
async fn until<T>(mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(there) = look()? {
            return Ok(there);
        }
        ensure!(Instant::now() < deadline, "nothing had happened {PATIENCE:?} later");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The files in a folder, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut files = entries.collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|end| end == "json"));
    files.sort();
    Ok(files)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_makes_checkpoints_at_its_start_and_at_its_end() -> Result<()> {
    for engine in BOTH {
        let site = Site::new(engine).await?;
        let folder = site.file("elsewhere").join("checkpoints");
        let mut server = Served::start(&site, &folder).await?;
        until(|| Ok((!files(&folder)?.is_empty()).then_some(()))).await?;
        ask(server.text("url"), server.text("token"), 24).await?;
        server.stop().await?;
        let made = files(&folder)?;
        assert_eq!(made.len(), 2, "{engine:?}: {made:?}");
        let all: Vec<_> = made.iter().map(PathBuf::as_path).collect();
        let well = verified(&site, &all).await?.well()?;
        assert_eq!(well["checkpoints"]["position"], site.head().await?.position);
        assert_eq!(well["checkpoints"]["keyCompared"], true);
        // Killed, it leaves those that it made; started again, it goes on.
        let server = Served::start(&site, &folder).await?;
        ask(server.text("url"), server.text("token"), 25).await?;
        drop(server);
        let left = files(&folder)?;
        assert_eq!(left[..2], made, "{engine:?}");
        Served::start(&site, &folder).await?.stop().await?;
        let made = files(&folder)?;
        ensure!(made.len() > 2 && made.starts_with(&left), "{engine:?}: {made:?}");
        let all: Vec<_> = made.iter().map(PathBuf::as_path).collect();
        let well = verified(&site, &all).await?.well()?;
        assert_eq!(well["checkpoints"]["position"], site.head().await?.position);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_does_not_start_where_its_checkpoints_have_no_place() -> Result<()> {
    let site = Site::new(Engine::Sqlite).await?;
    let file = site.file("file");
    std::fs::write(&file, "something dear")?;
    let below = file.join("checkpoints");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--checkpoints", readable(&below)?];
    ended(site.command(&arguments)).await?.refused("cannot be made")?;
    assert!(!site.data().exists());
    assert_eq!(std::fs::read_to_string(&file)?, "something dear");
    Ok(())
}
