//! Seccomp rules for programs of another instruction set than the machine's own.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::{bench, skipped};

/// Where the program is loaded.
const BASE: u32 = 0x0804_8000;
/// Size of its headers: of the file (52 bytes) and of its one segment (32).
const HEADERS: u32 = 84;

/// A program of i386 that makes /tmp/x and exits with the error number of that.
fn program() -> Vec<u8> {
    let path = b"/tmp/x\0";
    let mut code = vec![0xb8, 39, 0, 0, 0, 0xbb]; // eax = mkdir; ebx =
    let length = 32;
    code.extend((BASE + HEADERS + length).to_le_bytes());
    code.extend([0xb9, 0xff, 1, 0, 0]); // ecx = 0777
    code.extend([0xcd, 0x80, 0xf7, 0xd8, 0x89, 0xc3]); // int 0x80; neg eax; ebx = eax
    code.extend([0xb8, 1, 0, 0, 0, 0xcd, 0x80, 0xf4]); // eax = exit; int 0x80; hlt
    code.resize(length as usize, 0xf4);
    code.extend(path);
    let size = HEADERS + code.len() as u32;
    let mut file = b"\x7fELF\x01\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2, 0, 3, 0]); // an executable for i386
    for word in [1, BASE + HEADERS, 52, 0, 0] {
        file.extend(word.to_le_bytes());
    }
    for half in [52_u16, 32, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    for word in [1, 0, BASE, BASE, size, size, 5, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file
}

#[test]
fn a_profile_holds_for_programs_of_i386() {
    let Some(mut bench) = bench("i386") else {
        return;
    };
    let path = bench.rootfs().join("bin/small");
    std::fs::write(&path, program()).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    bench.args(&["small"]);
    bench.config["linux"]
        .as_object_mut()
        .unwrap()
        .remove("seccomp");
    let (status, said) = bench.run();
    if said.contains("in no format that this machine executes") {
        return skipped("this kernel runs no programs of i386");
    }
    assert_eq!(status, 0, "{said}");
    std::fs::remove_dir(bench.rootfs().join("tmp/x")).unwrap();
    let profile = |architectures: &[&str]| {
        json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures,
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}]
        })
    };
    for (architectures, expected) in [
        (
            &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"][..],
            77,
        ),
        (&["SCMP_ARCH_X86"], 77),
        // Not even its exit is a call then, and it ends by a fault.
        (&["SCMP_ARCH_X86_64"], 128 + 11),
        (&[], 128 + 11),
    ] {
        bench.config["linux"]["seccomp"] = profile(architectures);
        let (status, said) = bench.run();
        assert_eq!(status, expected, "{architectures:?}: {said}");
        assert!(!bench.rootfs().join("tmp/x").exists());
    }
    bench.assert_nothing_left();
}
