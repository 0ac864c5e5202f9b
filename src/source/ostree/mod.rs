//! Commits of ostree, read without libostree: in a repository on this machine, in an image, or in a
//! tar archive.

pub(crate) mod commit;
mod encapsulated;
pub mod objects;
mod refs;
mod repository;
mod tarred;

pub use encapsulated::{Encapsulated, Encapsulation, encapsulation};
pub use repository::{Commit, Repository};
pub use tarred::TarRepository;

use super::{CommitInfo, merkle, oci};
