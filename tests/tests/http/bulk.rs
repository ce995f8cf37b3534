//! One command for many users.

use anyhow::{Context, Result};
use atrium_tests::http::{Answer, TestApp, answer};
use reqwest::Method;
use serde_json::{Value, json};

use crate::BOTH;

const NOW: &str = "2019-11-01T08:00:00Z";

struct Shop {
    app: TestApp,
    customer: String,
    users: Vec<String>,
}

impl Shop {
    async fn new(engine: eventstore::Engine, process: &str) -> Result<Self> {
        let app = TestApp::new(engine, NOW).await?;
        let definition = json!({
            "name": "Mail", "level": "user", "instancing": "single", "process": process,
            "properties": [{ "key": "Alias", "scope": "user", "kind": "input", "type": "text" }],
            "plans": [
                { "key": "small", "name": "Small", "price": "5.00" },
                { "key": "large", "name": "Large", "price": "9.00" },
            ],
        });
        app.put("/api/v2/services/mail/draft", definition).await?;
        app.post("/api/v2/services/mail/publish", json!({ "rollOut": true })).await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let mut users = Vec::new();
        for name in ["ann", "ben", "cleo"] {
            let sent =
                json!({ "firstName": name, "lastName": "Lee", "email": format!("{name}@x.test") });
            let made = app.post(&format!("/api/v2/customers/{customer}/users"), sent).await?;
            users.push(made["id"].as_str().context("an id")?.to_owned());
        }
        Ok(Self { app, customer, users })
    }

    fn path(&self) -> String {
        format!("/api/v2/customers/{}/users/subscriptions", self.customer)
    }

    async fn many(&self, sent: Value) -> Result<Answer> {
        self.app.send(&self.app.token, Method::POST, &self.path(), Some(sent)).await
    }

    async fn table(&self, text: &str) -> Result<Answer> {
        let request = self.app.request(&self.app.token, Method::POST, &self.path());
        let request = request.header("content-type", "text/csv; charset=utf-8");
        answer(request.body(text.to_owned())).await
    }

    async fn held(&self, user: usize) -> Result<Vec<Value>> {
        let path = format!("/api/v2/users/{}/subscriptions", self.users[user]);
        Ok(self.app.get(&path).await?["data"].as_array().context("a list")?.clone())
    }
}

