//! Persons, sealed: what is stored of users, and of those whom organisations name as their contact, can be read
//! only with a key of their own
//! (docs/adr/0016-persons-are-sealed-under-keys-of-their-own.md). Pure: keys and random bytes are given.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{Key, KeyInit as _, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::SubjectId;
use crate::organization::Purpose;
use crate::text::Address;
use crate::user::Person;

/// Bytes of a key, and of the randomness that a [`PersonKey`] or a seal is made of.
pub const RANDOM_BYTES: usize = 32;
/// Random bytes in front of what is sealed; XChaCha20 takes so many that they never repeat by chance.
const NONCE_BYTES: usize = 24;

/// Seals the persons' keys, and hashes logins. Follows from the master key, which is never in the database.
#[derive(Clone)]
pub struct Vault {
    persons: Zeroizing<[u8; RANDOM_BYTES]>,
    logins: Zeroizing<[u8; RANDOM_BYTES]>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(***)")
    }
}

/// What was sealed with another key, for somebody else, or was changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was sealed with another key, or was changed since")]
pub struct Unopened;

impl Vault {
    /// With a key that seals persons' keys, and another one that hashes logins.
    #[must_use]
    pub fn new(persons: [u8; RANDOM_BYTES], logins: [u8; RANDOM_BYTES]) -> Self {
        Self { persons: Zeroizing::new(persons), logins: Zeroizing::new(logins) }
    }

    /// By what a login is looked up: HMAC-SHA-256 of the folded login, in hexadecimal digits. Whoever has only
    /// the database cannot even try logins out.
    #[must_use]
    pub fn login(&self, login: &Address) -> LoginHash {
        let hash = self.hash(&[login.folded().as_bytes()]);
        LoginHash(hash.iter().fold(String::new(), |mut text, byte| {
            use std::fmt::Write as _;
            write!(text, "{byte:02x}").expect("a String takes all");
            text
        }))
    }

    /// Of what was asked, to tell it from something else that is asked later: the request may name persons, and
    /// nobody shall be able to try out which.
    #[must_use]
    pub fn request(&self, parts: [&[u8]; 3]) -> [u8; RANDOM_BYTES] {
        let [a, b, c] = parts;
        // No login begins like this.
        self.hash(&[b"\0request\0", a, b"\0", b, b"\0", c])
    }

    fn hash(&self, parts: &[&[u8]]) -> [u8; RANDOM_BYTES] {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.logins.as_slice())
            .expect("HMAC takes keys of any length");
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }

    /// All that a login may be looked up by: today's, and that of before logins were hashed.
    #[must_use]
    pub fn logins(&self, login: &Address) -> [LoginHash; 2] {
        [self.login(login), LoginHash::in_clear(login)]
    }

    /// A person's key as it is stored: it opens only with this vault, and only as that person's.
    #[must_use]
    pub fn seal_key(
        &self,
        whose: impl Into<SubjectId>,
        key: &PersonKey,
        random: [u8; RANDOM_BYTES],
    ) -> Vec<u8> {
        seal(&self.persons, whose.into(), key.0.as_slice(), random)
    }

    /// A person's key from its stored form.
    ///
    /// # Errors
    /// Where it was sealed with another master key, for somebody else, or was changed since.
    pub fn open_key(
        &self,
        whose: impl Into<SubjectId>,
        sealed: &[u8],
    ) -> Result<PersonKey, Unopened> {
        let bytes = open(&self.persons, whose.into(), sealed)?;
        let key = bytes.as_slice().try_into().map_err(|_| Unopened)?;
        Ok(PersonKey(Zeroizing::new(key)))
    }
}

/// What one person is sealed under. Without it nobody can read what was stored of him.
#[derive(Clone)]
pub struct PersonKey(Zeroizing<[u8; RANDOM_BYTES]>);

impl fmt::Debug for PersonKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonKey(***)")
    }
}

impl PersonKey {
    /// A new one of random bytes.
    #[must_use]
    pub fn new(random: [u8; RANDOM_BYTES]) -> Self {
        Self(Zeroizing::new(random))
    }

