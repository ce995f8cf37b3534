//! Activity: what happened at an organisation, day by day.

use std::sync::Arc;

use async_graphql::connection::{Connection, Edge, OpaqueCursor};
use async_graphql::{Context, Object, SimpleObject};
use domain::TenantPath;
use projections::finder::{Cursor, Query as Wanted};
use projections::views::ActivityView;

use super::connection::{Slice, check, has_more, turned};
use super::reading::{Reading, Resolved, reading};
use super::scalar::{Date, Position};
use crate::problem::Problem;

/// One organisation's day, by the time of recording (UTC). The events themselves lie between the two
/// positions.
#[derive(Clone)]
pub(crate) struct Activity(Arc<ActivityView>);

/// How many events of a category there were.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct ActivityCount {
    /// What the events are about: `subscription`, `user`, `organization`, ...
    category: String,
    /// How many.
    count: u32,
}

/// One organisation's day, by the time of recording (UTC). The events themselves lie between the two
/// positions.
#[Object]
impl Activity {
    /// The day.
    async fn day(&self) -> Resolved<Date> {
        self.0.day.parse().map(Date).map_err(|_| Problem::internal())
    }

    /// How many events there were of each category, by its name.
    async fn counts(&self) -> Vec<ActivityCount> {
        let counts = self.0.counts.iter();
        counts
            .map(|(category, count)| ActivityCount { category: category.clone(), count: *count })
            .collect()
    }

    /// How many events there were.
    async fn total(&self) -> u64 {
        self.0.counts.values().map(|count| u64::from(*count)).sum()
    }

    /// The position of the day's first event.
    async fn first_position(&self) -> Position {
        Position(self.0.first)
    }

    /// The position of the day's last event.
    async fn last_position(&self) -> Position {
        Position(self.0.last)
    }
}

/// How many days there are altogether; counted only where somebody asks.
pub(crate) struct CountedDays(TenantPath);

#[Object]
impl CountedDays {
    /// How many nodes there are altogether.
    async fn total_count(&self, context: &Context<'_>) -> Resolved<Option<u64>> {
        reading(context).days_at(&self.0).await.map(Some)
    }
}

/// Days, the newest first.
pub(crate) type ActivityConnection = Connection<OpaqueCursor<Cursor>, Activity, CountedDays>;

impl Activity {
    /// The days of an organisation on which something happened, the newest first.
    pub(crate) async fn list(
        reading: &Reading,
        path: &TenantPath,
        slice: &Slice,
    ) -> Resolved<Option<ActivityConnection>> {
        let window = slice.window::<Cursor>()?;
        check(&window)?;
        // They are kept the oldest first.
        let cut = turned(&window);
        let query = Wanted {
            after: cut.after,
            before: cut.before,
            limit: cut.limit,
            end: cut.end,
            ..Wanted::default()
        };
        let page = reading.activity_at(path, query).await?;
        let (has_previous, has_next) = has_more(&window, page.more);
        let counted = CountedDays(path.clone());
        let mut connection = Connection::with_additional_fields(has_previous, has_next, counted);
        connection.edges.extend(
            page.items
                .iter()
                .rev()
                .map(|(cursor, view)| Edge::new(OpaqueCursor(cursor.clone()), Self(view.clone()))),
        );
        Ok(Some(connection))
    }
}
