//! The nightly job: builds twice under varied conditions, compares, records and notifies.
//!
//! [`config`] says what to build; `preset` has the steps of the known flows; `vary` is the
//! table of conditions and `launch` puts them around a command; `exec` runs one command within
//! its limits, or until a signal to stop; `build` makes the two subjects;
//! `compare` compares them; `night` does all of it and writes the history. A
//! failure of any part is recorded as such: only a finished comparison can say "different".
//!
//! The outputs of the history are [`pages`], `notify`, `metrics`, `attest`; `publish` makes
//! all of them. [`feed`] and [`manifest`] are what rebuilderd needs to take over the scheduling.

pub(crate) mod attest;
pub(crate) mod bisect;
pub(crate) mod build;
pub(crate) mod compare;
pub mod config;
pub(crate) mod exec;
pub mod feed;
mod images;
pub(crate) mod inputs;
pub(crate) mod launch;
pub mod manifest;
pub(crate) mod metrics;
pub(crate) mod mounts;
pub(crate) mod night;
pub(crate) mod notify;
pub mod pages;
pub(crate) mod preset;
pub(crate) mod procs;
pub(crate) mod publish;
pub(crate) mod rebuild;
pub(crate) mod signals;
pub(crate) mod units;
pub(crate) mod vary;

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// The last `limit` bytes of a file.
fn tail(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(limit)))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `base-url` without a slash at its end, the prefix of all links.
fn trimmed(url: &str) -> &str {
    url.trim_end_matches('/')
}
