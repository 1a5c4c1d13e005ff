//! Archives that no tool wrote.

use proptest::prelude::*;
use tar::EntryType;

use super::{over, tar};
use crate::tarball;
use crate::tree::Tree;

proptest! {
    #[test]
    fn mutated_archives_never_panic(
        edits in proptest::collection::vec((0..4096_usize, any::<u8>()), 0..12),
        cut in 0..4096_usize,
    ) {
        let mut tree = Tree::new();
        over(&mut tree, &tar(&[('0', "d/a", "data"), ('1', "b", "d/a"), ('2', "l", "d"), ('3', "c", "")])).unwrap();
        let id = tree.lookup(b"d/a").unwrap();
        tree.node_mut(id).meta.uid = 3_000_000;
        tree.node_mut(id).meta.xattrs.insert(b"user.x".to_vec(), vec![0; 30]);
        let mut bytes = Vec::new();
        tarball::write_tree(&tree, &mut bytes).unwrap();
        for (at, value) in &edits {
            if let Some(byte) = bytes.get_mut(*at) {
                *byte = *value;
            }
        }
        for block in bytes.as_chunks_mut::<512>().0 {
            // Right checksums, so that the fields are looked at.
            let mut header = tar::Header::from_byte_slice(block).clone();
            header.set_cksum();
            if block.starts_with(b"d") || block[156] != 0 {
                block.copy_from_slice(header.as_bytes());
            }
        }
        bytes.truncate(cut.max(512));
        let _ = over(&mut Tree::new(), &bytes);
    }

    #[test]
    fn arbitrary_headers_never_panic(block in proptest::collection::vec(any::<u8>(), 512), kind in "[0-7LKxgSV]") {
        let mut header = tar::Header::from_byte_slice(&block).clone();
        header.set_entry_type(EntryType::new(kind.as_bytes()[0]));
        header.as_mut_bytes()[124..136].copy_from_slice(b"00000000100\0");
        header.set_cksum();
        let bytes = [header.as_bytes().as_slice(), &block, header.as_bytes(), &block].concat();
        let _ = over(&mut Tree::new(), &bytes);
    }
}
