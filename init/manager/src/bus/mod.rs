//! The D-Bus interface `org.orlop.Manager1`, a thin adapter over the same handle as the API.
