//! Who is shown what in GraphQL: a table that must name every field.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use atrium_tests::http::{Answer, TestApp};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::tenants::{CALLERS, Tenant, Tenants};
use crate::BOTH;

/// What a caller gets of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// Something.
    Shown,
    /// Nothing, as if there were nothing.
    Hidden,
    /// He lacks the permission.
    Forbidden,
    /// It is not there, as far as he is concerned.
    NotFound,
}

use Says::{Forbidden, Hidden, NotFound, Shown};

/// Fields that show what their object holds: whoever gets the object gets them.
const OPEN: &[(&str, &str)] = &[
    ("Activity", "day counts total firstPosition lastPosition"),
    ("ActivityCount", "category count"),
    (
        "Adjustment",
        "uuid position amount description reason effectiveAt recordedAt actor reversesUuid reversedByUuid",
    ),
    (
        "Approval",
        "uuid status verb subscriptionUuid serviceKey planKey quantity instance properties effectiveAt \
         reason requestedByUuid requestedAt steps step expiresAt reminders nextReminderAt \
         rejectedByUuid decidedAt failure version",
    ),
    ("ApprovalAnswer", "at userUuid"),
    ("ApprovalFailure", "code detail"),
    ("ApprovalStep", "needed role userUuids answers"),
    ("BillingPeriod", "id endDate startDate state totals entryCount quarantinedCount quarantined"),
    ("BillableRule", "key description reason order validFrom validTo condition"),
    ("BillingPattern", "serviceKey planKey component line summary"),
    ("Bridge", "lastAmount steps amount"),
    ("BridgeStep", "cause amount subscriptions"),
    ("Contact", "email name phone"),
    ("CustomField", "name value"),
    ("EffectiveProperty", "key label scope kind value values set losers"),
    ("EntryExplanation", "sentence reason"),
    (
        "Event",
        "id position kind stream effectiveAt recordedAt actor onBehalfOf reason commandId payload",
    ),
    ("Explanation", "permission organizationId organizationNumber allowed reason ways lacking"),
    (
        "LedgerEntry",
        "entryId endDate action class component kind customerNumber customerCode customerName \
         customerAccountCode userName serviceKey serviceName planKey planName instance productSku \
         level billable nonBillableReason waivedAmount ruleIds taxCategory taxPercent lineDescription summaryGrouping amount exactAmount \
         unitPrice priceSources priceLosers exchangeRates propertyChange quantity measured measuredUnit countAfter countBefore days \
         dayPolicy periodDays serviceFrom serviceTo effectiveAt actor actorName addedBy removedBy reason causes explain",
    ),
    (
        "Commitment",
        "position sellerUuid buyerUuid serviceKey amount effectiveFrom effectiveTo actor reason",
    ),
    ("ExchangeRate", "position sellerUuid from to rate effectiveFrom source actor reason"),
    (
        "MarginRow",
        "customerNumber customerCode customerName productSku revenue cost commissionEarned commissionPaid margin \
         unratedCount unratedReason",
    ),
    ("Money", "amount minor currency"),
    ("ComponentTier", "above price"),
    (
        "Organization",
        "id uuid kind number code name status type billingIdentifier contact customFields createdAt \
         deletedAt version children",
    ),
    ("Offer", "serviceKey planKeys isOwn isWithdrawn isRolledOut"),
    (
        "Override",
        "id position serviceKey planKey component property value price percent hidden locked cleared \
         effectiveFrom effectiveTo reason actor",
    ),
    ("PossibleAction", "action possible reasons"),
    ("WhyNot", "code detail"),
    ("OverrideInForce", "override subscriptionCount monthlyEffect without"),
    ("PageInfo", "hasPreviousPage hasNextPage startCursor endCursor"),
    ("Permission", "key name description custom serviceKey"),
    ("PermissionWay", "chain service"),
    ("Plan", "key name sku price components dayPolicy suspended properties taxCategory retired"),
    (
        "PlanComponent",
        "key name kind meter property unit included interval timing rate price tiers taxCategory packageSize",
    ),
    ("PlanProperty", "key label value"),
    ("Preview", "outcomes periods more"),
    ("PreviewedCustomer", "customerNumber customerName without with difference"),
    ("PreviewedPeriod", "endDate totals customers booked dropped quarantinedUuids"),
    ("PreviewedTotal", "without with difference"),
    (
        "PriceRow",
        "position sellerUuid serviceKey planKey component fromQuantity buyerUuid subscriptionUuid says value \
         currency effectiveFrom effectiveTo actor reason",
    ),
    ("PriceSource", "kind position"),
    ("PropertyChange", "property value"),
    ("PropertyOption", "value label"),
    ("PropertyValidation", "pattern message"),
    ("PropertyValue", "value origin since until locked without"),
    ("QuarantinedSubscription", "serviceKey planKey date reason"),
    ("Query", ""),
    (
        "Request",
        "id uuid verb status detail waits parent subRequestCount subRequests planKey quantity properties ingredients requestedBy reason requestedAt \
         effectiveAt startedAt completedAt",
    ),
    (
        "Rehearsal",
        "endDate closed sealedEngineVersion engineVersion totals customers customerCount quarantined \
         quarantinedCount",
    ),
    (
        "RehearsedCustomer",
        "customerNumber customerCode customerName amount newAmount difference waivedLines newWaivedLines",
    ),
    ("RehearsedTotal", "amount newAmount difference waivedLines newWaivedLines"),
    ("ResolvedProperty", "key value overridden"),
    (
        "Role",
        "key name description kind organizationUuid serviceKey permissions includes copiedFrom \
         version",
    ),
    ("Readiness", "cutoff ready reasons"),
    ("RoleLink", "role name"),
    ("RoleWithout", "role name why"),
    ("ScheduledChange", "effectiveAt verb requestId planKey quantity"),
    ("Service", "id key name level instancing process plans publishedVersion published version"),
    (
        "ServiceDefinition",
        "name description category icon level instancing maxInstances process properties \
         meters plans permissions roles lineDescription \
         summaryDescription",
    ),
    (
        "ServiceProperty",
        "key label help category sort scope kind type minLength maxLength pattern min max options optionsFromInstancesOf \
         minItems maxItems units unlimited schemes validation default required hidden readOnly priced",
    ),
    ("ServiceMeter", "key name unit aggregation"),
    ("ServicePermission", "key name"),
    ("ServiceRole", "key name permissions includes"),
    (
        "Subscription",
        "id uuid status planKey quantity instance serviceKey since asOf knownAt scheduled possibleActions approvalPending \
         version",
    ),
    (
        "SummaryRow",
        "customerNumber customerName productSku summaryGrouping billable lastMonthCount difference \
         thisMonthCount amount lastMonthAmount resultCount",
    ),
    ("UnreadySubscription", "subscriptionUuid code detail deferred"),
    ("TaxRate", "category validFrom percent"),
    (
        "TaxRow",
        "buyerNumber buyerCode buyerName buyerAccountCode sellerUuid taxCategory taxPercent net tax gross lineCount",
    ),
    ("UnitPrice", "amount exact"),
    ("UsageReading", "position subscriptionUuid meter quantity unique effectiveAt actor reason"),
    (
        "User",
        "id uuid name firstName lastName email login department location type customFields roles status createdAt erasedAt deletedAt version",
    ),
    ("Viewer", "roles permissions impersonatedBy"),
];

