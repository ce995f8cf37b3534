//! A period is closed once, whole, whoever is at it, however often he is stopped, and whatever else goes on.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use atrium_tests::laws;
use atrium_tests::world::{World, body};
use commands::closing::{close, close_within, readiness};
use commands::usecase::books::Readiness;
use commands::{Caller, Command, Submission, Writer};
use domain::billing::books::Place;
use domain::billing::seal;
use domain::organization::Kind;
use domain::{OrganizationId, TenantPath, UserId};
use eventstore::{Database, Engine, for_each_sealed};
use projections::finder::{self, Scope};
use projections::ledger::{self, Draft};
use projections::views::BooksView;
use serde_json::json;

use super::setting::{BOTH, another_writer, at_once, create, id, provider, sell, system};

const CUSTOMERS: usize = 130;

/// An installation with customers who have a backup since January 2019; it is February.
struct Shop {
    world: World,
    seller: OrganizationId,
    customers: Vec<String>,
}

impl Shop {
    async fn new(engine: Engine) -> Result<Self> {
        let world = World::new(engine).await?;
        sell(&world, "backup", "customer").await?;
        let provider = provider(&world).await?;
        let mut customers = Vec::new();
        for number in 0..CUSTOMERS {
            let made = create(Kind::Customer, &provider, &format!("c{number}"));
            customers.push(id(&world.system(made).await?));
        }
        let sent = json!({ "service": "backup", "plan": "basic", "effectiveAt": "2019-01-11" });
        let provisions = customers.iter().map(|customer| {
            let (customer, body) = (customer.clone(), body(sent.clone()));
            system(Command::ProvisionToCustomer { customer, body })
        });
        for answer in at_once(&world.writer, provisions.collect::<Vec<_>>()).await {
            answer?;
        }
        world.ambient.set("2019-02-01T08:00:00Z");
        Ok(Self { seller: provider.parse()?, world, customers })
    }

    async fn books(&self) -> Result<BooksView> {
        let key = self.seller.to_string();
        let (database, scope) = (&self.world.database, Scope::catalogue());
        let found = finder::find::<BooksView>(database, &scope, &key);
        Ok(found.await?.context("the books")?.as_ref().clone())
    }

    /// One asks, another approves; nothing is kept yet.
    async fn approved(&self) -> Result<u64> {
        let wish = || body(json!({ "organizationId": self.seller.to_string() }));
        let end = || "2019-01-31".to_owned();
        self.world.system(Command::AskClose { end: end(), body: wish() }).await?;
        let cutoff = self.books().await?.closing.context("a closing")?.cutoff;
        let database = &self.world.database;
        let provider = ledger::seller_at(database, &TenantPath::provider()).await?;
        let settings = provider.settings.as_ref();
        let period = settings.period_ending(end().parse()?).context("a period")?;
        let of = (self.seller, &TenantPath::provider());
        let unready = readiness(database, of, settings, period, cutoff).await?;
        ensure!(unready.is_empty(), "{unready:?}");
        let readiness = Some(Readiness { seller: self.seller, cutoff, unready: Vec::new() });
        let approve = Command::ApproveClose { end: end(), body: wish(), readiness };
        let ada = database.fetch("select key from view_user", &[]).await?;
        let caller = Caller::user(ada[0].text(0)?.parse::<UserId>()?);
        let submission = Submission { caller, command: approve, idempotency: None };
        self.world.writer.submit(submission).await?;
        Ok(cutoff)
    }

