//! Billing periods: how far each is, and what it comes to.

use std::sync::Arc;

use async_graphql::connection::{Connection, OpaqueCursor};
use async_graphql::{Context, Enum, ID, Object, SimpleObject};
use chrono::NaiveDate;
use domain::billing::{self, Period};
use domain::organization::Kind;
use domain::permission::Permission;
use projections::finder::{self, Scope};
use projections::ledger::{self, Quarantined, Side};
use projections::views::{BooksView, ClosingPeriod};
use uuid::Uuid;

use super::{BillingFilter, find_period, statement_of};
use crate::billing::{Whose, Wish};
use crate::graphql::connection::{Known, Slice, cut};
use crate::graphql::id::GlobalId;
use crate::graphql::limits::{PAGE_MAX, STATEMENT_COST};
use crate::graphql::organization::{Organization, find as find_organization};
use crate::graphql::reading::{Reading, Resolved, StatementKey, reading};
use crate::graphql::scalar::{Asked, Date, Money, Position, then};
use crate::graphql::subscription::Subscription;
use crate::rest::closing::SellerPeriod;
use crate::travel::Then;

/// Why a subscription could not be rated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "billing::QuarantineReason")]
pub(crate) enum QuarantineReason {
    /// The price is in a currency that nothing says the rate of.
    NoExchangeRate,
    /// Nothing says what the plan costs.
    NoPrice,
    /// The amount is beyond what the ledger holds exactly.
    TooLarge,
}

/// A subscription that could not be rated: reported, never zero by silence.
pub(crate) struct QuarantinedSubscription(Quarantined);

/// A subscription that could not be rated: reported, never zero by silence.
#[Object]
impl QuarantinedSubscription {
    /// Which.
    async fn subscription(&self, context: &Context<'_>) -> Resolved<Option<Subscription>> {
        Subscription::of(reading(context), self.0.subscription).await
    }

    /// Whose.
    async fn customer(&self, context: &Context<'_>) -> Resolved<Option<Organization>> {
        Organization::of(reading(context), self.0.customer).await
    }

    /// The key of the service.
    async fn service_key(&self) -> &str {
        self.0.service.as_str()
    }

    /// The key of the plan held then.
    async fn plan_key(&self) -> &str {
        self.0.cause.plan.as_str()
    }

    /// The first date that it fails on.
    async fn date(&self) -> Date {
        Date(self.0.cause.date)
    }

    /// What is missing or wrong.
    async fn reason(&self) -> QuarantineReason {
        self.0.cause.reason.into()
    }
}

/// How far a billing period is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(crate) enum BillingPeriodState {
    /// It goes on.
    Open,
    /// Its last date is over.
    Ended,
    /// Somebody has asked to close it.
    Closing,
    /// It never changes any more.
    Closed,
}

/// What keeps a period from being closed.
#[derive(SimpleObject)]
pub(crate) struct Readiness {
    /// The position up to which the log was looked at.
    cutoff: Position,
    /// Whether nothing is in the way.
    ready: bool,
    /// Subscriptions that are in the way, at most 500 of them.
    reasons: Vec<UnreadySubscription>,
}

/// A subscription that is not ready to be billed.
#[derive(SimpleObject)]
pub(crate) struct UnreadySubscription {
    /// Which.
    subscription_uuid: Uuid,
    /// `no_price`, `too_large` or `request_stuck`.
    code: String,
    /// The same, for people.
    detail: String,
    /// Whether it is left out of the period.
    deferred: bool,
}

/// The local dates that are billed together.
#[derive(Clone)]
pub(crate) struct BillingPeriod {
    period: Period,
    state: BillingPeriodState,
    key: StatementKey,
}

/// The local dates that are billed together.
#[Object]
impl BillingPeriod {
    /// The global id.
    pub(crate) async fn id(&self) -> ID {
        let number = self.key.path.numbers().last().unwrap_or_default();
        let then = self.key.then;
        let is_bought = matches!(self.key.side, Side::Buys(_));
        GlobalId::BillingPeriod { end: self.period.end, number, is_bought, then }.encode()
    }

    /// Its last date, and its name.
    async fn end_date(&self) -> Date {
        Date(self.period.end)
    }

    /// Its first date.
    async fn start_date(&self) -> Date {
        Date(self.period.start)
    }

    /// How far it is.
    async fn state(&self) -> BillingPeriodState {
        self.state
    }

    /// What keeps it from being closed; none where the organisation sells nothing.
    #[graphql(complexity = "STATEMENT_COST + child_complexity")]
    async fn readiness(&self, context: &Context<'_>) -> Resolved<Option<Readiness>> {
        let reading = reading(context);
        reading.permit(Permission::ClosePeriods, &self.key.path).await?;
        let Some(found) = SellerPeriod::at(&reading.app, &self.key.path, self.period).await? else {
            return Ok(None);
        };
        let looked = found.readiness(&reading.app).await?;
        let reasons = looked.reasons.into_iter().map(|it| UnreadySubscription {
            subscription_uuid: it.subscription_id,
            code: it.code.to_owned(),
            detail: it.detail,
            deferred: it.deferred,
        });
        let (cutoff, ready) = (Position(looked.cutoff), looked.ready);
        Ok(Some(Readiness { cutoff, ready, reasons: reasons.collect() }))
    }

