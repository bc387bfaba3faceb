//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677), the server's side.
//!
//! ```text
//! client  n,,n=,r=C                       gs2 header and client-first-bare
//! server  r=CS,s=SALT,i=4096              server-first
//! client  c=biws,r=CS,p=PROOF             client-final
//! server  v=SIGNATURE                     server-final
//! ```
//!
//! What is kept of a password is a [`Verifier`]: enough to check a proof, not enough to make one.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};

use crate::error::{PgError, PgResult};

/// How often a password is hashed, as in PostgreSQL.
const ITERATIONS: u32 = 4096;
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 18;
const KEY_BYTES: usize = 32;
/// How a verifier's text begins.
const PREFIX: &str = "SCRAM-SHA-256$";

/// The mechanism without channel binding.
pub const PLAIN: &str = "SCRAM-SHA-256";
/// The mechanism with channel binding.
pub const PLUS: &str = "SCRAM-SHA-256-PLUS";
/// The one kind of channel binding.
const BINDING: &str = "tls-server-end-point";

/// What is kept of a password: `SCRAM-SHA-256$4096:salt$stored key:server key`.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    stored: [u8; KEY_BYTES],
    server: [u8; KEY_BYTES],
}

/// The text is not that of a verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no SCRAM-SHA-256 verifier")]
pub struct NoVerifier;

fn sign(key: &[u8], data: &[u8]) -> [u8; KEY_BYTES] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data);
    fixed(tag.as_ref())
}

fn hash(data: &[u8]) -> [u8; KEY_BYTES] {
    fixed(digest::digest(&digest::SHA256, data).as_ref())
}

fn fixed(bytes: &[u8]) -> [u8; KEY_BYTES] {
    let mut fixed = [0; KEY_BYTES];
    fixed.copy_from_slice(bytes);
    fixed
}

/// Compares in a time that does not tell where the difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differences) == 0
}

impl Verifier {
    /// The verifier of a password, with a salt of its own.
    pub fn of_password(password: &str) -> Self {
        let salt: [u8; SALT_BYTES] = rand::random();
        let iterations = NonZeroU32::new(ITERATIONS).unwrap_or(NonZeroU32::MIN);
        Self::derive(password, &salt, iterations)
    }

    fn derive(password: &str, salt: &[u8], iterations: NonZeroU32) -> Self {
        // What cannot be prepared is taken as it is, as PostgreSQL does.
        let prepared = stringprep::saslprep(password);
        let password = prepared.as_deref().unwrap_or(password);
        let mut salted = [0; KEY_BYTES];
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, iterations, salt, password.as_bytes(), &mut salted);
        let stored = hash(&sign(&salted, b"Client Key"));
        let server = sign(&salted, b"Server Key");
        Verifier { iterations, salt: salt.to_vec(), stored, server }
    }

    /// A verifier that no password fits, the same each time for one name: who tries a role that
    /// does not exist, or has no password, learns nothing.
    pub fn of_nobody(secret: &[u8], name: &str) -> Self {
        let salt = sign(secret, name.as_bytes())[..SALT_BYTES].to_vec();
        let iterations = NonZeroU32::new(ITERATIONS).unwrap_or(NonZeroU32::MIN);
        Verifier { iterations, salt, stored: rand::random(), server: rand::random() }
    }

    /// Whether the password is the one.
    pub fn fits(&self, password: &str) -> bool {
        same(&Self::derive(password, &self.salt, self.iterations).stored, &self.stored)
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (salt, stored) = (BASE64.encode(&self.salt), BASE64.encode(self.stored));
        let server = BASE64.encode(self.server);
        write!(f, "{PREFIX}{}:{salt}${stored}:{server}", self.iterations)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

impl FromStr for Verifier {
    type Err = NoVerifier;

    fn from_str(text: &str) -> Result<Self, NoVerifier> {
        let parts = || {
            let (first, keys) = text.strip_prefix(PREFIX)?.split_once('$')?;
            let (iterations, salt) = first.split_once(':')?;
            let (stored, server) = keys.split_once(':')?;
            let key = |text: &str| -> Option<[u8; KEY_BYTES]> {
                BASE64.decode(text).ok()?.try_into().ok()
            };
            Some(Verifier {
                iterations: iterations.parse().ok()?,
                salt: BASE64.decode(salt).ok()?,
                stored: key(stored)?,
                server: key(server)?,
            })
        };
        parts().ok_or(NoVerifier)
    }
}

/// What the client said of channel binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flag {
    /// `n`: it cannot.
    No,
    /// `y`: it could, and thinks that the server cannot.
    Yes,
    /// `p`: it does.
    Used,
}

/// An exchange after its first message.
pub struct Exchange {
    verifier: Verifier,
    flag: Flag,
    /// The hash of the server's certificate where the channel is bound.
    binding: Option<Vec<u8>>,
    nonce: String,
    first: String,
    /// The answer to the client's first message.
    pub server_first: String,
}

fn malformed(detail: impl Into<String>) -> PgError {
    PgError::fatal("08P01", "malformed SCRAM message").detail(detail)
}

