import sys, shutil, os; sys.path.insert(0,'/tmp')
from sub import sub
os.chdir('/work/props2')
os.makedirs('projections/src/ledger', exist_ok=True)
shutil.copy('/tmp/props2-later/in_force.rs','projections/src/ledger/in_force.rs')
sub('projections/src/ledger.rs',('''use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
''','''mod in_force;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
'''),('''/// What an event says to the ledger''','''pub use in_force::{InForce, overrides_in_force};

/// What an event says to the ledger'''))
sub('domain/src/billing/price.rs',('''    /// Whether an override is in force on the day that ends''','''    /// Whether an override sets something otherwise on the seller's local `date`: it is none that clears others, and
    /// in force at the end of that day.
    #[must_use]
    pub fn sets_on(&self, it: &Override, date: NaiveDate, settings: &BillingSettings) -> bool {
        !it.is_clear() && self.in_force(it, settings.midnight(following(date)))
    }

    /// Whether an override is in force on the day that ends'''),('''    /// Whether it is for `plan`, or for every plan.
    pub(super) fn is_for''','''    /// Whether it is for `plan`, or for every plan.
    #[must_use]
    pub fn is_for'''))
sub('domain/src/billing/calendar.rs',('''    /// The period as instants:''','''    /// The last instant of the local `date`, to the microsecond.
    #[must_use]
    pub fn last_moment(&self, date: NaiveDate) -> DateTime<Utc> {
        self.midnight(following(date)) - TimeDelta::microseconds(1)
    }

    /// The period as instants:'''))
sub('api/src/rest.rs',('''        .routes(routes!(overrides::list_overrides))''','''        .routes(routes!(overrides::overrides_in_force))
        .routes(routes!(overrides::list_overrides))'''))
sub('api/src/rest/overrides.rs',('''/// Sets a plan's property otherwise''','''/// Which day is reported.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReportParameters {
    /// Such as `2019-11-30`; today where it is left out.
    pub date: Option<String>,
}

/// An override that is in force, and what it comes to.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverrideInForce {
    /// What is set.
    #[serde(flatten)]
    what: OverrideResource,
    /// For whom, by name.
    organization_name: String,
    /// Subscriptions that are held there or below, of its service and plan.
    subscriptions: u64,
    /// What those cost more in a month because of it, such as `-20.00`; none for a property, which has no price.
    monthly_effect: Option<String>,
    /// Of the effect.
    currency: String,
}

/// The overrides that are in force.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OverrideReport {
    /// In the order of recording.
    data: Vec<OverrideInForce>,
}

/// Reports every override in force on a day, of the caller's organisation and all below: who has it, why, what it comes to
/// in a month, and when it ends. One flat list, for spreadsheets.
#[utoipa::path(get, path = "/api/v2/overrides", tag = "Overrides", params(ReportParameters),
    responses((status = 200, body = OverrideReport)))]
pub async fn overrides_in_force(
    State(app): State<App>,
    reader: Reader,
    parameters: Parameters<ReportParameters>,
) -> Answer {
    reader.0.require(Permission::ViewBilling)?;
    let settings = app.billing_settings().await?;
    let date = match parameters.take()?.date {
        None => settings.local_date(app.now()),
        Some(text) => text.parse().map_err(|_| {
            Problem::bad_parameter("date", "This is a date such as 2019-11-30.")
        })?,
    };
    let scope = reader.0.scope();
    let found = ledger::overrides_in_force(app.database(), &scope, settings, date).await?;
    let ids = found.iter().map(|it| it.view.organization.to_string()).collect();
    let names = finder::find_many::<OrganizationView>(app.database(), &scope, ids).await?;
    let data = found.into_iter().map(|InForce { view, subscriptions, monthly }| {
        let organization = names.get(&view.organization.to_string());
        OverrideInForce {
            what: shown(&reader, &view),
            organization_name: organization.map(|it| it.details.name.clone()).unwrap_or_default(),
            subscriptions,
            monthly_effect: monthly.map(|monthly| monthly.to_string()),
            currency: settings.currency.code().to_owned(),
        }
    });
    let report = OverrideReport { data: data.collect() };
    let json = serde_json::to_string(&report).expect("resources have text keys only");
    Ok(json_response(StatusCode::OK, json))
}

fn shown(reader: &Reader, view: &OverrideView) -> OverrideResource {
    let resource = OverrideResource::from(view);
    if reader.0.sees_hidden() { resource } else { resource.without_hidden() }
}

/// Sets a plan's property otherwise'''),('''    let sees_hidden = reader.0.sees_hidden();
    Ok(page(&found, |view| {
        let resource = OverrideResource::from(view);
        if sees_hidden { resource } else { resource.without_hidden() }
    }))
''','''    Ok(page(&found, |view| shown(&reader, view)))
'''),('''use axum::extract::State;
''','''use axum::extract::State;
use axum::http::StatusCode;
'''),('''use projections::finder;
''','''use projections::finder;
use projections::ledger::{self, InForce};
'''),('''use super::call::{Answer, Call, Reader};
''','''use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::call::{Answer, Call, Reader, json_response};
'''))
sub('tests/tests/http/permissions.rs',('''    row(
        "PUT /api/v2/organizations/{id}/overrides/{service}",''','''    row("GET /api/v2/overrides", About::Nothing, "billing.view", [200, 200, 200, 403, 403]),
    row(
        "PUT /api/v2/organizations/{id}/overrides/{service}",'''))
