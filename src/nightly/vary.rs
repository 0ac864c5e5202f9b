//! The table of conditions under which the second build differs from the first.
//!
//! Under a variation both sides are set, so that they differ wherever the builder happens to be;
//! without it both sides are as the scheduler started us. The set follows reprotest's; what is varied
//! by default is what another builder on another day has, and what no build has to bear is asked for.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::launch::{Directories, Launch};

/// Which of the two builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The first, the control.
    A,
    /// The second.
    B,
}

/// One condition.
pub struct Variation {
    /// Its name in `nightly.toml`.
    pub name: &'static str,
    /// What differs, in one line.
    pub help: &'static str,
    /// Why it is not varied by default; `None` where it is.
    pub extra: Option<&'static str>,
    /// Sets one side; the error says why it cannot be done here.
    apply: fn(&mut Launch, Side) -> Result<(), String>,
}

/// Every condition, in the order of reports.
pub(crate) const VARIATIONS: &[Variation] = &[
    Variation {
        name: "clock",
        help: "the second build is 373 days, 7 hours and 13 minutes later (libfaketime; static binaries, and programs \
               whose environment is cleared as in bubblewrap, see the real time)",
        extra: Some("what is fetched over TLS or signed for some days has run out by then"),
        apply: |launch, side| {
            if side == Side::B {
                launch.clock = Some("+32253180");
            }
            Ok(())
        },
    },
    Variation {
        name: "day",
        help: "the second build is a day, 7 hours and 13 minutes later (libfaketime, as `clock`)",
        extra: None,
        apply: |launch, side| {
            // Under both, the later of the two clocks counts.
            if side == Side::B && launch.clock.is_none() {
                launch.clock = Some("+112380");
            }
            Ok(())
        },
    },
    Variation {
        name: "timezone",
        help: "TZ 26 hours apart",
        extra: None,
        apply: |launch, side| set(launch, side, "TZ", "GMT+12", "GMT-14"),
    },
    Variation {
        name: "locale",
        help: "C.UTF-8 and another installed locale",
        extra: None,
        apply: locale,
    },
    Variation {
        name: "umask",
        help: "022 and 002",
        extra: None,
        apply: |launch, side| {
            launch.umask = Some(if side == Side::A { "022" } else { "002" });
            Ok(())
        },
    },
    Variation {
        name: "host",
        help: "another host and domain name (a UTS name space)",
        extra: None,
        apply: |launch, side| {
            if side == Side::B {
                launch.host = Some("reprofix-b.example");
            }
            Ok(())
        },
    },
    Variation {
        name: "user",
        help: "another name for the same user (a mount name space), USER and LOGNAME",
        extra: None,
        apply: |launch, side| {
            if side == Side::B {
                launch.user = Some("reprofix-b");
                launch.env.insert("USER".into(), "reprofix-b".into());
                launch.env.insert("LOGNAME".into(), "reprofix-b".into());
            }
            Ok(())
        },
    },
    Variation {
        name: "pid",
        help: "process numbers that start elsewhere (a PID name space)",
        extra: None,
        apply: |launch, side| {
            if side == Side::B {
                launch.first_pid = Some("20011");
            }
            Ok(())
        },
    },
    Variation {
        name: "cpus",
        help: "all processors and one",
        extra: Some("the second build takes as long as one processor needs"),
        apply: cpus,
    },
    Variation {
        name: "directory-order",
        help: "readdir sorted and reversed (disorderfs)",
        extra: Some(
            "below disorderfs, which is FUSE, a build is slow, and what makes hard links or mounts there may fail",
        ),
        apply: |launch, side| {
            let reverse = if side == Side::B { "yes" } else { "no" };
            launch.disorder = Some(reverse);
            Ok(())
        },
    },
    Variation {
        name: "build-path",
        help: "another, longer build directory",
        extra: None,
        apply: |launch, side| {
            launch.directories.elsewhere |= side == Side::B;
            Ok(())
        },
    },
    Variation {
        name: "tmpdir",
        help: "another, longer TMPDIR",
        extra: None,
        apply: |launch, side| {
            launch.directories.tmp_elsewhere |= side == Side::B;
            Ok(())
        },
    },
    Variation {
        name: "environment",
        help: "an additional variable with unusual bytes",
        extra: None,
        apply: |launch, side| {
            if side == Side::B {
                launch.env.insert("REPROFIX_JUNK".into(), "it's \"junk\" \u{e9}\n;$(false)".into());
            }
            Ok(())
        },
    },
    Variation {
        name: "kernel",
        help: "the kernel calls itself 2.6 (setarch)",
        extra: Some("programs that want a newer kernel do not start"),
        apply: |launch, side| {
            launch.old_kernel |= side == Side::B;
            Ok(())
        },
    },
    Variation {
        name: "package-order",
        help: "REPROFIX_PACKAGE_ORDER is `forward` and `reverse`; a step must act on it",
        extra: None,
        apply: |launch, side| set(launch, side, "REPROFIX_PACKAGE_ORDER", "forward", "reverse"),
    },
];

