//! Runs one command within limits of time, output and disk space, and leaves none of its processes
//! behind.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::{procs, signals};

/// How long a command may take to exit after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// Limits of one build, over all its steps.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// The time at which it must have ended.
    pub deadline: Instant,
    /// Bytes of output.
    pub log: u64,
    /// Free bytes that the file system must keep.
    pub free: u64,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With this status.
    Exit(ExitStatus),
    /// Killed: the time was over.
    TimedOut,
    /// Killed: too much output.
    LogLimit,
    /// The file system is full: it was killed, or failed because of that.
    DiskFull,
    /// Killed: reprofix received a signal to stop.
    Interrupted,
    /// It did not start.
    NotStarted(String),
}

/// The end of a command and of the processes it started.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// How it ended.
    pub end: End,
    /// Names of processes that it left running, which were killed, sorted.
    pub left: Vec<String>,
}

/// A file for a build's output, whose size is counted.
pub(crate) struct Log {
    file: File,
    written: Arc<AtomicU64>,
}

impl Log {
    /// Creates the file, which must not exist.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Log { file: crate::disk::create_new(path)?, written: Arc::default() })
    }

    /// Writes a line by reprofix itself.
    pub(crate) fn say(&mut self, line: &str) -> io::Result<()> {
        self.file.write_all(format!("{line}\n").as_bytes())
    }
}

/// Runs `command` on the file system of `place`, with standard output and error in `log`.
///
/// Only one call at a time in a process: every new descendant counts as left behind afterwards.
pub(crate) fn run(
    mut command: Command,
    log: &Log,
    limits: &Limits,
    place: &Path,
) -> io::Result<Ended> {
    let before = procs::descendants()?;
    let (reader, writer) = io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer).current_dir(place);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let program = command.get_program().to_string_lossy();
            let end = End::NotStarted(format!("{program}: {error}"));
            return Ok(Ended { end, left: Vec::new() });
        }
    };
    // Our copies of the pipe must close, or reading it would never end.
    drop(command);
    let copier = copy(reader, log, limits.log)?;
    let end = watch(&mut child, log, limits, place)?;
    let mut left = procs::kill_descendants(&before)?;
    if !matches!(end, End::Exit(_)) {
        left.clear();
    }
    let end = match (end, join(copier)) {
        (End::Exit(status), Ok(())) if !status.success() && is_full(limits, place) => {
            let _ = status;
            End::DiskFull
        }
        (End::Exit(_), Err(error)) if super::build::is_full(&error) => End::DiskFull,
        (_, Err(error)) if !super::build::is_full(&error) => return Err(error),
        (End::Exit(_), Ok(())) if log.written.load(Ordering::Relaxed) > limits.log => End::LogLimit,
        (end, _) => end,
    };
    Ok(Ended { end, left })
}

/// Waits for `child`, or kills it and its group.
fn watch(child: &mut Child, log: &Log, limits: &Limits, place: &Path) -> io::Result<End> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(End::Exit(status));
        }
        let end = if signals::asked() {
            End::Interrupted
        } else if Instant::now() > limits.deadline {
            End::TimedOut
        } else if log.written.load(Ordering::Relaxed) > limits.log {
            End::LogLimit
        } else if is_full(limits, place) {
            End::DiskFull
        } else {
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
            continue;
        };
        terminate(child)?;
        return Ok(end);
    }
}

/// SIGTERM to the group, a while later SIGKILL.
fn terminate(child: &mut Child) -> io::Result<()> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let signal = |signal| group.map(|group| kill_process_group(group, signal));
    // ESRCH: it exited meanwhile.
    let _ = signal(Signal::TERM);
    let deadline = Instant::now() + GRACE;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            let _ = signal(Signal::KILL);
            child.wait()?;
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Copies output into the log up to `limit`; the rest is read and discarded.
fn copy(
    mut from: impl Read + Send + 'static,
    log: &Log,
    limit: u64,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let mut file = log.file.try_clone()?;
    let written = Arc::clone(&log.written);
    std::thread::Builder::new().name("build output".into()).spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        let mut result = Ok(());
        loop {
            let n = match from.read(&mut buffer) {
                Ok(0) => return result,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            let before = written.fetch_add(n as u64, Ordering::Relaxed);
            let room = usize::try_from(limit.saturating_sub(before)).unwrap_or(usize::MAX);
            if result.is_ok() {
                result = file.write_all(&buffer[..n.min(room)]);
            }
        }
    })
}

fn join(copier: JoinHandle<io::Result<()>>) -> io::Result<()> {
    copier.join().unwrap_or_else(|_| Err(io::Error::other("the reader of the output failed")))
}

/// Whether the file system of `place` has less than its reserve left.
pub(crate) fn is_full(limits: &Limits, place: &Path) -> bool {
    rustix::fs::statvfs(place).is_ok_and(|fs| {
        let free = fs.f_bavail.saturating_mul(fs.f_frsize);
        free < limits.free || (fs.f_files > 0 && fs.f_favail == 0)
    })
}

/// Describes an exit status.
pub(crate) fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
