//! The Merkle tree of the audit log (RFC 6962, section 2.1), as pure functions over hashes.
//!
//! A writer keeps a [`CompactRange`]. A reader makes proofs with [`inclusion_proof`] and [`consistency_proof`], or, when
//! the leaves do not fit in memory, takes the leaf ranges of a proof from [`inclusion_ranges`] and
//! [`consistency_ranges`] and feeds each range through a `CompactRange` of its own. Anybody can verify with
//! [`verify_inclusion`] and [`verify_consistency`], which need neither the log nor a database.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::canonical::sha256;
use crate::error::Error;

/// A SHA-256 hash of the tree: of a leaf, of an inner node or the root.
///
/// In text and serde form 64 lower-case hex digits; either case is read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeHash([u8; 32]);

impl TreeHash {
    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for TreeHash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<&[u8]> for TreeHash {
    type Error = MerkleError;

    fn try_from(bytes: &[u8]) -> Result<Self, MerkleError> {
        bytes.try_into().map(Self).map_err(|_| MerkleError::NotAHash)
    }
}

impl fmt::Display for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TreeHash {
    type Err = MerkleError;

    /// Reads 64 hex digits.
    ///
    /// # Errors
    /// [`MerkleError::NotAHash`] for anything else.
    fn from_str(text: &str) -> Result<Self, MerkleError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| MerkleError::NotAHash)?;
        Ok(Self(bytes))
    }
}

crate::schema::text_schema!(TreeHash, "TreeHash", "sha256", "64 hexadecimal digits.");

impl Serialize for TreeHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TreeHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a proof was not made, was refused, or a hash or compact range was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MerkleError {
    /// The leaf is not in a tree of this size.
    #[error("leaf {index} is not in a tree of {size} leaves")]
    IndexOutOfRange {
        /// The place asked for, from 0.
        index: u64,
        /// The number of leaves.
        size: u64,
    },
    /// Consistency is defined for `0 < size1 <= size2` only (RFC 6962, section 2.1.2).
    #[error("tree sizes {size1} and {size2} are not in order: 0 < first <= second is asked for")]
    SizeOrder {
        /// The size of the older tree.
        size1: u64,
        /// The size of the newer tree.
        size2: u64,
    },
    /// The tree asked for has more leaves than were passed.
    #[error("a tree of {size} leaves cannot be made of {available}")]
    LeavesMissing {
        /// The size asked for.
        size: u64,
        /// The number of leaves passed.
        available: u64,
    },
    /// The proof has more or fewer hashes than the tree sizes call for.
    #[error("the proof has {actual} hashes instead of {expected}")]
    ProofLength {
        /// The length that index and sizes call for, at most 65.
        expected: usize,
        /// The length of the proof.
        actual: usize,
    },
    /// The proof leads to another root.
    #[error("the proof does not lead to the root")]
    RootMismatch,
    /// Neither 32 bytes nor 64 hex digits.
    #[error("a tree hash is 32 bytes or 64 hex digits")]
    NotAHash,
    /// The bytes of a compact range do not read back.
    #[error("corrupt encoding of a compact range: {0}")]
    Encoding(&'static str),
}

impl From<MerkleError> for Error {
    /// What a caller can ask wrongly is `invalid_input`; what does not verify is `corrupt`.
    fn from(error: MerkleError) -> Self {
        let message = error.to_string();
        match error {
            MerkleError::IndexOutOfRange { .. }
            | MerkleError::SizeOrder { .. }
            | MerkleError::LeavesMissing { .. }
            | MerkleError::NotAHash => Self::invalid(message),
            MerkleError::ProofLength { .. } | MerkleError::RootMismatch | MerkleError::Encoding(_) => {
                Self::corrupt(message)
            }
        }
    }
}

/// The hash of a leaf: `SHA-256(0x00 || data)` (RFC 6962, section 2.1).
pub fn leaf_hash(data: &[u8]) -> TreeHash {
    TreeHash(sha256(&[&[0x00], data]))
}

/// The hash of an inner node: `SHA-256(0x01 || left || right)` (RFC 6962, section 2.1).
pub fn node_hash(left: TreeHash, right: TreeHash) -> TreeHash {
    TreeHash(sha256(&[&[0x01], &left.0, &right.0]))
}

/// The root of the empty tree: `SHA-256()` (RFC 6962, section 2.1).
pub fn empty_root() -> TreeHash {
    TreeHash(sha256(&[]))
}

/// The root of the tree over these leaf hashes, in order (`MTH` of RFC 6962, section 2.1).
pub fn root(leaves: &[TreeHash]) -> TreeHash {
    let mut range = CompactRange::default();
    range.extend(leaves.iter().copied());
    range.root()
}

/// What has to be kept of a tree to append to it and know its root: one hash per complete subtree, at most 64.
///
/// The hashes are those that stand directly left of where the next leaf goes (RFC 6962, section 2.1: the left
/// subtree of every split is complete), so there is one per 1 bit of the size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompactRange {
    size: u64,
    /// From the largest subtree to the smallest.
    subtrees: Vec<TreeHash>,
}

