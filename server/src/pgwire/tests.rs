//! The protocol over real sockets, with an executor that knows a handful of statements.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chronos_catalog::SqlType;
use datafusion::arrow::array::{Int32Array, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::listener::{Limits, SessionFactory, StartupParameters, serve_with};
use crate::auth::Challenge;
use crate::auth::scram::Verifier;
use crate::error::{PgError, PgResult};
use crate::session::api::{
    CopyFormat, CopyIn, CopyOptions, Description, Executor, FieldDescription, Response,
    TextSettings, TransactionStatus,
};

/// What happened in the sessions of a test.
type Log = Arc<Mutex<Vec<String>>>;

#[derive(Clone)]
struct Factory {
    log: Log,
}

struct Fake {
    log: Log,
    status: TransactionStatus,
    token: CancellationToken,
    notify: bool,
}

#[async_trait]
impl SessionFactory for Factory {
    type Session = Fake;

    fn challenge(&self, startup: &StartupParameters) -> PgResult<Challenge> {
        let tls = startup.tls.as_ref();
        Ok(match startup.user.as_str() {
            "scram" => Challenge::Scram(Verifier::of_password("open")),
            "plain" => Challenge::Password(Verifier::of_password("open")),
            "named" if tls.and_then(|tls| tls.client_name.as_deref()) != Some("named") => {
                return Err(PgError::new("28000", "no certificate"));
            }
            _ => Challenge::Trust,
        })
    }

    async fn connect(&self, startup: StartupParameters) -> PgResult<Fake> {
        if startup.database == "nowhere" {
            return Err(PgError::new("3D000", "database \"nowhere\" does not exist"));
        }
        Ok(Fake {
            log: Arc::clone(&self.log),
            status: TransactionStatus::Idle,
            token: CancellationToken::new(),
            notify: startup.user == "listener",
        })
    }
}

/// A result of one `int4` column that counts from 1.
fn count(to: i32) -> (Arc<[FieldDescription]>, crate::session::api::RowStream) {
    let fields = Arc::from([field("n", SqlType::Int4)]);
    let batches = (0..to.max(0)).step_by(1000).map(move |from| {
        let values: Int32Array = (from + 1..=to.min(from + 1000)).map(Some).collect();
        batch(&[("n", SqlType::Int4)], vec![Arc::new(values)])
    });
    (fields, futures::stream::iter(batches).boxed())
}

fn field(name: &str, ty: SqlType) -> FieldDescription {
    FieldDescription { name: name.to_owned(), table_oid: 0, column: 0, ty }
}

fn batch(
    columns: &[(&str, SqlType)],
    arrays: Vec<datafusion::arrow::array::ArrayRef>,
) -> PgResult<RecordBatch> {
    let fields: Vec<_> = columns.iter().map(|(name, ty)| ty.field(name, true)).collect();
    let rows = arrays.first().map_or(0, |a| a.len());
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(PgError::internal)
}

struct Sink {
    log: Log,
    fields: Vec<FieldDescription>,
    options: CopyOptions,
    rows: usize,
}

#[async_trait]
impl CopyIn for Sink {
    fn fields(&self) -> &[FieldDescription] {
        &self.fields
    }

    fn options(&self) -> &CopyOptions {
        &self.options
    }

    async fn rows(&mut self, batch: RecordBatch) -> PgResult<()> {
        self.rows += batch.num_rows();
        Ok(())
    }

    async fn finish(self: Box<Self>) -> PgResult<String> {
        self.log.lock().push(format!("copied {}", self.rows));
        Ok(format!("COPY {}", self.rows))
    }
}

fn text_options() -> CopyOptions {
    CopyOptions {
        format: CopyFormat::Text,
        delimiter: b'\t',
        null: "\\N".to_owned(),
        header: false,
        header_match: false,
        quote: b'"',
        escape: b'"',
        force_quote: vec![],
        force_not_null: vec![],
        force_null: vec![],
    }
}

#[async_trait]
impl Executor for Fake {
    type Statement = String;

    fn parse(&mut self, sql: &str) -> PgResult<Vec<String>> {
        if sql.contains("syntax") {
            let mut error = PgError::new("42601", "syntax error");
            error.position = Some(1);
            return Err(error);
        }
        Ok(sql.split(';').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect())
    }

    async fn describe(
        &mut self,
        statement: &String,
        types: &[Option<SqlType>],
    ) -> PgResult<Description> {
        let parameters = (0..statement.matches('$').count())
            .map(|i| types.get(i).cloned().flatten().unwrap_or(SqlType::Int4))
            .collect();
        let rows = statement.starts_with("count") || statement == "endless";
        let fields = rows.then(|| Arc::from([field("n", SqlType::Int4)]));
        Ok(Description { parameters, fields })
    }

    async fn execute(
        &mut self,
        statement: &String,
        parameters: Vec<ScalarValue>,
    ) -> PgResult<Response> {
        self.log.lock().push(statement.clone());
        if self.status == TransactionStatus::Failed && statement != "rollback" {
            return Err(PgError::new("25P02", "current transaction is aborted"));
        }
        let mut words = statement.split(' ');
        Ok(match (words.next(), words.next()) {
            (Some("begin"), _) => {
                self.status = TransactionStatus::InBlock;
                Response::Complete("BEGIN".to_owned())
            }
            (Some("rollback"), _) => {
                self.status = TransactionStatus::Idle;
                Response::Complete("ROLLBACK".to_owned())
            }
            (Some("count"), Some(n)) => {
                let n = match parameters.first() {
                    Some(ScalarValue::Int32(Some(n))) => *n,
                    _ => n.parse().map_err(|_| PgError::new("22P02", "no number"))?,
                };
                let (fields, rows) = count(n);
                Response::Rows { fields, rows, tag: "SELECT".to_owned() }
            }
            (Some("endless"), _) => {
                let fields = Arc::from([field("n", SqlType::Int4)]);
                let rows = futures::stream::pending().boxed();
                Response::Rows { fields, rows, tag: "SELECT".to_owned() }
            }
            (Some("wait"), _) => {
                self.token.cancelled().await;
                return Err(super::cancel::canceled());
            }
            (Some("panic"), _) => panic!("as asked"),
            (Some("copyin"), _) => Response::CopyIn(Box::new(Sink {
                log: Arc::clone(&self.log),
                fields: vec![field("a", SqlType::Int4), field("b", SqlType::Text)],
                options: text_options(),
                rows: 0,
            })),
            (Some("copyout"), _) => {
                let (fields, rows) = count(3);
                Response::CopyOut { fields, rows, options: text_options() }
            }
            (Some("fail"), _) => return Err(PgError::new("22012", "division by zero")),
            _ => Response::Complete("OK".to_owned()),
        })
    }

    async fn begin_implicit(&mut self) -> PgResult<()> {
        self.log.lock().push("(".to_owned());
        Ok(())
    }

    async fn end_implicit(&mut self, failed: bool) -> PgResult<()> {
        self.log.lock().push(if failed { ")!" } else { ")" }.to_owned());
        Ok(())
    }

    fn watch(&mut self, token: CancellationToken) {
        self.token = token;
    }

    fn failed(&mut self) {
        if self.status == TransactionStatus::InBlock {
            self.status = TransactionStatus::Failed;
        }
    }

    fn status(&self) -> TransactionStatus {
        self.status
    }

    fn text_settings(&self) -> TextSettings {
        TextSettings {
            time_zone: chrono_tz::Tz::UTC,
            interval_style: "postgres".to_owned(),
            bytea_escape: false,
            extra_float_digits: 1,
            date_style: "ISO, MDY".to_owned(),
            now: None,
        }
    }

    fn take_notices(&mut self) -> Vec<PgError> {
        Vec::new()
    }

    fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        Vec::new()
    }

    async fn next_notification(&mut self) -> (i32, String, String) {
        if std::mem::take(&mut self.notify) {
            return (7, "channel".to_owned(), "hello".to_owned());
        }
        std::future::pending().await
    }
}

