//! The normal form of one path: every plugin's verdict, chained in registry order on bytes in
//! memory.
//!
//! `fix` writes what this gives and `check` compares what this gives, so that a difference called
//! explained is a difference that `fix` removes.

use std::borrow::Cow;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Content, Context, File, Left, Plugin, Step, Verdict, Want};
use crate::format::{Malformed, record};
use crate::tree::{Entry, Kind, Time, Tree, WHOLE_MAX};
use crate::vouchers::{Change, Question, Voucher, Vouchers, Who, listed};

/// The plugins in force and what they are told.
#[derive(Clone, Copy)]
pub struct Chain<'a> {
    /// The plugins, in the order in which they act.
    pub plugins: &'a [&'static dyn Plugin],
    /// The run's inputs.
    pub cx: &'a Context,
    /// Who vouches for what in the tree, so that it stays;
    /// [`nobody`](crate::vouchers::Vouchers::nobody) where that is not to be asked.
    pub vouchers: &'a Vouchers<'a>,
}

/// What the chain makes of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// In normal form already.
    Kept,
    /// A regular file with this content.
    Bytes(Content),
    /// Absence. A directory goes only if everything in it goes.
    Removed,
    /// Several paths change together, in this order. The last step that writes the judged path
    /// gives its content.
    Steps(Vec<Step>),
}

/// Something a plugin says of a path that it does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A known source of difference that no tool may fix here, and what to do instead.
    Report(String),
    /// It looks like the plugin's file but cannot be understood.
    Unparsed(Malformed),
    /// A voucher wants it as it is, so what the plugin made of it does not count.
    Vouched(Voucher),
    /// A voucher wants it as it is, and the configuration overrules that.
    Overruled(Voucher),
}

/// The normal form of one path and who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normal {
    /// What the path becomes.
    pub form: Form,
    /// The modification time it gets, and the plugin that says so; `None` leaves it.
    pub mtime: Option<(&'static str, Time)>,
    /// The extended attributes that go, and the plugin that says so.
    pub xattrs: Option<(&'static str, Vec<Vec<u8>>)>,
    /// The permission bits it gets, and the plugin that says so.
    pub mode: Option<(&'static str, u32)>,
    /// The plugins that change it, in the order they acted.
    pub by: Vec<&'static str>,
    /// The last plugin that answered with steps.
    pub steps_by: Option<&'static str>,
    /// The plugins that leave it alone and report why, in the order they did.
    pub notes: Vec<(&'static str, Note)>,
    /// The content as it is on disk; `None` if no plugin asked for it in memory.
    pub original: Option<Vec<u8>>,
    /// Whether a plugin asked for the content, in memory or piece by piece.
    pub read: bool,
    /// The path with which its form is decided, where a plugin said so: see
    /// [`Chain::resolved_form`].
    pub with: Option<PathBuf>,
}

impl Normal {
    /// Whether `fix` would leave the path exactly as it is.
    pub fn is_kept(&self) -> bool {
        self.form == Form::Kept && self.mtime.is_none() && self.metadata().next().is_none()
    }

    /// The plugins that change metadata other than times.
    pub fn metadata(&self) -> impl Iterator<Item = &'static str> {
        let attributes = self.xattrs.iter().map(|(plugin, _)| *plugin);
        attributes.chain(self.mode.iter().map(|(plugin, _)| *plugin))
    }

    /// Type and permission bits of the normal form, where the path has these now.
    pub fn mode_of(&self, now: u32) -> u32 {
        self.mode.map_or(now, |(_, bits)| now & !0o7777 | bits)
    }

    /// Gives up time, attributes and mode; whether there was any of them to change.
    pub(crate) fn take_metadata(&mut self) -> bool {
        let (time, attributes, mode) = (self.mtime.take(), self.xattrs.take(), self.mode.take());
        time.is_some() || attributes.is_some() || mode.is_some()
    }

    /// The attributes of the normal form, where the path has these now.
    pub fn xattrs_of(&self, mut now: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
        if let Some((_, gone)) = &self.xattrs {
            now.retain(|(name, _)| !gone.contains(name));
        }
        now
    }

    /// The content of the normal form of the regular file `entry`, as far as the chain knows it;
    /// `None` if it is absent, or if it is kept and was never read.
    pub fn content(&self, entry: &Entry) -> io::Result<Option<Cow<'_, [u8]>>> {
        Ok(match &self.form {
            Form::Kept => self.original.as_deref().map(Cow::Borrowed),
            Form::Bytes(content) => Some(content.bytes()?),
            Form::Removed => None,
            Form::Steps(steps) => match left(steps, entry) {
                Some(Left::Bytes(bytes)) => Some(Cow::Borrowed(bytes)),
                Some(Left::Spooled(spooled)) => Some(Cow::Owned(spooled.bytes()?)),
                Some(Left::Nothing | Left::Link(_)) | None => None,
            },
        })
    }

    /// Whether the normal form of `entry` is that nothing stands there.
    pub fn is_removed(&self, entry: &Entry) -> bool {
        match &self.form {
            Form::Removed => true,
            Form::Steps(steps) => left(steps, entry) == Some(Left::Nothing),
            Form::Kept | Form::Bytes(_) => false,
        }
    }
}

/// What the steps leave at the path of `entry`; `None` if they do not change it.
fn left<'s>(steps: &'s [Step], entry: &Entry) -> Option<Left<'s>> {
    steps.iter().rev().find_map(|step| step.leaves(&entry.path))
}

