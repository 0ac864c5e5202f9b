//! Processes that a build left behind.
//!
//! This process reaps its orphaned descendants (prctl PR_SET_CHILD_SUBREAPER), so whatever a step
//! starts stays below it in the process tree, however it detaches itself. If this process is
//! killed, the remaining ones are found by the variable `REPROFIX_RUN` in their environment.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    parent: i32,
    name: String,
    zombie: bool,
}

/// Makes this process the reaper of its descendants.
pub(crate) fn become_reaper() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// The present descendants of this process.
pub(crate) fn descendants() -> io::Result<BTreeSet<i32>> {
    let all = processes()?;
    let mut found = BTreeSet::new();
    let mut todo = vec![rustix::process::getpid().as_raw_nonzero().get()];
    while let Some(parent) = todo.pop() {
        let children = all.iter().filter(|(_, process)| process.parent == parent);
        todo.extend(children.map(|(pid, _)| *pid).filter(|pid| found.insert(*pid)));
    }
    Ok(found)
}

/// Kills all descendants except those in `keep` until none is left; returns the names of those that
/// were alive, sorted.
///
/// # Errors
///
/// If some are still alive after ten seconds (blocked in the kernel).
pub(crate) fn kill_descendants(keep: &BTreeSet<i32>) -> io::Result<Vec<String>> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut names: BTreeMap<i32, String> = BTreeMap::new();
    loop {
        let all = processes()?;
        let left: Vec<i32> = descendants()?.difference(keep).copied().collect();
        if left.is_empty() {
            let mut names: Vec<String> = names.into_values().collect();
            names.sort();
            return Ok(names);
        }
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("processes {left:?} cannot be killed")));
        }
        for pid in left {
            let Some(process) = all.get(&pid) else { continue };
            if !process.zombie {
                names.insert(pid, process.name.clone());
            }
            end(pid);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Kills every process on this machine whose environment has `REPROFIX_RUN=token`.
pub(crate) fn kill_marked(token: &str) -> io::Result<usize> {
    let mark = format!("REPROFIX_RUN={token}").into_bytes();
    let marked = |pid: &i32| {
        let environment = std::fs::read(PathBuf::from(format!("/proc/{pid}/environ")));
        environment.is_ok_and(|bytes| bytes.split(|b| *b == 0).any(|entry| entry == mark))
    };
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let found: Vec<i32> = processes()?.into_keys().filter(|p| *p != own).filter(marked).collect();
    found.iter().for_each(|pid| end(*pid));
    Ok(found.len())
}

/// Kills a process and reaps it if it is a child.
fn end(pid: i32) {
    let Some(pid) = Pid::from_raw(pid) else { return };
    // It may be gone already, or belong to another reaper: the caller checks again.
    let _ = kill_process(pid, Signal::KILL);
    let _ = waitpid(Some(pid), WaitOptions::NOHANG);
}

/// Every process in /proc.
fn processes() -> io::Result<BTreeMap<i32, Process>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have exited meanwhile.
        let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some(process) = parse(&String::from_utf8_lossy(&stat)) {
            found.insert(pid, process);
        }
    }
    Ok(found)
}

/// proc_pid_stat(5): `PID (NAME) STATE PARENT …`; the name may contain blanks and parentheses.
fn parse(stat: &str) -> Option<Process> {
    let (head, tail) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut fields = tail.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Process { parent, name: name.to_owned(), zombie: state == "Z" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_process_name_is_read_right() {
        let process = parse("42 (a) R 1 (b) S 7 42 42 0").unwrap();
        assert_eq!(
            (process.name.as_str(), process.parent, process.zombie),
            ("a) R 1 (b", 7, false)
        );
        assert_eq!(parse("42 (x"), None);
        assert_eq!(parse(""), None);
    }
}
