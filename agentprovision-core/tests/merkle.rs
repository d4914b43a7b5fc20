//! The Merkle tree against the definitions of RFC 6962, known answers, random damage and the conformance vectors.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "clippy allows these in test functions, not in their helpers"
)]

use std::collections::HashSet;
use std::io::Write as _;
use std::ops::Range;
use std::path::PathBuf;

use agentprovision_core::ErrorKind;
use agentprovision_core::audit::merkle::{
    CompactRange, MerkleError, TreeHash, consistency_proof, consistency_ranges, empty_root, inclusion_proof,
    inclusion_ranges, leaf_hash, node_hash, root, verify_consistency, verify_inclusion,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// SHA-256 as a tree hash, without the code under test.
fn sha(bytes: &[u8]) -> TreeHash {
    TreeHash::from(<[u8; 32]>::from(Sha256::digest(bytes)))
}

/// `MTH`, `PATH` and `SUBPROOF` word for word from RFC 6962, section 2.1, over leaf data.
mod rfc {
    use super::*;

    fn split(leaves: usize) -> usize {
        let mut k = 1;
        while k * 2 < leaves {
            k *= 2;
        }
        k
    }

    pub(crate) fn mth(d: &[Vec<u8>]) -> TreeHash {
        match d {
            [] => sha(b""),
            [only] => sha(&[&[0x00], only.as_slice()].concat()),
            _ => {
                let (left, right) = d.split_at(split(d.len()));
                sha(&[&[0x01], mth(left).as_bytes().as_slice(), mth(right).as_bytes()].concat())
            }
        }
    }

    pub(crate) fn path(m: usize, d: &[Vec<u8>]) -> Vec<TreeHash> {
        if d.len() == 1 {
            return Vec::new();
        }
        let k = split(d.len());
        let (left, right) = d.split_at(k);
        let (mut path, last) =
            if m < k { (path(m, left), mth(right)) } else { (path(m - k, right), mth(left)) };
        path.push(last);
        path
    }

    pub(crate) fn proof(m: usize, d: &[Vec<u8>]) -> Vec<TreeHash> {
        subproof(m, d, true)
    }

    fn subproof(m: usize, d: &[Vec<u8>], complete: bool) -> Vec<TreeHash> {
        if m == d.len() {
            return if complete { Vec::new() } else { vec![mth(d)] };
        }
        let k = split(d.len());
        let (left, right) = d.split_at(k);
        let (mut proof, last) = if m <= k {
            (subproof(m, left, complete), mth(right))
        } else {
            (subproof(m - k, right, false), mth(left))
        };
        proof.push(last);
        proof
    }
}

/// Marsaglia's xorshift64: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn hash(&mut self) -> TreeHash {
        sha(&self.next().to_be_bytes())
    }

    fn flip(&mut self, hash: TreeHash) -> TreeHash {
        flip(hash, self.below(256))
    }

    /// Leaf data of 0 to 40 bytes each.
    fn data(&mut self, leaves: usize) -> Vec<Vec<u8>> {
        (0..leaves).map(|_| (0..self.below(41)).map(|_| self.next().to_le_bytes()[0]).collect()).collect()
    }
}

fn flip(hash: TreeHash, bit: usize) -> TreeHash {
    let mut bytes = *hash.as_bytes();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes.into()
}

/// Every proof that differs from `proof` in one way: a flipped bit in one hash, a hash dropped, added or swapped.
fn damaged(proof: &[TreeHash], random: &mut Random) -> Vec<Vec<TreeHash>> {
    let mut all = Vec::new();
    for place in 0..proof.len() {
        let mut flipped = proof.to_vec();
        flipped[place] = random.flip(flipped[place]);
        let mut dropped = proof.to_vec();
        dropped.remove(place);
        all.extend([flipped, dropped]);
        if place > 0 && proof[place] != proof[place - 1] {
            let mut swapped = proof.to_vec();
            swapped.swap(place, place - 1);
            all.push(swapped);
        }
    }
    for place in 0..=proof.len() {
        let mut added = proof.to_vec();
        added.insert(place, random.hash());
        all.push(added);
    }
    all
}

fn leaves_of(data: &[Vec<u8>]) -> Vec<TreeHash> {
    data.iter().map(|data| leaf_hash(data)).collect()
}

