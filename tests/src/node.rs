//! One `chronos` process on a data directory of its own.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_postgres::{Client, Config, NoTls};

use crate::PATIENCE;
use crate::binary::chronos;

/// What the ready line begins with.
const READY: &str = "chronos ready:";

/// What the process wrote to standard error so far, and whether it closed it.
#[derive(Debug, Default)]
struct Output {
    lines: Vec<String>,
    closed: bool,
}

/// Lines of standard error, shared with the thread that reads them.
#[derive(Clone, Debug, Default)]
struct Log(Arc<(Mutex<Output>, Condvar)>);

impl Log {
    fn text(&self) -> String {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).lines.join("\n")
    }

    fn read(&self, from: impl std::io::Read + Send + 'static) {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                log.change(|output| output.lines.push(line));
            }
            log.change(|output| output.closed = true);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Output)) {
        change(&mut self.0.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.1.notify_all();
    }

    /// The first line that begins with `start`; `None` if the process ends without one.
    fn wait_for(&self, start: &str) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut output = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(line) = output.lines.iter().find(|line| line.starts_with(start)) {
                return Some(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if output.closed || left.is_zero() {
                return None;
            }
            output = self.0.1.wait_timeout(output, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// How to start a node.
#[derive(Clone, Debug, Default)]
pub struct Options {
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    listen: Option<SocketAddr>,
    http: Option<SocketAddr>,
}

impl Options {
    /// Another command-line argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// A setting by its environment variable, such as `CHRONOS_FLUSH_BYTES`.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The address for clients, instead of a free port.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// The address for HTTP, instead of a free port.
    #[must_use]
    pub fn http(mut self, address: SocketAddr) -> Self {
        self.http = Some(address);
        self
    }

    fn spawn(&self, data_dir: &Path) -> Child {
        let or_free = |address: Option<SocketAddr>| {
            address.map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.to_string())
        };
        let mut command = Command::new(chronos());
        // The tests' own variables are no settings of the server, and a developer's settings
        // are none of the tests' business.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CHRONOS_") {
                command.env_remove(name);
            }
        }
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--listen", &or_free(self.listen), "--http", &or_free(self.http)])
            .args(&self.args)
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the chronos binary can be started")
    }

    /// Starts a process on that data directory and kills it after that time, ready or not. Gives
    /// what it wrote to standard error.
    ///
    /// # Panics
    /// If it ended by itself.
    pub fn start_and_kill(&self, data_dir: &Path, after: Duration) -> String {
        let mut child = self.spawn(data_dir);
        let log = Log::default();
        log.read(child.stderr.take().expect("standard error is piped"));
        std::thread::sleep(after);
        let ended = child.try_wait().expect("a child can be asked");
        drop(child.kill());
        drop(child.wait());
        assert!(ended.is_none(), "the server ended with {ended:?}:\n{}", log.text());
        log.text()
    }

    /// Starts a node on that data directory and waits until it is ready.
    ///
    /// # Errors
    /// The process ended instead, or was not ready in time and was killed.
    pub fn start_on(&self, data_dir: &Path) -> Result<TestNode, StartFailure> {
        let mut child = self.spawn(data_dir);
        let log = Log::default();
        log.read(child.stderr.take().expect("standard error is piped"));
        let Some(ready) = log.wait_for(READY) else {
            // Harmless where it ended by itself.
            drop(child.kill());
            let status = child.wait().expect("a child can be waited for");
            return Err(StartFailure { status, stderr: log.text() });
        };
        let address = address_in(&ready).expect("the ready line names the address");
        Ok(TestNode {
            child: Some(child),
            address,
            data_dir: data_dir.to_owned(),
            temp_dir: None,
            options: self.clone(),
            log,
        })
    }

    /// Starts a node on a new data directory, which is removed with the node.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start(&self) -> TestNode {
        let dir = tempfile::Builder::new()
            .prefix("chronos-test-")
            .tempdir()
            .expect("a temporary directory can be made");
        let mut node = match self.start_on(&dir.path().join("data")) {
            Ok(node) => node,
            Err(failure) => panic!("the server did not start: {failure:?}"),
        };
        node.temp_dir = Some(dir);
        node
    }
}

/// The first socket address in the ready line.
fn address_in(line: &str) -> Option<SocketAddr> {
    line.split(|c: char| c.is_whitespace() || c == ',').find_map(|word| word.parse().ok())
}

