//! The digests that each program uses: what a tag means to it, and which manifest it takes for a
//! platform.
//!
//! This is a model of programs, as [`super::unpack`] is one of unpackers. Tests compare it with
//! what the programs do with every shape (the columns of the table in docs/oci.md).

use serde::Serialize;

use crate::source::oci::{Digest, Image, Images, Oddity, Platform, Stored};

/// A program that reads images from layouts and registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// skopeo 1.22: copies.
    Skopeo,
    /// podman 5.8, and buildah 1.43 with the same code: unpacks.
    Podman,
    /// oc-mirror 4.17 to 4.22: reads images with skopeo's library.
    OcMirror,
    /// oras 1.3.
    Oras,
    /// umoci 0.6: unpacks, only from a layout's directory.
    Umoci,
}

impl Program {
    /// Every program.
    pub const ALL: [Program; 5] =
        [Program::Skopeo, Program::Podman, Program::OcMirror, Program::Oras, Program::Umoci];

    /// Parses the name of a program; buildah counts as podman, whose code it shares. `None` for any
    /// other.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "skopeo" => Program::Skopeo,
            "podman" | "buildah" => Program::Podman,
            "oc-mirror" => Program::OcMirror,
            "oras" => Program::Oras,
            "umoci" => Program::Umoci,
            _ => return None,
        })
    }

    /// Its name and the modelled version.
    pub fn name(self) -> &'static str {
        match self {
            Program::Skopeo => "skopeo 1.22",
            Program::Podman => "podman 5.8",
            Program::OcMirror => "oc-mirror 4.17",
            Program::Oras => "oras 1.3",
            Program::Umoci => "umoci 0.6",
        }
    }

    /// Whether it uses containers/image.
    fn is_containers(self) -> bool {
        matches!(self, Program::Skopeo | Program::Podman | Program::OcMirror)
    }
}

/// How one program resolves a tag and a platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The program and the modelled version.
    pub program: &'static str,
    /// The digest of the tag; `None` if the program refuses.
    pub names: Option<Digest>,
    /// The manifest that it takes (the configuration in a docker-archive, which has no manifest);
    /// `None` if it finds none.
    pub takes: Option<Digest>,
    /// Why a digest is missing, or is not that of the platform.
    pub why: Option<&'static str>,
}

/// How `program` resolves the tag and platform of `image`.
pub fn answer(program: Program, images: &Images, image: &Image) -> Answer {
    let (names, takes, why) = match asked(program, images, image) {
        Err(why) => (None, None, Some(why)),
        Ok(named) => match taken(program, images.store.stored(), &named, image) {
            Err(why) => (Some(named.digest), None, Some(why)),
            Ok(taken) => {
                let other = taken.id() != image.id();
                (Some(named.digest), taken.id().cloned(), other.then_some(OTHER))
            }
        },
    };
    Answer { program: program.name(), names, takes, why }
}

const OTHER: &str = "it takes another entry for this platform";

/// What a tag refers to.
struct TagTarget<'a> {
    digest: Digest,
    /// The images below, in the order of the indexes.
    below: Vec<&'a Image>,
}

/// The entry that a program takes for an image's tag.
fn asked<'a>(
    program: Program,
    images: &'a Images,
    image: &Image,
) -> Result<TagTarget<'a>, &'static str> {
    let stored = images.store.stored();
    let reads = match stored {
        Stored::Layout | Stored::Registry => true,
        Stored::Docker | Stored::Folder | Stored::Containers => program.is_containers(),
    };
    if !reads
        || (program == Program::Umoci && (stored != Stored::Layout || images.store.is_archive()))
    {
        return Err("it does not read this form of storage");
    }
    if !program.is_containers() && image.oddities.contains(&Oddity::NoLayoutFile) {
        return Err("there is no file oci-layout");
    }
    let entries = |name: Option<&String>| -> Vec<&'a Image> {
        let all = images.images.iter();
        all.filter(|other| name.is_none_or(|name| other.names.contains(name))).collect()
    };
    let tag = image.names.first();
    if tag.is_none() && !program.is_containers() {
        return Err("it has no tag");
    }
    if image.config.is_none() && program != Program::Oras {
        return Err("its manifest is of Docker's schema 1, or cannot be read");
    }
    let found = entries(tag);
    let top = |image: &Image| image.path.first().or(image.id()).cloned();
    let mut tops: Vec<Digest> = found.iter().filter_map(|image| top(image)).collect();
    tops.dedup();
    let digest = match (&tops[..], program) {
        ([one], _) => one.clone(),
        ([], _) => return Err("it has no digest"),
        _ if tag.is_none() => return Err("there are several without a tag"),
        ([.., last], Program::Oras) => last.clone(),
        (_, Program::Umoci) => return Err("its tag names several entries"),
        ([first, ..], _) => first.clone(),
    };
    let below = found.into_iter().filter(|image| top(image).as_ref() == Some(&digest)).collect();
    Ok(TagTarget { digest, below })
}

/// The manifest that a program takes below an entry.
fn taken<'a>(
    program: Program,
    stored: Stored,
    named: &TagTarget<'a>,
    image: &Image,
) -> Result<&'a Image, &'static str> {
    let [first, ..] = named.below[..] else { return Err("there is no image") };
    let chosen = match first.path.len() {
        0 | 1 => first,
        2 => instance(program, &named.below, image.platform.as_ref())?,
        _ => return Err("it does not follow a list in a list"),
    };
    if chosen.notes.iter().any(|note| note.starts_with("sparse")) {
        return Err("its blobs are missing");
    }
    let odd = |oddity| chosen.oddities.contains(&oddity);
    let own = chosen.platform.as_ref();
    match program {
        Program::Podman | Program::Umoci if odd(Oddity::FilesystemLayer) => {
            Err("a layer is a filesystem")
        }
        Program::Umoci if chosen.media_type.contains("vnd.docker.") => {
            Err("it accepts only OCI's media types")
        }
        Program::Umoci if own.is_none() => Err("the configuration has no platform"),
        Program::Podman if odd(Oddity::DockerZstd) => Err("Docker's media types have no zstd"),
        Program::Oras if own.is_none() || own != image.platform.as_ref() => {
            Err("the configuration is for another platform, or has none")
        }
        _ if stored == Stored::Docker && own.is_none() => Err("the configuration has no platform"),
        _ => Ok(chosen),
    }
}

/// The entry of a list for a platform.
fn instance<'a>(
    program: Program,
    below: &[&'a Image],
    platform: Option<&Platform>,
) -> Result<&'a Image, &'static str> {
    if program == Program::Umoci {
        return match below {
            [one] => Ok(*one),
            _ => Err("it does not accept a list of several"),
        };
    }
    // The platform is in an entry, or only in its configuration.
    let says = |image: &&&Image| !image.oddities.contains(&Oddity::NoPlatform);
    let of = |image: &&&Image| image.platform.as_ref() == platform;
    let matching = below.iter().filter(says).find(of);
    let bare = || below.iter().find(|image| !says(image)).filter(|_| program.is_containers());
    matching.or_else(bare).copied().ok_or("no entry of the list is for this platform")
}
