//! The A/B model: choose, try, bless, roll back.
