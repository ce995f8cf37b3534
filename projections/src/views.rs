//! Every view there is: a file each, and this list.

mod access;
mod activity;
mod adjustment;
mod approval;
mod approving;
mod asked;
mod backdated;
mod books;
mod calendar;
mod former;
mod holding;
mod name;
mod number;
mod offer;
mod organization;
mod overriding;
mod permission;
mod pricing;
mod request;
mod retention;
mod role;
mod rulebook;
mod service;
mod subscription;
mod usage;
mod user;

use chrono::{DateTime, Utc};
use domain::TenantPath;
use domain::event::{Event, Recorded};
use domain::lifecycle::Status;
use domain::organization::OrganizationEvent;
use eventstore::{Rows, Source};

pub use access::AccessView;
pub use activity::ActivityView;
pub use adjustment::AdjustmentView;
pub use approval::{ApprovalView, Asked};
pub use approving::ApprovalPolicyView;
pub use asked::AskedView;
pub use backdated::{BackdatedView, Subject};
pub use books::{BooksView, Closed, ClosingPeriod, Rerate};
pub use calendar::CalendarView;
pub use domain::subscription::{Status as SubscriptionStatus, Verb};
pub use former::FormerView;
pub use holding::HoldingView;
pub use name::{
    NameView, PROVIDER_KEY, billing_identifier_key, code_key, login_key, role_name_key,
};
pub use number::{NumberView, ORGANIZATION_NUMBERS};
pub use offer::OfferView;
pub use organization::{Edge, OrganizationView};
pub use overriding::OverrideView;
pub use permission::PermissionView;
pub use pricing::{CommitmentView, PriceView, RateView};
pub use request::{RequestStatus, RequestView};
pub use retention::RetentionView;
pub use role::RoleView;
pub use rulebook::{Described, RulebookView, Said, described};
pub use service::{Publication, ServiceView, SkuRow, TaxedRow};
pub use subscription::{Holder, Scheduled, SubscriptionView};
pub use usage::UsageView;
pub use user::UserView;

use crate::document::{Below, Documents, View, Wants, fold, relocate};
use crate::tables;

/// Declares the views: the struct that holds documents of each, and what is done for each in turn.
macro_rules! views {
    ($($field:ident: $view:ident,)*) => {
        /// Documents of every view: a layer of an overlay, a cache, or all that a rebuild knows.
        #[derive(Clone, Debug, Default)]
        pub struct Views {
            $(
                #[doc = concat!("Documents of [`", stringify!($view), "`].")]
                pub $field: Documents<$view>,
            )*
        }

        /// The tables of those views whose documents go along when an organisation moves.
        pub fn moving_tables() -> impl Iterator<Item = &'static str> {
            [$(($view::TABLE, $view::MOVES)),*].into_iter().filter(|(_, moves)| *moves).map(|(table, _)| table)
        }

        /// The table of each view.
        pub const TABLES: &[(&str, &[&str])] = &[$(($view::TABLE, $view::INDEXES)),*];

        impl Views {
            /// Folds an event into this layer. What nothing is known of is taken to be absent, and
            /// noted in `wants`: unless it really is absent, this layer has to be thrown away.
            pub fn fold(&mut self, event: &Recorded, below: &impl Below, wants: &mut Wants) {
                if let Some((from, to)) = moved(event) {
                    $(relocate::<$view>(from, to, self, below, wants);)*
                    holding::relocate(from, to, self, below, wants);
                }
                holding::count(event, -1, self, below, wants);
                $(fold::<$view>(event, self, below, wants);)*
                holding::count(event, 1, self, below, wants);
            }

            /// Takes over what a newer layer knows.
            pub fn absorb(&mut self, newer: Self) {
                $(self.$field.absorb(newer.$field);)*
            }

            /// Forgets every document that an event touches.
            pub fn forget(&mut self, event: &Recorded) {
                $(for touch in $view::touched(event) {
                    self.$field.forget(&touch.key);
                })*
                if let Some((from, to)) = moved(event) {
                    $(if $view::MOVES {
                        self.$field.forget_at(from);
                    })*
                    holding::forget(from, to, self);
                }
            }

            /// Notes every document that is known here.
            pub(crate) fn note(&self, wants: &mut Wants) {
                $(self.$field.iter().for_each(|(key, _)| wants.add($view::TABLE, key));)*
            }

            /// Loads all that goes along with an event that moves an organisation, if it is one.
            ///
            /// # Errors
            /// What the database says.
            pub(crate) async fn load_moved(
                &mut self,
                source: &mut impl Source,
                event: &Recorded,
                suffix: &str,
            ) -> Result<(), eventstore::Error> {
                if let Some((from, _)) = moved(event) {
                    $(if $view::MOVES {
                        tables::load_below(source, &mut self.$field, from, suffix).await?;
                    })*
                }
                Ok(())
            }

            /// Notes every document that an event touches and nothing is known of here.
            pub fn miss(&self, event: &Recorded, wants: &mut Wants) {
                $(for touch in $view::touched(event) {
                    if self.$field.get(&touch.key).is_none() {
                        wants.add($view::TABLE, &touch.key);
                    }
                })*
                if let Some((from, to)) = moved(event) {
                    holding::miss(from, to, self, wants);
                }
            }

            /// How many documents are known.
            #[must_use]
            pub fn len(&self) -> usize {
                0 $(+ self.$field.len())*
            }

            /// Whether no document is known.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// The rows that keep these documents, for tables whose names end in `suffix`.
            pub fn rows(&mut self, suffix: &str, position: u64) -> impl Iterator<Item = Rows> {
                std::iter::empty()$(.chain(tables::rows(&mut self.$field, suffix, position)))*
            }

            /// Makes the stored forms of these documents in advance: then their rows are made quickly.
            pub fn write_down(&mut self) {
                $(self.$field.write_down();)*
            }

            /// The keys of all documents of a tenant and of those below it, in a view's table.
            ///
            /// # Errors
            /// What the database says.
            pub async fn keys_below(
                source: &mut impl Source,
                table: &str,
                path: &TenantPath,
            ) -> Result<Vec<String>, eventstore::Error> {
                $(if table == $view::TABLE {
                    return tables::keys_below::<$view>(source, path).await;
                })*
                Ok(Vec::new())
            }

            /// Loads what is wanted: one statement for each table that anything is wanted of.
            ///
            /// # Errors
            /// What the database says.
            pub async fn load(
                &mut self,
                source: &mut impl Source,
                wants: &Wants,
                suffix: &str,
            ) -> Result<(), eventstore::Error> {
                $(if let Some(keys) = wants.0.get($view::TABLE) {
                    tables::load(source, &mut self.$field, keys, suffix).await?;
                })*
                Ok(())
            }
        }
    };
}

