//! Two sellers with a customer each, and somebody of every role at the first.

use anyhow::{Context, Result};
use atrium_tests::http::TestApp;
use eventstore::Engine;
use serde_json::{Value, json};

/// When everything is set up; the period that is billed has ended.
pub(crate) const NOW: &str = "2019-12-20T10:00:00Z";

/// An id that nothing has.
pub(crate) const NO_ID: &str = "00000000-0000-7000-8000-000000000000";

/// Who calls, in the order of the tables' columns.
pub(crate) const CALLERS: [&str; 5] = [
    "Provider Administrator",
    "Reseller Administrator",
    "Customer Administrator",
    "Developer",
    "nobody",
];

/// A seller, its customer, its user, and what they hold.
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    pub(crate) reseller: String,
    pub(crate) customer: String,
    /// Of the customer; has no role.
    pub(crate) user: String,
    /// What the customer itself holds.
    pub(crate) backup: String,
    /// What the user holds.
    pub(crate) mailbox: String,
    /// Of the mailbox.
    pub(crate) request: String,
    /// Made by the customer.
    pub(crate) role: String,
    /// What the provider's administrator asked for, and somebody of the customer has to approve.
    pub(crate) approval: String,
}

impl Tenant {
    async fn new(app: &TestApp, name: &str) -> Result<Self> {
        let reseller = app.reseller(&format!("{name} Partners")).await?;
        let customer = app.customer(&format!("{name} Inc"), Some(&reseller)).await?;
        let sent = json!({
            "firstName": "Uli", "lastName": name, "email": format!("uli@{name}.test"), "roles": [],
        });
        let made = app.post(&format!("/api/v2/customers/{customer}/users"), sent).await?;
        let user = text(&made["id"])?;
        let manager = json!({ "firstName": "Max", "lastName": name,
            "email": format!("max@{name}.test"), "roles": [] });
        let manager = app.post(&format!("/api/v2/customers/{customer}/users"), manager).await?;
        let path = format!("/api/v2/users/{user}");
        let managed = Some(json!({ "managerId": manager["id"] }));
        app.send(&app.token, reqwest::Method::PATCH, &path, managed).await?.expect(200)?;
        let backup = json!({ "service": "backup", "plan": "BU001", "effectiveAt": "2019-11-11" });
        let backup =
            app.post(&format!("/api/v2/customers/{customer}/subscriptions"), backup).await?;
        let credit = json!({ "subscriptionId": backup["id"], "amount": "-1.00",
            "description": "A credit", "reason": "agreed", "effectiveAt": "2019-11-20" });
        app.post("/api/v2/billing/adjustments", credit).await?;
        let credit = json!({ "buyerId": reseller, "amount": "-2.00", "description": "A bonus",
            "reason": "agreed", "effectiveAt": "2019-11-20" });
        app.post("/api/v2/billing/adjustments", credit).await?;
        // Nobody says what this costs: it is quarantined.
        let unpriced = json!({ "service": "unpriced", "plan": "one", "effectiveAt": "2019-11-20" });
        let unpriced =
            app.post(&format!("/api/v2/customers/{customer}/subscriptions"), unpriced).await?;
        let policy = json!({ "users": [manager["id"]], "expiresAfterHours": 8_760 });
        let path = format!("/api/v2/organizations/{customer}/approval-policies/unpriced");
        app.put(&path, policy).await?;
        let path = format!("/api/v2/subscriptions/{}/change", text(&unpriced["id"])?);
        let approval = app.post(&path, json!({ "quantity": 2 })).await?;
        // The seller overrides what its customer's user gets.
        let quota = json!({ "property": "Quota", "value": "60 GB", "effectiveFrom": "2019-11-01",
            "reason": "agreed" });
        app.put(&format!("/api/v2/organizations/{reseller}/overrides/mailbox"), quota).await?;
        let mailbox =
            json!({ "service": "mailbox", "plan": "standard", "effectiveAt": "2019-11-20" });
        let mailbox = app.post(&format!("/api/v2/users/{user}/subscriptions"), mailbox).await?;
        let price = json!({ "service": "backup", "percent": "-20", "effectiveFrom": "2019-12-16",
            "reason": "agreed" });
        app.put(&format!("/api/v2/organizations/{customer}/prices"), price).await?;
        let role = json!({ "name": format!("Clerk of {name}"), "permissions": ["users.view"],
            "organizationId": customer });
        let role = app.post("/api/v2/roles", role).await?;
        Ok(Self {
            role: text(&role["id"])?,
            reseller,
            customer,
            user,
            backup: text(&backup["id"])?,
            mailbox: text(&mailbox["id"])?,
            request: text(&mailbox["requestId"])?,
            approval: text(&approval["id"])?,
        })
    }
}

