//! Who may call what: a table that must name every route, for every role, in and out of scope.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use atrium_tests::http::{Answer, TestApp};
use domain::permission::Permission;
use domain::role::DefaultRole;
use reqwest::Method;
use serde_json::{Value, json};

use super::fields;
use super::published::routes;
use super::tenants::{CALLERS, Caller, NO_ID, Tenant, Tenants, text};
use crate::BOTH;

/// Of what an address names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// Of nothing that belongs to a tenant.
    Nothing,
    Reseller,
    Customer,
    User,
    /// The caller.
    Himself,
    /// What the customer itself holds.
    Backup,
    /// What the user holds.
    Mailbox,
    Request,
    /// What the provider's administrator asked for, and somebody of the customer has to approve.
    Approval,
    /// A role that the customer made.
    Role,
    /// A role that nobody made.
    DefaultRole,
}

/// What each of [`CALLERS`] is answered about what is his own tenant's. Bodies are malformed on purpose:
/// who is let in learns that (400), and nobody else does.
struct Row {
    route: &'static str,
    about: About,
    /// What a 403 names.
    permission: &'static str,
    says: [u16; 5],
}

const fn row(route: &'static str, about: About, permission: &'static str, says: [u16; 5]) -> Row {
    Row { route, about, permission, says }
}

/// Ends the caller's session, or is no session: not for trying with a malformed body.
const SIGN_OUT: &str = "DELETE /api/v2/session";
/// Needs no credential.
const SIGN_IN: &str = "POST /api/v2/session";
/// The same: editors read it.
const SCHEMA: &str = "GET /api/v2/schemas/service";

