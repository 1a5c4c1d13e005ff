//! Keys and certificates for mutual TLS: an authority, what it signs, a host's
//! own certificate, and fingerprints.
//!
//! Pure but for the random numbers in keys; files are [`files`]'s business.
//! A client's role is in its certificate: the organisation of its subject is
//! `orlop:reader`, `orlop:operator` or `orlop:admin`.

pub mod files;
mod fingerprint;
mod role;

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

pub use fingerprint::{Fingerprint, FingerprintError};
pub use role::role_of;

use crate::types::Role;

/// How long an authority is valid, in days.
pub const AUTHORITY_DAYS: u32 = 20 * 365;
/// How long the host certificate that an authority signs is valid, in days.
pub const HOST_DAYS: u32 = 10 * 365;
/// How long a client certificate is valid by default, in days.
pub const CLIENT_DAYS: u32 = 2 * 365;

/// What can go wrong while certificates are made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The library that makes certificates refused.
    #[error("cannot make the certificate for {subject}: {source}")]
    Make {
        /// Whose certificate it was to be.
        subject: String,
        /// What the library says.
        source: rcgen::Error,
    },
    /// Not the key or certificate of an authority.
    #[error("cannot read the authority's {what}: {source}")]
    Authority {
        /// `key` or `certificate`.
        what: &'static str,
        /// What the library says.
        source: rcgen::Error,
    },
}

/// A certificate and its private key, both PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS #8.
    pub key: String,
}

/// An authority that signs host and client certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pair: Pair,
}

impl Authority {
    /// A new authority, valid from a day before `now`.
    pub fn create(name: &str, now: Timestamp) -> Result<Self, PkiError> {
        let fail = |source| PkiError::Make {
            subject: name.to_owned(),
            source,
        };
        let key = KeyPair::generate().map_err(fail)?;
        let mut params = dated(now, AUTHORITY_DAYS);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(fail)?;
        let pair = Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        };
        Ok(Self {
            issuer: Issuer::new(params, key),
            pair,
        })
    }

    /// The authority of a certificate and key that [`create`](Self::create) made.
    pub fn load(pair: Pair) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(&pair.key).map_err(|source| PkiError::Authority {
            what: "key",
            source,
        })?;
        let issuer = Issuer::from_ca_cert_pem(&pair.certificate, key).map_err(|source| {
            PkiError::Authority {
                what: "certificate",
                source,
            }
        })?;
        Ok(Self { issuer, pair })
    }

    /// Its certificate and key.
    pub fn pair(&self) -> &Pair {
        &self.pair
    }

    /// A certificate for a host that is reached under `names` (host names and
    /// IP addresses).
    pub fn host(&self, names: &[String], now: Timestamp, days: u32) -> Result<Pair, PkiError> {
        let subject = names.first().map_or("orlop host", String::as_str);
        let fail = |source| PkiError::Make {
            subject: subject.to_owned(),
            source,
        };
        let alt = CertificateParams::new(names)
            .map_err(fail)?
            .subject_alt_names;
        let mut params = dated(now, days);
        params.subject_alt_names = alt;
        params.distinguished_name.push(DnType::CommonName, subject);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(subject, params)
    }

    /// A certificate for a client called `name`.
    pub fn client(
        &self,
        name: &str,
        role: Role,
        now: Timestamp,
        days: u32,
    ) -> Result<Pair, PkiError> {
        let mut params = dated(now, days);
        params
            .distinguished_name
            .push(DnType::OrganizationName, role.organization());
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(name, params)
    }

    fn sign(&self, subject: &str, mut params: CertificateParams) -> Result<Pair, PkiError> {
        let fail = |source| PkiError::Make {
            subject: subject.to_owned(),
            source,
        };
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(fail)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(fail)?;
        Ok(Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// A host's own certificate, which clients know by its fingerprint. It is valid
/// for ever: a host makes it before its clock is set, and a pin does not age.
pub fn self_signed_host(name: &str) -> Result<Pair, PkiError> {
    let fail = |source| PkiError::Make {
        subject: name.to_owned(),
        source,
    };
    let key = KeyPair::generate().map_err(fail)?;
    // A host name need not be a DNS name; the common name takes any text.
    let mut params = CertificateParams::new(vec![name.to_owned()])
        .or_else(|_| CertificateParams::new(Vec::new()))
        .map_err(fail)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key).map_err(fail)?;
    Ok(Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

/// Parameters that are valid from a day before `now` (clocks differ) for `days`
/// from `now`.
fn dated(now: Timestamp, days: u32) -> CertificateParams {
    let today = now.to_zoned(TimeZone::UTC).date();
    let from = today.saturating_sub(1.day());
    let until = today.saturating_add(i64::from(days).days());
    let ymd = |date: jiff::civil::Date| {
        date_time_ymd(
            i32::from(date.year()),
            date.month().unsigned_abs(),
            date.day().unsigned_abs(),
        )
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = ymd(from);
    params.not_after = ymd(until);
    params
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{CertificateDer, pem::PemObject};

    use super::*;

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn der(pair: &Pair) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()
    }

    #[test]
    fn roles_travel_in_the_subject() {
        let authority = Authority::create("test", now()).unwrap();
        for role in Role::ALL {
            let pair = authority.client("ann", role, now(), 30).unwrap();
            assert_eq!(role_of(&der(&pair)), Some(role));
        }
        let host = authority
            .host(&["demo".into(), "192.0.2.1".into()], now(), 30)
            .unwrap();
        assert_eq!(
            role_of(&der(&host)),
            None,
            "a host's certificate is no client's"
        );
        assert_eq!(role_of(b"garbage"), None);
    }

    #[test]
    fn a_loaded_authority_signs_for_the_same_issuer() {
        let first = Authority::create("test", now()).unwrap();
        let again = Authority::load(first.pair().clone()).unwrap();
        let pair = again.client("bob", Role::Reader, now(), 30).unwrap();
        let authority = der(first.pair());
        let (_, ca) = x509_parser::parse_x509_certificate(&authority).unwrap();
        let client = der(&pair);
        let (_, cert) = x509_parser::parse_x509_certificate(&client).unwrap();
        assert_eq!(cert.issuer(), ca.subject());
        let validity = cert.validity();
        let seconds = now().as_second();
        assert!(validity.not_before.timestamp() < seconds);
        assert!(validity.not_after.timestamp() > seconds + 29 * 86400);
        assert!(validity.not_after.timestamp() < seconds + 31 * 86400);
    }

    #[test]
    fn odd_host_names_still_get_a_certificate() {
        for name in ["demo", "", "a b", "höst", &"x".repeat(300)] {
            let pair = self_signed_host(name).unwrap();
            assert!(
                pair.certificate.starts_with("-----BEGIN CERTIFICATE"),
                "{name:?}"
            );
        }
    }
}
