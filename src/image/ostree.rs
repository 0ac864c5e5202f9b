//! ostree commits encapsulated in images: which commit, and its content checksum.
//!
//! The first layer of such an image holds the commit object near its start, at
//! `sysroot/ostree/repo/objects/XX/REST.commit` (ostree-rs-ext, "encapsulation").

use std::io::Read as _;

use anyhow::{Context as _, ensure};
use serde::Serialize;

use crate::format::ostree::{Checksum, Root};
use crate::source::oci::tar::Reader;
use crate::source::oci::{Image, Store};

/// The label that names the commit.
const LABEL: &str = "ostree.commit";
/// Members that are looked at before the commit is given up: 256 object directories, and more
/// than any tool writes before the commit.
const MEMBERS: usize = 10_000;
/// Bytes of a commit object (libostree's own limit for metadata is larger, but a commit holds
/// only its metadata dictionary).
const COMMIT_BYTES: u64 = 4 << 20;

/// A commit in an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Encapsulated {
    /// Its checksum. Importing one image thrice gives three commits: never compared.
    pub commit: String,
    /// SHA-256 of its root's dirtree and dirmeta: what is compared.
    pub content_checksum: String,
}

/// The commit that `image` encapsulates, `None` if it is no such image.
///
/// Fails if the image says that it is one (label `ostree.commit`) and its first layer holds no
/// commit, or one that is not what its name says.
pub fn commit(
    store: &Store,
    image: &Image,
    config: &serde_json::Value,
) -> anyhow::Result<Option<Encapsulated>> {
    let Some(label) = config["config"]["Labels"][LABEL].as_str() else { return Ok(None) };
    let (Some(layer), Some(diff_id)) = (image.layers.first(), image.diff_ids.first()) else {
        return Ok(None);
    };
    let reading = || format!("looking for commit {label} in layer {}", layer.digest);
    let plain = store.plain(&layer.name, layer.digest.hasher(), diff_id.hasher())?;
    let mut reader = Reader::new(plain.with_context(|| format!("{}: missing", layer.digest))?);
    for _ in 0..MEMBERS {
        let Some(member) = reader.next_member().with_context(reading)? else { break };
        let Some(name) = object_name(&member.path) else { continue };
        ensure!(member.size <= COMMIT_BYTES, "commit {name} has {} bytes: refused", member.size);
        let mut bytes = Vec::new();
        reader.by_ref().read_to_end(&mut bytes).with_context(reading)?;
        let sum = Checksum::of(&bytes).to_string();
        ensure!(
            sum == name,
            "commit object {name} is corrupt: its bytes have checksum {sum}; copy the image again"
        );
        let content = Root::parse_commit(&bytes).with_context(reading)?.content_checksum();
        return Ok(Some(Encapsulated { commit: name, content_checksum: content.to_string() }));
    }
    anyhow::bail!("layer {} holds no commit, though the image's label names {label}", layer.digest)
}

/// `…/objects/XX/REST.commit` as the checksum in its name.
fn object_name(path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?.strip_suffix(".commit")?;
    let (_, object) = path.split_once("ostree/repo/objects/")?;
    let (head, rest) = object.split_once('/')?;
    let name = format!("{head}{rest}");
    name.parse::<Checksum>().is_ok().then_some(name)
}