/// A server that ends with the test.
pub(super) struct Server {
    pub(super) port: u16,
    log: Log,
    shutdown: CancellationToken,
}

impl Server {
    async fn start() -> Server {
        Self::start_with(Limits::default()).await
    }

    async fn start_with(limits: Limits) -> Server {
        Self::start_secured(limits, None).await
    }

    pub(super) async fn start_secured(limits: Limits, tls: Option<Arc<super::tls::Tls>>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (log, shutdown) = (Log::default(), CancellationToken::new());
        let factory = Factory { log: Arc::clone(&log) };
        tokio::spawn(serve_with(listener, factory, limits, tls, shutdown.clone()));
        Server { port, log, shutdown }
    }

    pub(super) async fn socket(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    async fn connect(&self) -> Client {
        let mut client = Client { socket: self.socket().await, key: (0, 0) };
        client.start("user\0test\0").await;
        let greeting = client.until(b"Z").await;
        let key = &greeting.iter().find(|m| m.0 == b'K').unwrap().1;
        client.key = (
            i32::from_be_bytes(key[..4].try_into().unwrap()),
            i32::from_be_bytes(key[4..].try_into().unwrap()),
        );
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

struct Client {
    socket: TcpStream,
    key: (i32, i32),
}

impl Client {
    async fn start(&mut self, parameters: &str) {
        let mut packet = 196_608u32.to_be_bytes().to_vec();
        packet.extend_from_slice(parameters.as_bytes());
        packet.push(0);
        self.socket.write_u32(packet.len() as u32 + 4).await.unwrap();
        self.socket.write_all(&packet).await.unwrap();
    }

    async fn send(&mut self, messages: &[(u8, &[u8])]) {
        let mut bytes = Vec::new();
        for (kind, body) in messages {
            bytes.push(*kind);
            bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
            bytes.extend_from_slice(body);
        }
        self.socket.write_all(&bytes).await.unwrap();
    }

    /// The messages up to one of these types.
    async fn until(&mut self, last: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut messages = Vec::new();
        let read = async {
            loop {
                let kind = self.socket.read_u8().await.unwrap();
                let length = self.socket.read_u32().await.unwrap() as usize;
                let mut body = vec![0; length - 4];
                self.socket.read_exact(&mut body).await.unwrap();
                messages.push((kind, body));
                if last.contains(&kind) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), read).await.expect("an answer in time");
        messages
    }

    /// Sends messages and gives the answers up to ReadyForQuery in short: their types, with the
    /// tag, the SQLSTATE or the status.
    async fn ask(&mut self, messages: &[(u8, &[u8])]) -> String {
        self.send(messages).await;
        short(&self.until(b"Z").await)
    }

    async fn query(&mut self, sql: &str) -> String {
        self.ask(&[(b'Q', format!("{sql}\0").as_bytes())]).await
    }
}

fn short(messages: &[(u8, Vec<u8>)]) -> String {
    let mut words = Vec::new();
    for (kind, body) in messages {
        words.push(match kind {
            b'C' => format!("C:{}", String::from_utf8_lossy(&body[..body.len() - 1])),
            b'E' => format!("E:{}", code(body)),
            b'Z' => format!("Z:{}", char::from(body[0])),
            b'd' => format!("d:{}", String::from_utf8_lossy(body).trim_end()),
            kind => char::from(*kind).to_string(),
        });
    }
    // Long results are counted.
    let mut out: Vec<String> = Vec::new();
    let mut rows = 0;
    for word in words {
        if word == "D" {
            rows += 1;
            continue;
        }
        if rows > 0 {
            out.push(format!("D*{rows}"));
            rows = 0;
        }
        out.push(word);
    }
    out.join(" ")
}

fn code(body: &[u8]) -> String {
    body.split(|b| *b == 0)
        .find_map(|f| f.strip_prefix(b"C"))
        .map(|c| String::from_utf8_lossy(c).into_owned())
        .unwrap_or_default()
}

fn parse(name: &str, sql: &str) -> Vec<u8> {
    format!("{name}\0{sql}\0\0\0").into_bytes()
}

/// Bind of the portal to the statement, with text parameters and text results.
fn bind(portal: &str, statement: &str, parameters: &[&str]) -> Vec<u8> {
    let mut body = format!("{portal}\0{statement}\0\0\0").into_bytes();
    body.extend_from_slice(&(parameters.len() as u16).to_be_bytes());
    for value in parameters {
        body.extend_from_slice(&(value.len() as u32).to_be_bytes());
        body.extend_from_slice(value.as_bytes());
    }
    body.extend_from_slice(&[0, 0]);
    body
}

fn execute(portal: &str, rows: i32) -> Vec<u8> {
    let mut body = format!("{portal}\0").into_bytes();
    body.extend_from_slice(&rows.to_be_bytes());
    body
}

#[tokio::test]
async fn a_client_is_greeted_with_the_settings_of_postgresql_15() {
    let server = Server::start().await;
    let mut client = Client { socket: server.socket().await, key: (0, 0) };
    // SSLRequest is answered before anything else.
    client.socket.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await.unwrap();
    assert_eq!(client.socket.read_u8().await.unwrap(), b'N');
    client.start("user\0test\0").await;
    let greeting = client.until(b"Z").await;
    let statuses: Vec<String> = greeting
        .iter()
        .filter(|m| m.0 == b'S')
        .map(|m| String::from_utf8_lossy(&m.1).into_owned())
        .collect();
    assert_eq!(statuses.len(), 13);
    assert!(statuses.contains(&"server_version\x0015.8\0".to_owned()));
    assert!(statuses.contains(&"session_authorization\0test\0".to_owned()));
    assert_eq!(greeting.first().unwrap().0, b'R');
}

#[tokio::test]
async fn a_newer_minor_version_is_negotiated_down() {
    let server = Server::start().await;
    let mut client = Client { socket: server.socket().await, key: (0, 0) };
    let body = b"\0\x03\0\x02user\0test\0_pq_.new\0on\0\0";
    client.socket.write_u32(body.len() as u32 + 4).await.unwrap();
    client.socket.write_all(body).await.unwrap();
    let greeting = client.until(b"Z").await;
    assert_eq!(greeting[0].0, b'v');
    assert_eq!(greeting[0].1, b"\0\x03\0\0\0\0\0\x01_pq_.new\0");
}

#[tokio::test]
async fn a_session_that_is_refused_ends_with_a_fatal_error() {
    let server = Server::start().await;
    let mut client = Client { socket: server.socket().await, key: (0, 0) };
    client.start("user\0test\0database\0nowhere\0").await;
    let answer = client.until(b"E").await;
    let answer = answer.last().unwrap();
    assert_eq!(code(&answer.1), "3D000");
    assert!(answer.1.starts_with(b"SFATAL\0"));
    assert_eq!(client.socket.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_refused_and_free_their_place() {
    let server =
        Server::start_with(Limits { connections: 1, reserved: 0, ..Limits::default() }).await;
    let first = server.connect().await;
    let mut second = Client { socket: server.socket().await, key: (0, 0) };
    second.start("user\0test\0").await;
    assert_eq!(code(&second.until(b"E").await[0].1), "53300");
    drop(first);
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.connect().await;
}

#[tokio::test]
async fn statements_of_one_query_are_one_transaction_and_stop_at_the_first_error() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    assert_eq!(client.query("count 2").await, "T D*2 C:SELECT 2 Z:I");
    assert_eq!(client.query("").await, "I Z:I");
    assert_eq!(client.query("a; count 1; b").await, "C:OK T D*1 C:SELECT 1 C:OK Z:I");
    assert_eq!(client.query("a; fail; b").await, "C:OK E:22012 Z:I");
    assert_eq!(client.query("syntax").await, "E:42601 Z:I");
    let log = server.log.lock().join(" ");
    assert_eq!(log, "count 2 ( a count 1 b ) ( a fail )!");
}

#[tokio::test]
async fn a_failed_block_is_shown_in_the_status() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    assert_eq!(client.query("begin").await, "C:BEGIN Z:T");
    assert_eq!(client.query("fail").await, "E:22012 Z:E");
    assert_eq!(client.query("count 1").await, "E:25P02 Z:E");
    assert_eq!(client.query("rollback").await, "C:ROLLBACK Z:I");
}

#[tokio::test]
async fn a_prepared_statement_is_described_bound_and_executed() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let answer = client
        .ask(&[
            (b'P', &parse("s", "count $1")),
            (b'D', b"Ss\0"),
            (b'B', &bind("", "s", &["3"])),
            (b'D', b"P\0"),
            (b'E', &execute("", 0)),
            (b'S', b""),
        ])
        .await;
    assert_eq!(answer, "1 t T 2 T D*3 C:SELECT 3 Z:I");
    // Named once, it stays; a second of its name is refused.
    let again = client.ask(&[(b'P', &parse("s", "count 1")), (b'S', b"")]).await;
    assert_eq!(again, "E:42P05 Z:I");
    let closed = client.ask(&[(b'C', b"Ss\0"), (b'P', &parse("s", "count 1")), (b'S', b"")]).await;
    assert_eq!(closed, "3 1 Z:I");
    let unknown = client.ask(&[(b'B', &bind("", "x", &[])), (b'S', b"")]).await;
    assert_eq!(unknown, "E:26000 Z:I");
    let unknown = client.ask(&[(b'E', &execute("p", 0)), (b'S', b"")]).await;
    assert_eq!(unknown, "E:34000 Z:I");
}

#[tokio::test]
async fn an_error_skips_to_sync() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let answer = client
        .ask(&[
            (b'P', &parse("", "a")),
            (b'B', &bind("", "", &[])),
            (b'E', &execute("", 0)),
            (b'P', &parse("", "fail")),
            (b'B', &bind("", "", &[])),
            (b'E', &execute("", 0)),
            (b'P', &parse("", "b")),
            (b'B', &bind("", "", &[])),
            (b'E', &execute("", 0)),
            (b'S', b""),
        ])
        .await;
    assert_eq!(answer, "1 2 C:OK 1 2 E:22012 Z:I");
    assert_eq!(server.log.lock().join(" "), "( a fail )!");
    let bad = client
        .ask(&[(b'P', &parse("", "count $1")), (b'B', &bind("", "", &["x"])), (b'S', b"")])
        .await;
    assert_eq!(bad, "1 E:22P02 Z:I");
    let few = client
        .ask(&[(b'P', &parse("", "count $1")), (b'B', &bind("", "", &[])), (b'S', b"")])
        .await;
    assert_eq!(few, "1 E:08P01 Z:I");
}

#[tokio::test]
async fn a_portal_gives_its_rows_in_portions_until_its_transaction_ends() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.query("begin").await;
    let first = client
        .ask(&[
            (b'P', &parse("", "count 2500")),
            (b'B', &bind("p", "", &[])),
            (b'E', &execute("p", 1500)),
            (b'S', b""),
        ])
        .await;
    assert_eq!(first, "1 2 D*1500 s Z:T");
    let rest = client.ask(&[(b'E', &execute("p", 1500)), (b'S', b"")]).await;
    assert_eq!(rest, "D*1000 C:SELECT 1000 Z:T");
    let none = client.ask(&[(b'E', &execute("p", 0)), (b'S', b"")]).await;
    assert_eq!(none, "C:SELECT 0 Z:T");
    client.query("rollback").await;
    let gone = client.ask(&[(b'E', &execute("p", 0)), (b'S', b"")]).await;
    assert_eq!(gone, "E:34000 Z:I");
}

