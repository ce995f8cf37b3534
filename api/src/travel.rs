//! Time travel: as of which moment of the business something is asked, and as it was known when (docs/adr/0033).

use axum::http::StatusCode;
use chrono::{DateTime, NaiveDate, SecondsFormat, SubsecRound as _, Utc};
use domain::billing::BillingSettings;
use projections::past;

use crate::app::App;
use crate::billing::end_date_of;
use crate::problem::Problem;

/// When a question is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Then {
    /// What was true by this moment; none: where all counts, or now.
    pub as_of: Option<DateTime<Utc>>,
    /// What was known at this position; none: now.
    pub known_at: Option<u64>,
}

/// A moment of the business, as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// When this date begins, where a seller is.
    Date(NaiveDate),
    /// This one.
    Time(DateTime<Utc>),
}

impl AsOf {
    /// How it is written.
    pub const IS: &'static str =
        "This is a time such as 2019-11-30T10:00:00Z, or a date such as 2019-11-30.";

    /// Reads it; none where the text is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let time = || {
            let time = DateTime::parse_from_rfc3339(text).ok()?;
            // Nothing is recorded more finely.
            Some(Self::Time(time.to_utc().trunc_subsecs(6)))
        };
        end_date_of(text).map(Self::Date).or_else(time)
    }

    /// The moment, where somebody bills by these settings.
    #[must_use]
    pub fn moment(self, settings: &BillingSettings) -> DateTime<Utc> {
        match self {
            Self::Date(date) => settings.midnight(date),
            Self::Time(time) => time,
        }
    }
}

/// A position, written as such or as a time.
///
/// # Errors
/// 400 where it is neither; what the database says.
pub async fn known_at(app: &App, text: &str) -> Result<u64, Problem> {
    if let Ok(position) = text.parse() {
        return Ok(position);
    }
    let time = DateTime::parse_from_rfc3339(text).map_err(|_| {
        let detail = "This is a position or a time such as 2019-11-30T10:00:00Z.";
        Problem::bad_parameter("knownAt", detail)
    })?;
    Ok(app.log().position_at(time.timestamp_micros()).await?)
}

/// There is too much that was not held then between what was.
#[must_use]
pub fn too_much_between() -> Problem {
    let detail =
        "Too much lies between that was not held then; ask for less, such as one customer's.";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "too_much_between", detail)
}

impl Then {
    /// As it was asked for.
    ///
    /// # Errors
    /// 400 where a parameter is none; what the database says.
    pub async fn parse(
        app: &App,
        (as_of, known): (Option<&str>, Option<&str>),
        settings: &BillingSettings,
    ) -> Result<Self, Problem> {
        let parse =
            |text| AsOf::parse(text).ok_or_else(|| Problem::bad_parameter("asOf", AsOf::IS));
        let as_of = as_of.map(parse).transpose()?.map(|as_of| as_of.moment(settings));
        let known_at = match known {
            None => None,
            Some(text) => Some(known_at(app, text).await?),
        };
        Ok(Self { as_of, known_at })
    }

    /// When something was held, as it is asked for; none where that is now.
    #[must_use]
    pub fn of_holding(self, now: DateTime<Utc>) -> Option<past::Then> {
        let Self { as_of, known_at } = self;
        let is_asked = as_of.is_some() || known_at.is_some();
        is_asked.then(|| past::Then { as_of: as_of.unwrap_or(now), known_at })
    }

    /// As exports say it, by name.
    pub fn named(self) -> impl Iterator<Item = (&'static str, String)> {
        let time = |moment: DateTime<Utc>| moment.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let as_of = self.as_of.map(|as_of| ("asOf", time(as_of)));
        let known_at = self.known_at.map(|position| ("knownAt", position.to_string()));
        as_of.into_iter().chain(known_at)
    }
}
