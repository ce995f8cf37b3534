//! Customers who go to another seller, and who bills them (service-model.md, section 1; billing.md, section 2).

use anyhow::{Context, Result};
use atrium_tests::http::{Answer, PASSWORD, TestApp};
use eventstore::Engine;
use reqwest::Method;
use serde_json::{Value, json};

use crate::BOTH;

/// Two sellers, and a customer of the first with a user; all of them have something.
struct Stage {
    app: TestApp,
    root: String,
    sellers: [String; 2],
    tokens: [String; 2],
    customer: String,
    ann: String,
    session: String,
    backup: String,
}

impl Stage {
    async fn new(engine: Engine) -> Result<Self> {
        let app = TestApp::new(engine, "2019-11-20T09:00:00Z").await?;
        app.publish("backup").await?;
        app.publish("mailbox").await?;
        let query = json!({ "query": "{ viewer { user { organization { uuid } } } }" });
        let answer = app.post("/graphql", query).await?;
        let root = answer["data"]["viewer"]["user"]["organization"]["uuid"].as_str();
        let root = root.context("the provider")?.to_owned();
        let sellers = [app.reseller("East").await?, app.reseller("West").await?];
        let (_, east) = app.user(&sellers[0], "eve@east.test", &["Reseller Administrator"]).await?;
        let (_, west) = app.user(&sellers[1], "wim@west.test", &["Reseller Administrator"]).await?;
        let customer = app.customer("Aanimals Inc", Some(&sellers[0])).await?;
        let (ann, session) =
            app.user(&customer, "ann@aanimals.test", &["Customer Administrator"]).await?;
        let hold = async |holder: &str, service: &str, plan: &str| -> Result<String> {
            let sent = json!({ "service": service, "plan": plan, "effectiveAt": "2019-11-01" });
            let made = app.post(&format!("/api/v2/{holder}/subscriptions"), sent).await?;
            Ok(made["id"].as_str().context("an id")?.to_owned())
        };
        let backup = hold(&format!("customers/{customer}"), "backup", "BU001").await?;
        hold(&format!("users/{ann}"), "mailbox", "standard").await?;
        for (seller, price) in [(&sellers[0], "90.00"), (&sellers[1], "80.00")] {
            let sent = json!({ "service": "backup", "price": price, "reason": "Ours", "effectiveFrom": "2019-11-01" });
            app.put(&format!("/api/v2/organizations/{seller}/prices"), sent).await?;
        }
        let storage = json!({ "property": "Storage", "value": "3 TB", "reason": "Ours", "effectiveFrom": "2019-11-01" });
        app.put(&format!("/api/v2/organizations/{}/overrides/backup", sellers[1]), storage).await?;
        let tokens = [east, west];
        Ok(Self { app, root, sellers, tokens, customer, ann, session, backup })
    }

    async fn go(&self, token: &str, sent: Value) -> Result<Answer> {
        let path = format!("/api/v2/customers/{}/move", self.customer);
        self.app.send(token, Method::POST, &path, Some(sent)).await
    }

    async fn status(&self, token: &str, path: &str) -> Result<u16> {
        Ok(self.app.send(token, Method::GET, path, None).await?.status.as_u16())
    }
}

/// The amounts and actions of a period, as somebody sees them.
async fn bill(app: &TestApp, token: &str, end: &str) -> Result<Vec<(String, String)>> {
    let path = format!("/api/Billing/{end}/detail");
    let detail = app.send(token, Method::GET, &path, None).await?.expect(200)?;
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let rows = detail["data"].as_array().into_iter().flatten();
    let mut lines: Vec<_> = rows
        .map(|row| (text(row, "amount"), text(row, "action")))
        .filter(|(amount, _)| amount != "0.00")
        .collect();
    lines.sort();
    Ok(lines)
}

fn lines(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(amount, action)| ((*amount).to_owned(), (*action).to_owned())).collect()
}

