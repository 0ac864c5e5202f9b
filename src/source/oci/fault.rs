//! Faults of blobs.

use serde::Serialize;

use super::digest::Digest;

/// A fault of one blob, with its message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, thiserror::Error)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// It is not in the layout.
    #[error("{what} {digest} is missing: copy the image again, or with all its platforms")]
    Missing {
        /// `index`, `manifest`, `config` or `layer`.
        what: &'static str,
        /// Its digest.
        digest: String,
    },
    /// Its size differs from its descriptor.
    #[error("{what} {digest} has {found} bytes but its descriptor says {expected}")]
    Size {
        /// `index`, `manifest`, `config` or `layer`.
        what: &'static str,
        /// Its digest.
        digest: String,
        /// Its size according to the descriptor.
        expected: i64,
        /// Its real size.
        found: u64,
    },
    /// Its bytes do not match its digest.
    #[error("{what} {digest} is corrupt: its bytes have digest {found}; copy the image again")]
    Corrupt {
        /// `index`, `manifest`, `config` or `layer`.
        what: &'static str,
        /// Its digest.
        digest: String,
        /// The digest of its bytes.
        found: Digest,
    },
    /// The layer's plain bytes do not match the configuration.
    #[error("layer {digest} unpacks to diff_id {found} but the config says {expected}")]
    DiffId {
        /// Digest of the layer as stored.
        digest: String,
        /// The diff_id in the configuration.
        expected: String,
        /// The digest of the plain bytes.
        found: Digest,
    },
    /// The configuration names another number of layers.
    #[error("manifest {digest} has {layers} layers but its config has {diff_ids} diff_ids")]
    LayerCount {
        /// Digest of the manifest.
        digest: String,
        /// Layers of the manifest.
        layers: usize,
        /// diff_ids of the configuration.
        diff_ids: usize,
    },
    /// It matches its digest, but cannot be parsed.
    #[error("{what} {digest} cannot be read: {reason}")]
    Unreadable {
        /// `index`, `manifest`, `config` or `layer`.
        what: &'static str,
        /// Its digest.
        digest: String,
        /// Why.
        reason: String,
    },
}
