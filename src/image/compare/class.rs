//! The ways in which two images differ.

use serde::Serialize;

/// One way in which two images of one platform differ. A pair of images may have several; without
/// any it is "identical".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The way from `index.json` to the manifest, or the kind of archive.
    ListShape,
    /// Docker's or OCI's media types.
    MediaType,
    /// The same ostree commit, divided into other layers by another encapsulation.
    Encapsulation,
    /// The compressor of a layer; its plain bytes are the same.
    Compression,
    /// Order of keys and white space of a manifest or configuration.
    JsonEncoding,
    /// `created`, history, modification times of members.
    TimesAndHistory,
    /// `atime` and `ctime` in PAX headers.
    PaxCtime,
    /// Header formats and padding of a tar archive whose members are the same.
    TarEncoding,
    /// The order of a layer's members.
    EntryOrder,
    /// Entries of parent directories, which one layer has and the other leaves to the unpacker.
    MissingParents,
    /// Names of owners and groups; the numbers are the same.
    OwnerNames,
    /// The division of the same tree into layers.
    Layering,
    /// The time of the build in an erofs superblock, which its files inherit.
    Epoch,
    /// The time of the run of mksquashfs in the superblock.
    MkfsTime,
    /// The UUID in a superblock.
    Uuid,
    /// Salt and UUID of a dm-verity tree.
    VeritySalt,
    /// Environment, command, labels, annotations of a configuration or manifest.
    Configuration,
    /// Files: names, types, modes, owners, attributes, bytes.
    Content,
}

impl Class {
    /// The phrase in reports.
    pub fn words(self) -> &'static str {
        self.row().0
    }

    /// The remedy, in one line; `None` if it depends on the details.
    pub fn remedy(self) -> Option<&'static str> {
        self.row().1
    }

    fn row(self) -> (&'static str, Option<&'static str>) {
        const NORMALIZE: Option<&str> = Some("reprofix oci normalize IMAGE -o OUT");
        match self {
            Class::ListShape => ("list shape", Some("none needed: compare manifest digests")),
            Class::MediaType => ("media type", Some("push with one format, e.g. skopeo --format")),
            Class::Encapsulation => {
                ("encapsulation", Some("none needed: the commits have the same content"))
            }
            Class::Compression => {
                ("compression", Some("none needed, or reprofix oci normalize --recompress"))
            }
            Class::JsonEncoding => ("JSON encoding", NORMALIZE),
            Class::TimesAndHistory => ("times and history", NORMALIZE),
            Class::PaxCtime => ("PAX ctime", NORMALIZE),
            Class::TarEncoding => {
                ("tar encoding", Some("pack both with the same tool and version"))
            }
            Class::EntryOrder => ("entry order", NORMALIZE),
            Class::MissingParents => ("missing parents", NORMALIZE),
            Class::OwnerNames => ("owner names", Some("build with the same user database")),
            Class::Layering => {
                ("division into layers", Some("build with the same tool and version"))
            }
            Class::Epoch => ("epoch", Some("mkfs.erofs -T EPOCH, or set SOURCE_DATE_EPOCH")),
            Class::MkfsTime => ("mkfs time", Some("set SOURCE_DATE_EPOCH for mksquashfs")),
            Class::Uuid => ("UUID", Some("mkfs.erofs -U UUID")),
            Class::VeritySalt => ("verity salt", Some("veritysetup --salt HEX --uuid UUID")),
            Class::Configuration => ("configuration", None),
            Class::Content => ("content", None),
        }
    }
}

/// `identical`, `X only`, or `X, Y and Z`.
pub(super) fn headline(classes: impl IntoIterator<Item = Class>) -> String {
    let words: Vec<&str> = classes.into_iter().map(Class::words).collect();
    match &words[..] {
        [] => "identical".to_owned(),
        [one] => format!("{one} only"),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