    /// What is charged altogether, for each currency.
    #[graphql(complexity = "STATEMENT_COST + child_complexity")]
    async fn totals(&self, context: &Context<'_>) -> Resolved<Option<Vec<Money>>> {
        let total = reading(context).total(self.key.clone()).await?;
        Ok(Some(total.amounts.values().copied().map(Money::from).collect()))
    }

    /// How many lines there are.
    #[graphql(complexity = "STATEMENT_COST")]
    async fn entry_count(&self, context: &Context<'_>) -> Resolved<Option<u64>> {
        Ok(Some(reading(context).total(self.key.clone()).await?.lines))
    }

    /// How many subscriptions could not be rated.
    #[graphql(complexity = "STATEMENT_COST")]
    async fn quarantined_count(&self, context: &Context<'_>) -> Resolved<Option<usize>> {
        Ok(Some(reading(context).total(self.key.clone()).await?.quarantined.len()))
    }

    /// The subscriptions that could not be rated, at most 500 of them.
    #[graphql(complexity = "STATEMENT_COST * child_complexity.max(1)")]
    async fn quarantined(
        &self,
        context: &Context<'_>,
    ) -> Resolved<Option<Vec<QuarantinedSubscription>>> {
        let total = reading(context).total(self.key.clone()).await?;
        let shown = total.quarantined.iter().take(PAGE_MAX).cloned();
        Ok(Some(shown.map(QuarantinedSubscription).collect()))
    }
}

/// Billing periods, ascending.
pub(crate) type BillingPeriodConnection = Connection<OpaqueCursor<NaiveDate>, BillingPeriod, Known>;

impl BillingPeriod {
    fn new(open: Period, key: StatementKey, books: Option<&BooksView>) -> Self {
        let end = key.period.end;
        let known_at = key.then.known_at.unwrap_or(u64::MAX);
        let closing = books.and_then(|books| books.closing.as_ref());
        let is_closing = |it: &ClosingPeriod| it.end == end && it.cutoff < known_at;
        let state = if books.is_some_and(|books| books.closed(end, known_at).is_some()) {
            BillingPeriodState::Closed
        } else if closing.is_some_and(is_closing) {
            BillingPeriodState::Closing
        } else if key.period.end < open.start {
            BillingPeriodState::Ended
        } else {
            BillingPeriodState::Open
        };
        Self { period: key.period, state, key }
    }

    /// A billing period of an organisation and all below it.
    pub(crate) async fn get(
        reading: &Reading,
        end: NaiveDate,
        (number, is_bought): (u32, bool),
        then: Then,
    ) -> Resolved<Self> {
        let organization = find_organization(reading, &number.to_string()).await?;
        reading.permit(Permission::ViewBilling, &organization.path).await?;
        let named = Some(organization.clone());
        let wish = match (is_bought, organization.kind) {
            (true, _) => Wish { buyer: named, ..Wish::default() },
            (false, Kind::Customer) => Wish { customer: named, ..Wish::default() },
            (false, Kind::Provider | Kind::Reseller) => Wish { seller: named, ..Wish::default() },
        };
        let whose = Whose::find(&reading.app, &reading.scope(), wish).await?;
        let period = find_period(reading, &whose, end).await?;
        let key = statement_of(&whose, then, period);
        let books = books_of(reading, &whose).await?;
        Ok(Self::new(open_period(reading, &whose), key, books.as_deref()))
    }

    /// All billing periods, the open one included.
    pub(crate) async fn list(
        reading: &Reading,
        filter: BillingFilter,
        asked: Asked,
        slice: &Slice,
    ) -> Resolved<Option<BillingPeriodConnection>> {
        reading.require(Permission::ViewBilling)?;
        let whose = filter.whose(reading).await?;
        let then = then(reading, asked, &whose.seller.settings).await?;
        let open = open_period(reading, &whose);
        let (database, settings) = (reading.app.database(), &whose.seller.settings);
        let periods = ledger::periods(database, &whose.scope, settings, reading.now).await?;
        let books = books_of(reading, &whose).await?;
        let periods = periods.into_iter().map(|period| {
            let key = statement_of(&whose, then, period);
            (period.end, Self::new(open, key, books.as_deref()))
        });
        cut(periods.collect(), slice)
    }
}

/// The books that periods are in.
async fn books_of(reading: &Reading, whose: &Whose) -> Resolved<Option<Arc<BooksView>>> {
    let (database, everywhere) = (reading.app.database(), Scope::catalogue());
    Ok(finder::find(database, &everywhere, &whose.seller.id.to_string()).await?)
}

/// The period that goes on now.
fn open_period(reading: &Reading, whose: &Whose) -> Period {
    let settings = &whose.seller.settings;
    settings.period_containing(settings.local_date(reading.now))
}
