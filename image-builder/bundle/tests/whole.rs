//! Whole bundles: written, read back, cut, changed at any byte, and signed by others.

// Helpers of tests may fail as the tests themselves do.
#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use orlop_bundle::{
    ARCHITECTURE, BundleError, Chunks, Content, Digest, Endorsement, FORMAT, Head, Hex, Manifest,
    Packer, Part, SecretKey, SignatureError, Signatures, Verity,
};
use orlop_unit::UpdateKey;
use proptest::prelude::*;

/// Bytes that look random and are always the same, with a run in them that comes twice.
fn content(len: usize, mut state: u64) -> Vec<u8> {
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u8
    };
    (0..len)
        .map(|at| if at % 7 == 0 { b'x' } else { next() })
        .collect()
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn id(seed: u8) -> UpdateKey {
    key(seed).public().id()
}

fn manifest(root: Content, uki: Content) -> Manifest {
    Manifest {
        format: FORMAT,
        name: "demo".to_owned(),
        version: "1.0".to_owned(),
        source_date: 0,
        architecture: ARCHITECTURE.to_owned(),
        minimum_version: None,
        root,
        uki,
        index: uki,
        verity: Verity {
            root_hash: Digest::of(b"hash"),
            salt: Digest::of(b"salt"),
            uuid: Hex([7; 16]),
        },
    }
}

/// A bundle of `root` and `uki`.
fn bundle(root: &[u8], uki: &[u8], keys: &[SecretKey], endorsements: &[Endorsement]) -> Vec<u8> {
    let mut packer = Packer::new(Vec::new()).unwrap();
    let root = packer.add(Part::Root, root).unwrap();
    let uki = packer.add(Part::Uki, uki).unwrap();
    let (index, chunks) = packer.finish();
    let sign = |bytes: &[u8]| Signatures::sign(bytes, keys, endorsements);
    let head = Head::new(manifest(root, uki), index, sign).unwrap();
    [head.encode(), chunks].concat()
}

/// What a host named `demo` that trusts `trusted` takes from `bytes`: root and UKI.
fn take(bytes: &[u8], trusted: &[UpdateKey]) -> Result<[Vec<u8>; 2], String> {
    let mut input = bytes;
    let text = |error: BundleError| error.to_string();
    let head = Head::read(&mut input).map_err(text)?;
    let head = head.verify("demo", trusted).map_err(|e| e.to_string())?;
    let index = head.head().index();
    let mut parts = [Part::Root, Part::Uki].map(|part| vec![0; index.part_size(part) as usize]);
    for chunk in Chunks::new(index, input) {
        let chunk = chunk.map_err(text)?;
        for (part, out) in [Part::Root, Part::Uki].into_iter().zip(&mut parts) {
            for place in index.uses(part).filter(|place| place.chunk == chunk.number) {
                let start = place.offset as usize;
                out[start..start + chunk.bytes.len()].copy_from_slice(&chunk.bytes);
            }
        }
    }
    Ok(parts)
}

#[test]
fn what_goes_in_comes_out() {
    let (root, mut uki) = (content(300 << 12, 1), content(100_000, 2));
    // What both have is there once.
    uki.extend_from_slice(&root[100_000..700_000]);
    let bytes = bundle(&root, &uki, &[key(1)], &[]);
    let [found_root, found_uki] = take(&bytes, &[id(1)]).unwrap();
    assert!(found_root == root && found_uki == uki);
    let head = Head::read(&mut bytes.as_slice()).unwrap();
    assert!(bytes.starts_with(&head.encode()));
    let entries = head.index().entries();
    let once: u64 = entries.iter().map(|entry| u64::from(entry.size)).sum();
    let all = (root.len() + uki.len()) as u64;
    assert!(once < all - 400_000, "{once} of {all}");
    // The same again is the same.
    assert!(bytes == bundle(&root, &uki, &[key(1)], &[]));
}

#[test]
fn only_whom_the_host_trusts() {
    let (root, uki) = (content(20 << 12, 1), content(5000, 2));
    let old = bundle(&root, &uki, &[key(1)], &[]);
    assert!(take(&old, &[id(1), id(9)]).is_ok());
    let refused = take(&old, &[id(2)]).unwrap_err();
    assert!(refused.contains(&id(1).to_string()) && refused.contains(&id(2).to_string()));
    let unsigned = bundle(&root, &uki, &[], &[]);
    let refused = take(&unsigned, &[id(1)]).unwrap_err();
    assert!(refused.contains("not signed"), "{refused}");

    let endorse = |name| [Endorsement::new(&key(1), &key(2).public(), name)];
    let new = bundle(&root, &uki, &[key(2)], &endorse("demo"));
    assert!(take(&new, &[id(1)]).is_ok() && take(&new, &[id(2)]).is_ok());
    let refused = take(&new, &[id(3)]).unwrap_err();
    assert!(refused.contains("signed by"), "{refused}");
    let edge = bundle(&root, &uki, &[key(2)], &endorse("edge"));
    let refused = take(&edge, &[id(1)]).unwrap_err();
    assert!(refused.contains("endorsement"), "{refused}");
    // Nor does a host of another name, whoever signed it.
    for (bundle, keys) in [(&new, [id(1)]), (&new, [id(2)]), (&old, [id(1)])] {
        let head = Head::read(&mut bundle.as_slice()).unwrap();
        let refused = head.verify("edge", &keys).unwrap_err();
        assert!(
            matches!(refused, SignatureError::OtherName { .. }),
            "{refused}"
        );
    }
}

