//! `opm fix`: a catalog's image that starts everywhere and that two builds agree on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use super::verify::{Command, Format, Pair, Places, Verdict, in_layers};
use super::{digest, index, pogreb};
use crate::format::tar::{Member, Records, Type, parent};
use crate::image::Findings;
use crate::image::flattened::Flattened;
use crate::image::normalize::{Content, Lift, Normalized, Options, lifted};
use crate::image::unpack::{Tree, flatten, real};
use crate::source::oci::{Image, Images, Layer};
use crate::tree::{Kind, Time};

/// What was done.
#[derive(Debug, Serialize)]
pub struct Fixed {
    /// One a catalog.
    pub catalogs: Vec<Row>,
    /// What happened to the images.
    #[serde(flatten)]
    pub images: Normalized,
}

/// One catalog.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The platform of its image.
    pub platform: String,
    /// Where catalog and cache are.
    #[serde(flatten)]
    pub places: Places,
    /// The cache's format.
    pub format: Format,
    /// The digest that was stored.
    pub before: String,
    /// The digest that is stored now; `none` without a cache.
    pub after: String,
}

/// Writes the images that `subject` selects to `out` as [`crate::image::normalize`] does, catalog
/// and cache taken out of all layers and put into one on top: every directory with an entry,
/// directories 0755, files 0644, sorted, and the digest that opm computes of that. A pogreb
/// database is written anew, sorted and with seed 0; modes in its cache stay, since they do not
/// count there and opm may have to write a lock file.
///
/// Nothing is left then. With `drop_cache` the cache is taken out instead, and `--cache-dir` out of
/// the command: opm then makes a cache at every start.
///
/// # Errors
///
/// If there is no cache, or if it is stale: only opm can make one.
pub fn fix(
    subject: &Images,
    out: &str,
    options: Options,
    configs: Option<&str>,
    cache: Option<&str>,
    drop_cache: bool,
) -> anyhow::Result<Fixed> {
    let rows = RefCell::new(Vec::new());
    let lift = |image: &Image, layers: &[Layer]| {
        let run = Command::of_image(subject, image)?;
        let places = run.places(configs, cache);
        let epoch = i64::from(options.epoch.seconds());
        if drop_cache {
            let (row, lift) = without_cache(image, layers, places)?;
            rows.borrow_mut().push(row);
            return Ok(Some(lift));
        }
        let (row, lift) = catalog(image, layers, places, run.user.as_deref(), epoch)?;
        rows.borrow_mut().push(row);
        Ok(Some(lift))
    };
    let images = lifted(subject, out, options, &lift)?;
    Ok(Fixed { catalogs: rows.into_inner(), images })
}

fn catalog(
    image: &Image,
    layers: &[Layer],
    mut places: Places,
    user: Option<&str>,
    epoch: i64,
) -> anyhow::Result<(Row, Lift)> {
    let check = in_layers(image, places.clone(), user, &[], layers)?;
    let build = "build it: opm serve CONFIGS --cache-dir=CACHE --cache-only";
    match check.otherwise.unwrap_or(check.verdict) {
        Verdict::Missing => bail!("{} holds no cache; {build}", places.cache),
        Verdict::Stale if check.blame.is_empty() => {
            bail!("the cache in {} is of another catalog; {build}", places.cache)
        }
        _ => {}
    }
    let (Some(format), Some(before)) = (check.format, check.stored) else {
        bail!("{} holds no cache; {build}", places.cache);
    };
    let tree = flatten(layers)
        .map_err(|r| anyhow::anyhow!("layer {} at {}: {}", r.layer, r.path, r.why))?;
    // The directories themselves, where they are reached through links.
    for place in [&mut places.configs, &mut places.cache] {
        let real = real(&tree, layers, place.as_bytes());
        let real = real.map_err(|why| anyhow::anyhow!("{place}: {why}"))?;
        *place = format!("/{}", String::from_utf8_lossy(&real));
    }
    let flat = Flattened::of(layers, tree);
    let (tree, pair) = (flat.nodes(), Pair::in_image(&places, &flat)?);
    let roots = [&places.configs, &places.cache].map(|p| p.trim_matches('/').as_bytes().to_vec());
    let mut made = NewLayer { members: BTreeMap::new(), tree, layers, epoch };
    made.copy(&roots[0], true)?;
    made.copy(&roots[1], format == Format::Json)?;
    let after = match format {
        Format::Json => {
            let usual = |_: &[u8], kind, _| if kind == Kind::Dir { 0o755 } else { 0o644 };
            let cache = pair.cache.as_ref().context("no cache")?.with_modes(usual);
            let digest = digest::json(&pair.configs.with_modes(usual), &cache)?;
            made.replace(&[&roots[1], &b"/digest"[..]].concat(), digest.clone().into_bytes())?;
            digest
        }
        Format::Pogreb => {
            let cache = pair.cache.as_ref().context("no cache")?;
            let db = cache.subdirectory("pogreb.v1/db").context("pogreb.v1/ has no db/")?;
            let files = index::database(&pogreb::records(&db)?)?;
            made.database(&[&roots[1], &b"/pogreb.v1/db"[..]].concat(), files)?;
            made.open_to_group(&roots[1]);
            pair.computed(Some(format))?.context("no digest")?
        }
    };
    let created_by = format!("reprofix opm fix: {} and {}", places.configs, places.cache);
    let row = Row { platform: image.platform_name(), places, format, before, after };
    let members = made.members.into_values().collect();
    Ok((row, Lift { without: roots.into(), members, created_by, config: None }))
}

