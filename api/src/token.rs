//! Tokens: signed by us, and looked up all the same (api.md, section 1; RFC 8725).

use chrono::{DateTime, Utc};
use domain::user::Proof;
use domain::{TokenId, UserId};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::keys::{Keys, hex};

/// Who signs.
const ISSUER: &str = "atrium";
/// For whom.
const AUDIENCE: &str = "atrium-api";
/// Longest token that is looked at, in bytes.
const TOKEN_MAX_BYTES: usize = 2_048;

/// What sort of credential a token is. One is never taken for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// Made by a user for a program.
    Api,
    /// From signing in with a password.
    Session,
    /// From beginning to act as somebody else.
    Impersonation,
}

impl TokenKind {
    /// The header of such a token: this and nothing else, so that nothing in it has to be understood.
    /// Its `typ` sets it apart from all others (RFC 8725, section 3.11).
    fn header(self) -> Header {
        let mut header = Header::new(Algorithm::HS256);
        let kind = match self {
            Self::Api => "atrium-api+jwt",
            Self::Session => "atrium-session+jwt",
            Self::Impersonation => "atrium-impersonation+jwt",
        };
        header.typ = Some(kind.to_owned());
        header
    }
}

/// The claims of a token: these, all of these, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    aud: String,
    exp: i64,
    iat: i64,
    iss: String,
    jti: String,
    sub: String,
    typ: TokenKind,
}

/// A token whose signature and claims are right. Whether it still is in force, the record says.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Whose.
    pub user: UserId,
    /// What sort.
    pub kind: TokenKind,
    /// To be found in the user's record.
    pub proof: Proof,
}

/// Signs and verifies tokens.
#[derive(Clone)]
pub struct Tokens {
    keys: Keys,
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens(***)")
    }
}

impl Tokens {
    /// With the keys of this installation.
    #[must_use]
    pub fn new(keys: Keys) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        // Compared with our own clock, below, to the second.
        validation.validate_exp = false;
        Self {
            encoding: EncodingKey::from_secret(&keys.token),
            decoding: DecodingKey::from_secret(&keys.token),
            validation,
            keys,
        }
    }

    /// What is kept of the token with this id.
    #[must_use]
    pub fn proof_of(&self, id: TokenId) -> Proof {
        proof(&self.keys.secret_of(id))
    }

    /// The token with this id: always the same, so that it need not be stored to be given again.
    ///
    /// # Panics
    /// Never: the key fits the algorithm.
    #[must_use]
    pub fn sign(
        &self,
        kind: TokenKind,
        user: UserId,
        id: TokenId,
        created_at: DateTime<Utc>,
        expires_at: DateTime<Utc>,
    ) -> String {
        let claims = Claims {
            aud: AUDIENCE.to_owned(),
            exp: expires_at.timestamp(),
            iat: created_at.timestamp(),
            iss: ISSUER.to_owned(),
            jti: self.keys.secret_of(id),
            sub: user.to_string(),
            typ: kind,
        };
        encode(&kind.header(), &claims, &self.encoding).expect("the key fits the algorithm")
    }

    /// Checks signature and claims, by the letter.
    #[must_use]
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Option<Verified> {
        if token.len() > TOKEN_MAX_BYTES {
            return None;
        }
        let token = decode::<Claims>(token, &self.decoding, &self.validation).ok()?;
        let claims = token.claims;
        let typed = token.header == claims.typ.header();
        let in_time = claims.iat <= now.timestamp() && now.timestamp() < claims.exp;
        (typed && in_time).then_some(())?;
        Some(Verified {
            user: claims.sub.parse().ok()?,
            kind: claims.typ,
            proof: proof(&claims.jti),
        })
    }
}

