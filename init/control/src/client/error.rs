//! What can go wrong between a client and a host, and what to do about it.

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};

use super::Endpoint;
use crate::types::ApiError;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The host was not reached, or it or we refused the other.
    #[error("cannot connect to {host}: {source}")]
    Connect {
        /// The host.
        host: String,
        /// What the system or TLS says.
        source: io::Error,
    },
    /// The host's name has no address.
    #[error("cannot find the address of {host}: {reason}")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        reason: String,
    },
    /// Our certificate, our key or the authority's certificate is unusable.
    #[error("cannot use the {what}: {reason}")]
    Credentials {
        /// Which.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The connection broke.
    #[error("the connection to {host} broke: {reason}")]
    Broken {
        /// The host.
        host: String,
        /// Why.
        reason: String,
        /// The host refused our certificate.
        refused: bool,
    },
    /// The host took too long.
    #[error("{host} did not answer within {seconds} s")]
    Timeout {
        /// The host.
        host: String,
        /// For how long we waited.
        seconds: u64,
    },
    /// What the host said makes no sense.
    #[error("the host's answer is not understood: {0}")]
    Protocol(String),
    /// A file of ours cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// A bundle of ours is none, or damaged.
    #[error("{path}: {reason}")]
    Bundle {
        /// The file.
        path: String,
        /// Why, what was expected, and what to do.
        reason: String,
    },
    /// The host refused the request or failed in it.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl ClientError {
    pub(super) fn exchange(endpoint: &Endpoint, error: hyper::Error) -> Self {
        let tls = find_tls(&error);
        let refused = matches!(tls, Some(rustls::Error::AlertReceived(_)));
        let reason = match tls {
            Some(rustls::Error::AlertReceived(alert)) => refusal(*alert),
            Some(other) => other.to_string(),
            None => root(&error),
        };
        Self::Broken {
            host: endpoint.to_string(),
            reason,
            refused,
        }
    }

    pub(super) fn answer(error: Box<dyn Error + Send + Sync>) -> Self {
        Self::Broken {
            host: "the host".into(),
            reason: root(error.as_ref()),
            refused: false,
        }
    }

    /// A stream of which nothing was heard for so long.
    pub(super) fn silence(endpoint: &Endpoint, time: Duration) -> Self {
        Self::Broken {
            host: endpoint.to_string(),
            reason: format!("nothing came for {} s", time.as_secs()),
            refused: false,
        }
    }

    pub(super) fn body(error: impl Display) -> Self {
        Self::Protocol(error.to_string())
    }

    pub(super) fn request(error: impl Display) -> Self {
        Self::Protocol(format!("the request cannot be made: {error}"))
    }

    /// Trying again may help: the connection failed, not the request.
    pub fn is_transport(&self) -> bool {
        match self {
            Self::Connect { source, .. } => find_tls(source).is_none(),
            Self::Broken { refused, .. } => !refused,
            Self::Timeout { .. } => true,
            Self::Resolve { .. }
            | Self::Credentials { .. }
            | Self::Protocol(_)
            | Self::File { .. }
            | Self::Bundle { .. }
            | Self::Api(_) => false,
        }
    }

    /// Trying again soon may help: the connection failed, or the host cannot answer now.
    pub fn is_passing(&self) -> bool {
        self.is_transport() || matches!(self, Self::Api(error) if error.status == 503)
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        let text = match self {
            Self::Api(error) => return error.help.clone(),
            Self::Connect { source, .. } => return connect_help(source),
            Self::Resolve { .. } => "check the name, or give the host's IP address",
            Self::Credentials { .. } => {
                "see the host's entry in ~/.config/orlop/config.toml; `orlop pki` makes new ones"
            }
            Self::Broken { refused: true, .. } => {
                "the host's operator has to sign a client certificate with the authority that \
                 the host trusts: `orlop pki client DIR NAME --role ROLE`"
            }
            Self::Broken { refused: false, .. } | Self::Timeout { .. } => {
                "the host's console says how it is; trying again is harmless"
            }
            Self::Protocol(_) => "`orlop version` shows both versions",
            Self::File { .. } | Self::Bundle { .. } => return None,
        };
        Some(text.to_owned())
    }
}

fn connect_help(source: &io::Error) -> Option<String> {
    let text = match find_tls(source) {
        Some(rustls::Error::General(text)) if text.contains("another certificate") => {
            "if the host was installed anew and its console shows this fingerprint: `orlop trust`; \
             if not, something is between you and it"
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "the host's certificate is not for this name: use a name given to `orlop pki init`",
        Some(rustls::Error::InvalidCertificate(_)) => {
            "the host's certificate is not from the authority in the configuration; for a host \
             that made its own: `orlop trust`"
        }
        Some(_) => "is this the API's port (7470) of an Orlop host?",
        None => match source.kind() {
            io::ErrorKind::NotFound => {
                "name a host with --host or ORLOP_HOST; on an Orlop host itself, this needs root"
            }
            io::ErrorKind::PermissionDenied => "the host's own socket is for root",
            _ => "is the host up, and its API's port (7470) reachable?",
        },
    };
    Some(text.to_owned())
}

fn refusal(alert: AlertDescription) -> String {
    let why = match alert {
        AlertDescription::CertificateExpired => "it has expired",
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "it is not from the authority that the host trusts"
        }
        AlertDescription::CertificateRequired => "none was sent",
        _ => return format!("the host refused this client's certificate ({alert:?})"),
    };
    format!("the host refused this client's certificate: {why}")
}

/// The TLS error somewhere below `error`.
fn find_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(|error| error.get_ref())
            .map(|inner| inner as &(dyn Error + 'static));
        next = inner.or_else(|| error.source());
    }
    None
}

/// The innermost error's words.
fn root(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_worth_another_try() {
        let broken = |refused| ClientError::Broken {
            host: "demo".to_owned(),
            reason: "closed".to_owned(),
            refused,
        };
        let api = |error| ClientError::Api(error);
        for (error, transport, passing) in [
            (broken(false), true, true),
            (broken(true), false, false),
            (api(ApiError::unavailable("going down")), false, true),
            (api(ApiError::conflict("not newer")), false, false),
            (ClientError::Protocol(String::new()), false, false),
        ] {
            assert_eq!(error.is_transport(), transport, "{error}");
            assert_eq!(error.is_passing(), passing, "{error}");
        }
    }
}
