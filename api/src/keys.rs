//! The master key, and the keys that are derived from it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use domain::seal::Vault;
use eventstore::{Database, Value, failpoint};

/// Bytes of the master key and of every derived key.
const KEY_BYTES: usize = 32;
/// Under this name the installation remembers which master key it was made with.
pub const CHECK: &str = "master_key_check";

/// Keys for one purpose each (HKDF-SHA256, RFC 5869). Never printed.
#[derive(Clone)]
pub struct Keys {
    /// Signs tokens.
    pub token: [u8; KEY_BYTES],
    /// Turns a token's id into its secret part.
    pub jti: [u8; KEY_BYTES],
    /// Goes into every password's hash, so that the database alone is not enough to try passwords.
    pub pepper: [u8; KEY_BYTES],
    /// Signs checkpoints: the seed of an Ed25519 key (RFC 8032).
    pub checkpoint: [u8; KEY_BYTES],
    /// Seals the keys of persons.
    person: [u8; KEY_BYTES],
    /// Hashes logins.
    login: [u8; KEY_BYTES],
    /// The randomness of a made-up population.
    pub story: [u8; KEY_BYTES],
    check: [u8; KEY_BYTES],
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(***)")
    }
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

impl Keys {
    /// The keys that follow from a master key.
    #[must_use]
    pub fn derive(master: &[u8; KEY_BYTES]) -> Self {
        let secret = Salt::new(HKDF_SHA256, b"atrium").extract(master);
        let expand = |purpose: &str| {
            let mut key = [0; KEY_BYTES];
            secret
                .expand(&[purpose.as_bytes()], Length)
                .and_then(|output| output.fill(&mut key))
                .expect("32 bytes are far below what HKDF can give");
            key
        };
        Self {
            token: expand("token"),
            jti: expand("jti"),
            pepper: expand("pepper"),
            checkpoint: expand("checkpoint"),
            person: expand("person"),
            login: expand("login"),
            story: expand("story"),
            check: expand("check"),
        }
    }

    /// What seals the keys of persons, and hashes logins.
    #[must_use]
    pub fn vault(&self) -> Vault {
        Vault::new(self.person, self.login)
    }

    /// The secret part of the token with this id.
    #[must_use]
    pub fn secret_of(&self, token: domain::TokenId) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.jti);
        hex(&hmac::sign(&key, token.0.as_bytes()).as_ref()[..16])
    }

    /// Whether an installation that remembers this under [`CHECK`] was made with this master key.
    #[must_use]
    pub fn fit(&self, stored: &str) -> bool {
        hex(&self.check) == stored
    }

    /// Whether the database was made with this master key, or with none yet.
    ///
    /// # Errors
    /// Where it was made with another.
    pub async fn belong_to(&self, database: &Database) -> Result<bool> {
        let stored = database.installation(CHECK).await?;
        if stored.as_ref().is_some_and(|stored| !self.fit(stored)) {
            bail!(
                "the master key does not fit this database: it was made with another. Start Atrium \
                 with the key that belongs to it (--master-key-file or ATRIUM_MASTER_KEY)"
            );
        }
        Ok(stored.is_some())
    }

    /// Makes sure that the database was made with this master key; a new one remembers it.
    ///
    /// # Errors
    /// Where it was made with another.
    pub async fn check(&self, database: &Database) -> Result<()> {
        if self.belong_to(database).await? {
            return Ok(());
        }
        failpoint("api::keys::check")?;
        let mut connection = database.writer_connection().await?;
        connection
            .execute(
                "insert into installation (name, value) values ($1, $2) \
                 on conflict (name) do nothing",
                &[Value::from(CHECK), Value::from(hex(&self.check))],
            )
            .await?;
        connection.close().await;
        Ok(())
    }
}

/// Reads a master key: 64 hexadecimal digits.
///
/// # Errors
/// Where the text is none.
pub fn parse_master_key(text: &str) -> Result<[u8; KEY_BYTES]> {
    unhex(text.trim())
        .with_context(|| format!("a master key is {} hexadecimal digits", 2 * KEY_BYTES))
}

/// Reads the master key from a file, or makes the file where there is none yet.
///
/// # Errors
/// Where the file cannot be read or made, or holds no key.
pub fn read_or_make_master_key(file: &Path, may_make: bool) -> Result<[u8; KEY_BYTES]> {
    let read = failpoint("api::keys::read").and_then(|()| std::fs::read_to_string(file));
    match read {
        Ok(text) => {
            parse_master_key(&text).with_context(|| format!("in the file {}", file.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && may_make => {
            let key = random_bytes();
            write_secret_file(file, &hex(&key))
                .with_context(|| format!("the master key cannot be kept in {}", file.display()))?;
            Ok(key)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "there is no master key: the file {} does not exist. The database was made with one; \
             put it back (--master-key-file or ATRIUM_MASTER_KEY)",
            file.display()
        ),
        Err(error) => Err(error).with_context(|| format!("the master key in {}", file.display())),
    }
}

/// Writes a file that only its owner can read, durably.
fn write_secret_file(file: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    failpoint("api::keys::write")?;
    if let Some(folder) = file.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut options = std::fs::OpenOptions::new();
    let mut open = options.write(true).create_new(true).mode(0o600).open(file)?;
    writeln!(open, "{text}")?;
    open.sync_all()
}

/// Random bytes from the system.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system has randomness");
    bytes
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all");
        text
    })
}

/// So many bytes from twice as many hexadecimal digits; none where it is anything else.
#[must_use]
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Whether a key has signed a message (Ed25519); none where key or signature, in hexadecimal, are no such thing.
#[must_use]
pub fn has_signed(public_key: &str, message: &str, signature: &str) -> Option<bool> {
    let (key, signature) = (unhex::<32>(public_key)?, unhex::<64>(signature)?);
    let key = UnparsedPublicKey::new(&ED25519, key);
    Some(key.verify(message.as_bytes(), &signature).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_depend_on_the_master_key_and_on_their_purpose() {
        let (ours, theirs) = (Keys::derive(&[1; 32]), Keys::derive(&[2; 32]));
        assert_ne!(ours.token, theirs.token);
        assert_ne!(ours.token, ours.pepper);
        assert_ne!(ours.checkpoint, theirs.checkpoint);
        assert_ne!(ours.checkpoint, ours.token);
        assert_ne!(ours.person, ours.login);
        assert_ne!(ours.person, theirs.person);
        assert_ne!(ours.login, theirs.login);
        assert_eq!(ours.token, Keys::derive(&[1; 32]).token);
    }

    #[test]
    fn a_master_key_is_64_hexadecimal_digits() {
        assert_eq!(parse_master_key(&format!("{}\n", "0a".repeat(32))).unwrap(), [10; 32]);
        for bad in ["", "0a", &"0g".repeat(32), &"0a".repeat(33), &"é".repeat(32)] {
            assert!(parse_master_key(bad).is_err(), "{bad}");
        }
    }
}
