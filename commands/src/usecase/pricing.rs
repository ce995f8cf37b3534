//! Sellers' price books, and exchange rates.

use domain::billing::{ComponentKey, Markup, Says, Sort};
use domain::money::{Currency, Money, Percent};
use domain::organization::{Kind, Organization};
use domain::permission::Permission;
use domain::pricing::{PriceSetting, Pricing, PricingCommand, RateSetting, rate};
use domain::text::line;
use domain::{Faults, OrganizationId, PlanKey, Refusal, ServiceKey, SubscriptionId, TenantPath};
use projections::views::{OrganizationView, PriceView, RateView, SubscriptionView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::organizations::own_organization;
use super::services::Sold;
use super::{billing, billing_settings, optional_moment, optional_reason};
use crate::error::Stop;
use crate::unit::Unit;
use crate::{Input, Reply};

/// Most rows that are set at once.
pub(super) const ROWS_MAX: usize = 100;
/// Longest name of where a rate is from, in characters.
const SOURCE_MAX_CHARS: usize = 100;

/// Rows for a seller's price book.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetPrices {
    /// From 1 to 100 of them.
    pub rows: Vec<PriceRowText>,
    /// Why; finance will read it.
    pub reason: String,
}

/// A row of a price book. Of the rows of one series (the same service, plan, component, quantity, buyer or subscription, and
/// what it is about) the one that has begun last counts.
///
/// What it says is exactly one of `price`, `percent`, `percentOfList`, `percentOnCost`, `amountOnCost`, `listPrice`,
/// `costPrice` and `ends`.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PriceRowText {
    /// Of which service; only percentages and amounts on top may leave it out, and are of every service then.
    pub service: Option<String>,
    /// Of which plan; of every plan of the service where it is left out.
    pub plan: Option<String>,
    /// Of which component: its key; the plan's own price where it is left out.
    pub component: Option<String>,
    /// Only where so many are held, or more.
    pub from_quantity: Option<u32>,
    /// Only for this buyer: a reseller or customer directly below the seller.
    pub buyer_id: Option<String>,
    /// Only for this subscription.
    pub subscription_id: Option<String>,
    /// What it is sold for, per month and unit, or as the component says, such as `80.00`.
    pub price: Option<String>,
    /// More or less than it is sold for without this row, such as `-20`.
    pub percent: Option<String>,
    /// It is sold for so many percent of the list price, such as `70`.
    pub percent_of_list: Option<String>,
    /// It is sold for what the seller pays and so many percent on top, such as `10`.
    pub percent_on_cost: Option<String>,
    /// It is sold for what the seller pays and this amount on top.
    pub amount_on_cost: Option<String>,
    /// The list price: nobody is charged by it but by way of `percentOfList`.
    pub list_price: Option<String>,
    /// What the provider pays for it.
    pub cost_price: Option<String>,
    /// The seller says nothing any more of this sort: `price`, `markup`, `list` or `cost`.
    pub ends: Option<String>,
    /// Of the amount, by ISO 4217; the seller's where it is left out.
    pub currency: Option<String>,
    /// A time, or a date, which means its first moment at the seller; now where it is left out.
    pub effective_from: Option<String>,
    /// Until when (exclusive); until another row follows where it is left out.
    pub effective_to: Option<String>,
}

/// A row of a price book.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PriceRowResource {
    /// The position of its event.
    pub position: u64,
    /// Whose price book it stands in.
    pub organization_id: Uuid,
    /// Of which service; none: of every service.
    pub service: Option<String>,
    /// Of which plan; none: of every plan.
    pub plan: Option<String>,
    /// Of which component: `recurring` is the plan's own price.
    pub component: String,
    /// Only where so many are held, or more.
    pub from_quantity: u32,
    /// Only for this buyer.
    pub buyer_id: Option<Uuid>,
    /// Only for this subscription.
    pub subscription_id: Option<Uuid>,
    /// What it says: `price`, `percent`, `percentOfList`, `percentOnCost`, `amountOnCost`, `listPrice`, `costPrice` or
    /// `ends`.
    pub says: &'static str,
    /// To what it says it: a decimal text, or what ends.
    pub value: String,
    /// Of the amount, where it says one.
    pub currency: Option<String>,
    /// From when.
    pub effective_from: chrono::DateTime<chrono::Utc>,
    /// Until when.
    pub effective_to: Option<chrono::DateTime<chrono::Utc>>,
    /// Who set it.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
}

