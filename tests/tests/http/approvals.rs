//! Approvals: who is asked first, who answers, and what comes of it.

use anyhow::{Context, Result};
use atrium_tests::http::{Answer, PASSWORD, TestApp};
use eventstore::Engine;
use reqwest::Method;
use serde_json::{Value, json};

use crate::BOTH;

const NOW: &str = "2019-11-01T08:00:00Z";

/// A customer below a reseller, and its people: each with a session.
struct Shop {
    app: TestApp,
    reseller: String,
    customer: String,
    /// The customer's administrator, who asks.
    ann: Person,
    /// People of the customer without a role.
    ben: Person,
    eve: Person,
    /// The reseller's administrator.
    rita: Person,
}

#[derive(Clone)]
struct Person {
    id: String,
    token: String,
    login: String,
}

impl Shop {
    async fn new(engine: Engine) -> Result<Self> {
        let app = TestApp::new(engine, NOW).await?;
        app.publish("backup").await?;
        app.publish("mailbox").await?;
        let reseller = app.reseller("East").await?;
        let customer = app.customer("Aanimals Inc", Some(&reseller)).await?;
        let person = async |organization: &str, name: &str, roles: &[&str]| -> Result<Person> {
            let login = format!("{name}@example.com");
            let (id, token) = app.user(organization, &login, roles).await?;
            Ok(Person { id, token, login })
        };
        Ok(Self {
            ann: person(&customer, "ann", &["Customer Administrator"]).await?,
            ben: person(&customer, "ben", &[]).await?,
            eve: person(&customer, "eve", &[]).await?,
            rita: person(&reseller, "rita", &["Reseller Administrator"]).await?,
            app,
            reseller,
            customer,
        })
    }

    async fn person(&self, name: &str, roles: &[&str]) -> Result<Person> {
        let login = format!("{name}@example.com");
        let (id, token) = self.app.user(&self.customer, &login, roles).await?;
        Ok(Person { id, token, login })
    }

    /// Sets the policy of the customer for a service.
    async fn policy(&self, service: &str, sent: Value) -> Result<Value> {
        self.policy_at(&self.customer, service, sent).await
    }

    async fn policy_at(&self, at: &str, service: &str, sent: Value) -> Result<Value> {
        let path = format!("/api/v2/organizations/{at}/approval-policies/{service}");
        self.app.put(&path, sent).await
    }

    /// Asks for a mailbox for somebody.
    async fn mailbox(&self, who: &Person, whom: &Person) -> Result<Answer> {
        let sent = json!({ "service": "mailbox", "plan": "standard" });
        self.ask(who, &format!("/api/v2/users/{}/subscriptions", whom.id), sent).await
    }

    async fn ask(&self, who: &Person, path: &str, sent: Value) -> Result<Answer> {
        self.app.send(&who.token, Method::POST, path, Some(sent)).await
    }

    /// Asks for a mailbox for somebody, which waits; gives what waits.
    async fn waits(&self, who: &Person, whom: &Person) -> Result<Value> {
        self.mailbox(who, whom).await?.expect(202)
    }

    async fn answer(&self, who: &Person, approval: &Value, verb: &str) -> Result<Answer> {
        let path = format!("/api/v2/requests/{}/{verb}", text(&approval["id"]));
        self.ask(who, &path, json!({ "reason": "as agreed" })).await
    }

    async fn approve(&self, who: &Person, approval: &Value) -> Result<Value> {
        self.answer(who, approval, "approve").await?.expect(200)
    }

    async fn see(&self, who: &Person, approval: &Value) -> Result<Answer> {
        let path = format!("/api/v2/requests/{}", text(&approval["id"]));
        self.app.send(&who.token, Method::GET, &path, None).await
    }

    /// What the log says about what was asked, and how often.
    async fn told(&self, kind: &str) -> Result<Vec<Value>> {
        let mut after = 0;
        let mut all = Vec::new();
        loop {
            let page = self.app.get(&format!("/api/v2/events?limit=500&after={after}")).await?;
            let data = page["data"].as_array().context("events")?.clone();
            if data.is_empty() {
                return Ok(all);
            }
            after = page["next"].as_u64().context("a position")?;
            all.extend(data.into_iter().filter(|event| event["type"] == kind));
        }
    }

    /// How many hold something now.
    async fn held(&self, whom: &Person) -> Result<usize> {
        let listed = self.app.get(&format!("/api/v2/users/{}/subscriptions", whom.id)).await?;
        let all = listed["data"].as_array().into_iter().flatten();
        Ok(all.filter(|it| it["status"] == "Provisioned").count())
    }

    /// Whether something waits about a subscription.
    async fn is_pending(&self, subscription: &Value) -> Result<bool> {
        let id = text(&subscription["id"]);
        let one = self.app.get(&format!("/api/v2/subscriptions/{id}")).await?;
        let user = text(&one["userId"]);
        let listed = self.app.get(&format!("/api/v2/users/{user}/subscriptions")).await?;
        let all = listed["data"].as_array().context("a list")?;
        let same = all.iter().find(|it| it["id"] == id).context("it is listed")?;
        assert_eq!(one["approvalPending"], same["approvalPending"]);
        one["approvalPending"].as_bool().context("a flag")
    }

