//! The components of a plan's price, as they are sent and shown.

use domain::billing::BillingSettings;
use domain::billing::component::{
    Charge, Component, ComponentKey, Interval, Rate, TIERS_MAX, Tier, Timing, units,
};
use domain::money::{Currency, Money};
use domain::text::name;
use domain::usage::{Aggregation, Meter};
use domain::{Faults, MeterKey, PropertyKey};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{KEY_RULE, ValueDocument, tax_category};

/// A part of what a plan costs, beside its own price.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ComponentDocument {
    /// Names it; never changes. Plans that have a component of the same key exchange it when one is changed for the
    /// other.
    pub key: String,
    /// As people read it; the key where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How it is taxed, where that is not as the plan is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tax_category: Option<String>,
    /// What is charged.
    pub kind: ChargeText,
    /// Of `property`: which one; what it is above what is included is charged for each unit held, by the month and in
    /// arrears.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub property: Option<String>,
    /// Of `property`: in which unit it is counted, such as `TB`, where its values have units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Of `property` and `usage`: so many units cost nothing; 0 where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub included: Option<ValueDocument>,
    /// Of `usage`: which of the service's meters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meter: Option<String>,
    /// Of `recurring`: how often; `month` where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<IntervalText>,
    /// Of `recurring`: at which end; `arrears` where it is left out. By the month in arrears it goes by billing periods, all
    /// else by terms that begin with what is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timing: Option<TimingText>,
    /// What a unit costs, as a decimal text such as `12.00`, in the provider's currency; of `package` a package; of
    /// `oneOff` all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<String>,
    /// How units are priced; `unit` where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateText>,
    /// Of `graduated` and `volume`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<TierDocument>,
    /// Of `package`: how many units one has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package_size: Option<ValueDocument>,
}

/// What is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ChargeText {
    /// What the other charges of a month lack to come to this, for each subscription.
    Minimum,
    /// Once for each subscription, with its first day.
    OneOff,
    /// By the month, for what a property is above what is included.
    Property,
    /// Again and again, for each unit held.
    Recurring,
    /// For what was used in a billing period, above what is included.
    Usage,
}

/// What a service counts.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MeterDocument {
    /// Names it; never changes.
    pub key: String,
    /// As people read it; the key where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// In which unit it counts, as people read it, such as `GB`; the key where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// What the readings of a billing period come to; `sum` where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregation: Option<AggregationText>,
}

/// What the readings of a billing period come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum AggregationText {
    /// All of them together.
    Sum,
    /// The largest.
    Max,
    /// The last.
    Last,
    /// How many different things were seen.
    Unique,
}

impl MeterDocument {
    pub(super) fn parse(&self, at: &str, faults: &mut Faults) -> Option<Meter> {
        let key = MeterKey::parse(&self.key);
        faults.ensure(key.is_some(), &format!("{at}/key"), "not_a_key", KEY_RULE);
        let name =
            faults.take(&format!("{at}/name"), name(self.name.as_deref().unwrap_or(&self.key)));
        let unit = faults
            .take(&format!("{at}/unit"), self::name(self.unit.as_deref().unwrap_or(&self.key)));
        let aggregation = self.aggregation.map(Aggregation::from).unwrap_or_default();
        Some(Meter { aggregation, key: key?, name: name?, unit: unit? })
    }
}

impl From<&Meter> for MeterDocument {
    fn from(meter: &Meter) -> Self {
        Self {
            key: meter.key.to_string(),
            name: Some(meter.name.clone()),
            unit: Some(meter.unit.clone()),
            aggregation: Some(meter.aggregation.into()),
        }
    }
}

/// How often something is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum IntervalText {
    /// By the month.
    Month,
    /// By the year.
    Year,
}

/// At which end something is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum TimingText {
    /// When it begins.
    Advance,
    /// When it is over.
    Arrears,
}

/// How units are priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum RateText {
    /// Each by the price of the tier that it lies in.
    Graduated,
    /// By packages; one that is begun costs all of it.
    Package,
    /// Each the same.
    Unit,
    /// All by the price of the tier that their number lies in.
    Volume,
}

/// A price from a number of units on.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TierDocument {
    /// It begins above so many units; the first above 0.
    pub above: ValueDocument,
    /// What a unit costs.
    pub price: String,
}

words! {
    IntervalText => Interval { Month, Year }
    TimingText => Timing { Advance, Arrears }
    AggregationText => Aggregation { Sum, Max, Last, Unique }
}