sub('tests/tests/sweep.rs',('''    let log = Log::new(database.clone());
    ensure!(!log.below(''','''    let day = settings.local_date(now);
    let in_force = ledger::overrides_in_force(database, &scope, &settings, day).await?;
    ensure!(in_force.len() == 2 && in_force.iter().all(|it| it.subscriptions == 1), "{in_force:?}");
    let log = Log::new(database.clone());
    ensure!(!log.below('''))
sub('tests/tests/http.rs',('''    mod hostile;
''','''    mod hostile;
    mod overrides;
'''))
open('tests/tests/http/overrides.rs','w').write('''//! The report of overrides in force: who has what, what it comes to, and when it ends (service-model.md, section 4).

use anyhow::{Context, Result};
use atrium_tests::http::TestApp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::BOTH;

/// What matters of each line of a report.
async fn report(app: &TestApp, token: &str, date: &str) -> Result<Vec<Value>> {
    let path = format!("/api/v2/overrides?date={date}");
    let answer = app.send(token, Method::GET, &path, None).await?.expect(200)?;
    let lines = answer["data"].as_array().with_context(|| answer.to_string())?.iter();
    let short = |line: &Value| {
        json!([
            line["organizationName"],
            line["property"],
            line["subscriptions"],
            line["monthlyEffect"],
            line["effectiveTo"],
        ])
    };
    Ok(lines.map(short).collect())
}

#[tokio::test]
async fn every_override_in_force_is_reported_with_what_it_comes_to_and_when_it_ends() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-01T09:00:00Z").await?;
        app.publish("crm").await?;
        app.publish("backup").await?;
        let seller = app.reseller("Contoso").await?;
        let (_, seller_token) =
            app.user(&seller, "ruth@contoso.test", &["Reseller Administrator"]).await?;
        let [first, second, other] = [
            app.customer("Aanimals Inc", Some(&seller)).await?,
            app.customer("Abacus", Some(&seller)).await?,
            app.customer("Elsewhere", None).await?,
        ];
        // CRM Team is 40.00 a month, CRM Company 145.00, Backup Standard 100.00.
        for (customer, service, plan, instance, quantity) in [
            (&first, "crm", "team", Some("production"), 3),
            (&first, "crm", "team", Some("tests"), 1),
            (&second, "crm", "company", Some("production"), 2),
            (&second, "backup", "BU001", None, 1),
            (&other, "backup", "BU001", None, 1),
        ] {
            let wish = json!({ "service": service, "plan": plan, "instance": instance, "quantity": quantity });
            app.post(&format!("/api/v2/customers/{customer}/subscriptions"), wish).await?;
        }
        for (organization, sent) in [
            (&seller, json!({ "service": "crm", "percent": "-10", "reason": "A partner" })),
            (&first, json!({ "service": "crm", "plan": "team", "price": "30.00", "reason": "A contract",
                "effectiveFrom": "2019-11-05", "effectiveTo": "2020-01-01" })),
            (&second, json!({ "service": "backup", "price": "120.00", "reason": "More work" })),
            (&other, json!({ "service": "backup", "price": "1.00", "reason": "A friend" })),
        ] {
            app.put(&format!("/api/v2/organizations/{organization}/prices"), sent).await?;
        }
        let storage = json!({ "property": "Storage", "value": "2 TB", "reason": "Large files" });
        app.put(&format!("/api/v2/organizations/{seller}/overrides/backup"), storage).await?;

        // Ten per cent of 4 x 40.00 and 2 x 145.00, as long as nobody is nearer.
        let partner = |subscriptions: u32, effect: &str| json!(["Contoso", null, subscriptions, effect, null]);
        let more = json!(["Abacus", null, 1, "20.00", null]);
        let storage = json!(["Contoso", "Storage", 1, null, null]);
        let seen = report(&app, &seller_token, "2019-11-04").await?;
        assert_eq!(seen, [partner(3, "-45.00"), more.clone(), storage.clone()]);
        // 36.00 becomes 30.00, four times; the partner's discount is left for the others.
        let contract = json!(["Aanimals Inc", null, 2, "-24.00", "2020-01-01T00:00:00Z"]);
        for day in ["2019-11-05", "2019-12-31"] {
            let seen = report(&app, &seller_token, day).await?;
            let expected = [partner(3, "-29.00"), contract.clone(), more.clone(), storage.clone()];
            assert_eq!(seen, expected, "{day}");
        }
        let seen = report(&app, &seller_token, "2020-01-01").await?;
        assert_eq!(seen, [partner(3, "-45.00"), more.clone(), storage.clone()]);

        // What is cleared is gone; the provider sees everybody's.
        let clear = json!({ "service": "crm", "clear": true, "reason": "No partner any more" });
        app.put(&format!("/api/v2/organizations/{seller}/prices"), clear).await?;
        assert_eq!(report(&app, &seller_token, "2020-01-01").await?, [more.clone(), storage.clone()]);
        let friend = json!(["Elsewhere", null, 1, "-99.00", null]);
        assert_eq!(report(&app, &app.token, "2020-01-01").await?, [more, friend, storage]);
        let bad = app.send(&app.token, Method::GET, "/api/v2/overrides?date=soon", None).await?;
        assert_eq!(bad.problem(400)?, "bad_parameter");
        app.finish().await?;
    }
    Ok(())
}
''')