    async fn manager(&self, of: &Person, manager: &Person) -> Result<()> {
        let sent = json!({ "managerId": manager.id });
        let path = format!("/api/v2/users/{}", of.id);
        self.app.send(&self.app.token, Method::PATCH, &path, Some(sent)).await?.expect(200)?;
        Ok(())
    }

    /// Sessions do not outlive the turning of the clock.
    async fn again(&self, person: &Person) -> Result<Person> {
        let token = self.app.sign_in(&person.login, PASSWORD).await?;
        Ok(Person { token, ..person.clone() })
    }

    async fn graphql(&self, who: &Person, query: &str) -> Result<Value> {
        let sent = json!({ "query": query });
        let answer = self.ask(who, "/graphql", sent).await?.expect(200)?;
        assert_eq!(answer["errors"], Value::Null, "{answer}");
        Ok(answer["data"].clone())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn named(people: &[&Person], needed: usize) -> Value {
    let ids: Vec<_> = people.iter().map(|person| &person.id).collect();
    json!({ "users": ids, "needed": needed })
}

#[tokio::test]
async fn what_has_to_be_approved_waits_and_is_done_as_who_asked_for_it() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine).await?;
        shop.policy("mailbox", named(&[&shop.eve], 1)).await?;
        let sent = json!({ "service": "mailbox", "plan": "standard", "quantity": 2,
            "effectiveAt": "2019-11-15", "reason": "he is new" });
        let path = format!("/api/v2/users/{}/subscriptions", shop.ben.id);
        let answer = shop.ask(&shop.ann, &path, sent).await?;
        let location = answer.headers["location"].to_str()?.to_owned();
        let asked = answer.expect(202)?;
        assert_eq!(location, format!("/api/v2/requests/{}", text(&asked["id"])));
        assert_eq!(asked["approvalStatus"], "waiting");
        assert_eq!((&asked["verb"], &asked["plan"]), (&json!("provision"), &json!("standard")));
        assert_eq!((&asked["quantity"], &asked["reason"]), (&json!(2), &json!("he is new")));
        assert_eq!(asked["requestedBy"], shop.ann.id.as_str());
        assert_eq!(asked["steps"][0]["users"], json!([shop.eve.id]));
        assert_eq!(asked["expiresAt"], "2019-11-08T08:00:00Z");
        assert_eq!(shop.held(&shop.ben).await?, 0);
        assert!(shop.told("subscription.provision_requested").await?.is_empty());

