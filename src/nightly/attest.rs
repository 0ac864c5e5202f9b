//! Signed in-toto statements, one per run.
//!
//! The file is a [DSSE] envelope, `application/vnd.in-toto+json`, around an [in-toto statement]
//! (v1) with the predicate [test-result] (v0.1): its subject is the result of the first build,
//! named after the stream, with the ostree content checksum as digest `ostreeContentSha256`; the
//! inputs are in `configuration`. The signature is Ed25519; `keyid` is the SHA-256 of the public
//! key (32 bytes).
//!
//! [DSSE]: https://github.com/secure-systems-lab/dsse/blob/master/envelope.md
//! [in-toto statement]: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
//! [test-result]: https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::config::Attestation;
use crate::disk;
use crate::format::ostree::Checksum;
use crate::format::time::utc;
use crate::history::{Class, Run};

/// The type of the envelope's payload.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Writes the statement on `run` and returns its file. A run that did not get as far as a
/// comparison has no subject: nothing is written, and the result is `None`.
///
/// # Errors
///
/// If the key cannot be read or is invalid, or the file cannot be written.
pub(crate) fn write(to: &Attestation, run: &Run, page: Option<&str>) -> Result<Option<PathBuf>> {
    let Some(statement) = statement(run, page) else { return Ok(None) };
    let key = key(&to.key).with_context(|| format!("attestation key {}", to.key.display()))?;
    let mut text = serde_json::to_vec_pretty(&sign(&key, &serde_json::to_vec(&statement)?))?;
    text.push(b'\n');
    let file = to.dir.join(format!("{}-{}.intoto.json", run.stream, run.id));
    let writing = || format!("writing {}", file.display());
    disk::create_dir_all(&to.dir).with_context(writing)?;
    disk::atomic_write(&file, &text, 0o644).with_context(writing)?;
    Ok(Some(file))
}

/// The statement on `run`.
fn statement(run: &Run, page: Option<&str>) -> Option<Value> {
    let result = match run.verdict.class() {
        Class::Good => "PASSED",
        Class::Bad => "FAILED",
        Class::Failed | Class::Open => return None,
    };
    let checksum = run.checksum_a.as_ref()?;
    let mut predicate = json!({
        "result": result,
        "configuration": [
            {
                "name": "inputs",
                "digest": {"sha256": run.inputs},
                "annotations": {
                    "sourceDateEpoch": run.epoch,
                    "variations": run.variations,
                    "plugins": run.plugins,
                    "reprofix": run.version,
                },
            },
        ],
        "annotations": {
            "verdict": run.verdict,
            "stream": run.stream,
            "architecture": run.architecture,
            "started": utc(run.started),
            "rebuilt": run.checksum_b,
        },
    });
    if run.inputs.is_empty() {
        // A comparison of two finished builds has no inputs.
        predicate["configuration"] = json!([{"name": run.subject_a}, {"name": run.subject_b}]);
    }
    if let Some(page) = page {
        predicate["url"] = page.into();
    }
    Some(json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": run.stream, "digest": {"ostreeContentSha256": checksum}}],
        "predicateType": "https://in-toto.io/attestation/test-result/v0.1",
        "predicate": predicate,
    }))
}

/// Reads an Ed25519 private key, PKCS #8 in PEM.
fn key(path: &Path) -> Result<Ed25519KeyPair> {
    let text = std::fs::read_to_string(path).context("reading it")?;
    let body = text.lines().skip_while(|line| *line != "-----BEGIN PRIVATE KEY-----").skip(1);
    let body: String = body.take_while(|line| !line.starts_with("-----END")).collect();
    if body.is_empty() {
        bail!("it is not a private key in PEM; `openssl genpkey -algorithm ed25519` makes one");
    }
    let der = BASE64.decode(body.as_bytes()).context("its PEM is damaged")?;
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
        .map_err(|why| anyhow::anyhow!("it is not an Ed25519 key: {why}"))
}

/// Signs `payload` and returns the envelope.
fn sign(key: &Ed25519KeyPair, payload: &[u8]) -> Value {
    let signature = key.sign(&pre_authentication(payload));
    json!({
        "payloadType": PAYLOAD_TYPE,
        "payload": BASE64.encode(payload),
        "signatures": [{
            "keyid": Checksum::of(key.public_key().as_ref()).to_string(),
            "sig": BASE64.encode(signature.as_ref()),
        }],
    })
}

/// DSSE's pre-authentication encoding, which is signed.
fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Verdict;

    /// From the protocol's own text: <https://github.com/secure-systems-lab/dsse/blob/master/protocol.md>.
    #[test]
    fn the_encoding_is_that_of_the_protocol() {
        let encoded = pre_authentication(b"hello world");
        assert_eq!(encoded, b"DSSEv1 28 application/vnd.in-toto+json 11 hello world");
    }

    #[test]
    fn only_a_comparison_is_attested() {
        let mut run = Run::start("main", "build");
        run.verdict = Verdict::TimedOut;
        assert!(statement(&run, None).is_none());
        run.verdict = Verdict::Different;
        run.checksum_a = Some("ab".repeat(32));
        let made = statement(&run, Some("https://example.com/run/1.html")).unwrap();
        assert_eq!(made["predicate"]["result"], "FAILED");
        assert_eq!(made["subject"][0]["digest"]["ostreeContentSha256"], "ab".repeat(32));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for text in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            std::fs::write(file.path(), text).unwrap();
            assert!(key(file.path()).is_err(), "{text:?}");
        }
    }
}