const ROUTES: &[Row] = &[
    row("GET /api/Billing/parameters", About::Nothing, "billing.view", [200, 200, 200, 403, 403]),
    row("GET /api/Billing/{endDate}", About::Nothing, "billing.view", [200, 200, 200, 403, 403]),
    row(
        "GET /api/Billing/{endDate}/detail",
        About::Nothing,
        "billing.view",
        [200, 200, 200, 403, 403],
    ),
    row(
        "GET /api/Billing/{endDate}/seal",
        About::Nothing,
        "billing.view",
        [404, 404, 404, 403, 403],
    ),
    row(
        "GET /api/Billing/{endDate}/proof",
        About::Nothing,
        "billing.view",
        [404, 404, 404, 403, 403],
    ),
    row(
        "GET /api/Billing/{endDate}/export",
        About::Nothing,
        "billing.close",
        // A reseller sees nothing of the provider's books.
        [404, 404, 403, 403, 403],
    ),
    row(
        "GET /api/v2/billing/{endDate}/close",
        About::Nothing,
        "billing.view",
        [200, 200, 200, 403, 403],
    ),
    row(
        "GET /api/Billing/{endDate}/entries",
        About::Nothing,
        "billing.view",
        [200, 200, 200, 403, 403],
    ),
    row(
        "POST /api/v2/billing/{endDate}/close",
        About::Nothing,
        "billing.close",
        [400, 400, 403, 403, 403],
    ),
    row(
        "POST /api/v2/billing/{endDate}/approve",
        About::Nothing,
        "billing.close",
        [400, 400, 403, 403, 403],
    ),
    row(
        "POST /api/v2/billing/{endDate}/defer",
        About::Nothing,
        "billing.close",
        [400, 400, 403, 403, 403],
    ),
    row(
        "GET /api/v2/billing/{endDate}/readiness",
        About::Nothing,
        "billing.close",
        [200, 200, 403, 403, 403],
    ),
    row("POST /api/v2/billing/rerate", About::Nothing, "billing.close", [400, 400, 403, 403, 403]),
    row(
        "POST /api/v2/billing/rerate/approve",
        About::Nothing,
        "billing.close",
        [400, 400, 403, 403, 403],
    ),
    row(
        "GET /api/Billing/{endDate}/entries/{entryId}",
        About::Nothing,
        "billing.view",
        // It is of nobody.
        [404, 404, 404, 403, 403],
    ),
    row(
        "GET /api/Billing/{endDate}/bridge",
        About::Nothing,
        "billing.view",
        [200, 200, 200, 403, 403],
    ),
    row(
        "GET /api/Billing/{endDate}/margins",
        About::Nothing,
        "billing.view",
        [200, 200, 400, 403, 403],
    ),
    row("GET /api/v2/customers", About::Nothing, "organizations.view", [200, 200, 200, 403, 403]),
    row("POST /api/v2/customers", About::Nothing, "customers.manage", [400, 400, 403, 403, 403]),
    row(
        "GET /api/v2/customers/{id}",
        About::Customer,
        "organizations.view",
        [200, 200, 200, 403, 403],
    ),
    row(
        "PATCH /api/v2/customers/{id}",
        About::Customer,
        "customers.manage",
        [400, 400, 403, 403, 403],
    ),
    row(
        "POST /api/v2/customers/{id}/disable",
        About::Customer,
        "customers.manage",
        [400, 400, 403, 403, 403],
    ),
    row(
        "POST /api/v2/customers/{id}/enable",
        About::Customer,
        "customers.manage",
        [400, 400, 403, 403, 403],
    ),
    row(
        "DELETE /api/v2/customers/{id}",
        About::Customer,
        "customers.manage",
        [409, 409, 403, 403, 403],
    ),
    row(
        "POST /api/v2/customers/{id}/deprovision",
        About::Customer,
        "customers.manage",
        [400, 400, 403, 403, 403],
    ),
    row(
        "POST /api/v2/customers/{id}/restore",
        About::Customer,
        "customers.manage",
        [400, 400, 403, 403, 403],
    ),
    row(
        "POST /api/v2/customers/{id}/move",
        About::Customer,
        "customers.manage",
        [400, 400, 403, 403, 403],
    ),
    row(
        "PUT /api/v2/customers/{id}/billed-by",
        About::Customer,
        "customers.manage",
        [400, 400, 403, 403, 403],
    ),
    row(
        "POST /api/v2/customers/{id}/erase-contact",
        About::Customer,
        "customers.manage",
        [400, 400, 403, 403, 403],
    ),
    row(
        "GET /api/v2/customers/{id}/subscriptions",
        About::Customer,
        "subscriptions.view",
        [200, 200, 200, 403, 403],
    ),
    row(
        "POST /api/v2/customers/{id}/subscriptions",
        About::Customer,
        "subscriptions.assign_to_customers",
        [400, 400, 403, 403, 403],
    ),
    row(
        "GET /api/v2/customers/{id}/users",
        About::Customer,
        "users.view",
        [200, 200, 200, 403, 403],
    ),
    row(
        "POST /api/v2/customers/{id}/users",
        About::Customer,
        "users.manage",
        [400, 400, 400, 403, 403],
    ),
    row(
        "POST /api/v2/customers/{id}/users/subscriptions",
        About::Customer,
        "subscriptions.assign_to_users",
        [400, 400, 400, 403, 403],
    ),
    // Everybody may ask why; what, has to be said.
    row("GET /api/v2/explain", About::Nothing, "", [400; 5]),
    row("GET /api/v2/events", About::Nothing, "events.view", [200, 200, 200, 403, 403]),
    row(
        "GET /api/v2/organizations/{id}",
        About::Customer,
        "organizations.view",
        [200, 200, 200, 403, 403],
    ),
    row(
        "GET /api/v2/organizations/{id}/approval-policies",
        About::Customer,
        "subscriptions.view",
        [200, 200, 200, 403, 403],
    ),
    row(
        "PUT /api/v2/organizations/{id}/approval-policies/{service}",
        About::Customer,
        "approvals.set",
        [400, 400, 400, 403, 403],
    ),
    row(
        "DELETE /api/v2/organizations/{id}/approval-policies/{service}",
        About::Customer,
        "approvals.set",
        [204, 204, 204, 403, 403],
    ),
    row(
        "GET /api/v2/organizations/{id}/offers",
        About::Customer,
        "services.view",
        [200, 200, 200, 403, 403],
    ),
    row(
        "PUT /api/v2/organizations/{id}/offers/{service}",
        About::Customer,
        "services.offer",
        [400, 400, 403, 403, 403],
    ),
    row(
        "DELETE /api/v2/organizations/{id}/offers/{service}",
        About::Customer,
        "services.offer",
        [200, 200, 403, 403, 403],
    ),
    row(
        "GET /api/v2/organizations/{id}/overrides",
        About::Customer,
        "billing.view",
        [200, 200, 200, 403, 403],
    ),
    row(
        "GET /api/v2/organizations/{id}/overrides-in-force",
        About::Customer,
        "billing.view",
        [200, 200, 200, 403, 403],
    ),
    row(
        "PUT /api/v2/organizations/{id}/overrides/{service}",
        About::Customer,
        "overrides.set_properties",
        [400, 400, 403, 403, 403],
    ),
    row(
        "POST /api/v2/organizations/{id}/overrides/{service}/apply",
        About::Customer,
        "overrides.set_properties",
        [400, 400, 403, 403, 403],
    ),
    row(
        "PUT /api/v2/organizations/{id}/prices",
        About::Customer,
        "overrides.set_prices",
        [400, 400, 403, 403, 403],
    ),
    row(
        "GET /api/v2/organizations/{id}/roles",
        About::Customer,
        "roles.view",
        [200, 200, 200, 403, 403],
    ),
    row(
        "PUT /api/v2/organizations/{id}/roles/{role}",
        About::Customer,
        "roles.manage",
        // Only one above gives.
        [400, 400, 403, 403, 403],
    ),
    row(
        "DELETE /api/v2/organizations/{id}/roles/{role}",
        About::Customer,
        "roles.manage",
        [204, 204, 403, 403, 403],
    ),
    row(
        "GET /api/v2/organizations/{id}/users",
        About::Customer,
        "users.view",
        [200, 200, 200, 403, 403],
    ),
    row(
        "POST /api/v2/organizations/{id}/users",
        About::Customer,
        "users.manage",
        [400, 400, 400, 403, 403],
    ),
    row("GET /api/v2/permissions", About::Nothing, "roles.view", [200, 200, 200, 403, 403]),
    row(
        "PUT /api/v2/permissions/{key}",
        About::Nothing,
        "permissions.declare",
        [400, 403, 403, 403, 403],
    ),
    row(
        "DELETE /api/v2/permissions/{key}",
        About::Nothing,
        "permissions.declare",
        [404, 403, 403, 403, 403],
    ),
    row(
        "GET /api/v2/requests/{id}",
        About::Request,
        "subscriptions.view",
        [200, 200, 200, 403, 403],
    ),
    row(
        "GET /api/v2/requests/{id}",
        About::Approval,
        "subscriptions.view",
        [200, 200, 200, 403, 403],
    ),
    // Who is asked answers, whatever he holds; and never who asked.
    row("POST /api/v2/requests/{id}/approve", About::Approval, "", [400, 403, 403, 403, 403]),
    row("POST /api/v2/requests/{id}/reject", About::Approval, "", [400, 403, 403, 403, 403]),
    // Only who asked takes it back.
    row("POST /api/v2/requests/{id}/withdraw", About::Approval, "", [400, 403, 403, 403, 403]),
    row(
        "POST /api/v2/requests/{id}/start",
        About::Request,
        "requests.report",
        [400, 403, 403, 403, 403],
    ),
    row(
        "POST /api/v2/requests/{id}/complete",
        About::Request,
        "requests.report",
        [400, 403, 403, 403, 403],
    ),
    row(
        "POST /api/v2/requests/{id}/fail",
        About::Request,
        "requests.report",
        [400, 403, 403, 403, 403],
    ),
    row("GET /api/v2/resellers", About::Nothing, "organizations.view", [200, 200, 200, 403, 403]),
    row("POST /api/v2/resellers", About::Nothing, "resellers.manage", [400, 400, 403, 403, 403]),
    // The seller above is out of its customer's sight.
    row(
        "GET /api/v2/resellers/{id}",
        About::Reseller,
        "organizations.view",
        [200, 200, 404, 404, 404],
    ),
    row(
        "PATCH /api/v2/resellers/{id}",
        About::Reseller,
        "resellers.manage",
        [400, 400, 404, 404, 404],
    ),
    // Nobody shuts himself out.
    row(
        "POST /api/v2/resellers/{id}/disable",
        About::Reseller,
        "resellers.manage",
        [400, 409, 404, 404, 404],
    ),
    row(
        "POST /api/v2/resellers/{id}/enable",
        About::Reseller,
        "resellers.manage",
        [400, 400, 404, 404, 404],
    ),
    row(
        "POST /api/v2/resellers/{id}/deprovision",
        About::Reseller,
        "resellers.manage",
        [400, 409, 404, 404, 404],
    ),
    row(
        "DELETE /api/v2/resellers/{id}",
        About::Reseller,
        "resellers.manage",
        [409, 409, 404, 404, 404],
    ),
    row(
        "POST /api/v2/resellers/{id}/restore",
        About::Reseller,
        "resellers.manage",
        [400, 400, 404, 404, 404],
    ),
    row(
        "POST /api/v2/resellers/{id}/erase-contact",
        About::Reseller,
        "resellers.manage",
        [400, 400, 404, 404, 404],
    ),
    row(
        "GET /api/v2/resellers/{id}/users",
        About::Reseller,
        "users.view",
        [200, 200, 404, 404, 404],
    ),
    row(
        "POST /api/v2/resellers/{id}/users",
        About::Reseller,
        "users.manage",
        [400, 400, 404, 404, 404],
    ),
    row(
        "GET /api/v2/organizations/{id}/billing-settings",
        About::Reseller,
        "billing.view",
        [200, 200, 404, 404, 404],
    ),
    row(
        "PUT /api/v2/organizations/{id}/billing-settings",
        About::Reseller,
        "billing.manage",
        [400, 400, 404, 404, 404],
    ),
    row("GET /api/v2/billing/rules", About::Nothing, "billing.view", [200, 200, 200, 403, 403]),
    row("PUT /api/v2/billing/rules", About::Nothing, "billing.manage", [400, 400, 403, 403, 403]),
    row(
        "POST /api/v2/billing/rules/preview",
        About::Nothing,
        "billing.manage",
        [400, 400, 403, 403, 403],
    ),
    row("GET /api/v2/billing/patterns", About::Nothing, "billing.view", [200, 200, 200, 403, 403]),
    row(
        "PUT /api/v2/billing/patterns",
        About::Nothing,
        "billing.manage",
        [400, 400, 403, 403, 403],
    ),
    row(
        "GET /api/v2/organizations/{id}/price-book",
        About::Reseller,
        "billing.view",
        [200, 200, 404, 404, 404],
    ),
    row(
        "PUT /api/v2/organizations/{id}/price-book",
        About::Reseller,
        "overrides.set_prices",
        [400, 400, 404, 404, 404],
    ),
    row(
        "GET /api/v2/billing/exchange-rates",
        About::Nothing,
        "billing.view",
        [200, 200, 404, 403, 403],
    ),
    row(
        "PUT /api/v2/billing/exchange-rates",
        About::Nothing,
        "billing.manage",
        [400, 400, 403, 403, 403],
    ),
    row(
        "GET /api/v2/billing/commitments",
        About::Nothing,
        "billing.view",
        [200, 200, 404, 403, 403],
    ),
    row(
        "PUT /api/v2/billing/commitments",
        About::Nothing,
        "overrides.set_prices",
        [400, 400, 403, 403, 403],
    ),
    row("GET /api/v2/billing/tax-rates", About::Nothing, "billing.view", [200, 200, 200, 403, 403]),
    row(
        "PUT /api/v2/billing/tax-rates",
        About::Nothing,
        "billing.manage",
        [400, 400, 403, 403, 403],
    ),
    row(
        "GET /api/Billing/{endDate}/tax",
        About::Nothing,
        "billing.view",
        [200, 200, 200, 403, 403],
    ),
    row(
        "GET /api/v2/billing/adjustments",
        About::Nothing,
        "billing.view",
        [200, 200, 200, 403, 403],
    ),
    row(
        "POST /api/v2/billing/adjustments",
        About::Nothing,
        "billing.adjust",
        [400, 400, 403, 403, 403],
    ),
    row("POST /api/v2/billing/preview", About::Nothing, "billing.view", [400, 400, 400, 403, 403]),
    row(
        "POST /api/v2/billing/rehearsal",
        About::Nothing,
        "billing.view",
        [400, 400, 400, 403, 403],
    ),
    row(
        "POST /api/v2/billing/supersede",
        About::Nothing,
        "billing.supersede",
        [400, 400, 403, 403, 403],
    ),
    row("POST /api/v2/billing/usage", About::Nothing, "usage.record", [400, 400, 403, 403, 403]),
    row(
        "GET /api/v2/subscriptions/{id}/usage",
        About::Backup,
        "billing.view",
        [200, 200, 200, 403, 403],
    ),
    row("GET /api/v2/roles", About::Nothing, "roles.view", [200, 200, 200, 403, 403]),
    row("POST /api/v2/roles", About::Nothing, "roles.manage", [400, 400, 400, 403, 403]),
    row("GET /api/v2/roles/{id}", About::Role, "roles.view", [200, 200, 200, 403, 403]),
    row("PATCH /api/v2/roles/{id}", About::Role, "roles.manage", [400, 400, 400, 403, 403]),
    row("DELETE /api/v2/roles/{id}", About::DefaultRole, "roles.manage", [409, 409, 409, 403, 403]),
    row("POST /api/v2/roles/{id}/copy", About::Role, "roles.manage", [400, 400, 400, 403, 403]),
    row("GET /api/v2/services", About::Nothing, "services.view", [200, 200, 200, 403, 403]),
    row("GET /api/v2/services/{key}", About::Nothing, "services.view", [200, 200, 200, 403, 403]),
    row(
        "PUT /api/v2/services/{key}/draft",
        About::Nothing,
        "services.publish",
        [400, 403, 403, 403, 403],
    ),
    row(
        "GET /api/v2/services/{key}/problems",
        About::Nothing,
        "services.publish",
        [200, 403, 403, 403, 403],
    ),
    row(
        "POST /api/v2/services/{key}/publish",
        About::Nothing,
        "services.publish",
        [400, 403, 403, 403, 403],
    ),
    row(
        "GET /api/v2/subscriptions/{id}",
        About::Mailbox,
        "subscriptions.view",
        [200, 200, 200, 403, 403],
    ),
    row(
        "POST /api/v2/subscriptions/{id}/change",
        About::Mailbox,
        "subscriptions.change_of_users",
        [400, 400, 400, 403, 403],
    ),
    row(
        "POST /api/v2/subscriptions/{id}/change",
        About::Backup,
        "subscriptions.change_of_customers",
        [400, 400, 403, 403, 403],
    ),
    row(
        "POST /api/v2/subscriptions/{id}/deprovision",
        About::Mailbox,
        "subscriptions.remove_from_users",
        [400, 400, 400, 403, 403],
    ),
    row(
        "POST /api/v2/subscriptions/{id}/deprovision",
        About::Backup,
        "subscriptions.remove_from_customers",
        [400, 400, 403, 403, 403],
    ),
    row(
        "POST /api/v2/subscriptions/{id}/suspend",
        About::Mailbox,
        "subscriptions.suspend",
        [400, 400, 400, 403, 403],
    ),
    row(
        "POST /api/v2/subscriptions/{id}/suspend",
        About::Backup,
        "subscriptions.suspend",
        [400, 400, 400, 403, 403],
    ),
    row(
        "POST /api/v2/subscriptions/{id}/resume",
        About::Mailbox,
        "subscriptions.suspend",
        [400, 400, 400, 403, 403],
    ),
    row(
        "POST /api/v2/subscriptions/{id}/resume",
        About::Backup,
        "subscriptions.suspend",
        [400, 400, 400, 403, 403],
    ),
    row(
        "POST /api/v2/subscriptions/{id}/retry",
        About::Mailbox,
        "subscriptions.assign_to_users",
        [400, 400, 400, 403, 403],
    ),
    row(
        "POST /api/v2/subscriptions/{id}/retry",
        About::Backup,
        "subscriptions.assign_to_customers",
        [400, 400, 403, 403, 403],
    ),
    row(
        "POST /api/v2/subscriptions/{id}/cancel",
        About::Mailbox,
        "subscriptions.assign_to_users",
        [400, 400, 400, 403, 403],
    ),
    row(
        "POST /api/v2/subscriptions/{id}/cancel",
        About::Backup,
        "subscriptions.assign_to_customers",
        [400, 400, 403, 403, 403],
    ),
    row(
        "POST /api/v2/subscriptions/{id}/reset",
        About::Mailbox,
        "subscriptions.assign_to_users",
        [400, 400, 400, 403, 403],
    ),
    row(
        "POST /api/v2/subscriptions/{id}/reset",
        About::Backup,
        "subscriptions.assign_to_customers",
        [400, 400, 403, 403, 403],
    ),
    row("GET /api/v2/users/{id}", About::User, "users.view", [200, 200, 200, 403, 403]),
    row("GET /api/v2/users/{id}", About::Himself, "", [200; 5]),
    row("PATCH /api/v2/users/{id}", About::User, "users.manage", [400, 400, 400, 403, 403]),
    row("PATCH /api/v2/users/{id}", About::Himself, "users.manage", [400, 400, 400, 403, 403]),
    row("POST /api/v2/users/{id}/disable", About::User, "users.manage", [400, 400, 400, 403, 403]),
    row("POST /api/v2/users/{id}/enable", About::User, "users.manage", [400, 400, 400, 403, 403]),
    row(
        "POST /api/v2/users/{id}/impersonate",
        About::User,
        "users.impersonate",
        [400, 400, 403, 403, 403],
    ),
    row("POST /api/v2/users/{id}/impersonate", About::Himself, "users.impersonate", [403; 5]),
    row("DELETE /api/v2/users/{id}", About::User, "users.manage", [409, 409, 409, 403, 403]),
    row(
        "POST /api/v2/users/{id}/deprovision",
        About::User,
        "users.manage",
        [400, 400, 400, 403, 403],
    ),
    row("POST /api/v2/users/{id}/restore", About::User, "users.manage", [400, 400, 400, 403, 403]),
    row("POST /api/v2/users/{id}/erase", About::User, "users.manage", [400, 400, 400, 403, 403]),
    // Nobody erases himself.
    row("POST /api/v2/users/{id}/erase", About::Himself, "users.manage", [409, 409, 409, 403, 403]),
    row("PUT /api/v2/users/{id}/roles", About::User, "users.manage", [400, 400, 400, 403, 403]),
    row("PUT /api/v2/users/{id}/roles", About::Himself, "users.manage", [400, 400, 400, 403, 403]),
    row(
        "GET /api/v2/users/{id}/subscriptions",
        About::User,
        "subscriptions.view",
        [200, 200, 200, 403, 403],
    ),
    row("GET /api/v2/users/{id}/subscriptions", About::Himself, "", [200; 5]),
    row(
        "POST /api/v2/users/{id}/subscriptions",
        About::User,
        "subscriptions.assign_to_users",
        [400, 400, 400, 403, 403],
    ),
    row(
        "POST /api/v2/users/{id}/subscriptions",
        About::Himself,
        "subscriptions.assign_to_users",
        // Only customers and their users hold services, but that is for who is let in.
        [400, 400, 400, 403, 403],
    ),
    row("GET /api/v2/users/{id}/tokens", About::User, "users.manage", [200, 200, 200, 403, 403]),
    row("GET /api/v2/users/{id}/tokens", About::Himself, "", [200; 5]),
    // Nobody makes or deletes a token for somebody else, whatever he holds.
    row("POST /api/v2/users/{id}/tokens", About::User, "tokens.hold", [403; 5]),
    row("POST /api/v2/users/{id}/tokens", About::Himself, "tokens.hold", [400, 403, 403, 400, 403]),
    row("DELETE /api/v2/users/{id}/tokens/{token}", About::User, "tokens.hold", [403; 5]),
    row(
        "DELETE /api/v2/users/{id}/tokens/{token}",
        About::Himself,
        "tokens.hold",
        // There is no such token.
        [404, 403, 403, 404, 403],
    ),
    row(SCHEMA, About::Nothing, "", [200; 5]),
    row(SIGN_IN, About::Nothing, "", [400; 5]),
    row(SIGN_OUT, About::Nothing, "", [409, 204, 204, 409, 204]),
];