fn attribute<'a>(text: &mut &'a str, name: char) -> PgResult<&'a str> {
    let (part, rest) = text.split_once(',').unwrap_or((text, ""));
    let mut chars = part.chars();
    if chars.next() != Some(name) || chars.next() != Some('=') {
        return Err(malformed(format!("Expected attribute \"{name}\".")));
    }
    *text = rest;
    Ok(&part[2..])
}

impl Exchange {
    /// Takes the client's first message. `end_point` is the hash of the server's certificate
    /// where the connection is encrypted and channel binding was offered.
    ///
    /// # Errors
    /// 08P01 for what is malformed, 28000 for a client that was led to believe that there is no
    /// channel binding.
    pub fn begin(
        verifier: Verifier,
        mechanism: &str,
        message: &str,
        end_point: Option<&[u8]>,
    ) -> PgResult<Self> {
        let plus = match (mechanism, end_point) {
            (PLAIN, _) => false,
            (PLUS, Some(_)) => true,
            _ => {
                let message = "client selected an invalid SASL authentication mechanism";
                return Err(PgError::fatal("08P01", message));
            }
        };
        let (flag, rest) =
            message.split_once(',').ok_or_else(|| malformed("The message ends early."))?;
        let (authorized, bare) =
            rest.split_once(',').ok_or_else(|| malformed("The message ends early."))?;
        let flag = match flag {
            "n" => Flag::No,
            "y" => Flag::Yes,
            flag => match flag.strip_prefix("p=") {
                Some(BINDING) => Flag::Used,
                Some(_) => {
                    let text = "unsupported SCRAM channel-binding type";
                    return Err(PgError::fatal("08P01", text));
                }
                None => return Err(malformed("Unexpected channel-binding flag.")),
            },
        };
        if plus != (flag == Flag::Used) {
            let text = if plus {
                "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include \
                 channel binding data."
            } else {
                "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message \
                 includes channel binding data."
            };
            return Err(malformed(text));
        }
        if flag == Flag::Yes && end_point.is_some() {
            let text = "SCRAM channel binding negotiation error";
            return Err(PgError::fatal("28000", text).detail(
                "The client supports SCRAM channel binding but thinks the server does not.  \
                 However, this server does support channel binding.",
            ));
        }
        if !authorized.is_empty() {
            let text = "client uses authorization identity, but it is not supported";
            return Err(PgError::fatal("0A000", text));
        }
        if bare.starts_with("m=") {
            let text = "client requires an unsupported SCRAM extension";
            return Err(PgError::fatal("0A000", text));
        }
        let mut parts = bare;
        // The startup packet has named the role; what stands here does not count.
        attribute(&mut parts, 'n')?;
        let client_nonce = attribute(&mut parts, 'r')?;
        if client_nonce.is_empty() || !client_nonce.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(malformed("Non-printable characters in SCRAM nonce."));
        }
        let own: [u8; NONCE_BYTES] = rand::random();
        let nonce = format!("{client_nonce}{}", BASE64.encode(own));
        let salt = BASE64.encode(&verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", verifier.iterations);
        let binding = plus.then(|| end_point.unwrap_or_default().to_vec());
        Ok(Exchange { verifier, flag, binding, nonce, first: bare.to_owned(), server_first })
    }

