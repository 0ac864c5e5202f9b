//! What says in front of a path which kind of subject it is: one table, and one way to take it off.

/// The prefix of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// An ostree repository.
    Ostree,
    /// The repository that this system runs from.
    Sys,
    /// A work directory of coreos-assembler.
    Cosa,
    /// An rpm database's file of packages.
    Rpmdb,
    /// A disk image, or a file system alone.
    Disk,
    /// An OCI layout.
    Oci,
    /// An OCI layout in an archive.
    OciArchive,
    /// What `docker save` writes.
    DockerArchive,
    /// A registry's storage.
    Registry,
    /// Container storage.
    ContainersStorage,
    /// A single file.
    File,
    /// A directory, or what skopeo writes for `dir:`.
    Dir,
}

/// Each prefix as it is written.
const WRITTEN: [(Prefix, &str); 12] = [
    (Prefix::Ostree, "ostree:"),
    (Prefix::Sys, "sys:"),
    (Prefix::Cosa, "cosa:"),
    (Prefix::Rpmdb, "rpmdb:"),
    (Prefix::Disk, "disk:"),
    (Prefix::Oci, "oci:"),
    (Prefix::OciArchive, "oci-archive:"),
    (Prefix::DockerArchive, "docker-archive:"),
    (Prefix::Registry, "registry:"),
    (Prefix::ContainersStorage, "containers-storage:"),
    (Prefix::File, "file:"),
    (Prefix::Dir, "dir:"),
];

impl Prefix {
    /// The prefix in front of `text`, and the place in `text` where what it is of begins: 0 without one.
    pub fn split(text: impl AsRef<[u8]>) -> (Option<Self>, usize) {
        let text = text.as_ref();
        let found = WRITTEN.iter().find(|(_, written)| text.starts_with(written.as_bytes()));
        found.map_or((None, 0), |(prefix, written)| (Some(*prefix), written.len()))
    }

    /// As it is written, with its colon.
    pub fn written(self) -> &'static str {
        WRITTEN.iter().find(|(prefix, _)| *prefix == self).map_or("", |(_, written)| written)
    }

    /// Whether an image may be written so.
    pub fn is_image(self) -> bool {
        use Prefix::{ContainersStorage, Dir, DockerArchive, Oci, OciArchive, Registry};
        matches!(self, Oci | OciArchive | DockerArchive | Registry | ContainersStorage | Dir)
    }
}
