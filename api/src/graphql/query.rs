//! Where every document begins.

use async_graphql::{Context, ID, Interface, Object};
use projections::views::{
    AdjustmentView, CommitmentView, OrganizationView, OverrideView, PriceView, RateView,
    RequestView, ServiceView, SubscriptionView, UsageView, UserView,
};

use super::adjustment::{Adjustment, AdjustmentFilter};
use super::approval::{Approval, ApprovalConnection};
use super::bridge::Bridge;
use super::connection::{Order, Slice, ViewConnection};
use super::event::{Event, EventConnection, EventFilter};
use super::id::GlobalId;
use super::ledger::{
    BillingFilter, BillingPeriod, BillingPeriodConnection, Grouping, LedgerEntry,
    LedgerEntryConnection, LedgerEntryFilter, SummaryConnection, SummaryRow,
};
use super::limits::{REHEARSAL_COST, STATEMENT_COST, page_cost};
use super::margin::{MarginConnection, MarginRow, TaxConnection, TaxRow};
use super::organization::{Organization, OrganizationFilter};
use super::overriding::{
    InForceConnection, InForceFilter, Override, OverrideFilter, OverrideInForce,
};
use super::preview::{CommandInput, Preview};
use super::pricing::{Commitment, ExchangeRate, PriceRow, UsageReading};
use super::reading::{Resolved, reading};
use super::rehearsal::{Proposal, Rehearsal};
use super::role::{PermissionOfRoles, Role};
use super::scalar::{AsOf, Date, KnownAt};
use super::service::Service;
use super::subscription::{Request, RequestFilter, Subscription, SubscriptionFilter};
use super::user::{User, UserFilter, UserOrder, Viewer};
use crate::problem::Problem;

/// Something with a global id.
#[derive(Interface)]
#[graphql(field(name = "id", ty = "ID", desc = "The global id."))]
pub(crate) enum Node {
    /// A provider, reseller or customer.
    Organization(Organization),
    /// A user.
    User(User),
    /// A service.
    Service(Service),
    /// A subscription.
    Subscription(Subscription),
    /// A request.
    Request(Request),
    /// An override.
    Override(Override),
    /// An event.
    Event(Event),
    /// A billing period.
    BillingPeriod(BillingPeriod),
}

/// What can be asked for. Whatever lies outside the caller's organisation and all below it does not
/// exist.
#[derive(Clone, Copy, Debug)]
pub struct Query;

/// What can be asked for. Whatever lies outside the caller's organisation and all below it does not
/// exist.
#[Object]
#[expect(clippy::too_many_arguments, reason = "four of them say which page, as Relay has it")]
impl Query {
    /// Who asks.
    async fn viewer(&self) -> Viewer {
        Viewer
    }

    /// What a global id names.
    async fn node(&self, context: &Context<'_>, id: ID) -> Resolved<Option<Node>> {
        let reading = reading(context);
        Ok(Some(match GlobalId::decode(&id).ok_or_else(Problem::not_found)? {
            GlobalId::Organization(_) => Organization::get(reading, &id).await?.into(),
            GlobalId::User(id) => User::get(reading, id).await?.into(),
            GlobalId::Service(key) => Service::get(reading, &key).await?.into(),
            GlobalId::Subscription(id) => Subscription::get(reading, id).await?.into(),
            GlobalId::Request(id) => Request::get(reading, id).await?.into(),
            GlobalId::Override(position) => Override::get(reading, position).await?.into(),
            GlobalId::Event(position) => Event::get(reading, position).await?.into(),
            GlobalId::BillingPeriod { end, number, is_bought, then } => {
                BillingPeriod::get(reading, end, (number, is_bought), then).await?.into()
            }
        }))
    }

    /// An organisation by its id here, in the REST API or in the billing API.
    async fn organization(&self, context: &Context<'_>, id: ID) -> Resolved<Option<Organization>> {
        Ok(Some(Organization::get(reading(context), &id).await?))
    }