/// A field that shows something else than what its object holds.
struct Row {
    field: &'static str,
    /// What is asked, and where in the answer the field is.
    query: &'static str,
    at: &'static str,
    /// What each of [`CALLERS`] gets.
    says: [Says; 5],
}

const fn row(field: &'static str, query: &'static str, at: &'static str, says: [Says; 5]) -> Row {
    Row { field, query, at, says }
}

/// For every administrator; nobody else.
const ADMINISTRATORS: [Says; 5] = [Shown, Shown, Shown, Forbidden, Forbidden];
/// There is none, for those who see what has none.
const NONE: [Says; 5] = [Hidden, Hidden, Hidden, Forbidden, Forbidden];
/// What is about a seller, who is above a customer.
const SELLERS: [Says; 5] = [Shown, Shown, NotFound, Forbidden, Forbidden];
/// What lies above a customer is out of its sight.
const ABOVE: [Says; 5] = [Shown, Shown, Hidden, Forbidden, Forbidden];

const GUARDED: &[Row] = &[
    row("Query.viewer", "viewer { roles }", "/viewer", [Shown; 5]),
    row("Query.node", "node(id: $organization) { id }", "/node", ADMINISTRATORS),
    row(
        "Query.node",
        "node(id: $seller) { id }",
        "/node",
        [Shown, Shown, NotFound, NotFound, NotFound],
    ),
    row("Query.node", "node(id: $user) { id }", "/node", ADMINISTRATORS),
    row("Query.node", "node(id: $himself) { id }", "/node", [Shown; 5]),
    row("Query.node", "node(id: $service) { id }", "/node", ADMINISTRATORS),
    row("Query.node", "node(id: $subscription) { id }", "/node", ADMINISTRATORS),
    row("Query.node", "node(id: $request) { id }", "/node", ADMINISTRATORS),
    row("Query.node", "node(id: $override) { id }", "/node", ADMINISTRATORS),
    row("Query.node", "node(id: $event) { id }", "/node", ADMINISTRATORS),
    row("Query.node", "node(id: $period) { id }", "/node", ADMINISTRATORS),
    row(
        "Query.organization",
        "organization(id: $organization) { id }",
        "/organization",
        ADMINISTRATORS,
    ),
    row("Query.customers", "customers { totalCount }", "/customers", ADMINISTRATORS),
    row("Query.users", "users { totalCount }", "/users", ADMINISTRATORS),
    row("Query.services", "services { totalCount }", "/services", ADMINISTRATORS),
    row("Query.subscriptions", "subscriptions { totalCount }", "/subscriptions", ADMINISTRATORS),
    row("Query.requests", "requests { totalCount }", "/requests", ADMINISTRATORS),
    row("Query.approval", "approval(id: $approval) { uuid }", "/approval", ADMINISTRATORS),
    row(
        "Query.pendingApprovals",
        "pendingApprovals { totalCount }",
        "/pendingApprovals",
        [Shown; 5],
    ),
    row(
        "Approval.customer",
        "approval(id: $approval) { customer { id } }",
        "/approval/customer",
        ADMINISTRATORS,
    ),
    row(
        "Approval.user",
        "approval(id: $approval) { user { id } }",
        "/approval/user",
        // It is for the customer.
        NONE,
    ),
    row(
        "Approval.requestedBy",
        "approval(id: $approval) { requestedBy { id } }",
        "/approval/requestedBy",
        [Shown, Hidden, Hidden, Forbidden, Forbidden],
    ),
    row(
        "ApprovalStep.users",
        "approval(id: $approval) { steps { users { id } } }",
        "/approval/steps/*/users",
        ADMINISTRATORS,
    ),
    row(
        "ApprovalAnswer.user",
        "approval(id: $approval) { steps { answers { user { id } } } }",
        "/approval/steps/*/answers/*/user",
        // Nobody has answered.
        NONE,
    ),
    row("Query.overrides", "overrides { totalCount }", "/overrides", ADMINISTRATORS),
    row(
        "Query.overridesInForce",
        "overridesInForce { totalCount }",
        "/overridesInForce",
        ADMINISTRATORS,
    ),
    row("Query.billingPeriods", "billingPeriods { totalCount }", "/billingPeriods", ADMINISTRATORS),
    row(
        "Query.billingBridge",
        "billingBridge(endDate: \"2019-11-30\") { amount { amount } }",
        "/billingBridge",
        ADMINISTRATORS,
    ),
    row(
        "Query.billingMargins",
        "billingMargins(endDate: \"2019-11-30\", filter: { sellerId: $seller }) { totalCount }",
        "/billingMargins",
        SELLERS,
    ),
    row(
        "MarginRow.customer",
        "billingMargins(endDate: \"2019-11-30\", filter: { sellerId: $seller }) { nodes { customer { id } } }",
        "/billingMargins/nodes/*/customer",
        SELLERS,
    ),
    row(
        "Query.billingTaxes",
        "billingTaxes(endDate: \"2019-11-30\") { totalCount }",
        "/billingTaxes",
        ADMINISTRATORS,
    ),
    row(
        "TaxRow.buyer",
        "billingTaxes(endDate: \"2019-11-30\", filter: { customerId: $organization }) { nodes { buyer { id } } }",
        "/billingTaxes/nodes/*/buyer",
        ADMINISTRATORS,
    ),
    row(
        "Query.billingPreview",
        "billingPreview(commands: [{ path: \"/api/v2/billing/exchange-rates\", body: { rates: [{ from: \"USD\", \
         to: \"EUR\", rate: \"0.9\", effectiveFrom: \"2019-11-01\", source: \"ECB\" }] } }]) { more }",
        "/billingPreview",
        // The command takes a permission of its own.
        [Shown, Shown, Forbidden, Forbidden, Forbidden],
    ),
    row(
        "Query.billingRehearsal",
        "billingRehearsal(sellerId: $seller, proposal: { rules: [] }) { closed }",
        "/billingRehearsal",
        SELLERS,
    ),
    row(
        "Query.priceBook",
        "priceBook(organizationId: $organization) { totalCount }",
        "/priceBook",
        ADMINISTRATORS,
    ),
    row("Query.exchangeRates", "exchangeRates { totalCount }", "/exchangeRates", SELLERS),
    row("Query.commitments", "commitments { totalCount }", "/commitments", SELLERS),
    row(
        "Query.usageReadings",
        "usageReadings(subscriptionId: $subscription) { totalCount }",
        "/usageReadings",
        ADMINISTRATORS,
    ),
    row(
        "Query.billingSummary",
        "billingSummary(endDate: \"2019-11-30\") { totalCount }",
        "/billingSummary",
        ADMINISTRATORS,
    ),
    row(
        "Query.ledgerEntries",
        "ledgerEntries(endDate: \"2019-11-30\") { totalCount }",
        "/ledgerEntries",
        ADMINISTRATORS,
    ),
    row("Query.adjustments", "adjustments { totalCount }", "/adjustments", ADMINISTRATORS),
    row(
        "Adjustment.customer",
        "adjustments { nodes { customer { id } } }",
        "/adjustments/nodes/*/customer",
        ADMINISTRATORS,
    ),
    row(
        "Adjustment.buyer",
        "adjustments { nodes { buyer { id } } }",
        "/adjustments/nodes/*/buyer",
        ABOVE,
    ),
    row(
        "Adjustment.seller",
        "adjustments(filter: { customerId: $organization }) { nodes { seller { id } } }",
        "/adjustments/nodes/*/seller",
        ABOVE,
    ),
    row(
        "Adjustment.subscription",
        "adjustments { nodes { subscription { id } } }",
        "/adjustments/nodes/*/subscription",
        ADMINISTRATORS,
    ),
    row("Query.events", "events { totalCount }", "/events", ADMINISTRATORS),
    row("Query.roles", "roles { key }", "/roles", ADMINISTRATORS),
    row("Query.permissions", "permissions { key }", "/permissions", ADMINISTRATORS),
    row(
        "Viewer.may",
        "viewer { may(permission: \"users.view\", organization: $organization) { allowed } }",
        "/viewer/may",
        [Shown; 5],
    ),
    row("Viewer.user", "viewer { user { id } }", "/viewer/user", [Shown; 5]),
    row(
        "Viewer.organization",
        "viewer { organization { id } }",
        "/viewer/organization",
        ADMINISTRATORS,
    ),
    row(
        "Organization.parent",
        "organization(id: $organization) { parent { id } }",
        "/organization/parent",
        ABOVE,
    ),
    row(
        "Organization.billedBy",
        "organization(id: $organization) { billedBy { id } }",
        "/organization/billedBy",
        ABOVE,
    ),
    row(
        "Organization.users",
        "organization(id: $organization) { users { totalCount } }",
        "/organization/users",
        ADMINISTRATORS,
    ),
    row(
        "Organization.subscriptions",
        "organization(id: $organization) { subscriptions { totalCount } }",
        "/organization/subscriptions",
        ADMINISTRATORS,
    ),
    row(
        "Organization.offers",
        "organization(id: $organization) { offers { serviceKey } }",
        "/organization/offers",
        ADMINISTRATORS,
    ),
    row(
        "Offer.service",
        "organization(id: $organization) { offers { service { id } } }",
        "/organization/offers/*/service",
        ADMINISTRATORS,
    ),
    row(
        "Organization.overrides",
        "organization(id: $organization) { overrides { totalCount } }",
        "/organization/overrides",
        ADMINISTRATORS,
    ),
    row(
        "Organization.billableRules",
        "organization(id: $organization) { billableRules { key } }",
        "/organization/billableRules",
        ADMINISTRATORS,
    ),
    row(
        "Organization.billingPatterns",
        "organization(id: $organization) { billingPatterns { summary } }",
        "/organization/billingPatterns",
        ADMINISTRATORS,
    ),
    row(
        "Organization.taxRates",
        "organization(id: $organization) { taxRates { percent } }",
        "/organization/taxRates",
        ADMINISTRATORS,
    ),
    row(
        "Organization.activity",
        "organization(id: $organization) { activity { totalCount } }",
        "/organization/activity",
        ADMINISTRATORS,
    ),
    row(
        "Organization.effectiveProperties",
        "organization(id: $organization) { effectiveProperties(service: \"backup\") { key } }",
        "/organization/effectiveProperties",
        ADMINISTRATORS,
    ),
    row(
        "PropertyValue.organization",
        "organization(id: $organization) \
         { effectiveProperties(service: \"mailbox\") { set { organization { id } } } }",
        "/organization/effectiveProperties/*/set/organization",
        ABOVE,
    ),
    row(
        "PropertyValue.actor",
        "organization(id: $organization) { effectiveProperties(service: \"mailbox\") { set { actor } } }",
        "/organization/effectiveProperties/*/set/actor",
        ABOVE,
    ),
    row(
        "PropertyValue.reason",
        "organization(id: $organization) { effectiveProperties(service: \"mailbox\") { set { reason } } }",
        "/organization/effectiveProperties/*/set/reason",
        ABOVE,
    ),
    row(
        "User.effectiveProperties",
        "viewer { user { effectiveProperties(service: \"mailbox\") { key } } }",
        "/viewer/user/effectiveProperties",
        [Shown; 5],
    ),
    row(
        "User.effectiveProperties",
        "node(id: $user) { ... on User { effectiveProperties(service: \"mailbox\") { key } } }",
        "/node/effectiveProperties",
        ADMINISTRATORS,
    ),
    row(
        "Subscription.effectiveProperties",
        "node(id: $held) { ... on Subscription { effectiveProperties { key } } }",
        "/node/effectiveProperties",
        [Shown; 5],
    ),
    row(
        "User.organization",
        "viewer { user { organization { id } } }",
        "/viewer/user/organization",
        ADMINISTRATORS,
    ),
    row(
        "User.manager",
        "viewer { user { manager { id } } }",
        "/viewer/user/manager",
        // Nobody has said who is.
        [Hidden; 5],
    ),
    row(
        "User.manager",
        "node(id: $user) { ... on User { manager { id } } }",
        "/node/manager",
        ADMINISTRATORS,
    ),
    row(
        "User.subscriptions",
        "viewer { user { subscriptions { totalCount } } }",
        "/viewer/user/subscriptions",
        [Shown; 5],
    ),
    row(
        "User.subscriptions",
        "node(id: $user) { ... on User { subscriptions { totalCount } } }",
        "/node/subscriptions",
        ADMINISTRATORS,
    ),
    row(
        "Subscription.plan",
        "node(id: $held) { ... on Subscription { plan { key } } }",
        "/node/plan",
        ADMINISTRATORS,
    ),
    row(
        "Subscription.service",
        "node(id: $held) { ... on Subscription { service { key } } }",
        "/node/service",
        ADMINISTRATORS,
    ),
    row(
        "Subscription.customer",
        "node(id: $held) { ... on Subscription { customer { id } } }",
        "/node/customer",
        ADMINISTRATORS,
    ),
    row(
        "Subscription.user",
        "node(id: $held) { ... on Subscription { user { id } } }",
        "/node/user",
        [Shown; 5],
    ),
    row(
        "Subscription.request",
        "node(id: $held) { ... on Subscription { request { id } } }",
        "/node/request",
        ADMINISTRATORS,
    ),
    row(
        "Subscription.approval",
        "node(id: $held) { ... on Subscription { approval { uuid } } }",
        "/node/approval",
        // Nothing waits.
        [Hidden; 5],
    ),
    row(
        "Request.approval",
        "node(id: $request) { ... on Request { approval { uuid } } }",
        "/node/approval",
        NONE,
    ),
    row(
        "Request.approvals",
        "node(id: $request) { ... on Request { approvals { uuid } } }",
        "/node/approvals/*/uuid",
        // It is not for many.
        NONE,
    ),
    row(
        "Approval.parent",
        "approval(id: $approval) { parent { id } }",
        "/approval/parent",
        // It is not one of many.
        NONE,
    ),
    row(
        "Subscription.properties",
        "node(id: $held) { ... on Subscription { properties { key } } }",
        "/node/properties",
        ADMINISTRATORS,
    ),
    row(
        "ResolvedProperty.overriddenBy",
        "node(id: $request) { ... on Request { properties { overriddenBy { id } } } }",
        "/node/properties/*/overriddenBy",
        ABOVE,
    ),
    row(
        "Request.subscription",
        "node(id: $request) { ... on Request { subscription { id } } }",
        "/node/subscription",
        ADMINISTRATORS,
    ),
    row(
        "Override.organization",
        "node(id: $override) { ... on Override { organization { id } } }",
        "/node/organization",
        ADMINISTRATORS,
    ),
    row(
        "Override.service",
        "node(id: $override) { ... on Override { service { key } } }",
        "/node/service",
        ADMINISTRATORS,
    ),
    row(
        "Service.draft",
        "node(id: $service) { ... on Service { draft { name } } }",
        "/node/draft",
        [Shown, Forbidden, Forbidden, Forbidden, Forbidden],
    ),
    row(
        "BillingPeriod.readiness",
        "billingPeriods(first: 1) { nodes { readiness { ready } } }",
        "/billingPeriods/nodes/*/readiness",
        [Shown, Shown, Forbidden, Forbidden, Forbidden],
    ),
    row(
        "LedgerEntry.customer",
        "ledgerEntries(endDate: \"2019-11-30\") { nodes { customer { id } } }",
        "/ledgerEntries/nodes/*/customer",
        ADMINISTRATORS,
    ),
    row(
        "LedgerEntry.seller",
        "ledgerEntries(endDate: \"2019-11-30\", filter: { customerId: $organization }) \
         { nodes { seller { id } } }",
        "/ledgerEntries/nodes/*/seller",
        ABOVE,
    ),
    row(
        "LedgerEntry.buyer",
        "ledgerEntries(endDate: \"2019-11-30\", filter: { customerId: $organization }) \
         { nodes { buyer { id } } }",
        "/ledgerEntries/nodes/*/buyer",
        [Shown, Hidden, Hidden, Forbidden, Forbidden],
    ),
    row(
        "LedgerEntry.user",
        "ledgerEntries(endDate: \"2019-12-31\", filter: { customerId: $organization }) \
         { nodes { user { id } userName } }",
        "/ledgerEntries/nodes/*/user",
        ADMINISTRATORS,
    ),
    row(
        "LedgerEntry.subscription",
        "ledgerEntries(endDate: \"2019-11-30\") { nodes { subscription { id } } }",
        "/ledgerEntries/nodes/*/subscription",
        ADMINISTRATORS,
    ),
    row(
        "LedgerEntry.service",
        "ledgerEntries(endDate: \"2019-11-30\") { nodes { service { key } } }",
        "/ledgerEntries/nodes/*/service",
        ADMINISTRATORS,
    ),
    row(
        "SummaryRow.customer",
        "billingSummary(endDate: \"2019-11-30\") { nodes { customer { id } } }",
        "/billingSummary/nodes/*/customer",
        ADMINISTRATORS,
    ),
    row(
        "QuarantinedSubscription.subscription",
        "billingPeriods { nodes { quarantined { subscription { id } } } }",
        "/billingPeriods/nodes/*/quarantined/*/subscription",
        ADMINISTRATORS,
    ),
    row(
        "QuarantinedSubscription.customer",
        "billingPeriods { nodes { quarantined { customer { id } } } }",
        "/billingPeriods/nodes/*/quarantined/*/customer",
        ADMINISTRATORS,
    ),
];