#[test]
fn the_table_names_every_route_and_no_other() -> Result<()> {
    let named: BTreeSet<_> = ROUTES.iter().map(|row| row.route.to_owned()).collect();
    let published = routes()?.into_iter().map(|route| format!("{} {}", route.method, route.path));
    assert_eq!(named, published.collect());
    Ok(())
}

/// The id that an address names.
fn id(about: About, tenant: &Tenant, caller: &Caller) -> String {
    match about {
        About::Nothing => String::new(),
        About::Reseller => tenant.reseller.clone(),
        About::Customer => tenant.customer.clone(),
        About::User => tenant.user.clone(),
        About::Himself => caller.user.clone(),
        About::Backup => tenant.backup.clone(),
        About::Mailbox => tenant.mailbox.clone(),
        About::Request => tenant.request.clone(),
        About::Approval => tenant.approval.clone(),
        About::Role => tenant.role.clone(),
        About::DefaultRole => "L1%20Help%20Desk".to_owned(),
    }
}

/// Calls a route about something, with a malformed body where it takes one.
async fn call(tenants: &Tenants, row: &Row, token: &str, id: &str) -> Result<Answer> {
    let (method, path) = row.route.split_once(' ').context("a method and a path")?;
    let path = path
        .replace("{id}", id)
        .replace("{key}", "backup")
        .replace("{service}", "backup")
        .replace("{role}", &tenants.role)
        .replace("{endDate}", "2019-11-30")
        .replace("{entryId}", "none")
        .replace("{token}", NO_ID);
    let takes_body = !matches!(method, "GET" | "DELETE");
    let body = takes_body.then(|| json!({ "nonsense": true }));
    tenants.app.send(token, method.parse::<Method>()?, &path, body).await
}

