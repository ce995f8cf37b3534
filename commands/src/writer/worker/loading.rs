//! Loading what commands need: from what is committed, with one statement for each table.

use domain::user::User;
use domain::{SubjectId, TenantPath};
use eventstore::{Error as StoreError, Value, failpoint};
use projections::views::OrganizationView;
use projections::{BELOW, View as _, Views, Wants, finder};

use super::Worker;
use super::foresight::Foresight;
use crate::cache::{KeptReply, Layer};
use crate::unit::{HELD, PERSON_KEYS, REPLIES, RUNNING, STREAMS, stream};
use crate::usecase::AT_ONCE_MAX;
use crate::writer::{Job, reply_key};

impl Worker {
    /// What is likely to be asked for and neither known nor among what was just loaded.
    fn foresee(&self, loaded: &Layer, look: impl FnOnce(&mut Foresight<'_>)) -> Wants {
        let [newest, newer, young, old] = self.layers();
        let layers = [loaded, newest, newer, young, old];
        let mut foresight = Foresight { layers: &layers, wants: Wants::default() };
        look(&mut foresight);
        foresight.wants
    }

    /// What these commands are likely to ask for and is not known: what is new in most batches. All
    /// the rest is found out by running them.
    pub(super) fn foreseen(&self, jobs: &[Job]) -> Wants {
        self.foresee(&self.nothing, |foresight| {
            for Job { submission, .. } in jobs {
                if let Some(user) = submission.caller.acts_as() {
                    foresight.stream(&stream::<User>(user));
                }
                for stream in submission.command.streams() {
                    foresight.stream(&stream);
                }
                if let Some(idempotency) = &submission.idempotency {
                    foresight.reply(&reply_key(submission.caller, &idempotency.key));
                }
            }
        })
    }

    /// Loads what is committed. What is decided and not yet committed is never asked for: it is known.
    pub(super) async fn load(
        &mut self,
        layer: &mut Layer,
        mut wants: Wants,
    ) -> Result<(), StoreError> {
        failpoint("commands::load")?;
        let now = self.now();
        while let Some(streams) = wants.0.remove(STREAMS) {
            let connection = self.reader.as_mut().expect("connected before deciding");
            let events = eventstore::streams(connection, streams.iter().cloned().collect()).await?;
            for stream in &streams {
                layer.states.begin(stream);
            }
            for event in &events {
                layer.states.fold(event);
            }
            wants.absorb(self.foresee(layer, |foresight| {
                streams.iter().for_each(|stream| foresight.follow(stream));
            }));
        }
        let connection = self.reader.as_mut().expect("connected before deciding");
        if let Some(keys) = wants.0.get(REPLIES) {
            let sql = format!(
                "select key, request, answer from reply where {}",
                self.database.engine().any_of("key", 1)
            );
            let keys: Vec<_> = keys.iter().cloned().collect();
            let rows = connection.fetch(&sql, &[Value::Texts(keys.clone())]).await?;
            layer.replies.extend(keys.into_iter().map(|key| (key, None)));
            for row in rows {
                let request = row.bytes(1)?.try_into().map_err(|_| {
                    StoreError::Unsuitable("a kept reply's hash has another length".to_owned())
                })?;
                let kept = KeptReply { request, answer: row.bytes(2)?.into() };
                layer.replies.insert(row.text(0)?.to_owned(), Some(kept));
            }
        }
        if let Some(subjects) = wants.0.get(PERSON_KEYS) {
            let sql = format!(
                "select subject_id, sealed from {PERSON_KEYS} where {}",
                self.database.engine().any_of("subject_id", 1)
            );
            let subjects: Vec<_> = subjects.iter().cloned().collect();
            let rows = connection.fetch(&sql, &[Value::Texts(subjects.clone())]).await?;
            let ids = subjects.iter().filter_map(|subject| subject.parse::<SubjectId>().ok());
            layer.keys.extend(ids.map(|id| (id, None)));
            for row in rows {
                if let Ok(id) = row.text(0)?.parse() {
                    layer.keys.insert(id, Some(row.bytes(1)?.into()));
                }
            }
        }
        if let Some(holders) = wants.0.get(HELD) {
            let holders: Vec<_> = holders.iter().cloned().collect();
            layer.lists.extend(holders.iter().map(|holder| (holder.clone(), Vec::new())));
            for (holder, key) in finder::held_by(connection, holders).await? {
                layer.lists.entry(holder).or_default().push(key);
            }
        }
        for list in wants.0.get(RUNNING).into_iter().flatten() {
            let (service, path) = list.split_once(' ').expect("a service and a path");
            let path = TenantPath::parse(path).expect("an organisation's path");
            let now = now.timestamp_micros();
            let keys = finder::running(connection, &path, service, now, AT_ONCE_MAX + 1).await?;
            layer.lists.insert(list.clone(), keys);
        }
        for list in wants.0.get(BELOW).into_iter().flatten() {
            let (table, path) = list.split_once(' ').expect("a table and a path");
            let path = TenantPath::parse(path).expect("an organisation's path");
            let keys = Views::keys_below(connection, table, &path).await?;
            layer.lists.insert(list.clone(), keys);
        }
        layer.views.load(connection, &wants, "").await?;
        let days = self.foresee(layer, |foresight| {
            let organizations = wants.0.get(OrganizationView::TABLE).into_iter().flatten();
            organizations.for_each(|organization| foresight.day(organization, now));
        });
        let connection = self.reader.as_mut().expect("connected before deciding");
        layer.views.load(connection, &days, "").await
    }
}
