//! One cause of many differences, which a plugin recognises only from all of them together.

use std::path::Path;

use super::{Cause, Explained};
use crate::normal::Plugin;

/// Asks the plugins what the differences have in common. Their answers count if nothing else
/// explains a path and only its mode differs. `packaged` returns a path's mode in its package, if
/// both builds agree on it.
pub(crate) fn recognise(
    all: &mut [Explained],
    plugins: &[&'static dyn Plugin],
    packaged: &dyn Fn(&Path) -> Option<u16>,
) {
    for plugin in plugins {
        let differences: Vec<_> = all.iter().map(|explained| &explained.difference).collect();
        let answers = plugin.common_cause(&differences, packaged);
        for (explained, answer) in all.iter_mut().zip(answers) {
            let open = explained.equal_but_for_mode && explained.cause == Cause::Unexplained;
            if let Some((cause, lines)) = answer.filter(|_| open) {
                explained.cause = Cause::Common { plugin: plugin.page().name, cause, lines };
            }
        }
    }
}
