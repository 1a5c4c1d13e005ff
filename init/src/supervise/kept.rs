//! The descriptors that outlive the manager.

use orlop_handover::MAX_KEPT;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// Descriptors under one key, each with its name.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) names: Vec<String>,
    pub(crate) fds: Vec<OwnedFd>,
}

/// All of them. Bounded by [`MAX_KEPT`] keys (I10).
#[derive(Debug, Default)]
pub(crate) struct Kept {
    entries: BTreeMap<String, Entry>,
}

impl Kept {
    /// Keeps `fds` under `key`, in place of what was there.
    ///
    /// # Errors
    /// The reason, when there is no room for another key.
    pub(crate) fn keep(
        &mut self,
        key: &str,
        names: Vec<String>,
        fds: Vec<OwnedFd>,
    ) -> Result<(), String> {
        if !self.entries.contains_key(key) && self.entries.len() >= MAX_KEPT {
            return Err(format!("descriptors for {MAX_KEPT} keys are kept already"));
        }
        self.entries.insert(key.to_owned(), Entry { names, fds });
        Ok(())
    }

    /// Closes what is kept under `key`.
    pub(crate) fn forget(&mut self, key: &str) {
        self.entries.remove(key);
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &String> {
        self.entries.keys()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fd() -> OwnedFd {
        tempfile::tempfile().unwrap().into()
    }

    #[test]
    fn keys_are_bounded_replaced_and_forgotten() {
        let mut kept = Kept::default();
        for n in 0..MAX_KEPT {
            kept.keep(&format!("k{n}"), vec![], vec![]).unwrap();
        }
        assert!(kept.keep("one more", vec![], vec![]).is_err());
        kept.keep("k3", vec!["out".into()], vec![fd()]).unwrap();
        assert_eq!(kept.get("k3").unwrap().fds.len(), 1);
        kept.forget("k3");
        kept.forget("k3");
        assert!(kept.get("k3").is_none());
        kept.keep("one more", vec![], vec![]).unwrap();
        assert_eq!(kept.len(), MAX_KEPT);
    }
}
