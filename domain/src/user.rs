//! Users: people, who may sign in, hold roles and tokens, and have services provisioned to them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::custom_fields::CustomFields;
use crate::decider::Decider;
use crate::lifecycle::{Status, Transition, gone, transitions_of};
use crate::role::RoleRef;
use crate::seal::Identity;
use crate::text::Address;
use crate::{OrganizationId, Refusal, TokenId, UserId};

/// Most API tokens that a user may hold at a time.
pub const TOKENS_MAX: usize = 50;
/// Most sessions that a user may have at a time; signing in once more ends the oldest.
pub const SESSIONS_MAX: usize = 20;
/// Most people who may act as a user at a time; one more ends the oldest.
pub const IMPERSONATIONS_MAX: usize = 20;

/// How a user is called whose person was erased.
pub const ERASED: &str = "Erased user";

/// What identifies a person: everything personal that Atrium keeps of a user. It is stored sealed, and never
/// printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Person {
    /// What the installation keeps of the person beside that.
    #[serde(default, skip_serializing_if = "CustomFields::is_empty")]
    pub custom_fields: CustomFields,
    /// Where in the organisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub department: Option<String>,
    /// Mail address.
    pub email: Address,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// Where in the world.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Unique name to sign in with (UPN).
    pub login: Address,
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Person(***)")
    }
}

impl Person {
    /// A person of whom nothing else is known.
    #[must_use]
    pub fn new(first_name: &str, last_name: &str, email: Address, login: Address) -> Self {
        Self {
            custom_fields: CustomFields::default(),
            department: None,
            email,
            first_name: first_name.to_owned(),
            last_name: last_name.to_owned(),
            location: None,
            login,
        }
    }

    /// First and last name.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{} {}", self.first_name, self.last_name)
    }
}

/// A stored proof of a secret: hexadecimal SHA-256 of a token's `jti`, or an Argon2id string of a
/// password. The secret itself is never stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Proof(pub String);

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proof(***)")
    }
}

/// A wish about a user.
#[derive(Clone, Debug)]
pub enum UserCommand {
    /// Add the person to an organisation.
    Create {
        /// The user's id.
        id: UserId,
        /// Whose user.
        organization: OrganizationId,
        /// Who it is.
        person: Identity,
        /// What he may do.
        roles: Vec<RoleRef>,
        /// Who his manager is, if he has one.
        manager: Option<UserId>,
        /// How he signs in; none: he cannot yet.
        password: Option<Proof>,
    },
    /// Change who it is.
    Edit(Identity),
    /// Say who his manager is; none: nobody.
    SetManager(Option<UserId>),
    /// Forget who it is, for good.
    Erase,
    /// Take a step of his life.
    Transition(Transition),
    /// Give exactly these roles.
    AssignRoles(Vec<RoleRef>),
    /// Change how he signs in; ends his sessions.
    SetPassword(Proof),
    /// Make an API token.
    CreateToken(Credential),
    /// End an API token.
    DeleteToken(TokenId),
    /// Begin a session.
    SignIn(Credential),
    /// End a session.
    SignOut(TokenId),
    /// Let somebody act as him for a while.
    Impersonate(Impersonation),
    /// End that.
    EndImpersonation(TokenId),
}

/// An API token or a session, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credential {
    /// When it was made.
    #[serde(with = "chrono::serde::ts_microseconds")]
    pub created_at: DateTime<Utc>,
    /// When it ends by itself.
    #[serde(with = "chrono::serde::ts_microseconds")]
    pub expires_at: DateTime<Utc>,
    /// As people see it.
    pub id: TokenId,
    /// What it is for, in the user's words.
    pub name: String,
    /// Of its secret part.
    pub proof: Proof,
}

/// Somebody acts as a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Impersonation {
    /// The token or session of his own with which he began; it must stay in force.
    pub began_with: TokenId,
    /// Who it is.
    pub by: UserId,
    /// The session in which he acts as the other.
    pub credential: Credential,
}