/// Takes the cache out.
fn without_cache(image: &Image, layers: &[Layer], places: Places) -> anyhow::Result<(Row, Lift)> {
    let tree = flatten(layers)
        .map_err(|r| anyhow::anyhow!("layer {} at {}: {}", r.layer, r.path, r.why))?;
    let tree = Flattened::of(layers, tree);
    let pair = Pair::in_image(&places, &tree)?;
    let (Some(format), Some(before)) = pair.stored()? else {
        bail!("{} holds no cache: there is nothing to drop", places.cache);
    };
    let root = real(tree.nodes(), layers, places.cache.as_bytes());
    let root = root.map_err(|why| anyhow::anyhow!("{}: {why}", places.cache))?;
    let created_by = format!("reprofix opm fix --drop-cache: {}", places.cache);
    let platform = image.platform_name();
    let row = Row { platform, places, format, before, after: "none".to_owned() };
    let lift =
        Lift { without: vec![root], members: Vec::new(), created_by, config: Some(serve_uncached) };
    Ok((row, lift))
}

/// Takes the flags that want a cache out of the command.
fn serve_uncached(config: &mut Value) -> anyhow::Result<()> {
    for key in ["Entrypoint", "Cmd"] {
        let Some(words) = config["config"].get_mut(key).and_then(Value::as_array_mut) else {
            continue;
        };
        let mut kept = Vec::new();
        let mut all = std::mem::take(words).into_iter();
        while let Some(word) = all.next() {
            let text = word.as_str().unwrap_or_default();
            if text == "--cache-dir" {
                all.next();
                continue;
            }
            if text.starts_with("--cache-dir=") || text.starts_with("--cache-enforce-integrity") {
                continue;
            }
            ensure!(
                !text.contains("--cache-dir"),
                "the command is a shell's ({text:?}): take --cache-dir out of it where the image is built"
            );
            kept.push(word);
        }
        *words = kept;
    }
    Ok(())
}

/// The members of the new layer by path, as components.
struct NewLayer<'a> {
    members: BTreeMap<Vec<Vec<u8>>, (Member, Content)>,
    tree: &'a Tree,
    layers: &'a [Layer],
    epoch: i64,
}

