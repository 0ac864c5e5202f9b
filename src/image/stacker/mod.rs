//! stacker: its choice among several layer chains, and its squashfs, erofs and verity layers.
//!
//! For every layer that it builds, stacker keeps `ROOTS/NAME/overlay_metadata.json` with one
//! manifest per layer type. The next build mounts the layers of *any* of them, the first in a Go
//! map's random order (stacker issue 442). That is sound only if all name the same directories,
//! which [`check`] checks; [`fix`] drops a stale type, and [`filesystem`] says why two filesystem
//! layers differ.

pub mod check;
pub mod filesystem;
pub mod fix;
pub mod metadata;