/// A fact about a user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum UserEvent {
    /// The person was added.
    #[serde(rename = "user.created")]
    Created {
        /// The user's id.
        id: UserId,
        /// Whose user.
        organization: OrganizationId,
        /// Who it is.
        person: Identity,
        /// What he may do.
        roles: Vec<RoleRef>,
    },
    /// Who it is was changed.
    #[serde(rename = "user.edited")]
    Edited {
        /// All of it, as it is now.
        person: Identity,
    },
    /// He has a manager, or another one.
    #[serde(rename = "user.manager_set")]
    ManagerSet {
        /// Who.
        manager: UserId,
    },
    /// He has no manager any more.
    #[serde(rename = "user.manager_cleared")]
    ManagerCleared {},
    /// Who it is was forgotten: the key that opens what was stored of him is gone.
    #[serde(rename = "user.erased")]
    Erased {},
    /// Sign-in, sessions and tokens stopped.
    #[serde(rename = "user.disabled")]
    Disabled {},
    /// They work again.
    #[serde(rename = "user.enabled")]
    Enabled {},
    /// His services were taken away.
    #[serde(rename = "user.deprovisioned")]
    Deprovisioned {},
    /// He was hidden.
    #[serde(rename = "user.deleted")]
    Deleted {},
    /// He was restored.
    #[serde(rename = "user.restored")]
    Restored {},
    /// He was hidden for good.
    #[serde(rename = "user.purged")]
    Purged {},
    /// The roles were replaced.
    #[serde(rename = "user.roles_assigned")]
    RolesAssigned {
        /// All of them, as they are now.
        roles: Vec<RoleRef>,
    },
    /// The password was set; sessions ended.
    #[serde(rename = "user.password_set")]
    PasswordSet {
        /// Argon2id.
        proof: Proof,
    },
    /// An API token was made.
    #[serde(rename = "user.token_created")]
    TokenCreated(Credential),
    /// An API token was ended.
    #[serde(rename = "user.token_deleted")]
    TokenDeleted {
        /// Which.
        id: TokenId,
    },
    /// A session began.
    #[serde(rename = "user.signed_in")]
    SignedIn(Credential),
    /// A session was ended.
    #[serde(rename = "user.signed_out")]
    SignedOut {
        /// Which.
        id: TokenId,
    },
    /// Somebody began to act as him.
    #[serde(rename = "user.impersonated")]
    Impersonated(Impersonation),
    /// Somebody stopped acting as him.
    #[serde(rename = "user.impersonation_ended")]
    ImpersonationEnded {
        /// Which.
        id: TokenId,
    },
}

impl UserEvent {
    /// Where it leaves the user in his life.
    #[must_use]
    pub fn status(&self, before: Status) -> Status {
        match self {
            Self::Created { .. } | Self::Enabled {} => Status::Active,
            Self::Disabled {} => Status::Disabled,
            Self::Deprovisioned {} | Self::Restored {} => Status::Deprovisioned,
            Self::Deleted {} => Status::Deleted,
            Self::Purged {} => Status::Purged,
            Self::Erased {} if before == Status::Active => Status::Disabled,
            Self::Erased {}
            | Self::Edited { .. }
            | Self::ManagerSet { .. }
            | Self::ManagerCleared {}
            | Self::RolesAssigned { .. }
            | Self::PasswordSet { .. }
            | Self::TokenCreated(_)
            | Self::TokenDeleted { .. }
            | Self::SignedIn(_)
            | Self::SignedOut { .. }
            | Self::Impersonated(_)
            | Self::ImpersonationEnded { .. } => before,
        }
    }
}

transitions_of!(UserEvent);

/// A user as the stream tells.
#[derive(Clone, Debug, Default)]
pub struct User {
    known: Option<Known>,
    /// Whether he may sign in.
    pub status: Status,
    /// What he may do.
    pub roles: Vec<RoleRef>,
    /// Who his manager is. Stays when either of them is not in use any more, or is erased: whoever follows managers
    /// passes over those who are not in use, and goes on with theirs.
    pub manager: Option<UserId>,
    tokens: Vec<Credential>,
    sessions: Vec<Credential>,
    impersonations: Vec<Impersonation>,
}

/// What is known since the user was added.
#[derive(Clone, Debug)]
pub struct Known {
    /// The user's id.
    pub id: UserId,
    /// Whose user.
    pub organization: OrganizationId,
    /// Who it is; none: he was erased.
    pub person: Option<Identity>,
}

impl User {
    /// What is known since the user was added.
    ///
    /// # Errors
    /// Not found where there was never such a user.
    pub fn known(&self) -> Result<&Known, Refusal> {
        self.known.as_ref().ok_or_else(Refusal::not_found)
    }

    /// Who it is.
    ///
    /// # Errors
    /// Not found where there was never such a user; a conflict where he was erased.
    pub fn person(&self) -> Result<&Identity, Refusal> {
        self.known()?.person.as_ref().ok_or_else(erased)
    }

