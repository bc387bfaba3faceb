//! Who may connect from where, and how they prove who they are: rules in the manner of
//! `pg_hba.conf`. The first rule that fits a connection decides; without one it is refused.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Which connections a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All.
    Host,
    /// Encrypted ones.
    HostSsl,
    /// Those that are not.
    HostNoSsl,
}

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// It need not.
    Trust,
    /// It may not connect at all.
    Reject,
    /// SCRAM-SHA-256.
    Scram,
    /// The password in plain text; only encrypted or from this machine.
    Password,
    /// A certificate whose common name is the role.
    Certificate,
}

/// What else a rule asks of the client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// One that is signed by a known authority.
    VerifyCa,
    /// And with the role as its common name.
    VerifyFull,
}

/// The addresses of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// All.
    All,
    /// Those that begin with as many bits of the address.
    Prefix(IpAddr, u8),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which connections it is for.
    pub kind: Kind,
    /// Databases: `all`, `sameuser`, or names.
    pub databases: Vec<String>,
    /// Roles: `all`, names, or `+group` for the members of a role.
    pub users: Vec<String>,
    /// The client's addresses.
    pub network: Network,
    /// How the client proves who it is.
    pub method: Method,
    /// What else is asked of its certificate.
    pub client_certificate: Option<ClientCertificate>,
}

/// The rules, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

/// What a client says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// The role.
    pub user: &'a str,
    /// The database, without an instant.
    pub database: &'a str,
    /// Where it is; `None` for this process.
    pub peer: Option<SocketAddr>,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
}

impl Login<'_> {
    /// The client's address.
    pub fn address(&self) -> IpAddr {
        self.peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |p| p.ip().to_canonical())
    }
}

impl Default for Rules {
    fn default() -> Self {
        let rule = |network, method| Rule {
            kind: Kind::Host,
            databases: vec!["all".to_owned()],
            users: vec!["all".to_owned()],
            network,
            method,
            client_certificate: None,
        };
        let v4 = Network::Prefix(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);
        let v6 = Network::Prefix(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), 128);
        Rules(vec![
            rule(v4, Method::Trust),
            rule(v6, Method::Trust),
            rule(Network::All, Method::Scram),
        ])
    }
}

impl Rules {
    /// Reads rules as lines of `pg_hba.conf`, separated by line breaks or semicolons.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.split(['\n', ';']).map(|l| l.split('#').next().unwrap_or_default().trim());
        let rules: Result<Vec<Rule>, String> =
            lines.filter(|l| !l.is_empty()).map(Rule::parse).collect();
        let rules = rules?;
        if rules.is_empty() {
            return Err("there is no rule, so nobody could connect".to_owned());
        }
        Ok(Rules(rules))
    }

    /// The rules in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }

    /// The rule for a login. `member` tells whether the role is a member of another one.
    pub fn find(&self, login: &Login<'_>, member: impl Fn(&str) -> bool) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.fits(login, &member))
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, rule) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{rule}")?;
        }
        Ok(())
    }
}

fn unquoted(word: &str) -> String {
    word.trim_matches('"').to_owned()
}

fn names(list: &str) -> Vec<String> {
    list.split(',').filter(|n| !n.is_empty()).map(unquoted).collect()
}

impl Rule {
    fn parse(line: &str) -> Result<Rule, String> {
        let mut words = line.split_whitespace();
        let mut word = |what: &str| {
            words.next().ok_or_else(|| format!("the rule \"{line}\" ends before its {what}"))
        };
        let kind = match word("type")? {
            "host" => Kind::Host,
            "hostssl" => Kind::HostSsl,
            "hostnossl" => Kind::HostNoSsl,
            other => {
                return Err(format!(
                    "\"{other}\" is no type of a rule; it is host, hostssl or hostnossl"
                ));
            }
        };
        let databases = names(word("database")?);
        let users = names(word("user")?);
        let network = Network::parse(word("address")?)?;
        let method = match word("method")? {
            "trust" => Method::Trust,
            "reject" => Method::Reject,
            "scram-sha-256" => Method::Scram,
            "password" => Method::Password,
            "cert" => Method::Certificate,
            other => {
                return Err(format!(
                    "\"{other}\" is no method of a rule; it is scram-sha-256, password, cert, \
                     trust or reject"
                ));
            }
        };
        let mut client_certificate = None;
        for option in words {
            client_certificate = Some(match option {
                "clientcert=verify-ca" => ClientCertificate::VerifyCa,
                "clientcert=verify-full" => ClientCertificate::VerifyFull,
                other => return Err(format!("\"{other}\" is no option of a rule")),
            });
        }
        if databases.is_empty() || users.is_empty() {
            return Err(format!("the rule \"{line}\" names no database or no user"));
        }
        Ok(Rule { kind, databases, users, network, method, client_certificate })
    }

    fn fits(&self, login: &Login<'_>, member: &impl Fn(&str) -> bool) -> bool {
        let encryption = match self.kind {
            Kind::Host => true,
            Kind::HostSsl => login.encrypted,
            Kind::HostNoSsl => !login.encrypted,
        };
        let database = |name: &String| match name.as_str() {
            "all" => true,
            "sameuser" => login.database == login.user,
            name => login.database == name,
        };
        let user = |name: &String| match name.strip_prefix('+') {
            Some(group) => login.user == group || member(group),
            None => name == "all" || login.user == *name,
        };
        encryption
            && self.network.contains(login.address())
            && self.databases.iter().any(database)
            && self.users.iter().any(user)
    }

