//! Weighted rendezvous hashing.

use agentprovision_core::id::TenantId;
use sha2::{Digest as _, Sha256};

/// The shard of a tenant among shards, each a name and a weight above 0: the place in the list, or `None` for an empty
/// one.
///
/// Every shard draws a number `u` between 0 and 1 for the tenant, and the one with the highest `-weight / ln(u)` wins
/// (Thaler and Ravishankar's highest random weight, with Schindelhauer and Schomaker's logarithmic method for weights).
/// So a shard gets tenants in proportion to its weight, and when one is added, goes or changes its weight, only tenants
/// that it gets or loses are elsewhere. `u` is made of the first 53 bits of the SHA-256 of the name, a zero byte and the
/// tenant's UUID. The order of the list does not matter: of equal scores the smaller name wins. The logarithm is made of
/// basic operations alone, which are the same to the bit on every machine.
pub fn rendezvous<'a>(tenant: TenantId, shards: impl IntoIterator<Item = (&'a str, f64)>) -> Option<usize> {
    let mut best: Option<(f64, &str, usize)> = None;
    for (place, (name, weight)) in shards.into_iter().enumerate() {
        let score = -weight / ln(draw(tenant, name));
        if best.is_none_or(|(most, first, _)| score > most || (score == most && name < first)) {
            best = Some((score, name, place));
        }
    }
    best.map(|(_, _, place)| place)
}

/// A number between 0 and 1, without either.
fn draw(tenant: TenantId, name: &str) -> f64 {
    let digest: [u8; 32] = Sha256::new()
        .chain_update(name.as_bytes())
        .chain_update([0])
        .chain_update(tenant.uuid().as_bytes())
        .finalize()
        .into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    let bits = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 11;
    // 53 bits and a half: both fit, except beside 1, where the nearest smaller number is as good.
    ((bits as f64 + 0.5) / (1_u64 << 53) as f64).min(1.0 - f64::EPSILON / 2.0)
}

/// The natural logarithm of a number above 0: 2^e m, and the series of the inverse hyperbolic tangent for m.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i32 - 1023;
    let mut mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let square = z * z;
    let series = (0..14).rev().fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    f64::from(exponent) * std::f64::consts::LN_2 + 2.0 * z * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_the_logarithm() {
        for x in [
            f64::MIN_POSITIVE,
            2_f64.powi(-54),
            1e-9,
            0.1,
            0.5,
            0.7,
            0.9,
            0.999_999,
            1.0 - f64::EPSILON / 2.0,
        ] {
            let (ours, theirs) = (ln(x), x.ln());
            assert!((ours - theirs).abs() <= 4.0 * f64::EPSILON * theirs.abs(), "{x}: {ours} {theirs}");
        }
    }
}
