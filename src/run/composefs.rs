//! One run of `composefs` from a subject to its digest and what deviates from it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::composefs::{
    Deviation, Generation, Layered, Policy, Uki, View, compare, for_boot, hex, of_directory, seal,
    ukis,
};
use crate::disk::Root;
use crate::format::composefs::{Tree, dumpfile};
use crate::source::{Spec, Subject, dir, oci};

/// A subject that was read, before anything is made of it.
struct Opened {
    name: String,
    view: View,
    tree: Tree,
    policy: Option<Policy>,
    ukis: Vec<Uki>,
}

/// A subject as bootc of one generation would boot it.
pub struct Sealed {
    /// The subject, resolved.
    pub name: String,
    /// How it was looked at.
    pub view: View,
    /// The digest, as 128 hexadecimal digits.
    pub digest: String,
    /// The unified kernel images in it.
    pub ukis: Vec<Uki>,
    /// What is booted.
    tree: Tree,
}

impl Sealed {
    /// Opens the subject `text`: a directory, an ostree commit, or an image, whose layers are read.
    ///
    /// Fails where it cannot be read and where bootc would refuse it.
    pub fn open(text: &OsStr, generation: &Generation) -> Result<Self> {
        let Opened { name, view, mut tree, policy, ukis } = open(&Spec::parse(text)?)?;
        for_boot(&mut tree, generation, view, policy.as_ref())
            .with_context(|| format!("preparing {name} for booting"))?;
        let (_, digest) = seal(&tree, generation).with_context(|| format!("sealing {name}"))?;
        Ok(Sealed { name, view, digest: hex(&digest), ukis, tree })
    }

    /// The tree as composefs-dump(5), which `mkcomposefs --from-file` reads.
    pub fn dumpfile(&self) -> String {
        dumpfile(&self.tree)
    }

    /// The unified kernel images that carry another digest than this.
    pub fn refused(&self) -> impl Iterator<Item = &Uki> {
        self.ukis
            .iter()
            .filter(|uki| !uki.digests.is_empty() && !uki.digests.contains(&self.digest))
    }
}

/// What two views of one image come to.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// Name and version of this schema.
    pub schema: &'static str,
    /// The generation of bootc.
    pub bootc: &'static str,
    /// The subjects and their digests.
    pub digests: BTreeMap<String, String>,
    /// Whether all are one.
    pub same: bool,
    /// What deviates, by cause.
    pub deviations: Vec<Row>,
}

/// The entries that deviate in one way.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What deviates.
    pub cause: String,
    /// How many entries.
    pub entries: usize,
    /// The first of them, twenty at most.
    pub paths: Vec<String>,
    /// The values of the first on both sides.
    pub example: String,
    /// What to do.
    pub advice: &'static str,
}

/// Paths of a row.
const SHOWN: usize = 20;

impl Comparison {
    /// The schema's name and version.
    pub const SCHEMA: &'static str = "reprofix-composefs-1";

    /// Compares two subjects.
    pub fn of(a: &Sealed, b: &Sealed, generation: &Generation) -> Self {
        let digests = [a, b].map(|sealed| (sealed.name.clone(), sealed.digest.clone()));
        Comparison {
            schema: Self::SCHEMA,
            bootc: generation.name,
            digests: digests.into(),
            same: a.digest == b.digest,
            deviations: compare(&a.tree, &b.tree).into_iter().map(row).collect(),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.deviations {
            let Row { cause, entries, paths, example, advice } = row;
            let noun = if *entries == 1 { "entry" } else { "entries" };
            write!(f, "{cause}: {entries} {noun}, the first {}", paths[0])?;
            if !example.is_empty() {
                write!(f, " ({example})")?;
            }
            writeln!(f, "\n  {advice}")?;
        }
        match self.same {
            true => writeln!(f, "same"),
            false => writeln!(f, "not the same"),
        }
    }
}

fn row(deviation: Deviation) -> Row {
    let Deviation { cause, mut paths, example } = deviation;
    let entries = paths.len();
    paths.truncate(SHOWN);
    Row { cause: cause.to_string(), entries, paths, example, advice: cause.advice() }
}

fn open(spec: &Spec) -> Result<Opened> {
    match spec {
        Spec::Dir(path) => {
            let root = Root::open(path)
                .with_context(|| format!("reading directory {}", path.display()))?;
            let root = dir::Directory::new(root);
            of_tree(format!("dir:{}", path.display()), &root)
        }
        Spec::Oci(text) => {
            let images =
                oci::Images::open(text, None).with_context(|| format!("opening {text}"))?;
            let layered = Layered::read(&images.store, images.one()?)
                .with_context(|| format!("reading the layers of {text}"))?;
            let content = |path: &str| layered.content(path);
            let (policy, ukis) = (Policy::of(&content)?, ukis(&layered.tree, &content)?);
            let (name, view) = (text.clone(), View::Layers);
            Ok(Opened { name, view, policy, ukis, tree: layered.tree })
        }
        Spec::Ostree { .. } | Spec::Cosa { .. } => {
            let subject = Subject::open(spec, &|| ())?;
            of_tree(subject.name.clone(), subject.merkle.tree())
        }
        Spec::Rpmdb(path) | Spec::File(path) => {
            bail!("{} has no composefs digest; give a tree or an image", path.display())
        }
    }
}

fn of_tree(name: String, source: &dyn crate::tree::Tree) -> Result<Opened> {
    let tree = of_directory(source, &|| ()).with_context(|| format!("reading {name}"))?;
    let content = |path: &str| {
        source.read(Path::new(path)).with_context(|| format!("reading {path} of {name}"))
    };
    let (policy, ukis) = (Policy::of(&content)?, ukis(&tree, &content)?);
    Ok(Opened { name, view: View::Directory, tree, policy, ukis })
}