    /// Takes the client's last message. Gives the server's where the proof is right.
    ///
    /// # Errors
    /// 08P01 for what is malformed, 28000 where the channel's binding is not ours.
    pub fn finish(&self, message: &str) -> PgResult<Option<String>> {
        let (without_proof, proof) =
            message.rsplit_once(",p=").ok_or_else(|| malformed("There is no proof."))?;
        let mut parts = without_proof;
        let bound = attribute(&mut parts, 'c')?;
        let nonce = attribute(&mut parts, 'r')?;
        let mut expected = match self.flag {
            Flag::No => b"n,,".to_vec(),
            Flag::Yes => b"y,,".to_vec(),
            Flag::Used => format!("p={BINDING},,").into_bytes(),
        };
        expected.extend_from_slice(self.binding.as_deref().unwrap_or_default());
        if !same(bound.as_bytes(), BASE64.encode(&expected).as_bytes()) {
            return Err(match self.flag {
                Flag::Used => PgError::fatal("28000", "SCRAM channel binding check failed"),
                _ => PgError::fatal(
                    "08P01",
                    "unexpected SCRAM channel-binding attribute in client-final-message",
                ),
            });
        }
        if nonce != self.nonce {
            let text = "invalid SCRAM response";
            return Err(PgError::fatal("08P01", text).detail("Nonce does not match."));
        }
        let proof: [u8; KEY_BYTES] = BASE64
            .decode(proof)
            .ok()
            .and_then(|p| p.try_into().ok())
            .ok_or_else(|| malformed("Malformed proof in client-final-message."))?;
        let signed = format!("{},{},{without_proof}", self.first, self.server_first);
        let mut key = sign(&self.verifier.stored, signed.as_bytes());
        for (key, proof) in key.iter_mut().zip(proof) {
            *key ^= proof;
        }
        if !same(&hash(&key), &self.verifier.stored) {
            return Ok(None);
        }
        let signature = sign(&self.verifier.server, signed.as_bytes());
        Ok(Some(format!("v={}", BASE64.encode(signature))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's last message and the signature that it expects.
    fn client(password: &str, header: &[u8], bare: &str, server_first: &str) -> (String, String) {
        let mut parts = server_first;
        let nonce = attribute(&mut parts, 'r').unwrap();
        let salt = BASE64.decode(attribute(&mut parts, 's').unwrap()).unwrap();
        let iterations = attribute(&mut parts, 'i').unwrap().parse().unwrap();
        let mut salted = [0; KEY_BYTES];
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, iterations, &salt, password.as_bytes(), &mut salted);
        let key = sign(&salted, b"Client Key");
        let without = format!("c={},r={nonce}", BASE64.encode(header));
        let signed = format!("{bare},{server_first},{without}");
        let mut proof = sign(&hash(&key), signed.as_bytes());
        proof.iter_mut().zip(key).for_each(|(p, k)| *p ^= k);
        let signature = sign(&sign(&salted, b"Server Key"), signed.as_bytes());
        let signature = format!("v={}", BASE64.encode(signature));
        (format!("{without},p={}", BASE64.encode(proof)), signature)
    }

    fn attempt(verifier: Verifier, password: &str) -> Option<String> {
        let exchange = Exchange::begin(verifier, PLAIN, "n,,n=,r=abc", None).unwrap();
        let (last, expected) = client(password, b"n,,", "n=,r=abc", &exchange.server_first);
        let answer = exchange.finish(&last).unwrap();
        assert!(answer.is_none() || answer == Some(expected));
        answer
    }

    #[test]
    fn the_right_password_is_proven_and_a_wrong_one_is_not() {
        let verifier: Verifier = Verifier::of_password("open").to_string().parse().unwrap();
        assert!(attempt(verifier.clone(), "open").is_some());
        assert!(attempt(verifier.clone(), "Open").is_none());
        assert!(verifier.fits("open") && !verifier.fits(""));
    }

    #[test]
    fn nobody_proves_the_password_of_nobody_and_the_salt_stays() {
        let nobody = Verifier::of_nobody(b"secret", "ann");
        assert!(attempt(nobody.clone(), "").is_none());
        assert_eq!(Verifier::of_nobody(b"secret", "ann").salt, nobody.salt);
        assert_ne!(Verifier::of_nobody(b"secret", "bob").salt, nobody.salt);
    }

    #[test]
    fn a_channel_of_another_certificate_is_refused() {
        let verifier = Verifier::of_password("x");
        let begin = |end: &[u8]| {
            let message = "p=tls-server-end-point,,n=,r=abc";
            Exchange::begin(verifier.clone(), PLUS, message, Some(end)).unwrap()
        };
        for (end, code) in [(&b"hash"[..], None), (b"other", Some("28000"))] {
            let exchange = begin(end);
            let header = b"p=tls-server-end-point,,hash";
            let (last, _) = client("x", header, "n=,r=abc", &exchange.server_first);
            assert_eq!(exchange.finish(&last).err().map(|e| e.code), code);
        }
    }

    #[test]
    fn a_client_that_was_told_of_no_channel_binding_is_warned() {
        let verifier = Verifier::of_password("x");
        let begin = |mechanism, message, end| {
            Exchange::begin(verifier.clone(), mechanism, message, end).err().map(|e| e.code)
        };
        assert_eq!(begin(PLAIN, "y,,n=,r=abc", Some(&b"h"[..])), Some("28000"));
        assert_eq!(begin(PLAIN, "y,,n=,r=abc", None), None);
        assert_eq!(begin(PLUS, "n,,n=,r=abc", Some(&b"h"[..])), Some("08P01"));
        assert_eq!(begin(PLUS, "n,,n=,r=abc", None), Some("08P01"));
        assert_eq!(begin(PLAIN, "n,,r=abc", None), Some("08P01"));
        assert_eq!(begin(PLAIN, "n,a=b,n=,r=abc", None), Some("0A000"));
        assert_eq!(begin("MD5", "n,,n=,r=abc", None), Some("08P01"));
    }

    #[test]
    fn a_verifier_of_postgresql_is_read() {
        let text = "SCRAM-SHA-256$4096:3Hl1GbX9pmnf71wO1ZuhMQ==$pWAR2kpMUWmFAlnPGkMGpkFKJ04DwUqhZ\
                    xWRNcYZJLw=:9l0tU1eQV3GxNmwDhzC6OPxG3cxLlGfmKQiUqgKSHZo=";
        let text = text.replace(' ', "");
        assert_eq!(text.parse::<Verifier>().map(|v| v.to_string()), Ok(text));
        for wrong in ["md5abc", "SCRAM-SHA-256$4096:AA==$AA==:AA==", "SCRAM-SHA-256$0:$:"] {
            assert_eq!(wrong.parse::<Verifier>(), Err(NoVerifier));
        }
    }
}
