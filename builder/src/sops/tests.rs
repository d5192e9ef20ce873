//! Proofs that files open to what `sops decrypt` gives, and that nothing else opens. The files are
//! those that `tests/sops/make.sh` made with SOPS and age themselves.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;

use aes_gcm::aead::consts::U32;
use aes_gcm::aead::generic_array::GenericArray;
use aes_gcm::aes::Aes256;
use aes_gcm::{AeadInPlace, AesGcm, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::cipher::DataKey;
use super::value::Value;
use super::write::{After, At, First, Writer};
use super::*;

/// Texts that stand encrypted in the files, and parts of the keys: no message may hold one.
const SECRETS: [&str; 3] = ["abc123.0123456789abcdef", "AGE-SECRET-KEY-1", "<a&b>"];

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/sops");
    std::fs::read(folder.join(name)).unwrap()
}

fn text(name: &str) -> String {
    String::from_utf8(fixture(name)).unwrap()
}

fn none(_: &Path) -> io::Result<Vec<u8>> {
    Err(io::ErrorKind::NotFound.into())
}

fn identities(name: &str) -> Identities {
    let variable = |key: &str| (key == "SOPS_AGE_KEY_FILE").then(|| OsString::from(name));
    Identities::find(&variable, &|path| Ok(fixture(&path.to_string_lossy()))).unwrap()
}

fn opened(name: &str, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, Diagnostic> {
    decrypt(name, bytes, &identities("ours.key"))
}

/// The code and place of an error that holds no secret.
fn refused(bytes: &[u8], identities: &Identities) -> (&'static str, String) {
    let error = decrypt("f", bytes, identities).unwrap_err();
    no_secret(&error);
    (error.code, error.place.map(|place| place.to_string()).unwrap_or_default())
}

fn code(text: &str) -> &'static str {
    refused(text.as_bytes(), &identities("ours.key")).0
}

fn no_secret(error: &Diagnostic) {
    let said = error.to_string();
    assert!(!SECRETS.iter().any(|secret| said.contains(secret)), "{said}");
    assert!(error.help.is_some() || error.code == "sops-plain", "{said}");
}

/// A tree as one text: keys, types and values.
fn shape(node: &Node, out: &mut String) {
    match node.value() {
        yaml::Value::Mapping(entries) => {
            out.push('{');
            for entry in entries.iter().filter(|entry| entry.key != KEY) {
                out.push_str(&format!("{:?}: ", entry.key));
                shape(&entry.value, out);
            }
            out.push('}');
        }
        yaml::Value::Sequence(items) => {
            out.push('[');
            items.iter().for_each(|item| shape(item, out));
            out.push(']');
        }
        yaml::Value::Scalar(scalar) => {
            let value = value::written(node, scalar).unwrap();
            let kind = match &value {
                Value::Null => "null",
                Value::Plain(plain) => plain.written.as_str(),
                _ => "text",
            };
            out.push_str(&format!("{kind} {}\n", value.hashed().escape_ascii()));
        }
    }
}

fn shapes(bytes: &[u8]) -> Vec<String> {
    let documents = yaml::parse("f", bytes).unwrap();
    let shape = |node| {
        let mut out = String::new();
        shape(node, &mut out);
        out
    };
    documents.iter().map(shape).collect()
}

#[test]
fn files_open_to_what_sops_gives() {
    for name in
        ["types", "mac-only", "regex", "unencrypted-regex", "suffix", "comment", "uncomment"]
    {
        let plain = opened(name, &fixture(&format!("{name}.sops.yaml"))).unwrap();
        let judge = fixture(&format!("{name}.plain.yaml"));
        assert_eq!(shapes(&plain), shapes(&judge), "{name}");
    }
    let plain = opened("json", &fixture("object.sops.json")).unwrap();
    assert_eq!(shapes(&plain), shapes(&fixture("object.plain.json")));
}

#[test]
fn scalars_mean_what_they_mean_to_sops() {
    // Before SOPS wrote them, and after.
    assert_eq!(shapes(&fixture("file.plain.yaml")), shapes(&fixture("types.plain.yaml")));
}

