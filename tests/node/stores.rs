//! Segments and backups in object stores of others: moto for S3, Azurite for Azure. Both are
//! looked for on the PATH (`tests/clients/stores.sh` installs them).

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chronos_tests::node::Options;
use chronos_tests::tools::{find, skipped};
use chronos_tests::{Answer, PATIENCE, TestNode};

/// A server that is killed with the test.
struct Server {
    process: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Server {
    fn start(program: &Path, args: impl Fn(u16) -> Vec<String>) -> Server {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
            listener.local_addr().expect("the port is known").port()
        };
        let process = Command::new(program)
            .args(args(port))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the store's server can be started");
        let server = Server { process, port };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "{} does not listen", program.display());
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }
}

/// Makes a bucket; moto looks at no signature.
fn make_bucket(port: u16, name: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("moto listens");
    let request = format!(
        "PUT /{name} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("moto takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("moto answers");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Writes, flushes, compacts, reads now and then, starts again, backs up.
async fn use_store(options: Options, backups: &str) {
    let mut node: TestNode = options.start();
    let client = node.connect().await;
    for statement in [
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t SELECT g, 'first' FROM generate_series(1, 1000) AS g(g)",
        "CALL chronos.flush()",
    ] {
        client.batch_execute(statement).await.expect(statement);
    }
    let moment = Answer::simple(&client, "SELECT chronos.last_commit_time()").await;
    let moment = moment.expect("the last commit is known").rows.remove(0).remove(0);
    let moment = moment.expect("the last commit is known");
    for statement in [
        "UPDATE t SET v = 'second' WHERE id % 2 = 0",
        "DELETE FROM t WHERE id > 900",
        "CALL chronos.flush('t')",
        "CALL chronos.compact('t')",
        "CALL chronos.check()",
    ] {
        client.batch_execute(statement).await.expect(statement);
    }
    let now = "SELECT count(*), count(*) FILTER (WHERE v = 'second') FROM t".to_owned();
    let then = format!("SELECT count(*), max(v) FROM t FOR SYSTEM_TIME AS OF '{moment}'");
    let mut expected = Vec::new();
    for query in [&now, &then] {
        let answer = Answer::simple(&client, query).await.expect("the table can be read");
        expected.push(answer.to_string());
    }
    assert!(expected[0].contains("900") && expected[0].contains("450"), "{expected:?}");
    assert!(expected[1].contains("1000") && expected[1].contains("first"), "{expected:?}");
    let uploads = Answer::simple(&client, "SELECT * FROM chronos.uploads WHERE state = 'failing'");
    assert!(uploads.await.expect("the uploads can be read").rows.is_empty());
    for statement in
        [format!("BACKUP DATABASE TO '{backups}'"), format!("VERIFY BACKUP '{backups}'")]
    {
        let answer = Answer::simple(&client, &statement).await.expect(&statement);
        assert_eq!(answer.rows.len(), 1, "{statement}: {answer}");
    }
    drop(client);
    for crash in [true, false] {
        if crash {
            node.crash()
        } else {
            node.restart()
        }
        let client = node.connect().await;
        for (query, expected) in [&now, &then].into_iter().zip(&expected) {
            let answer = Answer::simple(&client, query).await.expect("the table can be read");
            assert_eq!(&answer.to_string(), expected, "{query}");
        }
        let insert = "INSERT INTO t VALUES (1, 'taken')";
        assert!(client.batch_execute(insert).await.is_err(), "the key is taken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_holds_segments_and_backups() {
    let Some(moto) = find("moto_server") else {
        return skipped("s3_holds_segments_and_backups", "no moto_server on the PATH");
    };
    let server =
        Server::start(&moto, |port| vec!["-H".into(), "127.0.0.1".into(), format!("-p{port}")]);
    make_bucket(server.port, "bucket");
    let options = TestNode::options()
        .env("CHRONOS_STORE", "s3://bucket/some/prefix")
        .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", server.port))
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-east-1");
    use_store(options, "s3://bucket/backups").await;
}

/// Azurite's account, which everybody knows.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Makes a container: a signed request, which Python can make with what it brings.
const MAKE_CONTAINER: &str = r"
import base64, datetime, hashlib, hmac, sys, urllib.request
port, account, key, name = sys.argv[1:]
date = datetime.datetime.now(datetime.timezone.utc).strftime('%a, %d %b %Y %H:%M:%S GMT')
resource = f'/{account}/{account}/{name}\nrestype:container'
lines = ['PUT'] + [''] * 11 + [f'x-ms-date:{date}', 'x-ms-version:2021-08-06', resource]
signature = hmac.new(base64.b64decode(key), '\n'.join(lines).encode(), hashlib.sha256).digest()
request = urllib.request.Request(
    f'http://127.0.0.1:{port}/{account}/{name}?restype=container', method='PUT',
    headers={'x-ms-date': date, 'x-ms-version': '2021-08-06',
             'Authorization': f'SharedKey {account}:{base64.b64encode(signature).decode()}'})
assert urllib.request.urlopen(request).status == 201
";

#[tokio::test(flavor = "multi_thread")]
async fn azure_holds_segments_and_backups() {
    let name = "azure_holds_segments_and_backups";
    let (Some(azurite), Some(python)) = (find("azurite-blob"), find("python3")) else {
        return skipped(name, "no azurite-blob or python3 on the PATH");
    };
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let location = folder.path().display().to_string();
    let server = Server::start(&azurite, |port| {
        let args = ["--silent", "--skipApiVersionCheck", "--location", &location];
        let port = ["--blobPort".to_owned(), port.to_string()];
        args.iter().map(|&a| a.to_owned()).chain(port).collect()
    });
    let port = server.port.to_string();
    let made = Command::new(python)
        .args(["-c", MAKE_CONTAINER, &port, ACCOUNT, KEY, "container"])
        .output()
        .expect("python3 can be started");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let options = TestNode::options()
        .env("CHRONOS_STORE", "az://container/some/prefix")
        .env("AZURE_STORAGE_USE_EMULATOR", "true")
        .env("AZURITE_BLOB_STORAGE_URL", format!("http://127.0.0.1:{port}"));
    use_store(options, "az://container/backups").await;
}
