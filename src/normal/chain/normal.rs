//! The normal form of one path, and the plugins that made it.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use crate::format::Malformed;
use crate::normal::{Content, NewState, Step};
use crate::tree::{Entry, Time};
use crate::vouchers::Voucher;

/// What the chain makes of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// In normal form already.
    Kept,
    /// A regular file with this content.
    Bytes(Content),
    /// Removed. A directory is removed only if everything in it is.
    Removed,
    /// Several paths change together, in this order. The last step that writes the judged path has
    /// its content.
    Steps(Vec<Step>),
}

/// Something a plugin says about a path that it does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A known source of difference that no tool may fix here, and what to do instead.
    Report(String),
    /// It looks like the plugin's file but cannot be parsed.
    Unparsed(Malformed),
    /// A voucher needs it unchanged, so the plugin's verdict does not count.
    Vouched(Voucher),
    /// A voucher needs it unchanged, but the configuration overrules that.
    Overruled(Voucher),
}

/// The normal form of one path and the plugins that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normal {
    /// What the path becomes.
    pub form: Form,
    /// The new modification time and the plugin that sets it; `None` keeps the old one.
    pub mtime: Option<(&'static str, Time)>,
    /// The extended attributes to remove, and the plugin that says so.
    pub xattrs: Option<(&'static str, Vec<Vec<u8>>)>,
    /// The new permission bits, and the plugin that sets them.
    pub mode: Option<(&'static str, u32)>,
    /// The plugins that change it, in the order they acted.
    pub by: Vec<&'static str>,
    /// The last plugin that answered with steps.
    pub steps_by: Option<&'static str>,
    /// The plugins that leave it alone and say why, in the order they did.
    pub notes: Vec<(&'static str, Note)>,
    /// The content as it is on disk; `None` if no plugin asked for it in memory.
    pub original: Option<Vec<u8>>,
    /// Whether a plugin asked for the content, in memory or piece by piece.
    pub read: bool,
    /// The path together with which its form is decided, if a plugin says so: see
    /// [`Chain::resolved_form`](super::Chain::resolved_form).
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

    /// Type and permission bits of the normal form of a path whose mode is `now`.
    pub fn mode_of(&self, now: u32) -> u32 {
        self.mode.map_or(now, |(_, bits)| now & !0o7777 | bits)
    }

    /// Drops the changes of time, attributes and mode; returns the plugin of the first one.
    pub(crate) fn take_metadata(&mut self) -> Option<&'static str> {
        let (time, attributes, mode) = (self.mtime.take(), self.xattrs.take(), self.mode.take());
        let time = time.map(|(plugin, _)| plugin);
        let attributes = attributes.map(|(plugin, _)| plugin);
        time.or(attributes).or(mode.map(|(plugin, _)| plugin))
    }

    /// The attributes of the normal form of a path whose attributes are `now`.
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
            Form::Steps(steps) => match new_state(steps, entry) {
                Some(NewState::Bytes(bytes)) => Some(Cow::Borrowed(bytes)),
                Some(NewState::Spooled(spooled)) => Some(Cow::Owned(spooled.bytes()?)),
                Some(NewState::Nothing | NewState::Link(_)) | None => None,
            },
        })
    }

    /// Whether `entry` is absent in normal form.
    pub fn is_removed(&self, entry: &Entry) -> bool {
        match &self.form {
            Form::Removed => true,
            Form::Steps(steps) => new_state(steps, entry) == Some(NewState::Nothing),
            Form::Kept | Form::Bytes(_) => false,
        }
    }
}

/// The state after the steps at the path of `entry`; `None` if they do not change it.
pub(super) fn new_state<'s>(steps: &'s [Step], entry: &Entry) -> Option<NewState<'s>> {
    steps.iter().rev().find_map(|step| step.new_state(&entry.path))
}