impl From<&PriceView> for PriceRowResource {
    fn from(view: &PriceView) -> Self {
        let PriceSetting { buyer, component, from_quantity, plan, says, seller, .. } =
            &view.setting;
        let PriceSetting { service, subscription, to, .. } = &view.setting;
        let amount = |money: &Money| (money.to_string(), Some(money.currency.code().to_owned()));
        let percent = |percent: &Percent| (percent.to_string(), None);
        let (says, (value, currency)) = match says {
            Says::Cost(money) => ("costPrice", amount(money)),
            Says::Ended(sort) => ("ends", (sort_name(*sort).to_owned(), None)),
            Says::List(money) => ("listPrice", amount(money)),
            Says::Markup(Markup::AmountOnCost(money)) => ("amountOnCost", amount(money)),
            Says::Markup(Markup::PercentOfList(it)) => ("percentOfList", percent(it)),
            Says::Markup(Markup::PercentOnCost(it)) => ("percentOnCost", percent(it)),
            Says::Percent(it) => ("percent", percent(it)),
            Says::Price(money) => ("price", amount(money)),
        };
        Self {
            position: view.position,
            organization_id: seller.0,
            service: service.as_ref().map(ToString::to_string),
            plan: plan.as_ref().map(ToString::to_string),
            component: component.to_string(),
            from_quantity: *from_quantity,
            buyer_id: buyer.map(|buyer| buyer.0),
            subscription_id: subscription.map(|subscription| subscription.0),
            says,
            value,
            currency,
            effective_from: view.effective_from,
            effective_to: *to,
            actor: view.actor.to_string(),
            reason: view.reason.clone(),
        }
    }
}

/// Rows of a price book that were set.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PriceRowsResource {
    /// They, in the order in which they were sent.
    pub rows: Vec<PriceRowResource>,
}

const SORTS: [(&str, Sort); 4] =
    [("cost", Sort::Cost), ("list", Sort::List), ("markup", Sort::Markup), ("price", Sort::Price)];

fn sort_name(sort: Sort) -> &'static str {
    SORTS.iter().find(|(_, it)| *it == sort).map_or("", |(name, _)| name)
}

pub(crate) fn set_prices(
    unit: &mut Unit<'_>,
    organization: &str,
    body: Input<SetPrices>,
) -> Result<Reply, Stop> {
    let path = unit.path_of(organization)?;
    unit.permit(Permission::OverridePrices, &path)?;
    let SetPrices { rows, reason } = unit.take(body)?;
    let id: OrganizationId = organization.parse().map_err(|_| Refusal::not_found())?;
    ensure_sells(unit, id)?;
    let mut faults = Faults::default();
    let reason = said(&mut faults, &reason);
    faults.ensure(
        (1..=ROWS_MAX).contains(&rows.len()),
        "/rows",
        "count",
        "Send from 1 to 100 rows at a time.",
    );
    let mut settings = Vec::with_capacity(rows.len());
    for (place, row) in rows.iter().enumerate().take(ROWS_MAX) {
        settings.extend(setting(unit, (id, &path), place, row, &mut faults)?);
    }
    faults.check()?;
    let mut set = Vec::with_capacity(settings.len());
    for (from, setting) in settings {
        unit.because(from, reason.clone());
        let position = pricing(unit, &path, PricingCommand::SetPrice(setting))?;
        let view = unit.view::<PriceView>(&format!("{position:020}"));
        set.push(PriceRowResource::from(&*view.ok_or_else(Refusal::not_found)?));
    }
    Ok(Reply::unversioned(&PriceRowsResource { rows: set }))
}