fn proof(secret: &str) -> Proof {
    Proof(hex(&Sha256::digest(secret.as_bytes())))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn tokens() -> Tokens {
        Tokens::new(Keys::derive(&[1; 32]))
    }

    fn signed(kind: TokenKind) -> String {
        let (user, id) = (UserId(Uuid::from_u128(1)), TokenId(Uuid::from_u128(2)));
        tokens().sign(kind, user, id, DateTime::UNIX_EPOCH, at(100))
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn resigned(header: Header, claims: &serde_json::Value) -> String {
        encode(&header, claims, &tokens().encoding).unwrap()
    }

    #[test]
    fn a_token_is_good_until_the_second_it_expires() {
        let token = signed(TokenKind::Api);
        let verified = tokens().verify(&token, at(99)).unwrap();
        assert_eq!(verified.kind, TokenKind::Api);
        assert_eq!(verified.proof, tokens().proof_of(TokenId(Uuid::from_u128(2))));
        assert!(tokens().verify(&token, at(100)).is_none());
        assert!(tokens().verify(&token, at(-1)).is_none());
    }

    #[test]
    fn a_token_of_another_key_or_with_a_bit_changed_is_none() {
        let token = signed(TokenKind::Api);
        assert!(Tokens::new(Keys::derive(&[2; 32])).verify(&token, at(1)).is_none());
        for index in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            // The last character of a part may hold unused bits; another letter is another token.
            bytes[index] = if bytes[index] == b'A' { b'Q' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(tokens().verify(&changed, at(1)).is_none(), "at {index}");
        }
    }

    #[test]
    fn claims_are_taken_by_the_letter() {
        let good = serde_json::json!({
            "aud": AUDIENCE, "exp": 100, "iat": 0, "iss": ISSUER, "jti": "x",
            "sub": Uuid::from_u128(1).to_string(), "typ": "api",
        });
        let header = |kind: &str| {
            let mut header = Header::new(Algorithm::HS256);
            header.typ = Some(kind.to_owned());
            header
        };
        let verify = |header, claims: &serde_json::Value| {
            tokens().verify(&resigned(header, claims), at(1)).is_some()
        };
        assert!(verify(header("atrium-api+jwt"), &good));
        assert!(!verify(header("atrium-session+jwt"), &good));
        assert!(!verify(header("JWT"), &good));
        // Not understood, so not taken: `crit` would have to be (RFC 7515, section 4.1.11).
        let with = |change: &dyn Fn(&mut Header)| {
            let mut header = header("atrium-api+jwt");
            change(&mut header);
            verify(header, &good)
        };
        assert!(with(&|_| ()));
        assert!(!with(&|header| header.crit = Some(vec!["exp".to_owned()])));
        assert!(!with(&|header| header.kid = Some("other".to_owned())));
        assert!(!with(&|header| header.jku = Some("https://example.com".to_owned())));
        assert!(!with(&|header| {
            header.extras.insert("b64".to_owned(), "false");
        }));
        for (claim, value) in [
            ("aud", serde_json::json!("other")),
            ("iss", serde_json::json!("other")),
            ("sub", serde_json::json!("nobody")),
            ("typ", serde_json::json!("session")),
            ("exp", serde_json::json!("100")),
            ("admin", serde_json::json!(true)),
        ] {
            let mut bad = good.clone();
            bad[claim] = value;
            assert!(!verify(header("atrium-api+jwt"), &bad), "{claim}");
        }
        for claim in ["aud", "exp", "iat", "iss", "jti", "sub", "typ"] {
            let mut bad = good.clone();
            bad.as_object_mut().unwrap().remove(claim);
            assert!(!verify(header("atrium-api+jwt"), &bad), "without {claim}");
        }
    }

    #[test]
    fn no_signature_is_no_token() {
        use base64::Engine as _;
        let part = |json: &str| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(json);
        let payload = signed(TokenKind::Api).split('.').nth(1).unwrap().to_owned();
        for header in [r#"{"alg":"none","typ":"atrium-api+jwt"}"#, r#"{"alg":"HS384"}"#, "{}"] {
            for signature in ["", "AAAA"] {
                let token = format!("{}.{payload}.{signature}", part(header));
                assert!(tokens().verify(&token, at(1)).is_none(), "{header}");
            }
        }
        for junk in ["", ".", "..", "a.b.c", &"x".repeat(5_000), "ä.ö.ü"] {
            assert!(tokens().verify(junk, at(1)).is_none(), "{junk}");
        }
    }
}