#[test]
fn what_is_not_encrypted_stays_as_it_is_written() {
    let plain = opened("f", &fixture("comment.sops.yaml")).unwrap();
    insta::assert_snapshot!(std::str::from_utf8(&plain).unwrap(), @r#"
    first:
      token: "one"
      number: 5
    second:
      name: plain text
      key: "two"
      list:
        - "three"
        - 4
    third: 16
    "#);
}

#[test]
fn whole_files_in_age_open_to_the_byte() {
    let plain = fixture("file.plain.yaml");
    for name in ["binary.age", "armored.age"] {
        assert!(is_age(&fixture(name)));
        assert_eq!(*opened(name, &fixture(name)).unwrap(), plain, "{name}");
    }
    let spaced = [b"\n  \n".as_slice(), &fixture("armored.age"), b"\n\n"].concat();
    assert_eq!(*opened("f", &spaced).unwrap(), plain);
}

#[test]
fn what_is_encrypted_is_told_from_what_is_not() {
    let is = |bytes: &[u8]| is_encrypted(&yaml::parse("f", bytes).unwrap());
    assert!(is(&fixture("types.sops.yaml")) && is(&fixture("object.sops.json")));
    assert!(!is(&fixture("types.plain.yaml")) && !is(b"sops: {age: []}\n") && !is(b"- sops\n"));
    assert!(!is_age(&fixture("types.sops.yaml")));
    assert_eq!(code("machine: {}\n"), "sops-plain");
}

/// The file with one byte of its text changed for another of Base64's.
fn flipped(text: &str, at: usize) -> String {
    let new = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
    format!("{}{new}{}", &text[..at], &text[at + 1..])
}

#[test]
fn a_changed_value_is_found_at_its_place() {
    let text = text("types.sops.yaml");
    let line = text.lines().position(|line| line.contains("token: ENC")).unwrap() + 1;
    let start = text.find("token: ENC").unwrap();
    for part in ["data:", ",iv:", ",tag:"] {
        let at = start + text[start..].find(part).unwrap() + part.len();
        let bytes = flipped(&text, at).into_bytes();
        let found = refused(&bytes, &identities("ours.key"));
        assert_eq!(found, ("sops-value", format!("f:{line}:12")), "{part}");
    }
    let cut = text.replacen("token: ENC[AES256_GCM,data:", "token: ENC[AES256_GCM,data", 1);
    assert_eq!(code(&cut), "sops-plain-value");
    assert_eq!(code(&text.replacen("token: ENC", "token: x #", 1)), "sops-plain-value");
    assert_eq!(code(&text.replacen("token: ENC", "token: 5 #", 1)), "sops-plain-value");
}

#[test]
fn a_moved_value_is_found() {
    let text = text("types.sops.yaml");
    assert_eq!(code(&text.replacen("    token: ", "    taken: ", 1)), "sops-value");
    assert_eq!(code(&text.replacen("machine:", "Machine:", 1)), "sops-value");
}

#[test]
fn a_mac_that_does_not_fit_is_found() {
    let text = text("types.sops.yaml");
    let mac = text.find("mac: ENC").unwrap();
    for part in ["data:", ",iv:", ",tag:"] {
        let at = mac + text[mac..].find(part).unwrap() + part.len();
        assert_eq!(code(&flipped(&text, at)), "sops-mac", "{part}");
    }
    let without = |key: &str| -> String {
        text.lines().filter(|line| !line.contains(key)).map(|line| format!("{line}\n")).collect()
    };
    for changed in [
        without("    token: ENC"),
        text.replacen("left as it is", "left as it was", 1),
        text.replacen("number_unencrypted: 15", "number_unencrypted: 16", 1),
        text.replacen("lastmodified: \"20", "lastmodified: \"19", 1),
        text.replacen("mac: ENC", "mac: ''\n    was: ENC", 1),
        text.replacen("    version: 3", "    mac_only_encrypted: true\n    version: 3", 1),
    ] {
        assert!(changed != text);
        assert!(["sops-mac", "sops-metadata"].contains(&code(&changed)), "{}", code(&changed));
    }
}

#[test]
fn a_mac_of_encrypted_values_leaves_the_others_free() {
    let text = text("mac-only.sops.yaml");
    let changed = text.replacen("type: controlplane", "type: worker", 1);
    assert!(
        opened("f", changed.as_bytes()).unwrap().windows(12).any(|part| part == b"type: worker")
    );
    assert_eq!(code(&changed.replacen("    mac_only_encrypted: true\n", "", 1)), "sops-mac");
}

#[test]
fn a_changed_type_is_found() {
    let text = text("types.sops.yaml");
    let token = text.find("token: ENC").unwrap();
    let typed = |kind: &str| {
        let at = token + text[token..].find("type:str").unwrap();
        format!("{}type:{kind}{}", &text[..at], &text[at + 8..])
    };
    for kind in ["int", "float", "bool", "time", "comment", "map", ""] {
        assert_eq!(code(&typed(kind)), "sops-value", "{kind}");
    }
    // An item that becomes a comment is gone, which the MAC tells.
    let is_item = |line: &&str| line.trim().starts_with("- ENC") && line.ends_with("type:str]");
    let at = text.find(text.lines().find(is_item).unwrap()).unwrap();
    let at = at + text[at..].find("type:str").unwrap();
    let gone = format!("{}type:comment{}", &text[..at], &text[at + 8..]);
    assert_eq!(code(&gone), "sops-mac");
}

#[test]
fn other_identities_open_nothing() {
    for name in ["regex.sops.yaml", "object.sops.json", "binary.age"] {
        assert_eq!(refused(&fixture(name), &identities("other.key")).0, "sops-identity", "{name}");
        let none = Identities::default();
        assert_eq!(refused(&fixture(name), &none).0, "sops-no-identity", "{name}");
    }
    // The first two recipients of these are both of ours.
    for name in ["types.sops.yaml", "armored.age"] {
        assert!(decrypt(name, &fixture(name), &identities("other.key")).is_ok(), "{name}");
    }
}

#[test]
fn a_damaged_envelope_is_told_from_one_for_others() {
    let text = text("regex.sops.yaml");
    let start = text.find("BEGIN AGE").unwrap();
    let body = start + text[start..].find('\n').unwrap();
    let damaged = [
        text.replacen("-----BEGIN AGE", "-----BEGIN OLD", 1),
        format!("{}{}", &text[..body], &text[body + 40..]),
        text.replacen("-----END AGE ENCRYPTED FILE-----", "", 1),
    ];
    for text in damaged {
        assert_eq!(code(&text), "sops-damaged");
    }
    let whole = fixture("binary.age");
    for length in (20..whole.len()).step_by(7) {
        assert_eq!(
            refused(&whole[..length], &identities("ours.key")).0,
            "sops-damaged",
            "{length}"
        );
    }
    let last = [&whole[..whole.len() - 1], &[whole[whole.len() - 1] ^ 1]].concat();
    assert_eq!(refused(&last, &identities("ours.key")).0, "sops-damaged");
    let newer = [b"age-encryption.org/v9".as_slice(), &whole[21..]].concat();
    assert_eq!(refused(&newer, &identities("ours.key")).0, "sops-damaged");
}

/// A file in age that holds bytes.
fn in_age(encryptor: age::Encryptor, bytes: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut writer = encryptor.wrap_output(&mut file).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap();
    file
}

fn for_us(bytes: &[u8]) -> Vec<u8> {
    let key = text("ours.key");
    let identity: age::x25519::Identity = key.lines().last().unwrap().parse().unwrap();
    let recipient = identity.to_public();
    let recipients = std::iter::once(&recipient as &dyn age::Recipient);
    in_age(age::Encryptor::with_recipients(recipients).unwrap(), bytes)
}

/// The same, in armor.
fn armored(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    let format = age::armor::Format::AsciiArmor;
    let mut writer = age::armor::ArmoredWriter::wrap_output(&mut out, format).unwrap();
    writer.write_all(&for_us(bytes)).unwrap();
    writer.finish().unwrap();
    String::from_utf8(out).unwrap()
}

/// A comment that is encrypted as SOPS does it.
fn sealed(key: &[u8], path: &str, plain: &[u8]) -> String {
    let cipher = AesGcm::<Aes256, U32>::new_from_slice(key).unwrap();
    let mut data = plain.to_vec();
    let iv = GenericArray::from([9; 32]);
    let tag = cipher.encrypt_in_place_detached(&iv, path.as_bytes(), &mut data).unwrap();
    let [data, iv, tag] = [data.as_slice(), &iv, &tag].map(|bytes| STANDARD.encode(bytes));
    format!("ENC[AES256_GCM,data:{data},iv:{iv},tag:{tag},type:comment]")
}

#[test]
fn a_passphrase_is_refused_by_name() {
    let mut recipient = age::scrypt::Recipient::new("x".to_owned().into());
    recipient.set_work_factor(2);
    let recipients = std::iter::once(&recipient as &dyn age::Recipient);
    let file = in_age(age::Encryptor::with_recipients(recipients).unwrap(), b"a: 1\n");
    assert_eq!(refused(&file, &identities("ours.key")).0, "sops-passphrase");
}

#[test]
fn other_ways_to_share_a_key_are_refused_by_name() {
    let groups = opened("f", &fixture("groups.sops.yaml")).unwrap_err();
    assert_eq!((groups.code, groups.place.unwrap().line), ("sops-key-groups", 4));
    let foreign =
        "a: b\nsops: {mac: x, lastmodified: y, pgp: [{fp: z}], kms: [{arn: z}], age: []}\n";
    let error = opened("f", foreign.as_bytes()).unwrap_err();
    insta::assert_snapshot!(error, @"
    error: this file is encrypted with PGP, AWS KMS, and not with age
      --> f:2:7
    help: add an age recipient: `sops rotate --in-place --add-age age1…`
    ");
    assert_eq!(code("sops: {mac: x, lastmodified: y}\n"), "sops-no-age");
}

#[test]
fn a_sops_mapping_that_is_no_such_is_refused() {
    let text = text("regex.sops.yaml");
    let rule = "    encrypted_regex: ";
    for (changed, want) in [
        (text.replacen("    lastmodified:", "    modified:", 1), "sops-metadata"),
        (text.replacen("    mac: ", "    mac: []\n    was: ", 1), "sops-metadata"),
        (text.replacen("- enc: |", "- and: |", 1), "sops-metadata"),
        (text.replacen(rule, "    unencrypted_suffix: x\n    encrypted_regex: ", 1), "sops-rule"),
        (text.replacen(rule, "    encrypted_regex: '[' #", 1), "sops-rule"),
        (text.replacen(rule, "    encrypted_regex: '((a{99}){99}){99}' #", 1), "sops-rule"),
        (format!("a: 1\n---\n{text}"), "sops-metadata"),
        (format!("{text}---\n- a\n"), "sops-document"),
        (format!("{text}---\na: 1\n"), "sops-mac"),
    ] {
        assert!(changed != text, "{want}");
        assert_eq!(code(&changed), want);
    }
}

#[test]
fn a_data_key_of_another_length_is_refused() {
    for length in [0, 16, 31, 33, 4096] {
        let armored = armored(&vec![7; length]);
        let text = format!("sops: {{mac: x, lastmodified: y, age: [{{enc: {armored:?}}}]}}\n");
        assert!(["sops-metadata", "sops-damaged"].contains(&code(&text)), "{length}");
    }
}

#[test]
fn aliases_make_no_more_than_the_limit() {
    let text = text("types.sops.yaml");
    let line = format!("&b {}", "x".repeat(1 << 20));
    let bomb = format!("bomb_unencrypted: [{line}{}]\n", ", *b".repeat(20));
    assert_eq!(code(&format!("{bomb}{text}")), "sops-too-large");
    // Comments of a list leave no text, but are read.
    let comment = sealed(&[7; 32], "c:", &vec![b'x'; 1 << 20]);
    let age = armored(&[7; 32]);
    let many = format!("c: [&c \"{comment}\"{}]\n", ", *c".repeat(20));
    let head = format!("sops: {{mac: x, lastmodified: y, age: [{{enc: {age:?}}}]}}\n");
    assert_eq!(code(&format!("{head}{many}")), "sops-too-large");
    assert_eq!(code(&format!("{head}c: [\"{comment}\"]\n")), "sops-mac");
    let large = for_us(&vec![b'x'; MAX_BYTES + 1]);
    assert_eq!(refused(&large, &identities("ours.key")).0, "sops-too-large");
    let fits = for_us(&vec![b'x'; MAX_BYTES]);
    assert_eq!(opened("f", &fits).unwrap().len(), MAX_BYTES);
}

#[test]
fn recipients_are_few_and_their_keys_short() {
    let sops = |age: &str| format!("sops: {{mac: x, lastmodified: y, age: [{age}]}}\n");
    let copy = armored(&[7; 32]);
    // The key opens, and the MAC is none.
    let ours = format!("&c {{enc: {copy:?}}}");
    assert_eq!(code(&sops(&ours)), "sops-mac");
    assert_eq!(code(&sops(&format!("{ours}{}", ", *c".repeat(511)))), "sops-mac");
    assert_eq!(code(&sops(&format!("{ours}{}", ", *c".repeat(512)))), "sops-metadata");
    assert_eq!(code(&sops(&format!("{{enc: {:?}}}", copy.repeat(30)))), "sops-metadata");
    // Copies for others go before ours.
    let other = text("groups.sops.yaml");
    let other = &other[other.rfind("-----BEGIN").unwrap()..];
    let end = other.find("-----END AGE ENCRYPTED FILE-----\n").unwrap() + 33;
    let other: String = other[..end].lines().map(|line| format!("{}\n", line.trim())).collect();
    let many = format!("{{enc: {other:?}}}, {{enc: nonsense}}, {ours}");
    assert_eq!(code(&sops(&many)), "sops-mac");
    assert_eq!(code(&sops(&format!("{{enc: {other:?}}}"))), "sops-identity");
}

/// What is found with an environment and files.
fn find(variables: &[(&str, &str)], files: &[(&str, &str)]) -> Result<Identities, Diagnostic> {
    let value = |key: &str| {
        variables.iter().find(|(name, _)| *name == key).map(|(_, value)| OsString::from(value))
    };
    let read = |path: &Path| match files.iter().find(|(name, _)| Path::new(name) == path) {
        Some((_, text)) if *text == "denied" => Err(io::ErrorKind::PermissionDenied.into()),
        Some((_, text)) => Ok(text.as_bytes().to_vec()),
        None => none(path),
    };
    Identities::find(&value, &read)
}

#[test]
fn identities_are_found_where_sops_finds_them() {
    let (ours, other) = (text("ours.key"), text("other.key"));
    let key = ours.lines().last().unwrap();
    let both = format!("  {key} {key}\r\n# {key}\n\n");
    let user = ("/home/a/.config/sops/age/keys.txt", ours.as_str());
    for (variables, files, count) in [
        (vec![("SOPS_AGE_KEY", both.as_str())], vec![], 2),
        (vec![("SOPS_AGE_KEY_FILE", "k")], vec![("k", ours.as_str())], 1),
        (vec![("HOME", "/home/a")], vec![user], 1),
        (vec![("HOME", "/home/a"), ("XDG_CONFIG_HOME", "/x")], vec![user], 0),
        (vec![("HOME", "/home/a"), ("XDG_CONFIG_HOME", "x")], vec![user], 0),
        (vec![("HOME", "/home/a"), ("XDG_CONFIG_HOME", "")], vec![user], 1),
        (vec![("XDG_CONFIG_HOME", "/x")], vec![("/x/sops/age/keys.txt", ours.as_str())], 1),
        (vec![("SOPS_AGE_KEY", key), ("HOME", "/home/a")], vec![user], 2),
        (vec![("SOPS_AGE_KEY_CMD", "/bin/false")], vec![], 0),
        (vec![], vec![], 0),
    ] {
        let found = find(&variables, &files).unwrap();
        assert_eq!(format!("{found:?}"), format!("{count} identities"), "{variables:?}");
    }
    // Any one that fits will do.
    let all = find(&[("SOPS_AGE_KEY", &other), ("HOME", "/home/a")], &[user]).unwrap();
    assert!(decrypt("f", &fixture("regex.sops.yaml"), &all).is_ok());
}

#[test]
fn what_is_no_identity_is_refused_without_being_shown() {
    let key = text("ours.key").lines().last().unwrap().to_owned();
    let cut = &key[..key.len() - 1];
    let error =
        find(&[("SOPS_AGE_KEY_FILE", "k")], &[("k", &format!("# x\n{cut}\n"))]).unwrap_err();
    assert!(!error.to_string().contains(&key[20..40]), "{error}");
    assert_eq!(error.place.unwrap().to_string(), "k:2:1");
    for (variables, files, code) in [
        ([("SOPS_AGE_KEY", cut)], ("k", ""), "sops-identity-text"),
        ([("SOPS_AGE_KEY_FILE", "k")], ("x", ""), "sops-identity-file"),
        ([("HOME", "/a")], ("/a/.config/sops/age/keys.txt", "denied"), "sops-identity-file"),
    ] {
        assert_eq!(find(&variables, &[files]).unwrap_err().code, code);
    }
}

#[test]
fn the_advice_names_all_places_and_what_was_of_no_use() {
    let keys = "AGE-PLUGIN-YUBIKEY-1QQ\nAGE-SECRET-KEY-PQ-1QQ\n";
    let sealed = text("armored.age");
    let variables = [("SOPS_AGE_KEY_CMD", "pass x"), ("SOPS_AGE_KEY", &sealed), ("HOME", "/a")];
    let found = find(&variables, &[("/a/.config/sops/age/keys.txt", keys)]).unwrap();
    let error = decrypt("f", &fixture("regex.sops.yaml"), &found).unwrap_err();
    insta::assert_snapshot!(error, @"
    error: this is encrypted, and there is no age identity
      --> f:111:5
    help: set `SOPS_AGE_KEY_FILE` to the file of an identity that it is for; looked at `SOPS_AGE_KEY`, `SOPS_AGE_KEY_FILE`, `/a/.config/sops/age/keys.txt`; `SOPS_AGE_KEY` is itself encrypted; `SOPS_AGE_KEY_CMD` names a program, and none is run; the identity at `/a/.config/sops/age/keys.txt:1` is of a kind that is not supported; the identity at `/a/.config/sops/age/keys.txt:2` is of a kind that is not supported
    ");
}

#[test]
fn numbers_and_times_are_those_of_go() {
    for (kind, plain, hashed, written) in [
        ("int", "-5", "-5", "-5"),
        ("int", "+05", "5", "5"),
        ("float", "1000000", "1000000", "1e+06"),
        ("float", "100000", "100000", "100000"),
        ("float", "0.0001", "0.0001", "0.0001"),
        ("float", "0.00001", "0.00001", "1e-05"),
        ("float", "-1.5e300", &format!("-15{}", "0".repeat(299)), "-1.5e+300"),
        ("float", "+Inf", "+Inf", ".inf"),
        ("float", "-Inf", "-Inf", "-.inf"),
        ("bool", "True", "True", "true"),
        ("bool", "f", "False", "false"),
        (
            "time",
            "2024-01-02T03:04:05.120+00:00",
            "2024-01-02T03:04:05.12Z",
            "2024-01-02T03:04:05.12Z",
        ),
    ] {
        let value = value::opened(kind, Zeroizing::new(plain.into())).unwrap();
        let Value::Plain(shown) = &value else { panic!("{kind} {plain}") };
        assert_eq!((value.hashed(), shown.written.as_str()), (hashed.as_bytes(), written));
    }
    for (kind, plain) in [
        ("int", "1.5"),
        ("int", "9223372036854775808"),
        ("int", ""),
        ("float", "1e999"),
        ("float", "x"),
        ("bool", "yes"),
        ("time", "2023-02-29"),
        ("time", "2024-01-02T24:00:00Z"),
        ("time", "2024-01-02T03:04:05"),
        ("time", "now"),
        ("other", "x"),
    ] {
        assert!(value::opened(kind, Zeroizing::new(plain.into())).is_none(), "{kind} {plain}");
    }
}

/// What a walk writes of documents in which nothing is encrypted.
fn rewritten(documents: &[Node]) -> Result<Zeroizing<Vec<u8>>, Diagnostic> {
    let sops =
        yaml::parse("f", b"sops: {mac: x, lastmodified: y, encrypted_suffix: '\xc2\xa7'}\n")?;
    let metadata = Metadata::read(&sops)?;
    let key = DataKey::new(&[0; 32]).unwrap();
    Ok(walk::walk(documents, &metadata, &key)?.0)
}

#[test]
fn rewriting_keeps_all_that_the_judge_wrote() {
    for name in ["types.plain.yaml", "file.plain.yaml", "comment.plain.yaml", "object.plain.json"] {
        let bytes = fixture(name);
        let again = rewritten(&yaml::parse(name, &bytes).unwrap()).unwrap();
        assert_eq!(shapes(&again), shapes(&bytes), "{name}");
    }
}

/// Pieces of YAML that meet in odd ways below a key.
fn soup() -> impl Strategy<Value = String> {
    let pieces = vec![
        "a",
        ": ",
        "- ",
        "\n  ",
        "\n ",
        "  ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "&x ",
        "*x",
        "!!str ",
        "? ",
        "| ",
        ">-",
        "'",
        "\"",
        " #",
        "---",
        "...",
        "\t",
        "0x1",
        "1e3",
        "~",
        "ä",
        "\\",
        "null",
        "!a ",
        "!!int ",
        "!!binary ",
        "Zm9v",
        "%",
        "@",
        "`",
        "2024-1-2",
        ":",
        "-",
        "?",
        "\u{85}",
        "🦀",
    ];
    let piece = prop::sample::select(pieces);
    prop::collection::vec(piece, 0..30).prop_map(|pieces| format!("k: {}\n", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn odd_yaml_is_written_anew_as_it_is(text in soup()) {
        if let Ok(documents) = yaml::parse("f", text.as_bytes())
            && let Ok(again) = rewritten(&documents)
        {
            let shown = String::from_utf8_lossy(&again).into_owned();
            prop_assert!(yaml::parse("f", &again).is_ok(), "{shown}");
            prop_assert_eq!(shapes(&again), shapes(text.as_bytes()), "{}", shown);
        }
    }

    #[test]
    fn any_text_and_key_is_read_as_it_was(
        texts in prop::collection::btree_map(".{0,200}", prop::collection::vec(any::<u8>(), 0..40), 0..5),
        strings in prop::collection::vec(any::<String>(), 0..5),
    ) {
        let mut out = Writer::new(Place { file: "f".into(), line: 1, column: 1 });
        let strings = strings.iter().enumerate().map(|(n, s)| (format!("§{n}"), s.clone().into_bytes()));
        let texts: Vec<(String, Vec<u8>)> = texts.into_iter().chain(strings).collect();
        let mut first = First::Yes;
        for (key, bytes) in &texts {
            out.start(At::DOCUMENT, first).unwrap();
            first = First::No;
            out.key(key, 0).unwrap();
            let value = Value::Secret(Zeroizing::new(bytes.clone()));
            out.value(At::DOCUMENT.inner(After::Key), &value).unwrap();
        }
        let written = out.finish();
        let documents = yaml::parse("f", &written).unwrap();
        let entries = documents.first().and_then(Node::entries).unwrap_or_default();
        let read: Vec<_> = entries
            .iter()
            .map(|entry| {
                let value = value::written(&entry.value, entry.value.scalar().unwrap()).unwrap();
                (entry.key.clone(), value.hashed().to_vec())
            })
            .collect();
        prop_assert_eq!(read, texts);
    }
}

/// Changes to a file: a byte for another, a cut, a piece taken from elsewhere.
fn changed(
    mut bytes: Vec<u8>,
    changes: &[(u8, prop::sample::Index, prop::sample::Index, u8)],
) -> Vec<u8> {
    for (kind, at, from, byte) in changes {
        if bytes.is_empty() {
            break;
        }
        let (at, from) = (at.index(bytes.len()), from.index(bytes.len()));
        match kind % 4 {
            0 => bytes[at] = *byte,
            1 => bytes[at] ^= 1 << (byte % 8),
            2 => drop(
                bytes.drain(at.min(from)..at.min(from) + usize::from(*byte).min(at.abs_diff(from))),
            ),
            _ => {
                let piece = bytes[from..(from + usize::from(*byte)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn changed_files_never_panic_nor_tell(
        name in prop::sample::select(vec![
            "types.sops.yaml", "mac-only.sops.yaml", "comment.sops.yaml", "groups.sops.yaml",
            "object.sops.json", "binary.age", "armored.age",
        ]),
        changes in prop::collection::vec(any::<(u8, prop::sample::Index, prop::sample::Index, u8)>(), 1..4),
    ) {
        let bytes = changed(fixture(name), &changes);
        match opened("f", &bytes) {
            Err(error) if error.code.starts_with("sops-") => no_secret(&error),
            Err(_) => {}
            Ok(plain) => prop_assert!(is_age(&bytes) || yaml::parse("f", &plain).is_ok()),
        }
    }
}
