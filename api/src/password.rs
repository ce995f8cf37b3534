//! Passwords: Argon2id, peppered, and never more at a time than the machine can bear.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use commands::Password;
use domain::user::Proof;
use tokio::sync::Semaphore;

use crate::problem::Problem;

/// Memory for one hash, in KiB (OWASP's first choice).
const MEMORY_KIB: u32 = 19_456;
/// Passes over it.
const PASSES: u32 = 2;
/// Hashes worked on at a time; more wait.
const AT_A_TIME: usize = 2;

/// Hashes and checks passwords.
#[derive(Clone, Debug)]
pub struct Passwords {
    pepper: Arc<[u8]>,
    turn: Arc<Semaphore>,
    /// Checked where there is no such user, so that the answer takes as long.
    decoy: Proof,
}

impl Passwords {
    /// With the pepper of this installation.
    #[must_use]
    pub fn new(pepper: &[u8; 32]) -> Self {
        Self {
            pepper: pepper.as_slice().into(),
            turn: Arc::new(Semaphore::new(AT_A_TIME)),
            decoy: decoy(),
        }
    }

    /// What is kept of a password.
    ///
    /// # Errors
    /// Where the server is stopping.
    pub async fn hash(&self, password: &Password) -> Result<Proof, Problem> {
        let (pepper, password) = (self.pepper.clone(), password.0.clone());
        self.work(move || hash(&pepper, &password)).await
    }

    /// Whether it is the password that a proof was made of. Takes as long where there is no proof.
    ///
    /// # Errors
    /// Where the server is stopping.
    pub async fn verify(&self, password: &str, proof: Option<Proof>) -> Result<bool, Problem> {
        // What is longer than any password is not worth the work.
        let (known, bounded) = (proof.is_some(), password.len() <= 4 * Password::MAX_CHARS);
        let proof = proof.unwrap_or_else(|| self.decoy.clone());
        let password = if bounded { password.to_owned() } else { String::new() };
        let pepper = self.pepper.clone();
        let fits = self.work(move || fits(&pepper, &password, &proof)).await?;
        Ok(fits && known && bounded)
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = self.turn.clone().acquire_owned().await;
        let turn = turn.map_err(|_| Problem::unavailable("The server is stopping."))?;
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        })
        .await
        .map_err(|_| Problem::internal())
    }
}

fn argon(pepper: &[u8]) -> Argon2<'_> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).expect("valid parameters");
    Argon2::new_with_secret(pepper, Algorithm::Argon2id, Version::V0x13, params)
        .expect("a pepper of 32 bytes is short enough")
}

fn hash(pepper: &[u8], password: &str) -> Proof {
    let salt = crate::keys::random_bytes::<16>();
    let hash = argon(pepper)
        .hash_password_with_salt(password.as_bytes(), &salt)
        .expect("bounded passwords can be hashed");
    Proof(hash.to_string())
}

/// A proof that costs as much to check as any, and fits no password. Nothing is computed for it: what that takes
/// would still be held when nobody has signed in yet.
fn decoy() -> Proof {
    let base64 = |bytes: &[u8]| BASE64_STANDARD_NO_PAD.encode(bytes);
    let (salt, hash) =
        (base64(&crate::keys::random_bytes::<16>()), base64(&crate::keys::random_bytes::<32>()));
    Proof(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p=1${salt}${hash}"))
}

fn fits(pepper: &[u8], password: &str, proof: &Proof) -> bool {
    PasswordHash::new(&proof.0)
        .is_ok_and(|hash| argon(pepper).verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_with_the_right_pepper_fits() {
        let passwords = Passwords::new(&[1; 32]);
        let proof = passwords.hash(&Password("correct horse".to_owned())).await.unwrap();
        let fits = async |passwords: &Passwords, text: &str, proof: Option<&Proof>| {
            passwords.verify(text, proof.cloned()).await.unwrap()
        };
        assert!(fits(&passwords, "correct horse", Some(&proof)).await);
        assert!(!fits(&passwords, "correct house", Some(&proof)).await);
        assert!(!fits(&passwords, "a password that nobody has", None).await);
        assert!(!fits(&Passwords::new(&[2; 32]), "correct horse", Some(&proof)).await);
    }

    #[test]
    fn a_decoy_costs_as_much_to_check_as_any_proof() {
        let (decoy, real) = (decoy(), hash(&[1; 32], "correct horse"));
        let (decoy, real) =
            (PasswordHash::new(&decoy.0).unwrap(), PasswordHash::new(&real.0).unwrap());
        assert_eq!((decoy.algorithm, decoy.version), (real.algorithm, real.version));
        assert_eq!(decoy.params, real.params);
        let length = |it: &PasswordHash| it.hash.as_ref().map(|hash| hash.as_bytes().len());
        assert_eq!(length(&decoy), length(&real));
        let salt = |it: &PasswordHash| it.salt.as_ref().map(|salt| salt.len());
        assert_eq!(salt(&decoy), salt(&real));
    }
}