/// What a guarded field takes, beside what its object takes; nothing where everybody is shown it who is
/// shown its object.
fn takes(row: &Row) -> &'static str {
    let names = |what: &str| row.query.contains(what);
    match row.field {
        "Query.node" if names("$organization") || names("$seller") => "organizations.view",
        "Query.node" if names("$user") => "users.view",
        "Query.node" if names("$service") => "services.view",
        "Query.node" if names("$subscription") || names("$request") => "subscriptions.view",
        "Query.node" if names("$override") || names("$period") => "billing.view",
        "Query.node" if names("$event") => "events.view",
        "User.subscriptions" | "User.effectiveProperties" | "User.manager" if names("viewer") => "",
        "Query.organization"
        | "Query.customers"
        | "Viewer.organization"
        | "User.organization"
        | "Subscription.customer"
        | "Approval.customer"
        | "PropertyValue.organization"
        | "ResolvedProperty.overriddenBy"
        | "Override.organization"
        | "Adjustment.customer"
        | "Adjustment.buyer"
        | "Adjustment.seller"
        | "LedgerEntry.customer"
        | "LedgerEntry.seller"
        | "LedgerEntry.buyer"
        | "SummaryRow.customer"
        | "MarginRow.customer"
        | "TaxRow.buyer"
        | "QuarantinedSubscription.customer" => "organizations.view",
        "Query.users"
        | "Organization.users"
        | "Subscription.user"
        | "Approval.requestedBy"
        | "ApprovalStep.users"
        | "User.manager"
        | "LedgerEntry.user" => "users.view",
        "Query.services"
        | "Subscription.plan"
        | "Subscription.service"
        | "Override.service"
        | "LedgerEntry.service"
        | "Organization.offers"
        | "Offer.service" => "services.view",
        "Query.subscriptions"
        | "Query.requests"
        | "Query.approval"
        | "Organization.subscriptions"
        | "User.subscriptions"
        | "Organization.effectiveProperties"
        | "User.effectiveProperties"
        | "Subscription.request"
        | "Subscription.properties"
        | "Request.subscription"
        | "Adjustment.subscription"
        | "LedgerEntry.subscription"
        | "QuarantinedSubscription.subscription" => "subscriptions.view",
        "Query.overrides"
        | "Query.overridesInForce"
        | "Query.billingPeriods"
        | "Query.billingBridge"
        | "Query.billingMargins"
        | "Query.billingPreview"
        | "Query.billingRehearsal"
        | "Query.billingSummary"
        | "Query.billingTaxes"
        | "Query.exchangeRates"
        | "Query.commitments"
        | "Query.priceBook"
        | "Query.usageReadings"
        | "Query.adjustments"
        | "Query.ledgerEntries"
        | "Organization.billableRules"
        | "Organization.billingPatterns"
        | "Organization.taxRates"
        | "Organization.overrides" => "billing.view",
        "BillingPeriod.readiness" => "billing.close",
        "Query.events" | "Organization.activity" => "events.view",
        "Query.roles" | "Query.permissions" => "roles.view",
        "Service.draft" => "services.publish",
        _ => "",
    }
}

