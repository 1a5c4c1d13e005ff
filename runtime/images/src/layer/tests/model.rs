//! Merging against a model that knows nothing of inodes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{Row, over, show, tar};
use crate::tarball;
use crate::tree::{Kind, Tree};

/// What the model knows of a name: a directory, or a file by its content.
type Model = BTreeMap<String, Option<u32>>;

#[derive(Clone, Debug)]
enum Step {
    Dir(String),
    File(String),
    Link(String, String),
    Whiteout(String),
    Opaque(String),
}

fn below(model: &mut Model, path: &str) {
    model.retain(|name, _| !name.starts_with(&format!("{path}/")));
}

/// The rules of the image specification, one name at a time; nothing where a
/// layer is to be refused.
fn model_over(model: &mut Model, steps: &[Step], next: &mut u32) -> Option<()> {
    for step in steps {
        match step {
            Step::Whiteout(path) => {
                below(model, path);
                model.remove(path);
            }
            Step::Opaque(path) => below(model, path),
            Step::Dir(_) | Step::File(_) | Step::Link(..) => {}
        }
    }
    for step in steps {
        let (path, value) = match step {
            Step::Whiteout(_) | Step::Opaque(_) => continue,
            Step::Dir(path) => (path, None),
            Step::File(path) => {
                *next += 1;
                (path, Some(*next))
            }
            Step::Link(path, target) => (path, Some((*model.get(target)?)?)),
        };
        let slashes = path.match_indices('/').map(|(at, _)| at);
        for at in slashes {
            if model.entry(path[..at].to_owned()).or_insert(None).is_some() {
                return None;
            }
        }
        if value.is_some() || model.get(path).is_some_and(Option::is_some) {
            below(model, path);
        }
        model.insert(path.clone(), value);
    }
    Some(())
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let path = || {
        proptest::collection::vec(0..3_usize, 1..4).prop_map(|names| {
            names
                .iter()
                .map(|at| ["a", "b", "c"][*at])
                .collect::<Vec<_>>()
                .join("/")
        })
    };
    let step = prop_oneof![
        3 => path().prop_map(Step::Dir),
        4 => path().prop_map(Step::File),
        2 => (path(), path()).prop_map(|(path, target)| Step::Link(path, target)),
        2 => path().prop_map(Step::Whiteout),
        1 => path().prop_map(Step::Opaque),
    ];
    proptest::collection::vec(step, 0..8)
}

fn layer_of(steps: &[Step], next: &mut u32) -> Vec<u8> {
    let beside = |path: &str, name: &str| match path.rfind('/') {
        Some(at) => format!("{}/{name}{}", &path[..at], &path[at + 1..]),
        None => format!("{name}{path}"),
    };
    let rows: Vec<(char, String, String)> = steps
        .iter()
        .map(|step| match step {
            Step::Dir(path) => ('5', format!("{path}/"), String::new()),
            Step::File(path) => {
                *next += 1;
                ('0', path.clone(), next.to_string())
            }
            Step::Link(path, target) => ('1', path.clone(), target.clone()),
            Step::Whiteout(path) => ('0', beside(path, ".wh."), String::new()),
            Step::Opaque(path) => ('0', format!("{path}/.wh..wh..opq"), String::new()),
        })
        .collect();
    let rows: Vec<Row<'_>> = rows
        .iter()
        .map(|(kind, a, b)| (*kind, a.as_str(), b.as_str()))
        .collect();
    tar(&rows)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn merging_equals_the_model(layers in proptest::collection::vec(steps(), 1..4)) {
        let (mut tree, mut model) = (Tree::new(), Model::new());
        let (mut ours, mut theirs) = (0, 0);
        for steps in &layers {
            let result = over(&mut tree, &layer_of(steps, &mut ours));
            let expected = model_over(&mut model, steps, &mut theirs);
            prop_assert_eq!(result.is_ok(), expected.is_some(), "{:?}", result);
            if expected.is_none() {
                return Ok(());
            }
        }
        let found: Model = tree
            .walk()
            .skip(1)
            .map(|entry| {
                let content = match &entry.node.kind {
                    Kind::File(it) => String::from_utf8(it.to_vec().unwrap()).unwrap().parse().ok(),
                    _ => None,
                };
                (String::from_utf8(entry.path).unwrap(), content)
            })
            .collect();
        prop_assert_eq!(&found, &model);
        // Content is unique, so names of one content must be one inode.
        let inodes: BTreeSet<_> =
            tree.walk().filter(|entry| !entry.node.is_dir()).map(|entry| entry.id).collect();
        let contents: BTreeSet<_> = model.values().flatten().collect();
        prop_assert_eq!(inodes.len(), contents.len());
    }

    #[test]
    fn a_tree_written_as_tar_reads_back_the_same(layers in proptest::collection::vec(steps(), 1..4)) {
        let (mut tree, mut next) = (Tree::new(), 0);
        for steps in &layers {
            if over(&mut tree, &layer_of(steps, &mut next)).is_err() {
                return Ok(());
            }
        }
        let mut bytes = Vec::new();
        tarball::write_tree(&tree, &mut bytes).unwrap();
        let mut back = Tree::new();
        over(&mut back, &bytes).unwrap();
        prop_assert_eq!(show(&back), show(&tree));
    }
}
