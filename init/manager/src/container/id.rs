//! Container ids: the unit's name and a random part, so that one start of a
//! unit is never mistaken for another.

/// Eight random hexadecimal digits.
pub fn random() -> String {
    let mut bytes = [0_u8; 4];
    if getrandom::fill(&mut bytes).is_err() {
        // The kernel's generator cannot fail once the machine has booted; a
        // clock's low bits still tell two ids apart.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        bytes = u32::try_from(now.tv_nsec).unwrap_or(0).to_le_bytes();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A new id for a container of `unit`.
pub fn new(unit: &str) -> String {
    format!("{unit}-{}", random())
}
