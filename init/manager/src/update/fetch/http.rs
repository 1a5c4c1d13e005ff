//! HTTP as updates need it: documents and parts of files, from servers that are not trusted.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Resolver as Dns, system_conf::parse_resolv_conf};
use tokio::runtime::Handle;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, BodyReader, http};

use super::{FetchError, public};

/// How long a name may take to be resolved.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
/// A head's redirections.
const REDIRECTS_MAX: u32 = 5;

/// How long a server is waited for.
#[derive(Debug, Clone, Copy)]
pub(in crate::update) struct Patience {
    /// For a connection, TLS included, for an answer to begin, and for the next bytes of one.
    pub(in crate::update) silence: Duration,
    /// For anything of use to come of one answer. A person waits for a head.
    pub(in crate::update) answer: Duration,
    /// For anything of use to come, however often it is asked, until it is given up.
    pub(in crate::update) give_up: Duration,
    /// Before it is asked again: the first pause, and the longest.
    pub(in crate::update) pauses: (Duration, Duration),
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            silence: Duration::from_secs(15),
            answer: Duration::from_secs(60),
            give_up: Duration::from_secs(12 * 3600),
            pauses: (Duration::from_millis(500), Duration::from_secs(300)),
        }
    }
}

/// A client; every clone uses the same connections.
#[derive(Debug, Clone)]
pub(in crate::update) struct Http {
    agent: Agent,
    pub(super) patience: Patience,
}

impl Http {
    /// A client that asks the name servers of `resolv_conf`, and trusts servers that an authority of
    /// `ca` (PEM) vouches for, or a public one without. Called within a tokio runtime.
    pub(in crate::update) fn new(
        resolv_conf: PathBuf,
        ca: Option<&str>,
        patience: Patience,
    ) -> Http {
        let silence = Some(patience.silence);
        let roots = ca.map_or(RootCerts::WebPki, |pem| {
            // They were checked when the configuration was read.
            let items = parse_pem(pem.as_bytes()).flatten();
            items
                .filter_map(|item| match item {
                    PemItem::Certificate(certificate) => Some(certificate),
                    _ => None,
                })
                .into()
        });
        let tls = TlsConfig::builder().root_certs(roots).build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .tls_config(tls)
            .max_redirects(REDIRECTS_MAX)
            .proxy(None)
            .user_agent(concat!("orlop/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(RESOLVE_TIMEOUT))
            .timeout_connect(silence)
            .timeout_recv_response(silence)
            .timeout_per_read(silence)
            .timeout_per_write(silence)
            .max_idle_connections_per_host(super::WORKERS)
            .build();
        let names = Names {
            resolv_conf,
            tokio: Handle::current(),
        };
        Http {
            agent: Agent::with_parts(config, DefaultConnector::new(), names),
            patience,
        }
    }

    /// Breaks off whatever is under way; nothing succeeds after it.
    pub(in crate::update) fn shutdown(&self) {
        self.agent.clone().shutdown();
    }

    /// Asks for all of `url`, or for its bytes in `range`.
    ///
    /// # Errors
    /// No answer, or another than `200 OK` or `206 Partial Content`.
    pub(super) fn get(
        &self,
        url: &str,
        range: Option<(u64, Option<u64>)>,
    ) -> Result<Answer, FetchError> {
        let mut request = self.agent.get(url);
        if let Some((first, last)) = range {
            let last = last.map_or_else(String::new, |last| last.to_string());
            request = request.header("range", format!("bytes={first}-{last}"));
        }
        let response = request.call().map_err(|error| FetchError::Unreachable {
            url: public(url),
            reason: error.to_string(),
        })?;
        let partial = match response.status() {
            http::StatusCode::OK => false,
            http::StatusCode::PARTIAL_CONTENT => true,
            status => {
                let (url, status) = (public(url), status.as_u16());
                return Err(FetchError::Status { url, status });
            }
        };
        if let Some((first, _)) = range.filter(|_| partial)
            && !starts_at(&response, first)
        {
            return Err(FetchError::Range {
                url: public(url),
                first,
            });
        }
        Ok(Answer {
            partial,
            body: response.into_body().into_reader(),
            patience: self.patience.answer,
            until: Instant::now() + self.patience.answer,
        })
    }
}

/// Whether a part is the one that was asked for (RFC 9110, 14.4).
fn starts_at(response: &http::Response<Body>, first: u64) -> bool {
    let range = response.headers().get("content-range");
    let range = range.and_then(|value| value.to_str().ok()).unwrap_or("");
    let start = range
        .strip_prefix("bytes ")
        .and_then(|range| range.split_once('-'));
    start.is_some_and(|(start, _)| start.parse() == Ok(first))
}

/// What a server answered. It is read until a deadline: a byte now and then, which never is too
/// long a silence, does not make it last.
pub(super) struct Answer {
    /// It is the part that was asked for; else it is all of it.
    pub(super) partial: bool,
    body: BodyReader<'static>,
    patience: Duration,
    until: Instant,
}

impl Answer {
    /// There is as much time again, as something of use has come.
    pub(super) fn go_on(&mut self) {
        self.until = Instant::now() + self.patience;
    }
}

impl Read for Answer {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        if Instant::now() > self.until {
            let seconds = self.patience.as_secs();
            let slow = format!("too little came within {seconds} s");
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, slow));
        }
        self.body.read(bytes)
    }
}

