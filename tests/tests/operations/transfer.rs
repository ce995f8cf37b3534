//! Going from one database to the other, and back.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use eventstore::Engine;

use super::setting::{BOTH, Site, asked_again, ended, installation, population};

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_is_the_same_in_the_other_database() -> Result<()> {
    for from in BOTH {
        let (site, granted) = installation(from).await?;
        let file = site.file("export");
        let exported = site.run_on("export", &file).await?.well()?;
        ensure!(exported["replies"].as_u64() > Some(40), "{exported}");
        let (head, text) = (site.head().await?, std::fs::read(&file)?);
        for to in BOTH {
            let other = Site::new(to).await?;
            other.take_key(&site)?;
            let imported = other.run_on("import", &file).await?.well()?;
            for field in ["events", "rows", "replies", "keys", "hash"] {
                assert_eq!(imported[field], exported[field], "{from:?} to {to:?}: {field}");
            }
            assert_eq!(imported["masterKeyFits"], true);
            assert_eq!(other.head().await?, head, "{from:?} to {to:?}");
            let back = other.file("back");
            other.run_on("export", &back).await?.well()?;
            ensure!(std::fs::read(&back)? == text, "{from:?} to {to:?}: another export");
            // The views are those of the log, and the answers are kept.
            other.check().await?;
            asked_again(&other, &granted).await?;
            other.check().await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_goes_through_a_pipe() -> Result<()> {
    let site = population(Engine::Sqlite).await?;
    let exported = ended(site.command(&["export", "-"])).await?;
    ensure!(exported.code == Some(0) && exported.complaint.contains("events"), "{exported:?}");
    let file = site.file("export");
    site.run_on("export", &file).await?.well()?;
    ensure!(std::fs::read_to_string(&file)? == exported.out, "another export");
    for engine in BOTH {
        let other = Site::new(engine).await?;
        let mut command = other.command(&["import", "-", "--json"]);
        command.stdin(std::fs::File::open(&file)?);
        ended(command).await?.well()?;
        other.check().await?;
    }
    Ok(())
}

/// Hands nearly all of an export to an import, and ends it with a signal in the middle of its transaction.
async fn interrupted(site: &Site, text: &[u8], signal: &str) -> Result<Option<i32>> {
    let mut command = site.command(&["import", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let mut input = child.stdin.take().context("it is a pipe")?;
    let most = text[..text.len() * 95 / 100].to_owned();
    // It returns when the import has read all that fits into no pipe and no buffer.
    let input = tokio::task::spawn_blocking(move || input.write_all(&most).map(|()| input));
    let input = input.await??;
    let killed = std::process::Command::new("kill")
        .args(["-s", signal, &child.id().to_string()])
        .status()?;
    ensure!(killed.success(), "kill failed");
    let status = tokio::task::spawn_blocking(move || child.wait()).await??;
    drop(input);
    Ok(status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_import_leaves_nothing_and_can_be_done_again() -> Result<()> {
    let site = population(Engine::Sqlite).await?;
    let file = site.file("export");
    site.run_on("export", &file).await?.well()?;
    let text = std::fs::read(&file)?;
    for engine in BOTH {
        let other = Site::new(engine).await?;
        assert_eq!(interrupted(&other, &text, "TERM").await?, Some(2), "{engine:?}");
        if engine == Engine::Sqlite {
            assert!(!other.data().exists(), "what was begun is taken away");
        }
        assert_eq!(interrupted(&other, &text, "KILL").await?, None, "{engine:?}");
        let database = other.open().await?;
        for table in ["event", "reply", "event_shape", "person_key"] {
            let rows = database.fetch(&format!("select count(*) from {table}"), &[]).await?;
            assert_eq!(rows[0].int(0)?, 0, "{engine:?}: {table}");
        }
        database.close().await;
        assert_eq!(interrupted(&other, &text, "KILL").await?, None, "{engine:?}");
        other.run_on("import", &file).await?.well()?;
        assert_eq!(other.head().await?, site.head().await?);
        other.check().await?;
    }
    Ok(())
}

/// An export with something changed in it; the words that it is refused with.
type Damage = (&'static str, fn(&str) -> String, &'static str);

fn without_line(text: &str, which: fn(&str) -> bool) -> String {
    let gone = text.lines().position(which);
    let stay = text.lines().enumerate().filter(|(index, _)| Some(*index) != gone);
    stay.map(|(_, line)| format!("{line}\n")).collect()
}

const DAMAGES: &[Damage] = &[
    ("an empty file", |_| String::new(), "this is no export of Atrium"),
    ("a letter", |_| "Dear Ann,\n".repeat(50), "this is no export of Atrium"),
    ("other JSON", |_| "{\"a\":1}\n".to_owned(), "this is no export of Atrium"),
    ("another form", |text| text.replacen("\"format\":3", "\"format\":4", 1), "the form 4"),
    ("half of it", |text| text[..text.len() / 2].to_owned(), "cut off"),
    ("all but the end", |text| without_line(text, |line| line.starts_with("{\"end\"")), "cut off"),
    ("all but the last byte", |text| text[..text.len() - 1].to_owned(), "cut off"),
    (
        "a changed event",
        |text| text.replacen("Service Provider", "Service Nobody", 1),
        "was changed",
    ),
    (
        "a removed row",
        |text| {
            without_line(text, |line| {
                line.starts_with("{\"row\"") && line.contains("Service Provider")
            })
        },
        "is missing",
    ),
    (
        "a removed kind of event",
        |text| without_line(text, |line| line.contains("user.created")),
        "was not announced",
    ),
    (
        "a removed answer",
        |text| without_line(text, |line| line.starts_with("{\"reply\"")),
        "something above it was changed",
    ),
    (
        "a changed answer",
        |text| {
            let at = text.find("{\"reply\"").expect("there are answers");
            format!("{}{}", &text[..at], text[at..].replacen("active", "absent", 1))
        },
        "something above it was changed",
    ),
    (
        "a removed key of a person",
        |text| without_line(text, |line| line.starts_with("{\"key\"")),
        "something above it was changed",
    ),
    (
        "a key of no digits",
        |text| text.replacen("{\"sealed\":\"", "{\"sealed\":\"x", 1),
        "was changed",
    ),
    ("an unknown kind of event", |text| text.replace("user.edited", "user.eaten"), "newer Atrium"),
    ("something behind the end", |text| format!("{text}{{}}\n"), "something follows"),
    ("no JSON in the middle", |text| text.replacen("{\"row\"", "{\"row", 3), "it was changed"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_export_is_refused_and_nothing_is_written() -> Result<()> {
    let (site, _) = installation(Engine::Sqlite).await?;
    let whole = site.file("export");
    site.run_on("export", &whole).await?.well()?;
    let text = std::fs::read_to_string(&whole)?;
    for engine in BOTH {
        let other = Site::new(engine).await?;
        let file = other.file("file");
        for (what, damage, words) in DAMAGES {
            let damaged = damage(&text);
            ensure!(damaged != text, "{what} is no damage");
            std::fs::write(&file, damaged)?;
            let ended = other.run_on("import", &file).await?;
            ended.refused(words).with_context(|| format!("{engine:?}: {what}"))?;
            assert!(!other.data().exists(), "{engine:?}: {what}: something was written");
        }
        other.run_on("import", &other.file("none")).await?.refused("cannot be read")?;
        other.take_key(&population(Engine::Sqlite).await?)?;
        let ended = other.run_on("import", &whole).await?;
        ended.refused("is not the one that this installation was made with")?;
        std::fs::remove_file(other.data().join("master.key"))?;
        // Nothing of all that is in its way now; and what is there then is not written over.
        other.run_on("import", &whole).await?.well()?;
        let before = other.state().await?;
        let again = other.run_on("import", &whole).await?;
        again.refused("there is an installation in the database already")?;
        assert_eq!(other.state().await?, before, "{engine:?}");
        refuses_to_import_again(&other, &whole).await?;
    }
    Ok(())
}

async fn refuses_to_import_again(site: &Site, file: &Path) -> Result<()> {
    let before = site.head().await?;
    site.run_on("import", file)
        .await?
        .refused("there is an installation in the database already")?;
    assert_eq!(site.head().await?, before);
    site.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_not_made_of_an_edited_log_and_replaces_no_file() -> Result<()> {
    for engine in BOTH {
        let (site, _) = installation(engine).await?;
        let file = site.file("export");
        std::fs::write(&file, "something dear")?;
        site.run_on("export", &file).await?.refused("is there already")?;
        assert_eq!(std::fs::read_to_string(&file)?, "something dear");
        super::setting::edit(&site, "update event set path = '/9/' where position = 5").await?;
        let before = site.state().await?;
        let ended = site.run_on("export", &site.file("another")).await?;
        ended.refused("the event at position 5 stands in another stream")?;
        assert_eq!(site.state().await?, before, "{engine:?}");
    }
    Ok(())
}