impl ComponentDocument {
    pub(super) fn parse(
        &self,
        at: &str,
        settings: &BillingSettings,
        faults: &mut Faults,
    ) -> Option<Component> {
        let key = ComponentKey::parse(&self.key);
        faults.ensure(key.is_some(), &format!("{at}/key"), "not_a_key", KEY_RULE);
        let name = self.name.as_deref().unwrap_or(&self.key);
        let name = faults.take(&format!("{at}/name"), self::name(name));
        self.check_fields(at, faults);
        let charge = match self.kind {
            ChargeText::Minimum => {
                let price = self.price(at, settings.currency, faults);
                price.map(|price| Charge::Minimum { price })
            }
            ChargeText::Usage => {
                let rate = self.rate(at, settings.currency, faults);
                let meter = self.meter(at, faults);
                let included = self.included(at, faults);
                rate.zip(meter).zip(included).map(|((rate, meter), included)| Charge::Usage {
                    included,
                    meter,
                    rate,
                })
            }
            ChargeText::OneOff => {
                let price = self.price(at, settings.currency, faults);
                price.map(|price| Charge::OneOff { price })
            }
            ChargeText::Property => {
                let rate = self.rate(at, settings.currency, faults);
                let property = self.property(at, faults);
                let included = self.included(at, faults);
                rate.zip(property).zip(included).map(|((rate, property), included)| {
                    Charge::Property { included, property, rate, unit: self.unit.clone() }
                })
            }
            ChargeText::Recurring => {
                let rate = self.rate(at, settings.currency, faults);
                rate.map(|rate| Charge::Recurring {
                    interval: self.interval.map_or(Interval::Month, Interval::from),
                    rate,
                    timing: self.timing.map_or(Timing::Arrears, Timing::from),
                })
            }
        };
        let tax_category = tax_category(self.tax_category.as_deref(), at, faults);
        Some(Component { charge: charge?, key: key?, name: name?, tax_category })
    }

    /// What its kind does not have is a fault.
    fn check_fields(&self, at: &str, faults: &mut Faults) {
        let here: &[&str] = match self.kind {
            ChargeText::Minimum | ChargeText::OneOff => &["price"],
            ChargeText::Usage => &["meter", "included", "price", "rate", "tiers", "packageSize"],
            ChargeText::Property => {
                &["property", "unit", "included", "price", "rate", "tiers", "packageSize"]
            }
            ChargeText::Recurring => {
                &["interval", "timing", "price", "rate", "tiers", "packageSize"]
            }
        };
        let of_rate: &[&str] = match self.rate {
            None | Some(RateText::Unit) => &["price"],
            Some(RateText::Package) => &["price", "packageSize"],
            Some(RateText::Graduated | RateText::Volume) => &["tiers"],
        };
        for (field, given) in [
            ("property", self.property.is_some()),
            ("unit", self.unit.is_some()),
            ("included", self.included.is_some()),
            ("meter", self.meter.is_some()),
            ("interval", self.interval.is_some()),
            ("timing", self.timing.is_some()),
            ("price", self.price.is_some()),
            ("rate", self.rate.is_some()),
            ("tiers", !self.tiers.is_empty()),
            ("packageSize", self.package_size.is_some()),
        ] {
            let is_priced_so =
                !["price", "tiers", "packageSize"].contains(&field) || of_rate.contains(&field);
            faults.ensure(
                !given || here.contains(&field) && is_priced_so,
                &format!("{at}/{field}"),
                "other_kind",
                "A component of this kind and rate has no such field.",
            );
        }
    }

    fn property(&self, at: &str, faults: &mut Faults) -> Option<PropertyKey> {
        let at = format!("{at}/property");
        faults.ensure(self.property.is_some(), &at, "missing", "Say which property it is for.");
        let key = PropertyKey::parse(self.property.as_deref()?);
        faults.ensure(key.is_some(), &at, "not_a_key", KEY_RULE);
        key
    }

    fn meter(&self, at: &str, faults: &mut Faults) -> Option<MeterKey> {
        let at = format!("{at}/meter");
        faults.ensure(self.meter.is_some(), &at, "missing", "Say which meter it is for.");
        let key = MeterKey::parse(self.meter.as_deref()?);
        faults.ensure(key.is_some(), &at, "not_a_key", KEY_RULE);
        key
    }

    fn included(&self, at: &str, faults: &mut Faults) -> Option<Decimal> {
        let Some(included) = &self.included else { return Some(Decimal::ZERO) };
        faults.take(&format!("{at}/included"), units(&included.text()))
    }

