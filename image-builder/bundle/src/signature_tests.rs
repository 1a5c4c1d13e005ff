//! Who is trusted, and what is said when nobody is.

use super::*;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn id(seed: u8) -> UpdateKey {
    key(seed).public().id()
}

fn endorse(by: u8, new: u8, name: &str) -> Endorsement {
    Endorsement::new(&key(by), &key(new).public(), name)
}

fn signatures(keys: &[u8], endorsements: &[Endorsement]) -> Signatures {
    let keys: Vec<SecretKey> = keys.iter().map(|seed| key(*seed)).collect();
    Signatures::sign(b"manifest", &keys, endorsements).unwrap()
}

/// What a host named `demo` that trusts `trusted` makes of them.
fn verify(signatures: &Signatures, trusted: &[u8]) -> Result<Vec<UpdateKey>, SignatureError> {
    let trusted: Vec<UpdateKey> = trusted.iter().map(|seed| id(*seed)).collect();
    signatures.verify(b"manifest", "demo", &trusted)
}

#[test]
fn one_signature_by_a_trusted_key_is_enough() {
    let both = signatures(&[1, 2], &[]);
    assert_eq!(verify(&both, &[2, 3]), Ok(vec![id(2)]));
    assert_eq!(verify(&both, &[2, 1]), Ok(vec![id(1), id(2)]));
    let error = verify(&both, &[3]).unwrap_err();
    let text = error.to_string();
    let named = [id(1), id(2), id(3)].map(|key| text.contains(&key.to_string()));
    assert_eq!(named, [true; 3], "{text}");
    let error = verify(&both, &[]).unwrap_err().to_string();
    assert!(error.contains("of which there are none"), "{error}");
    let nobody = signatures(&[], &[]);
    assert_eq!(verify(&nobody, &[1]), Err(SignatureError::Unsigned));
}

#[test]
fn other_bytes_have_other_signatures() {
    let one = signatures(&[1], &[]);
    let found = one.verify(b"manifesto", "demo", &[id(1)]);
    assert_eq!(found, Err(SignatureError::Signature(id(1))));
    // One that does not hold spoils the others.
    let mut two = signatures(&[1, 2], &[]);
    two.signatures[1].1[5] ^= 1;
    assert_eq!(verify(&two, &[1]), Err(SignatureError::Signature(id(2))));
    // Nor is a signature of an endorsement one of a manifest that reads like it.
    let endorsement = endorse(1, 2, "demo");
    let mut stolen = signatures(&[1], &[]);
    stolen.signatures[0].1 = endorsement.signature.0;
    let like = &endorsed("demo", &endorsement.key)[ENDORSEMENT.len()..];
    assert!(stolen.check(like, "demo").is_err());
}

#[test]
fn an_old_key_can_hand_over_to_a_new_one() {
    let rotated = signatures(&[2], &[endorse(1, 2, "demo")]);
    assert_eq!(verify(&rotated, &[1]), Ok(vec![id(2)]));
    assert_eq!(verify(&rotated, &[2]), Ok(vec![id(2)]));
    assert!(matches!(
        verify(&rotated, &[3]),
        Err(SignatureError::Unknown { .. })
    ));
    // Twice, for a host that missed the version between; in whatever order they come.
    let twice = signatures(&[3], &[endorse(2, 3, "demo"), endorse(1, 2, "demo")]);
    assert_eq!(verify(&twice, &[1]), Ok(vec![id(3)]));
    // A circle ends.
    let circle = signatures(&[4], &[endorse(2, 3, "demo"), endorse(3, 2, "demo")]);
    assert!(verify(&circle, &[2]).is_err());
    // The new key does not speak for the old one.
    let back = signatures(&[2], &[endorse(2, 1, "demo")]);
    assert!(matches!(
        verify(&back, &[1]),
        Err(SignatureError::Unknown { .. })
    ));
}

#[test]
fn an_endorsement_is_for_one_name_and_one_key() {
    let refused = |endorsement: Endorsement| {
        let with = signatures(&[2], &[endorsement]);
        let error = verify(&with, &[1]).unwrap_err();
        assert!(
            matches!(error, SignatureError::Endorsement { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("--name demo"), "{error}");
    };
    refused(endorse(1, 2, "edge"));
    let mut other_key = endorse(1, 3, "demo");
    other_key.key = Hex(id(2).0);
    refused(other_key);
    let mut other_old = endorse(3, 2, "demo");
    other_old.by = Hex(id(1).0);
    refused(other_old);
    assert!(endorse(1, 2, "demo").check("demo").is_ok());
    assert!(endorse(1, 2, "demo").check("edge").is_err());
    let mut renamed = endorse(1, 2, "edge");
    renamed.name = "demo".to_owned();
    assert!(renamed.check("demo").is_err());
    let mut misnamed = endorse(1, 2, "demo");
    misnamed.name = "edge".to_owned();
    assert!(misnamed.check("demo").is_err());
}

#[test]
fn the_written_form_is_read_back_and_nothing_else_is() {
    let signatures = signatures(&[1, 2], &[endorse(1, 2, "demo")]);
    let bytes = signatures.encode();
    assert_eq!(Signatures::decode(&bytes).unwrap(), signatures);
    assert_eq!(bytes.len(), 2 + 2 * 96 + 128);
    for cut in 0..bytes.len() {
        assert!(Signatures::decode(&bytes[..cut]).is_err(), "{cut}");
    }
    let more = [bytes.as_slice(), &[0]].concat();
    assert!(Signatures::decode(&more).is_err());
    let many = [&[9, 0][..], &[0; 9 * 96]].concat();
    assert!(Signatures::decode(&many).is_err());
    let keys: Vec<SecretKey> = (0..9).map(key).collect();
    assert!(Signatures::sign(b"", &keys, &[]).is_err());
}
