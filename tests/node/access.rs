//! Who may connect, how they prove it, and what a connection may cost.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use chronos_tests::answer::{Answer, sqlstate};
use chronos_tests::node::{Options, connect};
use chronos_tests::tools::{find, skipped};
use chronos_tests::{PATIENCE, TestNode};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio_postgres::Client;

const PASSWORD: &str = "open sesame";

fn guarded(rules: &str) -> Options {
    TestNode::options().env("CHRONOS_PASSWORD", PASSWORD).arg("--hba").arg(rules)
}

async fn login(node: &TestNode, user: &str, password: &str) -> Result<Client, String> {
    let mut config = node.config();
    config.user(user).password(password);
    connect(&config).await.map_err(|error| sqlstate(&error))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_lets_in_whom_it_belongs_to() {
    let mut node = guarded("host all all all scram-sha-256").start();
    let client = login(&node, "chronos", PASSWORD).await.expect("it is the password");
    assert_eq!(login(&node, "chronos", "wrong").await.err().as_deref(), Some("28P01"));
    assert_eq!(login(&node, "nobody", PASSWORD).await.err().as_deref(), Some("28P01"));
    client
        .batch_execute(
            "CREATE USER ann PASSWORD 'hush hush'; CREATE ROLE group1 PASSWORD 'hush hush';
             CREATE USER late PASSWORD 'hush hush' VALID UNTIL '2001-01-01';
             CREATE USER one PASSWORD 'hush hush' CONNECTION LIMIT 1; CREATE USER bare",
        )
        .await
        .expect("roles can be made");
    let ann = login(&node, "ann", "hush hush").await.expect("it is the password");
    assert!(ann.batch_execute("CREATE TABLE t (a int)").await.is_err());
    // A role's sessions begin with its settings.
    client
        .batch_execute("ALTER ROLE ann SET search_path = a, b; ALTER ROLE ann SET work_mem = '8MB'")
        .await
        .expect("a role can have settings");
    let ann = login(&node, "ann", "hush hush").await.expect("it is the password");
    let sql = "SELECT current_setting('search_path'), current_setting('work_mem')";
    let row = ann.query_one(sql, &[]).await.expect("settings can be asked");
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("a, b", "8MB"));
    for (user, code) in [("group1", "28000"), ("late", "28P01"), ("bare", "28P01")] {
        let error = login(&node, user, "hush hush").await.err();
        assert_eq!(error.as_deref(), Some(code), "{user}");
    }
    let first = login(&node, "one", "hush hush").await.expect("it is the password");
    assert_eq!(login(&node, "one", "hush hush").await.err().as_deref(), Some("53300"));
    drop(first);
    // The role's own password wins over the setting.
    client.batch_execute("ALTER ROLE chronos PASSWORD 'another'").await.expect("ALTER works");
    node.restart();
    login(&node, "chronos", "another").await.expect("it is the password");
    assert_eq!(login(&node, "chronos", PASSWORD).await.err().as_deref(), Some("28P01"));
    assert!(!node.stderr().contains("hush"), "{}", node.stderr());
    // Nor does any file hold one.
    let mut folders = vec![node.data_dir().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                for word in [&b"hush"[..], b"sesame"] {
                    let found = bytes.windows(word.len()).any(|w| w == word);
                    assert!(!found, "a password in {}", path.display());
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_decide_who_may_connect_and_are_shown() {
    let rules = "host all eve all reject; host chronos chronos 127.0.0.0/8 trust";
    let node = TestNode::options().arg("--hba").arg(rules).start();
    let client = node.connect().await;
    client.batch_execute("CREATE USER eve; CREATE USER ann").await.expect("roles can be made");
    for user in ["eve", "ann"] {
        assert_eq!(login(&node, user, "").await.err().as_deref(), Some("28000"), "{user}");
    }
    let sql = "SELECT line_number, type, user_name, address, netmask, auth_method \
               FROM pg_hba_file_rules";
    let answer = Answer::simple(&client, sql).await.expect("the rules are shown");
    let shown = "1|host|{eve}|all|NULL|reject\n2|host|{chronos}|127.0.0.0|255.0.0.0|trust\n";
    assert_eq!(answer.to_string(), shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_connections_are_for_superusers() {
    let node = TestNode::options()
        .arg("--connections-max")
        .arg("3")
        .arg("--connections-reserved")
        .arg("1")
        .start();
    let client = node.connect().await;
    client.batch_execute("CREATE USER ann").await.expect("a role can be made");
    let _ann = login(&node, "ann", "").await.expect("there is room");
    assert_eq!(login(&node, "ann", "").await.err().as_deref(), Some("53300"));
    let _last = login(&node, "chronos", "").await.expect("it is kept for this one");
    assert_eq!(login(&node, "chronos", "").await.err().as_deref(), Some("53300"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_see_each_other_as_far_as_they_may() {
    let node = TestNode::start();
    let client = node.connect().await;
    client.batch_execute("CREATE USER ann; CREATE USER bob").await.expect("roles can be made");
    let (ann, bob) = (login(&node, "ann", "").await, login(&node, "bob", "").await);
    let (ann, bob) = (ann.expect("she may"), bob.expect("he may"));
    ann.batch_execute("BEGIN").await.expect("BEGIN works");
    ann.batch_execute("ALTER ROLE ann PASSWORD 'hush hush'").await.expect("it is her own");
    let sql = "SELECT usename, state, query FROM pg_stat_activity WHERE usename = 'ann'";
    let hidden = "ann|NULL|<insufficient privilege>\n";
    let shown = "ann|idle in transaction|ALTER ROLE <password not shown>\n";
    assert_eq!(Answer::simple(&bob, sql).await.expect("it is shown").to_string(), hidden);
    assert_eq!(Answer::simple(&client, sql).await.expect("it is shown").to_string(), shown);
    client.batch_execute("GRANT pg_monitor TO bob").await.expect("GRANT works");
    assert_eq!(Answer::simple(&bob, sql).await.expect("it is shown").to_string(), shown);
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ann'";
    let error = bob.query(sql, &[]).await.expect_err("she is not his");
    assert_eq!(sqlstate(&error), "42501");
    client.batch_execute("GRANT pg_signal_backend TO bob").await.expect("GRANT works");
    bob.query(sql, &[]).await.expect("he may now");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(ann.is_closed());
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_are_let_go() {
    let node = TestNode::start();
    for (begin, limit, closed) in [
        ("", "SET idle_session_timeout = '200ms'", true),
        ("BEGIN", "SET idle_in_transaction_session_timeout = '200ms'", true),
        ("", "SET idle_in_transaction_session_timeout = '200ms'", false),
    ] {
        let client = node.connect().await;
        client.batch_execute(limit).await.expect("SET works");
        client.batch_execute(begin).await.expect("BEGIN works");
        tokio::time::sleep(Duration::from_millis(800)).await;
        assert_eq!(client.is_closed(), closed, "{begin} {limit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_beyond_its_memory_fails_and_others_go_on() {
    let node = TestNode::options().arg("--query-bytes-max").arg("4000000").start();
    let client = node.connect().await;
    let sql = "SELECT cardinality(array_agg(md5(a::text))) FROM generate_series(1, 300000) a";
    let error = client.query(sql, &[]).await.expect_err("it needs more");
    assert_eq!(sqlstate(&error), "53200", "{error:?}");
    let small = client.query_one("SELECT count(*) FROM generate_series(1, 1000)", &[]).await;
    assert_eq!(small.expect("a small query goes on").get::<_, i64>(0), 1000);
}

/// A folder with an authority, a certificate for the server and one for the role ann.
struct Certificates(tempfile::TempDir);

impl Certificates {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder can be made");
        let mut params = CertificateParams::new(vec![]).expect("no names are no problem");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().expect("a key can be made");
        let authority = CertifiedIssuer::self_signed(params, key).expect("it signs itself");
        let this = Certificates(dir);
        std::fs::write(this.path("ca.pem"), authority.pem()).expect("a file can be written");
        for (file, name) in [("server", "localhost"), ("ann", "ann")] {
            let mut params =
                CertificateParams::new(vec!["localhost".to_owned()]).expect("a name of a host");
            params.distinguished_name.push(DnType::CommonName, name);
            let key = KeyPair::generate().expect("a key can be made");
            let certificate = params.signed_by(&key, &authority).expect("the authority signs");
            let (pem, key_pem) = (certificate.pem(), key.serialize_pem());
            std::fs::write(this.path(&format!("{file}.pem")), pem).expect("a file can be written");
            let path = this.path(&format!("{file}.key"));
            std::fs::write(&path, key_pem).expect("a file can be written");
            // libpq takes no key that others can read.
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
                .expect("the mode can be set");
        }
        this
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn options(&self, rules: &str) -> Options {
        guarded(rules)
            .arg("--tls-cert-file")
            .arg(self.path("server.pem"))
            .arg("--tls-key-file")
            .arg(self.path("server.key"))
            .arg("--tls-client-ca-file")
            .arg(self.path("ca.pem"))
    }
}

fn psql(node: &TestNode, parameters: &str, sql: &str) -> Output {
    let port = node.address().port();
    let target =
        format!("host=localhost hostaddr=127.0.0.1 port={port} dbname=chronos {parameters}");
    Command::new("psql")
        .args(["-X", "-q", "-A", "-t", "-w", "-d", &target, "-c", sql])
        .env("PGPASSWORD", PASSWORD)
        .env("PGCONNECT_TIMEOUT", PATIENCE.as_secs().to_string())
        .output()
        .expect("psql can be started")
}

#[test]
fn psql_connects_encrypted_with_channel_binding_and_certificates() {
    if find("psql").is_none() {
        skipped(
            "psql_connects_encrypted_with_channel_binding_and_certificates",
            "psql is not on the PATH",
        );
        return;
    }
    let certificates = Certificates::new();
    let rules = "hostssl all ann all cert; hostssl all all all scram-sha-256; \
                 hostnossl all all all reject";
    let node = certificates.options(rules).start();
    let authority = certificates.path("ca.pem");
    let verify = format!("sslmode=verify-full sslrootcert={}", authority.display());
    let run = |parameters: &str, sql: &str| {
        let output = psql(&node, parameters, sql);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    };
    let chronos = format!("user=chronos {verify}");
    assert_eq!(run(&chronos, "SELECT current_user"), Ok("chronos".to_owned()));
    let bound = format!("{chronos} channel_binding=require");
    assert_eq!(run(&bound, "SHOW ssl"), Ok("on".to_owned()));
    assert_eq!(run(&bound, "CREATE USER ann"), Ok(String::new()));
    let rejected = run("user=chronos sslmode=disable", "SELECT 1").expect_err("it is in the clear");
    assert!(rejected.contains("no encryption"), "{rejected}");
    let certificate = format!(
        "sslcert={} sslkey={}",
        certificates.path("ann.pem").display(),
        certificates.path("ann.key").display()
    );
    let ann = run(&format!("user=ann {verify} {certificate}"), "SELECT current_user");
    assert_eq!(ann, Ok("ann".to_owned()));
    let none = run(&format!("user=ann {verify}"), "SELECT 1").expect_err("there is none");
    assert!(none.contains("valid client certificate"), "{none}");
    // SIGHUP loads the certificate again and ends nothing.
    node.signal("HUP");
    assert_eq!(run(&chronos, "SELECT 1"), Ok("1".to_owned()));
}

#[test]
fn a_bad_certificate_keeps_the_server_from_starting() {
    let certificates = Certificates::new();
    std::fs::write(certificates.path("server.key"), "nonsense").expect("a file can be written");
    let dir = tempfile::tempdir().expect("a folder can be made");
    let failure =
        certificates.options("host all all all scram-sha-256").start_on(&dir.path().join("data"));
    let failure = failure.expect_err("the key is none");
    assert!(failure.stderr.contains("--tls-key-file"), "{}", failure.stderr);
    let dir = tempfile::tempdir().expect("a folder can be made");
    let half = TestNode::options().arg("--tls-cert-file").arg(certificates.path("server.pem"));
    let failure = half.start_on(&dir.path().join("data")).expect_err("the key is missing");
    assert!(failure.stderr.contains("tls_key_file"), "{}", failure.stderr);
}
