//! Yes or no in a query string: `?follow`, `?follow=1` and `?follow=true` all
//! mean yes.

use serde::Deserializer;
use serde::de::{Error, Visitor};

/// For `#[serde(deserialize_with)]`.
pub(super) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    struct Flag;

    impl Visitor<'_> for Flag {
        type Value = bool;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("`true` or `false`")
        }

        fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
            Ok(value)
        }

        fn visit_str<E: Error>(self, value: &str) -> Result<bool, E> {
            match value {
                "" | "1" | "true" => Ok(true),
                "0" | "false" => Ok(false),
                other => Err(E::custom(format!(
                    "{other:?} is neither `true` nor `false`"
                ))),
            }
        }
    }

    deserializer.deserialize_any(Flag)
}
