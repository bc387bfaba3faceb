//! The two things that a certificate (X.509, DER) is asked beside being valid.

use ring::digest::{self, Algorithm, SHA256, SHA384, SHA512};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT: u8 = 0x06;
const VERSION: u8 = 0xa0;

/// An element's tag and content, and what follows it.
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |n, &b| n << 8 | usize::from(b)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The content of an element of that tag, and what follows it.
fn expect(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    element(input).filter(|(t, ..)| *t == tag).map(|(_, content, rest)| (content, rest))
}

/// The elements of a content.
fn elements(mut input: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (tag, content, rest) = element(input)?;
        input = rest;
        Some((tag, content))
    })
}

/// The certificate's hash for channel binding (RFC 5929, `tls-server-end-point`): by the hash
/// function of its signature, but at least SHA-256. `None` where the signature has none.
pub(super) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (content, _) = expect(certificate, SEQUENCE)?;
    let (_, rest) = expect(content, SEQUENCE)?;
    let (signature, _) = expect(rest, SEQUENCE)?;
    let algorithm = hash_of(signature)?;
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}

fn hash_of(signature: &[u8]) -> Option<&'static Algorithm> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01];
    const ECDSA_SHA2: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    const SHA2: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
    let (object, parameters) = expect(signature, OBJECT)?;
    if object == ECDSA_SHA1 {
        return Some(&SHA256);
    }
    let (&last, family) = object.split_last()?;
    match (family, last) {
        // With MD5 and SHA-1.
        (RSA, 4 | 5) => Some(&SHA256),
        (RSA, 11) | (ECDSA_SHA2, 2) => Some(&SHA256),
        (RSA, 12) | (ECDSA_SHA2, 3) => Some(&SHA384),
        (RSA, 13) | (ECDSA_SHA2, 4) => Some(&SHA512),
        // RSASSA-PSS tells the hash function in its parameters; SHA-1 where it does not.
        (RSA, 10) => {
            let named = || {
                let (parameters, _) = expect(parameters, SEQUENCE)?;
                let (hash, _) = expect(parameters, 0xa0)?;
                let (hash, _) = expect(hash, SEQUENCE)?;
                let (object, _) = expect(hash, OBJECT)?;
                let (&last, family) = object.split_last()?;
                match (family, last) {
                    (SHA2, 2) => Some(&SHA384),
                    (SHA2, 3) => Some(&SHA512),
                    _ => Some(&SHA256),
                }
            };
            named().or(Some(&SHA256))
        }
        _ => None,
    }
}

/// The common name of whom the certificate is for.
pub(super) fn common_name(certificate: &[u8]) -> Option<String> {
    const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    let (content, _) = expect(certificate, SEQUENCE)?;
    let (content, _) = expect(content, SEQUENCE)?;
    // Serial number, signature, issuer, validity go before the subject.
    let (_, subject) = elements(content).filter(|(tag, _)| *tag != VERSION).nth(4)?;
    let values = elements(subject)
        .filter(|(tag, _)| *tag == SET)
        .flat_map(|(_, set)| elements(set))
        .filter_map(|(_, pair)| expect(pair, OBJECT));
    for (object, value) in values {
        if object == COMMON_NAME {
            let (_, text, _) = element(value)?;
            let text = std::str::from_utf8(text).ok()?;
            // A name that ends early for some and not for others is nobody's.
            return (!text.contains('\0')).then(|| text.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn the_common_name_and_the_hash_of_a_certificate_are_found() {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::OrganizationName, "somebody");
        params.distinguished_name.push(DnType::CommonName, "änn");
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(common_name(certificate.der()).as_deref(), Some("änn"));
        assert_eq!(end_point(certificate.der()).map(|h| h.len()), Some(48));
    }

    #[test]
    fn damaged_certificates_tell_nothing() {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["x".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        for end in 0..certificate.der().len() {
            assert_eq!(end_point(&certificate.der()[..end]), None);
            assert_eq!(common_name(&certificate.der()[..end]), None);
        }
    }
}