/// Sets a row or a rate, and gives the position of its event.
pub(super) fn pricing(
    unit: &mut Unit<'_>,
    path: &TenantPath,
    command: PricingCommand,
) -> Result<u64, Stop> {
    let name = unit.id();
    unit.begin::<Pricing>(name);
    let position = unit.next_position();
    unit.execute::<Pricing>(name, path, command)?;
    Ok(position)
}

/// The seller who is named, or the caller's own organisation, where the caller may do this, and its place.
pub(super) fn seller(
    unit: &mut Unit<'_>,
    named: Option<String>,
    permission: Permission,
) -> Result<(OrganizationId, TenantPath), Stop> {
    let organization = match named {
        Some(id) => id,
        None => own_organization(unit)?.to_string(),
    };
    let path = unit.path_of(&organization)?;
    unit.permit(permission, &path)?;
    let id: OrganizationId = organization.parse().map_err(|_| Refusal::not_found())?;
    ensure_sells(unit, id)?;
    Ok((id, path))
}

fn ensure_sells(unit: &mut Unit<'_>, id: OrganizationId) -> Result<(), Stop> {
    if unit.load::<Organization>(id).founded()?.kind == Kind::Customer {
        let detail = "A customer sells nothing, and so sets no prices.";
        return Err(Refusal::conflict("not_a_seller", detail).into());
    }
    Ok(())
}

pub(super) fn said(faults: &mut Faults, text: &str) -> Option<String> {
    let reason = optional_reason(faults, Some(text));
    faults.ensure(!text.trim().is_empty(), "/reason", "empty", "Finance will ask: say why.");
    reason
}

type Dated = (Option<chrono::DateTime<chrono::Utc>>, PriceSetting);

/// A row as it is set, with when it is from; none where a fault was noted.
fn setting(
    unit: &mut Unit<'_>,
    (seller, path): (OrganizationId, &TenantPath),
    place: usize,
    row: &PriceRowText,
    faults: &mut Faults,
) -> Result<Option<Dated>, Stop> {
    let at = |field: &str| format!("/rows/{place}/{field}");
    let billing = billing_settings(unit, seller)?;
    let sold = match &row.service {
        Some(key) => {
            let sold = Sold::find(unit, key);
            let detail = "No such service is sold.";
            faults.ensure(sold.is_some(), &at("service"), "unknown_service", detail);
            sold.map(|sold| sold.definition)
        }
        None => None,
    };
    let plan = row.plan.as_deref().and_then(PlanKey::parse);
    let is_known = |key: &PlanKey| sold.as_ref().is_some_and(|sold| sold.plan(key).is_some());
    faults.ensure(
        row.plan.is_none() || plan.as_ref().is_some_and(is_known),
        &at("plan"),
        "unknown_plan",
        "The service has no such plan.",
    );
    let component = match row.component.as_deref() {
        None => Some(ComponentKey::RECURRING),
        Some(text) if text == ComponentKey::RECURRING.as_str() => Some(ComponentKey::RECURRING),
        Some(text) => ComponentKey::parse(text).filter(|key| {
            sold.as_ref()
                .is_some_and(|sold| sold.plans.iter().any(|plan| plan.component(key).is_some()))
        }),
    };
    faults.ensure(
        component.is_some(),
        &at("component"),
        "unknown_component",
        "No plan of the service has such a component.",
    );
    let says = says(row, billing.currency, &at, faults);
    let is_rule = matches!(says, Some(Says::Markup(_) | Says::Percent(_) | Says::Ended(_)));
    faults.ensure(
        row.service.is_some() || is_rule || says.is_none(),
        &at("service"),
        "missing",
        "An amount is the price of one service: name it.",
    );
    let buyer = buyer(unit, seller, path, row.buyer_id.as_deref())?;
    faults.ensure(
        row.buyer_id.is_none() || buyer.is_some(),
        &at("buyerId"),
        "not_a_buyer",
        "There is no such reseller or customer directly below the seller.",
    );
    let subscription = match row.subscription_id.as_deref() {
        Some(text) => subscription(unit, path, text, row.service.as_deref()),
        None => None,
    };
    faults.ensure(
        row.subscription_id.is_none() || subscription.is_some(),
        &at("subscriptionId"),
        "unknown",
        "There is no such subscription of the service below the seller.",
    );
    let from =
        optional_moment(faults, &at("effectiveFrom"), row.effective_from.as_deref(), &billing);
    let to = optional_moment(faults, &at("effectiveTo"), row.effective_to.as_deref(), &billing);
    let begins = from.unwrap_or(unit.now());
    faults.ensure(
        to.is_none_or(|to| to > begins),
        &at("effectiveTo"),
        "not_after",
        "A price ends after it begins.",
    );
    let (Some(component), Some(says)) = (component, says) else { return Ok(None) };
    let service = row.service.as_deref().and_then(ServiceKey::parse);
    let from_quantity = row.from_quantity.unwrap_or(0);
    Ok(Some((
        from,
        PriceSetting {
            buyer,
            component,
            from_quantity,
            plan,
            says,
            seller,
            service,
            subscription,
            to,
        },
    )))
}

