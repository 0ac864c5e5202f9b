//! The plugins, one file or folder each, and their registry.
//!
//! `CONTRIBUTING.md` has the steps to add one. The evidence that a plugin is right is in
//! `tests/plugins/NAME/`.
//!
//! There are two lists here, since they have two orders: the modules are sorted, as rustfmt wants
//! them, and `REGISTRY` is the order in which plugins act. A macro could derive the first from the
//! second, but rustfmt does not format files whose `mod` is in a macro. They cannot differ: an
//! unknown module does not compile, an unregistered one is dead code, and a test
//! (`tests/it/evidence.rs`) compares both with the files.

mod accounts;
mod ar;
mod authselect;
mod bootupd;
mod build_ids;
mod build_traces;
mod cacerts;
mod catalog;
mod depmod;
mod dnf_history;
mod dnf_state;
mod fontconfig;
mod generated;
mod gio_modules;
mod glib_schemas;
mod gzip;
mod hwdb;
mod icon_cache;
pub mod initramfs;
mod jar;
mod javadoc;
mod kernel_modules;
mod kinds;
mod ld_cache;
mod locale_archive;
mod machine_id;
mod machine_state;
mod mime_cache;
mod modes;
mod mtime;
mod os_release;
mod pycache;
mod random_ids;
pub(crate) mod rpmdb;
mod selinux;
mod tar;
mod tmpfiles;
mod treefile;
mod xattrs;
mod zip;

use crate::env::SourceDateEpoch;
use crate::normal::{Context, Plugin};

/// Whether the plugin `xattrs` removes an attribute of this name.
pub fn is_left_over(attribute: &[u8]) -> bool {
    xattrs::is_left_over(attribute)
}

/// Every plugin, in the order in which they chain on one file.
pub static REGISTRY: &[&dyn Plugin] = &[
    &machine_state::MACHINE_STATE,
    &machine_id::MachineId,
    &random_ids::RANDOM_IDS,
    &dnf_state::DNF_STATE,
    &dnf_history::DnfHistory,
    &build_traces::BUILD_TRACES,
    &pycache::Pycache,
    &accounts::Accounts,
    &authselect::AUTHSELECT,
    &cacerts::CACERTS,
    &fontconfig::FONTCONFIG,
    &hwdb::HWDB,
    &gio_modules::GIO_MODULES,
    &ld_cache::LD_CACHE,
    &mime_cache::MIME_CACHE,
    &icon_cache::ICON_CACHE,
    &glib_schemas::GLIB_SCHEMAS,
    &glib_schemas::DCONF,
    &locale_archive::LOCALE_ARCHIVE,
    &catalog::CATALOG,
    &depmod::DEPMOD,
    &selinux::SELINUX,
    &kernel_modules::KernelModules,
    &os_release::OS_RELEASE,
    &treefile::TREEFILE,
    &bootupd::BOOTUPD,
    &build_ids::BUILD_IDS,
    &generated::GENERATED,
    &tmpfiles::Tmpfiles,
    &gzip::GZIP,
    &zip::Zip,
    &jar::Jar,
    &ar::AR,
    &tar::TAR,
    &javadoc::JAVADOC,
    &rpmdb::Rpmdb,
    &initramfs::Initramfs,
    &xattrs::Xattrs,
    &modes::Modes,
    &mtime::Mtime,
];

/// A context with the plugins that are on by default.
pub fn default_context(epoch: SourceDateEpoch) -> Context {
    let plugins = REGISTRY.iter().copied().filter(|plugin| plugin.page().default).collect();
    let mut cx = Context::new(epoch);
    cx.plugins = plugins;
    cx
}

/// The names of all plugins, in their order.
pub fn names() -> impl Iterator<Item = &'static str> {
    REGISTRY.iter().map(|plugin| plugin.page().name)
}

/// The plugin called `name`.
pub fn find(name: &str) -> Option<&'static dyn Plugin> {
    REGISTRY.iter().copied().find(|p| p.page().name == name)
}
