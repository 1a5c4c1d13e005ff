//! The wire between PID 1 and the manager.
