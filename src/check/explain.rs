//! Why a path differs.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::describe::Secrets;
use super::named_after::Rename;
use super::{Change, Difference, Excerpt, Expected, Side};
use super::{budget, describe, named_after};
use crate::format::ostree::{Attrs, Checksum};
use crate::normal::{Chain, CommonCause, Consequence, Form, Normal, Note};
use crate::normal::{File, Plugin, Step, Want};
use crate::source::merkle::{At, Merkle};
use crate::tree::Kind;
use crate::vouchers::{Rules, Voucher, VoucherKind, Vouchers};

/// The cause of a difference, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The normal forms of both sides are equal: `fix` removes the difference.
    Fixed {
        /// The plugins that make them equal, in registry order.
        plugins: Vec<&'static str>,
    },
    /// A plugin knows the file, but its normal form does not remove the difference.
    Known {
        /// The plugin.
        plugin: &'static str,
        /// What it says, one phrase per line.
        lines: Vec<String>,
    },
    /// It has the same cause as many others.
    Common {
        /// The plugin that recognised it.
        plugin: &'static str,
        /// The cause.
        cause: &'static CommonCause,
        /// What it says about this path, one phrase per line.
        lines: Vec<String>,
    },
    /// It is a consequence of the difference at another path.
    Cascade {
        /// That path.
        of: PathBuf,
        /// How it follows.
        how: Consequence,
    },
    /// The cause is unknown.
    Unexplained,
}

/// A difference and its cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The difference.
    pub difference: Difference,
    /// Its cause.
    pub cause: Cause,
    /// What exactly differs, one phrase per line.
    pub details: Vec<String>,
    /// Whether both normal forms are equal except for permission bits.
    pub equal_but_for_mode: bool,
    /// The entry of the expectations file that covers it.
    pub expected: Option<Arc<Expected>>,
    /// Both contents side by side, on request.
    pub excerpt: Option<Excerpt>,
    /// The names that `fix` moves with this path.
    pub moves: Vec<Rename>,
}

/// Both sides of a comparison, each with the plugins in force for it.
#[derive(Clone, Copy)]
pub struct Explainer<'a> {
    /// A and its plugins.
    pub a: (&'a dyn Merkle, Chain<'a>),
    /// B and its plugins.
    pub b: (&'a dyn Merkle, Chain<'a>),
    /// Show the content of secret files instead of masking it.
    pub shows_secrets: bool,
}

/// One side with its normal form.
struct NormalSide<'d> {
    side: &'d Side,
    normal: Normal,
    gone: bool,
    /// Content in normal form; `None` if it is not a regular file, or removed.
    content: Option<Vec<u8>>,
    /// Whether that is the original content.
    untouched: bool,
}

impl Explained {
    /// A difference that was not looked into, for this reason.
    pub fn left_out(difference: Difference, why: String) -> Self {
        let mut details = describe::metadata(&difference);
        details.push(format!("not looked into: {why}"));
        Explained {
            difference,
            cause: Cause::Unexplained,
            details,
            equal_but_for_mode: false,
            expected: None,
            excerpt: None,
            moves: Vec::new(),
        }
    }
}

