//! What a test says that cannot be.

/// Says why a test, or a part of one, cannot be; `cargo vm test` forbids that.
pub(crate) fn skipped(why: &str) {
    assert!(std::env::var_os("ORLOP_TESTS_COMPLETE").is_none(), "{why}");
    eprintln!("skipped: {why}");
}
