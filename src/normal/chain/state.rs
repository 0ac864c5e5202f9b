//! A path on its way through the chain.

use std::borrow::Cow;
use std::io::{self, Read};

use super::{Chain, Form, Normal, Note};
use crate::normal::{Content, Step, Verdict};
use crate::tree::{Entry, Kind, Tree};
use crate::vouchers::{Change, Question, Voucher, VoucherKind};

/// A path on its way through the chain.
pub(super) struct State<'a> {
    pub(super) entry: &'a Entry,
    pub(super) normal: Normal,
    pub(super) gone: bool,
}

impl<'a> State<'a> {
    pub(super) fn new(entry: &'a Entry) -> Self {
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

    pub(super) fn read(&mut self, tree: &dyn Tree) -> io::Result<()> {
        if self.normal.original.is_none() {
            let gone = || io::Error::new(io::ErrorKind::NotFound, "the file disappeared");
            self.normal.original = Some(tree.read_known(self.entry)?.ok_or_else(gone)?);
        }
        Ok(())
    }

    /// Whether the content begins with `magic`: it is in memory, or its first bytes are read.
    pub(super) fn begins_with(&self, tree: &dyn Tree, magic: &[u8]) -> io::Result<bool> {
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
    pub(super) fn current(&self) -> io::Result<Cow<'_, [u8]>> {
        let original = || Cow::Borrowed(self.normal.original.as_deref().unwrap_or_default());
        Ok(self.normal.content(self.entry)?.unwrap_or_else(original))
    }

    /// What vouches for something that the verdict would change: the first that does, or all if the
    /// configuration overrules them, since each is named then. This is checked last: hashing
    /// costs more than most verdicts, and most verdicts are `Keep`.
    pub(super) fn vouched(
        &self,
        chain: &Chain<'_>,
        tree: &dyn Tree,
        verdict: &Verdict,
        packages: bool,
    ) -> io::Result<Vec<Voucher>> {
        let change = match verdict {
            Verdict::Keep | Verdict::Mtime(_) => return Ok(Vec::new()),
            Verdict::Remove => Change::Removal,
            Verdict::Xattrs(_) | Verdict::Mode(_) => Change::Attributes,
            _ => Change::Content,
        };
        if !verdict.changes() {
            // No remark about what a package ships: that is up to its packager.
            return match packages {
                true => {
                    let package = self.put(tree, self.entry, |q| chain.vouchers.package_of(&q))?;
                    Ok(package.into_iter().collect())
                }
                false => Ok(Vec::new()),
            };
        }
        let mut records = true;
        if change == Change::Removal
            && let Some(path) = chain.vouchers.record_of(self.entry)?
            && let Some(record) = tree.lookup(&path)?
        {
            // The file and its line are removed together.
            if !chain.may_amend(tree, &record)? {
                return Ok(vec![Voucher { who: VoucherKind::Record, at: path }]);
            }
            records = false;
        }
        let rules = &chain.cx.vouching;
        let every = rules.overrules(self.entry);
        let own = |q: Question<'_>| {
            let question = Question { change, packages, records, ..q };
            match every {
                true => chain.vouchers.all(&question, rules),
                false => Ok(chain.vouchers.who(&question, rules)?.into_iter().collect()),
            }
        };
        let own = self.put(tree, self.entry, own)?;
        let Verdict::Steps(steps) = verdict else { return Ok(own) };
        if !own.is_empty() {
            return Ok(own);
        }
        for path in steps.iter().flat_map(Step::paths).filter(|path| *path != self.entry.path) {
            let Some(other) = tree.lookup(path)? else { continue };
            let state = State::new(&other);
            let others = |q: Question<'_>| chain.vouchers.who(&q, rules);
            if let Some(voucher) = state.put(tree, &other, others)? {
                return Ok(vec![voucher]);
            }
        }
        Ok(Vec::new())
    }

    /// Asks a question about `entry`, whose content is in memory or was never read.
    pub(super) fn put<T>(
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
    pub(super) fn moves(&self) -> bool {
        let of_it = |s: &Step| matches!(s, Step::Link(_, old) if *old == self.entry.path);
        matches!(&self.normal.form, Form::Steps(steps) if steps.iter().any(of_it))
    }

    /// Drops the plugin's verdict, since the configuration keeps the path.
    pub(super) fn leave(&mut self, plugin: &'static str, verdict: &Verdict) {
        // Times are not worth a remark: a kept folder would produce one for each file.
        if !matches!(verdict, Verdict::Mtime(_)) {
            let why = "left as it is, since the configuration keeps it (keep)";
            self.normal.notes.push((plugin, Note::Report(why.to_owned())));
        }
    }

    pub(super) fn take(&mut self, plugin: &'static str, verdict: Verdict) {
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

    pub(super) fn rewrite(&mut self, content: Content) {
        match &mut self.normal.form {
            Form::Steps(steps) => steps.push(Step::Write(self.entry.path.clone(), content)),
            form => *form = Form::Bytes(content),
        }
    }

    pub(super) fn remove(&mut self) {
        match &mut self.normal.form {
            Form::Steps(steps) => steps.push(Step::Remove(self.entry.path.clone())),
            form => *form = Form::Removed,
        }
        self.normal.mtime = None;
        self.normal.xattrs = None;
        self.normal.mode = None;
        self.gone = true;
    }

    pub(super) fn steps(&mut self, more: Vec<Step>) {
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
