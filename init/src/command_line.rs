//! The kernel's command line, where it speaks to PID 1.

/// What the last `name=VALUE` gives, as the kernel itself takes the last.
pub(crate) fn value<'a>(command_line: &'a str, name: &str) -> Option<&'a str> {
    let words = command_line.split_whitespace();
    words
        .filter_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_counts_and_a_longer_name_is_another() {
        let line = "quiet a.b=1 a.bc=2 a.b=3\n";
        assert_eq!(value(line, "a.b"), Some("3"));
        assert_eq!(value(line, "a.bc"), Some("2"));
        assert_eq!(value(line, "quiet"), None);
        assert_eq!(value(line, "a"), None);
    }
}