impl CompactRange {
    /// Version byte of the encoding.
    const VERSION: u8 = 1;
    /// Sizes from here on are refused; they do not fit the signed integers of databases, and `append` cannot overflow.
    const SIZE_LIMIT: u64 = 1 << 63;

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf hash; amortised one node hash.
    pub fn append(&mut self, leaf: TreeHash) {
        let mut node = leaf;
        // Every trailing 1 bit is a complete subtree as large as `node`: the carry of a binary increment.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.subtrees.pop() {
                node = node_hash(left, node);
            }
        }
        self.subtrees.push(node);
        self.size += 1;
    }

    /// The root of the tree; [`empty_root`] without leaves.
    pub fn root(&self) -> TreeHash {
        let rightmost_first = self.subtrees.iter().rev().copied();
        rightmost_first.reduce(|right, left| node_hash(left, right)).unwrap_or_else(empty_root)
    }

    /// The form to store: version byte 1, size as 8 bytes big-endian, the subtree hashes from the largest to the
    /// smallest, and the SHA-256 of all before it. At most 2,057 bytes.
    ///
    /// The last part finds damage, not forgery: compare the root with a signed one for that.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![Self::VERSION];
        bytes.extend_from_slice(&self.size.to_be_bytes());
        for subtree in &self.subtrees {
            bytes.extend_from_slice(&subtree.0);
        }
        let digest = sha256(&[&bytes]);
        bytes.extend_from_slice(&digest);
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// [`MerkleError::Encoding`] for another version, a size of 2⁶³ or more, a length that does not fit the size, and
    /// any changed bit.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MerkleError> {
        const SHORT: MerkleError = MerkleError::Encoding("too short");
        let (body, digest) = bytes.split_last_chunk::<32>().ok_or(SHORT)?;
        let (version, rest) = body.split_first().ok_or(SHORT)?;
        if *version != Self::VERSION {
            return Err(MerkleError::Encoding("unknown version"));
        }
        let (size, hashes) = rest.split_first_chunk::<8>().ok_or(SHORT)?;
        let size = u64::from_be_bytes(*size);
        if size >= Self::SIZE_LIMIT {
            return Err(MerkleError::Encoding("size out of range"));
        }
        let (subtrees, remainder) = hashes.as_chunks::<32>();
        if !remainder.is_empty() || u32::try_from(subtrees.len()) != Ok(size.count_ones()) {
            return Err(MerkleError::Encoding("length does not fit the size"));
        }
        if sha256(&[body]) != *digest {
            return Err(MerkleError::Encoding("checksum does not match"));
        }
        Ok(Self { size, subtrees: subtrees.iter().copied().map(TreeHash).collect() })
    }
}

impl Extend<TreeHash> for CompactRange {
    fn extend<T: IntoIterator<Item = TreeHash>>(&mut self, leaves: T) {
        leaves.into_iter().for_each(|leaf| self.append(leaf));
    }
}

/// Where a tree over the leaves `from..to` splits: its left side is the largest power of two below its size
/// (RFC 6962, section 2.1). `None` for a single leaf.
fn split(from: u64, to: u64) -> Option<u64> {
    let left = 1 << (to - from).checked_sub(1)?.checked_ilog2()?;
    Some(from + left)
}

/// The leaf ranges whose roots are the audit path of leaf `index` in a tree of `size` leaves, from the leaf's sibling
/// up (`PATH` of RFC 6962, section 2.1.1). At most 64 ranges; a range that ends at or below `index` stands left.
///
/// # Errors
/// [`MerkleError::IndexOutOfRange`] when `index` is not below `size`.
pub fn inclusion_ranges(index: u64, size: u64) -> Result<Vec<Range<u64>>, MerkleError> {
    if index >= size {
        return Err(MerkleError::IndexOutOfRange { index, size });
    }
    let mut ranges = Vec::new();
    let (mut from, mut to) = (0, size);
    while let Some(middle) = split(from, to) {
        if index < middle {
            ranges.push(middle..to);
            to = middle;
        } else {
            ranges.push(from..middle);
            from = middle;
        }
    }
    ranges.reverse();
    Ok(ranges)
}

/// The leaf ranges whose roots prove that the tree of `size1` leaves is a prefix of the one of `size2` (`PROOF` of
/// RFC 6962, section 2.1.2), in the order of the proof. At most 65 ranges; none for equal sizes.
///
/// # Errors
/// [`MerkleError::SizeOrder`] unless `0 < size1 <= size2`.
pub fn consistency_ranges(size1: u64, size2: u64) -> Result<Vec<Range<u64>>, MerkleError> {
    if size1 == 0 || size1 > size2 {
        return Err(MerkleError::SizeOrder { size1, size2 });
    }
    let mut ranges = Vec::new();
    let (mut from, mut to) = (0, size2);
    // `to` never falls below `size1`: descend to the subtree that ends where the older tree ends.
    while to != size1
        && let Some(middle) = split(from, to)
    {
        if size1 <= middle {
            ranges.push(middle..to);
            to = middle;
        } else {
            ranges.push(from..middle);
            from = middle;
        }
    }
    // At 0 that subtree is the whole older tree, whose root the verifier has.
    if from != 0 {
        ranges.push(from..to);
    }
    ranges.reverse();
    Ok(ranges)
}

