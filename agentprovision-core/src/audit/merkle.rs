//! RFC 6962.
use serde::{Deserialize, Serialize};
/// hash
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeHash([u8; 32]);
/// leaf
pub fn leaf_hash(bytes: &[u8]) -> TreeHash {
    TreeHash(crate::canonical::sha256(&[&[0], bytes]))
}
