//! A backup is something that was restored.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use atrium_tests::witness::client::Client;
use atrium_tests::witness::journal::Answer;
use atrium_tests::witness::wish::Wishes;
use atrium_tests::world::Place;
use eventstore::{Database, Engine};
use projections::Persons;

use super::setting::{BOTH, Site, asked_again, edit, edit_sqlite, ended, installation};

/// Clients that go on while the backup is made.
const CLIENTS: usize = 6;
/// Commands that are acknowledged before it begins.
const BEFORE: usize = 150;

/// Clients that ask for one thing after another.
struct Load {
    wishes: Mutex<Wishes>,
    /// Keys of those that were acknowledged and have events.
    done: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

impl Load {
    async fn go_on(self: Arc<Self>, client: Client) {
        while !self.is_over.load(Ordering::SeqCst) {
            let wish = self.wishes.lock().expect("nobody panics").any();
            let answer = client.ask(&wish).await;
            if let Answer::Acknowledged { replayed: false, .. } = answer {
                self.wishes.lock().expect("nobody panics").learn(&wish, &answer);
                if !wish.intent.kind.may_be_true_already() {
                    self.done.lock().expect("nobody panics").push(wish.intent.key);
                }
            }
        }
    }

    fn done(&self) -> Vec<String> {
        self.done.lock().expect("nobody panics").clone()
    }
}

/// The keys of the witness's commands that have events; persons are opened with the key of a site.
async fn keys_of(database: &Database, site: &Site) -> Result<BTreeSet<String>> {
    let key = api::keys::read_or_make_master_key(&site.data().join("master.key"), false)?;
    let persons = Persons::new(api::keys::Keys::derive(&key).vault());
    let effects = atrium_tests::witness::read(database, &persons).await?;
    Ok(effects.into_iter().filter_map(|effect| effect.key).collect())
}

async fn a_backup_under_load_holds_what_was_acknowledged_before(engine: Engine) -> Result<()> {
    let site = Site::new(engine).await?;
    let server = site.program()?.start().await?;
    let client = Client::new(&server.url, &server.token)?;
    let mut wishes = Wishes::new(11);
    while let Some(wish) = wishes.preparation() {
        let answer = client.ask(&wish).await;
        wishes.learn(&wish, &answer);
    }
    let load = Arc::new(Load {
        wishes: Mutex::new(wishes),
        done: Mutex::default(),
        is_over: AtomicBool::new(false),
    });
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(load.clone().go_on(client.clone()))).collect();
    while load.done().len() < BEFORE {
        tokio::task::yield_now().await;
    }
    let before = load.done();
    let file = site.file("backup");
    let made = site.run_on("backup", &file).await?.well()?;
    let meanwhile = load.done().len() - before.len();
    load.is_over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await?;
    }
    server.kill();
    ensure!(meanwhile > 0, "nothing was acknowledged while the backup was made");

    let elsewhere = Site::new(engine).await?;
    let restored = elsewhere.run_on("restore", &file).await?.well()?;
    assert_eq!((&restored["events"], &restored["hash"]), (&made["events"], &made["hash"]));
    assert_eq!(restored["masterKeyFits"], false);
    assert_eq!(restored["views"], "asTheLogSays");
    let verified = elsewhere.run(&["verify"]).await?.well()?;
    assert_eq!((&verified["events"], &verified["hash"]), (&made["events"], &made["hash"]));
    elsewhere.check().await?;
    let database = elsewhere.open().await?;
    let held = keys_of(&database, &site).await?;
    database.close().await;
    let lost: Vec<_> = before.iter().filter(|key| !held.contains(*key)).collect();
    ensure!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), before.len());
    println!("{} acknowledged before, {meanwhile} meanwhile, {} held", before.len(), held.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_holds_what_was_acknowledged_before_on_sqlite() -> Result<()> {
    a_backup_under_load_holds_what_was_acknowledged_before(Engine::Sqlite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_holds_what_was_acknowledged_before_on_postgres() -> Result<()> {
    a_backup_under_load_holds_what_was_acknowledged_before(Engine::Postgres).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_installation_goes_on_with_its_key() -> Result<()> {
    for engine in BOTH {
        let (site, granted) = installation(engine).await?;
        let file = site.file("backup");
        site.run_on("backup", &file).await?.well()?;
        let elsewhere = Site::new(engine).await?;
        elsewhere.take_key(&site)?;
        let restored = elsewhere.run_on("restore", &file).await?.well()?;
        assert_eq!(restored["masterKeyFits"], true);
        asked_again(&elsewhere, &granted).await?;
        elsewhere.check().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn restoring_tells_of_views_that_are_not_as_the_log_says() -> Result<()> {
    for engine in BOTH {
        for (sql, word) in [
            ("delete from view_user where key = (select max(key) from view_user)", "other"),
            ("drop table view_user", "other"),
            ("delete from installation where name = 'views'", "outdated"),
        ] {
            let (site, _) = installation(engine).await?;
            edit(&site, sql).await?;
            let file = site.file("backup");
            site.run_on("backup", &file).await?.well()?;
            let elsewhere = Site::new(engine).await?;
            elsewhere.take_key(&site)?;
            let ended = elsewhere.run_on("restore", &file).await?;
            let told: serde_json::Value = serde_json::from_str(&ended.out)?;
            assert_eq!(told["views"], word, "{engine:?}: {ended:?}");
            assert_eq!(ended.code, Some(i32::from(word == "other")), "{ended:?}");
            // It is there all the same, and this puts it right.
            elsewhere.run(&["rebuild"]).await?;
            elsewhere.check().await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_never_replaces_a_file_and_leaves_none_where_it_fails() -> Result<()> {
    for engine in BOTH {
        let (site, _) = installation(engine).await?;
        let file = site.file("backup");
        std::fs::write(&file, "something dear")?;
        let before = site.state().await?;
        site.run_on("backup", &file).await?.refused("is there already")?;
        site.run_on("backup", &site.file("no/such/folder"))
            .await?
            .refused("no file can be made")?;
        assert_eq!(site.state().await?, before);
        edit(&site, "update event set path = '/9/' where position = 5").await?;
        let before = site.state().await?;
        let refused = site.run_on("backup", &site.file("another")).await?;
        refused.refused("the event at position 5 stands in another stream")?;
        assert_eq!(site.state().await?, before, "{engine:?}");
    }
    let nowhere = Site::new(Engine::Sqlite).await?;
    nowhere.run_on("backup", &nowhere.file("backup")).await?.refused("there is no database in")?;
    assert!(nowhere.state().await?.is_empty());
    Ok(())
}

/// Tries a file that must be refused.
async fn refuses(site: &Site, file: &Path, words: &str) -> Result<()> {
    let before = site.state().await?;
    let ended = site.run_on("restore", file).await?;
    ended.refused(words)?;
    assert_eq!(site.state().await?, before, "{words}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_whole_backup_of_sqlite_is_refused_and_nothing_is_written() -> Result<()> {
    let (site, _) = installation(Engine::Sqlite).await?;
    let whole = site.file("backup");
    site.run_on("backup", &whole).await?.well()?;
    let bytes = std::fs::read(&whole)?;
    let target = Site::new(Engine::Sqlite).await?;
    let file = target.file("file");
    let edited = async |sql: &str| {
        std::fs::copy(&whole, &file)?;
        edit_sqlite(&file, sql).await
    };

    refuses(&target, &target.file("none"), "cannot be read").await?;
    std::fs::write(&file, "")?;
    refuses(&target, &file, "is no backup of Atrium").await?;
    std::fs::write(&file, "Dear Ann,\n".repeat(1_000))?;
    refuses(&target, &file, "is no backup of Atrium").await?;
    for part in [100, 5_000, bytes.len() / 2, bytes.len() - 4_096, bytes.len() - 1] {
        std::fs::write(&file, &bytes[..part])?;
        refuses(&target, &file, "the SQLite file is damaged").await?;
    }
    // A page in the middle of a table.
    let mut damaged = bytes.clone();
    let middle = bytes.len() / 2 / 4_096 * 4_096;
    damaged[middle..middle + 4_096].fill(0x5a);
    std::fs::write(&file, &damaged)?;
    refuses(&target, &file, "damaged").await?;
    edited("drop table event").await?;
    refuses(&target, &file, "no such table: event").await?;
    edited("drop table _sqlx_migrations").await?;
    refuses(&target, &file, "there is no Atrium database in it").await?;
    edited("insert into _sqlx_migrations values (9001, 'tomorrow', '', true, x'00', 1)").await?;
    refuses(&target, &file, "newer Atrium").await?;
    edited("insert into event_shape values ('subscription.teleported', 1)").await?;
    refuses(&target, &file, "newer Atrium").await?;
    edited(
        "update event set hash = zeroblob(length(hash)) \
         where position = (select min(position) from event where position > 2)",
    )
    .await?;
    refuses(&target, &file, "was changed, or its hash was").await?;

    // With another installation's key beside it, and where there is a database.
    let (other, _) = installation(Engine::Sqlite).await?;
    let before = other.state().await?;
    other.run_on("restore", &whole).await?.refused("is there already")?;
    assert_eq!(other.state().await?, before);
    target.take_key(&other)?;
    refuses(&target, &whole, "is not the one that this installation was made with").await?;
    target.take_key(&site)?;
    target.run_on("restore", &whole).await?.well()?;
    target.check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_whole_backup_of_postgres_is_refused_and_nothing_is_written() -> Result<()> {
    let (site, _) = installation(Engine::Postgres).await?;
    let whole = site.file("backup");
    site.run_on("backup", &whole).await?.well()?;
    let bytes = std::fs::read(&whole)?;
    let target = Site::new(Engine::Postgres).await?;
    let file = target.file("file");

    std::fs::write(&file, "")?;
    refuses(&target, &file, "is no backup of Atrium").await?;
    for part in [10, bytes.len() / 2, bytes.len() - 100] {
        std::fs::write(&file, &bytes[..part])?;
        refuses(&target, &file, "pg_restore failed").await?;
    }
    let mut damaged = bytes.clone();
    let middle = bytes.len() * 3 / 4;
    damaged[middle..middle + 200].fill(0x5a);
    std::fs::write(&file, &damaged)?;
    refuses(&target, &file, "pg_restore failed").await?;

    // What `pg_dump` makes of other databases.
    let foreign = Site::new(Engine::Postgres).await?;
    dump(&foreign, &file).await?;
    refuses(&target, &file, "there is no Atrium database in it").await?;
    for (sql, words) in [
        (
            "insert into _sqlx_migrations values (9001, 'tomorrow', now(), true, '\\x00', 1)",
            "newer Atrium",
        ),
        (
            "delete from _sqlx_migrations where version = 9001; \
             insert into event_shape values ('subscription.teleported', 1)",
            "newer Atrium",
        ),
        (
            "delete from event_shape where kind = 'subscription.teleported'; \
             update event set hash = decode(repeat('00', length(hash)), 'hex') \
             where position = (select min(position) from event where position > 2)",
            "was changed, or its hash was",
        ),
    ] {
        edit(&site, sql).await?;
        std::fs::remove_file(&file)?;
        dump(&site, &file).await?;
        refuses(&target, &file, words).await.with_context(|| sql.to_owned())?;
    }

    let (other, _) = installation(Engine::Postgres).await?;
    let before = other.state().await?;
    other.run_on("restore", &whole).await?.refused("has tables already")?;
    assert_eq!(other.state().await?, before);
    target.take_key(&other)?;
    refuses(&target, &whole, "is not the one that this installation was made with").await?;
    target.take_key(&site)?;
    target.run_on("restore", &whole).await?.well()?;
    target.check().await?;

    // And the other database's.
    let sqlite = Site::new(Engine::Sqlite).await?;
    refuses(&sqlite, &whole, "is a backup of a PostgreSQL database").await
}

/// What `pg_dump` says of a database.
async fn dump(site: &Site, file: &Path) -> Result<()> {
    let Place::Url(url) = &site.database.place else { unreachable!("only for PostgreSQL") };
    let mut command = Command::new("pg_dump");
    command.args(["--format=custom", "--dbname", url, "--file"]).arg(file);
    let ended = ended(command).await?;
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(())
}