impl Explainer<'_> {
    /// Explains `difference`.
    ///
    /// # Errors
    ///
    /// If an object is missing or corrupt.
    pub fn explain(&self, difference: Difference) -> io::Result<Explained> {
        let path = &difference.path;
        let a = judge(self.a, path, difference.a.as_ref())?;
        let b = judge(self.b, path, difference.b.as_ref())?;
        let mut details = describe::metadata(&difference);
        let cause = match equal(a.as_ref(), b.as_ref()) {
            true => Cause::Fixed { plugins: self.acting(a.as_ref(), b.as_ref()) },
            false => match self.held(&difference, a.as_ref(), b.as_ref())? {
                Some(cause) => cause,
                None => self.known(path, a.as_ref(), b.as_ref()),
            },
        };
        let cause = match (&a, &b, cause) {
            (Some(x), Some(y), Cause::Unexplained) => {
                self.attributes(x, y).unwrap_or(Cause::Unexplained)
            }
            // A plugin knows content: it says nothing about owner, mode, attributes and type.
            (Some(x), Some(y), Cause::Known { plugin, lines }) if attrs(x) != attrs(y) => {
                details.extend(lines.into_iter().map(|line| format!("{plugin}: {line}")));
                Cause::Unexplained
            }
            (_, _, cause) => cause,
        };
        if difference.changes.contains(&Change::Content) {
            details.extend(match cause {
                Cause::Fixed { .. } => self.within(&difference),
                _ => self.content(&difference, a.as_ref(), b.as_ref())?,
            });
        }
        let equal_but_for_mode =
            a.as_ref().zip(b.as_ref()).is_some_and(|(x, y)| same(x, y, |attrs| attrs.mode = 0));
        let judged = a.iter().chain(&b);
        let moves = judged.flat_map(|j| named_after::moves(&j.normal)).collect();
        Ok(Explained {
            difference,
            cause,
            details,
            equal_but_for_mode,
            expected: None,
            excerpt: None,
            moves,
        })
    }

    /// What the plugins say about the inside of two files that `fix` makes equal.
    fn within(&self, difference: &Difference) -> Vec<String> {
        let side = |side: &Option<Side>| side.as_ref().map(|s| s.entry(&difference.path));
        let Some((x, y)) = side(&difference.a).zip(side(&difference.b)) else { return Vec::new() };
        let cx = self.a.1.cx;
        let wanted = |p: &&&dyn Plugin| ![p.wants(&x, cx), p.wants(&y, cx)].contains(&Want::No);
        let file = |entry, tree| File { entry, bytes: Cow::default(), tree };
        let (left, right) = (file(&x, self.a.0.tree()), file(&y, self.b.0.tree()));
        let plugins = self.a.1.plugins.iter().filter(wanted);
        plugins.flat_map(|p| p.within(&left, &right, cx)).collect()
    }

    /// The cause if only extended attributes differ and one plugin knows each of them.
    fn attributes(&self, a: &NormalSide<'_>, b: &NormalSide<'_>) -> Option<Cause> {
        if !same(a, b, |attrs| attrs.xattrs.clear()) {
            return None;
        }
        let (x, y) = (attrs(a).xattrs, attrs(b).xattrs);
        let only = x.iter().filter(|pair| !y.contains(pair));
        let differing: Vec<_> = only.chain(y.iter().filter(|pair| !x.contains(pair))).collect();
        self.a.1.plugins.iter().find_map(|plugin| {
            let about = differing.iter().map(|(name, _)| plugin.about_attribute(name));
            let known: BTreeSet<&str> = about.collect::<Option<_>>()?;
            let lines: Vec<_> = known.into_iter().map(str::to_owned).collect();
            (!lines.is_empty()).then(|| Cause::Known { plugin: plugin.page().name, lines })
        })
    }

    /// The plugins that act on either side, in registry order.
    fn acting(&self, a: Option<&NormalSide<'_>>, b: Option<&NormalSide<'_>>) -> Vec<&'static str> {
        let acts = |j: &NormalSide<'_>| {
            j.normal.by.iter().copied().chain(j.normal.metadata()).collect::<Vec<_>>()
        };
        let by: BTreeSet<&'static str> = a.into_iter().chain(b).flat_map(acts).collect();
        let names = self.a.1.plugins.iter().map(|p| p.page().name);
        names.filter(|name| by.contains(name)).collect()
    }

    /// A difference that plugins would remove if nothing vouched for the bytes.
    fn held(
        &self,
        difference: &Difference,
        a: Option<&NormalSide<'_>>,
        b: Option<&NormalSide<'_>>,
    ) -> io::Result<Option<Cause>> {
        let notes = a.into_iter().chain(b).flat_map(|j| &j.normal.notes);
        let vouchers: BTreeSet<&Voucher> = notes
            .filter_map(|(_, note)| match note {
                Note::Vouched(voucher) => Some(voucher),
                _ => None,
            })
            .collect();
        if vouchers.is_empty() {
            return Ok(None);
        }
        let nobody = Vouchers::nobody();
        let free = |(merkle, chain): (_, Chain<'_>), side| {
            let mut cx = chain.cx.clone();
            cx.vouching = Rules::default();
            let chain = Chain { plugins: chain.plugins, cx: &cx, vouchers: &nobody };
            judge((merkle, chain), &difference.path, side)
        };
        let x = free(self.a, difference.a.as_ref())?;
        let y = free(self.b, difference.b.as_ref())?;
        let acting = self.acting(x.as_ref(), y.as_ref());
        let (true, Some(plugin)) = (equal(x.as_ref(), y.as_ref()), acting.first()) else {
            return Ok(None);
        };
        let names = acting.join(", ");
        let line = |voucher: &&Voucher| {
            let how = match voucher.who {
                VoucherKind::Packages => "--deep rewrites it too",
                _ => "--overrule rewrites it anyway",
            };
            format!("{names} would make both sides equal, but {voucher} vouches for it; {how}")
        };
        Ok(Some(Cause::Known { plugin, lines: vouchers.iter().map(line).collect() }))
    }

    /// What a plugin knows about a difference that its normal form does not remove.
    fn known(&self, path: &Path, a: Option<&NormalSide<'_>>, b: Option<&NormalSide<'_>>) -> Cause {
        if let (Some(x), Some(y)) = (a, b)
            && let Some(cause) = self.ask(path, x, y)
        {
            return cause;
        }
        let notes = a.into_iter().chain(b).flat_map(|j| &j.normal.notes);
        let mut said: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
        for (plugin, note) in notes {
            let line = match note {
                Note::Report(why) => why.clone(),
                // Why a file is on one side only has nothing to do with what is in it.
                Note::Unparsed(what) if a.is_some() && b.is_some() => {
                    format!("cannot be parsed: {what}")
                }
                Note::Unparsed(_) | Note::Vouched(_) | Note::Overruled(_) => continue,
            };
            said.entry(plugin).or_default().insert(line);
        }
        match said.into_iter().next() {
            Some((plugin, lines)) => Cause::Known { plugin, lines: lines.into_iter().collect() },
            None => self.about(path, a, b).unwrap_or(Cause::Unexplained),
        }
    }

    /// What a plugin knows about a path that exists on one side only, or about a link.
    fn about(
        &self,
        path: &Path,
        a: Option<&NormalSide<'_>>,
        b: Option<&NormalSide<'_>>,
    ) -> Option<Cause> {
        let is_link = |j: &NormalSide<'_>| j.side.kind() == Kind::Symlink;
        let either = match (a, b) {
            (Some(x), Some(y)) => Some(x).filter(|_| is_link(x) && is_link(y)),
            (one, other) => one.or(other),
        };
        let entry = either?.side.entry(path);
        let wanted = self.a.1.plugins.iter().filter(|p| p.wants(&entry, self.a.1.cx) != Want::No);
        let mut known = wanted.filter_map(|p| Some((p.page().name, p.about(&entry)?)));
        let (plugin, text) = known.next()?;
        Some(Cause::Known { plugin, lines: vec![text.to_owned()] })
    }

    /// The first answer of the plugins that want the file on both sides.
    fn ask(&self, path: &Path, a: &NormalSide<'_>, b: &NormalSide<'_>) -> Option<Cause> {
        let (x, y) = (a.side.entry(path), b.side.entry(path));
        let (left, right) = (a.content.as_deref()?, b.content.as_deref()?);
        if left == right {
            return None;
        }
        let cx = self.a.1.cx;
        for plugin in self.a.1.plugins {
            if plugin.wants(&x, cx) == Want::No || plugin.wants(&y, cx) == Want::No {
                continue;
            }
            let file =
                |entry, bytes: &'_ [u8], tree| File { entry, bytes: bytes.to_vec().into(), tree };
            let left = file(&x, left, self.a.0.tree());
            let right = file(&y, right, self.b.0.tree());
            let lines = plugin.explain(&left, &right, cx);
            if !lines.is_empty() {
                return Some(Cause::Known { plugin: plugin.page().name, lines });
            }
        }
        None
    }

    /// What differs in the content of two files, or that a plugin would make it equal.
    fn content(
        &self,
        difference: &Difference,
        a: Option<&NormalSide<'_>>,
        b: Option<&NormalSide<'_>>,
    ) -> io::Result<Vec<String>> {
        let (Some(x), Some(y)) = (a, b) else { return Ok(Vec::new()) };
        if let (Some(left), Some(right)) = (&x.content, &y.content)
            && left == right
        {
            let names = self.acting(a, b).join(", ");
            return Ok(vec![format!("content: equal once {names} has run")]);
        }
        let path = &difference.path;
        let (left, right) = (as_it_stands(self.a.0, path, x)?, as_it_stands(self.b.0, path, y)?);
        let secrets = if self.shows_secrets { Secrets::Shown } else { Secrets::Masked };
        Ok(describe::content_of(path, &left, &right, budget::unpacked(difference), secrets))
    }
}

