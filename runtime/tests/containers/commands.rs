//! The commands around a container's life.

use serde_json::{Value, json};

use crate::support::{bench, text};

#[test]
fn a_written_spec_runs() {
    let Some(mut bench) = bench("spec") else {
        return;
    };
    let dir = bench.path("new");
    std::fs::create_dir(&dir).unwrap();
    let spec = |extra: &[&str]| {
        let args = [&["spec", "--bundle", dir.to_str().unwrap()], extra].concat();
        text(&bench.call(&args))
    };
    assert_eq!(spec(&[]), (0, String::new()));
    let (status, said) = spec(&["--rootless"]);
    assert!(status == 1 && said.contains("exists already"), "{said}");
    let read = || -> Value {
        serde_json::from_slice(&std::fs::read(dir.join("config.json")).unwrap()).unwrap()
    };
    let standard = read();
    std::fs::remove_file(dir.join("config.json")).unwrap();
    assert_eq!(spec(&["--rootless"]).0, 0);
    assert!(read()["linux"]["uidMappings"].is_array());
    bench.config = standard;
    bench.config["process"]["terminal"] = json!(false);
    let root = bench.rootfs();
    for sub in ["dev/shm", "dev/mqueue"] {
        std::fs::create_dir_all(root.join(sub)).unwrap();
    }
    let (status, said) = bench.sh("hostname; id -u; mount > /dev/null");
    assert_eq!((status, said.as_str()), (0, "container\n0\n"));
    bench.assert_nothing_left();
}
