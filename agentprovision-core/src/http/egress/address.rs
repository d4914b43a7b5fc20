//! Which addresses belong to the internet as a whole.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks that are somebody's own, or nobody's: the special-purpose registry
/// (<https://www.iana.org/assignments/iana-ipv4-special-registry>), multicast, and what is reserved.
const OWN_V4: &[([u8; 4], u32)] = &[
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

/// The same of IPv6 (<https://www.iana.org/assignments/iana-ipv6-special-registry>), within `2000::/3`, which is all that is
/// given out.
const OWN_V6: &[([u16; 8], u32)] = &[
    // Protocols of the IETF: Teredo, benchmarks, ORCHID and others.
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    ([0x2001, 0x0db8, 0, 0, 0, 0, 0, 0], 32),
    // 6to4 carries an IPv4 address that a relay goes on to.
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

/// Whether the address is one of the internet's, and not one of a network of somebody's own, of this machine, or of none.
/// One that carries another (`::ffff:0:0/96`, `64:ff9b::/96`) is what that is.
pub fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_global_v4(address),
        IpAddr::V6(address) => is_global_v6(address),
    }
}

fn is_global_v4(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    !OWN_V4.iter().any(|(network, length)| (bits ^ Ipv4Addr::from(*network).to_bits()) >> (32 - length) == 0)
}

fn is_global_v6(address: Ipv6Addr) -> bool {
    let carried = match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some((high, low)),
        _ => None,
    };
    if let Some((high, low)) = carried {
        return is_global_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    }
    let bits = address.to_bits();
    let within = |(network, length): &([u16; 8], u32)| {
        (bits ^ Ipv6Addr::from(*network).to_bits()) >> (128 - length) == 0
    };
    within(&([0x2000, 0, 0, 0, 0, 0, 0, 0], 3)) && !OWN_V6.iter().any(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_of_every_network_are_told_apart() {
        let own = "0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 127.255.255.255 \
            169.254.169.254 172.16.0.0 172.31.255.255 192.0.0.1 192.0.0.255 192.0.2.1 192.88.99.1 192.168.0.0 192.168.255.255 \
            198.18.0.0 198.19.255.255 198.51.100.7 203.0.113.7 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 \
            :: ::1 ::ffff:127.0.0.1 ::ffff:10.1.2.3 ::127.0.0.1 ::8.8.8.8 64:ff9b::7f00:1 64:ff9b::a01:203 64:ff9b:1::808:808 100::1 \
            2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:10::1 2001:20::1 2001:1ff:: 2001:db8::1 2002:7f00:1:: \
            2002:808:808:: 3fff::1 3fff:fff:: 5f00::1 fc00::1 fdff::1 fe80::1 fec0::1 ff02::1 ffff::1 4000::1";
        for address in own.split_whitespace() {
            assert!(!is_global(address.parse().unwrap()), "{address}");
        }
        let global = "1.0.0.0 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 \
            169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.3.0 192.88.98.1 192.167.255.255 \
            192.169.0.0 198.17.255.255 198.20.0.0 203.0.112.1 203.0.114.1 223.255.255.255 \
            ::ffff:8.8.8.8 64:ff9b::808:808 2000::1 2001:200::1 2001:4860:4860::8888 2001:db7::1 2001:db9::1 2003::1 2606:4700::1111 3ffe::1 3fff:1000::1";
        for address in global.split_whitespace() {
            assert!(is_global(address.parse().unwrap()), "{address}");
        }
    }
}