views! {
    access: AccessView,
    activity: ActivityView,
    adjustments: AdjustmentView,
    approval_policies: ApprovalPolicyView,
    approvals: ApprovalView,
    asked: AskedView,
    backdated: BackdatedView,
    books: BooksView,
    calendars: CalendarView,
    commitments: CommitmentView,
    former: FormerView,
    holdings: HoldingView,
    names: NameView,
    numbers: NumberView,
    offers: OfferView,
    organizations: OrganizationView,
    overrides: OverrideView,
    prices: PriceView,
    permissions: PermissionView,
    rates: RateView,
    requests: RequestView,
    retained: RetentionView,
    roles: RoleView,
    rulebooks: RulebookView,
    services: ServiceView,
    subscriptions: SubscriptionView,
    usage: UsageView,
    users: UserView,
}

/// From where to where an event puts an organisation, if it does.
fn moved(event: &Recorded) -> Option<(&TenantPath, &TenantPath)> {
    match &event.event {
        Event::Organization(OrganizationEvent::Moved { from, path, .. }) => Some((from, path)),
        _ => None,
    }
}

/// In front of the kind of what is deleted: lists leave it out where they are not asked for it.
pub const DELETED: &str = "deleted ";
/// The same of what is hidden for good: no list has it.
pub const PURGED: &str = "deleted and purged ";

/// The kind under which something is kept.
fn kept_as(kind: &str, status: Status) -> String {
    match status {
        Status::Active | Status::Disabled | Status::Deprovisioned => kind.to_owned(),
        Status::Deleted => format!("{DELETED}{kind}"),
        Status::Purged => format!("{PURGED}{kind}"),
    }
}

/// When something was deleted that has this status after an event.
fn deleted_at(
    status: Status,
    before: Option<DateTime<Utc>>,
    event: &Recorded,
) -> Option<DateTime<Utc>> {
    status.is_gone().then(|| before.unwrap_or(event.recorded_at))
}

/// The two methods that find a view's documents among all.
macro_rules! held_in {
    ($field:ident) => {
        fn of(views: &crate::views::Views) -> &crate::document::Documents<Self> {
            &views.$field
        }

        fn of_mut(views: &mut crate::views::Views) -> &mut crate::document::Documents<Self> {
            &mut views.$field
        }
    };
}
use held_in;
