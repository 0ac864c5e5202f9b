//! One run of `composefs`: a subject's digest, and what deviates from it.

use std::ffi::OsStr;
use std::io::Cursor;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::composefs::{
    Claim, GENERATIONS, Generation, Layered, Meaning, Policy, Uki, View, compare, for_boot, hex,
    names, of_directory, seal, ukis,
};
use crate::disk::Root;
use crate::format::composefs::{Tree, dumpfile};
use crate::report::composefs::{
    ClaimRow, DigestOf, Pair, Report, Row, UkiRow, ViewRow, ViewedSubject, word,
};
use crate::source::{Spec, Subject, dir, oci};
use crate::tree::{Kind, Seekable};

/// A subject that was read, ready for the digest of every generation of bootc.
pub(crate) struct Opened {
    name: String,
    tree: Tree,
    policy: Option<Policy>,
    source: Source,
}

/// Where the content of files is.
enum Source {
    Directory(dir::Directory),
    Subject(Subject),
    Layers(Layered),
}

/// A subject as bootc of one generation would boot it.
pub(crate) struct Sealed {
    /// What was read, how it was interpreted, and its digest.
    pub viewed: ViewedSubject,
    view: View,
    /// What is booted.
    tree: Tree,
}

impl Opened {
    /// Opens the subject `text`: a directory, an ostree commit, or an image, whose layers are read.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub(crate) fn parse(text: &OsStr) -> Result<Self> {
        Self::open(&Spec::parse(text)?)
    }

    /// Opens a subject, as [`Opened::parse`] does.
    pub(crate) fn open(spec: &Spec) -> Result<Self> {
        match spec {
            Spec::Oci(text) => {
                let images =
                    oci::Images::open(text, None).with_context(|| format!("opening {text}"))?;
                Self::image(text.clone(), &images.store, images.one()?)
            }
            spec => {
                let (name, source) = Source::open_tree(spec)?;
                Self::new(name, source)
            }
        }
    }

    /// The image of a store, called `name`.
    pub(crate) fn image(name: String, store: &oci::Store, image: &oci::Image) -> Result<Self> {
        let layers =
            Layered::read(store, image).with_context(|| format!("reading the layers of {name}"))?;
        Self::new(name, Source::Layers(layers))
    }

    fn new(name: String, source: Source) -> Result<Self> {
        let reading = || format!("reading {name}");
        let tree = match &source {
            Source::Layers(layers) => layers.lowest(layers.count()).with_context(reading)?,
            source => of_directory(source.tree(), &|| ()).with_context(reading)?,
        };
        let policy = source.policy(&tree).with_context(reading)?;
        Ok(Opened { name, tree, policy, source })
    }

    fn view(&self) -> View {
        match self.source {
            Source::Layers(_) => View::Layers,
            _ => View::Directory,
        }
    }

    /// The tree that bootc of this generation boots.
    ///
    /// # Errors
    ///
    /// If bootc would refuse to boot it.
    pub(crate) fn sealed(&self, generation: &Generation) -> Result<Sealed> {
        sealed(&self.name, self.tree.clone(), self.view(), self.policy.as_ref(), generation)
    }

    /// The tree that bootc of this generation boots, without keeping what was read.
    pub(crate) fn into_sealed(self, generation: &Generation) -> Result<Sealed> {
        let view = self.view();
        sealed(&self.name, self.tree, view, self.policy.as_ref(), generation)
    }

    /// An image's layers as a directory extracted from them without any change; `None` if there are
    /// no layers.
    pub(crate) fn extracted(&self, generation: &Generation) -> Result<Option<Sealed>> {
        if self.view() == View::Directory {
            return Ok(None);
        }
        let (name, tree) = (format!("{}, extracted", self.name), self.tree.clone());
        sealed(&name, tree, View::Directory, self.policy.as_ref(), generation).map(Some)
    }

    /// The unified kernel images in it.
    ///
    /// # Errors
    ///
    /// If one cannot be read.
    pub(crate) fn ukis(&self) -> Result<Vec<Uki>> {
        let list = |path: &str| Ok(names(&self.tree, path));
        let open = |path: &str| self.source.open(&self.tree, path);
        ukis(&list, &open).with_context(|| format!("reading {}", self.name))
    }
}

fn sealed(
    name: &str,
    mut tree: Tree,
    view: View,
    policy: Option<&Policy>,
    generation: &Generation,
) -> Result<Sealed> {
    for_boot(&mut tree, generation, view, policy)
        .with_context(|| format!("preparing {name} for booting"))?;
    let (_, digest) = seal(&tree, generation).with_context(|| format!("sealing {name}"))?;
    let viewed = ViewedSubject { subject: name.to_owned(), view: word(view), digest: hex(&digest) };
    Ok(Sealed { viewed, view, tree })
}

