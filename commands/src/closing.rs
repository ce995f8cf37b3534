//! Closing a period: rating it as far as the log went at its cutoff, and having the entries kept, some at a time, by
//! ordinary commands, as Atrium itself.
//!
//! What is kept is told by the books: whoever goes on after a kill goes on behind it. Several may be at it at the same
//! time: each rates the same, and what one has kept is refused to the others.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::billing::books::{Kept, Place};
use domain::billing::merkle::Hash;
use domain::billing::{BillingSettings, Period, Quarantine, seal};
use domain::{CommandId, OrganizationId, ServiceKey, SubscriptionId, TenantPath};
use eventstore::{Database, Error as StoreError, SealedSlot};
use projections::finder::{self, Query, Scope};
use projections::ledger::{self, Draft};
use projections::views::{BooksView, ClosingPeriod, RequestView};
use sha2::{Digest as _, Sha256};

use crate::{Caller, Command, Error, Submission, Writer};

/// Slots that one command keeps, at most.
const SLOTS_AT_A_TIME: usize = 5_000;
/// Bytes of entries after which they are kept although there are fewer.
const PART_BYTES: usize = 4 << 20;
/// Times that others may have been faster before it is left to them.
const RACES_MAX: usize = 1_000;
/// Requests of one state that are looked at for readiness.
const REQUESTS_MAX: usize = 10_000;

/// Something that keeps a period from being closed, unless it is deferred.
#[derive(Clone, Debug)]
pub struct Unready {
    /// Which.
    pub subscription: SubscriptionId,
    /// Whose; none where that is told by the request.
    pub customer: Option<OrganizationId>,
    /// Of which service; none where that is told by the request.
    pub service: Option<ServiceKey>,
    /// Why.
    pub why: Why,
}

/// Why an instance is not ready to be billed.
#[derive(Clone, Debug)]
pub enum Why {
    /// It cannot be rated.
    Quarantined(Quarantine),
    /// Something was asked for before the period's end, and has come to no end.
    Stuck(CommandId),
}

/// Looks what keeps a seller's period from being closed, as far as the log went at a cutoff.
///
/// # Errors
/// What the database says.
pub async fn readiness(
    database: &Database,
    seller: (OrganizationId, &TenantPath),
    settings: &BillingSettings,
    period: Period,
    cutoff: u64,
) -> Result<Vec<Unready>, StoreError> {
    let mut unready = Vec::new();
    let mut draft = Draft::begin(database, seller, period, cutoff, None).await?;
    let customers = draft.customers();
    while let Some(part) = draft.next().await? {
        for slot in part {
            if let Err(cause) = slot.outcome {
                unready.push(Unready {
                    subscription: slot.place.subscription,
                    customer: Some(slot.place.customer),
                    service: Some(slot.service),
                    why: Why::Quarantined(cause),
                });
            }
        }
    }
    let end = settings.instants(&period).1;
    for kind in ["requested", "inProgress"] {
        let kind = Some(kind.to_owned());
        let mut query = Query { kind, limit: finder::LIST_MAX, ..Query::default() };
        let scope = Scope(seller.1.clone());
        for _ in 0..REQUESTS_MAX / finder::LIST_MAX {
            let page = finder::list::<RequestView>(database, &scope, &query).await?;
            query.after = page.items.last().map(|(cursor, _)| cursor.clone());
            for (_, request) in page.items {
                let is_stuck = request.effective_at < end && customers.contains(&request.path);
                if let Some(subscription) = request.subscription.filter(|_| is_stuck) {
                    let why = Why::Stuck(request.id);
                    unready.push(Unready { subscription, customer: None, service: None, why });
                }
            }
            if !page.more {
                break;
            }
        }
    }
    Ok(unready)
}

/// Closes all periods that are approved and not closed; gives how many it closed or saw closed. What fails is told to
/// the log, and left for the next time.
///
/// # Errors
/// Where it cannot be looked for.
pub async fn close_approved(database: &Database, writer: &Writer) -> Result<usize, StoreError> {
    let kind = Some(BooksView::APPROVED.to_owned());
    let query = Query { kind, limit: finder::LIST_MAX, ..Query::default() };
    let page = finder::list::<BooksView>(database, &Scope::catalogue(), &query).await?;
    let mut done = 0;
    for (_, books) in page.items {
        match close(database, writer, books.seller).await {
            Ok(()) => done += 1,
            Err(error) => {
                let cause: &dyn std::error::Error = &error;
                tracing::warn!(error = cause, seller = %books.seller, "a period was not closed");
            }
        }
    }
    Ok(done)
}

/// Closes a seller's period, if one is approved; then it is closed, by this or another process.
///
/// # Errors
/// What the database and the writer say. What is kept by then stays kept.
pub async fn close(
    database: &Database,
    writer: &Writer,
    seller: OrganizationId,
) -> Result<(), Error> {
    close_within(database, writer, seller, SLOTS_AT_A_TIME).await
}