/// Every field, with the permission that it takes beside that of its object.
pub(crate) fn permissions() -> BTreeSet<(String, &'static str)> {
    let guarded = GUARDED.iter().map(|row| {
        let of = match row.field {
            "Query.node" => row.query.trim_start_matches("node(id: $").split(')').next(),
            "User.subscriptions" | "User.effectiveProperties" | "User.manager"
                if row.query.starts_with("viewer") =>
            {
                Some("himself")
            }
            _ => None,
        };
        let field = of.map_or(row.field.to_owned(), |of| format!("{} ({of})", row.field));
        (field, takes(row))
    });
    let open = OPEN.iter().flat_map(|(kind, fields)| {
        fields.split_whitespace().map(move |field| (format!("{kind}.{field}"), ""))
    });
    guarded.chain(open).collect()
}

/// The ids of a tenant's things, as the provider sees them.
pub(crate) async fn ids_at_the_provider(
    app: &TestApp,
    tenant: &Tenant,
) -> Result<Map<String, Value>> {
    let mut ids = ids(app, tenant).await?;
    let periods = "{ billingPeriods { nodes { id } } }";
    let periods = ask(app, &app.token, periods, json!({})).await?.expect(200)?;
    ids["period"] = periods["data"]["billingPeriods"]["nodes"][0]["id"].clone();
    Ok(ids)
}