    /// What is sealed is what rating the log up to the cutoff gives, byte for byte.
    async fn is_whole(&self, cutoff: u64, entries: u64) -> Result<()> {
        let books = self.books().await?;
        ensure!(books.closing.is_none(), "it goes on");
        let closed = books.closed.first().context("a closed period")?;
        assert_eq!((closed.cutoff, closed.entries), (cutoff, entries));
        let database = &self.world.database;
        let provider = ledger::seller_at(database, &TenantPath::provider()).await?;
        let settings = provider.settings.as_ref();
        let period = settings.period_ending(closed.end).context("a period")?;
        let of = (self.seller, &TenantPath::provider());
        let mut draft = Draft::begin(database, of, period, cutoff, None).await?;
        let mut rated = BTreeMap::<Place, Vec<u8>>::new();
        while let Some(part) = draft.next().await? {
            for slot in part {
                rated.insert(slot.place, seal::lines(&mut slot.outcome.expect("it has a price")));
            }
        }
        let mut sealed = BTreeMap::new();
        for_each_sealed(&mut &*database, cutoff, |place, body| {
            sealed.insert(place, body.to_vec());
            Ok(())
        })
        .await?;
        assert_eq!(rated, sealed);
        laws::check(database).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_stopped_in_the_middle_goes_on_there_and_nothing_is_lost_or_doubled()
-> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine).await?;
        let cutoff = shop.approved().await?;
        let World { database, writer, .. } = &shop.world;
        let mut stops = 0;
        while shop.books().await?.closing.is_some() && stops < 20 {
            let mut position = writer.position();
            position.mark_unchanged();
            tokio::select! {
                // As if it had been killed: the answer to what it has handed over is never heard.
                changed = position.changed() => { changed?; stops += 1; }
                closed = close_within(database, writer, shop.seller, 7) => closed?,
            }
        }
        ensure!(stops > 2, "it was stopped only {stops} times");
        close(database, writer, shop.seller).await?;
        shop.is_whole(cutoff, CUSTOMERS as u64).await.with_context(|| format!("{engine:?}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_close_at_the_same_time_close_it_once() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine).await?;
        let cutoff = shop.approved().await?;
        let (database, writer) = another_writer(&shop.world).await?;
        let here = close_within(&shop.world.database, &shop.world.writer, shop.seller, 11);
        let there = close_within(&database, &writer, shop.seller, 13);
        let (here, there) = tokio::join!(here, there);
        here?;
        there?;
        shop.is_whole(cutoff, CUSTOMERS as u64).await.with_context(|| format!("{engine:?}"))?;
    }
    Ok(())
}

/// Each of these takes backups away, and gives others, with dates in the period that is being closed.
async fn writes(writer: Writer, customers: Vec<String>, database: Database) -> Result<()> {
    for customer in customers {
        let sql = "select key from view_subscription where owner = $1";
        let rows = database.fetch(sql, &[customer.as_str().into()]).await?;
        let id = rows[0].text(0)?.to_owned();
        let sent = json!({ "effectiveAt": "2019-01-21", "reason": "it was so" });
        let submission = system(Command::Deprovision { id, body: body(sent) });
        writer.submit(submission).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_write_meanwhile_is_late_and_is_corrected() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine).await?;
        let cutoff = shop.approved().await?;
        let World { database, writer, .. } = &shop.world;
        let mut writers = tokio::task::JoinSet::new();
        for customers in shop.customers.chunks(CUSTOMERS.div_ceil(32)) {
            writers.spawn(writes(writer.clone(), customers.to_vec(), database.clone()));
        }
        close_within(database, writer, shop.seller, 5).await?;
        for written in writers.join_all().await {
            written?;
        }
        shop.is_whole(cutoff, CUSTOMERS as u64).await.with_context(|| format!("{engine:?}"))?;
        // 21 of 31 days at 10.00 are sealed; 10 of them should have been.
        let provider = ledger::seller_at(database, &TenantPath::provider()).await?;
        let settings = provider.settings.as_ref();
        let february = settings.period_ending("2019-02-28".parse()?).context("a period")?;
        let side = ledger::Side::Sells(shop.seller);
        let scope = Scope(TenantPath::provider());
        let question = ledger::Question { scope, as_of: None, known_at: None, side };
        let persons = atrium_tests::world::persons();
        let periods = [february];
        let bills = ledger::statements(database, &persons, &question, &periods).await?;
        let minor: i64 = bills[0].lines.iter().map(|line| line.entry.amount.minor).sum();
        assert_eq!(minor, CUSTOMERS as i64 * (323 - 677));
        assert_eq!(bills[0].lines.len(), 2 * CUSTOMERS);
    }
    Ok(())
}
