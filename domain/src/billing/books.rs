//! A seller's books: which of his periods are closed, and the one that is being closed (billing.md, section 7).
//!
//! One person asks, which pins how much of the log counts; another one approves; then the entries are kept, some at a
//! time, and the last step seals them. A closed period is never opened again. The books begin with the first period
//! that is closed; what is before it stays as it is computed.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::BillingSettings;
use super::merkle::Hash;
use super::seal::Seal;
use crate::decider::Decider;
use crate::event::Actor;
use crate::{OrganizationId, Refusal, SubscriptionId, UserId};

/// Who asks or approves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Person {
    /// Who really did.
    pub actor: Actor,
    /// As whom, where he acted as another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<UserId>,
}

impl Person {
    /// Whether one human being is behind both, or both act for the same.
    fn is_one_with(&self, other: &Self) -> bool {
        let all = |person: &Self| {
            [Some(person.actor), person.on_behalf_of.map(Actor::User)].into_iter().flatten()
        };
        all(self).any(|own| all(other).any(|its| own == its))
    }
}

/// A slot, and whose it is: what rows of a period are in the order of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The reseller who buys, or is paid a commission; none: the customer buys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buyer: Option<OrganizationId>,
    /// Who has it in the end.
    pub customer: OrganizationId,
    /// The slot.
    pub subscription: SubscriptionId,
}

impl Place {
    /// Who buys, or is paid a commission: in whose part of the books it stands.
    #[must_use]
    pub fn bought_by(&self) -> OrganizationId {
        self.buyer.unwrap_or(self.customer)
    }

    fn order(&self) -> (OrganizationId, OrganizationId, SubscriptionId) {
        (self.bought_by(), self.customer, self.subscription)
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

/// Some rows of a period, as they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The last of the rows before; none: these are the first.
    pub after: Option<Place>,
    /// The last of these.
    pub last: Place,
    /// How many slots they are of.
    pub slots: u64,
    /// How many entries they have.
    pub entries: u64,
    /// SHA-256 over their lines, each with its line break.
    pub sha256: Hash,
}

/// What is about to be closed.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Who asks.
    pub by: Person,
    /// How much of the log counts.
    pub cutoff: u64,
    /// The period: its last date.
    pub end: NaiveDate,
    /// Now.
    pub now: DateTime<Utc>,
    /// How the seller bills.
    pub settings: BillingSettings,
}

/// A wish about a seller's books.
#[derive(Clone, Debug)]
pub enum BooksCommand {
    /// Close a period, as far as the log goes now. Asked again before it is approved, it goes further.
    Ask(Box<Ask>),
    /// Leave an instance out that cannot be rated, or whose request is stuck.
    Defer {
        /// The period: its last date.
        end: NaiveDate,
        /// Which.
        subscription: SubscriptionId,
    },
    /// Have it closed.
    Approve {
        /// Who approves.
        by: Person,
        /// The cutoff that the approval is about.
        cutoff: u64,
        /// The period: its last date.
        end: NaiveDate,
        /// What has to be deferred, if it is not yet.
        unready: Vec<SubscriptionId>,
    },
    /// Keep some of its entries.
    Keep {
        /// Of which closing.
        cutoff: u64,
        /// Which.
        kept: Kept,
    },
    /// All entries are kept, and come to this.
    Close {
        /// Which closing.
        cutoff: u64,
        /// What they come to.
        seal: Box<Seal>,
    },
    /// Rate closed periods again, with the prices as they are known now.
    AskRerate {
        /// Who asks.
        by: Person,
        /// The first of the periods: its last date.
        from_end: NaiveDate,
        /// The last of them.
        to_end: NaiveDate,
    },
    /// Have it done.
    ApproveRerate {
        /// Who approves.
        by: Person,
    },
}