fn judge<'d>(
    (merkle, chain): (&dyn Merkle, Chain<'_>),
    path: &Path,
    side: Option<&'d Side>,
) -> io::Result<Option<NormalSide<'d>>> {
    let Some(side) = side else { return Ok(None) };
    let entry = side.entry(path);
    let normal = chain.resolved_form(merkle.tree(), &entry)?;
    let gone = normal.is_removed(&entry);
    let mut untouched = normal.form == Form::Kept;
    let content = if gone || entry.kind != Kind::File {
        None
    } else {
        match normal.content(&entry)? {
            Some(bytes) => Some(bytes.into_owned()),
            None if linked(&normal, path) => None,
            None => {
                untouched = true;
                Some(merkle.content(At { path, object: &side.object })?)
            }
        }
    };
    Ok(Some(NormalSide { side, normal, gone, content, untouched }))
}

/// The original content of a file, which is read again only if the normal form differs.
fn as_it_stands<'j>(
    merkle: &dyn Merkle,
    path: &Path,
    judged: &'j NormalSide<'_>,
) -> io::Result<Cow<'j, [u8]>> {
    match &judged.content {
        Some(content) if judged.untouched => Ok(content.into()),
        _ => merkle.content(At { path, object: &judged.side.object }).map(Cow::Owned),
    }
}