    fn step(&self, step: Transition) -> Result<Vec<UserEvent>, Refusal> {
        Ok(self.status.after(step)?.map(|_| step.into()).into_iter().collect())
    }
}

/// Nothing is done with who was erased.
#[must_use]
pub fn erased() -> Refusal {
    Refusal::conflict("erased", "This user was erased; nothing can be done with him any more.")
}

/// The sessions after one more: expired ones go, and the oldest where there are too many.
pub fn begin_session(sessions: &mut Vec<Credential>, session: Credential) {
    sessions.retain(|old| old.expires_at > session.created_at);
    if sessions.len() == SESSIONS_MAX {
        sessions.remove(0);
    }
    sessions.push(session);
}

/// Those who act as a user after one more: expired ones go, and the oldest where there are too many.
pub fn begin_impersonation(all: &mut Vec<Impersonation>, new: Impersonation) {
    all.retain(|old| old.credential.expires_at > new.credential.created_at);
    if all.len() == IMPERSONATIONS_MAX {
        all.remove(0);
    }
    all.push(new);
}

impl Decider for User {
    const CATEGORY: &'static str = "user";
    type Command = UserCommand;
    type Event = UserEvent;

    fn decide(
        &self,
        command: Self::Command,
        _effective_at: DateTime<Utc>,
    ) -> Result<Vec<Self::Event>, Refusal> {
        use UserCommand as C;
        use UserEvent as E;
        match (&self.known, command) {
            (None, C::Create { id, organization, person, roles, manager, password }) => {
                let created = E::Created { id, organization, person, roles };
                let manager = manager.map(|manager| E::ManagerSet { manager });
                let password = password.map(|proof| E::PasswordSet { proof });
                Ok(std::iter::once(created).chain(manager).chain(password).collect())
            }
            (Some(_), C::Create { .. }) => {
                Err(Refusal::conflict("exists", "This user exists already."))
            }
            (None, _) => Err(Refusal::not_found()),
            (
                Some(_),
                C::Transition(
                    step @ (Transition::Deprovision | Transition::Delete | Transition::Restore),
                ),
            ) => self.step(step),
            // Who is purged is forgotten with that.
            (Some(known), C::Transition(Transition::Purge)) => {
                let purged = self.status.after(Transition::Purge)?.map(|_| E::Purged {});
                let erased = purged.as_ref().and(known.person.as_ref()).map(|_| E::Erased {});
                Ok(erased.into_iter().chain(purged).collect())
            }
            (Some(Known { person: None, .. }), C::Erase) => Ok(vec![]),
            (Some(Known { person: None, .. }), _) => Err(erased()),
            (Some(_), C::Erase) => Ok(vec![E::Erased {}]),
            (Some(_), C::Transition(step)) => self.step(step),
            (Some(_), _) if self.status.is_gone() => Err(gone(self.status)),
            (Some(known), C::Edit(person)) if known.person.as_ref() == Some(&person) => Ok(vec![]),
            (Some(_), C::Edit(person)) => Ok(vec![E::Edited { person }]),
            (Some(_), C::SetManager(manager)) if self.manager == manager => Ok(vec![]),
            (Some(known), C::SetManager(Some(manager))) if manager == known.id => {
                Err(Refusal::conflict("yourself", "Nobody is his own manager."))
            }
            (Some(_), C::SetManager(Some(manager))) => Ok(vec![E::ManagerSet { manager }]),
            (Some(_), C::SetManager(None)) => Ok(vec![E::ManagerCleared {}]),
            (Some(_), C::AssignRoles(roles)) if self.roles == roles => Ok(vec![]),
            (Some(_), C::AssignRoles(roles)) => Ok(vec![E::RolesAssigned { roles }]),
            (Some(_), C::SetPassword(proof)) => Ok(vec![E::PasswordSet { proof }]),
            (Some(_), C::CreateToken(_)) if self.tokens.len() == TOKENS_MAX => {
                Err(Refusal::conflict(
                    "too_many_tokens",
                    format!("A user holds at most {TOKENS_MAX} tokens; delete one first."),
                ))
            }
            (Some(_), C::CreateToken(token)) => Ok(vec![E::TokenCreated(token)]),
            (Some(_), C::DeleteToken(id)) => {
                let held = self.tokens.iter().any(|token| token.id == id);
                if held { Ok(vec![E::TokenDeleted { id }]) } else { Err(Refusal::not_found()) }
            }
            (Some(_), C::SignIn(session)) => Ok(vec![E::SignedIn(session)]),
            (Some(_), C::SignOut(id)) => {
                let open = self.sessions.iter().any(|session| session.id == id);
                Ok(if open { vec![E::SignedOut { id }] } else { vec![] })
            }
            (Some(_), C::Impersonate(_)) if self.status != Status::Active => {
                Err(Refusal::conflict("user_disabled", "The user is not active; enable him first."))
            }
            (Some(known), C::Impersonate(new)) if known.id == new.by => {
                Err(Refusal::conflict("yourself", "You cannot act as yourself."))
            }
            (Some(_), C::Impersonate(new)) => Ok(vec![E::Impersonated(new)]),
            (Some(_), C::EndImpersonation(id)) => {
                let open = self.impersonations.iter().any(|it| it.credential.id == id);
                Ok(if open { vec![E::ImpersonationEnded { id }] } else { vec![] })
            }
        }
    }