impl Chain<'_> {
    /// Whether any plugin wants this path, or it follows those that do: no I/O.
    pub fn wants(&self, entry: &Entry) -> bool {
        self.plugins.iter().any(|p| p.wants(entry, self.cx) != Want::No) || is_record(entry)
    }

    /// The normal form of `entry`, which is in `tree`.
    ///
    /// The content is read at most once, and only if a plugin wants it. A plugin that wants the
    /// bytes of anything but a regular file gets none. An error is one of reading `tree`.
    pub fn normal_form(&self, tree: &dyn Tree, entry: &Entry) -> io::Result<Normal> {
        self.form(tree, State::new(entry))
    }

    /// The same of an entry whose content is known: in an archive a path may be there twice.
    pub fn normal_form_of(
        &self,
        tree: &dyn Tree,
        entry: &Entry,
        content: Vec<u8>,
    ) -> io::Result<Normal> {
        let mut state = State::new(entry);
        state.normal.original = Some(content);
        self.form(tree, state)
    }

    fn form(&self, tree: &dyn Tree, mut state: State<'_>) -> io::Result<Normal> {
        let entry = state.entry;
        for plugin in self.plugins {
            let want = match plugin.wants(entry, self.cx) {
                Want::Magic(magic) if state.begins_with(tree, magic)? => Want::Bytes,
                Want::Magic(_) => Want::No,
                want => want,
            };
            // What moves to another name still has a time.
            if want == Want::No || state.gone && !(want == Want::Entry && state.moves()) {
                continue;
            }
            if want == Want::Bytes && entry.kind == Kind::File {
                if entry.size > WHOLE_MAX {
                    let why = Malformed::at(WHOLE_MAX, "the file is larger than 2 GiB: not read");
                    state.normal.notes.push((plugin.page().name, Note::Unparsed(why)));
                    continue;
                }
                state.read(tree)?;
            }
            let page = plugin.page();
            let bytes = if want == Want::Entry { Cow::default() } else { state.current()? };
            let verdict = plugin.canonical(&File { entry, bytes, tree }, self.cx)?;
            state.normal.read |= want != Want::Entry && entry.kind == Kind::File;
            // What a plugin judges by its name alone goes, packaged or not.
            let packages = want != Want::Entry && !page.payload;
            if let Some(voucher) = state.vouched(self, tree, &verdict, packages)? {
                match self.cx.vouching.overrules(entry) {
                    true => state.normal.notes.push((page.name, Note::Overruled(voucher))),
                    false => {
                        state.normal.notes.push((page.name, Note::Vouched(voucher)));
                        continue;
                    }
                }
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
        Ok(state.normal)
    }

    /// Whether a name of an inode that gets another content for another name's sake gets it too.
    pub fn follows(&self, tree: &dyn Tree, entry: &Entry) -> io::Result<bool> {
        Ok(self.cx.vouching.overrules(entry) || !self.is_vouched(tree, entry, true)?)
    }

    /// Takes the lines of files that go out of a wheel's RECORD.
    fn follow_removals(&self, tree: &dyn Tree, state: &mut State<'_>) -> io::Result<()> {
        let entry = state.entry;
        if !self.may_amend(tree, entry)? {
            return Ok(());
        }
        state.read(tree)?;
        state.normal.read = true;
        let text = state.normal.original.take().unwrap_or_default();
        let mut gone: Vec<Vec<u8>> = Vec::new();
        for line in record::lines(&text) {
            let Some(path) = listed(&entry.path, &line.path).filter(|path| *path != entry.path)
            else {
                continue;
            };
            // Judged by its name first: hardly a file of a wheel is ever wanted.
            let guess = Entry { path, mtime: None, inode: None, ..entry.clone() };
            if !self.wants(&guess) {
                continue;
            }
            let Some(found) = tree.lookup(&guess.path)? else { continue };
            let normal = self.normal_form(tree, &found)?;
            if normal.is_removed(&found) {
                gone.push(line.path.to_vec());
                let new = normal.by.iter().filter(|by| !state.normal.by.contains(by));
                let new: Vec<_> = new.copied().collect();
                state.normal.by.extend(new);
            }
        }
        let without = record::without(&text, &mut |path| gone.iter().any(|gone| gone == path));
        state.normal.original = Some(text);
        if let Some(without) = without {
            state.rewrite(without.into());
        }
        Ok(())
    }

    /// Whether lines of the RECORD `entry` may be taken out. Its package is not asked: what it says
    /// of bytecode does not count either.
    fn may_amend(&self, tree: &dyn Tree, entry: &Entry) -> io::Result<bool> {
        let overruled = self.cx.vouching.overrules(entry);
        Ok(!self.cx.keeps(entry) && (overruled || !self.is_vouched(tree, entry, false)?))
    }

    fn is_vouched(&self, tree: &dyn Tree, entry: &Entry, packages: bool) -> io::Result<bool> {
        let ask =
            |q: Question<'_>| self.vouchers.who(&Question { packages, ..q }, &self.cx.vouching);
        Ok(State::new(entry).put(tree, entry, ask)?.is_some())
    }

    /// The normal form of a path; of one that is decided together with another it gives what
    /// the other's steps leave there. `fix` need not ask: it applies the other's steps.
    pub fn resolved_form(&self, tree: &dyn Tree, entry: &Entry) -> io::Result<Normal> {
        let mut normal = self.normal_form(tree, entry)?;
        let Some(with) = normal.with.as_deref().filter(|with| *with != entry.path) else {
            return Ok(normal);
        };
        let Some(other) = tree.lookup(with)? else { return Ok(normal) };
        let other = self.normal_form(tree, &other)?;
        if let Form::Steps(steps) = &other.form {
            match left(steps, entry) {
                Some(Left::Bytes(bytes)) => normal.form = Form::Bytes(bytes.to_vec().into()),
                Some(Left::Spooled(spooled)) => normal.form = Form::Bytes(spooled.clone().into()),
                Some(Left::Nothing) => normal.form = Form::Removed,
                Some(Left::Link(_)) | None => return Ok(normal),
            }
            normal.by.splice(0..0, other.by);
            normal.by.dedup();
        } else {
            normal.notes.extend(other.notes);
        }
        Ok(normal)
    }
}

/// A path on its way through the chain.
struct State<'a> {
    entry: &'a Entry,
    normal: Normal,
    gone: bool,
}

