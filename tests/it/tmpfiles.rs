//! What real lines of tmpfiles.d make on two machines, and that `check` names the line.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::repo::reprofix;

const LINES: &str = "\
d /var/lib 0755 - - -
f /etc/built-on 0644 - - - built on %H\\n
f+ /etc/booted 0644 - - - \"%b %%\"
d /var/lib/of-%H 0755 - - -
L /etc/kernel-now - - - - ../usr/lib/modules/%v/vmlinuz
w /etc/list - - - - one of %l\\n
";

/// Runs the real systemd-tmpfiles on a root as a machine of this name, boot id and kernel.
fn create(root: &Path, host: &str, boot: &str, uname: &str) -> bool {
    let script = "mount --bind \"$1\" /proc/sys/kernel/random/boot_id || exit 77
        hostname \"$2\" || exit 77
        exec setarch $3 systemd-tmpfiles --root=\"$4\" --create";
    let id = root.with_extension("boot-id");
    fs::write(&id, boot).unwrap();
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--uts", "--propagation", "private", "sh", "-uc", script, "sh"]);
    let done = unshare.arg(&id).args([host, uname]).arg(root).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    if done.status.code() == Some(77) || said.contains("unshare failed") {
        return false;
    }
    assert!(done.status.success(), "{said}");
    true
}

#[test]
fn a_line_with_what_is_the_builders_explains_what_it_made() {
    let dir = tempfile::tempdir().unwrap();
    let sides = ["a", "b"].map(|side| dir.path().join(side));
    let machines = [
        ("alpha", "0f36c0a7-11bb-4a0c-9a0f-000000000001\n", "x86_64"),
        ("beta.example", "0f36c0a7-11bb-4a0c-9a0f-000000000002\n", "--uname-2.6"),
    ];
    for (side, (host, boot, uname)) in sides.iter().zip(machines) {
        for folder in ["etc", "usr/lib/tmpfiles.d"] {
            fs::create_dir_all(side.join(folder)).unwrap();
        }
        fs::write(side.join("usr/lib/tmpfiles.d/x.conf"), LINES).unwrap();
        fs::write(side.join("etc/list"), "a list\n").unwrap();
        // The names of the accounts that lines may have.
        fs::write(side.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
        // Differs too, and no line made it.
        fs::write(side.join("etc/other"), format!("on {host}\n")).unwrap();
        if !create(side, host, boot, uname) {
            eprintln!("skipped: a name space of its own cannot be had here");
            return;
        }
    }
    let path = |n: usize| sides[n].to_str().unwrap();
    let (code, text, error) =
        reprofix(&["check", path(0), path(1), "--json=-", "--source-date-epoch=1"]);
    assert_eq!(code, 1, "{error}");
    let report: Value = serde_json::from_str(&text).unwrap();
    let rows = report["differences"].as_array().unwrap();
    let mut seen = Vec::new();
    for row in rows {
        let (path, cause) = (row["path"].as_str().unwrap(), &row["cause"]);
        if path == "etc/other" {
            assert_eq!(cause["kind"], "unexplained", "{row}");
            continue;
        }
        assert_eq!(cause["kind"], "cascade", "{row}");
        assert_eq!(cause["how"], "tmpfiles", "{row}");
        assert_eq!(cause["of"], "usr/lib/tmpfiles.d/x.conf", "{row}");
        seen.push(format!("{path}: {}", row["details"].as_array().unwrap().last().unwrap()));
    }
    let (now, use_) = ("%H (the builder's host name)", "use literal text in an image's lines");
    let wanted = [
        format!("etc/booted: \"line 3 there has %b (the builder's boot id): {use_}\""),
        format!("etc/built-on: \"line 2 there has {now}: {use_}\""),
        format!("etc/kernel-now: \"line 5 there has %v (the builder's kernel): {use_}\""),
        format!("etc/list: \"line 6 there has %l (the builder's short host name): {use_}\""),
        format!("var/lib/of-alpha: \"line 4 there has {now}: {use_}\""),
        format!("var/lib/of-beta.example: \"line 4 there has {now}: {use_}\""),
    ];
    assert_eq!(seen, wanted);
}
