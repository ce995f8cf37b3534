//! What a period would come to with other prices, rules or definitions, or by this program's rating (billing.md,
//! section 9): by customer, and before anything is published.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use atrium_tests::http::TestApp;
use domain::money::{Currency, Money};
use reqwest::Method;
use serde_json::{Value, json};

use super::closing::Office;
use crate::BOTH;

const PATH: &str = "/api/v2/billing/rehearsal";

/// Rehearses, and makes sure that nothing is recorded.
async fn rehearse(app: &TestApp, wish: Value) -> Result<Value> {
    let log = eventstore::Log::new(app.database.clone());
    let head = log.head().await?;
    let shown = app.post(PATH, wish).await?;
    assert_eq!(log.head().await?, head, "nothing is recorded");
    Ok(shown)
}

/// Of each customer for whom anything changes: what it comes to, would come to, and the difference.
fn effects(shown: &Value) -> Vec<[&str; 4]> {
    let rows = shown["customers"].as_array().into_iter().flatten();
    rows.map(|row| {
        ["customerName", "amount", "newAmount", "difference"]
            .map(|field| row[field].as_str().unwrap_or("-"))
    })
    .collect()
}

/// What a period comes to for each customer, of the lines that are wanted.
async fn amounts(
    app: &TestApp,
    end: &str,
    is_wanted: impl Fn(&Value) -> bool,
) -> Result<BTreeMap<String, String>> {
    let detail = app.get(&format!("/api/Billing/{end}/detail")).await?;
    let euro = Currency::parse("EUR").ok().context("a currency")?;
    let mut sums = BTreeMap::<String, Money>::new();
    for row in detail["data"].as_array().context("rows")?.iter().filter(|row| is_wanted(row)) {
        let amount = row["amount"].as_str().and_then(|text| Money::parse(text, euro).ok());
        let amount = amount.context("an amount")?;
        let name = row["customerName"].as_str().context("a name")?.to_owned();
        let sum = sums.entry(name).or_insert(Money::new(0, euro));
        *sum = sum.checked_add(amount).context("it is held")?;
    }
    Ok(sums.into_iter().map(|(name, sum)| (name, sum.to_string())).collect())
}

/// What a rehearsal said, against what is booked: of those who were told of, and of all others.
fn assert_booked(
    shown: &Value,
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) {
    let mut expected = before.clone();
    for [name, amount, new, _] in effects(shown) {
        assert_eq!(before.get(name).map_or("0.00", String::as_str), amount, "{shown}");
        expected.insert(name.to_owned(), new.to_owned());
    }
    assert_eq!(expected, *after, "{shown}");
}

async fn hold(app: &TestApp, customer: &str, plan: &str, at: &str) -> Result<String> {
    let sent = json!({ "service": "backup", "plan": plan, "effectiveAt": at });
    let made = app.post(&format!("/api/v2/customers/{customer}/subscriptions"), sent).await?;
    Ok(made["id"].as_str().context("an id")?.to_owned())
}

/// The definition of the backup service, with another price of its first plan.
fn backup(price: &str) -> Result<Value> {
    let shipped = api::population::SERVICES.iter().find(|(key, _)| *key == "backup");
    let (_, text) = shipped.context("it is shipped")?;
    let mut definition: Value = serde_json::from_str(text)?;
    assert_eq!(definition["plans"][0]["key"], "BU001");
    definition["plans"][0]["price"] = json!(price);
    Ok(definition)
}

async fn provider(app: &TestApp) -> Result<String> {
    let own = app.get("/api/v2/explain?permission=users.view").await?;
    Ok(own["organizationId"].as_str().context("an id")?.to_owned())
}