/// The body, whichever request it answers.
fn whichever(answer: &Answer) -> Value {
    let mut body = answer.body.clone();
    body["instance"] = Value::Null;
    body
}

#[tokio::test]
async fn every_role_is_answered_as_the_table_says() -> Result<()> {
    for engine in BOTH {
        let tenants = Tenants::new(engine).await?;
        let mut not_found = None;
        // Signing out is last: there is nobody to call after it.
        let (last, rows): (Vec<_>, Vec<_>) = ROUTES.iter().partition(|row| row.route == SIGN_OUT);
        for row in rows.into_iter().chain(last) {
            let route = row.route;
            let anonymous =
                call(&tenants, row, "", &id(row.about, &tenants.own, &tenants.callers[0])).await?;
            let place = || format!("{route} without a token");
            match route {
                SCHEMA => drop(anonymous.expect(200).with_context(place)?),
                SIGN_IN => drop(anonymous.problem(400).with_context(place)?),
                _ => drop(anonymous.problem(401).with_context(place)?),
            }
            for (number, caller) in tenants.callers.iter().enumerate() {
                let place = || format!("{route} about {:?}: {}", row.about, CALLERS[number]);
                let says = row.says[number];
                let own = id(row.about, &tenants.own, caller);
                let answer = call(&tenants, row, &caller.token, &own).await?;
                ensure!(answer.status == says, "{}: {} {}", place(), answer.status, answer.body);
                if says >= 400 {
                    let code = answer.clone().problem(says).with_context(place)?;
                    let detail = answer.body["detail"].as_str().unwrap_or_default();
                    if says == 403 {
                        assert_eq!(code, "forbidden", "{}", place());
                        assert!(detail.contains(row.permission), "{}: {detail}", place());
                    }
                }
                if matches!(row.about, About::Nothing | About::Himself | About::DefaultRole) {
                    continue;
                }
                // What is another's, what is not there and what is no id are one and the same. Nothing
                // is another's for the provider.
                let mut out_of_sight = vec![
                    NO_ID.to_owned(),
                    "nonsense".to_owned(),
                    "%FF".to_owned(),
                    "%00".to_owned(),
                    "x".repeat(1_000),
                ];
                if number > 0 {
                    out_of_sight.push(id(row.about, &tenants.other, caller));
                }
                for other in out_of_sight {
                    let answer = call(&tenants, row, &caller.token, &other).await?;
                    let code = answer.clone().problem(404);
                    assert_eq!(code.with_context(place)?, "not_found", "{}", place());
                    let body = whichever(&answer);
                    assert_eq!(*not_found.get_or_insert_with(|| body.clone()), body);
                }
            }
        }
        tenants.app.finish().await?;
    }
    Ok(())
}

