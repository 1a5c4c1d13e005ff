//! The role that a client certificate gives.

use x509_parser::parse_x509_certificate;

use crate::types::Role;

/// The role in the subject of a client certificate (DER) whose signature has
/// been checked before; none when it names no role or more than one.
pub fn role_of(certificate: &[u8]) -> Option<Role> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    let mut organizations = certificate.subject().iter_organization();
    let role = Role::from_organization(organizations.next()?.as_str().ok()?)?;
    organizations.next().is_none().then_some(role)
}