    /// The person, so that only this key opens it, and only as that one's.
    #[must_use]
    pub fn seal<T: Serialize>(
        &self,
        whose: impl Into<SubjectId>,
        person: &T,
        random: [u8; RANDOM_BYTES],
    ) -> Sealed<T> {
        let clear = serde_json::to_vec(person).expect("a person has a JSON form");
        let clear = Zeroizing::new(clear);
        Sealed::Text(BASE64_STANDARD_NO_PAD.encode(seal(&self.0, whose.into(), &clear, random)))
    }

    /// The person who was sealed.
    ///
    /// # Errors
    /// Where it is not what this key has sealed for that one.
    pub fn unseal<T: Clone + DeserializeOwned>(
        &self,
        whose: impl Into<SubjectId>,
        sealed: &Sealed<T>,
    ) -> Result<T, Unopened> {
        match sealed {
            Sealed::Clear(person) => Ok(person.as_ref().clone()),
            Sealed::Text(text) => {
                let bytes = BASE64_STANDARD_NO_PAD.decode(text).map_err(|_| Unopened)?;
                let clear = open(&self.0, whose.into(), &bytes)?;
                serde_json::from_slice(&clear).map_err(|_| Unopened)
            }
        }
    }
}

/// XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) with the subject's id as associated data: the nonce, and behind it
/// what was sealed and its tag.
fn seal(
    key: &[u8; RANDOM_BYTES],
    whose: SubjectId,
    clear: &[u8],
    random: [u8; RANDOM_BYTES],
) -> Vec<u8> {
    let mut nonce = [0; NONCE_BYTES];
    nonce.copy_from_slice(&random[..NONCE_BYTES]);
    let payload = Payload { msg: clear, aad: whose.0.as_bytes() };
    let sealed = XChaCha20Poly1305::new(&Key::from(*key))
        .encrypt(&XNonce::from(nonce), payload)
        .expect("what is sealed is far shorter than the cipher's bound");
    [nonce.as_slice(), &sealed].concat()
}

fn open(
    key: &[u8; RANDOM_BYTES],
    whose: SubjectId,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Unopened> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(Unopened)?;
    let payload = Payload { msg: sealed, aad: whose.0.as_bytes() };
    let clear = XChaCha20Poly1305::new(&Key::from(*key)).decrypt(&XNonce::from(*nonce), payload);
    clear.map(Zeroizing::new).map_err(|_| Unopened)
}

/// A person as it is stored in events, documents and kept answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sealed<T = Person> {
    /// Base64 of what only the person's key opens.
    Text(String),
    /// As it was stored before persons were sealed; or nobody, of whom there is nothing to seal.
    Clear(Box<T>),
}

impl<T> Sealed<T> {
    /// Whether a key opens it.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        matches!(self, Self::Text(_))
    }
}

impl<T: Default> Default for Sealed<T> {
    fn default() -> Self {
        Self::Clear(Box::default())
    }
}

impl<T: Serialize> Serialize for Sealed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Clear(person) => person.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Sealed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Sealed<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sealed person, or one in clear")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                self.visit_string(text.to_owned())
            }

            fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Self::Value, E> {
                if text.is_empty() {
                    return Err(E::custom("a sealed person is not empty"));
                }
                Ok(Sealed::Text(text))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let person = T::deserialize(MapAccessDeserializer::new(map));
                person.map(|person| Sealed::Clear(Box::new(person))).map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_any(Either(PhantomData))
    }
}

/// By what a login is looked up; see [`Vault::login`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LoginHash(String);