        let granted = shop.approve(&shop.eve, &asked).await?;
        assert_eq!(
            (&granted["approvalStatus"], &granted["failure"]),
            (&json!("granted"), &Value::Null)
        );
        assert_eq!(granted["steps"][0]["approved"][0]["userId"], shop.eve.id.as_str());
        let request = shop.see(&shop.ann, &asked).await?.expect(200)?;
        assert_eq!((&request["id"], &request["verb"]), (&asked["id"], &json!("provision")));
        assert_eq!(request["effectiveAt"], "2019-11-15T00:00:00Z");
        assert_eq!(request["ingredients"]["quantity"], 2);
        // Each fact tells who: she asked, he has it, and somebody else approved.
        let [ann, eve] = [&shop.ann, &shop.eve].map(|it| format!("user:{}", it.id));
        for (kind, actor, reason) in [
            ("approval.asked", &ann, "he is new"),
            ("approval.approved", &eve, "as agreed"),
            ("subscription.provisioned", &ann, "he is new"),
            ("approval.granted", &eve, "as agreed"),
        ] {
            let told = shop.told(kind).await?;
            assert_eq!(told.len(), 1, "{kind}");
            assert_eq!(
                (text(&told[0]["actor"]), text(&told[0]["reason"])),
                (actor.as_str(), reason)
            );
        }
        // The same answer again changes nothing, and what is there needs nobody's approval.
        let again = shop.approve(&shop.eve, &asked).await?;
        assert_eq!(again["version"], granted["version"]);
        let sent = json!({ "service": "mailbox", "plan": "standard", "quantity": 2,
            "effectiveAt": "2019-11-15" });
        shop.ask(&shop.ann, &path, sent).await?.expect(200)?;
        assert_eq!(shop.told("approval.asked").await?.len(), 1);
        shop.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_would_be_refused_is_refused_at_once_and_asks_nobody() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine).await?;
        shop.policy("*", named(&[&shop.eve], 1)).await?;
        let path = format!("/api/v2/users/{}/subscriptions", shop.ben.id);
        let bad = json!({ "service": "mailbox", "plan": "none", "quantity": 0 });
        let refused = shop.ask(&shop.ann, &path, bad).await?.expect(422)?;
        assert_eq!(refused["errors"].as_array().map(Vec::len), Some(2), "{refused}");
        let refused = shop.mailbox(&shop.ben, &shop.eve).await?;
        assert_eq!(refused.problem(403)?, "forbidden");
        assert!(shop.told("approval.asked").await?.is_empty());
        // Nobody asks Atrium's own work first, nor what takes a whole customer out of use.
        shop.app
            .post(&format!("/api/v2/customers/{}/deprovision", shop.customer), json!({}))
            .await?;
        shop.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn managers_approve_one_after_another_and_those_who_cannot_are_passed_over() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine).await?;
        shop.policy("mailbox", json!({ "managers": 2 })).await?;
        let refused = shop.mailbox(&shop.ann, &shop.ben).await?;
        assert_eq!(refused.problem(409)?, "no_approver");

        // Ben's manager has gone, the next one asks himself; then come Eve and Rita.
        let gone = shop.person("gone", &[]).await?;
        shop.manager(&shop.ben, &gone).await?;
        shop.manager(&gone, &shop.ann).await?;
        shop.manager(&shop.ann, &shop.eve).await?;
        shop.manager(&shop.eve, &shop.rita).await?;
        shop.app.post(&format!("/api/v2/users/{}/deprovision", gone.id), json!({})).await?;
        let path = format!("/api/v2/users/{}", gone.id);
        shop.app.send(&shop.app.token, Method::DELETE, &path, None).await?.expect(200)?;
        shop.app.post(&format!("{path}/erase"), json!({})).await?;

        let asked = shop.waits(&shop.ann, &shop.ben).await?;
        let users: Vec<_> =
            [0, 1].map(|step| asked["steps"][step]["users"].clone()).into_iter().collect();
        assert_eq!(users, [json!([shop.eve.id]), json!([shop.rita.id])]);
        let early = shop.answer(&shop.rita, &asked, "approve").await?;
        assert_eq!(early.problem(409)?, "not_your_turn");
        let half = shop.approve(&shop.eve, &asked).await?;
        assert_eq!((&half["approvalStatus"], &half["step"]), (&json!("waiting"), &json!(1)));
        assert_eq!(shop.held(&shop.ben).await?, 0);
        let done = shop.approve(&shop.rita, &asked).await?;
        assert_eq!((&done["approvalStatus"], &done["step"]), (&json!("granted"), &Value::Null));
        assert_eq!(shop.held(&shop.ben).await?, 1);

        // For a customer, it is the managers of who asks.
        shop.policy("backup", json!({ "managers": 1 })).await?;
        let path = format!("/api/v2/customers/{}/subscriptions", shop.customer);
        let sent = json!({ "service": "backup", "plan": "BU001" });
        let refused = shop.ask(&shop.rita, &path, sent.clone()).await?;
        assert_eq!(refused.problem(409)?, "no_approver");
        let (max, _) = shop.app.user(&shop.reseller, "max@example.com", &[]).await?;
        let max = Person { id: max, token: String::new(), login: "max@example.com".to_owned() };
        shop.manager(&shop.rita, &max).await?;
        let asked = shop.ask(&shop.rita, &path, sent).await?.expect(202)?;
        assert_eq!(asked["steps"][0]["users"], json!([max.id]));
        shop.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn some_of_a_group_approve_and_one_is_enough_to_reject() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine).await?;
        let (zoe, max) = (shop.person("zoe", &[]).await?, shop.person("max", &[]).await?);
        shop.policy("mailbox", named(&[&shop.eve, &zoe, &max], 2)).await?;
        let asked = shop.waits(&shop.ann, &shop.ben).await?;
        assert_eq!(shop.approve(&zoe, &asked).await?["approvalStatus"], "waiting");
        // Whoever has agreed once counts once.
        assert_eq!(shop.approve(&zoe, &asked).await?["approvalStatus"], "waiting");
        let stranger = shop.answer(&shop.ben, &asked, "approve").await?;
        assert_eq!(stranger.problem(403)?, "forbidden");
        assert_eq!(shop.approve(&max, &asked).await?["approvalStatus"], "granted");
        let late = shop.answer(&shop.eve, &asked, "approve").await?;
        assert_eq!(late.problem(409)?, "not_waiting");

        let asked = shop.waits(&shop.ann, &shop.eve).await?;
        shop.approve(&zoe, &asked).await?;
        let rejected = shop.answer(&max, &asked, "reject").await?.expect(200)?;
        assert_eq!(rejected["approvalStatus"], "rejected");
        assert_eq!(rejected["rejectedBy"], max.id.as_str());
        assert_eq!(shop.told("approval.rejected").await?[0]["reason"], "as agreed");
        let late = shop.answer(&shop.eve, &asked, "approve").await?;
        assert_eq!(late.problem(409)?, "not_waiting");
        assert_eq!(shop.held(&shop.eve).await?, 0);
        // It can be asked again.
        let again = shop.waits(&shop.ann, &shop.eve).await?;
        assert_ne!(again["id"], asked["id"]);
        // Where too few are left, nobody is asked.
        for person in [&zoe, &max] {
            shop.app.post(&format!("/api/v2/users/{}/disable", person.id), json!({})).await?;
        }
        let refused = shop.mailbox(&shop.ann, &zoe).await?;
        assert_eq!(refused.problem(409)?, "user_disabled");
        let (new, _) = shop.app.user(&shop.customer, "new@example.com", &[]).await?;
        let new = Person { id: new, ..zoe.clone() };
        assert_eq!(shop.mailbox(&shop.ann, &new).await?.problem(409)?, "no_approver");
        shop.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn those_who_hold_a_role_at_the_organisation_approve_as_they_are_then() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine).await?;
        shop.policy("mailbox", json!({ "role": "L1 Help Desk" })).await?;
        let asked = shop.waits(&shop.ann, &shop.ben).await?;
        assert_eq!(asked["steps"][0]["role"], "L1 Help Desk");
        assert_eq!(shop.answer(&shop.eve, &asked, "approve").await?.problem(403)?, "forbidden");
        // The same role elsewhere is not meant.
        let path = format!("/api/v2/users/{}/roles", shop.rita.id);
        let roles = json!({ "roles": ["Reseller Administrator", "L1 Help Desk"] });
        shop.app.put(&path, roles).await?;
        assert_eq!(shop.answer(&shop.rita, &asked, "approve").await?.problem(403)?, "forbidden");
        let path = format!("/api/v2/users/{}/roles", shop.eve.id);
        shop.app.put(&path, json!({ "roles": ["L1 Help Desk"] })).await?;
        let pending = "{ pendingApprovals { totalCount nodes { uuid } } }";
        let shown = shop.graphql(&shop.eve, pending).await?;
        assert_eq!(shown["pendingApprovals"]["nodes"][0]["uuid"], asked["id"]);
        shop.approve(&shop.eve, &asked).await?;
        assert_eq!(shop.held(&shop.ben).await?, 1);
        shop.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn nobody_answers_his_own_request_not_even_as_somebody_else() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine).await?;
        let zoe = shop.person("zoe", &["Customer Administrator"]).await?;
        shop.policy("*", json!({ "role": "Customer Administrator" })).await?;
        let asked = shop.waits(&shop.ann, &shop.ben).await?;
        for verb in ["approve", "reject"] {
            let own = shop.answer(&shop.ann, &asked, verb).await?;
            assert_eq!(own.problem(409)?, "own_request");
        }
        let pending = "{ pendingApprovals { totalCount } }";
        let count = |shown: Value| shown["pendingApprovals"]["totalCount"].clone();
        assert_eq!(count(shop.graphql(&shop.ann, pending).await?), 0);
        assert_eq!(count(shop.graphql(&zoe, pending).await?), 1);
        shop.approve(&zoe, &asked).await?;

        // Rita acts as Zoe and asks; then neither of the two answers, and not Rita as Ann.
        let act = async |as_whom: &Person| -> Result<Person> {
            let path = format!("/api/v2/users/{}/impersonate", as_whom.id);
            let session = shop.ask(&shop.rita, &path, json!({})).await?.expect(201)?;
            Ok(Person { token: text(&session["token"]).to_owned(), ..as_whom.clone() })
        };
        let rita_as_zoe = act(&zoe).await?;
        let asked = shop.waits(&rita_as_zoe, &shop.eve).await?;
        assert_eq!(asked["impersonatedBy"], shop.rita.id.as_str());
        let rita_as_ann = act(&shop.ann).await?;
        for who in [&rita_as_zoe, &zoe, &rita_as_ann] {
            let own = shop.answer(who, &asked, "approve").await?;
            assert_eq!(own.problem(409)?, "own_request");
        }
        shop.approve(&shop.ann, &asked).await?;
        assert_eq!(shop.held(&shop.eve).await?, 1);
        let told = shop.told("subscription.provisioned").await?;
        let last = told.last().context("it was provisioned")?;
        assert_eq!(last["actor"], format!("user:{}", shop.rita.id));
        assert_eq!(last["onbehalfof"], format!("user:{}", zoe.id));
        shop.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_same_wish_while_it_waits_is_one_and_another_has_to_wait() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine).await?;
        shop.policy("mailbox", named(&[&shop.eve], 1)).await?;
        let zoe = shop.person("zoe", &["Customer Administrator"]).await?;
        let asked = shop.waits(&shop.ann, &shop.ben).await?;
        assert_eq!(shop.waits(&shop.ann, &shop.ben).await?, asked);
        assert_eq!(shop.waits(&zoe, &shop.ben).await?["id"], asked["id"]);
        assert_eq!(shop.told("approval.asked").await?.len(), 1);
        let path = format!("/api/v2/users/{}/subscriptions", shop.ben.id);
        let other = json!({ "service": "mailbox", "plan": "standard", "quantity": 3 });
        let refused = shop.ask(&shop.ann, &path, other.clone()).await?;
        assert_eq!(refused.problem(409)?, "approval_pending");

        // Only who asked takes it back; then there is room for another wish.
        assert_eq!(shop.answer(&zoe, &asked, "withdraw").await?.problem(403)?, "forbidden");
        let withdrawn = shop.answer(&shop.ann, &asked, "withdraw").await?.expect(200)?;
        assert_eq!(withdrawn["approvalStatus"], "withdrawn");
        shop.answer(&shop.ann, &asked, "withdraw").await?.expect(200)?;
        let late = shop.answer(&shop.eve, &asked, "approve").await?;
        assert_eq!(late.problem(409)?, "not_waiting");
        assert_eq!(shop.told("approval.withdrawn").await?.len(), 1);
        let asked = shop.ask(&shop.ann, &path, other).await?.expect(202)?;
        shop.approve(&shop.eve, &asked).await?;
        let late = shop.answer(&shop.ann, &asked, "withdraw").await?;
        assert_eq!(late.problem(409)?, "not_waiting");
        shop.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn those_who_are_asked_are_reminded_and_what_nobody_answers_is_rejected() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine).await?;
        let mut policy = named(&[&shop.eve], 1);
        policy["remindAfterHours"] = json!(12);
        policy["expiresAfterHours"] = json!(48);
        shop.policy("mailbox", policy).await?;
        let asked = shop.waits(&shop.ann, &shop.ben).await?;
        assert_eq!(asked["nextReminderAt"], "2019-11-01T20:00:00Z");
        let reminders =
            async || Ok::<_, anyhow::Error>(shop.told("approval.reminded").await?.len());
        shop.app.turn("2019-11-01T19:59:59Z").await?;
        assert_eq!(reminders().await?, 0);
        shop.app.turn("2019-11-01T20:00:00Z").await?;
        assert_eq!(reminders().await?, 1);
        let told = shop.told("approval.reminded").await?;
        assert_eq!(told[0]["actor"], "system");
        shop.app.turn("2019-11-02T08:00:00Z").await?;
        assert_eq!(reminders().await?, 2);
        let ada = Person {
            id: shop.app.administrator.clone(),
            token: shop.app.token.clone(),
            login: String::new(),
        };
        let shown = shop.see(&ada, &asked).await?.expect(200)?;
        assert_eq!((&shown["reminders"], &shown["approvalStatus"]), (&json!(2), &json!("waiting")));
        assert_eq!(shown["nextReminderAt"], "2019-11-02T20:00:00Z");
        // Nobody looked for a day: one reminder for all that were missed, and not a moment too early the end.
        shop.app.turn("2019-11-03T07:59:59Z").await?;
        assert_eq!(reminders().await?, 3);
        assert!(shop.told("approval.expired").await?.is_empty());
        shop.app.turn("2019-11-03T08:00:00Z").await?;
        assert_eq!(shop.told("approval.expired").await?.len(), 1);
        let shown = shop.see(&ada, &asked).await?.expect(200)?;
        assert_eq!(shown["approvalStatus"], "expired");
        assert_eq!(shown["nextReminderAt"], Value::Null);
        let eve = shop.again(&shop.eve).await?;
        assert_eq!(shop.answer(&eve, &asked, "approve").await?.problem(409)?, "not_waiting");
        shop.app.turn("2019-12-03T08:00:00Z").await?;
        assert_eq!((reminders().await?, shop.told("approval.expired").await?.len()), (3, 1));
        shop.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn with_two_servers_on_one_database_everybody_is_reminded_once() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine).await?;
        let (_, stop, served) = shop.app.another().await?;
        shop.policy("mailbox", named(&[&shop.eve], 1)).await?;
        for n in 0..20 {
            let new = shop.person(&format!("u{n}"), &[]).await?;
            shop.waits(&shop.ann, &new).await?;
        }
        for day in 2..5 {
            shop.app.turn(&format!("2019-11-0{day}T08:00:00Z")).await?;
            let told = shop.told("approval.reminded").await?.len();
            assert_eq!(told, 20 * (day - 1), "{engine:?}");
        }
        let _ = stop.send(());
        served.await??;
        shop.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_done_any_more_has_failed_and_nothing_of_it_is_done() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine).await?;
        let zoe = shop.person("zoe", &["Customer Administrator"]).await?;
        shop.policy("mailbox", named(&[&shop.eve], 1)).await?;
        let failed = async |asked: &Value, code: &str| -> Result<()> {
            let outcome = shop.approve(&shop.eve, asked).await?;
            assert_eq!(outcome["approvalStatus"], "failed", "{outcome}");
            assert_eq!(outcome["failure"]["code"], code, "{outcome}");
            let again = shop.see(&shop.rita, asked).await?.expect(200)?;
            assert_eq!(again["failure"], outcome["failure"]);
            Ok(())
        };
        // It is not offered any more.
        let asked = shop.waits(&shop.ann, &shop.ben).await?;
        let offer = format!("/api/v2/organizations/{}/offers/mailbox", shop.customer);
        shop.app.send(&shop.app.token, Method::DELETE, &offer, None).await?.expect(200)?;
        failed(&asked, "invalid").await?;
        shop.app.put(&offer, json!({})).await?;
        // Who asked may not any more.
        let asked = shop.waits(&zoe, &shop.ben).await?;
        let roles = format!("/api/v2/users/{}/roles", zoe.id);
        shop.app.put(&roles, json!({ "roles": [] })).await?;
        failed(&asked, "forbidden").await?;
        shop.app.put(&roles, json!({ "roles": ["Customer Administrator"] })).await?;
        // Who asked is not in use any more.
        let asked = shop.waits(&zoe, &shop.ben).await?;
        shop.app.post(&format!("/api/v2/users/{}/disable", zoe.id), json!({})).await?;
        failed(&asked, "requester_not_active").await?;
        assert_eq!(shop.held(&shop.ben).await?, 0);
        assert!(shop.told("subscription.provision_requested").await?.is_empty());
        // Somebody above has given it to him meanwhile, otherwise.
        let asked = shop.waits(&shop.ann, &shop.ben).await?;
        let path = format!("/api/v2/organizations/{}/approval-policies/mailbox", shop.customer);
        shop.app.send(&shop.app.token, Method::DELETE, &path, None).await?.expect(204)?;
        let sent = json!({ "service": "mailbox", "plan": "standard", "quantity": 5 });
        let holder = format!("/api/v2/users/{}/subscriptions", shop.ben.id);
        shop.ask(&shop.rita, &holder, sent).await?.expect(201)?;
        failed(&asked, "already_provisioned").await?;
        assert_eq!(shop.told("subscription.provisioned").await?.len(), 1);
        shop.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn changes_and_the_end_are_approved_where_the_policy_says_so() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine).await?;
        let mut policy = named(&[&shop.eve], 1);
        policy["verbs"] = json!(["change", "deprovision"]);
        shop.policy("mailbox", policy).await?;
        let held = shop.mailbox(&shop.ann, &shop.ben).await?.expect(201)?;
        let path = format!("/api/v2/subscriptions/{}", text(&held["id"]));
        let flag = json!({ "query": format!(
            "{{ subscriptions(filter: {{ userId: \"{}\" }}) {{ nodes {{ approvalPending approval \
             {{ uuid verb status expiresAt steps {{ needed userUuids users {{ uuid }} \
             answers {{ userUuid at }} }} }} request {{ uuid approval {{ uuid status }} }} }} }} }}",
            shop.ben.id
        ) });
        let shown = async || -> Result<Value> {
            let answer = shop.ask(&shop.ann, "/graphql", flag.clone()).await?.expect(200)?;
            assert_eq!(answer["errors"], Value::Null, "{answer}");
            Ok(answer["data"]["subscriptions"]["nodes"][0].clone())
        };
        assert_eq!(shown().await?["approvalPending"], false);
        let asked =
            shop.ask(&shop.ann, &format!("{path}/change"), json!({ "quantity": 4 })).await?;
        let asked = asked.expect(202)?;
        let pending = shown().await?;
        assert_eq!(pending["approvalPending"], true);
        let expected = json!({
            "uuid": asked["id"], "verb": "CHANGE", "status": "WAITING",
            "expiresAt": "2019-11-08T08:00:00+00:00",
            "steps": [{ "needed": 1, "userUuids": [shop.eve.id], "users": [{ "uuid": shop.eve.id }],
                "answers": [] }],
        });
        assert_eq!(pending["approval"], expected, "{pending}");
        assert!(shop.is_pending(&held).await?);
        // Something else about it has to wait.
        let refused = shop.ask(&shop.ann, &format!("{path}/deprovision"), json!({})).await?;
        assert_eq!(refused.problem(409)?, "approval_pending");
        shop.approve(&shop.eve, &asked).await?;
        assert!(!shop.is_pending(&held).await?);
        let changed = shown().await?;
        assert_eq!(
            (&changed["approvalPending"], &changed["approval"]),
            (&json!(false), &Value::Null)
        );
        assert_eq!(changed["request"]["uuid"], asked["id"]);
        assert_eq!(
            changed["request"]["approval"],
            json!({ "uuid": asked["id"], "status": "GRANTED" })
        );
        assert_eq!(shop.app.get(&path).await?["quantity"], 4);

        let asked = shop.ask(&shop.ann, &format!("{path}/deprovision"), json!({})).await?;
        let asked = asked.expect(202)?;
        assert_eq!((&asked["verb"], &asked["plan"]), (&json!("deprovision"), &Value::Null));
        assert_eq!(shop.held(&shop.ben).await?, 1);
        shop.approve(&shop.eve, &asked).await?;
        assert_eq!(shop.held(&shop.ben).await?, 0);
        shop.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_policies_of_all_organisations_above_apply_the_nearest_first() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine).await?;
        let provider = shop.app.get("/api/v2/explain?permission=users.view").await?;
        let provider = text(&provider["organizationId"]).to_owned();
        let ada = Person {
            id: shop.app.administrator.clone(),
            token: shop.app.token.clone(),
            login: String::new(),
        };
        shop.policy_at(&provider, "*", named(&[&ada], 1)).await?;
        shop.policy_at(&shop.reseller, "mailbox", named(&[&shop.rita], 1)).await?;
        shop.policy("*", named(&[&shop.ben], 1)).await?;
        // The one for the service stands in place of that for all.
        shop.policy("mailbox", named(&[&shop.eve], 1)).await?;
        let asked = shop.waits(&shop.ann, &shop.ben).await?;
        let steps = asked["steps"].as_array().context("steps")?;
        let users: Vec<_> = steps.iter().map(|step| text(&step["users"][0])).collect();
        assert_eq!(users, [&shop.eve.id, &shop.rita.id, &ada.id]);
        for who in [&shop.eve, &shop.rita, &ada] {
            assert_eq!(shop.held(&shop.ben).await?, 0);
            shop.approve(who, &asked).await?;
        }
        assert_eq!(shop.held(&shop.ben).await?, 1);

        // Each sees those that he can see, and only those in force.
        let listed = async |who: &Person| -> Result<Vec<String>> {
            let path = format!("/api/v2/organizations/{}/approval-policies", shop.customer);
            let listed = shop.app.send(&who.token, Method::GET, &path, None).await?.expect(200)?;
            let all = listed["data"].as_array().context("policies")?.iter();
            Ok(all
                .map(|it| format!("{} {}", text(&it["organizationId"]), text(&it["service"])))
                .collect())
        };
        let at = |organization: &str, service: &str| format!("{organization} {service}");
        let own = vec![at(&shop.customer, "*"), at(&shop.customer, "mailbox")];
        assert_eq!(listed(&shop.ann).await?, own);
        let up_to_reseller = [own.clone(), vec![at(&shop.reseller, "mailbox")]].concat();
        assert_eq!(listed(&shop.rita).await?, up_to_reseller);
        assert_eq!(listed(&ada).await?.len(), 4);
        let path = format!("/api/v2/organizations/{}/approval-policies/mailbox", shop.customer);
        for _ in 0..2 {
            shop.app.send(&shop.ann.token, Method::DELETE, &path, None).await?.expect(204)?;
        }
        assert_eq!(listed(&shop.ann).await?, own[..1]);
        let asked = shop.waits(&shop.ann, &shop.eve).await?;
        assert_eq!(asked["steps"][0]["users"], json!([shop.ben.id]));
        assert_eq!(shop.told("organization.approvals_cleared").await?.len(), 1);
        shop.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_policy_names_people_who_can_answer_and_every_fault_is_told_at_once() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine).await?;
        let other = shop.app.customer("Zoo", Some(&shop.reseller)).await?;
        let (beside, _) = shop.app.user(&other, "beside@example.com", &[]).await?;
        let path = format!("/api/v2/organizations/{}/approval-policies/mailbox", shop.customer);
        shop.app.post(&format!("/api/v2/users/{}/disable", shop.ben.id), json!({})).await?;
        let faults = async |who: &Person, sent: Value| -> Result<Vec<(String, String)>> {
            let answer = shop.app.send(&who.token, Method::PUT, &path, Some(sent)).await?;
            let body = answer.expect(422)?;
            let all = body["errors"].as_array().context("errors")?.iter();
            Ok(all.map(|it| (text(&it["pointer"]).into(), text(&it["code"]).into())).collect())
        };
        let fault = |pointer: &str, code: &str| (pointer.to_owned(), code.to_owned());
        let sent = json!({
            "users": [shop.eve.id, beside, shop.ben.id, "nonsense"], "needed": 5,
            "verbs": ["provision", "sell"], "remindAfterHours": 0, "expiresAfterHours": 9_000,
        });
        let expected = [
            fault("/verbs/1", "unknown_verb"),
            fault("/users/1", "not_above"),
            fault("/users/2", "user_disabled"),
            fault("/users/3", "unknown_user"),
            fault("/needed", "out_of_range"),
            fault("/remindAfterHours", "out_of_range"),
            fault("/expiresAfterHours", "out_of_range"),
        ];
        assert_eq!(faults(&shop.rita, sent).await?, expected);
        // Who is out of sight is not there.
        let above = json!({ "users": [shop.rita.id, beside] });
        let expected = [fault("/users/0", "unknown_user"), fault("/users/1", "unknown_user")];
        assert_eq!(faults(&shop.ann, above).await?, expected);
        for (sent, expected) in [
            (json!({}), fault("", "one_of_three")),
            (json!({ "managers": 1, "role": "L1 Help Desk" }), fault("", "one_of_three")),
            (json!({ "managers": 6 }), fault("/managers", "out_of_range")),
            (json!({ "managers": 1, "needed": 1 }), fault("/needed", "not_with_managers")),
            (json!({ "role": "Reseller Administrator" }), fault("/role", "unknown_role")),
            (json!({ "role": "nobody's" }), fault("/role", "unknown_role")),
            (json!({ "users": [] }), fault("/users", "out_of_range")),
            (json!({ "managers": 1, "verbs": [] }), fault("/verbs", "out_of_range")),
        ] {
            assert_eq!(faults(&shop.ann, sent.clone()).await?, [expected], "{sent}");
        }
        // Whose it is not, and what is not sold.
        let policy = Some(json!({ "managers": 1 }));
        let refused = shop.app.send(&shop.eve.token, Method::PUT, &path, policy.clone()).await?;
        assert_eq!(refused.problem(403)?, "forbidden");
        for place in [
            format!("{other}/approval-policies/mailbox"),
            format!("{}/approval-policies/none", shop.customer),
        ] {
            let path = format!("/api/v2/organizations/{place}");
            let refused =
                shop.app.send(&shop.ann.token, Method::PUT, &path, policy.clone()).await?;
            assert_eq!(refused.problem(404)?, "not_found", "{path}");
        }
        // The same again is no fact.
        for _ in 0..2 {
            shop.app
                .send(&shop.ann.token, Method::PUT, &path, policy.clone())
                .await?
                .expect(200)?;
        }
        assert_eq!(shop.told("organization.approvals_set").await?.len(), 1);
        shop.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_waits_is_seen_by_who_asked_who_is_asked_and_those_who_see_subscriptions() -> Result<()>
{
    for engine in BOTH {
        let shop = Shop::new(engine).await?;
        let other = shop.app.reseller("West").await?;
        let (id, token) =
            shop.app.user(&other, "west@example.com", &["Reseller Administrator"]).await?;
        let west = Person { id, token, login: "west@example.com".to_owned() };
        shop.policy("mailbox", named(&[&shop.eve], 1)).await?;
        let asked = shop.waits(&shop.ann, &shop.ben).await?;
        for who in [&shop.ann, &shop.eve, &shop.rita] {
            let shown = shop.see(who, &asked).await?.expect(200)?;
            assert_eq!(shown["id"], asked["id"]);
        }
        assert_eq!(shop.see(&shop.ben, &asked).await?.problem(403)?, "forbidden");
        assert_eq!(shop.see(&west, &asked).await?.problem(404)?, "not_found");
        for verb in ["approve", "reject", "withdraw"] {
            assert_eq!(shop.answer(&west, &asked, verb).await?.problem(404)?, "not_found");
            assert_eq!(shop.answer(&shop.ben, &asked, verb).await?.problem(403)?, "forbidden");
        }
        let query = format!("{{ approval(id: \"{}\") {{ uuid }} }}", text(&asked["id"]));
        assert_eq!(shop.graphql(&shop.eve, &query).await?["approval"]["uuid"], asked["id"]);
        let hidden = shop.ask(&west, "/graphql", json!({ "query": query })).await?.expect(200)?;
        assert_eq!(hidden["errors"][0]["extensions"]["code"], "not_found", "{hidden}");
        let pending =
            "{ pendingApprovals(first: 1) { totalCount nodes { uuid } pageInfo { hasNextPage } } }";
        for (who, count) in [(&shop.eve, 1), (&shop.ann, 0), (&shop.rita, 0), (&west, 0)] {
            let shown = shop.graphql(who, pending).await?;
            assert_eq!(shown["pendingApprovals"]["totalCount"], count);
        }
        shop.waits(&shop.ann, &shop.eve).await?;
        let shown = shop.graphql(&shop.eve, pending).await?;
        assert_eq!(shown["pendingApprovals"]["totalCount"], 2);
        assert_eq!(shown["pendingApprovals"]["pageInfo"]["hasNextPage"], true);
        shop.approve(&shop.eve, &asked).await?;
        assert_eq!(shop.graphql(&shop.eve, pending).await?["pendingApprovals"]["totalCount"], 1);
        shop.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_hidden_stays_hidden_while_it_waits_and_is_set_when_it_is_granted() -> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine).await?;
        let definition = json!({
            "name": "Vault", "level": "customer", "instancing": "single",
            "properties": [
                { "key": "Endpoint", "scope": "customer", "type": "url", "hidden": true },
                { "key": "Years", "scope": "customer", "kind": "input", "type": "integer" },
            ],
            "plans": [{ "key": "small", "name": "Small", "price": "5.00" }],
        });
        shop.app.put("/api/v2/services/vault/draft", definition).await?;
        shop.app.post("/api/v2/services/vault/publish", json!({ "rollOut": true })).await?;
        shop.policy("vault", named(&[&shop.eve], 1)).await?;
        let path = format!("/api/v2/customers/{}/subscriptions", shop.customer);
        let sent = json!({ "service": "vault", "plan": "small",
            "properties": { "Endpoint": "https://canary.test", "Years": 3 } });
        let asked = shop.app.send(&shop.app.token, Method::POST, &path, Some(sent)).await?;
        let asked = asked.expect(202)?;
        let expected = json!({ "Endpoint": "https://canary.test", "Years": 3 });
        assert_eq!(asked["properties"], expected, "who publishes services sees all of it");
        let query = format!("{{ approval(id: \"{}\") {{ properties }} }}", text(&asked["id"]));
        let feed = shop.app.send(&shop.ann.token, Method::GET, "/api/v2/events?limit=500", None);
        for shown in [
            shop.see(&shop.eve, &asked).await?.expect(200)?,
            shop.graphql(&shop.eve, &query).await?["approval"].clone(),
            feed.await?.expect(200)?,
            shop.approve(&shop.eve, &asked).await?,
        ] {
            let shown = shown.to_string();
            assert!(shown.contains("Years"), "{shown}");
            assert!(!shown.contains("canary") && !shown.contains("Endpoint"), "{shown}");
        }
        let path = format!("/api/v2/requests/{}", text(&asked["id"]));
        let request = shop.app.get(&path).await?;
        assert!(request["ingredients"].to_string().contains("https://canary.test"), "{request}");
        shop.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_waits_goes_along_with_a_customer_who_is_sold_and_those_who_are_left_answer_it_no_more()
-> Result<()> {
    for engine in BOTH {
        let shop = Shop::new(engine).await?;
        shop.policy_at(&shop.reseller, "mailbox", named(&[&shop.rita], 1)).await?;
        let asked = shop.waits(&shop.ann, &shop.ben).await?;
        let west = shop.app.reseller("West").await?;
        let sold = json!({ "parentId": west, "reason": "sold" });
        shop.app.post(&format!("/api/v2/customers/{}/move", shop.customer), sold).await?;

        assert_eq!(shop.see(&shop.rita, &asked).await?.problem(404)?, "not_found");
        let answer = shop.answer(&shop.rita, &asked, "approve").await?;
        assert_eq!(answer.problem(404)?, "not_found");
        assert_eq!(shop.held(&shop.ben).await?, 0);
        let (_, will) =
            shop.app.user(&west, "will@example.com", &["Reseller Administrator"]).await?;
        let will = Person { id: String::new(), token: will, login: String::new() };
        assert_eq!(shop.see(&will, &asked).await?.expect(200)?["approvalStatus"], "waiting");
        let withdrawn = shop.answer(&shop.ann, &asked, "withdraw").await?.expect(200)?;
        assert_eq!(withdrawn["approvalStatus"], "withdrawn");
        // The policy was the reseller's whom he left.
        shop.mailbox(&shop.ann, &shop.ben).await?.expect(201)?;
        assert_eq!(shop.held(&shop.ben).await?, 1);
        shop.app.finish().await?;
    }
    Ok(())
}
