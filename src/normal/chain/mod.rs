//! The normal form of one path: all plugins' verdicts, chained in registry order.
//!
//! `fix` writes the result and `check` compares it, so every difference that counts as explained is
//! one that `fix` removes.

mod companions;
mod normal;
mod state;

use std::borrow::Cow;
use std::io;

pub use normal::{Form, Normal, Note};

use super::{Context, File, NewState, Plugin, Verdict, Want};
use crate::format::Malformed;
use crate::tree::{Entry, Kind, Tree, WHOLE_MAX};
use crate::vouchers::{Question, Vouchers};
use companions::is_record;
use normal::new_state;
use state::State;

/// The plugins in force and their context.
#[derive(Clone, Copy)]
pub struct Chain<'a> {
    /// The plugins, in the order in which they act.
    pub plugins: &'a [&'static dyn Plugin],
    /// The run's inputs.
    pub cx: &'a Context,
    /// What vouches for files of the tree, so that they stay;
    /// [`nobody`](crate::vouchers::Vouchers::nobody) to ignore vouchers.
    pub vouchers: &'a Vouchers<'a>,
}

/// Verdicts on the bytes of one inode, shared by all its names: 100 links are not unpacked 100
/// times.
#[derive(Debug, Default)]
pub struct Verdicts(Vec<(&'static str, Vec<u8>, Verdict)>);

impl Verdicts {
    /// The verdict of `plugin`, which is asked once for each ending of the names.
    fn of(&mut self, plugin: &dyn Plugin, file: &File<'_>, cx: &Context) -> io::Result<Verdict> {
        let (asked, end) = (plugin.page().name, file.entry.path.extension());
        let end = end.unwrap_or_default().as_encoded_bytes();
        if let Some((.., verdict)) = self.0.iter().find(|(by, of, _)| *by == asked && of == end) {
            return Ok(verdict.clone());
        }
        let verdict = plugin.canonical(file, cx)?;
        if plugin.judges_bytes_alone() {
            self.0.push((asked, end.to_owned(), verdict.clone()));
        }
        Ok(verdict)
    }
}

impl Chain<'_> {
    /// Whether any plugin wants this path, or it follows one that a plugin wants. No I/O.
    pub fn wants(&self, entry: &Entry) -> bool {
        self.plugins.iter().any(|p| p.wants(entry, self.cx) != Want::No) || is_record(entry)
    }

    /// The normal form of `entry`, which is in `tree`.
    ///
    /// The content is read at most once, and only if a plugin wants it. A plugin that wants the
    /// bytes of something other than a regular file gets none. An error is one of reading `tree`.
    pub fn normal_form(&self, tree: &dyn Tree, entry: &Entry) -> io::Result<Normal> {
        self.form(tree, State::new(entry), None)
    }

    /// The normal form of one of several names of an inode; `known` are the verdicts so far.
    pub fn normal_form_of_link(
        &self,
        tree: &dyn Tree,
        entry: &Entry,
        known: &mut Verdicts,
    ) -> io::Result<Normal> {
        self.form(tree, State::new(entry), Some(known))
    }

    /// The normal form of an entry whose content is known: in an archive a path may occur twice.
    pub fn normal_form_of(
        &self,
        tree: &dyn Tree,
        entry: &Entry,
        content: Vec<u8>,
    ) -> io::Result<Normal> {
        let mut state = State::new(entry);
        state.normal.original = Some(content);
        self.form(tree, state, None)
    }

    fn form(
        &self,
        tree: &dyn Tree,
        mut state: State<'_>,
        mut known: Option<&mut Verdicts>,
    ) -> io::Result<Normal> {
        let entry = state.entry;
        for plugin in self.plugins {
            let want = match plugin.wants(entry, self.cx) {
                Want::Magic(magic) if state.begins_with(tree, magic)? => Want::Bytes,
                Want::Magic(_) => Want::No,
                want => want,
            };
            // A file that moves to another name still needs its time.
            if want == Want::No || state.gone && !(want == Want::Entry && state.moves()) {
                continue;
            }
            if want == Want::Bytes && entry.kind == Kind::File {
                if entry.size > WHOLE_MAX {
                    let why =
                        Malformed::at(WHOLE_MAX, "the file is larger than 2 GiB and was not read");
                    state.normal.notes.push((plugin.page().name, Note::Unparsed(why)));
                    continue;
                }
                state.read(tree)?;
            }
            let page = plugin.page();
            let bytes = if want == Want::Entry { Cow::default() } else { state.current()? };
            let file = File { entry, bytes, tree };
            let untouched = want == Want::Bytes && state.normal.form == Form::Kept;
            let verdict = match known.as_deref_mut().filter(|_| untouched) {
                Some(known) => known.of(*plugin, &file, self.cx)?,
                None => plugin.canonical(&file, self.cx)?,
            };
            state.normal.read |= want != Want::Entry && entry.kind == Kind::File;
            // What a plugin judges only by its name is removed, packaged or not.
            let packages = want != Want::Entry && !page.payload;
            let vouchers = state.vouched(self, tree, &verdict, packages)?;
            let overruled = self.cx.vouching.overrules(entry);
            let note = if overruled { Note::Overruled } else { Note::Vouched };
            let is_vouched = !vouchers.is_empty();
            state.normal.notes.extend(vouchers.into_iter().map(|v| (page.name, note(v))));
            if is_vouched && !overruled {
                continue;
            }
            if verdict.changes() && self.cx.keeps(entry) {
                state.leave(page.name, &verdict);
                continue;
            }
            state.take(page.name, verdict);
        }
        if is_record(entry) && state.normal.form == Form::Kept {
            self.follow_removals(tree, &mut state)?;
        }
        self.keep_recorded_time(tree, &mut state)?;
        Ok(state.normal)
    }

    /// Whether a name gets new content too if another name of its inode does.
    pub fn follows(&self, tree: &dyn Tree, entry: &Entry) -> io::Result<bool> {
        Ok(self.cx.vouching.overrules(entry) || !self.is_vouched(tree, entry, true)?)
    }

    pub(super) fn is_vouched(
        &self,
        tree: &dyn Tree,
        entry: &Entry,
        packages: bool,
    ) -> io::Result<bool> {
        let ask =
            |q: Question<'_>| self.vouchers.who(&Question { packages, ..q }, &self.cx.vouching);
        Ok(State::new(entry).put(tree, entry, ask)?.is_some())
    }

    /// The normal form of a path; if it is decided together with another path, what the other's
    /// steps leave there. `fix` does not need this: it applies the other's steps.
    pub fn resolved_form(&self, tree: &dyn Tree, entry: &Entry) -> io::Result<Normal> {
        let mut normal = self.normal_form(tree, entry)?;
        let Some(with) = normal.with.as_deref().filter(|with| *with != entry.path) else {
            return Ok(normal);
        };
        let Some(other) = tree.lookup(with)? else { return Ok(normal) };
        let other = self.normal_form(tree, &other)?;
        if let Form::Steps(steps) = &other.form {
            match new_state(steps, entry) {
                Some(NewState::Bytes(bytes)) => normal.form = Form::Bytes(bytes.to_vec().into()),
                Some(NewState::Spooled(spooled)) => {
                    normal.form = Form::Bytes(spooled.clone().into())
                }
                Some(NewState::Nothing) => normal.form = Form::Removed,
                Some(NewState::Link(_)) | None => return Ok(normal),
            }
            normal.by.splice(0..0, other.by);
            normal.by.dedup();
        } else {
            normal.notes.extend(other.notes);
        }
        Ok(normal)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use std::path::Path;

    use super::*;
    use crate::env::SourceDateEpoch;
    use crate::globs::Globs;
    use crate::normal::Page;
    use crate::normal::Step;
    use crate::tree::Memory;
    use crate::vouchers::{Rules, Voucher, VoucherKind};

    /// A tree of one file, `f`.
    fn one(content: &[u8]) -> Memory {
        Memory::of_file("f", content)
    }

    fn entry(size: u64) -> Entry {
        let path = PathBuf::from("f");
        Entry {
            path,
            kind: Kind::File,
            mode: 0o100644,
            uid: 0,
            gid: 0,
            size,
            mtime: None,
            inode: None,
        }
    }

    const PAGE: Page = Page {
        name: "",
        summary: "",
        default: true,
        paths: "",
        varies: "",
        why: "",
        done: "",
        lost: "",
        upstream: "",
        payload: false,
        options: &[],
    };

    /// A plugin made of a page and a function from content to verdict.
    struct Fake(Page, Want, fn(&[u8]) -> Verdict);

    impl Plugin for Fake {
        fn page(&self) -> &'static Page {
            Box::leak(Box::new(self.0))
        }
        fn wants(&self, _: &Entry, _: &Context) -> Want {
            self.1
        }
        fn canonical(&self, file: &File<'_>, _: &Context) -> io::Result<Verdict> {
            Ok(self.2(&file.bytes))
        }
    }

    fn fake(name: &'static str, verdict: fn(&[u8]) -> Verdict) -> &'static dyn Plugin {
        Box::leak(Box::new(Fake(Page { name, ..PAGE }, Want::Bytes, verdict)))
    }

    fn run(plugins: &[&'static dyn Plugin]) -> Normal {
        let cx = Context::new(SourceDateEpoch::new(1));
        let chain = Chain { plugins, cx: &cx, vouchers: &Vouchers::nobody() };
        chain.normal_form(&one(b"abc"), &entry(3)).expect("reads")
    }

    fn content(normal: &Normal) -> Option<Vec<u8>> {
        normal.content(&entry(3)).expect("in memory").map(Cow::into_owned)
    }

    fn append(bytes: &[u8], tail: u8) -> Verdict {
        Verdict::Rewrite([bytes, &[tail]].concat())
    }

    #[test]
    fn rewrites_chain_in_order() {
        let normal = run(&[fake("x", |b| append(b, b'x')), fake("y", |b| append(b, b'y'))]);
        assert_eq!(normal.form, Form::Bytes(b"abcxy".to_vec().into()));
        assert_eq!(normal.by, ["x", "y"]);
        assert_eq!(normal.original.as_deref(), Some(&b"abc"[..]));
    }

    #[test]
    fn nothing_acts_after_a_removal() {
        let normal = run(&[fake("rm", |_| Verdict::Remove), fake("y", |b| append(b, b'y'))]);
        assert_eq!((normal.form.clone(), normal.by.clone()), (Form::Removed, vec!["rm"]));
        assert!(normal.is_removed(&entry(3)));
        assert_eq!(content(&normal), None);
    }

    #[test]
    fn steps_take_what_came_before_and_feed_what_comes_after() {
        let steps = |b: &[u8]| {
            let both =
                [Step::Remove("g".into()), Step::Write("f".into(), [b, b"s"].concat().into())];
            Verdict::Steps(both.to_vec())
        };
        let plugins =
            [fake("x", |b| append(b, b'x')), fake("s", steps), fake("y", |b| append(b, b'y'))];
        let normal = run(&plugins);
        assert_eq!(content(&normal).as_deref(), Some(&b"abcxsy"[..]));
        let Form::Steps(steps) = normal.form else { panic!("steps: {:?}", normal.form) };
        let paths: Vec<_> = steps.iter().flat_map(Step::paths).collect();
        assert_eq!(paths, [Path::new("f"), Path::new("g"), Path::new("f"), Path::new("f")]);
    }

    #[test]
    fn what_somebody_vouches_for_is_spared_unless_that_is_overruled() {
        let rules = |overruled: bool| {
            let glob = || Some(Globs::try_new(["f"]).expect("a glob"));
            Rules::new(glob(), glob().filter(|_| overruled))
        };
        let mut cx = Context::new(SourceDateEpoch::new(1));
        let form = |cx: &Context| {
            let plugins = [fake("x", |b| append(b, b'x'))];
            let chain = Chain { plugins: &plugins, cx, vouchers: &Vouchers::nobody() };
            chain.normal_form(&one(b"abc"), &entry(3)).expect("reads")
        };
        let voucher = Voucher { who: VoucherKind::Configuration, at: PathBuf::new() };
        cx.vouching = rules(false);
        let normal = form(&cx);
        assert!(normal.is_kept());
        assert_eq!(normal.notes, [("x", Note::Vouched(voucher.clone()))]);
        cx.vouching = rules(true);
        let normal = form(&cx);
        assert_eq!(content(&normal).as_deref(), Some(&b"abcx"[..]));
        assert_eq!(normal.notes, [("x", Note::Overruled(voucher))]);
    }

    #[test]
    fn words_do_not_change_the_form() {
        let bad = |_: &[u8]| Verdict::Unparsed(Malformed::at(2usize, "short"));
        let normal = run(&[fake("r", |_| Verdict::Report("a key".into())), fake("u", bad)]);
        assert!(normal.is_kept() && normal.by.is_empty());
        assert_eq!(normal.notes.len(), 2);
    }

    #[test]
    fn what_the_configuration_keeps_is_kept_with_a_word() {
        let globs = Globs::try_new(["f"]).expect("a glob");
        let cx = Context::new(SourceDateEpoch::new(1)).keeping(globs);
        let plugins = [fake("x", |b| append(b, b'x')), fake("r", |_| Verdict::Report("r".into()))];
        let chain = Chain { plugins: &plugins, cx: &cx, vouchers: &Vouchers::nobody() };
        let normal = chain.normal_form(&one(b"abc"), &entry(3)).expect("reads");
        assert!(normal.is_kept());
        assert_eq!(normal.notes.iter().map(|(by, _)| *by).collect::<Vec<_>>(), ["x", "r"]);
    }

    #[test]
    fn by_its_magic_a_file_is_read_whole_or_not_at_all() {
        let by_magic = |magic| {
            let wants = Fake(Page { name: "m", ..PAGE }, Want::Magic(magic), |b| append(b, b'm'));
            run(&[Box::leak(Box::new(wants))])
        };
        assert_eq!(by_magic(b"ab").form, Form::Bytes(b"abcm".to_vec().into()));
        for other in [&b"b"[..], b"abcd"] {
            let normal = by_magic(other);
            assert!(normal.is_kept() && normal.original.is_none() && !normal.read);
        }
    }

    #[test]
    fn content_that_nobody_wants_is_not_read() {
        let by_name = Fake(Page { name: "n", ..PAGE }, Want::Entry, |b| {
            assert!(b.is_empty());
            Verdict::Keep
        });
        let normal = run(&[Box::leak(Box::new(by_name))]);
        assert_eq!(normal.original, None);
    }
}
