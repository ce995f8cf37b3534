//! What commands would book, without carrying them out (billing.md, section 9).
//!
//! The same deciders decide them and the same rating rates what would follow, laid over what is read: nothing is recorded,
//! and what is shown is what is booked once they are carried out (section 8, law 9).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::http::StatusCode;
use chrono::NaiveDate;
use commands::{Caller, Command, Outcome, Rehearsed, Submission};
use domain::billing::{BillingSettings, Overflow, Period};
use domain::event::{Event, Recorded};
use domain::money::{Currency, Money};
use domain::permission::Permission;
use domain::{Fault, Faults, Reason, Refusal, TenantPath};
use projections::finder::Scope;
use projections::ledger::{Line, Parts, Question, Statement, Supposed};
use projections::views::OrganizationView;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::asked::end_date_of;
use super::whose::{Whose, Wish};
use crate::app::App;
use crate::auth::Principal;
use crate::body;
use crate::problem::Problem;

/// Most commands of one preview.
const COMMANDS_MAX: usize = 50;
/// Most periods that one preview goes through: ten years.
const PERIODS_MAX: usize = 120;
/// Most entries that one preview shows.
const ENTRIES_MAX: usize = 1_000;

/// A command as it would be sent.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreviewedCommand {
    /// Where to: `/api/v2/` and then `customers/{id}/subscriptions`, `users/{id}/subscriptions`,
    /// `subscriptions/{id}/change|deprovision|suspend|resume`, `organizations/{id}/prices`,
    /// `organizations/{id}/price-book`, `organizations/{id}/overrides/{service}`, `billing/commitments`,
    /// `billing/exchange-rates` or `billing/adjustments`.
    pub(crate) path: String,
    /// What would be sent.
    #[schema(value_type = Option<Object>)]
    pub(crate) body: Option<serde_json::Value>,
}

/// What some commands would book.
pub(crate) struct Previewed {
    /// What each would be answered.
    pub(crate) outcomes: Vec<Outcome>,
    /// The periods that would come to something else, ascending.
    pub(crate) periods: Vec<PreviewedPeriod>,
    /// Whether there are more entries than are shown.
    pub(crate) more: bool,
}

/// A period that would come to something else.
pub(crate) struct PreviewedPeriod {
    pub(crate) period: Period,
    /// What those come to altogether whom it is about, without the commands and with them; one for each currency.
    pub(crate) totals: Vec<[Money; 2]>,
    /// The first of those for whom that is something else, by name.
    pub(crate) customers: Vec<PreviewedCustomer>,
    /// The lines that would be there, and are not now.
    pub(crate) booked: Vec<Line>,
    /// The lines that are there now, and would not be.
    pub(crate) dropped: Vec<Line>,
    /// Subscriptions that could not be rated then.
    pub(crate) quarantined: BTreeSet<Uuid>,
}

/// A customer for whom a period would come to something else.
pub(crate) struct PreviewedCustomer {
    pub(crate) number: u32,
    pub(crate) name: String,
    /// Without the commands and with them.
    pub(crate) sums: [Money; 2],
}

/// By how much the second is more.
pub(crate) fn difference([without, with]: [Money; 2]) -> Result<Money, Problem> {
    with.checked_sub(without).ok_or_else(Problem::internal)
}

/// Says what commands would book, against what is booked without them; records nothing. Each is allowed or refused as if it
/// were sent.
///
/// # Errors
/// All that is wrong with the commands; the refusal of the first that is refused.
pub(crate) async fn preview(
    app: &App,
    principal: &Principal,
    seller: Option<Arc<OrganizationView>>,
    (commands, until): (Vec<PreviewedCommand>, Option<String>),
) -> Result<Previewed, Problem> {
    principal.require(Permission::ViewBilling)?;
    let wish = Wish { seller, ..Wish::default() };
    let Whose { side, seller, .. } = Whose::find(app, &principal.scope(), wish).await?;
    let settings = seller.settings.as_ref();
    let (submissions, until) = understood(commands, until.as_deref(), principal.caller())?;
    let vault = app.persons().vault();
    let Rehearsed { answers, events, views } =
        app.writer().rehearse(app.database(), vault, submissions).await?;
    let mut outcomes = Vec::with_capacity(answers.len());
    for (index, answer) in answers.into_iter().enumerate() {
        outcomes.push(answer.map_err(|error| of_command(index, error.into()))?.outcome);
    }
    let periods = periods(app, settings, &events, until)?;
    let mut difference = Difference::new(periods.len());
    let places = places(&events);
    let supposed = Supposed { events, views };
    for place in places {
        let (database, persons) = (app.database(), app.persons());
        let question = Question { scope: Scope(place), as_of: None, known_at: None, side };
        let begin = Parts::begin(database, persons, &question, &periods);
        let mut without = begin.await?.seen_by(&principal.scope());
        let wanted = (&periods[..], supposed.clone());
        let begin = Parts::suppose(database, persons, &question, wanted);
        let mut with = begin.await?.seen_by(&principal.scope());
        loop {
            let (was, is) = (without.next().await?, with.next().await?);
            if was.is_none() && is.is_none() {
                break;
            }
            difference.take(was, false)?;
            difference.take(is, true)?;
        }
    }
    Ok(difference.show(outcomes, &periods))
}