/// Somebody of the provider who has every permission but one.
async fn without(app: &TestApp, provider: &str, permission: Permission) -> Result<Caller> {
    let all = Permission::ALL.into_iter().filter(|other| *other != permission);
    let names: Vec<_> = all.map(Permission::name).collect();
    let role = json!({ "name": format!("Without {}", permission.name()), "permissions": names });
    let role = text(&app.post("/api/v2/roles", role).await?["id"])?;
    let login = format!("without-{}@x.test", permission.name());
    let (user, token) = app.user(provider, &login, &[&role]).await?;
    Ok(Caller { user, token })
}

/// Whoever lacks the one permission that the tables name is refused, and told which: so it is that one.
#[tokio::test]
async fn each_route_and_field_takes_the_permission_that_the_tables_name() -> Result<()> {
    for engine in BOTH {
        let tenants = Tenants::new(engine).await?;
        let app = &tenants.app;
        let provider = app.get("/api/v2/explain?permission=users.view").await?;
        let provider = text(&provider["organizationId"])?;
        let ids = fields::ids_at_the_provider(app, &tenants.own).await?;
        let mut unused = BTreeSet::new();
        for permission in Permission::ALL {
            let name = permission.name();
            let caller = without(app, &provider, permission).await?;
            let rows: Vec<_> = ROUTES.iter().filter(|row| row.permission == name).collect();
            for row in &rows {
                let path = id(row.about, &tenants.own, &caller);
                let answer = call(&tenants, row, &caller.token, &path).await?;
                let place = || format!("{} without {name}: {}", row.route, answer.body);
                assert_eq!(answer.body["lacking"]["permission"], name, "{}", place());
                assert_eq!(answer.status, 403, "{}", place());
            }
            let fields = fields::refused_without(app, &caller.token, name, &ids).await?;
            if rows.is_empty() && fields == 0 {
                unused.insert(name);
            }
        }
        assert!(unused.is_empty(), "nothing takes {unused:?}");
        tenants.app.finish().await?;
    }
    Ok(())
}

