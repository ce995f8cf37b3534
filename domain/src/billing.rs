//! Billing: turns dated facts into entries, exactly and always the same way (billing.md).
//!
//! [`rate`] is the one function that every preview, running total, close and replay calls.

pub mod adjustment;
pub mod books;
mod bridge;
mod calendar;
mod chain;
pub mod component;
mod correction;
pub mod description;
mod explain;
pub mod merkle;
mod policy;
mod price;
mod rating;
pub mod rule;
pub mod rulebook;
pub mod seal;
mod summary;
pub mod tax;
mod timeline;

pub use bridge::{Cause, Difference, differences};
pub use calendar::{BillingSettings, CalendarRule, Period, RuleChange};
pub use chain::{BookRow, Exchange, Markup, RateRow, Says, SellerPrices, Sort, exchanged};
pub use component::ComponentKey;
pub use correction::{Correction, correct};
pub use explain::{Reason, explain, sentence};
pub use policy::{DayPolicy, Suspended};
pub use price::{
    ComponentRow, Measure, Measured, Overridden, Override, Payer, PolicyRow, PriceOverride,
    PriceRow, PriceSource, Priced, Prices, Quarantine, QuarantineReason, Setting,
};
pub use rating::{
    Action, Class, Commitment, Entry, Kind, Pinned, PropertyChange, Sharing, Subject, commissions,
    rate, rate_after,
};
pub use rule::Waiver;
pub use summary::{CustomerSummary, Detail, Overflow, SummaryRow, summarize, total_by_customer};
pub use timeline::{
    Change, Fact, Holding, Reading, Rest, Run, Timeline, Turn, Values, begun_by, held_at,
};