/// Asks for all that takes a permission as somebody who has every other; gives how many fields that are.
pub(crate) async fn refused_without(
    app: &TestApp,
    token: &str,
    permission: &str,
    ids: &Map<String, Value>,
) -> Result<usize> {
    let rows: Vec<_> = GUARDED.iter().filter(|row| takes(row) == permission).collect();
    for row in &rows {
        let body = asked(app, token, row, ids).await?;
        let named = body["errors"].as_array().into_iter().flatten();
        let named: BTreeSet<_> = named
            .map(|error| error["extensions"]["lacking"]["permission"].as_str().unwrap_or_default())
            .collect();
        let place = format!("{} without {permission}: {body}", row.query);
        assert_eq!(named, BTreeSet::from([permission]), "{place}");
        assert!(!is_shown(&body["data"], row.at), "{place}");
    }
    Ok(rows.len())
}

async fn ask(app: &TestApp, token: &str, query: &str, variables: Value) -> Result<Answer> {
    let sent = json!({ "query": query, "variables": variables });
    app.send(token, Method::POST, "/graphql", Some(sent)).await
}

/// The fields of every type of objects; pages of lists are all alike.
async fn fields_of_the_schema(app: &TestApp) -> Result<BTreeSet<String>> {
    let query = "{ __schema { types { kind name fields { name } } } }";
    let body = ask(app, &app.token, query, json!({})).await?.expect(200)?;
    let mut all = BTreeSet::new();
    for kind in body["data"]["__schema"]["types"].as_array().context("types")? {
        let name = kind["name"].as_str().context("a name")?;
        let is_page = name.ends_with("Connection") || name.ends_with("Edge");
        if kind["kind"] != "OBJECT" || name.starts_with("__") || is_page {
            continue;
        }
        for field in kind["fields"].as_array().context("fields")? {
            all.insert(format!("{name}.{}", field["name"].as_str().context("a name")?));
        }
    }
    Ok(all)
}

