//! Real software from Debian's packages: nginx baked in, redis loaded into the
//! running host, a third container that reaches redis by its unit's name.

use anyhow::{Context as _, Result, ensure};
use orlop_control::types::UnitState;
use orlop_qemu::{http, paths};

use crate::debian_images;
use crate::fixture::{self, PATIENCE};

const NGINX: &str = "[container]\nimage = \"localhost/nginx:1\"\nports = [\"80:80\"]\n\
    [health]\nhttp = \":80/\"\ninterval = \"1s\"\n";

const REDIS: &str = "[container]\nimage = \"localhost/redis:1\"\nvolumes = [\"redis:/data\"]\n\
    [health]\ntcp = 6379\ninterval = \"1s\"\n";

/// Asks redis for a PONG by name, prints the answer and stays.
const CLIENT: &str = "[unit]\nrequires = [\"redis\"]\n[container]\nimage = \"localhost/busybox:1\"\n\
    command = [\"busybox\", \"sh\", \"-c\", \"(echo PING; busybox sleep 1) | busybox nc redis 6379; \
    busybox cat /etc/hosts /etc/resolv.conf; exec busybox sleep 100000\"]\n";

/// nginx answers, redis is loaded and found by name, through a restart too.
pub(crate) fn nginx_and_redis() -> Result<()> {
    let nginx = debian_images::nginx()?;
    let image = fixture::host_image_with(
        "real-software",
        "",
        &[("nginx", NGINX)],
        &[("localhost/nginx:1", &nginx)],
        &paths::binaries(),
    )?;
    let mut config = fixture::disk_of(&image, "real-software")?;
    let web = fixture::forward(&mut config, 80)?;
    let mut guest = fixture::boot(config)?;
    guest.wait_units("a healthy nginx", PATIENCE, |units| {
        units.iter().any(|unit| fixture::is_healthy(unit, "nginx"))
    })?;
    let (status, page) = http::get(web, "/")?;
    ensure!(
        status == 200 && page.contains("Welcome to nginx"),
        "{status}: {page}"
    );

    let archive = debian_images::redis()?.display().to_string();
    guest.operator().run(&["load", &archive])?;
    let images = guest.operator().run(&["images"])?;
    ensure!(images.contains("localhost/redis"), "{images}");
    fixture::apply(&guest, &[("redis", REDIS), ("client", CLIENT)])?;
    let client = fixture::wait_state(&guest, "client", UnitState::Running)?;
    let own = client.address.context("client has no address")?;
    let said = fixture::wait_output(&guest, &["logs", "client"], "options ndots:0")?;
    // The first address of the default subnet is the host's own.
    let wanted = [
        "+PONG",
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost",
        &format!("{own}\tclient"),
        "10.89.0.1\thost.internal",
        "nameserver 10.89.0.1",
        "options ndots:0",
    ];
    let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
    ensure!(lines == wanted, "{lines:?} instead of {wanted:?}");

    // What redis was told lasts in its volume, and it answers after a restart.
    let redis = |words: &str| {
        let script = format!("(echo {words}; busybox sleep 1) | busybox nc redis 6379");
        guest
            .operator()
            .run(&["exec", "client", "busybox", "sh", "-c", &script])
    };
    ensure!(redis("SET ship orlop")?.contains("OK"), "SET");
    ensure!(redis("SAVE")?.contains("OK"), "SAVE");
    guest.operator().run(&["restart", "redis"])?;
    fixture::wait_state(&guest, "redis", UnitState::Running)?;
    guest.wait_units("a healthy redis", PATIENCE, |units| {
        units.iter().any(|unit| fixture::is_healthy(unit, "redis"))
    })?;
    let answer = redis("GET ship")?;
    ensure!(answer.contains("orlop"), "{answer}");
    guest.power_off(PATIENCE)
}
