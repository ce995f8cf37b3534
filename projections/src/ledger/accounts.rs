//! Accounts of customers and resellers: what was charged or given back by hand, for subscriptions or for none. All that
//! one of them has of it is sealed in one row, that of its account, so that no subscription that cannot be rated holds it up.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::billing::{Entry, Period, Timeline, seal};
use domain::event::Actor;
use domain::{OrganizationId, PlanKey, ServiceKey, SubscriptionId};
use eventstore::{Database, Error, Value, failpoint};

use super::booked::{Books, Sealed};
use super::sellers::Seller;
use super::slots::Slot;
use crate::tables;
use crate::views::{AdjustmentView, OrganizationView, ServiceView, SkuRow, SubscriptionView};

/// The accounts of some customers and resellers.
#[derive(Default)]
pub(super) struct Accounts(HashMap<OrganizationId, Account>);

/// What is known of one account.
pub(super) struct Account {
    /// Stands for a subscription where an entry is of none.
    slot: Slot,
    made: Vec<Arc<AdjustmentView>>,
}

/// Entries of one period, of one subscription or of none.
pub(super) type ByPeriod = Vec<(usize, Vec<Entry>)>;

impl Accounts {
    /// Reads what is known at a position of the accounts of some customers, as far as it may be for periods that are
    /// open: what is true from a moment on, and what was recorded behind a cutoff. None are open: nothing.
    pub(super) async fn read(
        database: &Database,
        customers: &[Arc<OrganizationView>],
        open: Option<(DateTime<Utc>, u64)>,
        known_at: u64,
    ) -> Result<Self, Error> {
        let mut accounts: HashMap<_, _> =
            customers.iter().map(|customer| (customer.id, Account::of(customer))).collect();
        let Some((from, cutoff)) = open else { return Ok(Self(accounts)) };
        failpoint("projections::ledger::accounts")?;
        let sql = format!(
            "select key, document from view_adjustment where {} and (since >= $2 or sort > $3) \
             order by sort, key",
            database.engine().any_of("owner", 1)
        );
        let owners = customers.iter().map(|customer| customer.id.to_string()).collect();
        let values = [
            Value::Texts(owners),
            from.timestamp_micros().into(),
            Value::Text(format!("{cutoff:020}")),
        ];
        for row in &database.fetch(&sql, &values).await? {
            let view: Arc<AdjustmentView> = tables::read(row.text(0)?, row.bytes(1)?)?;
            let account = accounts.get_mut(&view.adjusted.customer);
            if let Some(account) = account.filter(|_| view.position <= known_at) {
                account.made.push(view);
            }
        }
        Ok(Self(accounts))
    }

    /// Adds what would be made.
    pub(super) fn suppose(&mut self, made: Vec<Arc<AdjustmentView>>) {
        for view in made {
            if let Some(account) = self.0.get_mut(&view.adjusted.customer) {
                account.made.retain(|it| it.id != view.id);
                account.made.push(view);
            }
        }
    }

    /// Leaves out what is true only later than a moment.
    pub(super) fn until(&mut self, as_of: Option<DateTime<Utc>>) {
        let Some(as_of) = as_of else { return };
        self.0.values_mut().for_each(|account| account.made.retain(|it| it.effective_at <= as_of));
    }

    /// The subscriptions that any of it is about.
    pub(super) fn subscriptions(&self) -> impl Iterator<Item = SubscriptionId> {
        let made = self.0.values().flat_map(|account| &account.made);
        made.filter_map(|view| Some(view.adjusted.of.as_ref()?.subscription))
    }

    /// Who made any of it.
    pub(super) fn actors(&self) -> impl Iterator<Item = Actor> {
        self.0.values().flat_map(|account| &account.made).map(|view| view.actor)
    }

    /// That of one of them.
    pub(super) fn of(&self, customer: OrganizationId) -> Option<&Account> {
        self.0.get(&customer)
    }
}

impl Account {
    fn of(customer: &OrganizationView) -> Self {
        let view = Arc::new(SubscriptionView::of_account(customer));
        Self { slot: Slot { timeline: Timeline::default(), view }, made: Vec::new() }
    }

    /// Stands for a subscription where an entry is of none.
    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// What a seller has of it in some periods, by subscription: closed ones as they were sealed.
    pub(super) fn entries(
        &self,
        seller: &Seller,
        periods: &[Period],
        (books, sealed): (&Books, &Sealed),
    ) -> BTreeMap<SubscriptionId, ByPeriod> {
        let settings = seller.settings.as_ref();
        let mut entries = BTreeMap::<_, ByPeriod>::new();
        let mut add = |period: usize, entry: Entry| {
            let of = entries.entry(entry.subscription).or_default();
            match of.last_mut().filter(|(last, _)| *last == period) {
                Some((_, own)) => own.push(entry),
                None => of.push((period, vec![entry])),
            }
        };
        let customer = self.slot.view.customer;
        let last = books.closed(seller.id).last().map_or(0, |closed| closed.cutoff);
        for (index, period) in periods.iter().enumerate() {
            let Some(period) = settings.period_ending(period.end) else { continue };
            if let Some(closed) = books.sealed(seller.id, period.end) {
                let own = sealed.bought(closed, customer, self.slot.view.id).iter();
                own.filter(|entry| entry.seller == seller.id)
                    .for_each(|entry| add(index, entry.clone()));
                continue;
            }
            let corrects = books.corrects(seller, &period);
            for view in self.made.iter().filter(|view| view.adjusted.seller == seller.id) {
                view.with_charge(|charge| {
                    let own = charge.period(settings);
                    // What the last close knew is in its period, or in a later one that is closed as well.
                    let is_late = corrects
                        && view.position > last
                        && books.sealed(seller.id, own.end).is_some();
                    if own == period || is_late {
                        add(index, charge.entry(settings, &period));
                    }
                });
            }
        }
        entries.values_mut().flatten().for_each(|(_, own)| seal::sort(own));
        entries
    }
}

impl SubscriptionView {
    fn of_account(customer: &OrganizationView) -> Self {
        let id = SubscriptionId::of_account(customer.id);
        Self::nothing_held(id, (customer.id, &customer.path), ServiceKey::account())
    }
}

/// Stands for a service where an entry is of none.
pub(super) fn service() -> ServiceView {
    ServiceView {
        key: ServiceKey::account(),
        published: None,
        published_version: 0,
        publications: Vec::new(),
        draft: None,
        components: Vec::new(),
        policies: Vec::new(),
        prices: Vec::new(),
        taxed: Vec::new(),
        skus: vec![SkuRow {
            from: None,
            plan: PlanKey::adjustment(),
            position: 0,
            sku: "ADJUSTMENT".to_owned(),
        }],
        version: 0,
    }
}