impl Source {
    /// Opens a subject that is not an image; returns its name first.
    fn open_tree(spec: &Spec) -> Result<(String, Self)> {
        match spec {
            Spec::Dir(path) => {
                let root = Root::open(path)
                    .with_context(|| format!("reading directory {}", path.display()))?;
                Ok((
                    format!("dir:{}", path.display()),
                    Source::Directory(dir::Directory::new(root)),
                ))
            }
            Spec::Ostree { .. } | Spec::Cosa { .. } => {
                let subject = Subject::open(spec, &|| ())?;
                Ok((subject.name.clone(), Source::Subject(subject)))
            }
            Spec::Rpmdb(path) | Spec::File(path) | Spec::Disk(path) => {
                bail!("{} has no composefs digest; give a tree or an image", path.display())
            }
            Spec::Oci(text) => bail!("{text} is an image, not a tree"),
        }
    }

    /// The tree of a source other than layers.
    fn tree(&self) -> &dyn crate::tree::Tree {
        match self {
            Source::Directory(root) => root,
            Source::Subject(subject) => subject.merkle.tree(),
            Source::Layers(_) => &crate::tree::NOTHING,
        }
    }

    fn open<'a>(&'a self, tree: &Tree, path: &str) -> Result<Option<Box<dyn Seekable + 'a>>> {
        match self {
            Source::Layers(layers) => {
                let bytes = layers.content(tree, path)?;
                Ok(bytes.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Seekable>))
            }
            source => {
                let opened = source.tree().open(Path::new(path));
                opened.with_context(|| format!("opening {path}"))
            }
        }
    }

    fn policy(&self, tree: &Tree) -> Result<Option<Policy>> {
        Policy::of(&|path| match self {
            Source::Layers(layers) => layers.content(tree, path),
            source => {
                source.tree().read(Path::new(path)).with_context(|| format!("reading {path}"))
            }
        })
    }
}

impl Sealed {
    /// The tree as composefs-dump(5), which `mkcomposefs --from-file` reads.
    pub(crate) fn dumpfile(&self) -> String {
        dumpfile(&self.tree)
    }

    fn deviations(&self, other: &Sealed) -> Vec<Row> {
        let found = compare([&self.tree, &other.tree], [self.view, other.view]);
        found.into_iter().map(Row::from).collect()
    }
}

/// How many layers may be removed from an image, one by one, in search of what was sealed.
const LOWEST_MAX: usize = 128;
/// The top-level directories without which bootc does not boot a tree.
const NEEDED: [&str; 3] = ["usr", "boot", "sysroot"];

