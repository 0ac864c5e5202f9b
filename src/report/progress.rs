//! A bar on standard error while work is long, and nothing where nobody looks.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Progress of one phase after another. Draws only on a terminal, and only after a moment.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Progress on standard error; silent when `quiet` or when that is no terminal.
    pub fn new(quiet: bool) -> Self {
        let bar = match quiet {
            true => ProgressBar::hidden(),
            false => ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8)),
        };
        Progress { bar }
    }

    /// Starts a phase of `total` units; 0 where the number is not known.
    pub fn phase(&self, name: &'static str, total: usize) {
        // A bar that nobody sees would still have a thread of its own.
        if self.bar.is_hidden() {
            return;
        }
        let template = match total {
            0 => "{msg} {spinner}",
            _ => "{msg} [{bar:30}] {human_pos}/{human_len} {eta}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.bar.reset();
        self.bar.set_length(total as u64);
        self.bar.set_message(name);
        self.bar.enable_steady_tick(Duration::from_millis(200));
    }

    /// `n` more units are done; may be called from any thread.
    pub fn advance(&self, n: usize) {
        self.bar.inc(n as u64);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
