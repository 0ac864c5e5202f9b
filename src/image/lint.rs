//! `oci lint`: what unpacks differently under different runtimes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde::Serialize;

use super::unpack::{GLOBAL_HEADER, Model, Node, Refusal, Role, Tree, role, unpack};
use super::{Findings, table};
use crate::format::tar::{Type, parent};
use crate::source::oci::{Digest, Image, Images, Keep, Layer, Oddity, layers};
use crate::text::counted;

/// What in a layer leaves room to unpackers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Members in a directory that the layer has no entry for.
    ImpliedDirectory,
    /// A whiteout in a directory that the layer has no entry for.
    WhiteoutInMissingParent,
    /// A whiteout and what it hides, in one layer.
    WhiteoutAndReadd,
    /// Two entries of one name in one layer.
    DuplicateEntry,
    /// A global PAX header, whose records only some readers give to the members after it.
    GlobalHeader,
    /// Anything else: a path through a symbolic link, a file where a directory was.
    Other,
}

impl Rule {
    /// What to do, in one line.
    pub fn remedy(self) -> &'static str {
        match self {
            Rule::ImpliedDirectory | Rule::WhiteoutInMissingParent => {
                "give the layer an entry for the directory (COPY the whole directory); \
                 reprofix oci normalize adds it"
            }
            Rule::WhiteoutAndReadd => {
                "remove in one layer and add in the next, or make the directory opaque; \
                 reprofix oci normalize does"
            }
            Rule::DuplicateEntry => {
                "pack every name once; reprofix oci normalize keeps the last entry"
            }
            Rule::GlobalHeader => {
                "pack the layer without a global header (git archive and tar --format=pax write \
                 them); reprofix oci normalize gives each member its own"
            }
            Rule::Other => "pack the layer with paths as they are on disk, through no link",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Rule::ImpliedDirectory => "implied directory",
            Rule::WhiteoutInMissingParent => "whiteout in a directory without an entry",
            Rule::WhiteoutAndReadd => "whiteout and re-add in one layer",
            Rule::DuplicateEntry => "duplicate entry",
            Rule::GlobalHeader => "global PAX header",
            Rule::Other => "unpacks differently",
        }
    }
}

/// One path that runtimes disagree on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Disagreement {
    /// What is the matter.
    pub rule: Rule,
    /// The path below the root.
    pub path: String,
    /// Number of the layer, lowest 0.
    pub layer: usize,
    /// The layer's identity.
    pub diff_id: Digest,
    /// What each unpacker makes of it: a mode, `absent`, or why it stops.
    pub outcomes: BTreeMap<Model, String>,
    /// What to do.
    pub remedy: &'static str,
}

/// One image's answer.
#[derive(Clone, Debug, Serialize)]
pub struct Linted {
    /// The platform.
    pub platform: String,
    /// Digest of the manifest.
    pub manifest: Option<Digest>,
    /// By layer and path.
    pub hits: Vec<Disagreement>,
    /// Shapes that programs refuse or read in different ways, in words.
    pub oddities: Vec<String>,
}

/// The answers for all images asked about.
#[derive(Clone, Debug, Serialize)]
pub struct Lint {
    /// In the order of the layout.
    pub images: Vec<Linted>,
}

/// Unpacks the layers of every selected image as each unpacker would, in memory, and says where
/// they disagree and which member of which layer is to blame.
///
/// # Errors
///
/// If a layer cannot be read or is not what its digests say.
pub fn lint(subject: &Images) -> anyhow::Result<Lint> {
    let mut images = Vec::new();
    for image in subject.selected().filter(|i| i.is_image()) {
        if let Some(fault) = image.faults.first() {
            anyhow::bail!("{}: {fault}", subject.store.path().display());
        }
        // Filesystems have no members, and no two unpackers.
        let layers = match image.oddities.contains(&Oddity::FilesystemLayer) {
            true => Vec::new(),
            false => layers(&subject.store, image, Keep::Members)?,
        };
        images.push(linted(image, &layers));
    }
    if images.is_empty() {
        anyhow::bail!("{} selects no image", subject.store.path().display());
    }
    Ok(Lint { images })
}

