//! Addresses of hosts and networks: `inet`, `cidr`, `macaddr` and `macaddr8`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::invalid;
use crate::error::{Error, Result};

/// The address of a host, with the length of its network's prefix; or of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inet {
    /// IPv6
    pub v6: bool,
    /// The length of the network's prefix.
    pub bits: u8,
    /// The address, from the left; four bytes of IPv4.
    pub address: [u8; 16],
}

impl Inet {
    /// The length of an address.
    pub fn max_bits(&self) -> u8 {
        if self.v6 { 128 } else { 32 }
    }

    /// The bytes of the address.
    pub fn bytes(&self) -> &[u8] {
        &self.address[..usize::from(self.max_bits() / 8)]
    }

    /// Another address of the same family.
    pub(crate) fn with(self, value: u128, bits: u8) -> Inet {
        let value = if self.v6 { value } else { value << 96 };
        Inet { v6: self.v6, bits, address: value.to_be_bytes() }
    }

    /// The address as a number.
    pub(crate) fn value(&self) -> u128 {
        let value = u128::from_be_bytes(self.address);
        if self.v6 { value } else { value >> 96 }
    }

    /// All bits of an address.
    pub(crate) fn ones(&self) -> u128 {
        if self.v6 { u128::MAX } else { u32::MAX.into() }
    }

    /// The bits that are not of the network's prefix.
    pub(crate) fn host_mask(&self, bits: u8) -> u128 {
        let host = u32::from(self.max_bits() - bits.min(self.max_bits()));
        if host == 128 { u128::MAX } else { (1u128 << host) - 1 }
    }

    /// The address with zeros after the prefix.
    pub(crate) fn network(&self, bits: u8) -> u128 {
        self.value() & !self.host_mask(bits)
    }

    /// Whether nothing but zeros follows the prefix.
    pub fn is_network(&self) -> bool {
        self.network(self.bits) == self.value()
    }

    /// Whether the first bits are those of the other's address.
    pub(crate) fn shares(&self, other: &Inet, bits: u8) -> bool {
        self.v6 == other.v6 && self.network(bits) == other.network(bits)
    }

    /// The address without its prefix's length.
    pub fn host(&self) -> String {
        if !self.v6 {
            let [a, b, c, d, ..] = self.address;
            return Ipv4Addr::new(a, b, c, d).to_string();
        }
        let address = Ipv6Addr::from(self.address);
        let words = address.segments();
        if words[..6] == [0; 6] && words[6] != 0 {
            let [.., a, b, c, d] = self.address;
            return format!("::{}", Ipv4Addr::new(a, b, c, d));
        }
        address.to_string()
    }

    /// As the type `cidr` writes it.
    pub fn cidr(&self) -> String {
        format!("{}/{}", self.host(), self.bits)
    }

    /// A network without the zeros at its end.
    pub(crate) fn abbreviated(&self) -> String {
        if self.v6 {
            return abbreviated_v6(self);
        }
        let count = usize::from(self.bits.div_ceil(8)).max(1);
        let octets: Vec<String> = self.address[..count].iter().map(u8::to_string).collect();
        format!("{}/{}", octets.join("."), self.bits)
    }

    /// Reads an `inet`.
    ///
    /// # Errors
    /// 22P02
    pub fn parse(text: &str) -> Result<Inet> {
        let wrong = || invalid("22P02", "inet", text);
        let (address, bits) = split(text).ok_or_else(wrong)?;
        if address.contains(':') {
            return v6(address, bits).ok_or_else(wrong);
        }
        let octets = octets(address).ok_or_else(wrong)?;
        let bits = match bits {
            None if octets.len() == 4 => 32,
            Some(bits) if bits <= 32 && usize::from(bits / 8) <= octets.len() => bits,
            _ => return Err(wrong()),
        };
        Ok(v4(&octets, bits))
    }

