//! What settings of access must have to do with one another.

use super::Config;
use crate::auth::hba::{Kind, Method};

/// The rules of `hba` as lines: strings, or tables such as
/// `{ type = "hostssl", database = "all", user = "ann", address = "10.0.0.0/8", method = "cert" }`.
pub(super) fn lines(rules: &[toml::Value]) -> Result<String, String> {
    let lines: Result<Vec<String>, String> = rules.iter().map(line).collect();
    Ok(lines?.join("\n"))
}

fn line(rule: &toml::Value) -> Result<String, String> {
    const PARTS: [(&str, &str); 5] = [
        ("type", "host"),
        ("database", "all"),
        ("user", "all"),
        ("address", "all"),
        ("method", "scram-sha-256"),
    ];
    let table = match rule {
        toml::Value::String(line) => return Ok(line.clone()),
        toml::Value::Table(table) => table,
        _ => return Err("a rule is a table or a line of text".to_owned()),
    };
    if let Some(other) =
        table.keys().find(|k| !PARTS.iter().any(|(p, _)| p == k) && *k != "clientcert")
    {
        return Err(format!("\"{other}\" is no part of a rule"));
    }
    let text = |name: &str, default: &str| match table.get(name) {
        None => Ok(default.to_owned()),
        Some(toml::Value::String(text)) if !text.contains([' ', '\n', ';', '#']) => {
            Ok(text.clone())
        }
        Some(toml::Value::Array(names)) => {
            let names: Option<Vec<&str>> = names.iter().map(toml::Value::as_str).collect();
            names.map(|n| n.join(",")).ok_or_else(|| format!("\"{name}\" of a rule is no text"))
        }
        Some(_) => Err(format!("\"{name}\" of a rule is no word")),
    };
    let parts: Result<Vec<String>, String> =
        PARTS.iter().map(|(name, default)| text(name, default)).collect();
    let mut line = parts?.join(" ");
    if table.contains_key("clientcert") {
        line.push_str(" clientcert=");
        line.push_str(&text("clientcert", "")?);
    }
    Ok(line)
}

/// The setting that does not fit the others, and why.
pub(super) fn check(config: &Config) -> Result<(), (&'static str, String)> {
    let (cert, key) = (&config.tls_cert_file, &config.tls_key_file);
    if cert.is_some() != key.is_some() {
        let (missing, given) = match cert {
            Some(_) => ("tls_key_file", "tls_cert_file"),
            None => ("tls_cert_file", "tls_key_file"),
        };
        return Err((missing, format!("it is needed together with {given}")));
    }
    if config.tls_client_ca_file.is_some() && cert.is_none() {
        let reason = "it is of use only together with tls_cert_file and tls_key_file";
        return Err(("tls_client_ca_file", reason.to_owned()));
    }
    for rule in config.hba.iter() {
        let wrong = if rule.kind == Kind::HostSsl && cert.is_none() {
            "needs tls_cert_file"
        } else if rule.method == Method::Certificate && rule.kind != Kind::HostSsl {
            "must be of type hostssl"
        } else if rule.client_certificate.is_some() && rule.kind == Kind::HostNoSsl {
            "is for connections that have no certificate"
        } else if rule.wants_certificate() && config.tls_client_ca_file.is_none() {
            "needs tls_client_ca_file"
        } else {
            continue;
        };
        return Err(("hba", format!("the rule \"{rule}\" {wrong}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let mut config = Config::default();
        config.read_toml(Path::new("x"), text).map_err(|e| e.to_string())?;
        check(&config).map_err(|(name, reason)| format!("{name}: {reason}"))?;
        Ok(config)
    }

    #[test]
    fn rules_are_tables_or_lines() {
        let config = read(
            "[[hba]]\ntype = \"host\"\nuser = [\"ann\", \"+staff\"]\naddress = \"10.0.0.0/8\"\n\
             [[hba]]\nmethod = \"reject\"\n",
        )
        .unwrap();
        let expected =
            "host all ann,+staff 10.0.0.0/8 scram-sha-256; host all all all reject".to_owned();
        assert_eq!(config.hba.to_string(), expected);
        let config = read("hba = [\"host all all ::1/128 trust\"]").unwrap();
        assert_eq!(config.hba.to_string(), "host all all ::1/128 trust");
        assert!(read("[[hba]]\nadress = \"x\"").unwrap_err().contains("adress"));
        assert!(read("[[hba]]\nuser = \"a b\"").is_err());
    }

    #[test]
    fn what_needs_a_certificate_says_so() {
        assert!(read("tls_cert_file = \"x\"").unwrap_err().starts_with("tls_key_file"));
        assert!(read("tls_key_file = \"x\"").unwrap_err().starts_with("tls_cert_file"));
        let tls = "tls_cert_file = \"c\"\ntls_key_file = \"k\"\n";
        assert!(read("hba = \"hostssl all all all trust\"").unwrap_err().contains("tls_cert_file"));
        let cert = format!("{tls}hba = \"hostssl all all all cert\"");
        assert!(read(&cert).unwrap_err().contains("tls_client_ca_file"));
        let config = read(&format!("{cert}\ntls_client_ca_file = \"a\"")).unwrap();
        assert_eq!(config.tls_files().map(|f| f.cert), Some(PathBuf::from("c")));
    }

    #[test]
    fn a_password_is_not_shown() {
        let config = read("password = \"open\"").unwrap();
        assert_eq!(config.password.reveal(), "open");
        assert!(!format!("{config:?}").contains("open"));
        assert!(config.settings().all(|(_, value)| !value.contains("open")));
    }
}