/// Whether it is the list of an installed wheel's files.
fn is_record(entry: &Entry) -> bool {
    let dir = || entry.path.parent().and_then(Path::file_name).map(OsStrExt::as_bytes);
    entry.name() == b"RECORD"
        && entry.kind == Kind::File
        && dir().is_some_and(|dir| dir.ends_with(b".dist-info"))
}

impl<'a> State<'a> {
    fn new(entry: &'a Entry) -> Self {
        let normal = Normal {
            form: Form::Kept,
            mtime: None,
            xattrs: None,
            mode: None,
            by: Vec::new(),
            steps_by: None,
            notes: Vec::new(),
            original: None,
            read: false,
            with: None,
        };
        State { entry, normal, gone: false }
    }

    fn read(&mut self, tree: &dyn Tree) -> io::Result<()> {
        if self.normal.original.is_none() {
            let gone = || io::Error::new(io::ErrorKind::NotFound, "the file went away");
            self.normal.original = Some(tree.read_known(self.entry)?.ok_or_else(gone)?);
        }
        Ok(())
    }

    /// Whether the content begins so: known already, or the first bytes are read.
    fn begins_with(&self, tree: &dyn Tree, magic: &[u8]) -> io::Result<bool> {
        if self.gone || self.entry.kind != Kind::File || self.entry.size < magic.len() as u64 {
            return Ok(false);
        }
        if self.normal.original.is_some() || self.normal.form != Form::Kept {
            return Ok(self.current()?.starts_with(magic));
        }
        let mut first = Vec::with_capacity(magic.len());
        if let Some(content) = tree.open(&self.entry.path)? {
            content.take(magic.len() as u64).read_to_end(&mut first)?;
        }
        Ok(first == magic)
    }