#[tokio::test]
async fn what_runs_is_cancelled_by_its_secret() {
    let server = Server::start().await;
    for sql in ["endless", "wait"] {
        let mut client = server.connect().await;
        client.send(&[(b'Q', format!("{sql}\0").as_bytes())]).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut other = server.socket().await;
        other.write_all(&[0, 0, 0, 16, 4, 210, 22, 46]).await.unwrap();
        other.write_i32(client.key.0).await.unwrap();
        other.write_i32(client.key.1).await.unwrap();
        let answer = short(&client.until(b"Z").await);
        assert!(answer.ends_with("E:57014 Z:I"), "{answer}");
        assert_eq!(client.query("count 1").await, "T D*1 C:SELECT 1 Z:I");
    }
}

#[tokio::test]
async fn a_panic_ends_its_own_session_only() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let mut other = server.connect().await;
    client.send(&[(b'Q', b"panic\0")]).await;
    assert_eq!(client.socket.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(other.query("count 1").await, "T D*1 C:SELECT 1 Z:I");
}

#[tokio::test]
async fn a_notification_reaches_an_idle_client() {
    let server = Server::start().await;
    let mut client = Client { socket: server.socket().await, key: (0, 0) };
    client.start("user\0listener\0").await;
    client.until(b"Z").await;
    let message = client.until(b"A").await;
    assert_eq!(message[0].1, b"\0\0\0\x07channel\0hello\0");
}

