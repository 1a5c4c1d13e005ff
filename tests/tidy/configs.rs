//! Every example config parses.