fn linted(image: &Image, layers: &[Layer]) -> Linted {
    let all = Model::ALL.map(|model| (model, unpack(layers, model)));
    let outcomes = Outcomes { all: all.into() };
    let mut hits: BTreeMap<(usize, Vec<u8>), Disagreement> = BTreeMap::new();
    for (number, layer) in layers.iter().enumerate() {
        if layer.has_globals {
            hits.insert((number, GLOBAL_HEADER.into()), global_header(number, layer));
        }
        for (path, rule) in suspects(layer) {
            let said = outcomes.at(rule, &path, number);
            let link = said.values().any(|said| said.starts_with("symlink"));
            let rule = if link { Rule::Other } else { rule };
            if said.values().collect::<BTreeSet<_>>().len() > 1 {
                let hit = Disagreement {
                    rule,
                    path: shown(&path),
                    layer: number,
                    diff_id: layer.sums.diff_id.clone(),
                    outcomes: said,
                    remedy: rule.remedy(),
                };
                hits.insert((number, path), hit);
            }
        }
    }
    let rest = outcomes.unexplained(&hits, layers);
    hits.extend(rest);
    Linted {
        platform: image.platform_name(),
        manifest: image.manifest.clone(),
        hits: hits.into_values().collect(),
        oddities: image.oddities.iter().map(|oddity| oddity.words(image)).collect(),
    }
}

/// What each unpacker makes of a global PAX header: by POSIX, and for tar, its records hold for all
/// members after it.
fn global_header(number: usize, layer: &Layer) -> Disagreement {
    let ignored = "ignored: members go without what it says";
    let said = |model| match model {
        Model::Vfs | Model::Overlay => ignored.to_owned(),
        Model::Umoci => "error: unknown type of member".to_owned(),
    };
    Disagreement {
        rule: Rule::GlobalHeader,
        path: GLOBAL_HEADER.to_owned(),
        layer: number,
        diff_id: layer.sums.diff_id.clone(),
        outcomes: Model::ALL.map(|model| (model, said(model))).into(),
        remedy: Rule::GlobalHeader.remedy(),
    }
}

/// Paths of one layer that leave room to unpackers, each with the gravest rule.
fn suspects(layer: &Layer) -> BTreeMap<Vec<u8>, Rule> {
    let mut suspects: BTreeMap<Vec<u8>, Rule> = BTreeMap::new();
    let mut add = |path: &[u8], rule: Rule| {
        let entry = suspects.entry(path.to_vec()).or_insert(rule);
        *entry = if *entry == Rule::WhiteoutInMissingParent { rule } else { (*entry).max(rule) };
    };
    let mut seen = BTreeSet::new();
    let dirs = layer.members.iter().filter(|m| m.kind == Type::Dir);
    let dirs: BTreeSet<&[u8]> = dirs.map(|m| &*m.path).collect();
    let plain = layer.members.iter().filter(|m| matches!(role(&m.path), Role::Plain));
    let plain: BTreeSet<&[u8]> = plain.map(|m| &*m.path).collect();
    for member in &layer.members {
        if !seen.insert(&*member.path) {
            add(&member.path, Rule::DuplicateEntry);
        }
        let rule = match role(&member.path) {
            Role::Plain => Rule::ImpliedDirectory,
            Role::Opaque(_) => Rule::WhiteoutInMissingParent,
            Role::Whiteout(hidden) => {
                let below = [&hidden[..], b"/"].concat();
                let next = plain.range(&below[..]..).next();
                if plain.contains(&hidden[..]) || next.is_some_and(|p| p.starts_with(&below)) {
                    add(&hidden, Rule::WhiteoutAndReadd);
                }
                Rule::WhiteoutInMissingParent
            }
        };
        let mut dir = parent(&member.path);
        while !dir.is_empty() {
            if !dirs.contains(dir) {
                add(dir, rule);
            }
            dir = parent(dir);
        }
    }
    suspects
}

/// The three trees, or why there is none.
struct Outcomes {
    all: BTreeMap<Model, Result<Tree, Refusal>>,
}

impl Outcomes {
    /// What each unpacker makes of `path`, a suspect of layer `number`.
    fn at(&self, rule: Rule, path: &[u8], number: usize) -> BTreeMap<Model, String> {
        let say = |(&model, outcome): (&Model, &Result<Tree, Refusal>)| {
            let said = match outcome {
                // An unpacker that stops elsewhere says nothing about this path.
                Err(refusal) if concerns(refusal, path, number) => {
                    format!("error: {}", refusal.why)
                }
                Err(_) => return None,
                Ok(tree) if rule == Rule::WhiteoutAndReadd => kept(tree, path, number),
                Ok(tree) if rule == Rule::DuplicateEntry => {
                    format!("the last one, {}", described(tree.get(path)))
                }
                Ok(tree) => described(tree.get(path)),
            };
            Some((model, said))
        };
        self.all.iter().filter_map(say).collect()
    }

