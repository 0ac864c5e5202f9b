//! Images: OCI layouts, archives, a registry's storage, container storage and skopeo's `dir:`, read
//! in place and never extracted.
//!
//! Follows the OCI image specification 1.1 and Docker's image manifest v2 schema 2, and what tools
//! actually write: nested indexes, an `index.json` that is the list, missing media types, Docker's
//! media types inside an OCI layout, sparse lists, attestations. `limits` says what is refused.
//!
//! The chain of diff_ids identifies the content. Digests of compressed bytes are verified and
//! shown, but may differ between builds: two versions of gzip compress the same tar differently.

mod containers;
mod digest;
mod docker;
mod fault;
mod files;
mod folder;
mod images;
mod layer;
mod layout;
pub(crate) mod limits;
mod model;
mod oddity;
mod platform;
mod registry;
mod store;
mod stream;

pub use digest::{Digest, Hasher, hex};
pub use fault::Fault;
pub use images::{Images, to_copy};
pub use layer::{Content, Keep, Layer, layer, layers, layers_beside};
pub use layout::{Descriptor, Image, Kind, images};
pub use oddity::Oddity;
pub use platform::Platform;
pub use store::{Part, Store, Stored, is_folder, is_image};
pub(crate) use stream::fill;
pub use stream::{Compression, Plain, Sums, for_each_chunk};