/// A small bundle with all that a bundle can have, and what is in it.
fn small() -> (Vec<u8>, [Vec<u8>; 2]) {
    static SMALL: LazyLock<(Vec<u8>, [Vec<u8>; 2])> = LazyLock::new(|| {
        let (root, uki) = (content(10 << 12, 1), content(3000, 2));
        let endorsement = Endorsement::new(&key(1), &key(2).public(), "demo");
        let bytes = bundle(&root, &uki, &[key(2), key(3)], &[endorsement]);
        (bytes, [root, uki])
    });
    SMALL.clone()
}

#[test]
fn every_cut_is_an_error() {
    let (bytes, _) = small();
    assert!(take(&bytes, &[id(1)]).is_ok());
    let head = Head::read(&mut bytes.as_slice()).unwrap().encode().len();
    let cuts = (0..head + 100).chain((head + 100..bytes.len()).step_by(97));
    for cut in cuts.chain([bytes.len() - 1]) {
        let error = take(&bytes[..cut], &[id(1)]).unwrap_err();
        assert!(error.contains("cut off"), "{cut}: {error}");
    }
    let more = [bytes.as_slice(), b"\0"].concat();
    let error = take(&more, &[id(1)]).unwrap_err();
    assert!(error.contains("after the last chunk"), "{error}");
}

#[test]
fn every_changed_byte_of_the_head_is_an_error() {
    let (bytes, _) = small();
    let head = Head::read(&mut bytes.as_slice()).unwrap().encode().len();
    for at in 0..head {
        for flip in [1, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            let taken = take(&changed, &[id(1), id(3)]);
            assert!(taken.is_err(), "byte {at} of {head} ^ {flip}");
        }
    }
}

#[test]
fn another_index_is_found_by_its_digest() {
    let (root, uki) = (content(40 << 12, 1), content(3000, 2));
    let bytes = bundle(&root, &uki, &[key(1)], &[]);
    let head = Head::read(&mut bytes.as_slice()).unwrap();
    // A size in it, which nothing else would contradict before the chunks are read.
    let index_at = head.encode().len() - head.manifest().index.size as usize;
    let compressed_at = index_at + 16 + 36;
    let mut changed = bytes;
    changed[compressed_at] ^= 1;
    let error = take(&changed, &[id(1)]).unwrap_err();
    assert!(error.contains("not the one of the manifest"), "{error}");
}

#[test]
fn a_chunk_that_is_another_is_found_by_its_digest() {
    let (root, uki) = (content(10 << 12, 1), content(3000, 2));
    let ours = bundle(&root, &uki, &[key(1)], &[]);
    let mut input = ours.as_slice();
    let head = Head::read(&mut input).unwrap();
    let last = Chunks::new(head.index(), input).last().unwrap().unwrap();
    // As long, compressed as well, and whole.
    let mut other = last.bytes.clone();
    other[10] ^= 1;
    let packed = zstd::bulk::compress(&other, orlop_bundle::chunk::LEVEL).unwrap();
    assert_eq!(packed.len(), last.compressed.len());
    let start = ours.len() - packed.len();
    let changed = [&ours[..start], &packed].concat();
    let error = take(&changed, &[id(1)]).unwrap_err();
    assert!(error.contains("SHA-256"), "{error}");
}

proptest! {
    #[test]
    fn whatever_is_changed_is_refused_or_changes_nothing(
        at in any::<prop::sample::Index>(), flip in 1u8.., len in 1usize..5,
    ) {
        let (bytes, parts) = small();
        let start = at.index(bytes.len());
        let end = (start + len).min(bytes.len());
        let mut changed = bytes;
        changed[start..end].iter_mut().for_each(|byte| *byte ^= flip);
        // (zstd ignores a bit or two of a frame; what comes out is the same then.)
        if let Ok(taken) = take(&changed, &[id(1), id(3)]) {
            prop_assert!(taken == parts);
        }
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0usize..400) {
        let _ = take(&bytes, &[id(1)]);
        let (mut whole, _) = small();
        let end = (at + bytes.len()).min(whole.len());
        whole[at..end].copy_from_slice(&bytes[..end - at]);
        let _ = take(&whole, &[id(1)]);
    }
}
