//! Why an entry is what it is: for whoever asks for the reasons, as a tree from the amount to facts and people, and for the
//! customer, in one sentence (billing.md, section 9).

use serde::Serialize;

use super::{Action, Class, Entry, Kind, PriceSource};

/// Something about an entry, and what it follows from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// What it is about: `amount`, `exactAmount`, `unitPrice`, `override` and so on.
    pub what: &'static str,
    /// What it is.
    pub value: String,
    /// What it follows from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<Self>,
}

impl Reason {
    fn new(what: &'static str, value: impl ToString, because: impl Into<Vec<Self>>) -> Self {
        Self { what, value: value.to_string(), because: because.into() }
    }

    fn leaf(what: &'static str, value: impl ToString) -> Self {
        Self::new(what, value, [])
    }
}

/// Why an entry comes to what it does.
#[must_use]
pub fn explain(entry: &Entry) -> Reason {
    let amount = format!("{} {}", entry.amount, entry.amount.currency.code());
    let mut because = Vec::new();
    if let Some(correction) = &entry.correction {
        let links = [("reverses", &correction.reverses), ("rebooks", &correction.rebooks)];
        let links = links.into_iter().filter_map(|(what, id)| Some((what, id.as_ref()?)));
        because.extend(links.map(|(what, id)| Reason::leaf(what, id)));
        because.push(Reason::leaf("adjustment", &correction.adjustment_id));
        because.push(Reason::leaf("bookedPeriod", correction.booked_end));
    }
    if let Some(manual) = &entry.manual {
        because.push(Reason::leaf("description", &manual.description));
        because.push(Reason::leaf("adjustment", manual.adjustment));
        because.extend(manual.reverses.as_ref().map(|id| Reason::leaf("reverses", id)));
    }
    because.extend(entry.waiver.as_ref().map(|waiver| {
        let rules = waiver.rules.iter().map(|rule| Reason::leaf("rule", rule));
        let said = rules.chain([Reason::leaf("reason", &waiver.reason)]);
        let amount = format!("{} {}", waiver.amount, waiver.amount.currency.code());
        Reason::new("waived", amount, Vec::from_iter(said))
    }));
    because.push(exact(entry));
    because.push(cause(entry));
    Reason::new("amount", amount, because)
}

/// The amount before it was rounded. A reversal is not computed: it is what was booked, negated.
fn exact(entry: &Entry) -> Reason {
    let days = Reason::new(
        "days",
        format!("{} of {}", entry.days, entry.period_days),
        [
            Reason::leaf("from", entry.service_from),
            Reason::leaf("to", entry.service_to),
            Reason::leaf("dayPolicy", entry.policy.name()),
            Reason::leaf("servicePeriod", entry.period_end),
        ],
    );
    let price = |what, source: &PriceSource| {
        let kind = match source {
            PriceSource::Override(_) => "override",
            PriceSource::Row(_) => "row",
            PriceSource::Book(_) => "priceBook",
            PriceSource::Commitment(_) => "commitment",
        };
        Reason::new(what, kind, [Reason::leaf("event", source.position())])
    };
    let won = entry.price_sources.iter().map(|source| price("price", source));
    let lost = entry.price_losers.iter().map(|source| price("priceThatLost", source));
    let unit_price =
        Reason::new("unitPrice", &entry.unit_price.decimal, Vec::from_iter(won.chain(lost)));
    let mut because = vec![unit_price, Reason::leaf("quantity", entry.quantity)];
    because.extend(entry.measured.as_ref().map(|measured| {
        let unit = measured.unit.as_ref().map(|unit| Reason::leaf("unit", unit));
        Reason::new("measured", measured.amount.shown(), Vec::from_iter(unit))
    }));
    because.extend(entry.exchange.iter().map(|it| {
        let what = format!("{} {} for 1 {}", it.rate.shown(), it.to.code(), it.from.code());
        Reason::new("exchangeRate", what, [Reason::leaf("event", it.position)])
    }));
    because.push(days);
    Reason::new("exactMinorUnits", entry.exact.shown(), because)
}

