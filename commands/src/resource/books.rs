//! Periods as they are closed.

use chrono::NaiveDate;
use domain::OrganizationId;
use domain::billing::books::Person;
use domain::event::Actor;
use projections::views::BooksView;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// How far a seller's period is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum PeriodState {
    /// What it comes to follows what is known.
    Open,
    /// Somebody has asked to close it.
    Closing,
    /// It never changes any more.
    Closed,
}

/// A seller's period.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeriodResource {
    /// The seller.
    pub organization_id: Uuid,
    /// Its name: its last date.
    pub end_date: NaiveDate,
    /// How far it is.
    pub state: PeriodState,
    /// The position up to which the log counts; none while it is open.
    pub cutoff: Option<u64>,
    /// Whoever asked to close it, while that is being done.
    pub asked_by: Option<Uuid>,
    /// Whoever approved that, while it is being done.
    pub approved_by: Option<Uuid>,
    /// Subscriptions that are left out.
    pub deferred: Vec<Uuid>,
    /// How many entries are sealed; so far, while it is being closed.
    pub entries: Option<u64>,
    /// The position of the event that closed it, which has the seal.
    pub position: Option<u64>,
}

/// As whom somebody asked or approved; none: Atrium itself.
#[must_use]
pub fn user_of(person: Person) -> Option<Uuid> {
    match (person.on_behalf_of, person.actor) {
        (Some(user), _) | (None, Actor::User(user)) => Some(user.0),
        (None, Actor::System) => None,
    }
}

impl PeriodResource {
    /// As a buyer is shown it: without what others have to do with it.
    #[must_use]
    pub fn for_buyers(self) -> Self {
        Self { asked_by: None, approved_by: None, deferred: Vec::new(), entries: None, ..self }
    }

    /// A period of a seller's books, if he has any yet.
    #[must_use]
    pub fn new(seller: OrganizationId, end: NaiveDate, books: Option<&BooksView>) -> Self {
        let open = Self {
            organization_id: seller.0,
            end_date: end,
            state: PeriodState::Open,
            cutoff: None,
            asked_by: None,
            approved_by: None,
            deferred: Vec::new(),
            entries: None,
            position: None,
        };
        let Some(books) = books else { return open };
        if let Some(closed) = books.closed(end, u64::MAX) {
            return Self {
                state: PeriodState::Closed,
                cutoff: Some(closed.cutoff),
                deferred: closed.deferred.iter().map(|id| id.0).collect(),
                entries: Some(closed.entries),
                position: Some(closed.position),
                ..open
            };
        }
        match books.closing.as_ref().filter(|closing| closing.end == end) {
            None => open,
            Some(closing) => Self {
                state: PeriodState::Closing,
                cutoff: Some(closing.cutoff),
                asked_by: user_of(closing.asked_by),
                approved_by: closing.approved_by.and_then(user_of),
                deferred: closing.deferred.iter().map(|id| id.0).collect(),
                entries: Some(closing.entries),
                ..open
            },
        }
    }
}

/// Closed periods that are rated again, with prices that were not known when they were closed.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RerateResource {
    /// The seller.
    pub organization_id: Uuid,
    /// The first of the periods: its last date.
    pub from_end_date: NaiveDate,
    /// The last of them.
    pub to_end_date: NaiveDate,
    /// Whoever asked.
    pub asked_by: Option<Uuid>,
    /// Whoever approved, once somebody did.
    pub approved_by: Option<Uuid>,
}

impl RerateResource {
    /// As somebody asked for it.
    #[must_use]
    pub fn asked(seller: OrganizationId, by: Person, from: NaiveDate, to: NaiveDate) -> Self {
        Self {
            organization_id: seller.0,
            from_end_date: from,
            to_end_date: to,
            asked_by: user_of(by),
            approved_by: None,
        }
    }

    /// As somebody else approved it.
    #[must_use]
    pub fn approved(self, by: Person) -> Self {
        Self { approved_by: user_of(by), ..self }
    }
}