    /// Reads a `cidr`.
    ///
    /// # Errors
    /// 22P02, also where bits to the right of the prefix are set.
    pub fn parse_cidr(text: &str) -> Result<Inet> {
        let wrong = || invalid("22P02", "cidr", text);
        let (address, bits) = split(text).ok_or_else(wrong)?;
        let network = if address.contains(':') {
            v6(address, bits).ok_or_else(wrong)?
        } else {
            let octets = octets(address).ok_or_else(wrong)?;
            let bits = match bits {
                Some(bits) if bits <= 32 => bits,
                Some(_) => return Err(wrong()),
                // The class of the address, but not less than what is written.
                None => {
                    let class = match octets[0] {
                        240.. => 32,
                        224.. => 8,
                        192.. => 24,
                        128.. => 16,
                        _ => 8,
                    };
                    match class.max(octets.len() as u8 * 8) {
                        8 if octets[0] == 224 => 4,
                        bits => bits,
                    }
                }
            };
            v4(&octets, bits)
        };
        if !network.is_network() {
            return Err(Error::postgres("22P02", format!("invalid cidr value: \"{text}\""))
                .with_detail("Value has bits set to right of mask."));
        }
        Ok(network)
    }

    /// Bytes that are ordered as addresses are: by family, by the prefix that they have in common,
    /// by its length, by the whole address.
    pub(crate) fn key(&self) -> Vec<u8> {
        let mut key = vec![u8::from(self.v6)];
        let value = u128::from_be_bytes(self.address);
        // A bit of the prefix is 01 or 10, its end 00.
        let mut byte = 0u8;
        let mut filled = 0;
        for at in 0..=u32::from(self.bits) {
            let pair =
                if at == u32::from(self.bits) { 0 } else { 1 + (value >> (127 - at) & 1) as u8 };
            byte |= pair << (6 - filled);
            filled += 2;
            if filled == 8 {
                key.push(byte);
                (byte, filled) = (0, 0);
            }
        }
        key.push(byte);
        key.extend_from_slice(self.bytes());
        key
    }
}

impl fmt::Display for Inet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bits == self.max_bits() {
            return f.write_str(&self.host());
        }
        f.write_str(&self.cidr())
    }
}

/// The address and the length after the slash.
fn split(text: &str) -> Option<(&str, Option<u8>)> {
    match text.split_once('/') {
        None => Some((text, None)),
        Some((address, bits)) => {
            let digits = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
            let bits = if digits { bits.parse().ok() } else { None };
            Some((address, Some(bits?)))
        }
    }
}

fn octets(text: &str) -> Option<Vec<u8>> {
    let octets: Vec<u8> = text
        .split('.')
        .map(|octet| {
            let digits = octet.bytes().all(|b| b.is_ascii_digit());
            if digits { octet.parse().ok() } else { None }
        })
        .collect::<Option<_>>()?;
    (octets.len() <= 4).then_some(octets)
}

fn v4(octets: &[u8], bits: u8) -> Inet {
    let mut address = [0; 16];
    address[..octets.len()].copy_from_slice(octets);
    Inet { v6: false, bits, address }
}

fn v6(address: &str, bits: Option<u8>) -> Option<Inet> {
    let bits = bits.unwrap_or(128);
    let address: Ipv6Addr = address.parse().ok()?;
    (bits <= 128).then(|| Inet { v6: true, bits, address: address.octets() })
}

fn abbreviated_v6(network: &Inet) -> String {
    if network.bits == 0 {
        return "::/0".to_owned();
    }
    let words = Ipv6Addr::from(network.address).segments();
    let count = usize::from(network.bits.div_ceil(16)).max(2);
    // The longest run of zero words, even of one word; the first of those.
    let zeros = |from: usize| words[from..count].iter().take_while(|w| **w == 0).count();
    let (mut start, mut run) = (0, 0);
    for at in 0..count {
        if zeros(at) > run {
            (start, run) = (at, zeros(at));
        }
    }
    let v4 = run != count
        && start == 0
        && (run == 6 || run == 5 && words[5] == 0xffff || run == 7 && words[7] >> 8 != 0);
    let mut text = String::new();
    for (at, word) in words[..count].iter().enumerate() {
        if run > 0 && (start..start + run).contains(&at) {
            text.push_str(if at == start { ":" } else { "" });
            text.push_str(if at == count - 1 { ":" } else { "" });
        } else if v4 && at > 5 {
            text.push_str(if at == 6 { ":" } else { "." });
            text.push_str(&(word >> 8).to_string());
            if at != 7 || network.bits > 120 {
                text.push_str(&format!(".{}", word & 0xff));
            }
        } else {
            text.push_str(if text.is_empty() { "" } else { ":" });
            text.push_str(&format!("{word:x}"));
        }
    }
    format!("{text}/{}", network.bits)
}