/// What a row says; none where a fault was noted.
fn says(
    row: &PriceRowText,
    own: Currency,
    at: &impl Fn(&str) -> String,
    faults: &mut Faults,
) -> Option<Says> {
    let currency = match &row.currency {
        Some(code) => faults.take(&at("currency"), Currency::parse(code))?,
        None => own,
    };
    let mut said = Vec::new();
    for (field, text, make) in [
        ("price", &row.price, Says::Price as fn(Money) -> Says),
        ("amountOnCost", &row.amount_on_cost, |it| Says::Markup(Markup::AmountOnCost(it))),
        ("listPrice", &row.list_price, Says::List),
        ("costPrice", &row.cost_price, Says::Cost),
    ] {
        let Some(text) = text else { continue };
        let money = faults.take(&at(field), Money::parse(text, currency));
        let is_negative = money.is_some_and(|money| money.minor < 0);
        faults.ensure(!is_negative, &at(field), "negative", "A price is not negative.");
        said.push(money.map(make));
    }
    for (field, text, make) in [
        ("percent", &row.percent, Says::Percent as fn(Percent) -> Says),
        ("percentOfList", &row.percent_of_list, |it| Says::Markup(Markup::PercentOfList(it))),
        ("percentOnCost", &row.percent_on_cost, |it| Says::Markup(Markup::PercentOnCost(it))),
    ] {
        let Some(text) = text else { continue };
        said.push(faults.take(&at(field), Percent::parse(text)).map(make));
    }
    if let Some(text) = &row.ends {
        let sort = SORTS.iter().find(|(name, _)| name == text).map(|(_, sort)| *sort);
        let detail = "This is price, markup, list or cost.";
        faults.ensure(sort.is_some(), &at("ends"), "unknown_sort", detail);
        said.push(sort.map(Says::Ended));
    }
    let detail = "Say exactly one of price, percent, percentOfList, percentOnCost, amountOnCost, listPrice, costPrice and ends.";
    faults.ensure(said.len() == 1, at("").trim_end_matches('/'), "says_one_thing", detail);
    match said[..] {
        [said] => said,
        _ => None,
    }
}

/// Somebody directly below a seller, if there is one of that id.
fn buyer(
    unit: &mut Unit<'_>,
    seller: OrganizationId,
    path: &TenantPath,
    text: Option<&str>,
) -> Result<Option<OrganizationId>, Stop> {
    let Some(id) = text.and_then(|text| text.parse::<OrganizationId>().ok()) else {
        return Ok(None);
    };
    let view = unit.view::<OrganizationView>(&id.to_string());
    let is_below =
        view.is_some_and(|view| view.parent == Some(seller) && path.contains(&view.path));
    Ok(is_below.then_some(id))
}

fn subscription(
    unit: &mut Unit<'_>,
    path: &TenantPath,
    text: &str,
    service: Option<&str>,
) -> Option<SubscriptionId> {
    let id = text.parse::<SubscriptionId>().ok()?;
    let view = unit.view::<SubscriptionView>(&id.to_string())?;
    let is_its = service.is_some_and(|service| service == view.service.as_str());
    (is_its && path.contains(&view.path)).then_some(id)
}