/// The global ids of a tenant's things, as the document's variables.
async fn ids(app: &TestApp, tenant: &Tenant) -> Result<Map<String, Value>> {
    let query = "{ organizations: customers { nodes { id uuid parent { id } } } \
        users { nodes { id uuid } } subscriptions { nodes { id uuid } } \
        requests { nodes { id uuid } } services { nodes { id key } } \
        overrides { nodes { id organization { uuid } } } \
        events(last: 500) { nodes { id stream } } }";
    let body = ask(app, &app.token, query, json!({})).await?.expect(200)?;
    let find = |list: &str, is_it: &dyn Fn(&Value) -> bool| {
        let nodes = body["data"][list]["nodes"].as_array().into_iter().flatten();
        nodes.clone().find(|node| is_it(node)).cloned().context("it is there")
    };
    let organization = find("organizations", &|it| it["uuid"] == tenant.customer)?;
    let of_customer = |it: &Value| it["organization"]["uuid"] == tenant.customer;
    let of_user = |it: &Value| it["stream"] == format!("user-{}", tenant.user);
    let subscription = find("subscriptions", &|it| it["uuid"] == tenant.mailbox)?["id"].clone();
    Ok(Map::from_iter([
        ("organization".to_owned(), organization["id"].clone()),
        ("seller".to_owned(), organization["parent"]["id"].clone()),
        ("user".to_owned(), find("users", &|it| it["uuid"] == tenant.user)?["id"].clone()),
        ("himself".to_owned(), Value::Null),
        ("service".to_owned(), find("services", &|it| it["key"] == "backup")?["id"].clone()),
        ("held".to_owned(), subscription.clone()),
        ("subscription".to_owned(), subscription),
        ("request".to_owned(), find("requests", &|it| it["uuid"] == tenant.request)?["id"].clone()),
        ("override".to_owned(), find("overrides", &of_customer)?["id"].clone()),
        ("event".to_owned(), find("events", &of_user)?["id"].clone()),
        ("approval".to_owned(), Value::String(tenant.approval.clone())),
        ("period".to_owned(), Value::Null),
    ]))
}