/// The root over `leaves` equal leaves with this hash, in logarithmic time.
fn uniform_root(leaf: TreeHash, leaves: u64) -> TreeHash {
    let mut complete = leaf;
    let mut made = None;
    for level in 0..64 {
        if leaves >> level & 1 == 1 {
            made = Some(made.map_or(complete, |right| node_hash(complete, right)));
        }
        complete = node_hash(complete, complete);
    }
    made.unwrap_or_else(empty_root)
}

fn uniform_proof(leaf: TreeHash, ranges: &[Range<u64>]) -> Vec<TreeHash> {
    ranges.iter().map(|range| uniform_root(leaf, range.end - range.start)).collect()
}

const EDGES: [u64; 14] = [
    1,
    2,
    3,
    (1 << 31) - 1,
    1 << 32,
    (1 << 32) + 1,
    (1 << 62) + 12_345,
    (1 << 63) - 1,
    1 << 63,
    (1 << 63) + 1,
    (1 << 63) + (1 << 62),
    u64::MAX - 2,
    u64::MAX - 1,
    u64::MAX,
];

#[test]
fn hashes_are_domain_separated_as_defined() {
    let text = |hash: TreeHash| hash.to_string();
    assert_eq!(text(empty_root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(text(leaf_hash(b"")), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
    assert_eq!(text(leaf_hash(b"abc")), "609f6e36d2405585188d5cfd761f407c7cc46a7d3f314c88270469dde315fcd1");
    assert_eq!(
        text(node_hash([0x11; 32].into(), [0x22; 32].into())),
        "1d8f52d3ec81ac02cd97cb3281523be47af850c0f0295af866f04bc245f46bbf"
    );
    let wide = [&[0x11_u8; 32][..], &[0x22; 32]].concat();
    assert_ne!(leaf_hash(&wide), node_hash([0x11; 32].into(), [0x22; 32].into()));
}

#[test]
fn roots_of_small_trees_are_known() {
    // MTH over the data `d0`, `d1`, … computed apart from this crate.
    let known = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "c67f9ffe68e0761021341dd516428f42fbdea633731cbdada03bea6b84c652f7",
        "46c78708413a23175f51faf1c22604bccb44482d553b45943b189130ea8221c8",
        "c64c5b9326951a2db82d5462565696286659d1c7a4a26a92703568f63462f7ba",
        "8df3870b33fae650e81938994f98eb4551b143b86c95d3dae4e6444e00715016",
        "2b650a5633502111de1a865b3581e012a91dc1f8b780ddf646a44873dec93163",
        "b65368cd1f024732c21e9db86bcde27d7de95dc2c40d728dd979ffcf943556e3",
        "73a590fb266b81557040b146b9d479e2a1b5849b125167642f5b64866f1d5c7d",
    ];
    let leaves: Vec<TreeHash> = (0..7).map(|i| leaf_hash(format!("d{i}").as_bytes())).collect();
    for (size, known) in known.iter().enumerate() {
        assert_eq!(root(&leaves[..size]).to_string(), *known, "size {size}");
    }
}

/// The tree of seven leaves of RFC 6962, section 2.1.3, with the names of its figures.
#[test]
fn the_example_of_the_rfc_has_its_proofs() {
    let leaves: Vec<TreeHash> = (0..7).map(|i| leaf_hash(format!("d{i}").as_bytes())).collect();
    let [a, b, c, d, e, f, j] = leaves[..] else { panic!("seven leaves") };
    let (g, h, i) = (node_hash(a, b), node_hash(c, d), node_hash(e, f));
    let (k, l) = (node_hash(g, h), node_hash(i, j));
    assert_eq!(root(&leaves), node_hash(k, l));

    for (index, path) in [(0, vec![b, h, l]), (3, vec![c, g, l]), (4, vec![f, j, k]), (6, vec![i, k])] {
        assert_eq!(inclusion_proof(index, 7, &leaves).unwrap(), path, "leaf {index}");
    }
    for (old, proof) in [(3, vec![c, d, g, l]), (4, vec![l]), (6, vec![i, j, k]), (7, vec![])] {
        assert_eq!(consistency_proof(old, 7, &leaves).unwrap(), proof, "from {old}");
    }
    assert_eq!(inclusion_ranges(4, 7).unwrap(), [5..6, 6..7, 0..4]);
    assert_eq!(consistency_ranges(3, 7).unwrap(), [2..3, 3..4, 0..2, 4..7]);
}

#[test]
fn every_inclusion_proof_verifies_and_no_damaged_one_does() {
    let mut random = Random(0x6962);
    let data = random.data(130);
    let leaves = leaves_of(&data);
    for leaf_count in 1..=130_usize {
        let head = rfc::mth(&data[..leaf_count]);
        for place in 0..leaf_count {
            let (index, size) = (place as u64, leaf_count as u64);
            let leaf = leaves[place];
            // All 130 leaves are passed: those beyond `size` must not matter.
            let proof = inclusion_proof(index, size, &leaves).unwrap();
            let case = format!("leaf {index} of {size}");
            assert_eq!(proof, rfc::path(place, &data[..leaf_count]), "{case}");
            assert_eq!(verify_inclusion(leaf, index, size, &proof, head), Ok(()), "{case}");
            for bad in damaged(&proof, &mut random) {
                assert!(verify_inclusion(leaf, index, size, &bad, head).is_err(), "{case}");
            }
            assert!(verify_inclusion(random.flip(leaf), index, size, &proof, head).is_err(), "{case}");
            assert!(verify_inclusion(leaf, index, size, &proof, random.flip(head)).is_err(), "{case}");
            for other in [index ^ 1, index + 1, index + size, index.wrapping_sub(1), u64::MAX] {
                assert!(verify_inclusion(leaf, other, size, &proof, head).is_err(), "{case} at {other}");
            }
        }
    }
}

#[test]
fn every_consistency_proof_verifies_and_no_damaged_one_does() {
    let mut random = Random(0x9162);
    let data = random.data(130);
    let leaves = leaves_of(&data);
    let heads: Vec<TreeHash> = (0..=130).map(|size| rfc::mth(&data[..size])).collect();
    for new in 1..=130_usize {
        for old in 1..=new {
            let (head1, head2) = (heads[old], heads[new]);
            let (size1, size2) = (old as u64, new as u64);
            let verify = |root1, root2, proof: &[_]| verify_consistency(size1, root1, size2, root2, proof);
            let proof = consistency_proof(size1, size2, &leaves).unwrap();
            let case = format!("from {old} to {new}");
            assert_eq!(proof, rfc::proof(old, &data[..new]), "{case}");
            assert_eq!(verify(head1, head2, &proof), Ok(()), "{case}");
            for bad in damaged(&proof, &mut random) {
                assert!(verify(head1, head2, &bad).is_err(), "{case}");
            }
            assert!(verify(random.flip(head1), head2, &proof).is_err(), "{case}");
            assert!(verify(head1, random.flip(head2), &proof).is_err(), "{case}");
            if old != new {
                assert!(verify(head2, head1, &proof).is_err(), "{case}");
                assert!(verify_consistency(size2, head2, size1, head1, &proof).is_err(), "{case}");
            }
        }
    }
}

#[test]
fn every_single_bit_of_a_proof_counts() {
    let data = Random(7).data(13);
    let leaves = leaves_of(&data);
    let head = root(&leaves);
    for (index, &leaf) in (0..).zip(&leaves) {
        let proof = inclusion_proof(index, 13, &leaves).unwrap();
        for (place, bit) in (0..proof.len()).flat_map(|place| (0..256).map(move |bit| (place, bit))) {
            let mut bad = proof.clone();
            bad[place] = flip(bad[place], bit);
            assert_eq!(verify_inclusion(leaf, index, 13, &bad, head), Err(MerkleError::RootMismatch));
        }
    }
    for size in 1..13 {
        let old = size as u64;
        let proof = consistency_proof(old, 13, &leaves).unwrap();
        let before = root(&leaves[..size]);
        for (place, bit) in (0..proof.len()).flat_map(|place| (0..256).map(move |bit| (place, bit))) {
            let mut bad = proof.clone();
            bad[place] = flip(bad[place], bit);
            assert_eq!(verify_consistency(old, before, 13, head, &bad), Err(MerkleError::RootMismatch));
        }
    }
}

#[test]
fn a_changed_history_has_no_consistency_proof() {
    let mut random = Random(11);
    let data = random.data(60);
    let leaves = leaves_of(&data);
    for _ in 0..500 {
        let old = 1 + random.below(59);
        let mut rewritten = leaves.clone();
        let place = random.below(old);
        rewritten[place] = random.flip(rewritten[place]);
        let proof = consistency_proof(old as u64, 60, &rewritten).unwrap();
        let verdict = verify_consistency(old as u64, root(&leaves[..old]), 60, root(&rewritten), &proof);
        assert_eq!(verdict, Err(MerkleError::RootMismatch), "leaf {place} of {old}");
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let leaves = leaves_of(&Random(3).data(5));
    let head = root(&leaves);
    let index = |index, size| Err(MerkleError::IndexOutOfRange { index, size });
    assert_eq!(inclusion_proof(5, 5, &leaves), index(5, 5));
    assert_eq!(inclusion_proof(0, 0, &leaves), index(0, 0));
    assert_eq!(inclusion_proof(2, 6, &leaves), Err(MerkleError::LeavesMissing { size: 6, available: 5 }));
    assert_eq!(
        inclusion_proof(2, u64::MAX, &leaves),
        Err(MerkleError::LeavesMissing { size: u64::MAX, available: 5 })
    );
    let order = |size1, size2| Err(MerkleError::SizeOrder { size1, size2 });
    assert_eq!(consistency_proof(0, 5, &leaves), order(0, 5));
    assert_eq!(consistency_proof(0, 0, &leaves), order(0, 0));
    assert_eq!(consistency_proof(4, 3, &leaves), order(4, 3));
    assert_eq!(consistency_proof(4, 6, &leaves), Err(MerkleError::LeavesMissing { size: 6, available: 5 }));
    assert_eq!(
        verify_inclusion(leaves[0], 0, 5, &[], head),
        Err(MerkleError::ProofLength { expected: 3, actual: 0 })
    );
    assert_eq!(
        verify_consistency(5, head, 5, head, &[head]),
        Err(MerkleError::ProofLength { expected: 0, actual: 1 })
    );
    assert_eq!(verify_consistency(0, empty_root(), 5, head, &[]).map_err(|_| ()), Err(()));

    let kind = |error| agentprovision_core::Error::from(error).kind();
    assert_eq!(kind(MerkleError::IndexOutOfRange { index: 5, size: 5 }), ErrorKind::InvalidInput);
    assert_eq!(kind(MerkleError::SizeOrder { size1: 0, size2: 5 }), ErrorKind::InvalidInput);
    assert_eq!(kind(MerkleError::RootMismatch), ErrorKind::Corrupt);
}

#[test]
fn trees_of_any_size_verify() {
    let leaf = leaf_hash(b"the same everywhere");
    assert_eq!(uniform_root(leaf, 11), root(&[leaf; 11]));
    for size in EDGES {
        let head = uniform_root(leaf, size);
        for index in EDGES.into_iter().flat_map(|edge| [edge - 1, edge]) {
            let ranges = inclusion_ranges(index, size);
            if index >= size {
                assert_eq!(ranges, Err(MerkleError::IndexOutOfRange { index, size }));
                continue;
            }
            let proof = uniform_proof(leaf, &ranges.unwrap());
            assert!(proof.len() <= 64);
            assert_eq!(verify_inclusion(leaf, index, size, &proof, head), Ok(()), "leaf {index} of {size}");
            assert!(verify_inclusion(empty_root(), index, size, &proof, head).is_err());
        }
        for old in EDGES {
            let before = uniform_root(leaf, old);
            let ranges = consistency_ranges(old, size);
            if old > size {
                assert_eq!(ranges, Err(MerkleError::SizeOrder { size1: old, size2: size }));
                continue;
            }
            let proof = uniform_proof(leaf, &ranges.unwrap());
            assert!(proof.len() <= 65);
            assert_eq!(verify_consistency(old, before, size, head, &proof), Ok(()), "{old} to {size}");
            assert!(verify_consistency(old, empty_root(), size, head, &proof).is_err());
        }
    }
}

#[test]
fn verification_survives_any_numbers_and_lengths() {
    let mut random = Random(5);
    let (leaf, head) = (random.hash(), random.hash());
    let hashes: Vec<TreeHash> = (0..70).map(|_| random.hash()).collect();
    let numbers: Vec<u64> = EDGES.into_iter().chain([0]).chain((0..10).map(|_| random.next())).collect();
    for &first in &numbers {
        for &second in &numbers {
            for length in [0, 1, 2, 31, 32, 33, 61, 62, 63, 64, 65, 70] {
                let proof = &hashes[..length];
                assert!(verify_inclusion(leaf, first, second, proof, head).is_err());
                assert!(verify_consistency(first, leaf, second, head, proof).is_err());
            }
        }
    }
}

#[test]
fn a_compact_range_has_the_root_of_its_leaves_and_can_be_stored_at_any_time() {
    let data = Random(1).data(300);
    let mut range = CompactRange::default();
    for size in 0..=data.len() {
        assert_eq!(range.size(), size as u64);
        assert_eq!(range.root(), rfc::mth(&data[..size]), "size {size}");
        let bytes = range.to_bytes();
        assert_eq!(bytes.len(), 41 + 32 * size.count_ones() as usize);
        let read = CompactRange::from_bytes(&bytes).unwrap();
        assert_eq!(read, range);
        range = read;
        if let Some(data) = data.get(size) {
            range.append(leaf_hash(data));
        }
    }
}

#[test]
fn the_stored_form_of_a_compact_range_does_not_change() {
    let mut range = CompactRange::default();
    range.extend(["d0", "d1", "d2"].map(|data| leaf_hash(data.as_bytes())));
    let stored = "010000000000000003\
        46c78708413a23175f51faf1c22604bccb44482d553b45943b189130ea8221c8\
        f366df4718ef75064317794ff5300e0963e96dd93fe24203118055fa5a00be13\
        8ee884c12b4dd01dd54d5144885fa4e8f48ba0d77ccb70c13572227931e57280";
    assert_eq!(hex::encode(range.to_bytes()), stored);
}

#[test]
fn a_damaged_compact_range_is_refused() {
    let sealed = |body: &[u8]| [body, sha(body).as_bytes()].concat();
    for size in [0, 1, 2, 7, 12] {
        let mut range = CompactRange::default();
        range.extend(leaves_of(&Random(9).data(size)));
        let bytes = range.to_bytes();
        for length in 0..bytes.len() {
            assert!(matches!(CompactRange::from_bytes(&bytes[..length]), Err(MerkleError::Encoding(_))));
        }
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(CompactRange::from_bytes(&bad).is_err(), "bit {bit} of size {size}");
        }
        assert!(CompactRange::from_bytes(&[bytes.as_slice(), &[0]].concat()).is_err());

        // With a checksum that fits, the other checks are on their own.
        let body = &bytes[..bytes.len() - 32];
        assert_eq!(CompactRange::from_bytes(&sealed(body)), Ok(range));
        for length in 0..body.len() {
            assert!(CompactRange::from_bytes(&sealed(&body[..length])).is_err());
        }
        assert!(CompactRange::from_bytes(&sealed(&[body, &[0; 32]].concat())).is_err());
        let mut newer = body.to_vec();
        newer[0] = 2;
        assert_eq!(CompactRange::from_bytes(&sealed(&newer)), Err(MerkleError::Encoding("unknown version")));
    }
}

#[test]
fn a_compact_range_works_up_to_the_largest_size() {
    let leaf = leaf_hash(b"the same everywhere");
    let stored = |size: u64| {
        let mut body = [&[1], size.to_be_bytes().as_slice()].concat();
        for level in (0..64).rev().filter(|level| size >> level & 1 == 1) {
            body.extend_from_slice(uniform_root(leaf, 1 << level).as_bytes());
        }
        let seal = sha(&body);
        [body.as_slice(), seal.as_bytes()].concat()
    };
    let largest = (1 << 63) - 1;
    let mut range = CompactRange::from_bytes(&stored(largest)).unwrap();
    assert_eq!((range.size(), range.root()), (largest, uniform_root(leaf, largest)));
    range.append(leaf);
    assert_eq!((range.size(), range.root()), (1 << 63, uniform_root(leaf, 1 << 63)));
    for size in [1 << 63, u64::MAX] {
        assert_eq!(CompactRange::from_bytes(&stored(size)), Err(MerkleError::Encoding("size out of range")));
    }
}

#[test]
fn hashes_read_back_from_text_json_and_bytes() {
    let hash = leaf_hash(b"x");
    let text = hash.to_string();
    assert_eq!(text.len(), 64);
    assert_eq!(text, text.to_lowercase());
    assert_eq!(format!("{hash:?}"), text);
    assert_eq!(text.parse(), Ok(hash));
    assert_eq!(text.to_uppercase().parse(), Ok(hash));
    assert_eq!(TreeHash::try_from(hash.as_bytes().as_slice()), Ok(hash));
    assert_eq!(serde_json::to_string(&hash).unwrap(), format!("\"{text}\""));
    assert_eq!(serde_json::from_str::<TreeHash>(&format!("\"{text}\"")).unwrap(), hash);

    let long = format!("{text}00");
    for bad in ["", "00", &text[1..], &long, &text.replace(&text[..1], "g"), &"é".repeat(32)] {
        assert_eq!(bad.parse::<TreeHash>(), Err(MerkleError::NotAHash), "`{bad}`");
        assert!(serde_json::from_value::<TreeHash>(Value::from(bad)).is_err());
    }
    assert!(serde_json::from_value::<TreeHash>(Value::from(vec![0; 32])).is_err());
    assert!(TreeHash::try_from([0_u8; 31].as_slice()).is_err());
    assert!(TreeHash::try_from([0_u8; 33].as_slice()).is_err());
    let distinct: HashSet<TreeHash> = (0..256).map(|bit| flip(hash, bit)).chain([hash]).collect();
    assert_eq!(distinct.len(), 257);
}

/// A file of the conformance data; `None`, said on the terminal, where there is none.
fn conformance(file: &str) -> Option<String> {
    let Some(folder) = std::env::var_os("AGENTPROVISION_CONFORMANCE") else {
        // Not by a macro: the test harness would swallow it.
        let line = format!("skipped: merkle/{file}, AGENTPROVISION_CONFORMANCE is not set\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    };
    let path = PathBuf::from(folder).join("merkle").join(file);
    Some(std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The hash in a base64 field.
///
/// Some rows carry text where a hash belongs. A hash of that text stands in for it, so that equal stays equal and
/// different stays different and the verifier is really asked.
fn vector_hash(field: &Value) -> TreeHash {
    let bytes = BASE64_STANDARD.decode(field.as_str().unwrap()).unwrap();
    TreeHash::try_from(bytes.as_slice()).unwrap_or_else(|_| sha(&[b"no hash: ", bytes.as_slice()].concat()))
}

/// Runs `verify` over the rows of a file and compares with `wantErr`.
fn check_rows(file: &str, verify: fn(&Value, &[TreeHash]) -> Result<(), MerkleError>) {
    let Some(text) = conformance(file) else { return };
    let (mut accepted, mut refused) = (0, 0);
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let proof: Vec<TreeHash> = row["proof"].as_array().into_iter().flatten().map(vector_hash).collect();
        let verdict = verify(&row, &proof);
        assert_eq!(verdict.is_err(), row["wantErr"].as_bool().unwrap(), "{}: {verdict:?}", row["_path"]);
        if verdict.is_ok() { accepted += 1 } else { refused += 1 }
    }
    assert!(accepted > 0 && refused > 0, "{file}: {accepted} accepted, {refused} refused");
}

#[test]
fn conformance_inclusion() {
    check_rows("inclusion.jsonl", |row, proof| {
        let (index, size) = (row["leafIdx"].as_u64().unwrap(), row["treeSize"].as_u64().unwrap());
        verify_inclusion(vector_hash(&row["leafHash"]), index, size, proof, vector_hash(&row["root"]))
    });
}

#[test]
fn conformance_consistency() {
    check_rows("consistency.jsonl", |row, proof| {
        let (size1, size2) = (row["size1"].as_u64().unwrap(), row["size2"].as_u64().unwrap());
        verify_consistency(size1, vector_hash(&row["root1"]), size2, vector_hash(&row["root2"]), proof)
    });
}

#[test]
fn conformance_tree_roots() {
    let Some(text) = conformance("tree_roots.json") else { return };
    let file: Value = serde_json::from_str(&text).unwrap();
    let leaves: Vec<TreeHash> = file["leaf_inputs_hex"]
        .as_array()
        .unwrap()
        .iter()
        .map(|input| leaf_hash(&hex::decode(input.as_str().unwrap()).unwrap()))
        .collect();
    let roots = file["root_hashes_hex"].as_array().unwrap();
    assert_eq!(roots.len(), leaves.len() + 1);
    for (size, known) in roots.iter().enumerate() {
        assert_eq!(root(&leaves[..size]).to_string(), known.as_str().unwrap(), "size {size}");
    }
}