/// The same, with another bound on the slots that one command keeps.
///
/// # Errors
/// See [`close`].
pub async fn close_within(
    database: &Database,
    writer: &Writer,
    seller: OrganizationId,
    slots_at_a_time: usize,
) -> Result<(), Error> {
    for _ in 0..RACES_MAX {
        let scope = Scope::catalogue();
        let books = finder::find::<BooksView>(database, &scope, &seller.to_string()).await;
        let Some(books) = books.map_err(storage)? else { return Ok(()) };
        let closing = books.closing.as_ref().filter(|closing| closing.approved_by.is_some());
        let Some(closing) = closing else { return Ok(()) };
        match go_on((database, writer), &books, closing, slots_at_a_time).await {
            Err(Error::Refused(refusal)) if others_were_faster(refusal.code) => {}
            ended => return ended,
        }
    }
    Err(Error::Overloaded)
}

fn others_were_faster(code: &str) -> bool {
    matches!(code, "close_went_on" | "close_not_approved" | "seal_unfit")
}

fn storage(error: StoreError) -> Error {
    Error::Storage(Arc::new(error))
}

async fn go_on(
    (database, writer): (&Database, &Writer),
    books: &BooksView,
    closing: &ClosingPeriod,
    slots_at_a_time: usize,
) -> Result<(), Error> {
    let billing = ledger::seller_at(database, &books.path).await.map_err(storage)?;
    let seller = (books.seller, &books.path);
    let ClosingPeriod { cutoff, end, last, .. } = *closing;
    let period = billing.settings.period_ending(end);
    let period = period.ok_or_else(|| storage(unsuitable(format!("no period ends on {end}"))))?;
    let draft = Draft::begin(database, seller, period, cutoff, last);
    let mut draft = draft.await.map_err(storage)?;
    let mut keeper = Keeper {
        slots_at_a_time,
        writer,
        seller: books.seller,
        cutoff,
        after: last,
        slots: Vec::new(),
        entries: 0,
        bytes: 0,
        handed_over: None,
    };
    while let Some(part) = draft.next().await.map_err(storage)? {
        for slot in part {
            match slot.outcome {
                Ok(entries) if entries.is_empty() => {}
                Ok(mut entries) => {
                    let is_correction = |entry: &&_| domain::billing::Entry::is_correction(entry);
                    let corrections = entries.iter().filter(is_correction).count() as u64;
                    let body = seal::lines(&mut entries);
                    let count = entries.len() as u64;
                    let slot = SealedSlot { cutoff, place: slot.place, corrections, body };
                    keeper.keep(slot, count).await?;
                }
                Err(_) if closing.deferred.contains(&slot.place.subscription) => {}
                Err(cause) => {
                    let id = slot.place.subscription;
                    let what = format!("the subscription {id} was not deferred: {cause}");
                    return Err(storage(unsuitable(what)));
                }
            }
        }
    }
    keeper.finish().await?;
    let sealed = eventstore::seal_of(&mut &*database, cutoff).await.map_err(storage)?;
    let seal = Box::new(sealed);
    let command = Command::SealPeriod { seller: books.seller, cutoff, seal };
    submit(writer, command).await
}

fn unsuitable(what: String) -> StoreError {
    StoreError::Unsuitable(what)
}

async fn submit(writer: &Writer, command: Command) -> Result<(), Error> {
    let submission = Submission { caller: Caller::SYSTEM, command, idempotency: None };
    writer.submit(submission).await.map(|_| ())
}

/// Has entries kept, some at a time: while some are written, the next are rated.
struct Keeper<'a> {
    slots_at_a_time: usize,
    writer: &'a Writer,
    seller: OrganizationId,
    cutoff: u64,
    /// The last of those that were handed over.
    after: Option<Place>,
    slots: Vec<SealedSlot>,
    entries: u64,
    bytes: usize,
    handed_over: Option<tokio::task::JoinHandle<Result<(), Error>>>,
}

impl Keeper<'_> {
    async fn keep(&mut self, slot: SealedSlot, entries: u64) -> Result<(), Error> {
        self.bytes += slot.body.len();
        self.entries += entries;
        self.slots.push(slot);
        if self.slots.len() >= self.slots_at_a_time || self.bytes >= PART_BYTES {
            self.hand_over().await?;
        }
        Ok(())
    }

    async fn hand_over(&mut self) -> Result<(), Error> {
        self.wait().await?;
        let slots = std::mem::take(&mut self.slots);
        let entries = std::mem::take(&mut self.entries);
        self.bytes = 0;
        let Some(last) = slots.last().map(|slot| slot.place) else { return Ok(()) };
        let mut sha256 = Sha256::new();
        for slot in &slots {
            sha256.update(&slot.body);
            sha256.update(b"\n");
        }
        let kept = Kept {
            after: self.after.replace(last),
            last,
            slots: slots.len() as u64,
            entries,
            sha256: Hash(sha256.finalize().into()),
        };
        let (seller, cutoff, slots) = (self.seller, self.cutoff, Arc::new(slots));
        let command = Command::KeepEntries { seller, cutoff, kept, slots };
        let writer = self.writer.clone();
        self.handed_over = Some(tokio::spawn(async move { submit(&writer, command).await }));
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), Error> {
        match self.handed_over.take() {
            None => Ok(()),
            Some(task) => task.await.unwrap_or(Err(Error::OutcomeUnknown)),
        }
    }

    async fn finish(mut self) -> Result<(), Error> {
        self.hand_over().await?;
        self.wait().await
    }
}

/// Of a set that is made of what is unready: the subscriptions, each once.
#[must_use]
pub fn subscriptions(unready: &[Unready]) -> Vec<SubscriptionId> {
    let all: BTreeSet<_> = unready.iter().map(|it| it.subscription).collect();
    all.into_iter().collect()
}