    /// Whether it asks for a certificate.
    pub fn wants_certificate(&self) -> bool {
        self.method == Method::Certificate || self.client_certificate.is_some()
    }
}

impl Kind {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Host => "host",
            Kind::HostSsl => "hostssl",
            Kind::HostNoSsl => "hostnossl",
        }
    }
}

impl Method {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Trust => "trust",
            Method::Reject => "reject",
            Method::Scram => "scram-sha-256",
            Method::Password => "password",
            Method::Certificate => "cert",
        }
    }
}

impl ClientCertificate {
    /// Its option.
    pub fn as_str(self) -> &'static str {
        match self {
            ClientCertificate::VerifyCa => "clientcert=verify-ca",
            ClientCertificate::VerifyFull => "clientcert=verify-full",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (databases, users) = (self.databases.join(","), self.users.join(","));
        let (kind, method) = (self.kind.as_str(), self.method.as_str());
        write!(f, "{kind} {databases} {users} {} {method}", self.network)?;
        match self.client_certificate {
            Some(option) => write!(f, " {}", option.as_str()),
            None => Ok(()),
        }
    }
}

fn bits(ip: IpAddr) -> (u128, u8) {
    match ip {
        IpAddr::V4(ip) => (u128::from(ip.to_bits()), 32),
        IpAddr::V6(ip) => (ip.to_bits(), 128),
    }
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Network::All);
        }
        let wrong = || format!("\"{text}\" is no address such as 10.0.0.0/8, ::1/128 or all");
        let (ip, length) = match text.split_once('/') {
            Some((ip, length)) => (ip, Some(length)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
        let (address, width) = bits(ip);
        let length: u8 = length.map_or(Ok(width), |l| l.parse().map_err(|_| wrong()))?;
        if length > width {
            return Err(wrong());
        }
        let rest = u32::from(width - length);
        if address & 1u128.checked_shl(rest).map_or(u128::MAX, |b| b - 1) != 0 {
            return Err(format!("\"{text}\" has bits beyond its length"));
        }
        Ok(Network::Prefix(ip, length))
    }

    /// Whether an address is one of them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let Network::Prefix(prefix, length) = self else { return true };
        let ((prefix, width), (ip, other)) = (bits(*prefix), bits(ip));
        let rest = u32::from(width - length);
        width == other && (prefix ^ ip).checked_shr(rest).unwrap_or(0) == 0
    }

    /// The address and the mask, as `pg_hba_file_rules` has them.
    pub fn address_and_mask(&self) -> (String, Option<String>) {
        let Network::Prefix(ip, length) = self else { return ("all".to_owned(), None) };
        let mask = |width: u8| u128::MAX.checked_shl(u32::from(width - length)).unwrap_or(0);
        let mask = match ip {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(mask(32) as u32)),
            IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::from_bits(mask(128))),
        };
        (ip.to_string(), Some(mask.to_string()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network::All => f.write_str("all"),
            Network::Prefix(ip, length) => write!(f, "{ip}/{length}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(rules: &Rules, user: &str, from: &str, encrypted: bool) -> Option<Method> {
        let peer = Some(SocketAddr::new(from.parse().unwrap(), 1));
        let login = Login { user, database: "chronos", peer, encrypted };
        rules.find(&login, |group| user == "ann" && group == "staff").map(|r| r.method)
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = Rules::parse(
            "host all eve 10.0.0.0/8 reject # not her\n\
             hostssl chronos,other +staff 10.1.0.0/16 cert\n\
             hostnossl sameuser all all trust; host all all ::/0 password",
        )
        .unwrap();
        assert_eq!(method(&rules, "eve", "10.1.2.3", true), Some(Method::Reject));
        assert_eq!(method(&rules, "ann", "10.1.2.3", true), Some(Method::Certificate));
        assert_eq!(method(&rules, "bob", "10.1.2.3", true), None);
        assert_eq!(method(&rules, "ann", "10.2.2.3", true), None);
        assert_eq!(method(&rules, "chronos", "10.2.2.3", false), Some(Method::Trust));
        assert_eq!(method(&rules, "bob", "2001:db8::1", true), Some(Method::Password));
    }

    #[test]
    fn by_default_loopback_is_trusted_and_others_need_a_password() {
        let rules = Rules::default();
        for (from, expected) in [
            ("127.0.0.1", Method::Trust),
            ("::1", Method::Trust),
            ("::ffff:127.0.0.2", Method::Trust),
            ("192.168.0.1", Method::Scram),
            ("fe80::1", Method::Scram),
        ] {
            assert_eq!(method(&rules, "x", from, false), Some(expected), "{from}");
        }
    }

    #[test]
    fn rules_show_as_they_are_read() {
        for text in [
            "host all all 127.0.0.0/8 trust; host all all all scram-sha-256",
            "hostssl a,b c,+d 10.0.0.1/32 cert; hostssl all all ::/0 trust clientcert=verify-full",
        ] {
            assert_eq!(Rules::parse(text).unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "local all all trust",
            "host all all 10.0.0.0/8 md5",
            "host all all 10.0.0.1/8 trust",
            "host all all 10.0.0.0/33 trust",
            "host all all trust",
            "host all all all trust map=x",
        ] {
            assert!(Rules::parse(wrong).is_err(), "{wrong}");
        }
        let network = Network::parse("10.0.0.0/8").unwrap();
        assert_eq!(network.address_and_mask(), ("10.0.0.0".into(), Some("255.0.0.0".into())));
    }
}