/// Whether there is something at a place; `*` stands for any part of a list.
fn is_shown(value: &Value, at: &str) -> bool {
    let Some((_, rest)) = at.split_once('/') else { return !value.is_null() };
    let next = rest.find('/').unwrap_or(rest.len());
    let (field, rest) = rest.split_at(next);
    match value {
        Value::Array(items) if field == "*" => items.iter().any(|item| is_shown(item, rest)),
        _ => is_shown(&value[field], rest),
    }
}

/// What is answered about a field.
async fn asked(app: &TestApp, token: &str, row: &Row, ids: &Map<String, Value>) -> Result<Value> {
    let used = ids.keys().filter(|name| row.query.contains(&format!("${name}")));
    let declared: Vec<_> = used.clone().map(|name| format!("${name}: ID!")).collect();
    let variables: Map<_, _> = used.map(|name| (name.clone(), ids[name].clone())).collect();
    let query = if declared.is_empty() {
        format!("{{ {} }}", row.query)
    } else {
        format!("query({}) {{ {} }}", declared.join(", "), row.query)
    };
    ask(app, token, &query, Value::Object(variables)).await?.expect(200)
}

/// What a caller gets of a field.
async fn says(app: &TestApp, token: &str, row: &Row, ids: &Map<String, Value>) -> Result<Says> {
    let body = asked(app, token, row, ids).await?;
    let codes: BTreeSet<_> = body["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|error| error["extensions"]["code"].as_str().unwrap_or_default())
        .collect();
    let shown = is_shown(&body["data"], row.at);
    Ok(match (codes.into_iter().collect::<Vec<_>>().as_slice(), shown) {
        ([], true) => Shown,
        ([], false) => Hidden,
        (["forbidden"], false) => Forbidden,
        (["not_found"], false) => NotFound,
        _ => anyhow::bail!("{} is answered {body}", row.query),
    })
}

#[tokio::test]
async fn every_field_is_shown_to_whom_the_table_says() -> Result<()> {
    for engine in BOTH {
        let tenants = Tenants::new(engine).await?;
        let app = &tenants.app;

        let mut named = BTreeMap::<String, u32>::new();
        for (kind, fields) in OPEN {
            for field in fields.split_whitespace() {
                *named.entry(format!("{kind}.{field}")).or_default() += 1;
            }
        }
        assert!(
            named.values().all(|times| *times == 1),
            "a field is open or guarded, and named once"
        );
        for row in GUARDED {
            ensure!(
                named.insert(row.field.to_owned(), 0).unwrap_or(0) == 0,
                "{} is both",
                row.field
            );
        }
        let named: BTreeSet<_> = named.into_keys().collect();
        assert_eq!(named, fields_of_the_schema(app).await?);

        let own = ids(app, &tenants.own).await?;
        let other = ids(app, &tenants.other).await?;
        for (number, caller) in tenants.callers.iter().enumerate() {
            let himself = ask(
                app,
                &caller.token,
                "{ viewer { user { id subscriptions { nodes { id } } } } }",
                json!({}),
            )
            .await?
            .expect(200)?;
            let himself = &himself["data"]["viewer"]["user"];
            let mut ids = own.clone();
            ids.insert("himself".to_owned(), himself["id"].clone());
            if let Some(held) = himself["subscriptions"]["nodes"][0].get("id") {
                ids.insert("held".to_owned(), held.clone());
            }
            // A period belongs to whoever asks; those who may not ask try somebody else's.
            let periods = "{ billingPeriods { nodes { id } } }";
            let token = if number < 3 { &caller.token } else { &tenants.callers[2].token };
            let periods = ask(app, token, periods, json!({})).await?.expect(200)?;
            let period = periods["data"]["billingPeriods"]["nodes"][0]["id"].clone();
            ids.insert("period".to_owned(), period);
            for row in GUARDED {
                let place = format!("{}: {} {}", row.field, row.query, CALLERS[number]);
                let says = says(app, &caller.token, row, &ids).await.context(place.clone())?;
                assert_eq!(says, row.says[number], "{place}");
            }
            // What is another's is not there, or is nothing that he may ask for at all.
            for row in GUARDED.iter().filter(|row| row.field == "Query.node") {
                let is_everybodys = ["$service", "$himself", "$period"];
                if number == 0 || is_everybodys.iter().any(|it| row.query.contains(it)) {
                    continue;
                }
                let place = format!("another's {} {}", row.query, CALLERS[number]);
                let says = says(app, &caller.token, row, &other).await.context(place.clone())?;
                let is_event = row.query.contains("$event");
                let expected = if is_event && number > 2 { Forbidden } else { NotFound };
                assert_eq!(says, expected, "{place}");
            }
        }
        tenants.app.finish().await?;
    }
    Ok(())
}