fn set(launch: &mut Launch, side: Side, name: &str, a: &str, b: &str) -> Result<(), String> {
    launch.env.insert(name.into(), if side == Side::A { a } else { b }.into());
    Ok(())
}

fn locale(launch: &mut Launch, side: Side) -> Result<(), String> {
    let output = Command::new("locale").arg("-a").stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("locale -a: {e}"))?;
    let installed = String::from_utf8_lossy(&output.stdout).into_owned();
    // C.UTF-8 and POSIX sort and print alike; a real locale is better if one is installed.
    let real =
        |name: &&str| !["C", "POSIX"].contains(name) && !name.to_lowercase().starts_with("c.utf");
    let other = installed.lines().find(real).unwrap_or("C");
    set(launch, side, "LC_ALL", "C.UTF-8", other)?;
    set(launch, side, "LANG", "C.UTF-8", other)
}

fn cpus(launch: &mut Launch, side: Side) -> Result<(), String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let list =
        list.map(str::trim).ok_or("/proc/self/status does not say which processors there are")?;
    let first = list.split([',', '-']).next().unwrap_or("0");
    if first == list {
        return Err("there is only one processor".to_owned());
    }
    if side == Side::B {
        launch.cpus = Some(first.to_owned());
    }
    Ok(())
}

/// What [`select`] takes for those that are varied by default.
pub(crate) const DEFAULT: &str = "default";

/// The variations called `names`, in the table's order; `all` stands for all, `default` for those
/// without a reason not to be, and `-NAME` takes one away again.
pub(crate) fn select(names: &[String]) -> Result<Vec<&'static Variation>> {
    let bare = |name: &'_ str| name.strip_prefix('-').unwrap_or(name).to_owned();
    for name in
        names.iter().filter(|name| *name != "all" && *name != DEFAULT).map(|name| bare(name))
    {
        VARIATIONS.iter().find(|v| v.name == name).with_context(|| {
            let names: Vec<&str> = VARIATIONS.iter().map(|v| v.name).collect();
            format!(
                "vary: unknown variation {name:?}; there are all, default, {}, and each with a `-` \
                 before it to leave it out",
                names.join(", ")
            )
        })?;
    }
    let group = |v: &Variation, name: &str| name == "all" || name == DEFAULT && v.extra.is_none();
    let named = |v: &Variation| names.iter().any(|name| group(v, name) || name == v.name);
    let taken = |v: &Variation| names.iter().any(|n| n.strip_prefix('-') == Some(v.name));
    Ok(VARIATIONS.iter().filter(|v| named(v) && !taken(v)).collect())
}