/// A process that ended before it was ready.
#[derive(Debug)]
pub struct StartFailure {
    /// How it ended.
    pub status: ExitStatus,
    /// What it said.
    pub stderr: String,
}

/// A running server. Dropping it kills the process, and fails the test if the server panicked.
#[derive(Debug)]
pub struct TestNode {
    child: Option<Child>,
    address: SocketAddr,
    data_dir: PathBuf,
    temp_dir: Option<TempDir>,
    options: Options,
    log: Log,
}

impl TestNode {
    /// A node with defaults on a new data directory.
    pub fn start() -> Self {
        Options::default().start()
    }

    /// How to start a node otherwise.
    pub fn options() -> Options {
        Options::default()
    }

    /// Where it takes clients.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its process identifier.
    ///
    /// # Panics
    /// If it is not running.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server is running").id()
    }

    /// What it wrote to standard error since it was started last.
    pub fn stderr(&self) -> String {
        self.log.text()
    }

    /// How to connect to it.
    pub fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .host(self.address.ip().to_string())
            .port(self.address.port())
            .user("chronos")
            .dbname("chronos")
            .connect_timeout(PATIENCE);
        config
    }

    /// A connection.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn connect(&self) -> Client {
        match connect(&self.config()).await {
            Ok(client) => client,
            Err(e) => panic!("could not connect: {e:?}\n{}", self.stderr()),
        }
    }

    /// SIGKILL. Whatever it had not written down is gone.
    ///
    /// # Panics
    /// If it is not running.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the server is running");
        child.kill().expect("a child can be killed");
        child.wait().expect("a child can be waited for");
    }

    /// Sends a signal by name: `TERM`, `INT`, `STOP`.
    ///
    /// # Panics
    /// If it is not running.
    pub fn signal(&self, name: &str) {
        // The shell's own `kill`, for the program of that name is not everywhere.
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.pid())])
            .status()
            .expect("sh can be started");
        assert!(status.success(), "could not send SIG{name}");
    }

    /// SIGTERM, then waits for the end.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for it to end by itself.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the server is running");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                return status;
            }
            if Instant::now() > deadline {
                drop(child.kill());
                drop(child.wait());
                panic!("the server did not end in time:\n{}", self.stderr());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts it again on the same data, on a free port. What ran before must have ended.
    ///
    /// # Panics
    /// If it runs, or does not become ready.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "the server is still running");
        self.fail_on_panic();
        let mut next = match self.options.start_on(&self.data_dir) {
            Ok(next) => next,
            Err(failure) => panic!("the server did not start again: {failure:?}"),
        };
        self.child = next.child.take();
        self.address = next.address;
        self.log = next.log.clone();
    }

    /// Stops it cleanly and starts it again.
    ///
    /// # Panics
    /// If the stop was not clean.
    pub fn restart(&mut self) {
        let status = self.stop();
        assert!(status.success(), "the server ended with {status}:\n{}", self.stderr());
        self.start_again();
    }

    /// Kills it and starts it again.
    pub fn crash(&mut self) {
        self.kill();
        self.start_again();
    }

    /// Every Parquet file below the data directory.
    pub fn parquet_files(&self) -> Vec<PathBuf> {
        /// Users' tables have identifiers from here on; the folder of a table bears its own.
        const FIRST_USER_TABLE: u32 = 16384;
        let of_user = |path: &Path| {
            let table = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
            table.and_then(|t| t.parse().ok()).is_none_or(|table: u32| table >= FIRST_USER_TABLE)
        };
        let mut found = Vec::new();
        let mut folders = vec![self.data_dir.clone()];
        while let Some(folder) = folders.pop() {
            // A folder may vanish between listing and opening.
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "parquet")
                    && of_user(&path)
                {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }

    /// The most memory that the process ever had resident, in bytes; `None` where the system
    /// does not tell.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }

    fn fail_on_panic(&self) {
        let stderr = self.stderr();
        assert!(!stderr.contains("panicked at"), "the server panicked:\n{stderr}");
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself already.
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            let stderr = self.stderr();
            let lines: Vec<&str> = stderr.lines().collect();
            let tail = &lines[lines.len().saturating_sub(40)..];
            eprintln!("--- the server's last lines ---\n{}\n---", tail.join("\n"));
        } else {
            self.fail_on_panic();
        }
    }
}

/// Connects, and drives the connection in the background until the client is dropped.
///
/// # Errors
/// What the server or the network answers.
pub async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(async move {
        // Its end shows in the client's next call.
        drop(connection.await);
    });
    Ok(client)
}
