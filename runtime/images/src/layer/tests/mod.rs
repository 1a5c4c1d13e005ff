//! Merging: layers made by hand, and how a tree is shown.

mod cases;
mod model;
mod mutated;

use std::collections::BTreeMap;

use tar::EntryType;

use super::{Budget, apply, read_layer};
use crate::spool::Spool;
use crate::tree::{Kind, Tree};
use crate::{Limits, Result};

/// A member: type, path, link.
type Row<'a> = (char, &'a str, &'a str);

fn tar(rows: &[Row<'_>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (kind, path, link) in rows {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        let data = if *kind == '0' { *link } else { "" };
        header.set_size(data.len() as u64);
        header.set_entry_type(EntryType::new(*kind as u8));
        header.set_mode(0o640);
        if *kind != '0' {
            header.set_link_name_literal(link).unwrap();
        }
        if matches!(kind, '3' | '4') {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        tar.append(&header, data.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn over(tree: &mut Tree, layer: &[u8]) -> Result<Vec<String>> {
    let mut spool = Spool::new_in(&std::env::temp_dir()).unwrap();
    let mut budget = Budget::new(&Limits::default());
    let changes = read_layer(layer, "layer", &mut spool, &mut budget)?;
    apply(tree, changes).map_err(|error| crate::Error::invalid("layer", error.to_string()))?;
    Ok(budget.notes)
}

/// The merged tree, a short line for each name but the root's.
fn merged(layers: &[&[Row<'_>]]) -> Result<String> {
    let mut tree = Tree::new();
    for layer in layers {
        over(&mut tree, &tar(layer))?;
    }
    Ok(show(&tree))
}

fn show(tree: &Tree) -> String {
    let mut first = BTreeMap::new();
    let mut lines = Vec::new();
    for entry in tree.walk().skip(1) {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        if let Some(first) = first.get(&entry.id) {
            lines.push(format!("{path}={first}"));
            continue;
        }
        lines.push(match &entry.node.kind {
            Kind::Dir(_) => format!("{path}/"),
            Kind::File(it) => format!(
                "{path}:{}",
                String::from_utf8(it.to_vec().unwrap()).unwrap()
            ),
            Kind::Symlink(to) => format!("{path}>{}", String::from_utf8_lossy(to)),
            Kind::Char(_) | Kind::Block(_) => format!("{path}*"),
            Kind::Fifo => format!("{path}|"),
        });
        first.insert(entry.id, path);
    }
    lines.join(" ")
}