#[tokio::test]
async fn what_a_definition_would_come_to_is_booked_once_it_is_published() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2019-11-01T00:00:00Z").await?;
        let app = &office.app;
        office.provision("BU001", "2019-11-01").await?;
        let other = app.customer("Bears", None).await?;
        hold(app, &other, "BU010", "2019-11-01").await?;
        app.turn("2019-11-10T08:00:00Z").await?;
        let end = "2019-11-30";
        let before = amounts(app, end, |_| true).await?;
        let of = |service: Value| json!({ "service": service });
        let definition = backup("130.00")?;
        let from = "2019-11-16";
        let service = json!({ "key": "backup", "definition": definition, "effectiveAt": from });
        let shown = rehearse(app, of(service)).await?;
        assert_eq!(effects(&shown), [["Aanimals Inc", "100.00", "115.00", "15.00"]], "{shown}");
        assert_eq!((&shown["endDate"], &shown["closed"]), (&json!(end), &json!(false)));
        assert_eq!(shown["customerCount"], 1);
        let total = &shown["totals"][0];
        assert_eq!((&total["amount"], &total["newAmount"]), (&json!("280.00"), &json!("295.00")));
        assert_eq!(amounts(app, end, |_| true).await?, before, "nothing is booked");
        // From the period's first moment on, where nothing else is said.
        let since = of(json!({ "key": "backup", "definition": definition }));
        let since = rehearse(app, since).await?;
        assert_eq!(effects(&since), [["Aanimals Inc", "100.00", "130.00", "30.00"]]);
        // The draft that is saved says the same as what was sent.
        let draft = rehearse(app, of(json!({ "key": "backup" }))).await?;
        assert_eq!(draft["customers"], json!([]), "what is saved is what is sold");
        app.put("/api/v2/services/backup/draft", definition).await?;
        let saved = rehearse(app, of(json!({ "key": "backup", "effectiveAt": from }))).await?;
        assert_eq!(saved, shown);
        app.post("/api/v2/services/backup/publish", json!({ "effectiveAt": from })).await?;
        assert_booked(&shown, &before, &amounts(app, end, |_| true).await?);
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_price_book_over_a_closed_period_comes_to_what_a_rerate_books() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        office.provision("BU001", "2020-01-01").await?;
        let other = app.customer("Bears", None).await?;
        hold(app, &other, "BU010", "2020-01-11").await?;
        let third = app.customer("Cats", None).await?;
        let end = "2020-01-31";
        hold(app, &third, "IA003", "2020-01-01").await?;
        app.turn("2020-02-01T08:00:00Z").await?;
        office.close(end).await?;
        app.turn("2020-02-05T08:00:00Z").await?;
        let sealed = amounts(app, end, |_| true).await?;
        // Somebody has set a price for the past since: a rerate would take it, too.
        let book = format!("/api/v2/organizations/{}/price-book", provider(app).await?);
        let row =
            |plan: &str, price: &str| json!({ "service": "backup", "plan": plan, "price": price });
        let set = async |mut row: Value| {
            row["effectiveFrom"] = json!("2020-01-01");
            app.put(&book, json!({ "rows": [row], "reason": "The next list" })).await
        };
        set(row("BU010", "150.00")).await?;
        let wish = json!({ "endDate": end, "prices": [row("BU001", "90.00")] });
        let shown = rehearse(app, wish).await?;
        assert_eq!(shown["closed"], true);
        let expected = [
            ["Aanimals Inc", "100.00", "90.00", "-10.00"],
            ["Bears", "121.94", "101.61", "-20.33"],
        ];
        assert_eq!(effects(&shown), expected, "{shown}");
        // With nothing proposed, no price that was set since counts.
        let again = rehearse(app, json!({ "endDate": end })).await?;
        assert_eq!(again["customers"], json!([]), "{again}");
        set(row("BU001", "90.00")).await?;
        let wish = json!({ "fromEndDate": end, "toEndDate": end });
        app.post("/api/v2/billing/rerate", wish).await?;
        office.other("rerate/approve").await?.expect(200)?;
        let is_of_january = |row: &Value| row["servicePeriod"] == end;
        let booked = amounts(app, "2020-02-29", is_of_january).await?;
        let told = effects(&shown).into_iter();
        let told: BTreeMap<_, _> =
            told.map(|[name, .., more]| (name.to_owned(), more.to_owned())).collect();
        assert_eq!(booked, told);
        assert_eq!(amounts(app, end, |_| true).await?, sealed, "what is sealed stays");
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_closed_period_rated_again_comes_to_what_was_sealed() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        let id = office.provision("BU010", "2020-01-01").await?;
        let unpriced = json!({
            "name": "Odd", "level": "customer", "instancing": "single",
            "plans": [{ "key": "p", "name": "P" }],
        });
        app.put("/api/v2/services/odd/draft", unpriced).await?;
        app.post("/api/v2/services/odd/publish", json!({ "rollOut": true })).await?;
        let path = format!("/api/v2/customers/{}/subscriptions", office.customer);
        let odd = json!({ "service": "odd", "plan": "p", "effectiveAt": "2020-01-11" });
        let odd = app.post(&path, odd).await?;
        let credit = json!({
            "customerId": office.customer, "amount": "-5.00", "description": "Welcome",
            "reason": "agreed",
        });
        app.post("/api/v2/billing/adjustments", credit).await?;
        app.turn("2020-02-01T08:00:00Z").await?;
        office.ask("2020-01-31").await?;
        let defer = json!({ "subscriptionId": odd["id"], "reason": "its price is being agreed" });
        app.post("/api/v2/billing/2020-01-31/defer", defer).await?;
        office.approve("2020-01-31").await?.expect(202)?;
        // All that is learned later, and said later about prices and rules, is not of that close.
        office.deprovision(&id, "2020-01-20").await?;
        let rules = json!([{
            "key": "r", "reason": "Free", "validFrom": "2020-01-01",
            "condition": { "field": "service", "values": ["backup"] },
        }]);
        app.put("/api/v2/billing/rules", json!({ "rules": rules })).await?;
        let prices = format!("/api/v2/organizations/{}/prices", office.customer);
        let price = json!({ "service": "odd", "plan": "p", "price": "31.00",
            "effectiveFrom": "2020-01-01", "reason": "agreed" });
        app.put(&prices, price).await?;
        app.turn("2020-03-01T08:00:00Z").await?;
        office.close("2020-02-29").await?;
        app.turn("2020-03-05T08:00:00Z").await?;
        for (end, total) in [("2020-01-31", "175.00"), ("2020-02-29", "-17.68")] {
            let shown = rehearse(app, json!({ "endDate": end })).await?;
            assert_eq!((&shown["closed"], &shown["customerCount"]), (&json!(true), &json!(0)));
            let versions = (&shown["sealedEngineVersion"], &shown["engineVersion"]);
            assert_eq!(versions, (&json!(1), &json!(1)), "{shown}");
            let row = &shown["totals"][0];
            assert_eq!((&row["amount"], &row["newAmount"]), (&json!(total), &json!(total)));
            assert_eq!((&shown["customers"], &shown["quarantined"]), (&json!([]), &json!([])));
        }
        // With that rule January would have been free of what was held then, whether the rule stands by now or not.
        let wish = json!({ "endDate": "2020-01-31", "rules": rules });
        for standing in [rules, json!([])] {
            app.put("/api/v2/billing/rules", json!({ "rules": standing })).await?;
            let shown = rehearse(app, wish.clone()).await?;
            let expected = [["Aanimals Inc", "175.00", "-5.00", "-180.00"]];
            assert_eq!(effects(&shown), expected, "{shown}");
            let row = &shown["customers"][0];
            assert_eq!((&row["waivedLines"], &row["newWaivedLines"]), (&json!(0), &json!(1)));
        }
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn all_of_a_proposal_stands_together_and_what_loses_its_price_is_told() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2019-11-01T00:00:00Z").await?;
        let app = &office.app;
        office.provision("BU001", "2019-11-01").await?;
        let other = app.customer("Bears", None).await?;
        let id = hold(app, &other, "BU010", "2019-11-01").await?;
        app.turn("2019-11-10T08:00:00Z").await?;
        let mut definition = backup("130.00")?;
        let mut new = definition["plans"][0].clone();
        (new["key"], new["name"], new["sku"]) = (json!("NEW"), json!("New"), json!("BU099"));
        definition["plans"].as_array_mut().context("plans")?.push(new);
        let rules = json!([{
            "key": "r", "reason": "Free", "validFrom": "2019-11-01",
            "condition": { "field": "plan", "values": ["BU001"] },
        }]);
        // A row may name a plan that only the proposed definition has; what costs dollars has no rate.
        let wish = json!({
            "service": { "key": "backup", "definition": definition },
            "prices": [
                { "service": "backup", "plan": "NEW", "price": "11.00" },
                { "service": "backup", "plan": "BU010", "price": "200.00", "currency": "USD" },
            ],
            "rules": rules,
        });
        let shown = rehearse(app, wish).await?;
        let expected =
            [["Aanimals Inc", "100.00", "0.00", "-100.00"], ["Bears", "180.00", "0.00", "-180.00"]];
        assert_eq!(effects(&shown), expected, "{shown}");
        assert_eq!(shown["quarantinedCount"], 1);
        let quarantined = &shown["quarantined"][0];
        assert_eq!(quarantined["subscriptionId"], id.as_str(), "{shown}");
        assert_eq!(quarantined["code"], "no_exchange_rate", "{shown}");
        // The preview of rules is the same rehearsal.
        let path = "/api/v2/billing/rules/preview";
        let tried = app.post(path, json!({ "rules": rules })).await?;
        assert_eq!(tried, rehearse(app, json!({ "rules": rules })).await?);
        assert_eq!(effects(&tried), [["Aanimals Inc", "100.00", "0.00", "-100.00"]]);
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_proposal_is_allowed_and_refused_as_if_it_were_sent() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2019-11-01T00:00:00Z").await?;
        let app = &office.app;
        office.provision("BU001", "2019-11-01").await?;
        let reseller = app.reseller("North").await?;
        let theirs = app.customer("Theirs", Some(&reseller)).await?;
        hold(app, &theirs, "BU001", "2019-11-01").await?;
        let (_, north) = app.user(&reseller, "n@n.test", &["Reseller Administrator"]).await?;
        let (_, carl) = app.user(&office.customer, "c@c.test", &["Customer Administrator"]).await?;
        let (_, nobody) = app.user(&reseller, "x@n.test", &[]).await?;
        let ask =
            async |token: &str, body: Value| app.send(token, Method::POST, PATH, Some(body)).await;
        let own = provider(app).await?;
        let row = json!({ "service": "backup", "plan": "BU001", "price": "90.00" });
        let prices = json!({ "prices": [row] });
        // His own price book he may think about, and see what it does to what he bills.
        let shown = ask(&north, prices.clone()).await?.expect(200)?;
        assert_eq!(effects(&shown), [["Theirs", "100.00", "90.00", "-10.00"]], "{shown}");
        // What the provider bills, definitions, and other sellers are none of his business.
        let of = |organization: &str| json!({ "organizationId": organization, "prices": prices["prices"] });
        assert_eq!(ask(&north, of(&own)).await?.problem(404)?, "not_found");
        let service = json!({ "service": { "key": "backup", "definition": backup("90.00")? } });
        let refused = ask(&north, service.clone()).await?.expect(403)?;
        assert_eq!(refused["lacking"]["permission"], "services.publish", "{refused}");
        assert_eq!(ask(&nobody, prices.clone()).await?.problem(403)?, "forbidden");
        assert_eq!(ask(&carl, of(&own)).await?.problem(404)?, "not_found");
        assert_eq!(ask(&carl, prices.clone()).await?.problem(409)?, "no_books");
        // The provider sees what it does for the reseller's bills as well.
        let shown = ask(&app.token, of(&reseller)).await?.expect(200)?;
        assert_eq!(effects(&shown), [["Theirs", "100.00", "90.00", "-10.00"]], "{shown}");
        // What is wrong is told at its place, all of it at once.
        let mut definition = backup("90.00")?;
        definition["plans"][0]["price"] = json!("much");
        let wrong = json!({
            "service": { "key": "backup", "definition": definition, "effectiveAt": "soon" },
            "prices": [{ "service": "backup", "plan": "nothing", "price": "1.00" }],
            "rules": [{ "key": "r", "reason": "Free", "validFrom": "never",
                "condition": { "field": "plan", "values": ["BU001"] } }],
        });
        let told = ask(&app.token, wrong).await?.expect(422)?;
        let pointers = told["errors"].as_array().context("faults")?.iter();
        let pointers: Vec<_> = pointers.map(|it| it["pointer"].as_str().unwrap_or("-")).collect();
        let expected = [
            "/service/definition/plans/0/price",
            "/service/effectiveAt",
            "/prices/0/plan",
            "/rules/0/validFrom",
        ];
        assert_eq!(pointers, expected, "{told}");
        let mut definition = backup("90.00")?;
        definition["nme"] = json!("x");
        let unknown = json!({ "service": { "key": "backup", "definition": definition } });
        let told = ask(&app.token, unknown).await?.expect(400)?;
        assert_eq!(told["errors"][0]["pointer"], "/service/definition/nme", "{told}");
        // What could not be published is the definition's fault.
        let mut definition = backup("90.00")?;
        definition["plans"][0]["properties"] = json!({});
        let wish = json!({ "service": { "key": "backup", "definition": definition } });
        let told = ask(&app.token, wish).await?.expect(422)?;
        let place = "/service/definition/plans/0/properties";
        assert_eq!(told["errors"][0]["pointer"], place, "{told}");
        let nothing = json!({ "service": { "key": "no-such-service" } });
        assert_eq!(ask(&app.token, nothing).await?.problem(404)?, "not_found");
        for (wish, pointer, code) in [
            (json!({ "endDate": "2019-11-29" }), "/endDate", "no_such_period"),
            (json!({ "endDate": "soon" }), "/endDate", "no_such_period"),
            // Nothing is proposed, and nothing is sealed.
            (json!({ "endDate": "2019-11-30" }), "", "nothing_proposed"),
            (json!({}), "", "nothing_proposed"),
            (json!({ "prices": [] }), "/prices", "count"),
        ] {
            let told = ask(&app.token, wish).await?.expect(422)?;
            let fault = &told["errors"][0];
            assert_eq!((&fault["pointer"], &fault["code"]), (&json!(pointer), &json!(code)));
        }
        office.app.finish().await?;
    }
    Ok(())
}
