//! Which digest each program uses: what it names by a tag, and which manifest it takes for a platform.
//!
//! A model of programs, as [`super::unpack`] is one of unpackers. The tests hold it against what the
//! programs themselves do with every shape (the columns of the table in docs/oci.md).

use serde::Serialize;

use crate::source::oci::{Digest, Image, Images, Oddity, Platform, Stored};

/// A program that takes images out of layouts and registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// skopeo 1.22: copies.
    Skopeo,
    /// podman 5.8, and buildah 1.43 with the same code: unpacks.
    Podman,
    /// oc-mirror 4.17 to 4.22: reads images by the library that skopeo is made of.
    OcMirror,
    /// oras 1.3.
    Oras,
    /// umoci 0.6: unpacks, from a layout's directory alone.
    Umoci,
}

impl Program {
    /// Every program.
    pub const ALL: [Program; 5] =
        [Program::Skopeo, Program::Podman, Program::OcMirror, Program::Oras, Program::Umoci];

    /// Reads the name of a program; buildah is podman's code. `None` for any other.
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

    /// Its name and the version that is meant.
    pub fn name(self) -> &'static str {
        match self {
            Program::Skopeo => "skopeo 1.22",
            Program::Podman => "podman 5.8",
            Program::OcMirror => "oc-mirror 4.17",
            Program::Oras => "oras 1.3",
            Program::Umoci => "umoci 0.6",
        }
    }

    /// Whether it is made of containers/image.
    fn is_containers(self) -> bool {
        matches!(self, Program::Skopeo | Program::Podman | Program::OcMirror)
    }
}

/// What one program makes of a tag and a platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The program, and the version that is meant.
    pub program: &'static str,
    /// The digest that it names; none if it refuses.
    pub names: Option<Digest>,
    /// The manifest that it takes (the configuration of a docker-archive, which has no manifest); none if
    /// it takes none.
    pub takes: Option<Digest>,
    /// Why it names or takes none, or another than that of the platform.
    pub why: Option<&'static str>,
}

/// What `program` makes of the image that is called as `image` is, for its platform.
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

/// What a tag leads to.
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
        return Err("it does not read images that are kept so");
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
        _ if tag.is_none() => return Err("without a tag there are several"),
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
        _ => return Err("a list in a list is followed to no image"),
    };
    if chosen.notes.iter().any(|note| note.starts_with("sparse")) {
        return Err("its blobs are not there");
    }
    let odd = |oddity| chosen.oddities.contains(&oddity);
    let own = chosen.platform.as_ref();
    match program {
        Program::Podman | Program::Umoci if odd(Oddity::FilesystemLayer) => {
            Err("a layer is a filesystem")
        }
        Program::Umoci if chosen.media_type.contains("vnd.docker.") => {
            Err("it takes OCI's media types alone")
        }
        Program::Umoci if own.is_none() => Err("the configuration says no platform"),
        Program::Podman if odd(Oddity::DockerZstd) => Err("Docker's media types have no zstd"),
        Program::Oras if own.is_none() || own != image.platform.as_ref() => {
            Err("the configuration is for another platform, or for none")
        }
        _ if stored == Stored::Docker && own.is_none() => Err("the configuration says no platform"),
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
            _ => Err("it takes no list of several"),
        };
    }
    // An entry says its platform, or only its configuration does.
    let says = |image: &&&Image| !image.oddities.contains(&Oddity::NoPlatform);
    let of = |image: &&&Image| image.platform.as_ref() == platform;
    let matching = below.iter().filter(says).find(of);
    let bare = || below.iter().find(|image| !says(image)).filter(|_| program.is_containers());
    matching.or_else(bare).copied().ok_or("no entry of the list is for this platform")
}
