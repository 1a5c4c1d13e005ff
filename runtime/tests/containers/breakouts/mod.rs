//! What broke other runtimes, one file for each family of it.
//!
//! `program`: the runtime's own file. `entering`: what a process that enters a container is and
//! carries. `birth`: what it shows to those who may look into everything there. `host`:
//! namespaces that are the host's. `proc`: what is read and written in /proc. `links`: links in
//! an image that stand where directories should. `race`: links that are swapped meanwhile.
//! `terminal`: the caller's terminal. `probe` is code of ours that runs inside.

mod birth;
mod entering;
mod host;
mod links;
pub mod probe;
mod proc;
mod program;
mod race;
mod terminal;

use serde_json::json;

use crate::support::Bench;

/// Takes away the user namespace, so that only what the runtime does itself protects the host.
pub fn without_user_namespace(bench: &mut Bench) {
    let linux = bench.config["linux"].as_object_mut().unwrap();
    linux.remove("uidMappings");
    linux.remove("gidMappings");
    let kinds = linux["namespaces"].as_array_mut().unwrap();
    kinds.retain(|kind| kind["type"] != "user");
}

/// Gives the process these capabilities, in the sets that matter.
fn capabilities(bench: &mut Bench, names: &[&str]) {
    bench.config["process"]["capabilities"] =
        json!({"bounding": names, "effective": names, "permitted": names});
}
