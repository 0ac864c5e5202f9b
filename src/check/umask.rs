//! Modes that differ as under two umasks: one cause behind many paths.

use std::path::Path;

use super::{Cause, Change, Explained};
use crate::tree::Umask;

/// The plugin whose page says what a umask does to a compose, and that restores what can be.
pub(crate) const PLUGIN: &str = "modes";

/// Recognises one pair of umasks behind the differences of mode. `packaged` gives the mode that a
/// path's package has for it, where both builds agree on that.
pub(crate) fn recognise(all: &mut [Explained], packaged: &dyn Fn(&Path) -> Option<u16>) {
    let modes = |explained: &Explained| {
        let difference = &explained.difference;
        let (a, b) = (difference.a.as_ref()?, difference.b.as_ref()?);
        let of_one_kind = a.kind() == b.kind() && difference.changes.contains(&Change::Mode);
        of_one_kind.then_some((a.attrs.mode, b.attrs.mode))
    };
    let Some(mask) = Umask::behind(all.iter().filter_map(modes)) else { return };
    for explained in all {
        let of_it = modes(explained).is_some_and(|(a, b)| mask.explains(a, b));
        if !of_it || !explained.equal_but_for_mode || explained.cause != Cause::Unexplained {
            continue;
        }
        let mut lines = vec![mask.to_string()];
        let bits = packaged(&explained.difference.path).map(|mode| u32::from(mode) & 0o7777);
        lines.extend(bits.map(|bits| {
            format!("{bits:04o} as packaged: `reprofix fix --with modes` restores it")
        }));
        explained.cause = Cause::Known { plugin: PLUGIN, lines };
    }
}