impl NewLayer<'_> {
    /// Takes over what stands at `root` and below it, and entries for the directories above it;
    /// with the usual modes if `usual`.
    fn copy(&mut self, root: &[u8], usual: bool) -> anyhow::Result<()> {
        let mut above = parent(root);
        while !above.is_empty() {
            self.take(above, false)?;
            above = parent(above);
        }
        let below = [root, b"/"].concat();
        let start: std::sync::Arc<[u8]> = root.into();
        let tree = self.tree;
        let range = tree.range(start..).take_while(|(p, _)| p.starts_with(root));
        for (path, _) in range.filter(|(p, _)| ***p == *root || p.starts_with(&below)) {
            self.take(path, usual)?;
        }
        Ok(())
    }

    fn take(&mut self, path: &[u8], usual: bool) -> anyhow::Result<()> {
        let node = self.tree.get(path).context("a path went away")?;
        let layer = self.layers.get(node.layer);
        let found = layer.and_then(|layer| Some((layer, node.member?)));
        let was = found.map(|(layer, i)| &layer.members[i]);
        let shown = || String::from_utf8_lossy(path).into_owned();
        let (mode, size, link) = match node.kind {
            Type::Dir => (if usual { 0o755 } else { node.mode }, 0, Vec::new()),
            Type::File => {
                let size = was.map_or(0, |m| m.size);
                (if usual { 0o644 } else { node.mode }, size, Vec::new())
            }
            Type::Symlink => (0o777, 0, was.map(|m| m.link.clone()).unwrap_or_default()),
            _ => bail!("{} is no file, directory or link: not a catalog", shown()),
        };
        let member = Member {
            path: path.into(),
            absolute: false,
            kind: node.kind,
            mode,
            uid: node.uid,
            gid: node.gid,
            uname: Vec::new(),
            gname: Vec::new(),
            size,
            mtime: Time { sec: self.epoch, nsec: 0 },
            link,
            device: (0, 0),
            xattrs: Records::new(),
            records: Records::new(),
            header: 0,
            data: 0,
            sparse: was.is_some_and(|m| m.sparse),
        };
        let content = match found.filter(|_| node.kind == Type::File) {
            Some((layer, i)) => Content::Part(layer.content(i).context("content was not kept")?),
            None => Content::Bytes(Vec::new()),
        };
        self.members.insert(key(path), (member, content));
        Ok(())
    }

    /// Gives group 0, to which every user of OpenShift's belongs, what the owner may.
    fn open_to_group(&mut self, root: &[u8]) {
        let root = key(root);
        for (_, (member, _)) in self.members.iter_mut().filter(|(k, _)| k.starts_with(&root)) {
            member.gid = 0;
            if member.kind != Type::Symlink {
                member.mode |= (member.mode & 0o700) >> 3;
            }
        }
    }

    /// Gives a file other content.
    fn replace(&mut self, path: &[u8], bytes: Vec<u8>) -> anyhow::Result<()> {
        let found = self.members.get_mut(&key(path));
        let (member, content) =
            found.with_context(|| format!("{} is missing", String::from_utf8_lossy(path)))?;
        member.size = bytes.len() as u64;
        *content = Content::Bytes(bytes);
        Ok(())
    }

    /// Puts the files of a database in place of those in `dir`, with the mode and the owner that
    /// its segments had.
    fn database(&mut self, dir: &[u8], files: Vec<(&'static str, Vec<u8>)>) -> anyhow::Result<()> {
        let above = key(dir);
        let inside = |k: &Vec<Vec<u8>>| k.len() > above.len() && k.starts_with(&above);
        let segment = self.members.iter().find(|(k, (member, _))| {
            inside(k) && member.kind == Type::File && member.path.ends_with(b".psg")
        });
        let template = segment.context("the database has no segment")?.1.0.clone();
        self.members.retain(|k, _| !inside(k));
        for (name, bytes) in files {
            let path = [dir, b"/", name.as_bytes()].concat();
            let size = bytes.len() as u64;
            let member = Member { path: path.clone().into(), size, ..template.clone() };
            self.members.insert(key(&path), (member, Content::Bytes(bytes)));
        }
        Ok(())
    }
}

fn key(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|&b| b == b'/').map(<[u8]>::to_vec).collect()
}

impl Findings for Fixed {
    fn sound(&self) -> bool {
        true
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for row in &self.catalogs {
            let (platform, Places { configs, cache, .. }) = (&row.platform, &row.places);
            let (before, after) = (&row.before, &row.after);
            match after.as_str() {
                "none" => {
                    writeln!(out, "{platform}: {cache} is taken out, its digest was {before}")?
                }
                after => writeln!(
                    out,
                    "{platform}: {configs} and {cache} in one layer, digest {before} → {after}"
                )?,
            }
        }
        self.images.print(out)
    }
}