    /// The content as the plugins so far left it.
    fn current(&self) -> io::Result<Cow<'_, [u8]>> {
        let original = || Cow::Borrowed(self.normal.original.as_deref().unwrap_or_default());
        Ok(self.normal.content(self.entry)?.unwrap_or_else(original))
    }

    /// Who vouches for something that the verdict would change. Asked last: hashing costs more than
    /// most verdicts, and most verdicts are `Keep`.
    fn vouched(
        &self,
        chain: &Chain<'_>,
        tree: &dyn Tree,
        verdict: &Verdict,
        packages: bool,
    ) -> io::Result<Option<Voucher>> {
        let change = match verdict {
            Verdict::Keep | Verdict::Mtime(_) => return Ok(None),
            Verdict::Remove => Change::Removal,
            Verdict::Xattrs(_) | Verdict::Mode(_) => Change::Attributes,
            _ => Change::Content,
        };
        if !verdict.changes() {
            // A word about what a package ships is its packager's business.
            return match packages {
                true => self.put(tree, self.entry, |q| chain.vouchers.package_of(&q)),
                false => Ok(None),
            };
        }
        let mut records = true;
        if change == Change::Removal
            && let Some(path) = chain.vouchers.record_of(self.entry)?
            && let Some(record) = tree.lookup(&path)?
        {
            // Both go as one: the file and its line.
            if !chain.may_amend(tree, &record)? {
                return Ok(Some(Voucher { who: Who::Record, at: path }));
            }
            records = false;
        }
        let rules = &chain.cx.vouching;
        let own = |q: Question<'_>| {
            chain.vouchers.who(&Question { change, packages, records, ..q }, rules)
        };
        if let Some(voucher) = self.put(tree, self.entry, own)? {
            return Ok(Some(voucher));
        }
        let Verdict::Steps(steps) = verdict else { return Ok(None) };
        for path in steps.iter().flat_map(Step::paths).filter(|path| *path != self.entry.path) {
            let Some(other) = tree.lookup(path)? else { continue };
            let state = State::new(&other);
            let others = |q: Question<'_>| chain.vouchers.who(&q, rules);
            if let Some(voucher) = state.put(tree, &other, others)? {
                return Ok(Some(voucher));
            }
        }
        Ok(None)
    }

    /// Puts a question about `entry`, which is ours or has never been read.
    fn put<T>(
        &self,
        tree: &dyn Tree,
        entry: &Entry,
        ask: impl FnOnce(Question<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        let content = || -> io::Result<Option<Box<dyn Read + '_>>> {
            Ok(match self.normal.original.as_deref() {
                Some(bytes) => Some(Box::new(bytes)),
                None => tree.open(&entry.path)?.map(|content| Box::new(content) as Box<dyn Read>),
            })
        };
        let change = Change::Content;
        ask(Question { entry, change, packages: false, records: true, content: &content })
    }

    /// Whether steps give the inode another name.
    fn moves(&self) -> bool {
        let of_it = |s: &Step| matches!(s, Step::Link(_, old) if *old == self.entry.path);
        matches!(&self.normal.form, Form::Steps(steps) if steps.iter().any(of_it))
    }

    /// What the plugin would do is not done, since the configuration keeps the path.
    fn leave(&mut self, plugin: &'static str, verdict: &Verdict) {
        // Times are not worth a word: a kept folder would give one for each file.
        if !matches!(verdict, Verdict::Mtime(_)) {
            let why = "left as it is, since the configuration keeps it (keep)";
            self.normal.notes.push((plugin, Note::Report(why.to_owned())));
        }
    }

    fn take(&mut self, plugin: &'static str, verdict: Verdict) {
        match verdict {
            Verdict::Keep => return,
            Verdict::With(path) => {
                self.normal.with = Some(path);
                return;
            }
            Verdict::Report(why) => {
                return self.normal.notes.push((plugin, Note::Report(why)));
            }
            Verdict::Unparsed(what) => {
                return self.normal.notes.push((plugin, Note::Unparsed(what)));
            }
            Verdict::Rewrite(bytes) => self.rewrite(bytes.into()),
            Verdict::Spooled(spooled) => self.rewrite(spooled.into()),
            Verdict::Remove => self.remove(),
            Verdict::Mtime(time) => self.normal.mtime = Some((plugin, time)),
            Verdict::Xattrs(names) => {
                self.normal.xattrs = Some((plugin, names));
                return;
            }
            Verdict::Steps(more) => {
                self.normal.steps_by = Some(plugin);
                self.steps(more);
            }
            Verdict::Mode(bits) => {
                self.normal.mode = Some((plugin, bits));
                return;
            }
        }
        self.normal.by.push(plugin);
    }

    fn rewrite(&mut self, content: Content) {
        match &mut self.normal.form {
            Form::Steps(steps) => steps.push(Step::Write(self.entry.path.clone(), content)),
            form => *form = Form::Bytes(content),
        }
    }

    fn remove(&mut self) {
        match &mut self.normal.form {
            Form::Steps(steps) => steps.push(Step::Remove(self.entry.path.clone())),
            form => *form = Form::Removed,
        }
        self.normal.mtime = None;
        self.normal.xattrs = None;
        self.normal.mode = None;
        self.gone = true;
    }

    fn steps(&mut self, more: Vec<Step>) {
        let path = || self.entry.path.clone();
        let mut steps = match std::mem::replace(&mut self.normal.form, Form::Kept) {
            Form::Bytes(content) => vec![Step::Write(path(), content)],
            Form::Steps(steps) => steps,
            Form::Kept | Form::Removed => Vec::new(),
        };
        steps.extend(more);
        self.normal.form = Form::Steps(steps);
        self.gone = self.normal.is_removed(self.entry);
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::env::SourceDateEpoch;
    use crate::globs::Globs;
    use crate::normal::Page;
    use crate::vouchers::Rules;

    /// A tree of one file, `f`.
    struct One(Vec<u8>);

    impl Tree for One {
        fn lookup(&self, path: &Path) -> io::Result<Option<Entry>> {
            Ok((path == Path::new("f")).then(|| entry(self.0.len() as u64)))
        }
        fn list(&self, _: &Path) -> io::Result<Vec<OsString>> {
            Ok(vec!["f".into()])
        }
        fn read(&self, _: &Path) -> io::Result<Option<Vec<u8>>> {
            Ok(Some(self.0.clone()))
        }
        fn readlink(&self, _: &Path) -> io::Result<Option<PathBuf>> {
            Ok(None)
        }
        fn xattrs(&self, _: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
            Ok(Vec::new())
        }
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
        chain.normal_form(&One(b"abc".to_vec()), &entry(3)).expect("reads")
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
            chain.normal_form(&One(b"abc".to_vec()), &entry(3)).expect("reads")
        };
        let voucher = Voucher { who: Who::Configuration, at: PathBuf::new() };
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
        let normal = chain.normal_form(&One(b"abc".to_vec()), &entry(3)).expect("reads");
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
