//! Units together: requirements, cycles, ports, order.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers are tests"
)]

use std::collections::{BTreeMap, BTreeSet};

use orlop_unit::{Context, Parsed, Unit, UnitName, UnitSet};
use proptest::prelude::*;

fn unit(name: &str, head: &str, container: &str) -> Parsed<Unit> {
    let text = format!("[unit]\n{head}\n[container]\nimage = \"a\"\n{container}\n");
    Unit::parse(&format!("{name}.toml"), &text).unwrap()
}

fn errors(units: &[Parsed<Unit>]) -> String {
    errors_in(units, &Context::default())
}

fn errors_in(units: &[Parsed<Unit>], context: &Context) -> String {
    let found = UnitSet::check_in(units, context).diagnostics();
    found
        .iter()
        .map(|d| d.to_string())
        .collect::<Vec<_>>()
        .join("\n")
}

fn order(units: &[Parsed<Unit>]) -> Vec<String> {
    UnitSet::check(units)
        .order()
        .iter()
        .map(|name| name.to_string())
        .collect()
}

#[test]
fn requirements_that_do_not_exist() {
    let units = [
        unit("web", "requires = [\"redsi\", \"db\"]", ""),
        unit("redis", "", ""),
    ];
    assert_eq!(
        errors(&units),
        "web.toml:2:13: required unit \"redsi\" does not exist (did you mean \"redis\"?)\n\
         web.toml:2:22: required unit \"db\" does not exist \
         (add a unit file db.toml, or remove the requirement)",
    );
    // The rest is not held up.
    assert_eq!(order(&units), ["redis"]);
    // Coming after a unit that is not there is no error: it is an order, not a need.
    assert_eq!(errors(&[unit("web", "after = [\"db\"]", "")]), "");
}

#[test]
fn cycles_are_named_alike_by_all_their_units() {
    let units = [
        unit("c", "requires = [\"a\"]", ""),
        unit("a", "requires = [\"b\"]", ""),
        unit("b", "after = [\"c\"]", ""),
        unit("d", "requires = [\"a\"]", ""),
        unit("e", "", ""),
    ];
    let line = |file: &str, place: &str| {
        format!(
            "{file}.toml:{place}: units wait for each other: a -> b -> c -> a \
             (remove one of these requirements)",
        )
    };
    let expected = [line("a", "2:13"), line("b", "2:10"), line("c", "2:13")].join("\n");
    assert_eq!(errors(&units), expected);
    let reversed: Vec<_> = units.iter().rev().cloned().collect();
    assert_eq!(errors(&reversed), expected);
    // `d` has done nothing wrong; it waits.
    assert_eq!(order(&units), ["d", "e"]);
}

#[test]
fn ports_that_two_units_publish() {
    let api = unit("api", "", "ports = [\"80:1\"]");
    let web = unit("web", "", "ports = [\"81:1\", \"80:2\"]");
    let units = [web, api];
    assert_eq!(
        errors(&units),
        "web.toml:5:18: host port 80/tcp of unit \"web\" is published by unit \"api\" already, \
         at api.toml:5 (give one of them another host port)",
    );
    assert_eq!(order(&units), ["api"]);
    // What runs goes on running: the newcomer is refused, whatever its name.
    let running = BTreeSet::from(["web".parse().unwrap()]);
    let context = Context {
        running,
        ..Context::default()
    };
    assert!(errors_in(&units, &context).starts_with("api.toml:5:10: host port 80/tcp of unit"));
}

#[test]
fn a_refused_unit_holds_no_port() {
    // "api" would win by name, but cannot run; "web" must not be held up by it.
    let units = [
        unit("api", "requires = [\"gone\"]", "ports = [\"80:1\"]"),
        unit("web", "", "ports = [\"80:2\"]"),
    ];
    assert_eq!(order(&units), ["web"]);
}

#[test]
fn ports_of_the_host_itself() {
    let units = [unit("web", "", "ports = [\"7470:1\", \"7470:1/udp\"]")];
    let context = Context {
        host_ports: vec![7470],
        ..Context::default()
    };
    assert_eq!(
        errors_in(&units, &context),
        "web.toml:5:10: host port 7470 is the host's own API (publish under another host port)",
    );
}

#[test]
fn two_files_for_one_unit() {
    let units = [unit("x/web", "", ""), unit("y/web", "", "")];
    assert!(errors(&units).starts_with("y/web.toml:1:1: unit \"web\" is declared by x/web.toml"));
}

/// Unit `n` waits for each `m` of `edges[n]`.
fn units_of(edges: &[Vec<usize>]) -> Vec<Parsed<Unit>> {
    let name = |n: usize| format!("u{n}");
    let heads = edges.iter().enumerate().map(|(n, waits)| {
        let others: BTreeSet<String> = waits
            .iter()
            .filter(|m| **m != n)
            .map(|m| format!("{:?}", name(*m)))
            .collect();
        let others: Vec<String> = others.into_iter().collect();
        unit(&name(n), &format!("requires = [{}]", others.join(", ")), "")
    });
    heads.collect()
}

/// Whether there is a way from `from` to `to` of at least one step, by trying all.
fn reaches(edges: &[Vec<usize>], from: usize, to: usize) -> bool {
    let mut seen = BTreeSet::new();
    let mut todo: Vec<usize> = edges[from].iter().copied().filter(|m| *m != from).collect();
    while let Some(n) = todo.pop() {
        if n == to {
            return true;
        }
        if seen.insert(n) {
            todo.extend(edges[n].iter().copied().filter(|m| *m != n));
        }
    }
    false
}

fn graphs() -> impl Strategy<Value = Vec<Vec<usize>>> {
    (1usize..10)
        .prop_flat_map(|count| prop::collection::vec(prop::collection::vec(0..count, 0..3), count))
}

proptest! {
    #[test]
    fn a_unit_is_refused_exactly_when_it_waits_for_itself(edges in graphs()) {
        let set = UnitSet::check(&units_of(&edges));
        for n in 0..edges.len() {
            let name: UnitName = format!("u{n}").parse().unwrap();
            let refused = set.problems().contains_key(&name);
            prop_assert_eq!(refused, reaches(&edges, n, n), "{}", name);
            prop_assert_eq!(set.order().contains(&name), !refused, "{}", name);
        }
    }

    #[test]
    fn the_order_respects_every_requirement(edges in graphs()) {
        let set = UnitSet::check(&units_of(&edges));
        let place: BTreeMap<&str, usize> =
            set.order().iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        for (n, waits) in edges.iter().enumerate() {
            for m in waits.iter().filter(|m| **m != n) {
                let (n, m) = (format!("u{n}"), format!("u{m}"));
                if let (Some(n), Some(m)) = (place.get(n.as_str()), place.get(m.as_str())) {
                    prop_assert!(m < n);
                }
            }
        }
    }

    #[test]
    fn a_named_cycle_is_one(edges in graphs()) {
        for diagnostic in UnitSet::check(&units_of(&edges)).diagnostics() {
            let (_, cycle) = diagnostic.message.split_once(": ").unwrap();
            let names: Vec<usize> =
                cycle.split(" -> ").map(|name| name[1..].parse().unwrap()).collect();
            prop_assert!(names.len() > 2 && names.first() == names.last());
            for pair in names.windows(2) {
                prop_assert!(edges[pair[0]].contains(&pair[1]), "{}", cycle);
            }
        }
    }
}