/// The commands, and how far to look; or all that is wrong with them.
fn understood(
    commands: Vec<PreviewedCommand>,
    until: Option<&str>,
    caller: Caller,
) -> Result<(Vec<Submission>, Option<NaiveDate>), Problem> {
    let mut faults = Faults::default();
    let few = (1..=COMMANDS_MAX).contains(&commands.len());
    let detail = format!("There can be 1 to {COMMANDS_MAX} commands.");
    faults.ensure(few, "/commands", "out_of_range", &detail);
    let date = until.and_then(end_date_of);
    let is_date = until.is_none() || date.is_some();
    faults.ensure(is_date, "/until", "not_a_date", "This is a date such as 2020-01-31.");
    let mut submissions = Vec::new();
    for (index, wish) in commands.into_iter().enumerate().filter(|_| few) {
        match command(&wish) {
            Some(command) => {
                submissions.push(Submission { caller, command, idempotency: None });
            }
            None => {
                let detail = "Nothing that is sent there can be previewed.";
                faults.add(&format!("/commands/{index}/path"), "not_previewed", detail);
            }
        }
    }
    faults.check()?;
    Ok((submissions, date))
}

/// What is sent to an address.
fn command(wish: &PreviewedCommand) -> Option<Command> {
    let sent = wish.body.as_ref().map(serde_json::Value::to_string).unwrap_or_default();
    let sent = sent.as_bytes();
    let steps: Vec<_> = wish.path.strip_prefix("/api/v2/")?.split('/').collect();
    let id = |id: &str| id.to_owned();
    Some(match steps[..] {
        ["customers", customer, "subscriptions"] => {
            Command::ProvisionToCustomer { customer: id(customer), body: body::parse(sent) }
        }
        ["users", user, "subscriptions"] => {
            Command::ProvisionToUser { user: id(user), body: body::parse(sent) }
        }
        ["subscriptions", of, "change"] => {
            Command::ChangeSubscription { id: id(of), body: body::parse(sent) }
        }
        ["subscriptions", of, "deprovision"] => {
            Command::Deprovision { id: id(of), body: body::parse(sent) }
        }
        ["subscriptions", of, "suspend"] => {
            Command::Suspend { id: id(of), body: body::parse(sent) }
        }
        ["subscriptions", of, "resume"] => Command::Resume { id: id(of), body: body::parse(sent) },
        ["organizations", organization, "prices"] => {
            Command::OverridePrice { organization: id(organization), body: body::parse(sent) }
        }
        ["organizations", organization, "overrides", service] => Command::OverrideProperty {
            organization: id(organization),
            service: id(service),
            body: body::parse(sent),
        },
        ["organizations", organization, "price-book"] => {
            Command::SetPrices { organization: id(organization), body: body::parse(sent) }
        }
        ["billing", "commitments"] => Command::SetCommitments { body: body::parse(sent) },
        ["billing", "exchange-rates"] => Command::SetRates { body: body::parse(sent) },
        ["billing", "adjustments"] => Command::Adjust { body: body::parse(sent) },
        _ => return None,
    })
}

/// What is wrong with one of the commands.
fn of_command(index: usize, mut problem: Problem) -> Problem {
    let place = format!("/commands/{index}");
    for fault in &mut problem.errors {
        fault.pointer = format!("{place}/body{}", fault.pointer);
    }
    if problem.errors.is_empty() && problem.status != StatusCode::NOT_FOUND {
        let Problem { code, detail, .. } = &problem;
        problem.errors.push(Fault { pointer: place, code, detail: detail.clone() });
    }
    problem
}

/// The periods from the first in which anything would be so, or from the one that goes on.
fn periods(
    app: &App,
    settings: &BillingSettings,
    events: &[Recorded],
    until: Option<NaiveDate>,
) -> Result<Vec<Period>, Problem> {
    let period = |moment| settings.period_containing(settings.local_date(moment));
    let now = period(app.now());
    let of_events = || events.iter().map(|event| period(event.effective_at));
    let first = of_events().chain([now]).min_by_key(|it| it.end).unwrap_or(now);
    let last = of_events().chain([now]).max_by_key(|it| it.end).unwrap_or(now);
    let last = until.map_or(settings.next(last), |date| settings.period_containing(date));
    let all = std::iter::successors(Some(first), |period| Some(settings.next(*period)));
    let all: Vec<_> = all.take_while(|it| it.end <= last.end).take(PERIODS_MAX + 1).collect();
    if all.len() <= PERIODS_MAX {
        return Ok(all);
    }
    let detail = format!("A preview goes through at most {PERIODS_MAX} periods.");
    let refusal = Refusal { reason: Reason::Invalid, ..Refusal::conflict("too_long", detail) };
    Err(refusal.into())
}

