//! Merkle trees as Certificate Transparency hashes them (RFC 6962, section 2.1): leaves and nodes are told apart by
//! a prefix, so that no node can be passed off as a leaf.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

use crate::{Bug, planted};

/// SHA-256; written in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Of a leaf with this content.
    #[must_use]
    pub fn leaf(content: &[u8]) -> Self {
        Self::of(0, [content])
    }

    fn node(left: &Self, right: &Self) -> Self {
        Self::of(1, [&left.0[..], &right.0[..]])
    }

    fn of<const N: usize>(prefix: u8, parts: [&[u8]; N]) -> Self {
        let mut hash = Sha256::new();
        hash.update([prefix]);
        parts.into_iter().for_each(|part| hash.update(part));
        Self(hash.finalize().into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const UNFIT: &str = "a hash is 64 digits of lower-case hexadecimal";
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 64 || !text.bytes().all(is_digit) {
            return Err(UNFIT);
        }
        let mut hash = [0; 32];
        for (place, byte) in hash.iter_mut().enumerate() {
            let digits = &text[2 * place..2 * place + 2];
            *byte = u8::from_str_radix(digits, 16).map_err(|_| UNFIT)?;
        }
        Ok(Self(hash))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A tree that grows leaf by leaf; it keeps one hash for each complete subtree, however many leaves there are.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    size: u64,
    /// The roots of the complete subtrees, the largest first.
    peaks: Vec<Hash>,
}

impl Tree {
    /// Adds a leaf behind all that are there.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            let left = self.peaks.pop().expect("a complete subtree for each bit of the size");
            hash = Hash::node(&left, &hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hash over all leaves; of none, that of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let from_right = self.peaks.iter().rev().copied();
        let root = from_right.reduce(|right, left| match planted(Bug::SubtreesSwapped) {
            true => Hash::node(&right, &left),
            false => Hash::node(&left, &right),
        });
        root.unwrap_or_else(|| Hash(Sha256::digest([]).into()))
    }
}

/// One step from a leaf up to the root: what stands beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// The hash to the left.
    Left(Hash),
    /// The hash to the right.
    Right(Hash),
}

/// Shows that a leaf is in a tree: the RFC's audit path, with the sides written out. Of the other leaves it tells
/// nothing but hashes, and not how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Proof(pub Vec<Step>);

impl Proof {
    /// For the leaf at a place; none where there is no such leaf.
    #[must_use]
    pub fn of(leaves: &[Hash], place: usize) -> Option<Self> {
        (place < leaves.len()).then(|| {
            let mut steps = Vec::new();
            add_steps(leaves, place, &mut steps);
            Self(steps)
        })
    }

    /// The root of the tree that a leaf is in, if this proof is about it.
    #[must_use]
    pub fn root(&self, leaf: Hash) -> Hash {
        self.0.iter().fold(leaf, |hash, step| match step {
            Step::Left(left) => Hash::node(left, &hash),
            Step::Right(right) => Hash::node(&hash, right),
        })
    }
}

fn add_steps(leaves: &[Hash], place: usize, steps: &mut Vec<Step>) {
    if leaves.len() < 2 {
        return;
    }
    // The largest power of two that leaves something to the right.
    let (left, right) = leaves.split_at(1 << (leaves.len() - 1).ilog2());
    if place < left.len() {
        add_steps(left, place, steps);
        steps.push(Step::Right(root(right)));
    } else {
        add_steps(right, place - left.len(), steps);
        steps.push(Step::Left(root(left)));
    }
}

/// The hash over some leaves.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    let mut tree = Tree::default();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    tree.root()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The leaves of the reference tests of Certificate Transparency.
    const LEAVES: [&[u8]; 8] = [
        &[],
        &[0x00],
        &[0x10],
        &[0x20, 0x21],
        &[0x30, 0x31],
        &[0x40, 0x41, 0x42, 0x43],
        &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
        &[
            0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d,
            0x6e, 0x6f,
        ],
    ];

    /// And their roots: of no leaf, of the first one, of the first two, ...
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn leaves(count: usize) -> Vec<Hash> {
        LEAVES[..count].iter().map(|content| Hash::leaf(content)).collect()
    }

    fn hash(text: &str) -> Hash {
        text.parse().unwrap()
    }

    #[test]
    fn roots_are_those_of_certificate_transparency() {
        for (count, root_of) in ROOTS.iter().enumerate() {
            assert_eq!(root(&leaves(count)), hash(root_of), "{count} leaves");
        }
    }

    #[test]
    fn audit_paths_are_those_of_certificate_transparency() {
        use Step::{Left, Right};
        let paths: [(usize, usize, Vec<Step>); 4] = [
            (
                0,
                8,
                vec![
                    Right(hash("96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7")),
                    Right(hash("5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e")),
                    Right(hash("6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4")),
                ],
            ),
            (
                5,
                8,
                vec![
                    Left(hash("bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b")),
                    Right(hash("ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0")),
                    Left(hash("d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7")),
                ],
            ),
            (2, 3, vec![Left(hash(ROOTS[2]))]),
            (
                1,
                5,
                vec![
                    Left(hash(ROOTS[1])),
                    Right(hash("5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e")),
                    Right(hash("bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b")),
                ],
            ),
        ];
        for (place, count, steps) in paths {
            assert_eq!(Proof::of(&leaves(count), place), Some(Proof(steps)), "{place} of {count}");
        }
    }

    #[test]
    fn a_proof_leads_from_its_leaf_to_the_root_and_from_no_other() {
        let all: Vec<_> = (0..70_u8).map(|content| Hash::leaf(&[content])).collect();
        for count in 1..=all.len() {
            let leaves = &all[..count];
            for place in 0..count {
                let proof = Proof::of(leaves, place).unwrap();
                assert_eq!(proof.root(leaves[place]), root(leaves));
                assert_ne!(proof.root(Hash::leaf(b"another")), root(leaves));
            }
        }
        assert_eq!(Proof::of(&all, all.len()), None);
    }

    #[test]
    fn a_hash_is_written_in_lower_case_hexadecimal_only() {
        assert_eq!(hash(ROOTS[1]).to_string(), ROOTS[1]);
        for unfit in ["", "6e", &ROOTS[1].to_uppercase(), &ROOTS[1].replace('6', "g")] {
            assert!(unfit.parse::<Hash>().is_err(), "{unfit}");
        }
    }
}
