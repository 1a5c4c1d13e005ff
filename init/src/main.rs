//! The `orlop-init` command: PID 1 of the initramfs and of the root.

fn main() {
    orlop_init::run()
}