#[tokio::test]
async fn a_password_is_asked_for_and_checked() {
    let server = Server::start().await;
    for (password, answer) in [("open", "Z"), ("Open", "E"), ("", "E")] {
        let mut client = Client { socket: server.socket().await, key: (0, 0) };
        client.start("user\0plain\0").await;
        assert_eq!(client.until(b"R").await[0].1, [0, 0, 0, 3]);
        client.send(&[(b'p', format!("{password}\0").as_bytes())]).await;
        let messages = client.until(b"EZ").await;
        assert_eq!(messages.last().map(|m| char::from(m.0).to_string()).unwrap(), answer);
        if answer == "E" {
            assert_eq!(code(&messages[0].1), "28P01");
        }
    }
    // Without channel binding there is one mechanism, and nonsense ends the connection.
    let mut client = Client { socket: server.socket().await, key: (0, 0) };
    client.start("user\0scram\0").await;
    assert_eq!(client.until(b"R").await[0].1, b"\0\0\0\x0aSCRAM-SHA-256\0\0");
    client.send(&[(b'p', b"SCRAM-SHA-256\0\0\0\0\x03abc")]).await;
    assert_eq!(code(&client.until(b"E").await[0].1), "08P01");
    let mut client = Client { socket: server.socket().await, key: (0, 0) };
    client.start("user\0scram\0").await;
    client.until(b"R").await;
    client.send(&[(b'Q', b"count 1\0")]).await;
    assert_eq!(code(&client.until(b"E").await[0].1), "08P01");
}

