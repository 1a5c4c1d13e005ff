//! The image's configuration, and documents as bytes that never vary.

use std::collections::HashMap;

use anyhow::{Context, Result};
use jiff::Timestamp;
use oci_spec::image::{
    ConfigBuilder, HistoryBuilder, ImageConfiguration, ImageConfigurationBuilder, RootFsBuilder,
};
use orlop_images::digest::Digest;
use serde::Serialize;
use serde_json::{Map, Value};

use super::args::OciArgs;

/// What the program at `program` (if `--binary` gave one) and the arguments
/// say, for a layer of that diff_id.
pub(super) fn configuration(
    args: &OciArgs,
    created: Timestamp,
    program: Option<&str>,
    diff_id: Digest,
) -> Result<ImageConfiguration> {
    let mut config = ConfigBuilder::default();
    let entrypoint = match (args.entrypoint.as_slice(), program) {
        ([], Some(program)) => vec![program.to_owned()],
        (words, _) => words.to_vec(),
    };
    if !entrypoint.is_empty() {
        config = config.entrypoint(entrypoint);
    }
    if !args.cmd.is_empty() {
        config = config.cmd(args.cmd.clone());
    }
    if !args.env.is_empty() {
        let env: Vec<_> = args
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        config = config.env(env);
    }
    if !args.expose.is_empty() {
        let ports: Vec<_> = args.expose.iter().map(|port| port.0.clone()).collect();
        config = config.exposed_ports(ports);
    }
    if !args.label.is_empty() {
        config = config.labels(args.label.iter().cloned().collect::<HashMap<_, _>>());
    }
    if let Some(user) = &args.user {
        config = config.user(user.clone());
    }
    if let Some(workdir) = &args.workdir {
        config = config.working_dir(workdir.clone());
    }
    if let Some(signal) = &args.stop_signal {
        config = config.stop_signal(signal.clone());
    }
    let rootfs = RootFsBuilder::default()
        .typ("layers")
        .diff_ids(vec![diff_id.to_string()]);
    let history = HistoryBuilder::default()
        .created(created.to_string())
        .created_by("orlop-image oci")
        .build()?;
    ImageConfigurationBuilder::default()
        .created(created.to_string())
        .architecture(args.architecture.as_str())
        .os("linux")
        .config(config.build()?)
        .rootfs(rootfs.build()?)
        .history(vec![history])
        .build()
        .context("image configuration")
}

/// JSON with the keys of every object in order, whatever maps it came from.
pub(super) fn json(document: &impl Serialize) -> Result<Vec<u8>> {
    let value = serde_json::to_value(document)?;
    Ok(serde_json::to_vec(&sorted(value))?)
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.into_iter().collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            let fields = fields.into_iter().map(|(key, value)| (key, sorted(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => plain,
    }
}
