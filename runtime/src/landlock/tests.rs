//! What of a ruleset a kernel carries.

use super::*;
use proptest::prelude::*;

fn handled(files: u64, ports: u64, scopes: u64) -> Handled {
    Handled {
        files,
        ports,
        scopes,
    }
}

fn at(allowed: u64, path: &str) -> Beneath {
    Beneath {
        allowed,
        path: path.into(),
        place: "p".into(),
    }
}

/// Something of the versions 1, 2, 3, 4 and 6.
fn mixed(best_effort: bool) -> Ruleset {
    Ruleset {
        handled: handled(1 << 2 | 1 << 13 | 1 << 14, 0b11, 0b10),
        beneath: vec![at(1 << 2 | 1 << 14, "/a"), at(1 << 14, "/b")],
        ports: vec![Port {
            allowed: 1,
            port: 80,
        }],
        best_effort,
    }
}

fn on(ruleset: Ruleset, abi: rustix::io::Result<u32>) -> Result<Settled> {
    Asked::Given(ruleset).on(abi)
}

#[test]
fn what_a_kernel_lacks_is_left_out_or_refused() {
    let part = |files, ports, scopes, beneath: Vec<Beneath>| Ruleset {
        handled: handled(files, ports, scopes),
        beneath,
        ports: Vec::new(),
        best_effort: true,
    };
    let all = "refer (ABI 2), truncate (ABI 3), bind_tcp (ABI 4), connect_tcp (ABI 4), \
               signal (ABI 6)";
    let (read, cut) = (1 << 2, 1 << 14);
    let first = part(read, 0, 0, vec![at(read, "/a")]);
    let second = part(read | 1 << 13, 0, 0, vec![at(read, "/a")]);
    let files = read | 1 << 13 | cut;
    let third = part(files, 0, 0, vec![at(read | cut, "/a"), at(cut, "/b")]);
    let fourth = Ruleset {
        handled: handled(files, 0b11, 0),
        ..mixed(true)
    };
    for (abi, carried, lacks) in [
        (1, first, all),
        (2, second, &all["refer (ABI 2), ".len()..]),
        (
            3,
            third,
            "bind_tcp (ABI 4), connect_tcp (ABI 4), signal (ABI 6)",
        ),
        (4, fourth.clone(), "signal (ABI 6)"),
        (5, fourth, "signal (ABI 6)"),
        (6, mixed(true), ""),
        (99, mixed(true), ""),
    ] {
        let settled = on(mixed(true), Ok(abi)).unwrap();
        assert_eq!(settled.ruleset, Some(carried), "{abi}");
        let warning = format!("this kernel's Landlock (ABI {abi}) lacks {lacks}");
        let warning = (!lacks.is_empty()).then_some(warning);
        assert_eq!(settled.warning, warning);
        match (on(mixed(false), Ok(abi)), warning) {
            (Ok(strict), None) => assert_eq!(strict.ruleset, Some(mixed(false))),
            (Err(error), Some(warning)) => assert!(error.to_string().starts_with(&warning)),
            (other, _) => panic!("{abi}: {other:?}"),
        }
    }
    let none = on(part(0, 0b11, 0, vec![]), Ok(3)).unwrap();
    assert!(none.ruleset.is_none() && none.warning.is_some());
}

#[test]
fn without_landlock_nothing_is_restricted_or_nothing_runs() {
    for errno in [Errno::NOSYS, Errno::OPNOTSUPP] {
        let settled = on(mixed(true), Err(errno)).unwrap();
        assert_eq!(settled.ruleset, None);
        let warning = settled.warning.unwrap();
        assert!(warning.contains("has no Landlock"), "{warning}");
        let error = on(mixed(false), Err(errno)).unwrap_err().to_string();
        let told = error.contains("has no Landlock") && error.contains("disableBestEffort");
        assert!(told, "{error}");
        let default = Asked::Default.on(Err(errno)).unwrap();
        assert!(default.ruleset.is_none() && default.warning.is_some());
    }
}

/// Its first version cannot allow renames between directories: what a container could not do
/// with it, it would have been promised.
#[test]
fn refer_is_allowed_or_nothing_is_restricted() {
    let settled = Asked::Default.on(Ok(1)).unwrap();
    assert_eq!(settled.ruleset, None);
    assert!(settled.warning.unwrap().contains("refer"));
    let mut asks = mixed(false);
    asks.beneath.push(at(1 << 13, "/"));
    let error = on(asks, Ok(1)).unwrap_err().to_string();
    assert!(error.contains("refer"), "{error}");
}

#[test]
fn the_default_is_as_much_as_there_is() {
    for (abi, scopes) in [(2, 0), (3, 0), (5, 0), (6, 1), (7, 1)] {
        let settled = Asked::Default.on(Ok(abi)).unwrap();
        assert_eq!(settled.warning, None, "{abi}");
        let ruleset = settled.ruleset.unwrap();
        assert_eq!(
            ruleset.handled,
            handled(1 << 6 | 1 << 11 | 1 << 13, 0, scopes)
        );
        let [rule] = &*ruleset.beneath else {
            panic!("{ruleset:?}");
        };
        assert_eq!((rule.allowed, rule.path.to_str()), (1 << 13, Some("/")));
        // What nothing restricts, no rule can allow; what is not handled is not denied.
        assert!(ruleset.ports.is_empty());
    }
}

#[test]
fn who_gets_what() {
    assert!(Asked::Default.of_further().unwrap().is_none());
    if abi().is_ok_and(|abi| abi >= 6) {
        assert!(!Asked::Default.of_first().unwrap().unwrap().late);
        let given = Asked::Given(mixed(false));
        assert!(!given.of_first().unwrap().unwrap().late);
        assert!(given.of_further().unwrap().unwrap().late);
    }
}

proptest! {
    /// Whatever the version, the kernel would take it: only rights that it knows, each handled
    /// that a rule allows, and no rule without any.
    #[test]
    fn what_is_carried_is_taken(
        files in 0_u64..1 << 17,
        ports in 0_u64..1 << 4,
        scopes in 0_u64..1 << 2,
        allowed in any::<u64>(),
        abi in 1_u32..12,
    ) {
        let ruleset = Ruleset {
            handled: handled(files, ports, scopes),
            beneath: vec![at(files & allowed, "/")],
            ports: vec![Port { allowed: ports & allowed, port: 1 }],
            best_effort: true,
        };
        let Some(carried) = ruleset.clone().carried(abi) else {
            return Ok(());
        };
        let Handled { files, ports, scopes } = carried.handled;
        prop_assert_eq!(files & !known(FILES, abi), 0);
        prop_assert_eq!(ports & !known(PORTS, abi), 0);
        prop_assert_eq!(scopes & !known(SCOPES, abi), 0);
        for rule in &carried.beneath {
            prop_assert!(rule.allowed != 0 && rule.allowed & !files == 0);
        }
        for rule in &carried.ports {
            prop_assert!(rule.allowed != 0 && rule.allowed & !ports == 0);
        }
        let lacks_nothing = ruleset.lacking(abi).is_empty();
        prop_assert_eq!(lacks_nothing, carried.handled == ruleset.handled);
    }
}
