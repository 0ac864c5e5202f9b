//! Commits of ostree, read without libostree: in a repository on this machine, in an image, or in a
//! tar archive.

pub mod commit;
pub mod objects;
mod repository;
mod tarred;

pub use repository::{Commit, Repository};
pub use tarred::{Encapsulated, Encapsulation, TarRepository, encapsulation};

use super::{CommitInfo, merkle, oci};
