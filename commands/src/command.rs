//! Every command there is, and where it is carried out.

use std::iter;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::approval::Asking;
use domain::billing::books::Kept;
use domain::billing::seal::Seal;
use domain::billing_calendar::BillingCalendar;
use domain::lifecycle::Transition;
use domain::organization::{Kind, Organization};
use domain::subscription::Subscription;
use domain::user::{Proof, User};
use domain::{CommandId, OrganizationId, SubscriptionId, UserId};
use eventstore::SealedSlot;

use crate::error::Stop;
use crate::unit::{Unit, stream};
use crate::usecase::subscriptions::slot_stream;
use crate::usecase::{
    adjustments, approvals, billing, books, bulk, commitments, definition, installation, lifecycle,
    moves, offers, organizations, overrides, pricing, requests, roles, rulebook, services,
    subscriptions, supersede, usage, users,
};
use crate::{Input, Reply};

/// A wish, as it comes from the edge. Ids are as the caller wrote them: one that is none is simply
/// not found.
#[derive(Clone, Debug)]
pub enum Command {
    /// Make the provider, its calendar and its first administrator.
    Install(Box<installation::Install>),
    /// Found a reseller or a customer.
    CreateOrganization {
        /// Which of the two.
        kind: Kind,
        /// What was sent.
        body: Input<organizations::CreateOrganization>,
    },
    /// Change an organisation's details.
    EditOrganization {
        /// Which.
        id: String,
        /// What the caller takes it for.
        kind: Kind,
        /// What was sent.
        body: Input<organizations::EditOrganization>,
        /// The version that the caller has seen.
        if_match: Option<u64>,
    },
    /// Put a customer below another seller.
    MoveCustomer {
        /// Which.
        id: String,
        /// What was sent.
        body: Input<moves::MoveCustomer>,
    },
    /// Have a customer billed by a seller above it.
    BillCustomer {
        /// Which.
        id: String,
        /// What was sent.
        body: Input<moves::BillCustomer>,
    },
    /// Hide for good what was deleted; by Atrium itself.
    Purge {
        /// The stream of the organisation or the user.
        stream: String,
        /// Only where it was deleted before this.
        deleted_by: DateTime<Utc>,
    },
    /// Take an organisation to its next status.
    TransitionOrganization {
        /// Which.
        id: String,
        /// What the caller takes it for.
        kind: Kind,
        /// Where to.
        step: Transition,
        /// Why.
        body: Input<organizations::Because>,
    },
    /// Forget whom an organisation named as its contact, for good.
    EraseContact {
        /// Which.
        id: String,
        /// Reseller or customer.
        kind: Kind,
        /// Why.
        body: Input<organizations::Because>,
    },
    /// Bill by another calendar, zone or currency.
    ChangeBillingSettings {
        /// Whose.
        organization: String,
        /// What was sent.
        body: Input<billing::ChangeBillingSettings>,
    },
    /// Set rows of a seller's price book.
    SetPrices {
        /// Whose.
        organization: String,
        /// What was sent.
        body: Input<pricing::SetPrices>,
    },
    /// Set exchange rates.
    SetRates {
        /// What was sent.
        body: Input<pricing::SetExchangeRates>,
    },
    /// Commit buyers to what a service comes to at least.
    SetCommitments {
        /// What was sent.
        body: Input<commitments::SetCommitments>,
    },
    /// Add a person to an organisation.
    CreateUser {
        /// Whose user.
        organization: String,
        /// What was sent.
        body: Input<users::CreateUser>,
        /// Of the password in the body.
        password: Option<Proof>,
    },
    /// Change who a user is.
    EditUser {
        /// Which.
        id: String,
        /// What was sent.
        body: Input<users::EditUser>,
        /// The version that the caller has seen.
        if_match: Option<u64>,
    },
    /// Take a user to his next status.
    TransitionUser {
        /// Which.
        id: String,
        /// Where to.
        step: Transition,
        /// Why.
        body: Input<organizations::Because>,
    },
    /// Forget who a user is, for good.
    EraseUser {
        /// Whom.
        id: String,
        /// Why.
        body: Input<organizations::Because>,
    },
    /// Give a user exactly these roles.
    AssignRoles {
        /// Whom.
        id: String,
        /// What was sent.
        body: Input<users::AssignRoles>,
    },
    /// Make an API token.
    CreateToken {
        /// Whose.
        user: String,
        /// What was sent.
        body: Input<users::CreateToken>,
        /// What the edge made for it.
        token: users::NewCredential,
    },
    /// End an API token.
    DeleteToken {
        /// Whose.
        user: String,
        /// Which.
        token: String,
    },
    /// Begin a session: the password was right.
    SignIn {
        /// What the edge made for it.
        session: users::NewCredential,
    },
    /// End the caller's session.
    SignOut {
        /// Which.
        session: domain::TokenId,
    },
    /// Act as a user of an organisation below.
    Impersonate {
        /// As whom.
        user: String,
        /// Why.
        body: Input<organizations::Because>,
        /// The caller's own token or session.
        began_with: domain::TokenId,
        /// What the edge made for it.
        session: users::NewCredential,
    },
    /// Stop acting as somebody else.
    EndImpersonation {
        /// Which session.
        session: domain::TokenId,
    },
    /// Make a role.
    CreateRole {
        /// What was sent.
        body: Input<roles::CreateRole>,
    },
    /// Make a role like another one.
    CopyRole {
        /// Which.
        id: String,
        /// What was sent.
        body: Input<roles::CopyRole>,
    },
    /// Change a role.
    EditRole {
        /// Which.
        id: String,
        /// What was sent.
        body: Input<roles::EditRole>,
        /// The version that the caller has seen.
        if_match: Option<u64>,
    },
    /// End a role.
    DeleteRole {
        /// Which.
        id: String,
    },
    /// Give an organisation below a role.
    GiveRole {
        /// To whom.
        organization: String,
        /// Which.
        role: String,
        /// Why.
        body: Input<organizations::Because>,
    },
    /// Take a role away from an organisation and all below.
    TakeRole {
        /// From whom.
        organization: String,
        /// Which.
        role: String,
    },
    /// Declare a permission of the installation's own.
    DeclarePermission {
        /// Names it.
        key: String,
        /// What was sent.
        body: Input<roles::DeclarePermission>,
    },
    /// Withdraw a permission of the installation's own.
    WithdrawPermission {
        /// Which.
        key: String,
    },
    /// Replace a service's draft.
    DraftService {
        /// Which.
        key: String,
        /// What was sent.
        body: Input<definition::DefinitionDocument>,
        /// The version that the caller has seen.
        if_match: Option<u64>,
    },
    /// Sell the draft from now on.
    PublishService {
        /// Which.
        key: String,
        /// From when its prices hold, and why.
        body: Input<services::PublishService>,
    },
    /// Assign a service to a customer.
    ProvisionToCustomer {
        /// To whom.
        customer: String,
        /// What was sent.
        body: Input<subscriptions::Provision>,
    },
    /// Assign a service to a user.
    ProvisionToUser {
        /// To whom.
        user: String,
        /// What was sent.
        body: Input<subscriptions::Provision>,
    },
    /// Go over to another plan or quantity.
    ChangeSubscription {
        /// Which.
        id: String,
        /// What was sent.
        body: Input<subscriptions::ChangeSubscription>,
    },
    /// Assign a service to many users of a customer.
    ProvisionToMany {
        /// Whose users.
        customer: String,
        /// What was sent.
        body: Input<bulk::Many>,
    },
    /// Take a service away.
    Deprovision {
        /// Which.
        id: String,
        /// What was sent.
        body: Input<subscriptions::Deprovision>,
    },
    /// Say who is asked before anything is done with a service.
    SetApprovalPolicy {
        /// At which organisation.
        organization: String,
        /// Which service; `*`: all that have no policy of their own.
        service: String,
        /// What was sent.
        body: Input<approvals::policies::SetApprovalPolicy>,
    },
    /// Ask nobody any more because of that.
    ClearApprovalPolicy {
        /// At which organisation.
        organization: String,
        /// Which service; `*`: all that have no policy of their own.
        service: String,
        /// Why.
        body: Input<organizations::Because>,
    },
    /// Agree to what was asked.
    ApproveRequest {
        /// What.
        id: String,
        /// Why.
        body: Input<organizations::Because>,
    },
    /// Let a service rest.
    Suspend {
        /// Which.
        id: String,
        /// What was sent.
        body: Input<subscriptions::Deprovision>,
    },
    /// Let a service go on.
    Resume {
        /// Which.
        id: String,
        /// What was sent.
        body: Input<subscriptions::Deprovision>,
    },
    /// Ask a request that failed again.
    RetryRequest {
        /// Of which subscription.
        id: String,
        /// Why.
        body: Input<organizations::Because>,
    },
    /// Disagree with it.
    RejectRequest {
        /// What.
        id: String,
        /// Why.
        body: Input<organizations::Because>,
    },
    /// Take a request back that has not begun.
    CancelRequest {
        /// Of which subscription.
        id: String,
        /// What was sent.
        body: Input<requests::CancelRequest>,
    },
    /// Give up a request that failed or is stuck.
    ResetRequest {
        /// Of which subscription.
        id: String,
        /// Why.
        body: Input<organizations::Because>,
    },
    /// Take it back.
    WithdrawRequest {
        /// What.
        id: String,
        /// Why.
        body: Input<organizations::Because>,
    },
    /// Remind those who are asked, or reject what nobody has answered.
    ApprovalDue {
        /// What.
        id: CommandId,
    },
    /// Say what came of a request.
    ReportRequest {
        /// Which.
        id: String,
        /// What.
        report: requests::Report,
    },
    /// Offer a service to an organisation, or to those below it.
    OfferService {
        /// To whom.
        organization: String,
        /// Which.
        service: String,
        /// What was sent.
        body: Input<offers::OfferService>,
    },
    /// Offer it no more.
    WithdrawOffer {
        /// To whom.
        organization: String,
        /// Which.
        service: String,
        /// Why.
        body: Input<organizations::Because>,
    },
    /// Set a plan's property otherwise for an organisation, or clear that.
    OverrideProperty {
        /// For whom.
        organization: String,
        /// Of which service.
        service: String,
        /// What was sent.
        body: Input<overrides::OverrideProperty>,
    },
    /// Carry what is set for a service to what runs.
    ApplyOverrides {
        /// Where.
        organization: String,
        /// Of which service.
        service: String,
        /// Why.
        body: Input<organizations::Because>,
    },
    /// Record what was used.
    RecordUsage {
        /// What was sent.
        body: Input<usage::RecordUsage>,
    },
    /// Have something be true at another moment than was recorded.
    Supersede {
        /// What was sent.
        body: Input<supersede::Supersede>,
        /// What is at that place in the log; none: nothing about a subscription.
        found: Option<supersede::Found>,
    },
    /// Charge a customer once, or give back.
    Adjust {
        /// What was sent.
        body: Input<adjustments::Adjust>,
    },
    /// Set a price otherwise for an organisation, or clear that.
    OverridePrice {
        /// For whom.
        organization: String,
        /// What was sent.
        body: Input<overrides::OverridePrice>,
    },
    /// Close a billing period, as far as the log goes now.
    AskClose {
        /// Its last date.
        end: String,
        /// What was sent.
        body: Input<books::ClosePeriod>,
    },
    /// Leave an instance out of a period that is being closed.
    DeferInstance {
        /// The period: its last date.
        end: String,
        /// What was sent.
        body: Input<books::DeferInstance>,
    },
    /// Have a period closed that somebody else asked to close.
    ApproveClose {
        /// Its last date.
        end: String,
        /// What was sent.
        body: Input<books::ClosePeriod>,
        /// What was found of its readiness; none: nobody looked.
        readiness: Option<books::Readiness>,
    },
    /// Keep entries of a period that is approved; by Atrium itself.
    KeepEntries {
        /// Whose.
        seller: OrganizationId,
        /// Of which closing.
        cutoff: u64,
        /// What they are.
        kept: Kept,
        /// They.
        slots: Arc<Vec<SealedSlot>>,
    },
    /// Close a period whose entries are kept; by Atrium itself.
    SealPeriod {
        /// Whose.
        seller: OrganizationId,
        /// Which closing.
        cutoff: u64,
        /// What the entries come to.
        seal: Box<Seal>,
    },
    /// Rate closed periods again, with the prices as they are known now.
    AskRerate {
        /// What was sent.
        body: Input<books::RerateClosed>,
    },
    /// Have that done that somebody else asked for.
    ApproveRerate {
        /// What was sent.
        body: Input<books::ClosePeriod>,
    },
    /// Have a seller go by these billable rules.
    SetBillableRules {
        /// What was sent.
        body: Input<rulebook::SetRules>,
        /// The version that the caller has seen.
        if_match: Option<u64>,
    },
    /// Have a seller describe lines by these patterns.
    SetPatterns {
        /// What was sent.
        body: Input<rulebook::SetPatterns>,
        /// The version that the caller has seen.
        if_match: Option<u64>,
    },
    /// Have a seller add these taxes.
    SetTaxRates {
        /// What was sent.
        body: Input<rulebook::SetTaxRates>,
        /// The version that the caller has seen.
        if_match: Option<u64>,
    },
    /// Panics, to show that a mistake in one command does not disturb its neighbours.
    #[doc(hidden)]
    PanicForTests,
}