/// Reads a hardware address of six or, where the type has eight, of either length.
///
/// # Errors
/// 22P02
pub fn parse_mac(text: &str, ty: &str, eight: bool) -> Result<Vec<u8>> {
    let wrong = || invalid("22P02", ty, text);
    let body = super::number::trim(text);
    let mut digits = Vec::with_capacity(16);
    let separator = body.chars().find(|c| !c.is_ascii_hexdigit());
    match separator {
        None => digits.extend(body.bytes()),
        Some(separator @ (':' | '-' | '.')) => {
            let fields: Vec<&str> = body.split(separator).collect();
            // Pairs may leave out the zero that they begin with.
            let pairs = fields.len() == 6 || fields.len() == 8;
            for field in &fields {
                match field.len() {
                    1 if pairs && !eight => digits.extend([b'0', field.as_bytes()[0]]),
                    2 if pairs => digits.extend(field.bytes()),
                    length if !pairs && length >= 4 && length % 2 == 0 => {
                        digits.extend(field.bytes())
                    }
                    _ => return Err(wrong()),
                }
            }
        }
        Some(_) => return Err(wrong()),
    }
    let value = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    let mut bytes = Vec::with_capacity(8);
    for pair in digits.chunks(2) {
        let [high, low] = pair else { return Err(wrong()) };
        let (high, low) = (value(*high).ok_or_else(wrong)?, value(*low).ok_or_else(wrong)?);
        bytes.push(high << 4 | low);
    }
    match (bytes.len(), eight) {
        (6, false) | (8, true) => Ok(bytes),
        (6, true) => Ok(widened(&bytes)),
        _ => Err(wrong()),
    }
}

/// A hardware address of six bytes as one of eight.
pub(crate) fn widened(bytes: &[u8]) -> Vec<u8> {
    let (head, tail) = bytes.split_at(bytes.len().min(3));
    [head, &[0xff, 0xfe], tail].concat()
}

/// A hardware address as its type writes it.
pub fn mac(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
    pairs.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, shown) in [
            ("10.1.2.3", "10.1.2.3"),
            ("10.1.2.3/32", "10.1.2.3"),
            ("10.1.2.3/8", "10.1.2.3/8"),
            ("10.1/16", "10.1.0.0/16"),
            ("::1", "::1"),
            ("::ffff:1.2.3.4/120", "::ffff:1.2.3.4/120"),
            ("::1.2.3.4", "::1.2.3.4"),
            ("2001:DB8::0/64", "2001:db8::/64"),
        ] {
            assert_eq!(Inet::parse(text).unwrap().to_string(), shown);
        }
        for text in ["10.1", "10.1.2.3/33", "1.2.3.4.5/8", "1.2.3.256", "", "::/129", "x"] {
            assert_eq!(Inet::parse(text).unwrap_err().sqlstate(), "22P02", "{text}");
        }
        for (text, shown) in [("10", "10.0.0.0/8"), ("192.168.1", "192.168.1.0/24")] {
            assert_eq!(Inet::parse_cidr(text).unwrap().cidr(), shown);
        }
        assert!(Inet::parse_cidr("192.168.1.5/24").is_err());
    }

    #[test]
    fn keys_are_ordered_as_addresses_are() {
        let ascending = [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.1.2.3/8",
            "10.0.0.0/16",
            "10.0.0.0",
            "10.0.0.1",
            "192.168.1.5/24",
            "192.168.1.5",
            "::/0",
            "::1",
            "2001:db8::/32",
        ];
        let keys: Vec<_> = ascending.iter().map(|t| Inet::parse(t).unwrap().key()).collect();
        assert!(keys.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn hardware_addresses_are_read_in_every_form() {
        for text in ["08:00:2b:01:02:03", "08-00-2B-01-02-03", "08002b:010203", "0800.2b01.0203"] {
            assert_eq!(mac(&parse_mac(text, "macaddr", false).unwrap()), "08:00:2b:01:02:03");
        }
        let eight = parse_mac("08002b010203", "macaddr8", true).unwrap();
        assert_eq!(mac(&eight), "08:00:2b:ff:fe:01:02:03");
        assert!(parse_mac("08:00:2b:01:02", "macaddr", false).is_err());
    }
}