/// What `docs/PERMISSIONS.md` says.
fn document() -> String {
    let mut text = "# Permissions\n\nMade from the tables of the tests, which call every route and ask for \
                    every field, as people of every\nrole and as people who lack one permission: \
                    `UPDATE_DOCS=1 cargo test -p atrium-tests --test http`.\n\n## Permissions and default \
                    roles\n\n"
        .to_owned();
    let names: Vec<_> = DefaultRole::ALL.into_iter().map(DefaultRole::name).collect();
    text += &format!("| Permission | What | {} |\n", names.join(" | "));
    text += &format!("|---|---|{}\n", "---|".repeat(names.len()));
    for permission in Permission::ALL {
        let has = |role: DefaultRole| if role.has(&permission.into()) { "yes" } else { "" };
        let has: Vec<_> = DefaultRole::ALL.into_iter().map(has).collect();
        let (name, what) = (permission.name(), permission.description());
        text += &format!("| `{name}` | {what} | {} |\n", has.join(" | "));
    }
    text += "\nA Provider Administrator has every custom permission, too. Everybody sees himself and what he \
             holds.\n\n## Routes\n\n| Route | About | Permission |\n|---|---|---|\n";
    for row in ROUTES {
        let about = match row.about {
            About::Nothing => "",
            About::Reseller => "a reseller",
            About::Customer => "a customer",
            About::User => "a user",
            About::Himself => "oneself",
            About::Backup => "what a customer holds",
            About::Mailbox => "what a user holds",
            About::Request => "a request",
            About::Approval => "what waits for approval",
            About::Role => "a custom role",
            About::DefaultRole => "a default role",
        };
        let permission = match (row.route, row.permission) {
            (SIGN_IN | SCHEMA, _) => "none, and no credential".to_owned(),
            (_, "") => "none".to_owned(),
            (_, permission) => format!("`{permission}`"),
        };
        text += &format!("| `{}` | {about} | {permission} |\n", row.route);
    }
    text += "\n## GraphQL\n\n| Field | Permission, beside that of its object |\n|---|---|\n";
    for (field, permission) in fields::permissions() {
        let permission = match permission {
            "" => "none".to_owned(),
            permission => format!("`{permission}`"),
        };
        text += &format!("| `{field}` | {permission} |\n");
    }
    text
}