/// The first `size` of `leaves`.
fn prefix(leaves: &[TreeHash], size: u64) -> Result<&[TreeHash], MerkleError> {
    let missing = || MerkleError::LeavesMissing { size, available: leaves.len() as u64 };
    usize::try_from(size).ok().and_then(|size| leaves.get(..size)).ok_or_else(missing)
}

/// The roots of the subtrees over `ranges`.
fn roots(leaves: &[TreeHash], ranges: &[Range<u64>]) -> Result<Vec<TreeHash>, MerkleError> {
    let subtree = |range: &Range<u64>| {
        let before = prefix(leaves, range.start)?.len();
        Ok(root(prefix(leaves, range.end)?.get(before..).unwrap_or_default()))
    };
    ranges.iter().map(subtree).collect()
}

/// The audit path of leaf `index` in the tree over the first `size` of `leaves`, from the leaf's sibling up
/// (RFC 6962, section 2.1.1). Costs one hash per leaf.
///
/// # Errors
/// [`MerkleError::IndexOutOfRange`] when `index` is not below `size`, [`MerkleError::LeavesMissing`] when there are
/// fewer than `size` leaves.
pub fn inclusion_proof(index: u64, size: u64, leaves: &[TreeHash]) -> Result<Vec<TreeHash>, MerkleError> {
    let ranges = inclusion_ranges(index, size)?;
    roots(prefix(leaves, size)?, &ranges)
}

/// The proof that the tree over the first `size1` of `leaves` is a prefix of the one over the first `size2`
/// (RFC 6962, section 2.1.2). Costs one hash per leaf.
///
/// # Errors
/// [`MerkleError::SizeOrder`] unless `0 < size1 <= size2`, [`MerkleError::LeavesMissing`] when there are fewer than
/// `size2` leaves.
pub fn consistency_proof(size1: u64, size2: u64, leaves: &[TreeHash]) -> Result<Vec<TreeHash>, MerkleError> {
    let ranges = consistency_ranges(size1, size2)?;
    roots(prefix(leaves, size2)?, &ranges)
}

fn check_length(expected: usize, proof: &[TreeHash]) -> Result<(), MerkleError> {
    let actual = proof.len();
    if actual == expected { Ok(()) } else { Err(MerkleError::ProofLength { expected, actual }) }
}

fn check_root(made: TreeHash, wanted: TreeHash) -> Result<(), MerkleError> {
    if made == wanted { Ok(()) } else { Err(MerkleError::RootMismatch) }
}

/// Checks that the leaf with `leaf_hash` stands at `index` in the tree of `size` leaves with this `root`
/// (RFC 6962, section 2.1.1).
///
/// Take `size` and `root` from one tree head: a root alone does not say how large its tree is.
///
/// # Errors
/// [`MerkleError::IndexOutOfRange`], [`MerkleError::ProofLength`] or [`MerkleError::RootMismatch`]. No input panics.
pub fn verify_inclusion(
    leaf_hash: TreeHash,
    index: u64,
    size: u64,
    proof: &[TreeHash],
    root: TreeHash,
) -> Result<(), MerkleError> {
    let ranges = inclusion_ranges(index, size)?;
    check_length(ranges.len(), proof)?;
    let made = ranges.iter().zip(proof).fold(leaf_hash, |node, (range, &sibling)| {
        if range.end <= index { node_hash(sibling, node) } else { node_hash(node, sibling) }
    });
    check_root(made, root)
}

/// Checks that the tree of `size1` leaves with `root1` is a prefix of the one of `size2` leaves with `root2`
/// (RFC 6962, section 2.1.2).
///
/// Every log extends the empty one, so a proof from size 0 would say nothing: it is refused.
///
/// # Errors
/// [`MerkleError::SizeOrder`] unless `0 < size1 <= size2`, [`MerkleError::ProofLength`] or
/// [`MerkleError::RootMismatch`]. No input panics.
pub fn verify_consistency(
    size1: u64,
    root1: TreeHash,
    size2: u64,
    root2: TreeHash,
    proof: &[TreeHash],
) -> Result<(), MerkleError> {
    let ranges = consistency_ranges(size1, size2)?;
    check_length(ranges.len(), proof)?;
    // Both roots grow from one subtree, the last of the older tree: the first hash of the proof, unless it is the
    // whole older tree. What stands left of it is in both trees, what stands right of it in the newer one only.
    let mut steps = ranges.iter().zip(proof.iter().copied()).peekable();
    let seed = steps.next_if(|(range, _)| range.end == size1).map_or(root1, |(_, hash)| hash);
    let (made1, made2) = steps.fold((seed, seed), |(old, new), (range, sibling)| {
        if range.end <= size1 {
            (node_hash(sibling, old), node_hash(sibling, new))
        } else {
            (old, node_hash(new, sibling))
        }
    });
    check_root(made1, root1)?;
    check_root(made2, root2)
}
