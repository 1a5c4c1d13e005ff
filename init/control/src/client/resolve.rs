//! Host names to addresses, without the C library's resolver: this command is
//! linked statically.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_resolver::TokioResolver;

use super::ClientError;

/// The addresses of `host`, which may be one itself. `/etc/hosts` is asked
/// first, then the name servers of `/etc/resolv.conf`.
pub(super) async fn addresses(host: &str) -> Result<Vec<IpAddr>, ClientError> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    // RFC 6761, 6.3: never asked of a name server.
    if host == "localhost" || host.ends_with(".localhost") {
        return Ok(vec![
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ]);
    }
    let failed = |error: &dyn std::fmt::Display| ClientError::Resolve {
        host: host.to_owned(),
        reason: error.to_string(),
    };
    let resolver = TokioResolver::builder_tokio()
        .and_then(|builder| builder.build())
        .map_err(|error| failed(&error))?;
    let found = resolver
        .lookup_ip(host)
        .await
        .map_err(|error| failed(&error))?;
    let addresses: Vec<IpAddr> = found.iter().collect();
    if addresses.is_empty() {
        return Err(failed(&"it has no address"));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn literals_and_localhost_need_no_name_server() {
        assert_eq!(addresses("192.0.2.1").await.unwrap().len(), 1);
        assert_eq!(addresses("::1").await.unwrap().len(), 1);
        assert_eq!(addresses("localhost").await.unwrap().len(), 2);
    }
}
