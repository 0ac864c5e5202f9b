//! Unified kernel images and addons as the real ukify, systemd-measure, sbsign and systemd-sbsign of
//! Debian sid (systemd 262) make them: what `check` and `initramfs diff` say of each pair.
//! `tests/fixtures/uki/make` made them.

use std::path::Path;

use crate::repo::{reprofix, run};

/// What is said of two images, by both commands.
fn said(a: &str, b: &str) -> [String; 2] {
    let dir = tempfile::tempdir().unwrap();
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/uki/pairs.tar.xz");
    let to = dir.path().to_str().unwrap();
    run("tar", &["-xJf", packed.to_str().unwrap(), "-C", to]);
    let [a, b] = [a, b].map(|name| format!("{to}/{name}.efi"));
    let (code, text, err) = reprofix(&["check", &a, &b, "--source-date-epoch=1"]);
    let (same, diff, _) = reprofix(&["initramfs", "diff", &a, &b]);
    assert!(code < 2 && code == same, "{text}{err}{diff}");
    [text, diff]
}

/// What must be said, and what must not.
fn says(pair: [&str; 2], lines: &[&str], never: &[&str]) {
    for text in said(pair[0], pair[1]) {
        for line in lines {
            assert!(text.contains(line), "{pair:?}: no {line:?} in:\n{text}");
        }
        for line in never {
            assert!(!text.contains(line), "{pair:?}: {line:?} in:\n{text}");
        }
    }
}

#[test]
fn signatures_of_measurements_follow_what_is_measured() {
    says(
        ["policy.a", "policy.b"],
        &[
            ".initrd: file: content, line 1: \"one\" | \"two\"",
            ".pcrsig: it signs other measurements: they follow the sections that differ",
        ],
        &["another key", "differing from byte"],
    );
}

#[test]
fn another_key_of_measurements_is_named() {
    says(
        ["policy.a", "key.b"],
        &[".pcrpkey: ", ".pcrsig: signed with another key ("],
        &[".initrd"],
    );
}

#[test]
fn a_profile_and_an_addon_are_named() {
    let second = [".cmdline (2): -rescue a", ".profile (2): -TITLE=a", ".profile (2): +TITLE=b"];
    says(["profile.a", "profile.b"], &second, &[".initrd", ".linux"]);
    says(["addon.a", "addon.b"], &[".cmdline: -debug=a", ".cmdline: +debug=b"], &["signature"]);
}

#[test]
fn only_the_time_of_a_signature_is_said_to_be_so() {
    says(
        ["sbsign.a", "sbsign.b"],
        &["its signature: ", "nothing else differs but the PE checksum", "systemd-sbsign"],
        &[".linux", ".initrd", ".cmdline"],
    );
    // systemd-sbsign takes SOURCE_DATE_EPOCH: made seconds apart, they are one.
    let [text, diff] = said("systemd-sbsign.a", "systemd-sbsign.b");
    assert!(text.contains("\nsame") && diff == "same\n", "{text}{diff}");
}
