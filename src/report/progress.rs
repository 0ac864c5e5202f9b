//! A progress bar on standard error during long work, only on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Progress of one phase after another. It is drawn only on a terminal, and only after a moment.
pub struct Progress {
    /// `None` without a terminal: counting would take a lock for each file.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Progress on standard error; silent if `quiet` or if that is not a terminal.
    pub fn new(quiet: bool) -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(8);
        let shown = !quiet && !target.is_hidden();
        Progress { bar: shown.then(|| ProgressBar::with_draw_target(None, target)) }
    }

    /// Starts a phase of `total` units; 0 if the number is not known.
    pub fn phase(&self, name: &'static str, total: usize) {
        let Some(bar) = &self.bar else { return };
        let template = match total {
            0 => "{msg} {spinner}",
            _ => "{msg} [{bar:30}] {human_pos}/{human_len} {eta}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.reset();
        bar.set_length(total as u64);
        bar.set_message(name);
        bar.enable_steady_tick(Duration::from_millis(200));
    }

    /// Records that `n` more units are done; may be called from any thread.
    pub fn advance(&self, n: usize) {
        if let Some(bar) = &self.bar {
            bar.inc(n as u64);
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