/// A text that must be there.
pub(crate) fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().with_context(|| format!("{value} is no text"))?.to_owned())
}

/// Somebody who calls.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) user: String,
    pub(crate) token: String,
}

/// An installation with two tenants.
pub(crate) struct Tenants {
    pub(crate) app: TestApp,
    /// The callers', apart from the provider's administrator.
    pub(crate) own: Tenant,
    /// Nobody's but the provider's.
    pub(crate) other: Tenant,
    /// One of each of [`CALLERS`].
    pub(crate) callers: Vec<Caller>,
    /// Made by the provider, and given to both sellers.
    pub(crate) role: String,
}

impl Tenants {
    /// A published address, about something of the first tenant that the administrator may change.
    pub(crate) fn address(&self, path: &str) -> String {
        let id = match path.trim_start_matches("/api/v2/").split('/').collect::<Vec<_>>().as_slice()
        {
            ["resellers", ..] => &self.own.reseller,
            ["subscriptions", ..] => &self.own.mailbox,
            ["requests", _, "approve" | "reject" | "withdraw"] => &self.own.approval,
            ["requests", ..] => &self.own.request,
            ["roles", ..] => &self.own.role,
            // Tokens are their owner's affair.
            ["users", _, "tokens", ..] => &self.app.administrator,
            ["users", ..] => &self.own.user,
            _ => &self.own.customer,
        };
        path.replace("{id}", id)
            .replace("{key}", "backup")
            .replace("{service}", "backup")
            .replace("{role}", &self.role)
            .replace("{endDate}", "2019-11-30")
            .replace("{entryId}", NO_ID)
            .replace("{token}", NO_ID)
    }

    pub(crate) async fn new(engine: Engine) -> Result<Self> {
        let app = TestApp::new(engine, NOW).await?;
        app.publish("backup").await?;
        app.publish("mailbox").await?;
        let unpriced = json!({ "name": "Unpriced", "level": "customer", "instancing": "single",
            "plans": [{ "key": "one", "name": "One" }] });
        app.put("/api/v2/services/unpriced/draft", unpriced).await?;
        app.post("/api/v2/services/unpriced/publish", json!({ "rollOut": true })).await?;
        let own = Tenant::new(&app, "own").await?;
        let other = Tenant::new(&app, "other").await?;
        let role = json!({ "name": "Passed on", "permissions": ["users.view"] });
        let role = text(&app.post("/api/v2/roles", role).await?["id"])?;
        for tenant in [&own, &other] {
            let path = format!("/api/v2/organizations/{}/roles/{role}", tenant.reseller);
            let given = app.send(&app.token, reqwest::Method::PUT, &path, Some(json!({}))).await?;
            anyhow::ensure!(given.status == 204, "{}", given.body);
        }
        let mut callers =
            vec![Caller { user: app.administrator.clone(), token: app.token.clone() }];
        let developer = "Service Provider Developer";
        for (organization, login, roles) in [
            (&own.reseller, "reseller@own.test", vec!["Reseller Administrator"]),
            (&own.customer, "customer@own.test", vec!["Customer Administrator"]),
            (&own.customer, "developer@own.test", vec![developer]),
            (&own.customer, "nobody@own.test", vec![]),
        ] {
            let (user, token) = app.user(organization, login, &roles).await?;
            if organization == &own.customer {
                let path = format!("/api/v2/users/{user}/subscriptions");
                app.post(&path, json!({ "service": "mailbox", "plan": "standard" })).await?;
            }
            callers.push(Caller { user, token });
        }
        // A developer calls with an API token, as programs do.
        let path = format!("/api/v2/users/{}/tokens", callers[3].user);
        let sent = Some(json!({ "name": "program" }));
        let made = app.send(&callers[3].token, reqwest::Method::POST, &path, sent).await?;
        callers[3].token = text(&made.expect(201)?["token"])?;
        Ok(Self { app, own, other, callers, role })
    }
}
