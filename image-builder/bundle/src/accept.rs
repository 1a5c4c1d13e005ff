//! Whether a host has use for a bundle that it trusts.

use std::cmp::Ordering;

use thiserror::Error;

use crate::{ARCHITECTURE, Manifest, Trusted, compare};

/// The host that asks.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    /// The version that runs.
    pub version: &'a str,
    /// Whether an older or the same version may replace it.
    pub allow_downgrade: bool,
}

/// Why a host does not take a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// For another machine.
    #[error("the bundle is for {0:?}, expected {ARCHITECTURE:?}; build one for this machine")]
    OtherArchitecture(String),
    /// Older than what runs, or the same.
    #[error(
        "the bundle's version {bundle} is not newer than {running}, which runs; \
         --allow-downgrade takes it all the same"
    )]
    NotNewer {
        /// The bundle's version.
        bundle: String,
        /// The host's.
        running: String,
    },
    /// What runs is older than it may be.
    #[error(
        "version {running}, which runs, is too old to update to {bundle} at once: \
         expected {minimum} or newer; update to that first"
    )]
    TooOld {
        /// The bundle's version.
        bundle: String,
        /// The host's.
        running: String,
        /// The oldest version that it may be updated from.
        minimum: String,
    },
}

/// Why `host` is not to take `bundle`, which it trusts; `None` when it is.
pub fn refusal(bundle: &Trusted, host: Running<'_>) -> Option<Refusal> {
    judge(bundle.head().manifest(), host)
}

fn judge(manifest: &Manifest, host: Running<'_>) -> Option<Refusal> {
    let (bundle, running) = (manifest.version.clone(), host.version.to_owned());
    if manifest.architecture != ARCHITECTURE {
        return Some(Refusal::OtherArchitecture(manifest.architecture.clone()));
    }
    if !host.allow_downgrade && compare(&bundle, &running) != Ordering::Greater {
        return Some(Refusal::NotNewer { bundle, running });
    }
    let minimum = manifest.minimum_version.clone()?;
    let too_old = compare(&running, &minimum) == Ordering::Less;
    too_old.then_some(Refusal::TooOld {
        bundle,
        running,
        minimum,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::manifest;

    #[test]
    fn table() {
        let host = |version, allow_downgrade| Running {
            version,
            allow_downgrade,
        };
        let bundle = Manifest {
            version: "2.0".to_owned(),
            minimum_version: Some("1.5".to_owned()),
            ..manifest()
        };
        let cases = [
            (host("1.9", false), None),
            (host("2.0~rc1", false), None),
            (host("1.5", false), None),
            (host("2.00", true), None),
            (host("3", true), None),
            (host("2.0", false), Some("not newer than 2.0")),
            (host("2.1", false), Some("--allow-downgrade")),
            (host("1.5~rc1", false), Some("expected 1.5 or newer")),
            (host("1.4", true), Some("expected 1.5 or newer")),
        ];
        for (host, expected) in cases {
            let found = judge(&bundle, host).map(|refusal| refusal.to_string());
            match (expected, &found) {
                (None, None) => {}
                (Some(words), Some(text)) if text.contains(words) => {}
                _ => panic!("{host:?}: {found:?}"),
            }
        }
        let other = Manifest {
            architecture: "arm64".to_owned(),
            ..bundle
        };
        let found = judge(&other, host("1.9", true));
        assert_eq!(found, Some(Refusal::OtherArchitecture("arm64".to_owned())));
    }
}