/// A fact about a seller's books.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum BooksEvent {
    /// Somebody asked to close a period.
    #[serde(rename = "books.close_asked")]
    CloseAsked {
        /// Who.
        by: Person,
        /// How much of the log counts.
        cutoff: u64,
        /// The period: its last date.
        end: NaiveDate,
        /// How the seller bills.
        settings: BillingSettings,
    },
    /// An instance is left out of the period that is being closed. (The reason is the event's.)
    #[serde(rename = "books.instance_deferred")]
    Deferred {
        /// The period: its last date.
        end: NaiveDate,
        /// Which.
        subscription: SubscriptionId,
    },
    /// Somebody else approved it.
    #[serde(rename = "books.close_approved")]
    CloseApproved {
        /// Who.
        by: Person,
        /// Of which closing.
        cutoff: u64,
        /// The period: its last date.
        end: NaiveDate,
    },
    /// Some of its entries were kept.
    #[serde(rename = "books.entries_kept")]
    EntriesKept {
        /// Of which closing.
        cutoff: u64,
        /// The period: its last date.
        end: NaiveDate,
        /// How many entries.
        entries: u64,
        /// The last of the rows.
        last: Place,
        /// SHA-256 over their lines, each with its line break.
        sha256: Hash,
        /// How many slots.
        slots: u64,
    },
    /// The period is closed.
    #[serde(rename = "books.period_closed")]
    PeriodClosed {
        /// Who approved.
        approved_by: Person,
        /// Who asked.
        asked_by: Person,
        /// How much of the log counted.
        cutoff: u64,
        /// What was left out.
        deferred: BTreeSet<SubscriptionId>,
        /// The period: its last date.
        end: NaiveDate,
        /// What it comes to.
        seal: Box<Seal>,
        /// How the seller billed.
        settings: BillingSettings,
    },
    /// Somebody asked to rate closed periods again, with the prices as they were known then.
    #[serde(rename = "books.rerate_asked")]
    RerateAsked {
        /// Who.
        by: Person,
        /// The first of the periods: its last date.
        from_end: NaiveDate,
        /// The last of them.
        to_end: NaiveDate,
    },
    /// Somebody else approved it: from here on these periods' prices are those known when it was asked.
    #[serde(rename = "books.rerate_approved")]
    RerateApproved {
        /// Who.
        by: Person,
        /// The first of the periods: its last date.
        from_end: NaiveDate,
        /// The last of them.
        to_end: NaiveDate,
    },
}

/// A seller's books as their stream tells.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// The first and the last closed period: their last dates. All between are closed.
    pub closed: Option<(NaiveDate, NaiveDate)>,
    /// The one that is being closed.
    pub closing: Option<Closing>,
    /// What is to be rated again, once that is approved: who asked, and which periods.
    pub rerate: Option<(Person, NaiveDate, NaiveDate)>,
}

/// A period that is being closed.
#[derive(Clone, Debug)]
pub struct Closing {
    /// Who asked.
    pub asked_by: Person,
    /// Who approved, once somebody did.
    pub approved_by: Option<Person>,
    /// How much of the log counts. It also names the closing: no two have the same.
    pub cutoff: u64,
    /// What is left out.
    pub deferred: BTreeSet<SubscriptionId>,
    /// The period: its last date.
    pub end: NaiveDate,
    /// How the seller bills.
    pub settings: BillingSettings,
    /// The last of the rows that are kept.
    pub last: Option<Place>,
    /// How many slots are kept.
    pub slots: u64,
    /// How many entries are kept.
    pub entries: u64,
}

impl Books {
    fn ask(&self, ask: Ask) -> Result<Vec<BooksEvent>, Refusal> {
        let Ask { by, cutoff, end, now, settings } = ask;
        if self.closed.is_some_and(|(first, last)| (first..=last).contains(&end)) {
            return Err(closed(end));
        }
        let next = match (&self.closing, self.closed) {
            (Some(Closing { approved_by: Some(_), end: closing, .. }), _) if *closing == end => {
                return Ok(vec![]);
            }
            (Some(Closing { end: closing, .. }), _) => *closing,
            // The books begin with it.
            (None, None) => end,
            (None, Some((_, last))) => settings.next(settings.period_containing(last)).end,
        };
        if end != next {
            let detail = format!("Periods are closed in their order: the next is {next}.");
            return Err(Refusal::conflict("periods_close_in_order", detail));
        }
        let period = settings.period_ending(end).ok_or_else(Refusal::not_found)?;
        if now < settings.instants(&period).1 {
            let detail = format!("The period {end} has not ended.");
            return Err(Refusal::conflict("period_goes_on", detail));
        }
        Ok(vec![BooksEvent::CloseAsked { by, cutoff, end, settings }])
    }

    /// The closing of a period that is asked for and not yet done.
    fn closing_of(&self, end: NaiveDate) -> Result<&Closing, Refusal> {
        if self.closed.is_some_and(|(first, last)| (first..=last).contains(&end)) {
            return Err(closed(end));
        }
        self.closing.as_ref().filter(|closing| closing.end == end).ok_or_else(|| {
            let detail = format!("Nobody has asked to close the period {end}.");
            Refusal::conflict("close_not_asked", detail)
        })
    }