/// Whose bills may be others: places in the tree, none below another.
fn places(events: &[Recorded]) -> Vec<TenantPath> {
    let about_bills = events.iter().filter(|event| {
        matches!(
            event.event,
            Event::Subscription(_)
                | Event::Organization(_)
                | Event::Adjustment(_)
                | Event::Pricing(_)
                | Event::Usage(_)
        )
    });
    let mut places: Vec<TenantPath> = Vec::new();
    // Those above come before those below.
    for place in about_bills.map(|event| &event.path).collect::<BTreeSet<_>>() {
        if !places.iter().any(|above| above.contains(place)) {
            places.push(place.clone());
        }
    }
    places
}

/// What is booked without the commands, and with them: what they have in common is not kept.
struct Difference {
    periods: Vec<OfPeriod>,
}

#[derive(Default)]
struct OfPeriod {
    totals: BTreeMap<Currency, [Money; 2]>,
    /// The same by the customer's name and number.
    customers: BTreeMap<(String, u32, Currency), (String, [Money; 2])>,
    /// Lines of either that the other has not, by entry.
    alone: [BTreeMap<String, Line>; 2],
    quarantined: [BTreeSet<Uuid>; 2],
}

impl Difference {
    fn new(periods: usize) -> Self {
        Self { periods: std::iter::repeat_with(OfPeriod::default).take(periods).collect() }
    }

    fn take(&mut self, part: Option<Vec<Statement>>, with: bool) -> Result<(), Problem> {
        let own = usize::from(with);
        for (period, statement) in self.periods.iter_mut().zip(part.into_iter().flatten()) {
            for line in statement.lines {
                let amount = line.entry.amount;
                let nothing = Money::new(0, amount.currency);
                let sums = period.totals.entry(amount.currency).or_insert([nothing; 2]);
                let sum = sums[own].checked_add(amount).ok_or(Overflow);
                sums[own] = sum.map_err(|_| Problem::internal())?;
                let name = &line.customer.details.name;
                let of_customer = (name.to_lowercase(), line.customer.number, amount.currency);
                let nothing = || (name.clone(), [nothing; 2]);
                let (_, sums) = period.customers.entry(of_customer).or_insert_with(nothing);
                let sum = sums[own].checked_add(amount).ok_or(Overflow);
                sums[own] = sum.map_err(|_| Problem::internal())?;
                if period.alone[1 - own].remove(&line.entry.entry_id).is_none() {
                    period.alone[own].insert(line.entry.entry_id.clone(), line);
                }
            }
            let quarantined = statement.quarantined.into_iter().map(|it| it.subscription.0);
            period.quarantined[own].extend(quarantined);
        }
        Ok(())
    }

    fn show(self, outcomes: Vec<Outcome>, periods: &[Period]) -> Previewed {
        let (mut shown, mut left, mut more) = (Vec::new(), ENTRIES_MAX, false);
        for (period, of) in periods.iter().zip(self.periods) {
            let OfPeriod { totals, customers, alone, quarantined } = of;
            let ([dropped, booked], [before, after]) = (alone, quarantined);
            let quarantined: BTreeSet<_> = after.difference(&before).copied().collect();
            if dropped.is_empty() && booked.is_empty() && quarantined.is_empty() {
                continue;
            }
            let mut entries = |lines: BTreeMap<String, Line>| -> Vec<_> {
                let mut lines: Vec<_> = lines.into_values().collect();
                lines.sort_by_cached_key(|line| {
                    let name = line.customer.details.name.to_lowercase();
                    let entry = &line.entry;
                    // A reversal comes before what is booked in its place.
                    let place = (entry.service_from, !entry.is_reversal());
                    (name, entry.subscription, entry.component.clone(), place)
                });
                more |= lines.len() > left;
                lines.truncate(left);
                left -= lines.len();
                lines
            };
            let (booked, dropped) = (entries(booked), entries(dropped));
            let others = customers.into_iter().filter(|(_, (_, [without, with]))| without != with);
            let customers = others
                .take(ENTRIES_MAX)
                .map(|((_, number, _), (name, sums))| PreviewedCustomer { number, name, sums });
            shown.push(PreviewedPeriod {
                period: *period,
                totals: totals.into_values().collect(),
                customers: customers.collect(),
                booked,
                dropped,
                quarantined,
            });
        }
        Previewed { outcomes, periods: shown, more }
    }
}
