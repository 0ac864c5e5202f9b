//! SIGINT, SIGTERM and SIGHUP: the builds end with us, and their run is recorded as interrupted.
//!
//! Builds are in their own process groups, so a terminal's Ctrl-C does not reach them. Code that
//! waits for a build checks [`asked`]. A second signal ends this process at once; then the next run
//! closes what is left, as after SIGKILL.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

static ASKED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Starts to record signals. A second one exits with code 2, as for any unfinished night.
pub(crate) fn listen() -> io::Result<()> {
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 2, Arc::clone(&ASKED))?;
        flag::register(signal, Arc::clone(&ASKED))?;
    }
    Ok(())
}

/// Whether a signal to stop was received.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