    /// Paths that differ for none of the reasons in `hits`: the topmost ones, and where an
    /// unpacker stops.
    fn unexplained(
        &self,
        hits: &BTreeMap<(usize, Vec<u8>), Disagreement>,
        layers: &[Layer],
    ) -> BTreeMap<(usize, Vec<u8>), Disagreement> {
        let mut found: BTreeMap<(usize, Vec<u8>), Disagreement> = BTreeMap::new();
        let mut known: BTreeSet<Vec<u8>> = hits.keys().map(|(_, path)| path.clone()).collect();
        let trees: Vec<&Tree> = self.all.values().filter_map(|t| t.as_ref().ok()).collect();
        let paths: BTreeSet<&[u8]> =
            trees.iter().flat_map(|t| t.keys()).map(|p| &**p).filter(|p| !p.is_empty()).collect();
        let mut add = |path: &[u8], number: usize| {
            let outcomes = self.at(Rule::Other, path, number);
            let Some(layer) = layers.get(number) else { return };
            let hit = Disagreement {
                rule: Rule::Other,
                path: shown(path),
                layer: number,
                diff_id: layer.sums.diff_id.clone(),
                outcomes,
                remedy: Rule::Other.remedy(),
            };
            found.insert((number, path.to_vec()), hit);
        };
        for path in paths {
            let nodes = trees.iter().map(|t| t.get(path));
            let said: BTreeSet<String> = nodes.clone().map(described).collect();
            let above = std::iter::successors(Some(path), |p| Some(parent(p)));
            let mut above = above.take_while(|p| !p.is_empty());
            if said.len() > 1 && !above.any(|p| known.contains(p)) {
                known.insert(path.to_vec());
                add(path, nodes.flatten().map(|n| n.layer).max().unwrap_or_default());
            }
        }
        let refusals = self.all.values().filter_map(|t| t.as_ref().err());
        for refusal in refusals {
            let why = |h: &Disagreement| h.layer == refusal.layer && names(&refusal.path, &h.path);
            if !hits.values().any(why) {
                add(refusal.path.as_bytes(), refusal.layer);
            }
        }
        found
    }
}

/// Whether an unpacker stops at this path, at the whiteout of it, or below it.
fn concerns(refusal: &Refusal, path: &[u8], number: usize) -> bool {
    refusal.layer == number && names(&refusal.path, &String::from_utf8_lossy(path))
}

fn names(refused: &str, path: &str) -> bool {
    let hidden = match role(refused.as_bytes()) {
        Role::Plain => refused.to_owned(),
        Role::Whiteout(hidden) | Role::Opaque(hidden) => {
            String::from_utf8_lossy(&hidden).into_owned()
        }
    };
    hidden == path || hidden.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether anything that lower layers put below `path` is still there.
fn kept(tree: &Tree, path: &[u8], number: usize) -> String {
    let below = [path, b"/"].concat();
    let inside = |p: &[u8]| p == path || p.starts_with(&below);
    let from: std::sync::Arc<[u8]> = path.into();
    let range = tree.range(from..).take_while(|(p, _)| p.starts_with(path));
    let all: Vec<_> = range.filter(|(p, _)| inside(p)).collect();
    match all.iter().filter(|(_, node)| node.layer < number).count() {
        _ if all.is_empty() => "absent".to_owned(),
        0 => "old gone".to_owned(),
        n => format!("old visible ({})", counted(n, "path")),
    }
}

fn described(node: Option<&Node>) -> String {
    let Some(node) = node else { return "absent".to_owned() };
    let kind = match node.kind {
        Type::Dir => "",
        Type::File | Type::Hardlink => "file ",
        Type::Symlink => "symlink ",
        Type::Char | Type::Block => "device ",
        Type::Fifo => "FIFO ",
    };
    let owner = match (node.uid, node.gid) {
        (0, 0) => String::new(),
        (uid, gid) => format!(" {uid}:{gid}"),
    };
    format!("{kind}{:04o}{owner}", node.mode)
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

impl Findings for Lint {
    fn sound(&self) -> bool {
        self.images.iter().all(|image| image.hits.is_empty() && image.oddities.is_empty())
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for image in &self.images {
            let manifest = image.manifest.as_ref().map_or("-", Digest::short);
            let verdict = match image.hits.len() {
                0 if !image.oddities.is_empty() => "not taken everywhere".to_owned(),
                0 => "unpacks to one tree everywhere".to_owned(),
                1 => "1 path unpacks differently".to_owned(),
                n => format!("{n} paths unpack differently"),
            };
            writeln!(out, "{} {manifest}: {verdict}", image.platform)?;
            for oddity in &image.oddities {
                writeln!(out, "  {oddity}")?;
            }
            for hit in &image.hits {
                let (rule, short) = (hit.rule.words(), hit.diff_id.short());
                writeln!(out, "  {} in layer {} ({short}): {rule}", hit.path, hit.layer)?;
                let rows = hit.outcomes.iter().map(|(m, o)| vec![format!("    {m}"), o.clone()]);
                table(out, &rows.collect::<Vec<_>>())?;
            }
            let rules: BTreeSet<Rule> = image.hits.iter().map(|h| h.rule).collect();
            for rule in rules {
                writeln!(out, "  remedy for {}: {}", rule.words(), rule.remedy())?;
            }
        }
        Ok(())
    }
}
