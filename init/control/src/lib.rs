//! API types and client; the orlop command.
