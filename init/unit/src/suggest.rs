//! Guesses at what somebody meant: by edit distance, and by what other tools call the same thing.

/// The candidate nearest to `word`, if it is near enough that it was probably meant.
///
/// Case and the choice between `-` and `_` cost nothing. Of equally near candidates the first wins,
/// so the answer depends only on the order of the candidates.
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    // Longer words cannot be near any key, and the distance is quadratic in the length.
    const MAX_CHARS: usize = 64;
    if word.chars().nth(MAX_CHARS).is_some() {
        return None;
    }
    let word = normal(word);
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|c| (strsim::osa_distance(&word, &normal(c)), c))
        .filter(|(distance, c)| *distance <= allowed && *distance < c.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}

fn normal(word: &str) -> String {
    word.to_lowercase().replace('_', "-")
}

/// What a key that other tools know is called here: `(theirs, ours)`.
///
/// From compose, Quadlet and systemd; theirs in lower case with the separators removed.
const FOREIGN: &[(&str, &str)] = &[
    ("addcapability", "[container] cap-add"),
    ("adddevice", "[container] devices"),
    ("capabilities", "[container] cap-add or cap-drop"),
    ("cmd", "[container] command"),
    (
        "containername",
        "nothing: the file's name is the container's name",
    ),
    ("cpulimit", "[resources] cpus"),
    ("cpuquota", "[resources] cpus"),
    ("dependson", "[unit] requires"),
    ("dropcapability", "[container] cap-drop"),
    ("env", "[container] environment"),
    ("exec", "[container] command, or [health] exec"),
    ("execstart", "[container] command"),
    ("expose", "nothing: units reach every port of each other"),
    ("healthcheck", "a [health] table"),
    ("healthcmd", "[health] exec"),
    ("killsignal", "[stop] signal"),
    ("maxsize", "[logs] max-size"),
    ("memlimit", "[resources] memory"),
    ("memorymax", "[resources] memory"),
    ("memswaplimit", "[resources] memory-swap"),
    ("mounts", "[container] volumes"),
    ("pidslimit", "[resources] pids"),
    ("publish", "[container] ports"),
    ("publishport", "[container] ports"),
    ("restart", "[restart] policy"),
    ("restartsec", "[restart] backoff-min"),
    ("rlimits", "[container] ulimits"),
    ("secret", "[container] secrets"),
    (
        "startlimitburst",
        "nothing: restarts back off up to [restart] backoff-max",
    ),
    ("stopgraceperiod", "[stop] timeout"),
    ("stopsignal", "[stop] signal"),
    ("tasksmax", "[resources] pids"),
    ("timeoutstopsec", "[stop] timeout"),
    ("volume", "[container] volumes"),
    ("wants", "[unit] after (order only) or requires"),
    ("workdir", "[container] working-dir"),
    ("workingdirectory", "[container] working-dir"),
];

/// Where the thing that other tools call `key` is written here.
pub(crate) fn foreign(key: &str) -> Option<&'static str> {
    let bare = key.to_lowercase().replace(['_', '-'], "");
    FOREIGN
        .iter()
        .find(|(theirs, _)| *theirs == bare)
        .map(|(_, ours)| *ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words() {
        let keys = [
            "image",
            "command",
            "environment",
            "ports",
            "read-only",
            "user",
        ];
        let cases = [
            ("imgae", Some("image")),
            ("Image", Some("image")),
            ("comand", Some("command")),
            ("read_only", Some("read-only")),
            ("enviroment", Some("environment")),
            ("port", Some("ports")),
            ("zzz", None),
            ("", None),
        ];
        for (word, near) in cases {
            assert_eq!(nearest(word, keys), near, "{word}");
        }
        assert_eq!(nearest(&"image".repeat(100), keys), None);
    }

    #[test]
    fn foreign_table_is_sorted_and_bare() {
        assert!(FOREIGN.is_sorted_by_key(|(theirs, _)| *theirs));
        for (theirs, _) in FOREIGN {
            assert!(theirs.chars().all(|c| c.is_ascii_lowercase()), "{theirs}");
        }
        assert_eq!(foreign("depends_on"), Some("[unit] requires"));
        assert_eq!(foreign("PublishPort"), Some("[container] ports"));
        assert_eq!(foreign("image"), None);
    }
}
