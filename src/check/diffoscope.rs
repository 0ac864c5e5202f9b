//! What diffoscope says about an unexplained difference. It runs only on request, with limits on
//! time, output and number of files.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::check::describe::text;
use crate::disk;

/// The most files that diffoscope is asked about.
pub(crate) const FILES_MAX: usize = 25;
/// The time limit for one file.
const ONE: Duration = Duration::from_secs(60);
/// The most bytes of its output for one file.
const OUTPUT_MAX: u64 = 64 << 10;
/// The most lines to keep.
const LINES_MAX: usize = 200;
const WIDTH: usize = 300;

/// How to run diffoscope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diffoscope {
    /// The program, by path or by name in the search path.
    pub program: PathBuf,
    /// Time for all files together.
    pub timeout: Duration,
}

/// Runs diffoscope for one file after another, until the time is up.
pub(crate) struct Session<'d> {
    how: &'d Diffoscope,
    until: Instant,
}

impl<'d> Session<'d> {
    pub(crate) fn new(how: &'d Diffoscope) -> Self {
        let now = Instant::now();
        Session { how, until: now.checked_add(how.timeout).unwrap_or(now) }
    }

    /// What diffoscope says about two contents of the file `name`, line by line, or why it says
    /// nothing.
    ///
    /// # Errors
    ///
    /// If the program cannot be started, or its input files cannot be written.
    pub(crate) fn ask(&self, name: &Path, a: &[u8], b: &[u8]) -> Result<Vec<String>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(vec![format!(
                "diffoscope: not asked, its {:?} are used up",
                self.how.timeout
            )]);
        }
        let dir = disk::private_dir().context("creating a directory for diffoscope")?;
        let name = name.file_name().unwrap_or(name.as_os_str());
        for (side, content) in [("a", a), ("b", b)] {
            let place = dir.path().join(side);
            disk::create_dir_all(&place).context("writing files for diffoscope")?;
            disk::atomic_write(&place.join(name), content, 0o600)
                .context("writing files for diffoscope")?;
        }
        let sides = ["a", "b"].map(|side| Path::new(side).join(name));
        let mut said = disk::scratch(None).context("creating a temporary file")?;
        let out = said.try_clone().context("creating a temporary file")?;
        let mut child = self.start(dir.path(), &sides, out)?;
        let limit = left.min(ONE);
        match wait(&mut child, limit).context("waiting for diffoscope")? {
            None => {
                let seconds = limit.as_millis().div_ceil(1000);
                Ok(vec![format!("diffoscope: stopped after {seconds} s")])
            }
            Some(status) => {
                let mut text = Vec::new();
                said.rewind()?;
                said.take(OUTPUT_MAX).read_to_end(&mut text)?;
                Ok(lines(status, &String::from_utf8_lossy(&text)))
            }
        }
    }

    fn start(&self, dir: &Path, sides: &[PathBuf; 2], out: File) -> Result<Child> {
        let program = &self.how.program;
        // A bare name is looked up in the search path; a relative path would be relative to the
        // files.
        let program = match program.components().count() {
            1 => program.clone(),
            _ => std::path::absolute(program).context("finding diffoscope")?,
        };
        let started = Command::new(&program)
            .args(["--no-progress", "--text-color=never", "--text=-"])
            .arg(format!("--max-text-report-size={OUTPUT_MAX}"))
            .args(sides)
            .current_dir(dir)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(Stdio::null())
            .spawn();
        match started {
            Ok(child) => Ok(child),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                bail!("there is no {}; install it or leave --diffoscope out", program.display())
            }
            Err(e) => Err(e).with_context(|| format!("starting {}", program.display())),
        }
    }
}

/// Waits for its end; `None` if it was killed, with all its children, because `limit` was over.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may just have exited by itself.
        let _ = kill_process_group(group, Signal::KILL);
    }
    child.wait()?;
    Ok(None)
}

fn lines(status: ExitStatus, said: &str) -> Vec<String> {
    let shown = |line: &str| format!("diffoscope: {}", text::visible(line.chars().take(WIDTH)));
    let mut lines: Vec<_> = said.lines().take(LINES_MAX).map(shown).collect();
    match status.code() {
        Some(0) => lines.push("diffoscope: finds no difference".to_owned()),
        Some(1) => {}
        _ => lines.push(format!("diffoscope: failed ({status})")),
    }
    lines
}