    fn evolve(mut self, event: &Self::Event, _effective_at: DateTime<Utc>) -> Self {
        self.status = event.status(self.status);
        match event {
            UserEvent::Created { id, organization, person, roles } => {
                let (id, organization, person) = (*id, *organization, Some(person.clone()));
                self.known = Some(Known { id, organization, person });
                self.roles.clone_from(roles);
            }
            UserEvent::Edited { person } => {
                if let Some(known) = &mut self.known {
                    known.person = Some(person.clone());
                }
            }
            UserEvent::ManagerSet { manager } => self.manager = Some(*manager),
            UserEvent::ManagerCleared {} => self.manager = None,
            UserEvent::Erased {} => {
                self.known = self.known.map(|known| Known { person: None, ..known });
                self.roles.clear();
                self.tokens.clear();
                self.sessions.clear();
                self.impersonations.clear();
            }
            UserEvent::Disabled {}
            | UserEvent::Enabled {}
            | UserEvent::Deprovisioned {}
            | UserEvent::Deleted {}
            | UserEvent::Restored {}
            | UserEvent::Purged {} => {}
            UserEvent::RolesAssigned { roles } => self.roles.clone_from(roles),
            UserEvent::PasswordSet { .. } => {
                self.sessions.clear();
                self.impersonations.clear();
            }
            UserEvent::TokenCreated(token) => self.tokens.push(token.clone()),
            UserEvent::TokenDeleted { id } => self.tokens.retain(|token| token.id != *id),
            UserEvent::SignedIn(session) => begin_session(&mut self.sessions, session.clone()),
            UserEvent::SignedOut { id } => {
                self.sessions.retain(|session| session.id != *id);
                self.impersonations.clear();
            }
            UserEvent::Impersonated(new) => {
                begin_impersonation(&mut self.impersonations, new.clone());
            }
            UserEvent::ImpersonationEnded { id } => {
                self.impersonations.retain(|it| it.credential.id != *id);
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::decider::testing::{given, november};
    use crate::organization::Purpose;
    use crate::role::DefaultRole;
    use crate::seal::{PersonKey, Vault};

    const ANN: UserId = UserId(Uuid::from_u128(7));

    fn named(last_name: &str) -> Person {
        let address = || Address::parse("ann@example.com").unwrap();
        Person::new("Ann", last_name, address(), address())
    }

    fn sealed(person: &Person) -> Identity {
        Identity {
            login: Vault::new([1; 32], [2; 32]).login(&person.login),
            sealed: PersonKey::new([3; 32]).seal(ANN, person, [4; 32]),
            purpose: Purpose::default(),
        }
    }

    fn person() -> Identity {
        sealed(&named("Lee"))
    }

    fn created() -> (u32, UserEvent) {
        let organization = OrganizationId(Uuid::from_u128(30));
        (1, UserEvent::Created { id: ANN, organization, person: person(), roles: vec![] })
    }

    fn credential(id: u128) -> Credential {
        Credential {
            created_at: november(2),
            expires_at: november(20),
            id: TokenId(Uuid::from_u128(id)),
            name: "report".to_owned(),
            proof: Proof("00".to_owned()),
        }
    }

    #[test]
    fn a_token_is_ended_once_and_only_by_its_id() {
        let token = (2, UserEvent::TokenCreated(credential(1)));
        given::<User>([created(), token.clone()])
            .when(3, UserCommand::DeleteToken(TokenId(Uuid::from_u128(1))))
            .then([UserEvent::TokenDeleted { id: TokenId(Uuid::from_u128(1)) }]);
        let deleted = (3, UserEvent::TokenDeleted { id: TokenId(Uuid::from_u128(1)) });
        given::<User>([created(), token, deleted])
            .when(4, UserCommand::DeleteToken(TokenId(Uuid::from_u128(1))))
            .then_refused("not_found");
    }

    #[test]
    fn tokens_are_bounded() {
        let tokens = |count| {
            let token = |n| (2, UserEvent::TokenCreated(credential(n)));
            std::iter::once(created()).chain((0..count).map(token))
        };
        let most = TOKENS_MAX as u128;
        given::<User>(tokens(most - 1))
            .when(3, UserCommand::CreateToken(credential(999)))
            .then([UserEvent::TokenCreated(credential(999))]);
        given::<User>(tokens(most))
            .when(3, UserCommand::CreateToken(credential(999)))
            .then_refused("too_many_tokens");
        let one_less = (3, UserEvent::TokenDeleted { id: credential(7).id });
        given::<User>(tokens(most).chain([one_less]))
            .when(4, UserCommand::CreateToken(credential(999)))
            .then([UserEvent::TokenCreated(credential(999))]);
    }

    #[test]
    fn a_user_is_created_once_with_a_password_or_without() {
        let create = |password| UserCommand::Create {
            id: ANN,
            organization: OrganizationId(Uuid::from_u128(30)),
            person: person(),
            roles: vec![],
            manager: None,
            password,
        };
        let proof = Proof("argon".to_owned());
        given::<User>([]).when(1, create(None)).then([created().1]);
        given::<User>([])
            .when(1, create(Some(proof.clone())))
            .then([created().1, UserEvent::PasswordSet { proof }]);
        given::<User>([created()]).when(2, create(None)).then_refused("exists");
    }

    #[test]
    fn nothing_happens_to_a_user_who_was_never_created() {
        given::<User>([])
            .when(1, UserCommand::Transition(Transition::Disable))
            .then_refused("not_found");
        assert_eq!(User::default().known().err(), Some(Refusal::not_found()));
        let known = User::default().evolve(&created().1, november(1));
        assert_eq!(known.person(), Ok(&person()));
        assert_eq!(named("Lee").full_name(), "Ann Lee");
    }

    #[test]
    fn editing_without_a_difference_is_no_fact() {
        let married = sealed(&named("Poe"));
        let user = || given::<User>([created()]);
        user().when(2, UserCommand::Edit(person())).then_nothing();
        let edited = UserEvent::Edited { person: married.clone() };
        user().when(2, UserCommand::Edit(married.clone())).then([edited.clone()]);
        given::<User>([created(), (2, edited)]).when(3, UserCommand::Edit(married)).then_nothing();
    }

    #[test]
    fn disabling_twice_is_one_fact_and_enabling_undoes_it() {
        let disabled = (2, UserEvent::Disabled {});
        let enabled = (3, UserEvent::Enabled {});
        given::<User>([created()])
            .when(2, UserCommand::Transition(Transition::Disable))
            .then([UserEvent::Disabled {}]);
        given::<User>([created()])
            .when(2, UserCommand::Transition(Transition::Enable))
            .then_nothing();
        given::<User>([created(), disabled.clone()])
            .when(3, UserCommand::Transition(Transition::Disable))
            .then_nothing();
        given::<User>([created(), disabled.clone()])
            .when(3, UserCommand::Transition(Transition::Enable))
            .then([UserEvent::Enabled {}]);
        given::<User>([created(), disabled, enabled])
            .when(4, UserCommand::Transition(Transition::Disable))
            .then([UserEvent::Disabled {}]);
    }

    #[test]
    fn a_session_is_ended_once_and_only_by_its_id() {
        let sessions = [created(), (2, UserEvent::SignedIn(credential(5)))];
        let id = credential(5).id;
        given::<User>(sessions.clone())
            .when(3, UserCommand::SignOut(id))
            .then([UserEvent::SignedOut { id }]);
        given::<User>(sessions.clone())
            .when(3, UserCommand::SignOut(credential(6).id))
            .then_nothing();
        let other = (3, UserEvent::SignedOut { id: credential(6).id });
        given::<User>(sessions.clone().into_iter().chain([other]))
            .when(4, UserCommand::SignOut(id))
            .then([UserEvent::SignedOut { id }]);
        let ended = (3, UserEvent::SignedOut { id });
        given::<User>(sessions.into_iter().chain([ended]))
            .when(4, UserCommand::SignOut(id))
            .then_nothing();
    }

    #[test]
    fn one_session_more_than_allowed_ends_the_oldest() {
        let mut sessions = Vec::new();
        for n in 0..=SESSIONS_MAX as u128 {
            begin_session(&mut sessions, credential(n));
        }
        let kept: Vec<_> = sessions.iter().map(|session| session.id).collect();
        let expected: Vec<_> = (1..=SESSIONS_MAX as u128).map(|n| credential(n).id).collect();
        assert_eq!(kept, expected);
    }

    #[test]
    fn a_new_session_drops_those_that_have_expired() {
        let until = |id, day| Credential { expires_at: november(day), ..credential(id) };
        let mut sessions = vec![until(1, 4), until(2, 5), until(3, 6)];
        begin_session(&mut sessions, Credential { created_at: november(5), ..credential(4) });
        let kept: Vec<_> = sessions.iter().map(|session| session.id).collect();
        assert_eq!(kept, [credential(3).id, credential(4).id]);
    }

    #[test]
    fn a_new_password_ends_the_sessions() {
        let proof = Proof("argon".to_owned());
        given::<User>([
            created(),
            (2, UserEvent::SignedIn(credential(5))),
            (3, UserEvent::PasswordSet { proof }),
        ])
        .when(4, UserCommand::SignOut(TokenId(Uuid::from_u128(5))))
        .then_nothing();
    }

    #[test]
    fn the_same_roles_again_are_no_fact() {
        let roles = vec![DefaultRole::CustomerAdministrator.into()];
        let assigned = UserEvent::RolesAssigned { roles: roles.clone() };
        given::<User>([created(), (2, assigned.clone())])
            .when(3, UserCommand::AssignRoles(roles.clone()))
            .then_nothing();
        given::<User>([created()]).when(2, UserCommand::AssignRoles(roles)).then([assigned]);
    }

    #[test]
    fn a_manager_is_set_and_cleared_and_the_same_again_is_no_fact() {
        let [ben, eve] = [8, 9].map(|id| UserId(Uuid::from_u128(id)));
        let set = |manager| UserEvent::ManagerSet { manager };
        let has_ben = || given::<User>([created(), (2, set(ben))]);
        given::<User>([created()]).when(2, UserCommand::SetManager(Some(ben))).then([set(ben)]);
        given::<User>([created()]).when(2, UserCommand::SetManager(None)).then_nothing();
        given::<User>([created()])
            .when(2, UserCommand::SetManager(Some(ANN)))
            .then_refused("yourself");
        has_ben().when(3, UserCommand::SetManager(Some(ben))).then_nothing();
        has_ben().when(3, UserCommand::SetManager(Some(eve))).then([set(eve)]);
        has_ben().when(3, UserCommand::SetManager(None)).then([UserEvent::ManagerCleared {}]);
        given::<User>([created(), (2, set(ben)), (3, UserEvent::ManagerCleared {})])
            .when(4, UserCommand::SetManager(None))
            .then_nothing();
        given::<User>([created(), (2, UserEvent::Erased {})])
            .when(3, UserCommand::SetManager(Some(ben)))
            .then_refused("erased");
    }

    #[test]
    fn a_user_is_created_with_his_manager() {
        let manager = UserId(Uuid::from_u128(8));
        let create = UserCommand::Create {
            id: ANN,
            organization: OrganizationId(Uuid::from_u128(30)),
            person: person(),
            roles: vec![],
            manager: Some(manager),
            password: None,
        };
        given::<User>([]).when(1, create).then([created().1, UserEvent::ManagerSet { manager }]);
    }

    fn impersonation(id: u128) -> Impersonation {
        let by = UserId(Uuid::from_u128(3));
        let began_with = TokenId(Uuid::from_u128(70));
        Impersonation { began_with, by, credential: credential(id) }
    }

    #[test]
    fn somebody_acts_as_a_user_until_he_stops_or_the_user_signs_out() {
        let begun = (2, UserEvent::Impersonated(impersonation(9)));
        let id = credential(9).id;
        given::<User>([created()])
            .when(2, UserCommand::Impersonate(impersonation(9)))
            .then([UserEvent::Impersonated(impersonation(9))]);
        given::<User>([created(), begun.clone()])
            .when(3, UserCommand::EndImpersonation(id))
            .then([UserEvent::ImpersonationEnded { id }]);
        for end in [
            UserEvent::ImpersonationEnded { id },
            UserEvent::SignedOut { id: credential(5).id },
            UserEvent::PasswordSet { proof: Proof("argon".to_owned()) },
        ] {
            given::<User>([created(), begun.clone(), (3, end)])
                .when(4, UserCommand::EndImpersonation(id))
                .then_nothing();
        }
    }

    #[test]
    fn nobody_acts_as_himself_or_as_one_who_is_disabled() {
        let own = Impersonation { by: UserId(Uuid::from_u128(7)), ..impersonation(9) };
        given::<User>([created()]).when(2, UserCommand::Impersonate(own)).then_refused("yourself");
        given::<User>([created(), (2, UserEvent::Disabled {})])
            .when(3, UserCommand::Impersonate(impersonation(9)))
            .then_refused("user_disabled");
    }

    #[test]
    fn one_impersonation_more_than_allowed_ends_the_oldest() {
        let mut all = Vec::new();
        for n in 0..=IMPERSONATIONS_MAX as u128 {
            begin_impersonation(&mut all, impersonation(n));
        }
        assert_eq!((all.len(), all[0].credential.id), (IMPERSONATIONS_MAX, credential(1).id));
        let mut late = impersonation(99);
        late.credential.created_at = november(21);
        begin_impersonation(&mut all, late.clone());
        assert_eq!(all, [late]);
    }

    #[test]
    fn a_proof_is_not_printed() {
        let printed = format!("{:?}", UserEvent::TokenCreated(credential(1)));
        assert!(!printed.contains("00\"") && printed.contains("proof: Proof(***)"), "{printed}");
    }

    #[test]
    fn a_user_is_erased_once_and_is_somebody_no_more() {
        let deleted = (4, UserEvent::Deleted {});
        given::<User>([created(), deleted.clone()])
            .when(5, UserCommand::Transition(Transition::Purge))
            .then([UserEvent::Erased {}, UserEvent::Purged {}]);
        given::<User>([created(), (3, UserEvent::Erased {}), deleted.clone()])
            .when(5, UserCommand::Transition(Transition::Purge))
            .then([UserEvent::Purged {}]);
        given::<User>([created()])
            .when(5, UserCommand::Transition(Transition::Purge))
            .then_refused("not_deleted");
        given::<User>([created(), deleted, (5, UserEvent::Purged {})])
            .when(6, UserCommand::Transition(Transition::Restore))
            .then_refused("purged");
        let erased = (5, UserEvent::Erased {});
        given::<User>([created()]).when(2, UserCommand::Erase).then([UserEvent::Erased {}]);
        given::<User>([created(), erased.clone()]).when(6, UserCommand::Erase).then_nothing();
        given::<User>([]).when(1, UserCommand::Erase).then_refused("not_found");
        let history = [
            created().1,
            UserEvent::RolesAssigned { roles: vec![DefaultRole::CustomerAdministrator.into()] },
            UserEvent::TokenCreated(credential(1)),
            UserEvent::SignedIn(credential(2)),
            erased.1,
        ];
        let user =
            history.iter().fold(User::default(), |user, fact| user.evolve(fact, november(1)));
        assert_eq!(user.person().unwrap_err().code, "erased");
        assert_eq!((user.roles.len(), user.tokens.len(), user.sessions.len()), (0, 0, 0));
        assert_eq!(user.status, Status::Disabled);
    }

    #[test]
    fn nothing_but_erasing_is_done_with_whom_was_erased() {
        for command in [
            UserCommand::Edit(person()),
            UserCommand::Transition(Transition::Enable),
            UserCommand::Transition(Transition::Disable),
            UserCommand::AssignRoles(vec![DefaultRole::CustomerAdministrator.into()]),
            UserCommand::SetPassword(Proof("argon".to_owned())),
            UserCommand::CreateToken(credential(1)),
            UserCommand::DeleteToken(credential(1).id),
            UserCommand::SignIn(credential(2)),
            UserCommand::SignOut(credential(2).id),
        ] {
            given::<User>([created(), (2, UserEvent::Erased {})])
                .when(3, command)
                .then_refused("erased");
        }
    }
}
