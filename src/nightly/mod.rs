//! The nightly job: build twice under varied conditions, compare, remember, show, tell.
//!
//! [`config`] says what to build; [`preset`] has the steps of the known flows; [`vary`] is the
//! table of conditions and [`launch`] puts them around a command; [`exec`] runs one command within
//! its limits; [`build`] makes the two subjects; [`compare`](mod@compare) compares them;
//! [`night`] does all of it and writes the history. A failure of any part is recorded as what it
//! is: only a finished comparison says "different".

pub mod bisect;
pub mod build;
pub mod config;
pub mod exec;
pub mod launch;
pub mod mounts;
pub mod preset;
pub mod procs;
pub mod units;
pub mod vary;