    fn price(&self, at: &str, currency: Currency, faults: &mut Faults) -> Option<Money> {
        let at = format!("{at}/price");
        faults.ensure(self.price.is_some(), &at, "missing", "Say what it costs.");
        faults.take(&at, Money::parse(self.price.as_deref()?, currency))
    }

    fn rate(&self, at: &str, currency: Currency, faults: &mut Faults) -> Option<Rate> {
        let rate = self.rate.unwrap_or(RateText::Unit);
        match rate {
            RateText::Unit => self.price(at, currency, faults).map(Rate::Unit),
            RateText::Package => {
                let price = self.price(at, currency, faults);
                let at = format!("{at}/packageSize");
                let size = self.package_size.as_ref();
                faults.ensure(size.is_some(), &at, "missing", "Say how many units a package has.");
                let size = size.and_then(|size| faults.take(&at, units(&size.text())));
                Some(Rate::Package { price: price?, size: size? })
            }
            RateText::Graduated | RateText::Volume => {
                faults.ensure(
                    self.tiers.len() <= TIERS_MAX,
                    &format!("{at}/tiers"),
                    "too_many",
                    &format!("A price has at most {TIERS_MAX} tiers."),
                );
                let tiers: Vec<_> = self
                    .tiers
                    .iter()
                    .enumerate()
                    .map(|(index, tier)| {
                        let at = format!("{at}/tiers/{index}");
                        let above = faults.take(&format!("{at}/above"), units(&tier.above.text()));
                        let price = Money::parse(&tier.price, currency);
                        let price = faults.take(&format!("{at}/price"), price);
                        Some(Tier { above: above?, price: price? })
                    })
                    .collect();
                let tiers = tiers.into_iter().collect::<Option<Vec<_>>>()?;
                let is_volume = rate == RateText::Volume;
                Some(if is_volume { Rate::Volume(tiers) } else { Rate::Graduated(tiers) })
            }
        }
    }

    fn of(component: &Component, kind: ChargeText) -> Self {
        Self {
            key: component.key.to_string(),
            name: Some(component.name.clone()),
            tax_category: component.tax_category.as_ref().map(ToString::to_string),
            kind,
            property: None,
            unit: None,
            included: None,
            meter: None,
            interval: None,
            timing: None,
            price: None,
            rate: None,
            tiers: Vec::new(),
            package_size: None,
        }
    }

    fn with_rate(self, rate: &Rate) -> Self {
        let number = |number: &dyn ToString| ValueDocument::Text(number.to_string());
        let tiers = |tiers: &[Tier]| {
            let tier = |tier: &Tier| TierDocument {
                above: number(&tier.above),
                price: tier.price.to_string(),
            };
            tiers.iter().map(tier).collect()
        };
        match rate {
            Rate::Unit(price) => Self { price: Some(price.to_string()), ..self },
            Rate::Package { price, size } => Self {
                price: Some(price.to_string()),
                rate: Some(RateText::Package),
                package_size: Some(number(size)),
                ..self
            },
            Rate::Graduated(list) => {
                Self { rate: Some(RateText::Graduated), tiers: tiers(list), ..self }
            }
            Rate::Volume(list) => Self { rate: Some(RateText::Volume), tiers: tiers(list), ..self },
        }
    }
}

impl From<&Component> for ComponentDocument {
    fn from(component: &Component) -> Self {
        match &component.charge {
            Charge::Minimum { price } => {
                let document = Self::of(component, ChargeText::Minimum);
                Self { price: Some(price.to_string()), ..document }
            }
            Charge::Usage { included, meter, rate } => {
                let document = Self::of(component, ChargeText::Usage).with_rate(rate);
                let included = Some(*included).filter(|it| *it != Decimal::ZERO);
                Self {
                    meter: Some(meter.to_string()),
                    included: included.map(|it| ValueDocument::Text(it.to_string())),
                    ..document
                }
            }
            Charge::OneOff { price } => {
                let document = Self::of(component, ChargeText::OneOff);
                Self { price: Some(price.to_string()), ..document }
            }
            Charge::Property { included, property, rate, unit } => {
                let document = Self::of(component, ChargeText::Property).with_rate(rate);
                let included = Some(*included).filter(|it| *it != Decimal::ZERO);
                Self {
                    property: Some(property.to_string()),
                    unit: unit.clone(),
                    included: included.map(|it| ValueDocument::Text(it.to_string())),
                    ..document
                }
            }
            Charge::Recurring { interval, rate, timing } => {
                let document = Self::of(component, ChargeText::Recurring).with_rate(rate);
                let (interval, timing) = (Some((*interval).into()), Some((*timing).into()));
                Self { interval, timing, ..document }
            }
        }
    }
}