fn faults(answer: &Answer) -> Vec<(String, String)> {
    let errors = answer.body["errors"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    errors.map(|fault| (text(&fault["pointer"]), text(&fault["code"]))).collect()
}

#[tokio::test]
async fn many_get_it_with_one_request_that_has_a_part_for_each() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine, "immediate").await?;
        let users = json!([shop.users[0], "Ben@x.test", shop.users[2]]);
        let sent =
            json!({ "users": users, "service": "mail", "plan": "small", "reason": "new office" });
        let made = shop.many(sent.clone()).await?;
        let location = made.headers.get("location").context("a location")?.to_str()?.to_owned();
        let made = made.expect(201)?;
        assert_eq!((&made["status"], &made["subscriptionId"]), (&json!("Completed"), &Value::Null));
        let whole = shop.app.get(&location).await?;
        let parts = whole["subRequests"].as_array().context("parts")?;
        assert_eq!(parts.len(), 3);
        for (user, part) in parts.iter().enumerate() {
            let held = shop.held(user).await?;
            assert_eq!((held.len(), &held[0]["plan"]), (1, &json!("small")));
            assert_eq!(
                (&held[0]["id"], &held[0]["requestId"]),
                (&part["subscriptionId"], &part["id"])
            );
        }
        // Said again, it adds nothing to anybody.
        let again = shop.many(sent).await?.expect(201)?;
        let again = format!("/api/v2/requests/{}", again["id"].as_str().context("an id")?);
        assert_eq!(shop.app.get(&again).await?.get("subRequests"), None);
        let query = "{ requests { nodes { uuid subRequestCount subscription { uuid } } } }";
        let told = shop.app.post("/graphql", json!({ "query": query })).await?;
        assert_eq!(told["data"]["requests"]["nodes"].as_array().map(Vec::len), Some(5), "{told}");
        shop.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn nobody_gets_anything_where_one_cannot_have_it_and_everything_is_told() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine, "immediate").await?;
        let other = shop.app.customer("Zoo", None).await?;
        let (stranger, _) = shop.app.user(&other, "zoe@zoo.test", &[]).await?;
        let held = json!({ "service": "mail", "plan": "large" });
        shop.app.post(&format!("/api/v2/users/{}/subscriptions", shop.users[1]), held).await?;
        let users = json!([shop.users[0], shop.users[1], stranger, "nobody", "no@x.test"]);
        let refused =
            shop.many(json!({ "users": users, "service": "mail", "plan": "small" })).await?;
        let pairs = |told: &[(&str, &str)]| {
            told.iter().map(|(at, code)| ((*at).to_owned(), (*code).to_owned())).collect::<Vec<_>>()
        };
        let expected = [
            ("/users/2", "unknown_user"),
            ("/users/3", "unknown_user"),
            ("/users/4", "unknown_user"),
            ("/users/1", "already_provisioned"),
        ];
        assert_eq!(faults(&refused), pairs(&expected));
        refused.problem(422)?;
        assert_eq!((shop.held(0).await?.len(), shop.held(1).await?.len()), (0, 1));

        let table = format!(
            "user,service,plan,quantity,properties.Alias\nann@x.test,mail,small,1,ann\n\
             {},mail,large,0,\ncleo@x.test,mail,tiny,,\nzoe@zoo.test,mail,small,,\n",
            shop.users[1]
        );
        let refused = shop.table(&table).await?;
        let expected = [
            ("/lines/5", "unknown_user"),
            ("/lines/3/quantity", "out_of_range"),
            ("/lines/4/plan", "unknown_plan"),
        ];
        assert_eq!(faults(&refused), pairs(&expected));
        let detail = refused.body["errors"][1]["detail"].as_str().context("a detail")?;
        assert!(detail.starts_with("Line 3: "), "{detail}");
        refused.problem(422)?;
        let refused = shop.table("user,service\nann@x.test\n").await?;
        assert_eq!(faults(&refused), pairs(&[("/lines/1/plan", "missing")]));
        refused.problem(400)?;
        assert!(shop.held(0).await?.is_empty());

        let users = vec![shop.users[0].clone(); 1_001];
        let refused =
            shop.many(json!({ "users": users, "service": "mail", "plan": "small" })).await?;
        assert_eq!(faults(&refused), pairs(&[("/users", "too_many")]));
        let refused = shop.many(json!({ "users": [], "service": "mail", "plan": "small" })).await?;
        assert_eq!(faults(&refused), pairs(&[("/users", "empty")]));
        shop.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_table_says_what_each_is_to_have_and_the_whole_is_done_when_all_are() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine, "reported").await?;
        let table = "user,plan,service,properties.Alias,reason\r\nann@x.test,small,mail,\"Lee, Ann\",\r\n\
                     BEN@x.test,large,mail,,\"new\"\r\n";
        let asked = shop.table(table).await?.expect(202)?;
        let path = format!("/api/v2/requests/{}", asked["id"].as_str().context("an id")?);
        let whole = shop.app.get(&path).await?;
        assert_eq!(whole["status"], "InProgress");
        let parts = whole["subRequests"].as_array().context("parts")?.clone();
        let first = parts[0]["id"].as_str().context("an id")?;
        let shown = shop.app.get(&format!("/api/v2/requests/{first}")).await?;
        assert!(shown["ingredients"].to_string().contains("Lee, Ann"), "{shown}");
        assert_eq!(shown["parentId"], whole["id"]);
        let report = format!("{path}/start");
        let refused =
            shop.app.send(&shop.app.token, Method::POST, &report, Some(json!({}))).await?;
        assert_eq!(refused.problem(409)?, "for_many");
        for what in ["start", "complete"] {
            shop.app.post(&format!("/api/v2/requests/{first}/{what}"), json!({})).await?;
        }
        assert_eq!(shop.app.get(&path).await?["status"], "InProgress");
        let second = parts[1]["subscriptionId"].as_str().context("an id")?;
        shop.app.post(&format!("/api/v2/subscriptions/{second}/cancel"), json!({})).await?;
        assert_eq!(shop.app.get(&path).await?["status"], "Completed");
        assert_eq!(shop.held(0).await?[0]["status"], "Provisioned");
        shop.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn of_many_each_who_has_to_be_approved_waits_and_the_whole_is_done_once_all_were_answered()
-> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine, "immediate").await?;
        let (eve, by_eve) = shop.app.user(&shop.customer, "eve@example.com", &[]).await?;
        let policy = format!("/api/v2/organizations/{}/approval-policies/mail", shop.customer);
        shop.app.put(&policy, json!({ "users": [eve], "needed": 1 })).await?;
        let (ann, by_ann) =
            shop.app.user(&shop.customer, "boss@example.com", &["Customer Administrator"]).await?;
        let sent = json!({ "users": [shop.users[0], shop.users[1], ann], "service": "mail", "plan": "small" });
        let many = async |by: &str| {
            shop.app.send(by, Method::POST, &shop.path(), Some(sent.clone())).await
        };
        let asked = many(&by_ann).await?.expect(202)?;
        assert_eq!(asked["status"], "InProgress", "{asked}");
        let approvals: Vec<_> = asked["approvals"].as_array().context("a list")?.clone();
        assert_eq!(approvals.len(), 3);
        for user in 0..2 {
            assert!(shop.held(user).await?.is_empty(), "nobody has anything before it is approved");
        }

        let answer = async |place: usize, verb: &str| -> Result<Value> {
            let id = approvals[place].as_str().context("an id")?;
            let path = format!("/api/v2/requests/{id}/{verb}");
            shop.app.send(&by_eve, Method::POST, &path, Some(json!({}))).await?.expect(200)
        };
        let at = format!("/api/v2/requests/{}", asked["id"].as_str().context("an id")?);
        let granted = answer(0, "approve").await?;
        assert_eq!(
            (&granted["approvalStatus"], &granted["parentId"]),
            (&json!("granted"), &asked["id"])
        );
        assert_eq!(shop.held(0).await?[0]["status"], "Provisioned");
        let whole = shop.app.get(&at).await?;
        assert_eq!(
            (&whole["status"], whole["subRequests"].as_array().map(Vec::len)),
            (&json!("InProgress"), Some(1))
        );
        assert_eq!(whole["subRequests"][0]["id"], granted["id"]);
        answer(1, "reject").await?;
        assert_eq!(shop.app.get(&at).await?["status"], "InProgress");
        shop.app.turn("2019-12-01T08:00:00Z").await?;
        let whole = shop.app.get(&at).await?;
        assert_eq!(whole["status"], "Completed", "what nobody answers is rejected: {whole}");
        assert!(shop.held(1).await?.is_empty());
        let query = "{ requests { nodes { uuid approvals { status parent { uuid } } } } }";
        let shown = shop.app.post("/graphql", json!({ "query": query })).await?;
        let nodes = shown["data"]["requests"]["nodes"].as_array().context("requests")?;
        let node = nodes.iter().find(|it| it["uuid"] == asked["id"]).context("the whole")?;
        let statuses: Vec<_> = node["approvals"]
            .as_array()
            .context("approvals")?
            .iter()
            .map(|it| it["status"].as_str().unwrap_or_default())
            .collect();
        assert_eq!(statuses, ["GRANTED", "REJECTED", "EXPIRED"]);
        assert_eq!(node["approvals"][0]["parent"]["uuid"], asked["id"]);
        shop.app.finish().await?;
    }
    Ok(())
}
