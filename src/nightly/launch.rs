//! The conditions of a build step: clock, name spaces, processors, umask, environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{exec, mounts};
use crate::disk;

/// Conditions of one build, as [`super::vary`] sets them. The default changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Launch {
    /// Variables in addition to the inherited ones.
    pub env: BTreeMap<String, String>,
    /// An offset for libfaketime, in seconds.
    pub clock: Option<&'static str>,
    /// File mode creation mask, octal.
    pub umask: Option<&'static str>,
    /// Host name.
    pub host: Option<&'static str>,
    /// The user's name.
    pub user: Option<&'static str>,
    /// The first process number.
    pub first_pid: Option<&'static str>,
    /// Processors, in the syntax of taskset.
    pub cpus: Option<String>,
    /// Whether the kernel calls itself 2.6.
    pub old_kernel: bool,
    /// Directory order through disorderfs: whether it is reversed, `yes` or `no`.
    pub disorder: Option<&'static str>,
    /// Which directories are elsewhere.
    pub directories: Directories,
}

/// Directories whose names vary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directories {
    /// The build directory.
    pub elsewhere: bool,
    /// TMPDIR.
    pub tmp_elsewhere: bool,
}

/// Sets up the name spaces from the inside. The user's new name comes before the old one in the
/// password file, so that the number has the new name but the old name still works.
const INSIDE: &str = r#"host=$1 passwd=$2 pid=$3; shift 3
[ -z "$host" ] || hostname "$host"
[ -z "$passwd" ] || mount --bind "$passwd" /etc/passwd
[ -z "$pid" ] || echo "$pid" > /proc/sys/kernel/ns_last_pid
exec "$@""#;

impl Launch {
    /// The command that runs `words` under these conditions. `scratch` is a directory for files
    /// that these need.
    ///
    /// # Errors
    ///
    /// If such a file cannot be written.
    pub(crate) fn command(&self, words: &[OsString], scratch: &Path) -> std::io::Result<Command> {
        let mut argv: Vec<OsString> = Vec::new();
        let mut add = |words: &[&str]| argv.extend(words.iter().map(OsString::from));
        if let Some(cpus) = &self.cpus {
            add(&["taskset", "-c", cpus]);
        }
        if self.old_kernel {
            add(&["setarch", "--uname-2.6"]);
        }
        if self.host.is_some() || self.user.is_some() || self.first_pid.is_some() {
            argv.extend(self.name_spaces(scratch)?);
        }
        let mut add = |words: &[&str]| argv.extend(words.iter().map(OsString::from));
        if let Some(offset) = self.clock {
            // File times stay true: make and others compare them with each other.
            add(&["env", "NO_FAKE_STAT=1", "faketime", "-f", offset]);
        }
        if let Some(umask) = self.umask {
            add(&["sh", "-c", "umask \"$1\"; shift; exec \"$@\"", "sh", umask]);
        }
        argv.extend_from_slice(words);
        let (program, arguments) = argv.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).envs(&self.env).stdin(Stdio::null()).process_group(0);
        Ok(command)
    }

    fn name_spaces(&self, scratch: &Path) -> std::io::Result<Vec<OsString>> {
        let mut argv: Vec<OsString> = ["unshare", "--fork", "--kill-child"].map(Into::into).into();
        let mut passwd = PathBuf::new();
        if self.host.is_some() {
            argv.push("--uts".into());
        }
        if let Some(user) = self.user {
            passwd = scratch.join("passwd");
            disk::atomic_write(&passwd, &password_file(user)?, 0o644)?;
            argv.push("--mount".into());
        }
        if self.first_pid.is_some() {
            argv.extend(["--pid", "--mount-proc"].map(Into::into));
        }
        argv.extend(["sh", "-euc", INSIDE, "sh", self.host.unwrap_or("")].map(Into::into));
        argv.extend([passwd.into_os_string(), self.first_pid.unwrap_or("").into()]);
        Ok(argv)
    }

    /// Tries these conditions with `true`; the error is the tool's message, or says which tool is
    /// missing.
    pub(crate) fn probe(&self, scratch: &Path) -> Result<(), String> {
        if let Some(reverse) = self.disorder {
            let (below, above) = (scratch.join("probe.below"), scratch.join("probe"));
            let mount = || -> std::io::Result<mounts::Mounted> {
                disk::create_dir_all(&below)?;
                disk::create_dir_all(&above)?;
                mounts::disorderfs(&below, &above, reverse)
            };
            let mounted = mount().map_err(|e| format!("disorderfs: {e}"))?;
            mounted.unmount().map_err(|e| format!("disorderfs: {e}"))?;
        }
        let command = self.command(&["true".into()], scratch);
        let mut command = command.map_err(|e| e.to_string())?;
        let program = command.get_program().to_string_lossy().into_owned();
        match command.output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let line = said.lines().next_back().unwrap_or("it said nothing");
                Err(format!("{}: {line}", exec::ended(output.status)))
            }
            Err(error) => Err(format!("{program}: {error}")),
        }
    }
}

/// The password file with another name for the present user at the front.
fn password_file(user: &str) -> std::io::Result<Vec<u8>> {
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    let mut text = format!("{user}:x:{uid}:{gid}::/:/bin/sh\n").into_bytes();
    text.extend(std::fs::read("/etc/passwd")?);
    Ok(text)
}

/// `text` with every `{work}` replaced.
pub(crate) fn placed(text: &OsStr, work: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    const MARK: &[u8] = b"{work}";
    let (mut rest, mut out) = (text.as_bytes(), Vec::new());
    while let Some(at) = rest.windows(MARK.len()).position(|w| w == MARK) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(work.as_os_str().as_bytes());
        rest = &rest[at + MARK.len()..];
    }
    out.extend_from_slice(rest);
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_replaced_everywhere() {
        let work = Path::new("/w{work}");
        assert_eq!(placed(OsStr::new("dir:{work}/a{work}"), work), "dir:/w{work}/a/w{work}");
        assert_eq!(placed(OsStr::new("{wor}"), work), "{wor}");
    }

    #[test]
    fn conditions_nest() {
        let launch = Launch {
            clock: Some("+60"),
            umask: Some("002"),
            old_kernel: true,
            cpus: Some("0".into()),
            ..Launch::default()
        };
        let command = launch.command(&["make".into(), "all".into()], Path::new("/x")).unwrap();
        let words: Vec<_> =
            std::iter::once(command.get_program()).chain(command.get_args()).collect();
        let words: Vec<_> = words.iter().map(|w| w.to_string_lossy()).collect();
        assert_eq!(words[..6], ["taskset", "-c", "0", "setarch", "--uname-2.6", "env"]);
        assert_eq!(words[words.len() - 3..], ["002", "make", "all"]);
    }
}