#[tokio::test]
async fn a_shutdown_tells_the_clients() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    server.shutdown.cancel();
    let answer = client.until(b"E").await;
    assert_eq!(code(&answer[0].1), "57P01");
}

#[tokio::test]
async fn a_message_of_an_absurd_length_ends_the_connection() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.socket.write_all(b"Q\xff\xff\xff\xff").await.unwrap();
    let answer = client.until(b"E").await;
    assert_eq!(code(&answer[0].1), "08P01");
}

#[tokio::test]
async fn copy_data_is_taken_and_given() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send(&[(b'Q', b"copyin\0")]).await;
    assert_eq!(short(&client.until(b"G").await), "G");
    let done = client.ask(&[(b'd', b"1\ta\n2\t"), (b'd', b"b\n3\tc\n\\.\n"), (b'c', b"")]).await;
    assert_eq!(done, "C:COPY 3 Z:I");
    assert_eq!(client.query("copyout").await, "H d:1 d:2 d:3 c C:COPY 3 Z:I");
}

#[tokio::test]
async fn data_of_a_copy_that_failed_is_ignored() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send(&[(b'Q', b"copyin\0")]).await;
    client.until(b"G").await;
    let failed = client.ask(&[(b'd', b"x\ta\n"), (b'd', b"1\ta\n"), (b'c', b"")]).await;
    assert_eq!(failed, "E:22P02 Z:I");
    assert_eq!(client.query("count 1").await, "T D*1 C:SELECT 1 Z:I");
    client.send(&[(b'Q', b"copyin\0")]).await;
    client.until(b"G").await;
    assert_eq!(client.ask(&[(b'f', b"enough\0")]).await, "E:57014 Z:I");
    // The extended protocol skips the data to Sync.
    let failed = client
        .ask(&[
            (b'P', &parse("", "copyin")),
            (b'B', &bind("", "", &[])),
            (b'E', &execute("", 0)),
            (b'd', b"x\ta\n"),
            (b'c', b""),
            (b'S', b""),
        ])
        .await;
    assert_eq!(failed, "1 2 G E:22P02 Z:I");
    assert!(!server.log.lock().iter().any(|l| l.starts_with("copied")));
}