/// The fact that it is due to, and who saw to it.
fn cause(entry: &Entry) -> Reason {
    let mut because = vec![
        Reason::leaf("actor", &entry.actor),
        Reason::leaf("effectiveAt", entry.effective_at.to_rfc3339()),
        Reason::leaf("addedBy", &entry.added_by),
    ];
    because.extend(entry.removed_by.as_ref().map(|who| Reason::leaf("removedBy", who)));
    because.extend(entry.reason.as_ref().map(|why| Reason::leaf("reason", why)));
    because.extend(entry.property_change.as_ref().map(|change| {
        let value = change.value.as_ref().map(|value| Reason::leaf("value", value));
        Reason::new("property", &change.property, Vec::from_iter(value))
    }));
    because.extend(entry.causes.iter().map(|position| Reason::leaf("event", position)));
    let action = match entry.action {
        Action::Removed => "removed",
        Action::Added => "added",
        Action::Changed => "changed",
        Action::Carried => "carried",
    };
    Reason::new("action", action, because)
}

/// Why an entry comes to what it does, for the customer. `description` says what it is of, `actor` who saw to it.
#[must_use]
pub fn sentence(entry: &Entry, description: &str, actor: &str) -> String {
    let code = entry.amount.currency.code();
    let amount = format!("{} {code}", entry.due());
    if let Some(change) = &entry.property_change {
        let said = match &change.value {
            Some(value) => format!("set {} to {value}", change.property),
            None => format!("took back what was set for {}", change.property),
        };
        let date = entry.effective_at.date_naive();
        return format!("{description}: {actor} {said} on {date}, which costs nothing.");
    }
    let each = match (&entry.measured, entry.quantity) {
        (Some(measured), quantity) => {
            let unit = measured.unit.as_deref().unwrap_or("units");
            let times = if quantity == 1 { String::new() } else { format!("{quantity} times ") };
            format!("{times}{} {unit}", measured.amount.shown())
        }
        (None, 1) => "it".to_owned(),
        (None, quantity) => format!("each of {quantity}"),
    };
    let price = format!("{} {code}", entry.unit_price.decimal);
    let last = entry.service_to.pred_opt().unwrap_or(entry.service_to);
    let time = if entry.days == entry.period_days {
        format!("for the whole time from {} to {last}", entry.service_from)
    } else {
        format!("for {} of {} days", entry.days, entry.period_days)
    };
    let what = match entry.kind {
        Kind::Recurring => format!("{price} for {each}, {time}, come to {amount}"),
        Kind::OneOff => format!("{price} for {each}, once, come to {amount}"),
        Kind::Usage => format!("{each} were used, at {price}, which comes to {amount}"),
        Kind::Manual => format!("{amount}, by hand"),
        Kind::Minimum => format!("{amount} are lacking to the least that is charged"),
        Kind::Commission => format!("{amount} are what the reseller earns of it, {time}"),
    };
    let what = match (entry.class, entry.correction.as_ref().and_then(|it| it.reverses.as_ref())) {
        (Class::Correction, Some(_)) => {
            format!("{amount} take back what was charged for the period to {}", entry.period_end)
        }
        (Class::Correction, None) => {
            format!("in the period to {}, as is known by now, {what}", entry.period_end)
        }
        (Class::Normal, _) => what,
    };
    let what = match &entry.waiver {
        Some(waiver) => format!("{what}, which is not charged: {}", waiver.reason),
        None => what,
    };
    let date = entry.effective_at.date_naive();
    let who = match entry.action {
        Action::Added => format!(" {actor} added it on {date}."),
        Action::Removed => format!(" {actor} removed it on {date}."),
        Action::Changed => format!(" {actor} changed it on {date}."),
        Action::Carried => String::new(),
    };
    format!("{description}: {what}.{who}")
}