/// Whether the path becomes a link to another, whose content is not known here.
fn linked(normal: &Normal, path: &Path) -> bool {
    match &normal.form {
        Form::Steps(steps) => steps.iter().any(|s| matches!(s, Step::Link(p, _) if p == path)),
        _ => false,
    }
}

/// Whether two normal forms are the same: both absent, or equal in type, metadata and content.
fn equal(a: Option<&NormalSide<'_>>, b: Option<&NormalSide<'_>>) -> bool {
    let (a, b) = (a.filter(|j| !j.gone), b.filter(|j| !j.gone));
    match (a, b) {
        (None, None) => true,
        (Some(x), Some(y)) => same(x, y, |_| ()),
        _ => false,
    }
}

/// Whether two existing normal forms are equal in type, content, and in owner, mode and attributes
/// after `blur`.
fn same(x: &NormalSide<'_>, y: &NormalSide<'_>, blur: impl Fn(&mut Attrs)) -> bool {
    let known = |j: &NormalSide<'_>| j.side.kind() != Kind::File || j.content.is_some();
    let [left, right] = [x, y].map(|side| {
        let mut attrs = attrs(side);
        blur(&mut attrs);
        attrs
    });
    !(x.gone || y.gone)
        && left == right
        && x.side.kind() == y.side.kind()
        && x.side.target == y.side.target
        && known(x)
        && known(y)
        && x.content == y.content
}

/// Owner, mode and attributes in normal form.
fn attrs(judged: &NormalSide<'_>) -> Attrs {
    let mut attrs = judged.side.attrs.clone();
    attrs.xattrs = judged.normal.xattrs_of(attrs.xattrs);
    attrs.mode = judged.normal.mode_of(attrs.mode);
    attrs
}

/// Finds, among `all`, names that follow a checksum, differences between the same two objects as an
/// earlier one, and directories that stay because something in them does.
pub fn relate(all: &mut [Explained], plugins: &[&dyn Plugin]) {
    named_after::follow(all, plugins);
    keep_needed_directories(all);
    let mut first: BTreeMap<(Checksum, Checksum), PathBuf> = BTreeMap::new();
    for explained in all {
        let difference = &explained.difference;
        let (Some(a), Some(b)) = (&difference.a, &difference.b) else { continue };
        if !difference.changes.contains(&Change::Content) || explained.cause != Cause::Unexplained {
            continue;
        }
        match first.get(&(a.object, b.object)) {
            Some(of) => {
                let how = Consequence::SameObjects;
                explained.cause = Cause::Cascade { of: of.clone(), how };
            }
            None => drop(first.insert((a.object, b.object), difference.path.clone())),
        }
    }
}

/// A directory on one side counts as fixed only if everything in it does: `fix` removes only empty
/// directories.
fn keep_needed_directories(all: &mut [Explained]) {
    let mut needed: BTreeSet<PathBuf> = BTreeSet::new();
    // Backwards, so the content of a directory comes before the directory.
    for explained in all.iter_mut().rev() {
        let one_sided = matches!(explained.difference.changes[..], [Change::OnlyA | Change::OnlyB]);
        if !one_sided {
            continue;
        }
        let path = &explained.difference.path;
        if needed.contains(path) && matches!(explained.cause, Cause::Fixed { .. }) {
            explained.cause = Cause::Unexplained;
            explained.details.push("something in it stays".to_owned());
        }
        if !matches!(explained.cause, Cause::Fixed { .. })
            && let Some(parent) = path.parent()
        {
            needed.insert(parent.to_owned());
        }
    }
}
