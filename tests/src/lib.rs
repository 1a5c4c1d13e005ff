//! End-to-end tests; the tests are in `tests/`.