/// Host names to addresses, without the C library: the manager is linked statically.
#[derive(Debug)]
struct Names {
    resolv_conf: PathBuf,
    tokio: Handle,
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &http::Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let https = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let mut found = self.empty();
        // An address of IPv6 stands in brackets.
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = literal.parse() {
            found.push(SocketAddr::new(address, port));
            return Ok(found);
        }
        // RFC 6761, 6.3: never asked of a name server.
        if host.eq_ignore_ascii_case("localhost") {
            found.push((std::net::Ipv4Addr::LOCALHOST, port).into());
            return Ok(found);
        }
        let failed = |error: &dyn std::fmt::Display| {
            let problem = format!("{host} cannot be resolved: {error}");
            ureq::Error::Other(problem.into())
        };
        // A worker's thread is none of tokio's: all of it is made within `block_on`.
        let looked = self.tokio.block_on(async {
            let look_up = look_up(&self.resolv_conf, host);
            tokio::time::timeout(RESOLVE_TIMEOUT, look_up).await
        });
        let addresses = looked
            .map_err(|_| failed(&"no name server answers"))?
            .map_err(|problem| failed(&problem))?;
        for address in addresses.into_iter().take(4) {
            found.push(SocketAddr::new(address, port));
        }
        match found.is_empty() {
            true => Err(failed(&"it has no address")),
            false => Ok(found),
        }
    }
}

async fn look_up(resolv_conf: &Path, host: &str) -> Result<Vec<std::net::IpAddr>, String> {
    let text = std::fs::read(resolv_conf)
        .map_err(|error| format!("{}: {error}", resolv_conf.display()))?;
    let (config, options) = parse_resolv_conf(text).map_err(|error| error.to_string())?;
    let dns = Dns::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map_err(|error| error.to_string())?;
    let found = dns
        .lookup_ip(host)
        .await
        .map_err(|error| error.to_string())?;
    Ok(found.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a worker does: from a thread that tokio does not know.
    #[tokio::test(flavor = "multi_thread")]
    async fn names_are_looked_up_from_any_thread() {
        let dir = tempfile::tempdir().unwrap();
        let resolv_conf = dir.path().join("resolv.conf");
        let patience = Patience {
            silence: Duration::from_secs(5),
            answer: Duration::from_secs(5),
            ..Patience::default()
        };
        let http = Http::new(resolv_conf.clone(), None, patience);
        let asked = move || {
            let http = http.clone();
            let asking = std::thread::spawn(move || {
                http.get("http://updates.invalid/", None)
                    .map(drop)
                    .unwrap_err()
            });
            asking.join().unwrap().to_string()
        };
        let told = asked();
        assert!(told.contains("resolv.conf: No such file"), "{told}");
        std::fs::write(&resolv_conf, "nameserver 127.0.0.1\n").unwrap();
        let told = asked();
        assert!(
            told.contains("updates.invalid cannot be resolved"),
            "{told}"
        );
    }
}
