//! Units together: what only a whole set can get wrong, and the order in which to start it.
//!
//! A unit that something is wrong with is set apart; the others are still ordered, so that one bad
//! file never keeps the rest from running. The arrow in a cycle's name reads "waits for".

mod graph;

use std::collections::{BTreeMap, BTreeSet};

use crate::{Diagnostic, Parsed, PortMap, Protocol, Unit, UnitName, suggest};
use graph::Graph;

/// What a set is checked against.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Units that run with the very configuration that is checked. Where two units want the same
    /// port, one of these keeps it.
    pub running: BTreeSet<UnitName>,
    /// TCP ports that are the host's own: the API's.
    pub host_ports: Vec<u16>,
}

/// Units that have been checked against each other.
#[derive(Clone, Debug, Default)]
pub struct UnitSet {
    order: Vec<UnitName>,
    problems: BTreeMap<UnitName, Vec<Diagnostic>>,
}

impl UnitSet {
    /// Checks units against each other. The result does not depend on their order in `units`,
    /// except that of two with the same name the first one counts.
    pub fn check(units: &[Parsed<Unit>]) -> Self {
        Self::check_in(units, &Context::default())
    }

    /// As [`UnitSet::check`], on a host where something runs already.
    pub fn check_in(units: &[Parsed<Unit>], context: &Context) -> Self {
        let mut set = Self::default();
        let mut by_name: BTreeMap<&UnitName, &Parsed<Unit>> = BTreeMap::new();
        for unit in units {
            if let Some(first) = by_name.get(&unit.value.name) {
                let message = format!(
                    "unit \"{}\" is declared by {} already",
                    unit.value.name, first.file
                );
                set.note(unit, "", message, "rename one of the files");
            } else {
                by_name.insert(&unit.value.name, unit);
            }
        }
        set.check_requirements(&by_name);
        set.check_cycles(&by_name);
        set.check_ports(&by_name, context);
        let sound = by_name
            .iter()
            .filter(|(name, _)| !set.problems.contains_key(**name));
        set.order = graph_of(&sound.map(|(name, unit)| (*name, *unit)).collect()).order();
        set
    }

    /// The units with nothing wrong, each after all that it requires or comes after; otherwise by
    /// name.
    pub fn order(&self) -> &[UnitName] {
        &self.order
    }

    /// What is wrong, by unit.
    pub fn problems(&self) -> &BTreeMap<UnitName, Vec<Diagnostic>> {
        &self.problems
    }

    /// Everything that is wrong, by unit and then by place.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        self.problems.values().flatten().cloned().collect()
    }

    fn note(&mut self, unit: &Parsed<Unit>, path: &str, message: String, help: impl Into<String>) {
        let diagnostic = unit.diagnostic(path, message, Some(help.into()));
        let found = self.problems.entry(unit.value.name.clone()).or_default();
        found.push(diagnostic);
        found.sort_by_key(Diagnostic::position);
    }

    fn check_requirements(&mut self, units: &BTreeMap<&UnitName, &Parsed<Unit>>) {
        for unit in units.values() {
            for (at, wanted) in unit.value.requires.iter().enumerate() {
                if units.contains_key(wanted) {
                    continue;
                }
                let names = units.keys().map(|name| name.as_str());
                let others = names.filter(|name| *name != unit.value.name.as_str());
                let help = match suggest::nearest(wanted.as_str(), others) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("add a unit file {wanted}.toml, or remove the requirement"),
                };
                let message = format!("required unit \"{wanted}\" does not exist");
                self.note(unit, &format!("unit.requires[{at}]"), message, help);
            }
        }
    }

    fn check_cycles(&mut self, units: &BTreeMap<&UnitName, &Parsed<Unit>>) {
        let graph = graph_of(units);
        for (name, unit) in units {
            let Some(cycle) = graph.cycle_through(name) else {
                continue;
            };
            let next = cycle
                .iter()
                .cycle()
                .skip_while(|n| n != name)
                .nth(1)
                .unwrap_or(name);
            let path = edge_path(&unit.value, next);
            let mut names: Vec<&str> = cycle.iter().map(|n| n.as_str()).collect();
            names.push(names[0]);
            let message = format!("units wait for each other: {}", names.join(" -> "));
            self.note(unit, &path, message, "remove one of these requirements");
        }
    }

    /// Units that run first, then by name: who comes first keeps its ports. A unit that is refused
    /// holds none, so that it keeps no other from starting.
    fn check_ports(&mut self, units: &BTreeMap<&UnitName, &Parsed<Unit>>, context: &Context) {
        let runs = |unit: &Parsed<Unit>| context.running.contains(&unit.value.name);
        let mut order: Vec<&Parsed<Unit>> = units.values().copied().collect();
        order.sort_by_key(|unit| !runs(unit));
        let mut held: Vec<Held> = Vec::new();
        for unit in order {
            let ports = unit.value.container.ports.iter().enumerate();
            let wanted: Vec<Held> = ports.map(|(at, port)| Held::new(*port, unit, at)).collect();
            for port in &wanted {
                self.check_port(port, &held, context);
            }
            if runs(unit) || !self.problems.contains_key(&unit.value.name) {
                held.extend(wanted);
            }
        }
    }

    fn check_port(&mut self, wanted: &Held, held: &[Held], context: &Context) {
        let Held { port, by, path } = wanted;
        let number = port.host;
        if port.protocol == Protocol::Tcp && context.host_ports.contains(&number) {
            let message = format!("host port {number} is the host's own API");
            self.note(by, path, message, "publish under another host port");
        }
        let Some(first) = held.iter().find(|held| held.port.clashes_with(port)) else {
            return;
        };
        let place = first.by.spans.position(&first.path).line;
        let message = format!(
            "host port {number}/{} of unit \"{}\" is published by unit \"{}\" already, at {}:{place}",
            port.protocol, by.value.name, first.by.value.name, first.by.file,
        );
        let help = "give one of them another host port";
        self.note(by, path, message, help);
    }
}

/// A port that a unit of the set publishes.
struct Held<'u> {
    port: PortMap,
    by: &'u Parsed<Unit>,
    path: String,
}

impl<'u> Held<'u> {
    fn new(port: PortMap, by: &'u Parsed<Unit>, at: usize) -> Self {
        let path = format!("container.ports[{at}]");
        Self { port, by, path }
    }
}

/// Where the unit says that it waits for `next`.
fn edge_path(unit: &Unit, next: &UnitName) -> String {
    match unit.requires.iter().position(|name| name == next) {
        Some(at) => format!("unit.requires[{at}]"),
        None => {
            let at = unit.after.iter().position(|name| name == next).unwrap_or(0);
            format!("unit.after[{at}]")
        }
    }
}

/// Who waits for whom, among these units.
fn graph_of(units: &BTreeMap<&UnitName, &Parsed<Unit>>) -> Graph {
    let edges = units.iter().map(|(name, unit)| {
        let waits = unit.value.requires.iter().chain(&unit.value.after);
        (
            (*name).clone(),
            waits
                .filter(|other| units.contains_key(other))
                .cloned()
                .collect(),
        )
    });
    Graph::new(edges.collect())
}