    fn approve(
        &self,
        by: Person,
        cutoff: u64,
        end: NaiveDate,
        unready: &[SubscriptionId],
    ) -> Result<Vec<BooksEvent>, Refusal> {
        let closing = self.closing_of(end)?;
        if closing.approved_by.is_some() {
            return Ok(vec![]);
        }
        if closing.asked_by.is_one_with(&by) {
            let detail = "Whoever asked to close a period cannot approve it: somebody else has to.";
            return Err(Refusal::conflict("own_close", detail));
        }
        let left = unready.iter().filter(|it| !closing.deferred.contains(it)).count();
        if left > 0 {
            let detail = format!(
                "{left} subscriptions are not ready to be billed: see the period's readiness; fix \
                 what is wrong and ask again, or defer them."
            );
            return Err(Refusal::conflict("not_ready", detail));
        }
        if closing.cutoff != cutoff {
            let detail = "Somebody has asked to close the period anew; look at it again.";
            return Err(Refusal::conflict("close_asked_anew", detail));
        }
        Ok(vec![BooksEvent::CloseApproved { by, cutoff, end }])
    }

    /// The closing that entries are kept of.
    fn approved(&self, cutoff: u64) -> Result<(&Closing, Person), Refusal> {
        let closing = self.closing.as_ref().filter(|closing| closing.cutoff == cutoff);
        let approved = closing.and_then(|closing| Some((closing, closing.approved_by?)));
        approved.ok_or_else(|| {
            Refusal::conflict("close_not_approved", "This closing is not approved, or done.")
        })
    }

    fn keep(&self, cutoff: u64, kept: Kept) -> Result<Vec<BooksEvent>, Refusal> {
        let (closing, _) = self.approved(cutoff)?;
        if closing.last != kept.after {
            let detail = "Others have kept these entries, or those before them are not kept.";
            return Err(Refusal::conflict("close_went_on", detail));
        }
        let Kept { last, slots, entries, sha256, .. } = kept;
        let end = closing.end;
        Ok(vec![BooksEvent::EntriesKept { cutoff, end, entries, last, sha256, slots }])
    }

    fn close(&self, cutoff: u64, seal: Box<Seal>) -> Result<Vec<BooksEvent>, Refusal> {
        let (closing, approved_by) = self.approved(cutoff)?;
        if (closing.slots, closing.entries) != (seal.slots, seal.entries) {
            let detail = "The seal is not over the entries that are kept.";
            return Err(Refusal::conflict("seal_unfit", detail));
        }
        Ok(vec![BooksEvent::PeriodClosed {
            approved_by,
            asked_by: closing.asked_by,
            cutoff,
            deferred: closing.deferred.clone(),
            end: closing.end,
            seal,
            settings: closing.settings.clone(),
        }])
    }

    fn ask_rerate(
        &self,
        by: Person,
        from_end: NaiveDate,
        to_end: NaiveDate,
    ) -> Result<Vec<BooksEvent>, Refusal> {
        let is_closed = |end| self.closed.is_some_and(|(first, last)| first <= end && end <= last);
        if !is_closed(from_end) || !is_closed(to_end) || from_end > to_end {
            let detail = "Only closed periods are rated again; open ones follow the prices anyway.";
            return Err(Refusal::conflict("period_not_closed", detail));
        }
        if self.closing.is_some() {
            let detail = "A period is being closed; wait until that is done.";
            return Err(Refusal::conflict("closing", detail));
        }
        Ok(vec![BooksEvent::RerateAsked { by, from_end, to_end }])
    }

    fn approve_rerate(&self, by: Person) -> Result<Vec<BooksEvent>, Refusal> {
        let Some((asked_by, from_end, to_end)) = self.rerate else {
            let detail = "Nobody has asked to rate closed periods again.";
            return Err(Refusal::conflict("rerate_not_asked", detail));
        };
        if asked_by.is_one_with(&by) {
            let detail = "Whoever asked for it cannot approve it: somebody else has to.";
            return Err(Refusal::conflict("own_rerate", detail));
        }
        Ok(vec![BooksEvent::RerateApproved { by, from_end, to_end }])
    }
}

fn closed(end: NaiveDate) -> Refusal {
    Refusal::conflict("period_closed", format!("The period {end} is closed, and stays so."))
}

impl Decider for Books {
    const CATEGORY: &'static str = "books";
    type Command = BooksCommand;
    type Event = BooksEvent;

