//! Folding the log again finds what is not as the log says, and puts it right.

use std::collections::BTreeSet;

use anyhow::Result;
use atrium_tests::laws;
use atrium_tests::world::{World, body};
use commands::Command;
use domain::organization::Kind;
use eventstore::{CellKind, Engine, Layout, Rows, Taken, Value};
use projections::Rebuilt;
use serde_json::json;

use super::setting::{BOTH, create, id, provider, sell};

/// Customers, each with a subscription.
const CUSTOMERS: usize = 40;

async fn a_world_with_customers(engine: Engine) -> Result<(World, Vec<String>)> {
    let world = World::new(engine).await?;
    sell(&world, "backup", "customer").await?;
    let provider = provider(&world).await?;
    let mut customers = Vec::new();
    for number in 0..CUSTOMERS {
        let wish = create(Kind::Customer, &provider, &format!("Customer {number}"));
        let customer = id(&world.system(wish).await?);
        let sent = json!({ "service": "backup", "plan": "basic" });
        let wish = Command::ProvisionToCustomer { customer: customer.clone(), body: body(sent) };
        world.system(wish).await?;
        customers.push(customer);
    }
    Ok((world, customers))
}

fn found(rebuilt: &Rebuilt) -> BTreeSet<(&str, &str)> {
    rebuilt.differences.iter().map(|it| (it.table.as_str(), it.key.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_changed_removed_or_added_are_named_and_put_right() -> Result<()> {
    for engine in BOTH {
        let (world, customers) = a_world_with_customers(engine).await?;
        let (changed, removed) = (customers[3].as_str(), customers[30].as_str());
        let mut connection = world.database.writer_connection().await?;
        let edit = "update view_organization set sort = sort || '!' where key = $1";
        connection.execute(edit, &[changed.into()]).await?;
        let edit = "delete from view_organization where key = $1";
        connection.execute(edit, &[removed.into()]).await?;
        let edit = "insert into view_user (key, path, owner, kind, sort, since, until, position, document) \
                    select 'ghost', path, owner, kind, sort, since, until, position, document from view_user";
        connection.execute(edit, &[]).await?;

        let rebuilt = projections::rebuild(&world.database, |_| ()).await?;
        let expected = [
            ("view_organization", changed),
            ("view_organization", removed),
            ("view_user", "ghost"),
        ];
        assert_eq!(found(&rebuilt), BTreeSet::from(expected), "{engine:?}");
        laws::check(&world.database).await?;
    }
    Ok(())
}

/// Two columns whose texts only together are what they were are not the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_moved_from_one_column_to_the_next_is_found() -> Result<()> {
    for engine in BOTH {
        let (world, customers) = a_world_with_customers(engine).await?;
        let mut connection = world.database.writer_connection().await?;
        let edit = "update view_organization set owner = owner || kind, kind = '' where key = $1";
        connection.execute(edit, &[customers[7].as_str().into()]).await?;
        let rebuilt = projections::rebuild(&world.database, |_| ()).await?;
        assert_eq!(found(&rebuilt), BTreeSet::from([("view_organization", &*customers[7])]));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fold_that_may_keep_few_documents_in_memory_gives_the_same() -> Result<()> {
    for engine in BOTH {
        let (world, customers) = a_world_with_customers(engine).await?;
        let provider = provider(&world).await?;
        let mut sellers = Vec::new();
        for name in ["East", "West"] {
            sellers.push(id(&world.system(create(Kind::Reseller, &provider, name)).await?));
        }
        // Some go there, and some come back.
        let places = [&sellers[0], &sellers[1], &sellers[0], &provider];
        for (number, place) in places.into_iter().enumerate() {
            for customer in customers.iter().skip(number) {
                let sent = json!({ "parentId": place, "reason": "sold" });
                let wish = Command::MoveCustomer { id: customer.clone(), body: body(sent) };
                assert_eq!(world.system(wish).await?["moved"], true);
            }
        }
        for documents_max in [0, 1, 50] {
            let rebuilt =
                projections::rebuild_within(&world.database, documents_max, |_| ()).await?;
            assert_eq!(found(&rebuilt), BTreeSet::new(), "{engine:?}, {documents_max}");
        }
        laws::check(&world.database).await?;
    }
    Ok(())
}

/// Few rows and many go different ways into PostgreSQL, and arrive alike.
#[tokio::test(flavor = "multi_thread")]
async fn new_rows_are_written_as_they_are_however_many() -> Result<()> {
    const LAYOUT: Layout = Layout {
        columns: &[("key", CellKind::Int), ("name", CellKind::Text), ("body", CellKind::Bytes)],
        key: 1,
        taken: Taken::Refuse,
    };
    for engine in BOTH {
        let world = World::new(engine).await?;
        let mut connection = world.database.writer_connection().await?;
        let bytes = if engine == Engine::Sqlite { "blob" } else { "bytea" };
        let table =
            format!("create table parcel (key bigint primary key, name text, body {bytes})");
        connection.execute(&table, &[]).await?;
        let row = |number: i64| {
            let letter = u8::try_from(number % 256).expect("a byte");
            (number - 1_500, format!("{number} \u{1f}\tÄ"), vec![letter; 1_000])
        };
        let rows = |numbers: std::ops::Range<i64>| {
            let mut rows = Rows::new("parcel", &LAYOUT);
            for (key, name, body) in numbers.map(row) {
                rows.push([key.into(), name.into(), Value::Bytes(body)]);
            }
            rows
        };
        // 3 KB, and 3 MB.
        for numbers in [0..3, 3..3_000] {
            eventstore::write(&mut connection, vec![rows(numbers)]).await?;
        }
        let there =
            connection.fetch("select key, name, body from parcel order by key", &[]).await?;
        assert_eq!(there.len(), 3_000, "{engine:?}");
        for (number, there) in (0..).zip(&there) {
            let found = (there.int(0)?, there.text(1)?.to_owned(), there.bytes(2)?.to_vec());
            assert_eq!(found, row(number), "{engine:?}");
        }
        // What is there already is refused, and nothing is written of the rest.
        for numbers in [2_999..3_002, 2_999..6_000] {
            assert!(eventstore::write(&mut connection, vec![rows(numbers)]).await.is_err());
            let there = connection.fetch("select count(*) from parcel", &[]).await?;
            assert_eq!(there[0].int(0)?, 3_000, "{engine:?}");
        }
    }
    Ok(())
}