/// The digest of a subject for the newest generation of bootc; `None` if bootc does not boot it,
/// which is known before its files are read, except for an image.
pub(crate) fn digest(spec: &Spec) -> Result<Option<String>> {
    let of_tree = |tree: &dyn crate::tree::Tree| -> Result<bool> {
        for name in NEEDED {
            if tree.lookup(Path::new(name))?.is_none_or(|entry| entry.kind != Kind::Dir) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let opened = match spec {
        Spec::File(_) | Spec::Rpmdb(_) | Spec::Disk(_) => return Ok(None),
        Spec::Oci(_) => Opened::open(spec)?,
        spec => {
            let (name, source) = Source::open_tree(spec)?;
            if !of_tree(source.tree())? {
                return Ok(None);
            }
            Opened::new(name, source)?
        }
    };
    let has = |name: &&str| opened.tree.root.entries.contains_key(name.as_bytes());
    if !NEEDED.iter().all(has) {
        return Ok(None);
    }
    Ok(Some(opened.into_sealed(&GENERATIONS[0])?.viewed.digest))
}

/// The digests of two builds, where either is sealed.
///
/// # Errors
///
/// If a digest cannot be computed.
pub(crate) fn pair(a: &Spec, b: &Spec) -> Result<Option<Pair>> {
    if !is_sealed(a)? && !is_sealed(b)? {
        return Ok(None);
    }
    paired(Opened::open(a)?, Opened::open(b)?).map(Some)
}

/// The digests of two subjects that are open.
pub(crate) fn paired(a: Opened, b: Opened) -> Result<Pair> {
    let generation = &GENERATIONS[0];
    let (a, b) = (a.into_sealed(generation)?, b.into_sealed(generation)?);
    Ok(Pair {
        bootc: generation.name,
        same: a.viewed.digest == b.viewed.digest,
        deviations: a.deviations(&b),
        a: a.viewed,
        b: b.viewed,
    })
}

/// Whether a subject is sealed: it has a unified kernel image with a composefs digest, or it is a
/// commit that names one. For images see `image::compare`.
fn is_sealed(spec: &Spec) -> Result<bool> {
    if matches!(spec, Spec::File(_) | Spec::Rpmdb(_) | Spec::Disk(_) | Spec::Oci(_)) {
        return Ok(false);
    }
    let (_, source) = Source::open_tree(spec)?;
    if let Source::Subject(Subject { commit: Some(commit), .. }) = &source
        && commit.fields.contains_key("ostree.composefs.digest.v0")
    {
        return Ok(true);
    }
    let tree = source.tree();
    let list = |path: &str| Ok(tree.list(Path::new(path))?);
    let open = |path: &str| Ok(tree.open(Path::new(path))?);
    Ok(ukis(&list, &open)?.iter().any(|uki| !uki.claims.is_empty()))
}

/// Checks whether all views of the subject `text` have the same digest, and whether it is sealed
/// with it. `other` is another view: a directory that was extracted from it, or sealed.
///
/// # Errors
///
/// If something cannot be read, or bootc would refuse it.
pub(crate) fn check(
    text: &OsStr,
    other: Option<&OsStr>,
    generation: &Generation,
) -> Result<Report> {
    let opened = Opened::parse(text)?;
    let sealed = opened.sealed(generation)?;
    let mut views = Vec::new();
    match other {
        Some(other) => views.push(Opened::parse(other)?.into_sealed(generation)?),
        None => views.extend(opened.extracted(generation)?),
    }
    let known = Candidates { opened: &opened, sealed: &sealed, views: &views, generation };
    let ukis = opened.ukis()?.iter().map(|uki| known.uki(uki)).collect::<Result<Vec<_>>>()?;
    let unlisted = match &opened.source {
        Source::Layers(layers) if other.is_none() => layers.unlisted(&sealed.tree),
        _ => Vec::new(),
    };
    let views: Vec<ViewRow> = views
        .iter()
        .map(|view| ViewRow { viewed: view.viewed.clone(), deviations: sealed.deviations(view) })
        .collect();
    // If the sealed digest is that of the layers, possible extractions do not matter.
    let settled = ukis.iter().any(|uki| uki.boots == Some(true));
    let same = ukis.iter().all(UkiRow::is_sound)
        && views.iter().all(|view| view.viewed.digest == sealed.viewed.digest)
        && (settled || unlisted.is_empty());
    Ok(Report {
        schema: Report::SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        bootc: generation.name,
        subject: sealed.viewed,
        ukis,
        views,
        unlisted: unlisted.into_iter().map(Into::into).collect(),
        same,
    })
}

/// The candidates for a digest on a command line.
struct Candidates<'a> {
    opened: &'a Opened,
    sealed: &'a Sealed,
    views: &'a [Sealed],
    generation: &'a Generation,
}

impl Candidates<'_> {
    fn uki(&self, uki: &Uki) -> Result<UkiRow> {
        let claims = uki.claims.iter().map(|claim| self.claim(claim));
        let claims = claims.collect::<Result<Vec<_>>>()?;
        let boots = claims.iter().any(|claim| claim.of == DigestOf::This);
        Ok(UkiRow { path: uki.path.clone(), boots: (!claims.is_empty()).then_some(boots), claims })
    }

    fn claim(&self, claim: &Claim) -> Result<ClaimRow> {
        let (of, deviations) = match &claim.says {
            Meaning::OtherHash => (DigestOf::OtherHash, Vec::new()),
            Meaning::Malformed(why) => (DigestOf::Malformed { why: why.clone() }, Vec::new()),
            Meaning::Digest { hex, version } => {
                let fits = |g: &Generation| version.is_none_or(|version| version == g.version);
                self.digest(hex, &fits)?
            }
        };
        Ok(ClaimRow { argument: claim.argument.clone(), of, deviations })
    }

    /// What `hex` is the digest of, for generations that fit, and what was changed since.
    fn digest(
        &self,
        hex: &str,
        fits: &dyn Fn(&Generation) -> bool,
    ) -> Result<(DigestOf, Vec<Row>)> {
        if *hex == self.sealed.viewed.digest && fits(self.generation) {
            return Ok((DigestOf::This, Vec::new()));
        }
        let others = GENERATIONS.iter().filter(|g| g.name != self.generation.name && fits(g));
        for generation in others {
            if self.opened.sealed(generation)?.viewed.digest == *hex {
                return Ok((DigestOf::Generation { bootc: generation.name }, Vec::new()));
            }
        }
        if let Some(view) = self.views.iter().find(|view| view.viewed.digest == *hex) {
            return Ok((DigestOf::View { subject: view.viewed.subject.clone() }, Vec::new()));
        }
        Ok(self.lowest(hex).unwrap_or((DigestOf::Unknown, Vec::new())))
    }

    /// The lowest layers whose digest this is, and what the others changed.
    fn lowest(&self, hex: &str) -> Option<(DigestOf, Vec<Row>)> {
        let Source::Layers(layers) = &self.opened.source else { return None };
        (1..layers.count()).rev().take(LOWEST_MAX).find_map(|count| {
            // With fewer layers it may not be bootable, or have no readable policy.
            let tree = layers.lowest(count).ok()?;
            let policy = self.opened.source.policy(&tree).ok()?;
            let of = |generation| {
                sealed("", tree.clone(), View::Layers, policy.as_ref(), generation).ok()
            };
            GENERATIONS.iter().filter_map(of).find(|s| s.viewed.digest == *hex)?;
            let before = of(self.generation)?;
            let of = DigestOf::LowestLayers { layers: count, of: layers.count() };
            Some((of, before.deviations(self.sealed)))
        })
    }
}

impl UkiRow {
    /// Whether bootc accepts it and understands everything on its command line.
    fn is_sound(&self) -> bool {
        let known = |claim: &ClaimRow| {
            matches!(claim.of, DigestOf::This | DigestOf::Generation { .. } | DigestOf::OtherHash)
        };
        self.boots != Some(false) && self.claims.iter().all(known)
    }
}
