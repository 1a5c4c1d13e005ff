//! The HTTP API, on a Unix socket for root and inside mutual TLS for the network.
