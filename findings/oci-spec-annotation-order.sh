#!/bin/bash
# oci-spec (crates.io) 0.10.0: a manifest that is read and written again.
#
# Guess:    a manifest with its annotations comes out in one order, sorted or as it was read: the crate is
#           what Rust programs build images with, and a manifest's digest is its name.
# Behaviour: annotations are a hash map with a random seed: 20 times the same manifest, written by one
#           process, give about 20 texts, and so about 20 digests.
# Why here: an image is as reproducible as the program that writes its manifest; whoever uses this crate
#           must sort (as ocidir does, by canonical JSON).
# Seen:     20 manifests, more than one text
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cat >"$work/Cargo.toml" <<'END'
[package]
name = "finding"
version = "0.1.0"
edition = "2021"
[dependencies]
oci-spec = { version = "=0.10.0", default-features = false, features = ["image"] }
serde_json = "1"
END
cat >"$work/src/main.rs" <<'END'
use oci_spec::image::ImageManifest;

fn main() {
    let config = r#"{"mediaType":"application/vnd.oci.image.config.v1+json","size":0,
        "digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}"#;
    let notes = r#"{"a":"1","b":"2","c":"3","d":"4","e":"5","f":"6"}"#;
    let text = format!(
        r#"{{"schemaVersion":2,"config":{config},"layers":[],"annotations":{notes}}}"#
    );
    let written = |_| {
        let manifest: ImageManifest = serde_json::from_str(&text).expect("reads");
        manifest.to_string().expect("writes")
    };
    let texts: std::collections::BTreeSet<String> = (0..20).map(written).collect();
    println!("{}", texts.len());
}
END
(cd "$work" && cargo build --quiet)
texts=$("$work/target/debug/finding")
echo "20 manifests, $texts texts"
[ "$texts" -gt 1 ]
