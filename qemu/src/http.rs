//! One plain HTTP request to a published port, for tests and measurements.

use std::time::Duration;

use anyhow::Result;

/// Gets `path` from the loopback's `port`: the status and the body.
///
/// # Errors
///
/// When nobody answers within five seconds or it is not HTTP.
pub fn get(port: u16, path: &str) -> Result<(u16, String)> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(5)))
        .http_status_as_error(false)
        .build()
        .into();
    let mut answer = agent.get(format!("http://127.0.0.1:{port}{path}")).call()?;
    let status = answer.status().as_u16();
    Ok((status, answer.body_mut().read_to_string()?))
}
