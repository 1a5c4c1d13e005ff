//! Where the parts of a bundle are on a web server.

use std::io::Read;

use orlop_bundle::{Entry, Head, chunk_path, newest_name};
use serde::{Deserialize, Serialize};

use super::{FetchError, Http};

/// Bytes that a head cannot have: what is read of an answer that should be one.
const HEAD_MAX: u64 = 9 << 20;

/// Where the chunks are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub(in crate::update) enum Source {
    /// Each a file, below this URL.
    Published {
        /// Without a slash at its end.
        base: String,
    },
    /// In a bundle, behind its head.
    Bundle {
        /// The bundle.
        url: String,
        /// The first byte of the first chunk.
        first: u64,
        /// Whether the server gives parts of files.
        parts: bool,
    },
}

/// A version that a server has.
#[derive(Debug)]
pub(in crate::update) struct Offer {
    pub(in crate::update) head: Head,
    pub(in crate::update) source: Source,
}

impl Offer {
    /// Asks for the head of what is at `url`, for hosts called `name`.
    ///
    /// # Errors
    /// [`FetchError`].
    pub(in crate::update) fn fetch(
        http: &Http,
        url: &str,
        name: &str,
    ) -> Result<Offer, FetchError> {
        let plain = check(url)?;
        if plain.ends_with(".orlop") {
            let answer = http.get(url, Some((0, None)))?;
            let parts = answer.partial;
            let head = read(answer.take(HEAD_MAX), url)?;
            let first = head.encode().len() as u64;
            let url = url.to_owned();
            let source = Source::Bundle { url, first, parts };
            return Ok(Offer { head, source });
        }
        let (at, base) = match plain.strip_suffix(".head") {
            Some(path) => (
                url.to_owned(),
                path.rsplit_once('/').map_or(path, |(base, _)| base),
            ),
            None => {
                let base = plain.trim_end_matches('/');
                (format!("{base}/{}", newest_name(name)), base)
            }
        };
        let head = read(http.get(&at, None)?.take(HEAD_MAX), &at)?;
        let base = base.to_owned();
        let source = Source::Published { base };
        Ok(Offer { head, source })
    }
}

fn read(mut answer: impl Read, url: &str) -> Result<Head, FetchError> {
    Head::read(&mut answer).map_err(|error| match error {
        orlop_bundle::BundleError::Read(error) => FetchError::Unreachable {
            url: public(url),
            reason: error.to_string(),
        },
        error => FetchError::Head {
            url: public(url),
            error,
        },
    })
}

/// The URL without its query, if it can be asked at all.
fn check(url: &str) -> Result<&str, FetchError> {
    let refuse = |problem: &str| {
        Err(FetchError::Url {
            url: public(url).chars().take(200).collect(),
            problem: problem.to_owned(),
        })
    };
    let parsed: hyper::Uri = match url.parse() {
        Ok(parsed) => parsed,
        Err(error) => return refuse(&error.to_string()),
    };
    match (parsed.scheme_str(), parsed.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => {}
        (Some("http" | "https"), _) => return refuse("it names no host"),
        _ => return refuse("it is no URL of a web server"),
    }
    Ok(url.split(['?', '#']).next().unwrap_or(url))
}

/// A URL without its query, and without a user's name and password.
pub(in crate::update) fn public(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or(url);
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

impl Source {
    /// For people, readers among them: without what may be a secret in it.
    pub(in crate::update) fn shown(&self) -> String {
        let url = match self {
            Source::Published { base } => base,
            Source::Bundle { url, .. } => url,
        };
        public(url)
    }

    /// The URL of a chunk.
    pub(super) fn url(&self, entry: &Entry) -> String {
        match self {
            Source::Published { base } => format!("{base}/{}", chunk_path(&entry.digest)),
            Source::Bundle { url, .. } => url.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_urls_are_not_shown() {
        let cases = [
            ("https://h/a/b.orlop?signature=1", "https://h/a/b.orlop"),
            ("https://user:word@h:8443", "https://h:8443"),
            ("http://h/x@y", "http://h/x@y"),
        ];
        for (url, shown) in cases {
            assert_eq!(public(url), shown);
        }
    }

    #[test]
    fn urls() {
        let good = [
            ("http://h/a.orlop", "http://h/a.orlop"),
            ("https://h:8443/x/", "https://h:8443/x/"),
            ("http://h/a.orlop?signature=1", "http://h/a.orlop"),
            ("http://[::1]:80/x", "http://[::1]:80/x"),
        ];
        for (url, plain) in good {
            assert_eq!(check(url).unwrap(), plain);
        }
        for url in [
            "",
            "h",
            "/x",
            "ftp://h/x",
            "http:///x",
            "file:///x",
            "http://a b",
        ] {
            let refusal = check(url).unwrap_err().to_string();
            assert!(refusal.contains("expected http://"), "{refusal}");
        }
    }
}