    fn decide(
        &self,
        command: Self::Command,
        _effective_at: DateTime<Utc>,
    ) -> Result<Vec<Self::Event>, Refusal> {
        match command {
            BooksCommand::Ask(ask) => self.ask(*ask),
            BooksCommand::Defer { end, subscription } => {
                let closing = self.closing_of(end)?;
                if closing.deferred.contains(&subscription) {
                    return Ok(vec![]);
                }
                if closing.approved_by.is_some() {
                    let detail = "The period is approved: nothing more can be left out.";
                    return Err(Refusal::conflict("close_approved", detail));
                }
                Ok(vec![BooksEvent::Deferred { end, subscription }])
            }
            BooksCommand::Approve { by, cutoff, end, unready } => {
                self.approve(by, cutoff, end, &unready)
            }
            BooksCommand::Keep { cutoff, kept } => self.keep(cutoff, kept),
            BooksCommand::Close { cutoff, seal } => self.close(cutoff, seal),
            BooksCommand::AskRerate { by, from_end, to_end } => {
                self.ask_rerate(by, from_end, to_end)
            }
            BooksCommand::ApproveRerate { by } => self.approve_rerate(by),
        }
    }

    fn evolve(mut self, event: &Self::Event, _effective_at: DateTime<Utc>) -> Self {
        match event {
            BooksEvent::CloseAsked { by, cutoff, end, settings } => {
                // What was deferred stays so when it is asked anew.
                let before = self.closing.take().filter(|closing| closing.end == *end);
                self.closing = Some(Closing {
                    asked_by: *by,
                    approved_by: None,
                    cutoff: *cutoff,
                    deferred: before.map(|closing| closing.deferred).unwrap_or_default(),
                    end: *end,
                    settings: settings.clone(),
                    last: None,
                    slots: 0,
                    entries: 0,
                });
            }
            BooksEvent::Deferred { subscription, .. } => {
                if let Some(closing) = &mut self.closing {
                    closing.deferred.insert(*subscription);
                }
            }
            BooksEvent::CloseApproved { by, .. } => {
                if let Some(closing) = &mut self.closing {
                    closing.approved_by = Some(*by);
                }
            }
            BooksEvent::EntriesKept { entries, last, slots, .. } => {
                if let Some(closing) = &mut self.closing {
                    closing.last = Some(*last);
                    closing.slots += slots;
                    closing.entries += entries;
                }
            }
            BooksEvent::PeriodClosed { end, .. } => {
                self.closing = None;
                self.closed = Some((self.closed.map_or(*end, |(first, _)| first), *end));
            }
            BooksEvent::RerateAsked { by, from_end, to_end } => {
                self.rerate = Some((*by, *from_end, *to_end));
            }
            BooksEvent::RerateApproved { .. } => self.rerate = None,
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::CalendarRule;
    use super::super::seal::Sealing;
    use super::*;
    use crate::decider::testing::given;
    use crate::money::Currency;

    fn settings() -> BillingSettings {
        let euro = Currency::parse("EUR").unwrap();
        BillingSettings::new(euro, CalendarRule::CalendarMonth, chrono_tz::UTC)
    }

    fn user(number: u128) -> Person {
        Person { actor: Actor::User(UserId(Uuid::from_u128(number))), on_behalf_of: None }
    }

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn subscription(number: u128) -> SubscriptionId {
        SubscriptionId(Uuid::from_u128(number))
    }

    fn ask(by: Person, end: &str, cutoff: u64) -> BooksCommand {
        BooksCommand::Ask(Box::new(Ask {
            by,
            cutoff,
            end: date(end),
            now: "2019-12-24T00:00:00Z".parse().unwrap(),
            settings: settings(),
        }))
    }

    fn asked(by: Person, end: &str, cutoff: u64) -> (u32, BooksEvent) {
        (1, BooksEvent::CloseAsked { by, cutoff, end: date(end), settings: settings() })
    }

    fn approve(by: Person, end: &str, cutoff: u64, unready: &[SubscriptionId]) -> BooksCommand {
        BooksCommand::Approve { by, cutoff, end: date(end), unready: unready.to_vec() }
    }

    fn approved(by: Person, end: &str, cutoff: u64) -> (u32, BooksEvent) {
        (1, BooksEvent::CloseApproved { by, cutoff, end: date(end) })
    }

    fn closed(end: &str, cutoff: u64) -> (u32, BooksEvent) {
        let event = BooksEvent::PeriodClosed {
            approved_by: user(2),
            asked_by: user(1),
            cutoff,
            deferred: BTreeSet::new(),
            end: date(end),
            seal: Box::new(Sealing::default().seal()),
            settings: settings(),
        };
        (1, event)
    }

    fn place(number: u128) -> Place {
        let customer = OrganizationId(Uuid::from_u128(7));
        Place { buyer: None, customer, subscription: subscription(number) }
    }

    fn kept(after: Option<Place>, last: Place) -> Kept {
        Kept { after, last, slots: 1, entries: 2, sha256: Hash::leaf(b"lines") }
    }

    fn entries_kept(end: &str, cutoff: u64, last: Place) -> (u32, BooksEvent) {
        let sha256 = Hash::leaf(b"lines");
        let event =
            BooksEvent::EntriesKept { cutoff, end: date(end), entries: 2, last, sha256, slots: 1 };
        (1, event)
    }

    #[test]
    fn the_books_begin_with_any_period_and_go_on_in_their_order() {
        let books = || given::<Books>([]);
        books().when(1, ask(user(1), "2019-09-30", 9)).then([asked(user(1), "2019-09-30", 9).1]);
        books().when(1, ask(user(1), "2019-12-31", 9)).then_refused("period_goes_on");
        books().when(1, ask(user(1), "2019-09-29", 9)).then_refused("not_found");
        let books = || given::<Books>([asked(user(1), "2019-09-30", 9)]);
        books().when(1, ask(user(1), "2019-10-31", 9)).then_refused("periods_close_in_order");
        let books = || given::<Books>([closed("2019-09-30", 9)]);
        books().when(1, ask(user(1), "2019-08-31", 9)).then_refused("periods_close_in_order");
        books().when(1, ask(user(1), "2019-09-30", 20)).then_refused("period_closed");
        books().when(1, ask(user(1), "2019-10-31", 20)).then([asked(user(1), "2019-10-31", 20).1]);
        books().when(1, ask(user(1), "2019-11-30", 20)).then_refused("periods_close_in_order");
        let books = || {
            given::<Books>([
                closed("2019-09-30", 9),
                closed("2019-10-31", 15),
                closed("2019-11-30", 20),
            ])
        };
        books().when(1, ask(user(1), "2019-12-31", 30)).then_refused("period_goes_on");
        books().when(1, ask(user(1), "2019-10-31", 30)).then_refused("period_closed");
    }

    #[test]
    fn a_period_is_closed_from_the_first_moment_after_it_on() {
        let asked_at = |now: &str| {
            let BooksCommand::Ask(it) = ask(user(1), "2019-09-30", 9) else { unreachable!() };
            BooksCommand::Ask(Box::new(Ask { now: now.parse().unwrap(), ..*it }))
        };
        let books = || given::<Books>([]);
        books().when(1, asked_at("2019-09-30T23:59:59.999999Z")).then_refused("period_goes_on");
        books().when(1, asked_at("2019-10-01T00:00:00Z")).then([asked(user(1), "2019-09-30", 9).1]);
    }

    #[test]
    fn asked_again_before_it_is_approved_more_of_the_log_counts() {
        let end = "2019-09-30";
        let deferred = BooksEvent::Deferred { end: date(end), subscription: subscription(5) };
        let books = || given::<Books>([asked(user(1), end, 9), (1, deferred.clone())]);
        books().when(1, ask(user(2), end, 15)).then([asked(user(2), end, 15).1]);
        let books = || {
            let again = asked(user(2), end, 15);
            given::<Books>([asked(user(1), end, 9), (1, deferred.clone()), again])
        };
        books().when(1, approve(user(1), end, 9, &[])).then_refused("close_asked_anew");
        books().when(1, approve(user(2), end, 15, &[])).then_refused("own_close");
        // What was deferred stays so.
        let unready = [subscription(5)];
        books().when(1, approve(user(1), end, 15, &unready)).then([approved(user(1), end, 15).1]);
    }

    #[test]
    fn somebody_else_approves_and_nobody_acts_as_him() {
        let end = "2019-09-30";
        let books = || given::<Books>([asked(user(1), end, 9)]);
        books().when(1, approve(user(1), end, 9, &[])).then_refused("own_close");
        let acting = |number, other| Person {
            on_behalf_of: Some(UserId(Uuid::from_u128(other))),
            ..user(number)
        };
        books().when(1, approve(acting(1, 2), end, 9, &[])).then_refused("own_close");
        books().when(1, approve(acting(2, 1), end, 9, &[])).then_refused("own_close");
        books().when(1, approve(user(2), end, 9, &[])).then([approved(user(2), end, 9).1]);
        let books = || given::<Books>([asked(user(1), end, 9), approved(user(2), end, 9)]);
        books().when(1, approve(user(3), end, 9, &[])).then_nothing();
        books().when(1, ask(user(3), end, 20)).then_nothing();
        given::<Books>([]).when(1, approve(user(2), end, 9, &[])).then_refused("close_not_asked");
    }

    #[test]
    fn what_is_not_ready_is_fixed_or_deferred_before_it_is_approved() {
        let end = "2019-09-30";
        let defer =
            |number| BooksCommand::Defer { end: date(end), subscription: subscription(number) };
        let deferred = BooksEvent::Deferred { end: date(end), subscription: subscription(5) };
        let books = || given::<Books>([asked(user(1), end, 9)]);
        books().when(1, approve(user(2), end, 9, &[subscription(5)])).then_refused("not_ready");
        books().when(1, defer(5)).then([deferred.clone()]);
        let books = || given::<Books>([asked(user(1), end, 9), (1, deferred.clone())]);
        books().when(1, defer(5)).then_nothing();
        let both = [subscription(5), subscription(6)];
        books().when(1, approve(user(2), end, 9, &both)).then_refused("not_ready");
        let books = || given::<Books>([asked(user(1), end, 9), approved(user(2), end, 9)]);
        books().when(1, defer(5)).then_refused("close_approved");
        given::<Books>([]).when(1, defer(5)).then_refused("close_not_asked");
        given::<Books>([closed(end, 9)]).when(1, defer(5)).then_refused("period_closed");
    }

    #[test]
    fn entries_are_kept_once_in_their_order_and_only_of_what_is_approved() {
        let end = "2019-09-30";
        let keep = |after, last| BooksCommand::Keep { cutoff: 9, kept: kept(after, place(last)) };
        let books = || given::<Books>([asked(user(1), end, 9), approved(user(2), end, 9)]);
        given::<Books>([asked(user(1), end, 9)])
            .when(1, keep(None, 3))
            .then_refused("close_not_approved");
        books().when(1, keep(None, 3)).then([entries_kept(end, 9, place(3)).1]);
        books().when(1, keep(Some(place(2)), 3)).then_refused("close_went_on");
        let books = || {
            let kept = entries_kept(end, 9, place(3));
            given::<Books>([asked(user(1), end, 9), approved(user(2), end, 9), kept])
        };
        books().when(1, keep(None, 3)).then_refused("close_went_on");
        books().when(1, keep(Some(place(3)), 4)).then([entries_kept(end, 9, place(4)).1]);
        // A seal over other entries than those that are kept.
        let close = BooksCommand::Close { cutoff: 9, seal: Box::new(Sealing::default().seal()) };
        books().when(1, close.clone()).then_refused("seal_unfit");
        let books = || given::<Books>([asked(user(1), end, 9), approved(user(2), end, 9)]);
        books().when(1, close.clone()).then([closed(end, 9).1]);
        given::<Books>([closed(end, 9)]).when(1, close).then_refused("close_not_approved");
    }

    #[test]
    fn closed_periods_are_rated_again_when_two_people_want_it() {
        let rerate =
            |by, from, to| BooksCommand::AskRerate { by, from_end: date(from), to_end: date(to) };
        let books = || given::<Books>([closed("2019-09-30", 9), closed("2019-10-31", 20)]);
        books()
            .when(1, rerate(user(1), "2019-09-30", "2019-11-30"))
            .then_refused("period_not_closed");
        books()
            .when(1, rerate(user(1), "2019-10-31", "2019-09-30"))
            .then_refused("period_not_closed");
        let (from_end, to_end) = (date("2019-09-30"), date("2019-10-31"));
        let asked = BooksEvent::RerateAsked { by: user(1), from_end, to_end };
        books().when(1, rerate(user(1), "2019-09-30", "2019-10-31")).then([asked.clone()]);
        books()
            .when(1, BooksCommand::ApproveRerate { by: user(2) })
            .then_refused("rerate_not_asked");
        let books = || {
            let all = [closed("2019-09-30", 9), closed("2019-10-31", 20), (1, asked.clone())];
            given::<Books>(all)
        };
        books().when(1, BooksCommand::ApproveRerate { by: user(1) }).then_refused("own_rerate");
        books()
            .when(1, BooksCommand::ApproveRerate { by: user(2) })
            .then([BooksEvent::RerateApproved { by: user(2), from_end, to_end }]);
    }
}