impl LoginHash {
    /// The folded login itself, as it was before logins were hashed. It has an `@`, and no hash has.
    #[must_use]
    pub fn in_clear(login: &Address) -> Self {
        Self(login.folded())
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who a user is, as it is stored: what he is looked up by, and what only his key opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// By what the login is looked up.
    pub login: LoginHash,
    /// The person.
    pub sealed: Sealed,
    /// Why he is there: nothing personal.
    #[serde(default, rename = "type", skip_serializing_if = "Purpose::is_standard")]
    pub purpose: Purpose,
}

impl Identity {
    /// As it was before persons were sealed.
    #[must_use]
    pub fn in_clear(person: Person) -> Self {
        Self {
            login: LoginHash::in_clear(&person.login),
            sealed: Sealed::Clear(Box::new(person)),
            purpose: Purpose::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::UserId;
    use crate::organization::Contact;

    const ANN: UserId = UserId(Uuid::from_u128(7));
    const BEN: UserId = UserId(Uuid::from_u128(8));

    fn person() -> Person {
        let address = |text| Address::parse(text).unwrap();
        let (email, login) = (address("ann@example.com"), address("Ann.Lee@example.com"));
        Person::new("Ann \u{e9} \"quoted\"", "Lee", email, login)
    }

    fn vault() -> Vault {
        Vault::new([1; RANDOM_BYTES], [2; RANDOM_BYTES])
    }

    #[test]
    fn it_is_told_whether_a_person_is_sealed() {
        let sealed = PersonKey::new([3; RANDOM_BYTES]).seal(ANN, &person(), [5; RANDOM_BYTES]);
        assert!(sealed.is_sealed());
        assert!(!Sealed::Clear(Box::new(person())).is_sealed());
    }

    #[test]
    fn a_person_opens_with_its_own_key_and_as_itself_only() {
        let (hers, his) = (PersonKey::new([3; RANDOM_BYTES]), PersonKey::new([4; RANDOM_BYTES]));
        let sealed: Sealed = hers.seal(ANN, &person(), [5; RANDOM_BYTES]);
        assert_eq!(hers.unseal(ANN, &sealed), Ok(person()));
        assert_eq!(his.unseal(ANN, &sealed), Err(Unopened));
        assert_eq!(hers.unseal(BEN, &sealed), Err(Unopened));
        let Sealed::Text(text) = &sealed else { panic!("it is sealed") };
        for (place, _) in text.char_indices() {
            let mut other = text.clone();
            let is_a = &text[place..=place] == "A";
            other.replace_range(place..=place, if is_a { "B" } else { "A" });
            // The last digit has bits that mean nothing; base64 refuses them.
            assert_eq!(hers.unseal::<Person>(ANN, &Sealed::Text(other)), Err(Unopened), "{place}");
        }
        for short in ["", "AAAA", &text[..40]] {
            assert_eq!(
                hers.unseal::<Person>(ANN, &Sealed::Text(short.to_owned())),
                Err(Unopened),
                "{short}"
            );
        }
    }

    /// What was sealed once must open for good.
    #[test]
    fn what_was_sealed_by_an_earlier_program_opens() {
        let sealed = "BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFV+ShFWPA1D8gNzK1hKZ9znKsLVwwjbdWBkac/7i6\
                      0fjbDfsO/BTt6Mzo9FPf7Mww4Kc/Wzn/F+i/O3HJBOakIVnR7N+HYEQLmoUJ8N8e24ZGGyXU\
                      2UtefnLCPaGXegg9k5NXhmlUVR5E/btg9qSQ/WRKV3rgoLBGCZ0";
        let key = PersonKey::new([3; RANDOM_BYTES]);
        assert_eq!(key.seal(ANN, &person(), [5; RANDOM_BYTES]), Sealed::Text(sealed.to_owned()));
        assert_eq!(key.unseal::<Person>(ANN, &Sealed::Text(sealed.to_owned())), Ok(person()));
    }

    #[test]
    fn what_is_sealed_shows_nothing_of_the_person() {
        let key = PersonKey::new([3; RANDOM_BYTES]);
        let sealed = key.seal(ANN, &person(), [5; RANDOM_BYTES]);
        let json = serde_json::to_string(&sealed).unwrap();
        for clear in ["Ann", "Lee", "ann@example.com"] {
            assert!(!json.contains(clear), "{json}");
        }
        assert_ne!(sealed, key.seal(ANN, &person(), [6; RANDOM_BYTES]));
        assert_eq!(serde_json::from_str::<Sealed>(&json).unwrap(), sealed);
    }

    #[test]
    fn a_contact_is_sealed_like_a_person_and_where_there_is_none_nothing_is() {
        let key = PersonKey::new([3; RANDOM_BYTES]);
        let contact = Contact { phone: Some("+49 30 1234".to_owned()), ..Contact::default() };
        let sealed = key.seal(SubjectId(ANN.0), &contact, [5; RANDOM_BYTES]);
        assert_eq!(key.unseal(ANN, &sealed), Ok(contact.clone()));
        let json = serde_json::to_string(&sealed).unwrap();
        assert_eq!(serde_json::from_str::<Sealed<Contact>>(&json).unwrap(), sealed);
        let nobody = Sealed::<Contact>::default();
        assert_eq!(serde_json::to_string(&nobody).unwrap(), "{}");
        assert_eq!(serde_json::from_str::<Sealed<Contact>>("{}").unwrap(), nobody);
        assert_eq!(format!("{contact:?}"), "Contact(***)");
    }

    #[test]
    fn a_persons_key_opens_with_the_vault_that_sealed_it() {
        let key = PersonKey::new([3; RANDOM_BYTES]);
        let sealed = vault().seal_key(ANN, &key, [5; RANDOM_BYTES]);
        assert_eq!(vault().open_key(ANN, &sealed).unwrap().0, key.0);
        assert!(vault().open_key(BEN, &sealed).is_err());
        let other = Vault::new([9; RANDOM_BYTES], [2; RANDOM_BYTES]);
        assert!(other.open_key(ANN, &sealed).is_err());
        assert!(vault().open_key(ANN, &sealed[1..]).is_err());
        assert!(vault().open_key(ANN, &[]).is_err());
        assert!(!sealed.windows(RANDOM_BYTES).any(|part| part == key.0.as_slice()));
    }

    /// Known answers, computed with Python's `hmac` module: another hash would lose every login.
    #[test]
    fn a_login_is_looked_up_by_its_keyed_hash_in_any_case() {
        let login = |text: &str| vault().login(&Address::parse(text).unwrap());
        assert_eq!(login("Ann@Example.com"), login("ann@example.COM"));
        assert_ne!(login("ann@example.com"), login("ben@example.com"));
        assert_eq!(
            login("ann@example.com").as_str(),
            "b498d5c00cc6332ef849eaaa1d5cbe3e234fad03cf8318f9f467226d9c445a84"
        );
        let other = Vault::new([1; RANDOM_BYTES], [3; RANDOM_BYTES]);
        let ann = Address::parse("ann@example.com").unwrap();
        assert_ne!(other.login(&ann), login("ann@example.com"));
        assert_eq!(vault().logins(&ann)[1].as_str(), "ann@example.com");
    }

    #[test]
    fn a_request_is_known_again_by_all_its_parts_and_only_with_the_key() {
        let one = vault().request([b"POST", b"/users", b"{}"]);
        assert_eq!(one, vault().request([b"POST", b"/users", b"{}"]));
        for other in
            [[b"PUT", &b"/users"[..], b"{}"], [b"POST", b"/user", b"{}"], [b"POST", b"/users", b""]]
        {
            assert_ne!(one, vault().request(other));
        }
        assert_ne!(
            one,
            Vault::new([1; RANDOM_BYTES], [3; RANDOM_BYTES]).request([b"POST", b"/users", b"{}"])
        );
    }

    #[test]
    fn a_person_in_clear_is_read_as_it_was_stored() {
        let json = serde_json::to_string(&person()).unwrap();
        let sealed: Sealed = serde_json::from_str(&json).unwrap();
        assert_eq!(sealed, Sealed::Clear(Box::new(person())));
        assert_eq!(serde_json::to_string(&sealed).unwrap(), json);
        for bad in ["\"\"", "1", "null", "{}", "[]"] {
            assert!(serde_json::from_str::<Sealed>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_never_printed() {
        let key = PersonKey::new([77; RANDOM_BYTES]);
        assert_eq!(format!("{key:?} {:?}", vault()), "PersonKey(***) Vault(***)");
        assert!(!format!("{:?}", person()).contains("Lee"));
    }
}
