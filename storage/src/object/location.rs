//! From a URL to a store.

use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use crate::error::{Error, Result};

/// A store and where in it the objects are.
#[derive(Debug)]
pub(super) struct Location {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) prefix: Path,
    /// The directory, where the store is one.
    pub(super) local: Option<PathBuf>,
}

/// The environment's `AWS_…`, `AZURE_…` and `GOOGLE_…` variables say how to get in.
pub(super) fn open(url: &str) -> Result<Location> {
    let refuse = |reason: String| Error::Url { url: url.to_owned(), reason };
    let scheme = url.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
    let cloud = |e: object_store::Error| refuse(e.to_string());
    let far = |store: Arc<dyn ObjectStore>| {
        let path = url.splitn(4, '/').nth(3).unwrap_or_default();
        let prefix = Path::parse(path.trim_matches('/')).map_err(|e| refuse(e.to_string()))?;
        Ok(Location { store, prefix, local: None })
    };
    // Tries again are ours: they must know what a create may have done already.
    let once = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    match scheme {
        "memory" => {
            let store = Arc::new(InMemory::new());
            Ok(Location { store, prefix: Path::default(), local: None })
        }
        "s3" | "s3a" => {
            let plain =
                endpoint_is_plain(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]);
            let builder = AmazonS3Builder::from_env().with_url(url).with_retry(once);
            let builder = if plain { builder.with_allow_http(true) } else { builder };
            far(Arc::new(builder.build().map_err(cloud)?))
        }
        "az" | "azure" | "abfs" | "abfss" => {
            let plain = endpoint_is_plain(&["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"]);
            let builder = MicrosoftAzureBuilder::from_env().with_url(url).with_retry(once);
            let builder = if plain { builder.with_allow_http(true) } else { builder };
            far(Arc::new(builder.build().map_err(cloud)?))
        }
        "gs" => {
            let plain = endpoint_is_plain(&["GOOGLE_BASE_URL"]);
            let builder = GoogleCloudStorageBuilder::from_env().with_url(url).with_retry(once);
            let builder = match plain {
                true => builder.with_client_options(ClientOptions::new().with_allow_http(true)),
                false => builder,
            };
            far(Arc::new(builder.build().map_err(cloud)?))
        }
        "file" => {
            let path = url.trim_start_matches("file:");
            directory(FsPath::new(path.strip_prefix("//").unwrap_or(path)))
        }
        _ if url.contains("://") => Err(refuse(format!(
            "unknown scheme \"{scheme}\"; use a path, file:, s3:, az:, gs: or memory:"
        ))),
        _ => directory(FsPath::new(url)),
    }
}

/// Whether the endpoint that the environment names is one without TLS, which it then means.
fn endpoint_is_plain(names: &[&str]) -> bool {
    let value = names.iter().find_map(|name| std::env::var(name).ok());
    value.is_some_and(|url| url.starts_with("http:"))
}

fn directory(path: &FsPath) -> Result<Location> {
    let io = |action, source| Error::Io { action, path: path.display().to_string(), source };
    std::fs::create_dir_all(path).map_err(|e| io("create directory", e))?;
    let path = path.canonicalize().map_err(|e| io("open directory", e))?;
    let store = LocalFileSystem::new_with_prefix(&path)
        .map_err(|e| Error::Url { url: path.display().to_string(), reason: e.to_string() })?;
    Ok(Location { store: Arc::new(store), prefix: Path::default(), local: Some(path) })
}