    /// The customers, by name.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn customers(
        &self,
        context: &Context<'_>,
        filter: Option<OrganizationFilter>,
        order_by: Option<Order>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<ViewConnection<OrganizationView, Organization>>> {
        let slice = Slice { first, after, last, before };
        Organization::customers(reading(context), filter.unwrap_or_default(), order_by, &slice)
            .await
    }

    /// The users, in the order in which they were added, or by name.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn users(
        &self,
        context: &Context<'_>,
        filter: Option<UserFilter>,
        order_by: Option<UserOrder>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<ViewConnection<UserView, User>>> {
        let slice = Slice { first, after, last, before };
        User::list(reading(context), filter.unwrap_or_default(), order_by, &slice).await
    }

    /// The services that are sold, by name; for those who publish, also those that will be.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn services(
        &self,
        context: &Context<'_>,
        order_by: Option<Order>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<ViewConnection<ServiceView, Service>>> {
        let slice = Slice { first, after, last, before };
        Service::list(reading(context), order_by, &slice).await
    }

    /// The roles that an organisation has, the caller's own where it is left out: they can be given to its people.
    #[graphql(complexity = "page_cost(None, None, child_complexity)")]
    async fn roles(
        &self,
        context: &Context<'_>,
        organization: Option<ID>,
    ) -> Resolved<Option<Vec<Role>>> {
        Ok(Some(Role::list(reading(context), organization.as_ref()).await?))
    }

    /// Every permission there is: what roles can hold.
    #[graphql(complexity = "page_cost(None, None, child_complexity)")]
    async fn permissions(&self, context: &Context<'_>) -> Resolved<Option<Vec<PermissionOfRoles>>> {
        Ok(Some(PermissionOfRoles::list(reading(context)).await?))
    }