/// Exchange rates.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetExchangeRates {
    /// Whose: they hold for this seller and those below who have none of their own; the caller's own
    /// organisation where it is left out.
    pub organization_id: Option<String>,
    /// From 1 to 100 of them.
    pub rates: Vec<ExchangeRateText>,
    /// Kept with the events.
    pub reason: Option<String>,
}

/// What one unit of a currency costs in another. A billing period goes by the rate in force on its last date.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExchangeRateText {
    /// What is exchanged, by ISO 4217.
    pub from: String,
    /// Into what.
    pub to: String,
    /// So many units of the other currency for one of this, such as `0.9015`.
    pub rate: String,
    /// The first date, such as `2020-03-01`.
    pub effective_from: String,
    /// Where it is from, such as `ECB`.
    pub source: String,
}

/// An exchange rate.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExchangeRateResource {
    /// The position of its event.
    pub position: u64,
    /// Whose.
    pub organization_id: Uuid,
    /// What is exchanged.
    pub from: String,
    /// Into what.
    pub to: String,
    /// So many units of the other currency for one of this.
    pub rate: String,
    /// The first date.
    pub effective_from: chrono::NaiveDate,
    /// Where it is from.
    pub source: String,
    /// Who set it.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
}

impl From<&RateView> for ExchangeRateResource {
    fn from(view: &RateView) -> Self {
        let RateSetting { from, rate, seller, since, source, to } = &view.setting;
        Self {
            position: view.position,
            organization_id: seller.0,
            from: from.code().to_owned(),
            to: to.code().to_owned(),
            rate: rate.shown(),
            effective_from: *since,
            source: source.clone(),
            actor: view.actor.to_string(),
            reason: view.reason.clone(),
        }
    }
}

/// Exchange rates that were set.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ExchangeRatesResource {
    /// They, in the order in which they were sent.
    pub rates: Vec<ExchangeRateResource>,
}

pub(crate) fn set_rates(unit: &mut Unit<'_>, body: Input<SetExchangeRates>) -> Result<Reply, Stop> {
    unit.require(Permission::ManageBilling)?;
    let SetExchangeRates { organization_id, rates, reason } = unit.take(body)?;
    let (id, path) = seller(unit, organization_id, Permission::ManageBilling)?;
    let mut faults = Faults::default();
    let reason = optional_reason(&mut faults, reason.as_deref());
    faults.ensure(
        (1..=ROWS_MAX).contains(&rates.len()),
        "/rates",
        "count",
        "Send from 1 to 100 rates at a time.",
    );
    let mut settings = Vec::with_capacity(rates.len());
    for (place, text) in rates.iter().enumerate().take(ROWS_MAX) {
        let at = |field: &str| format!("/rates/{place}/{field}");
        let from = faults.take(&at("from"), Currency::parse(&text.from));
        let to = faults.take(&at("to"), Currency::parse(&text.to));
        let detail = "A currency costs one in itself.";
        faults.ensure(from.is_none() || from != to, &at("to"), "same_currency", detail);
        let rate = faults.take(&at("rate"), rate(&text.rate));
        let since = faults.take(&at("effectiveFrom"), billing::date(&text.effective_from));
        let source = faults.take(&at("source"), line(&text.source, SOURCE_MAX_CHARS));
        if let (Some(from), Some(to), Some(rate), Some(since), Some(source)) =
            (from, to, rate, since, source)
        {
            settings.push(RateSetting { from, rate, seller: id, since, source, to });
        }
    }
    faults.check()?;
    unit.because(None, reason);
    let mut set = Vec::with_capacity(settings.len());
    for setting in settings {
        let position = pricing(unit, &path, PricingCommand::SetRate(setting))?;
        let view = unit.view::<RateView>(&format!("{position:020}"));
        set.push(ExchangeRateResource::from(&*view.ok_or_else(Refusal::not_found)?));
    }
    Ok(Reply::unversioned(&ExchangeRatesResource { rates: set }))
}