/// The kinds of events that somebody sees, of one stream.
async fn history(app: &TestApp, token: &str, of: &str) -> Result<Vec<String>> {
    let answer =
        app.send(token, Method::GET, "/api/v2/events?limit=500", None).await?.expect(200)?;
    let events = answer["data"].as_array().context("events")?.iter();
    let own = events.filter(|event| event["subject"].as_str().is_some_and(|it| it.ends_with(of)));
    Ok(own.filter_map(|event| event["type"].as_str().map(str::to_owned)).collect())
}

#[tokio::test]
async fn a_customer_goes_to_another_seller_with_all_it_has_and_the_bills_follow() -> Result<()> {
    for engine in BOTH {
        let stage = Stage::new(engine).await?;
        let Stage { app, sellers: [east, west], tokens: [of_east, of_west], .. } = &stage;
        let customer = format!("/api/v2/customers/{}", stage.customer);
        let sent = json!({ "parentId": west, "effectiveFrom": "2019-11-16", "reason": "Sold" });
        assert_eq!(stage.go(&app.token, sent.clone()).await?.expect(200)?["parentId"], json!(west));

        // At once, in every way of asking.
        for path in [
            customer.clone(),
            format!("/api/v2/users/{}", stage.ann),
            format!("/api/v2/subscriptions/{}", stage.backup),
            format!("/api/v2/organizations/{}", stage.customer),
        ] {
            assert_eq!(stage.status(of_east, &path).await?, 404, "{path}");
            assert_eq!(stage.status(of_west, &path).await?, 200, "{path}");
            assert_eq!(stage.status(&stage.session, &path).await?, 200, "{path}");
        }
        let query = "{ customers { totalCount } users { totalCount } subscriptions { totalCount } \
            requests { totalCount } }";
        let seen = async |token: &str| -> Result<Value> {
            let sent = json!({ "query": query });
            let answer =
                app.send(token, Method::POST, "/graphql", Some(sent)).await?.expect(200)?;
            let of = |list: &str| answer["data"][list]["totalCount"].clone();
            Ok(json!([of("customers"), of("users"), of("subscriptions"), of("requests")]))
        };
        assert_eq!(seen(of_east).await?, json!([0, 1, 0, 0]));
        // What the new seller has set reaches what runs: a third request.
        assert_eq!(seen(of_west).await?, json!([1, 2, 2, 3]));
        assert_eq!(seen(&stage.session).await?, json!([1, 1, 2, 3]));

        // 15 of 30 days each; what was a seller's to bill stays his.
        app.ambient.set("2019-12-20T09:00:00Z");
        let (of_east, of_west, session) = (
            &app.sign_in("eve@east.test", PASSWORD).await?,
            &app.sign_in("wim@west.test", PASSWORD).await?,
            &app.sign_in("ann@aanimals.test", PASSWORD).await?,
        );
        let left = [("2.10", "Removed"), ("45.00", "Removed")];
        let come = [("2.10", "Added"), ("40.00", "Added")];
        let both =
            [("2.10", "Added"), ("2.10", "Removed"), ("40.00", "Added"), ("45.00", "Removed")];
        assert_eq!(bill(app, of_east, "2019-11-30").await?, lines(&left));
        assert_eq!(bill(app, of_west, "2019-11-30").await?, lines(&come));
        for token in [&app.token, session] {
            assert_eq!(bill(app, token, "2019-11-30").await?, lines(&both));
        }
        assert_eq!(bill(app, of_east, "2019-12-31").await?, lines(&[]));
        let carried = [("4.20", "Carried"), ("80.00", "Carried")];
        assert_eq!(bill(app, of_west, "2019-12-31").await?, lines(&carried));
        let summary = app.get("/api/Billing/2019-11-30").await?;
        let rows = summary["data"].as_array().context("rows")?;
        let backup = rows.iter().find(|row| row["productSku"] == "BU001").context("a row")?;
        assert_eq!((&backup["thisMonthCount"], &backup["amount"]), (&json!(1), &json!("85.00")));

        // History stays where it was recorded, and the customer keeps all of its own.
        let slot = format!("subscription-{}", stage.backup);
        let own = format!("organization-{}", stage.customer);
        assert_eq!(history(app, of_east, &own).await?, ["organization.created"]);
        assert_eq!(history(app, of_west, &own).await?, ["organization.moved"]);
        let moved = ["organization.created", "organization.moved"];
        assert_eq!(history(app, session, &own).await?, moved);
        let left = format!("organization-{east}");
        assert!(
            history(app, of_east, &left).await?.contains(&"organization.customer_left".to_owned())
        );
        assert_eq!(history(app, of_east, &slot).await?.len(), 3);
        assert_eq!(history(app, of_west, &slot).await?.len(), 3);
        assert_eq!(history(app, session, &slot).await?.len(), 6);
        let events =
            app.send(of_west, Method::GET, "/api/v2/events?limit=500", None).await?.expect(200)?;
        let events = events["data"].as_array().context("events")?.clone();
        let event = events.iter().find(|event| event["type"] == "organization.moved");
        assert_eq!(event.context("it is there")?["data"]["from"], Value::Null);

        // Work goes on at the new place, and what is asked for again is done.
        let sent_again = stage.go(&app.token, sent).await?.expect(200)?;
        assert_eq!(sent_again["moved"], false);
        let change = format!("/api/v2/subscriptions/{}/change", stage.backup);
        let bigger = json!({ "plan": "BU010" });
        app.send(of_west, Method::POST, &change, Some(bigger.clone())).await?.expect(200)?;
        app.send(of_east, Method::POST, &change, Some(bigger)).await?.problem(404)?;
        let earlier = json!({ "parentId": east, "effectiveFrom": "2019-11-15", "reason": "Back" });
        stage.go(&app.token, earlier).await?.problem(422)?;
        let back = json!({ "parentId": east, "effectiveFrom": "2019-12-11", "reason": "Back" });
        assert_eq!(stage.go(&app.token, back).await?.expect(200)?["moved"], true);
        // The change to the other plan was made on the 20th, when East sold again.
        let december = [("1.35", "Removed"), ("25.81", "Removed")];
        assert_eq!(bill(app, of_west, "2019-12-31").await?, lines(&december));
        assert_eq!(bill(app, of_west, "2019-11-30").await?, lines(&come));
        assert_eq!(stage.status(of_east, &customer).await?, 200);
        assert_eq!(stage.status(of_west, &customer).await?, 404);
        stage.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_move_is_refused_with_all_that_is_missing_and_only_by_whom_acts_at_both_ends()
-> Result<()> {
    for engine in BOTH {
        let stage = Stage::new(engine).await?;
        let Stage { app, sellers: [_, west], tokens: [of_east, of_west], .. } = &stage;
        let wish = |more: Value| {
            let mut sent = json!({ "parentId": west, "reason": "Sold" });
            let fields = more.as_object().cloned().unwrap_or_default();
            sent.as_object_mut().into_iter().for_each(|sent| sent.extend(fields.clone()));
            sent
        };
        // Each of the two sees one end only.
        stage.go(of_east, wish(json!({}))).await?.problem(404)?;
        stage.go(of_west, wish(json!({}))).await?.problem(404)?;
        stage.go(&stage.session, wish(json!({}))).await?.problem(403)?;

        let offers = format!("/api/v2/organizations/{west}/offers");
        app.send(&app.token, Method::DELETE, &format!("{offers}/mailbox"), None)
            .await?
            .expect(200)?;
        app.put(&format!("{offers}/backup"), json!({ "plans": ["BU010"] })).await?;
        let role = json!({ "name": "Guest", "permissions": ["users.view"] });
        let role =
            app.send(of_east, Method::POST, "/api/v2/roles", Some(role)).await?.expect(201)?;
        let role = role["id"].as_str().context("an id")?;
        let given = format!("/api/v2/organizations/{}/roles/{role}", stage.customer);
        let answer = app.send(of_east, Method::PUT, &given, Some(json!({}))).await?;
        assert_eq!(answer.status, 204, "{answer:?}");
        let late = wish(json!({ "effectiveFrom": "2019-11-21", "reason": " ", "check": true }));
        let refused = stage.go(&app.token, late).await?;
        refused.clone().problem(422)?;
        let faults = refused.body["errors"].as_array().context("faults")?.iter();
        let faults: Vec<_> = faults.map(|it| json!([it["pointer"], it["code"]])).collect();
        assert_eq!(
            faults,
            [
                json!(["/effectiveFrom", "in_the_future"]),
                json!(["/reason", "empty"]),
                json!(["/parentId", "plan_not_offered"]),
                json!(["/parentId", "not_offered"]),
                json!(["/parentId", "role_not_there"]),
            ]
        );
        app.put(&format!("{offers}/mailbox"), json!({})).await?;
        app.put(&format!("{offers}/backup"), json!({})).await?;
        assert_eq!(app.send(of_east, Method::DELETE, &given, None).await?.status, 204);
        let checked = stage.go(&app.token, wish(json!({ "check": true }))).await?.expect(200)?;
        assert_eq!((&checked["moved"], &checked["changeRequests"]), (&json!(false), &json!(0)));
        assert_eq!(checked["parentId"], json!(stage.sellers[0]));

        let other = app.customer("Abacus", None).await?;
        stage.go(&app.token, wish(json!({ "parentId": other }))).await?.problem(422)?;
        stage.go(&app.token, wish(json!({ "parentId": "nobody" }))).await?.problem(404)?;
        app.post(&format!("/api/v2/resellers/{west}/disable"), json!({})).await?;
        let refused = stage.go(&app.token, wish(json!({}))).await?;
        assert_eq!(refused.problem(409)?, "organization_disabled");
        stage.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_customer_is_billed_by_the_seller_above_it_that_is_named_from_its_date_on() -> Result<()>
{
    for engine in BOTH {
        let stage = Stage::new(engine).await?;
        let Stage { app, root, sellers: [east, west], .. } = &stage;
        let path = format!("/api/v2/customers/{}/billed-by", stage.customer);
        let by = |seller: &str| json!({ "sellerId": seller, "effectiveFrom": "2019-11-16", "reason": "Agreed" });
        let refused = app.send(&app.token, Method::PUT, &path, Some(by(west))).await?;
        assert_eq!(refused.body["errors"][0]["code"], "not_above");
        refused.problem(422)?;
        let made = app.put(&path, by(root)).await?;
        assert_eq!((&made["billedBy"], &made["parentId"]), (&json!(root), &json!(east)));
        let query = "{ ledgerEntries(endDate: \"2019-11-30\") { nodes { serviceKey days action amount \
            { amount } seller { uuid } buyer { uuid } } } organization(id: $id) { billedBy { uuid } } }";
        let query = format!("query($id: ID!) {query}");
        let sent = json!({ "query": query, "variables": { "id": stage.customer } });
        let answer = app.post("/graphql", sent).await?;
        assert_eq!(answer["data"]["organization"]["billedBy"]["uuid"], json!(root));
        let nodes = answer["data"]["ledgerEntries"]["nodes"].as_array().context("lines")?.iter();
        let of_backup = nodes.filter(|node| node["serviceKey"] == "backup" && node["days"] != 0);
        let of_backup: Vec<_> = of_backup
            .map(|node| {
                json!([
                    node["seller"]["uuid"],
                    node["buyer"]["uuid"],
                    node["days"],
                    node["amount"]["amount"],
                    node["action"]
                ])
            })
            .collect();
        assert_eq!(
            of_backup,
            [
                json!([root, east, 15, "45.00", "REMOVED"]),
                json!([root, null, 15, "45.00", "ADDED"])
            ]
        );
        // The same again is done; who goes elsewhere is billed there.
        assert_eq!(app.put(&path, by(root)).await?["version"], made["version"]);
        let sent = json!({ "parentId": west, "reason": "Sold" });
        assert_eq!(stage.go(&app.token, sent).await?.expect(200)?["billedBy"], json!(west));
        stage.app.finish().await?;
    }
    Ok(())
}