    /// The subscriptions, by service and instance; also those that are not held any more. As of a moment (`asOf`, a date is its
    /// midnight at the seller of the customer that is asked for, or the caller's), as was known then (`knownAt`): what was
    /// held then.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn subscriptions(
        &self,
        context: &Context<'_>,
        filter: Option<SubscriptionFilter>,
        #[graphql(desc = "What was held at that moment of the business.")] as_of: Option<AsOf>,
        #[graphql(desc = "As it was known then.")] known_at: Option<KnownAt>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<ViewConnection<SubscriptionView, Subscription>>> {
        let slice = Slice { first, after, last, before };
        let filter = filter.unwrap_or_default();
        Subscription::list(reading(context), filter, (as_of, known_at), &slice).await
    }

    /// The requests, in the order of asking.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn requests(
        &self,
        context: &Context<'_>,
        filter: Option<RequestFilter>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<ViewConnection<RequestView, Request>>> {
        let slice = Slice { first, after, last, before };
        Request::list(reading(context), filter.unwrap_or_default(), &slice).await
    }

    /// What waits for the caller's approval, in the order of tenants.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn pending_approvals(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<ApprovalConnection>> {
        let slice = Slice { first, after, last, before };
        Approval::list(reading(context), &slice).await
    }

    /// Something that has to be approved, or had to be, by its id in the REST API.
    #[graphql(complexity = "STATEMENT_COST + child_complexity")]
    async fn approval(&self, context: &Context<'_>, id: ID) -> Resolved<Option<Approval>> {
        Ok(Some(Approval::get(reading(context), &id).await?))
    }

    /// What was set otherwise, and cleared, in the order of recording.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn overrides(
        &self,
        context: &Context<'_>,
        filter: Option<OverrideFilter>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<ViewConnection<OverrideView, Override>>> {
        let slice = Slice { first, after, last, before };
        Override::list(reading(context), filter.unwrap_or_default(), &slice).await
    }

    /// The overrides that are in force at the end of a day, of today where it is left out, with who feels them and what
    /// they come to; in the order of recording.
    #[graphql(complexity = "STATEMENT_COST + page_cost(first, last, child_complexity)")]
    async fn overrides_in_force(
        &self,
        context: &Context<'_>,
        filter: Option<InForceFilter>,
        date: Option<Date>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<InForceConnection>> {
        let slice = Slice { first, after, last, before };
        OverrideInForce::list(reading(context), filter.unwrap_or_default(), date, &slice).await
    }

    /// What was charged once, or given back, by hand, in the order of recording.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn adjustments(
        &self,
        context: &Context<'_>,
        filter: Option<AdjustmentFilter>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<ViewConnection<AdjustmentView, Adjustment>>> {
        let slice = Slice { first, after, last, before };
        Adjustment::list(reading(context), filter.unwrap_or_default(), &slice).await
    }

    /// The billing periods, ascending, the open one included.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn billing_periods(
        &self,
        context: &Context<'_>,
        filter: Option<BillingFilter>,
        #[graphql(
            desc = "As if only that counted which was true by then, and what was held then went on."
        )]
        as_of: Option<AsOf>,
        #[graphql(desc = "As it was known then.")] known_at: Option<KnownAt>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<BillingPeriodConnection>> {
        let slice = Slice { first, after, last, before };
        BillingPeriod::list(reading(context), filter.unwrap_or_default(), (as_of, known_at), &slice)
            .await
    }

    /// The summary of the billing period that ends on a date, by customer name.
    #[graphql(complexity = "STATEMENT_COST + page_cost(first, last, child_complexity)")]
    async fn billing_summary(
        &self,
        context: &Context<'_>,
        end_date: Date,
        filter: Option<BillingFilter>,
        #[graphql(default)] group_by: Grouping,
        #[graphql(
            desc = "As if only that counted which was true by then, and what was held then went on."
        )]
        as_of: Option<AsOf>,
        #[graphql(desc = "As it was known then.")] known_at: Option<KnownAt>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<SummaryConnection>> {
        let slice = Slice { first, after, last, before };
        SummaryRow::list(
            reading(context),
            end_date,
            filter.unwrap_or_default(),
            group_by,
            (as_of, known_at),
            &slice,
        )
        .await
    }

    /// The way from the total of the period before to that of the billing period that ends on a date, by cause: one for
    /// each currency.
    #[graphql(complexity = "STATEMENT_COST + child_complexity")]
    async fn billing_bridge(
        &self,
        context: &Context<'_>,
        end_date: Date,
        filter: Option<BillingFilter>,
        #[graphql(
            desc = "As if only that counted which was true by then, and what was held then went on."
        )]
        as_of: Option<AsOf>,
        #[graphql(desc = "As it was known then.")] known_at: Option<KnownAt>,
    ) -> Resolved<Option<Vec<Bridge>>> {
        Bridge::list(reading(context), end_date, filter.unwrap_or_default(), (as_of, known_at))
            .await
    }

    /// The lines of the billing period that ends on a date, by customer name, subscription and date.
    #[graphql(complexity = "STATEMENT_COST + page_cost(first, last, child_complexity)")]
    async fn ledger_entries(
        &self,
        context: &Context<'_>,
        end_date: Date,
        filter: Option<LedgerEntryFilter>,
        #[graphql(
            desc = "As if only that counted which was true by then, and what was held then went on."
        )]
        as_of: Option<AsOf>,
        #[graphql(desc = "As it was known then.")] known_at: Option<KnownAt>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<LedgerEntryConnection>> {
        let slice = Slice { first, after, last, before };
        LedgerEntry::list(
            reading(context),
            end_date,
            filter.unwrap_or_default(),
            (as_of, known_at),
            &slice,
        )
        .await
    }

    /// What a seller earns in the billing period that ends on a date, by customer name and product.
    #[graphql(complexity = "2 * STATEMENT_COST + page_cost(first, last, child_complexity)")]
    async fn billing_margins(
        &self,
        context: &Context<'_>,
        end_date: Date,
        filter: Option<BillingFilter>,
        #[graphql(
            desc = "As if only that counted which was true by then, and what was held then went on."
        )]
        as_of: Option<AsOf>,
        #[graphql(desc = "As it was known then.")] known_at: Option<KnownAt>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<MarginConnection>> {
        let slice = Slice { first, after, last, before };
        let filter = filter.unwrap_or_default();
        MarginRow::list(reading(context), end_date, filter, (as_of, known_at), &slice).await
    }

    /// The tax of the billing period that ends on a date, by buyer: on what the lines come to together, rounded once.
    #[graphql(complexity = "STATEMENT_COST + page_cost(first, last, child_complexity)")]
    async fn billing_taxes(
        &self,
        context: &Context<'_>,
        end_date: Date,
        filter: Option<BillingFilter>,
        #[graphql(
            desc = "As if only that counted which was true by then, and what was held then went on."
        )]
        as_of: Option<AsOf>,
        #[graphql(desc = "As it was known then.")] known_at: Option<KnownAt>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<TaxConnection>> {
        let slice = Slice { first, after, last, before };
        let filter = filter.unwrap_or_default();
        TaxRow::list(reading(context), end_date, filter, (as_of, known_at), &slice).await
    }

    /// What up to 50 commands would book, one on top of the other; nothing is recorded. Each is allowed or refused as if it
    /// were sent to the REST API.
    #[graphql(complexity = "REHEARSAL_COST + child_complexity")]
    async fn billing_preview(
        &self,
        context: &Context<'_>,
        commands: Vec<CommandInput>,
        #[graphql(
            desc = "Whose bills are shown; the caller's own organisation's where it is left out, and for a \
            customer what it buys."
        )]
        seller_id: Option<ID>,
        #[graphql(
            desc = "Up to the period that this date lies in. Where it is left out: up to the one after the \
            last that anything begins in."
        )]
        until: Option<Date>,
    ) -> Resolved<Option<Preview>> {
        Preview::of(reading(context), commands, seller_id.as_ref(), until).await
    }

    /// What a seller's period would come to with another definition of a service, other prices or other rules, by customer;
    /// or, of a closed one with nothing proposed, what this program makes of it. Nothing is recorded. What is proposed is
    /// allowed and refused as if it were sent to the REST API.
    #[graphql(complexity = "REHEARSAL_COST + page_cost(None, None, child_complexity)")]
    async fn billing_rehearsal(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The caller's own organisation where it is left out.")] seller_id: Option<
            ID,
        >,
        #[graphql(desc = "The period that goes on now where it is left out.")] end_date: Option<
            Date,
        >,
        proposal: Option<Proposal>,
    ) -> Resolved<Option<Rehearsal>> {
        let proposal = proposal.unwrap_or_default();
        Rehearsal::of(reading(context), seller_id.as_ref(), end_date, proposal).await
    }

    /// The rows of a seller's price book, in the order of recording.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn price_book(
        &self,
        context: &Context<'_>,
        organization_id: ID,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<ViewConnection<PriceView, PriceRow>>> {
        let slice = Slice { first, after, last, before };
        PriceRow::list(reading(context), &organization_id, &slice).await
    }

    /// The exchange rates that a seller has set, the caller's own organisation where it is left out, in the order of
    /// recording.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn exchange_rates(
        &self,
        context: &Context<'_>,
        organization_id: Option<ID>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<ViewConnection<RateView, ExchangeRate>>> {
        let slice = Slice { first, after, last, before };
        ExchangeRate::list(reading(context), organization_id.as_ref(), &slice).await
    }

    /// What buyers are committed to at a seller, the caller's own organisation where it is left out, in the order of
    /// recording.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn commitments(
        &self,
        context: &Context<'_>,
        organization_id: Option<ID>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<ViewConnection<CommitmentView, Commitment>>> {
        let slice = Slice { first, after, last, before };
        Commitment::list(reading(context), organization_id.as_ref(), &slice).await
    }

    /// What was used of a subscription, by time.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn usage_readings(
        &self,
        context: &Context<'_>,
        subscription_id: ID,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<ViewConnection<UsageView, UsageReading>>> {
        let slice = Slice { first, after, last, before };
        UsageReading::list(reading(context), &subscription_id, &slice).await
    }

    /// The facts of the log, in its order.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn events(
        &self,
        context: &Context<'_>,
        filter: Option<EventFilter>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<EventConnection>> {
        let slice = Slice { first, after, last, before };
        Event::list(reading(context), filter.unwrap_or_default(), &slice).await
    }
}