impl Command {
    /// The streams that it is likely to read, where that can be told before it runs. A wrong guess costs a load for
    /// nothing.
    pub(crate) fn streams(&self) -> Vec<String> {
        match self {
            Self::ProvisionToCustomer { customer, body } => {
                let Ok(id) = customer.parse::<OrganizationId>() else { return Vec::new() };
                let own = [stream::<Organization>(id), stream::<BillingCalendar>(id)];
                own.into_iter().chain(slot_stream(id.0, body)).collect()
            }
            Self::ProvisionToUser { user, body } => {
                let Ok(id) = user.parse::<UserId>() else { return Vec::new() };
                iter::once(stream::<User>(id)).chain(slot_stream(id.0, body)).collect()
            }
            Self::ChangeSubscription { id, .. }
            | Self::Deprovision { id, .. }
            | Self::Suspend { id, .. }
            | Self::Resume { id, .. }
            | Self::RetryRequest { id, .. }
            | Self::CancelRequest { id, .. }
            | Self::ResetRequest { id, .. } => {
                let id = id.parse::<SubscriptionId>();
                id.map(stream::<Subscription>).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Carries it out in a unit.
    pub(crate) fn run(&self, unit: &mut Unit<'_>) -> Result<Reply, Stop> {
        match self.clone() {
            Self::Install(install) => installation::install(unit, *install),
            Self::CreateOrganization { kind, body } => organizations::create(unit, kind, body),
            Self::EditOrganization { id, kind, body, if_match } => {
                organizations::edit(unit, &id, kind, body, if_match)
            }
            Self::MoveCustomer { id, body } => moves::customer(unit, &id, body),
            Self::BillCustomer { id, body } => moves::billed_by(unit, &id, body),
            Self::Purge { stream, deleted_by } => lifecycle::purge(unit, &stream, deleted_by),
            Self::TransitionOrganization { id, kind, step, body } => {
                lifecycle::organization(unit, &id, kind, step, body)
            }
            Self::EraseContact { id, kind, body } => {
                organizations::erase_contact(unit, &id, kind, body)
            }
            Self::ChangeBillingSettings { organization, body } => {
                billing::change_settings(unit, &organization, body)
            }
            Self::SetPrices { organization, body } => {
                pricing::set_prices(unit, &organization, body)
            }
            Self::SetRates { body } => pricing::set_rates(unit, body),
            Self::SetCommitments { body } => commitments::set(unit, body),
            Self::CreateUser { organization, body, password } => {
                users::create(unit, &organization, body, password)
            }
            Self::EditUser { id, body, if_match } => users::edit(unit, &id, body, if_match),
            Self::TransitionUser { id, step, body } => lifecycle::user(unit, &id, step, body),
            Self::EraseUser { id, body } => users::erase(unit, &id, body),
            Self::AssignRoles { id, body } => users::assign_roles(unit, &id, body),
            Self::CreateToken { user, body, token } => {
                users::create_token(unit, &user, body, token)
            }
            Self::DeleteToken { user, token } => users::delete_token(unit, &user, &token),
            Self::SignIn { session } => users::sign_in(unit, session),
            Self::SignOut { session } => users::sign_out(unit, session),
            Self::Impersonate { user, body, began_with, session } => {
                users::impersonate(unit, &user, body, began_with, session)
            }
            Self::EndImpersonation { session } => users::end_impersonation(unit, session),
            Self::CreateRole { body } => roles::create(unit, body),
            Self::CopyRole { id, body } => roles::copy(unit, &id, body),
            Self::EditRole { id, body, if_match } => roles::edit(unit, &id, body, if_match),
            Self::DeleteRole { id } => roles::delete(unit, &id),
            Self::GiveRole { organization, role, body } => {
                roles::give(unit, &organization, &role, body)
            }
            Self::TakeRole { organization, role } => roles::take(unit, &organization, &role),
            Self::DeclarePermission { key, body } => roles::declare(unit, &key, body),
            Self::WithdrawPermission { key } => roles::withdraw(unit, &key),
            Self::DraftService { key, body, if_match } => {
                services::draft(unit, &key, body, if_match)
            }
            Self::PublishService { key, body } => services::publish(unit, &key, body),
            Self::ProvisionToCustomer { customer, body } => {
                let said = body.as_ref().ok().map(Into::into);
                approvals::ask_first(unit, Asking::Provision, said, None, |unit| {
                    subscriptions::provision_to_customer(unit, &customer, body)
                })
            }
            Self::ProvisionToUser { user, body } => {
                let said = body.as_ref().ok().map(Into::into);
                approvals::ask_first(unit, Asking::Provision, said, None, |unit| {
                    subscriptions::provision_to_user(unit, &user, body)
                })
            }
            Self::ChangeSubscription { id, body } => {
                let said = body.as_ref().ok().map(Into::into);
                approvals::ask_first(unit, Asking::Change, said, None, |unit| {
                    subscriptions::change(unit, &id, body)
                })
            }
            Self::Deprovision { id, body } => {
                let said = body.as_ref().ok().map(Into::into);
                approvals::ask_first(unit, Asking::Deprovision, said, None, |unit| {
                    subscriptions::deprovision(unit, &id, body)
                })
            }
            Self::SetApprovalPolicy { organization, service, body } => {
                approvals::policies::set(unit, &organization, &service, body)
            }
            Self::ClearApprovalPolicy { organization, service, body } => {
                approvals::policies::clear(unit, &organization, &service, body)
            }
            Self::ApproveRequest { id, body } => approvals::approve(unit, &id, body),
            Self::RejectRequest { id, body } => approvals::reject(unit, &id, body),
            Self::WithdrawRequest { id, body } => approvals::withdraw(unit, &id, body),
            Self::ApprovalDue { id } => approvals::due(unit, id),
            Self::ProvisionToMany { customer, body } => bulk::provision(unit, &customer, body),
            Self::Suspend { id, body } => requests::suspend(unit, &id, body),
            Self::Resume { id, body } => requests::resume(unit, &id, body),
            Self::RetryRequest { id, body } => requests::retry(unit, &id, body),
            Self::CancelRequest { id, body } => requests::cancel(unit, &id, body),
            Self::ResetRequest { id, body } => requests::reset(unit, &id, body),
            Self::ReportRequest { id, report } => requests::report(unit, &id, report),
            Self::OfferService { organization, service, body } => {
                offers::offer(unit, &organization, &service, body)
            }
            Self::WithdrawOffer { organization, service, body } => {
                offers::withdraw(unit, &organization, &service, body)
            }
            Self::OverrideProperty { organization, service, body } => {
                overrides::property(unit, &organization, &service, body)
            }
            Self::ApplyOverrides { organization, service, body } => {
                overrides::apply(unit, &organization, &service, body)
            }
            Self::RecordUsage { body } => usage::record(unit, body),
            Self::Supersede { body, found } => supersede::supersede(unit, body, found),
            Self::Adjust { body } => adjustments::adjust(unit, body),
            Self::OverridePrice { organization, body } => {
                overrides::price(unit, &organization, body)
            }
            Self::AskClose { end, body } => books::ask(unit, &end, body),
            Self::DeferInstance { end, body } => books::defer(unit, &end, body),
            Self::ApproveClose { end, body, readiness } => {
                books::approve(unit, &end, body, readiness)
            }
            Self::KeepEntries { seller, cutoff, kept, slots } => {
                books::keep(unit, seller, cutoff, kept, &slots)
            }
            Self::SealPeriod { seller, cutoff, seal } => books::close(unit, seller, cutoff, seal),
            Self::AskRerate { body } => books::ask_rerate(unit, body),
            Self::ApproveRerate { body } => books::approve_rerate(unit, body),
            Self::SetBillableRules { body, if_match } => rulebook::set_rules(unit, body, if_match),
            Self::SetPatterns { body, if_match } => rulebook::set_patterns(unit, body, if_match),
            Self::SetTaxRates { body, if_match } => rulebook::set_tax_rates(unit, body, if_match),
            Self::PanicForTests => panic!("a command was asked to panic"),
        }
    }
}