/// The variations that the preset supports, and the others with the reason.
pub(crate) fn spare(
    variations: Vec<&'static Variation>,
    spares: &[(&str, &str)],
) -> (Vec<&'static Variation>, Vec<(String, String)>) {
    let why = |v: &Variation| spares.iter().find(|(name, _)| *name == v.name).map(|(_, why)| *why);
    let (left, spared): (Vec<_>, Vec<_>) = variations.into_iter().partition(|v| why(v).is_none());
    let reason =
        |v: &&'static Variation| (v.name.to_owned(), why(v).unwrap_or_default().to_owned());
    (left, spared.iter().map(reason).collect())
}

/// The conditions of one side under `variations`.
pub(crate) fn launch(variations: &[&'static Variation], side: Side) -> Result<Launch, String> {
    let mut launch = Launch { directories: Directories::default(), ..Launch::default() };
    for variation in variations {
        (variation.apply)(&mut launch, side)?;
    }
    Ok(launch)
}

/// The variations that work on this machine, and the others with the reason. Each is tried by
/// running `true` under it. `scratch` is a writable directory.
pub(crate) fn possible(
    variations: Vec<&'static Variation>,
    scratch: &Path,
) -> (Vec<&'static Variation>, Vec<(String, String)>) {
    let mut good = Vec::new();
    let mut skipped = Vec::new();
    for variation in variations {
        let sides = [Side::A, Side::B].into_iter();
        let tried = sides.map(|side| launch(&[variation], side)?.probe(scratch));
        match tried.collect::<Result<(), String>>() {
            Ok(()) => good.push(variation),
            Err(why) => skipped.push((variation.name.to_owned(), why + package(variation.name))),
        }
    }
    (good, skipped)
}

/// What to install where a variation fails, if it needs a program that many machines lack.
fn package(variation: &str) -> &'static str {
    match variation {
        "clock" | "day" => "; it needs faketime (Debian's package faketime, Fedora's libfaketime)",
        "directory-order" => "; it needs disorderfs (Debian's package of that name)",
        _ => "",
    }
}

/// Names, comma-separated.
pub(crate) fn names(variations: &[&'static Variation]) -> String {
    variations.iter().map(|v| v.name).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_differ_under_every_variation() {
        for variation in VARIATIONS {
            let both = [Side::A, Side::B].map(|side| launch(&[variation], side));
            let [Ok(a), Ok(b)] = both else {
                eprintln!("skipped: {}: not possible here", variation.name);
                continue;
            };
            assert_ne!(a, b, "{}", variation.name);
        }
    }

    #[test]
    fn selection_keeps_the_tables_order() {
        let all = select(&["all".to_owned()]).unwrap();
        assert_eq!(all.len(), VARIATIONS.len());
        let two = select(&["umask".to_owned(), "clock".to_owned()]).unwrap();
        assert_eq!(names(&two), "clock,umask");
        assert!(select(&["all".to_owned(), "moon".to_owned()]).is_err());
        let but = select(&["all".to_owned(), "-clock".to_owned()]).unwrap();
        assert!(but.len() == VARIATIONS.len() - 1 && but.iter().all(|v| v.name != "clock"));
        assert!(select(&["-moon".to_owned()]).is_err());
    }

    #[test]
    fn the_default_is_what_another_builder_on_another_day_has() {
        let default = select(&[DEFAULT.to_owned()]).unwrap();
        let wanted =
            "day,timezone,locale,umask,host,user,pid,build-path,tmpdir,environment,package-order";
        assert_eq!(names(&default), wanted);
        let but = select(&[DEFAULT.to_owned(), "cpus".to_owned(), "-day".to_owned()]).unwrap();
        assert!(names(&but).starts_with("timezone,") && names(&but).contains("pid,cpus,"));
        assert!(select(&[]).unwrap().is_empty());
    }

    #[test]
    fn what_a_preset_spares_is_left_out_with_its_reason() {
        let all = select(&["all".to_owned()]).unwrap();
        let (left, spared) = spare(all, &[("umask", "why")]);
        assert_eq!(left.len(), VARIATIONS.len() - 1);
        assert_eq!(spared, [("umask".to_owned(), "why".to_owned())]);
    }
}
