//! What can be wrong with a blob.

use serde::Serialize;

use super::digest::Digest;

/// A fault of one blob, each with a message of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, thiserror::Error)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// Not in the layout.
    #[error("{what} {digest} is missing: copy the image again, or with all its platforms")]
    Missing {
        /// `index`, `manifest`, `config` or `layer`.
        what: &'static str,
        /// Its digest.
        digest: String,
    },
    /// Another number of bytes than its descriptor says.
    #[error("{what} {digest} has {found} bytes where its descriptor says {expected}")]
    Size {
        /// `index`, `manifest`, `config` or `layer`.
        what: &'static str,
        /// Its digest.
        digest: String,
        /// Bytes by the descriptor.
        expected: i64,
        /// Bytes there.
        found: u64,
    },
    /// Other bytes than its digest says.
    #[error("{what} {digest} is corrupt: its bytes have digest {found}; copy the image again")]
    Corrupt {
        /// `index`, `manifest`, `config` or `layer`.
        what: &'static str,
        /// Its digest.
        digest: String,
        /// Digest of the bytes there.
        found: Digest,
    },
    /// The layer's plain bytes are not the ones that the configuration names.
    #[error("layer {digest} unpacks to diff_id {found} where the config says {expected}")]
    DiffId {
        /// Digest of the layer as stored.
        digest: String,
        /// By the configuration.
        expected: String,
        /// Of the plain bytes.
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
    /// Right by its digest, yet not what it should be.
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