#[test]
fn the_published_permissions_are_these() -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PERMISSIONS.md");
    let ours = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &ours)?;
    }
    let published = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(published == ours, "docs/PERMISSIONS.md is not this table: UPDATE_DOCS=1 writes it");
    Ok(())
}

/// What a body or a parameter names can be out of scope, too.
#[tokio::test]
async fn what_else_a_call_names_is_seen_only_in_scope() -> Result<()> {
    for engine in BOTH {
        let tenants = Tenants::new(engine).await?;
        let Tenants { app, own, other, callers, .. } = &tenants;
        let (reseller, customer) = (&callers[1].token, &callers[2].token);
        for (token, seller, status) in [
            (reseller, &own.reseller, 422),
            (reseller, &other.reseller, 404),
            (customer, &own.reseller, 404),
            (customer, &own.customer, 403),
        ] {
            for plural in ["customers", "resellers"] {
                let sent = json!({ "name": " ", "parentId": seller });
                let path = format!("/api/v2/{plural}");
                app.send(token, Method::POST, &path, Some(sent)).await?.problem(status)?;
            }
        }
        for path in ["/api/Billing/2019-11-30", "/api/Billing/2019-11-30/detail"] {
            for (token, name, id, status) in [
                (reseller, "customerId", &own.customer, 200),
                (reseller, "sellerId", &own.reseller, 200),
                (reseller, "customerId", &other.customer, 404),
                (reseller, "sellerId", &other.reseller, 404),
                (customer, "customerId", &own.customer, 200),
                (customer, "sellerId", &own.reseller, 404),
                (reseller, "customerId", &"1".to_owned(), 404),
                (reseller, "customerId", &"nonsense".to_owned(), 404),
                (reseller, "customerId", &"%00".to_owned(), 404),
            ] {
                let path = format!("{path}?{name}={id}");
                app.send(token, Method::GET, &path, None).await?.expect(status)?;
            }
            // A customer with such an id is as little there as one of another's is.
            let bad = format!("{path}?customerId={}&limit=many", other.customer);
            app.send(&callers[4].token, Method::GET, &bad, None).await?.problem(403)?;
        }
        // A kind of organisation is none of the other.
        let sent = json!({ "firstName": "A", "lastName": "B", "email": "a@b.test" });
        let path = format!("/api/v2/resellers/{}/users", own.customer);
        app.send(&app.token, Method::POST, &path, Some(sent)).await?.problem(404)?;
        for path in [
            format!("/api/v2/resellers/{}", own.customer),
            format!("/api/v2/customers/{}", own.reseller),
            format!("/api/v2/customers/{}/users", own.reseller),
            format!("/api/v2/resellers/{}/users", own.customer),
            format!("/api/v2/customers/{}/subscriptions", own.reseller),
        ] {
            app.send(&app.token, Method::GET, &path, None).await?.problem(404)?;
        }
        tenants.app.finish().await?;
    }
    Ok(())
}
