//! Presets: the steps of known flows.
//!
//! Every parameter reaches the steps as a variable, `WITH_` and its name in capitals, so that no
//! value is ever interpreted by the shell. Two builds share nothing: each has its own work
//! directory, with caches, repositories and container storage below it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::config::Step;

/// A flow.
#[derive(Debug)]
pub(crate) struct Preset {
    /// Its name in `nightly.toml`.
    pub name: &'static str,
    /// What is set in `nightly.toml`.
    pub parameters: &'static [Parameter],
    /// Shell scripts, run in the build's directory.
    pub steps: &'static [&'static str],
    /// The subject; `{work}` and `{PARAMETER}` are replaced.
    pub subject: &'static str,
    /// Variations that do not work with the tool, and why; the history records both.
    pub spares: &'static [(&'static str, &'static str)],
    /// A command that must succeed before a night begins, and what to do where it does not.
    pub needs: Option<(&'static [&'static str], &'static str)>,
}

/// A parameter of a flow.
#[derive(Debug)]
pub(crate) struct Parameter {
    /// Its name in `with`.
    pub name: &'static str,
    /// Its value where it is not given; `None`: it must be.
    pub default: Option<&'static str>,
    /// What it means.
    pub help: &'static str,
    /// What its value is.
    pub kind: Kind,
}

/// What the value of a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A text.
    Text,
    /// A file or directory.
    Path,
    /// A file, or the name of a program in PATH.
    Program,
    /// A directory, or the address of a git repository.
    Repository,
}

const fn text(name: &'static str, default: Option<&'static str>, help: &'static str) -> Parameter {
    Parameter { name, default, help, kind: Kind::Text }
}

const fn path(kind: Kind, name: &'static str, help: &'static str) -> Parameter {
    Parameter { name, default: None, help, kind }
}

/// Variations that do not work with rpm-ostree, as seen in composes with v2025.1.
const RPM_OSTREE: &[(&str, &str)] = &[
    (
        "umask",
        "rpm-ostree does not set a umask, so every mode would follow it: its steps run under umask \
         022 (docs/flows.md)",
    ),
    (
        "directory-order",
        "on disorderfs rpm-ostree fails to rewrite the rpmdb (Directory not empty)",
    ),
];

/// A build in a user name space needs ids for its other users, root's build too.
const ROOTLESS: (&[&str], &str) = (
    &["unshare", "-U", "-r", "--map-auto", "true"],
    "the user of the job, root too, needs a range of subordinate ids: a line `USER:100000:65536` in \
     /etc/subuid and in /etc/subgid, and the program newuidmap (Debian's package uidmap, Fedora's \
     shadow-utils)",
);

/// The steps of a build and its subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipe {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The subject, with `{work}` not yet replaced.
    pub subject: String,
    /// Variables of the steps.
    pub env: BTreeMap<String, String>,
}

/// Every flow.
pub(crate) const PRESETS: &[Preset] = &[
    Preset {
        // Any program that fills the directory it is given.
        name: "rootfs",
        parameters: &[path(
            Kind::Program,
            "script",
            "the program; its argument is the directory to fill",
        )],
        steps: &["\"$WITH_SCRIPT\" \"$REPROFIX_WORK/rootfs\""],
        subject: "dir:{work}/rootfs",
        spares: &[],
        needs: None,
    },
    Preset {
        // Rpm-ostree compose tree, with its own repository and package cache.
        name: "rpm-ostree",
        parameters: &[
            path(Kind::Path, "treefile", "the treefile"),
            text("ref", None, "the ref in the treefile"),
            text("arguments", Some(""), "more arguments, separated by blanks"),
        ],
        steps: &[
            "ostree --repo=repo init --mode=archive",
            "mkdir cache",
            "umask 022 && rpm-ostree compose tree --repo=\"$REPROFIX_WORK/repo\" \
             --cachedir=\"$REPROFIX_WORK/cache\" --unified-core $WITH_ARGUMENTS \"$WITH_TREEFILE\"",
        ],
        subject: "ostree:{work}/repo:{ref}",
        spares: RPM_OSTREE,
        needs: None,
    },
    Preset {
        // Rpm-ostree compose rootfs.
        name: "compose-rootfs",
        parameters: &[
            path(Kind::Path, "manifest", "the treefile"),
            text("arguments", Some(""), "more arguments, separated by blanks"),
        ],
        steps: &[
            "mkdir cache",
            "umask 022 && rpm-ostree compose rootfs --cachedir=\"$REPROFIX_WORK/cache\" $WITH_ARGUMENTS \
             \"$WITH_MANIFEST\" \"$REPROFIX_WORK/rootfs\"",
        ],
        subject: "dir:{work}/rootfs",
        spares: RPM_OSTREE,
        needs: None,
    },
    Preset {
        // Buildah build of a Containerfile, as coreos-assembler does it, without any cache.
        name: "containerfile",
        parameters: &[
            path(Kind::Path, "context", "the directory with the Containerfile"),
            text("arguments", Some(""), "more arguments of buildah build, separated by blanks"),
        ],
        steps: &[
            // Separate storage and no layer cache: a cached layer would not be built.
            "buildah --root \"$REPROFIX_WORK/storage\" --runroot \"$REPROFIX_WORK/run\" build \
             --no-cache --layers=false --timestamp \"$SOURCE_DATE_EPOCH\" \
             --build-arg SOURCE_DATE_EPOCH=\"$SOURCE_DATE_EPOCH\" $WITH_ARGUMENTS \
             --tag localhost/nightly \"$WITH_CONTEXT\"",
            "buildah --root \"$REPROFIX_WORK/storage\" --runroot \"$REPROFIX_WORK/run\" push \
             localhost/nightly \"oci-archive:$REPROFIX_WORK/image.ociarchive\"",
        ],
        subject: "oci-archive:{work}/image.ociarchive",
        spares: &[],
        needs: None,
    },
    Preset {
        // Buildah build in a user name space, with the arguments of Konflux's buildah task.
        name: "rootless",
        parameters: &[
            path(Kind::Path, "context", "the directory with the Containerfile"),
            text("arguments", Some(""), "more arguments of buildah build, separated by blanks"),
        ],
        steps: &[
            // --map-auto maps the ids that /etc/subuid and /etc/subgid assign to the user, which
            // may be root. From buildah 1.41 on the task's parameters SOURCE_DATE_EPOCH and
            // REWRITE_TIMESTAMP are options of buildah; earlier versions have only --timestamp.
            "set -- --timestamp \"$SOURCE_DATE_EPOCH\" \
                 --build-arg SOURCE_DATE_EPOCH=\"$SOURCE_DATE_EPOCH\"; \
             if buildah build --help | grep -q -e --source-date-epoch; then \
                 set -- --source-date-epoch \"$SOURCE_DATE_EPOCH\" --rewrite-timestamp; \
             fi; \
             unshare -U -f --keep-caps -r --map-auto --mount \
                 -w \"$WITH_CONTEXT\" -- \
                 buildah --root \"$REPROFIX_WORK/storage\" --runroot \"$REPROFIX_WORK/run\" build \
                 --isolation chroot --no-cache --layers=false --ulimit nofile=4096:4096 --http-proxy=false \
                 \"$@\" $WITH_ARGUMENTS --tag localhost/nightly .",
            "unshare -U -f --keep-caps -r --map-auto --mount -- \
                 buildah --root \"$REPROFIX_WORK/storage\" --runroot \"$REPROFIX_WORK/run\" push \
                 localhost/nightly \"oci-archive:$REPROFIX_WORK/image.ociarchive\"",
        ],
        subject: "oci-archive:{work}/image.ociarchive",
        spares: &[],
        needs: Some(ROOTLESS),
    },
    Preset {
        // Osbuild of a manifest, up to the pipeline whose tree holds the repository.
        name: "osbuild",
        parameters: &[
            path(Kind::Path, "manifest", "the manifest, of version 2"),
            text("export", Some("ostree-commit"), "the pipeline with org.osbuild.ostree.commit"),
            text("ref", None, "the ref that it commits to"),
            text("arguments", Some(""), "more arguments, separated by blanks"),
        ],
        steps: &[
            // The epoch of a pipeline is in the manifest, not in the environment.
            "jq --argjson epoch \"$SOURCE_DATE_EPOCH\" '.pipelines[][\"source-epoch\"] = $epoch' \
             \"$WITH_MANIFEST\" >manifest.json",
            // A separate store: what is already in one would not be built again.
            "umask 022 && osbuild --store \"$REPROFIX_WORK/store\" --output-directory \
             \"$REPROFIX_WORK/out\" --export \"$WITH_EXPORT\" $WITH_ARGUMENTS manifest.json",
        ],
        subject: "ostree:{work}/out/{export}/repo:{ref}",
        spares: &[],
        needs: None,
    },
    Preset {
        // Coreos-assembler: init, fetch, build, in a directory of its own.
        name: "cosa",
        parameters: &[
            path(
                Kind::Repository,
                "config",
                "the configuration repository: a git URL or a directory",
            ),
            text("version", None, "the version to build; one with a time in it never reproduces"),
            text("init", Some(""), "more arguments of cosa init, separated by blanks"),
            text("build", Some(""), "more arguments of cosa build, separated by blanks"),
        ],
        steps: &[
            // A fresh directory: in a used one an existing version would not be built again, and
            // the layer cache in cache/ would replace a build.
            "mkdir cosa",
            "cd cosa && cosa init $WITH_INIT \"$WITH_CONFIG\"",
            "cd cosa && cosa fetch",
            // SOURCE_DATE_EPOCH reaches the build only with --direct.
            "cd cosa && cosa build --direct --version \"$WITH_VERSION\" $WITH_BUILD",
        ],
        subject: "cosa:{work}/cosa",
        spares: &[],
        needs: None,
    },
];

/// The preset called `name`.
pub(crate) fn find(name: &str) -> Result<&'static Preset> {
    PRESETS.iter().find(|p| p.name == name).with_context(|| {
        let names: Vec<&str> = PRESETS.iter().map(|p| p.name).collect();
        format!("unknown preset {name:?}; there are {}", names.join(", "))
    })
}

impl Kind {
    /// Whether `value` is a path: a program's bare name is not, nor is what git calls an address.
    fn is_path(self, value: &str) -> bool {
        match self {
            Kind::Text => false,
            Kind::Path => true,
            Kind::Program => value.contains('/'),
            Kind::Repository => !value.split('/').next().is_some_and(|start| start.contains(':')),
        }
    }
}

impl Preset {
    /// The steps for these parameters.
    ///
    /// # Errors
    ///
    /// If a parameter is unknown or missing.
    pub(crate) fn recipe(&self, with: &BTreeMap<String, String>) -> Result<Recipe> {
        for name in with.keys() {
            if !self.parameters.iter().any(|p| p.name == name) {
                bail!("preset {:?} has no parameter {name:?}", self.name);
            }
        }
        let mut recipe = Recipe { subject: self.subject.to_owned(), ..Recipe::default() };
        for Parameter { name, default, help, .. } in self.parameters {
            let value = with.get(*name).map(String::as_str).or(*default).with_context(|| {
                format!("preset {:?} needs the parameter {name:?}: {help}", self.name)
            })?;
            recipe.env.insert(format!("WITH_{}", name.to_ascii_uppercase()), value.to_owned());
            recipe.subject = recipe.subject.replace(&format!("{{{name}}}"), value);
        }
        recipe.steps = self.steps.iter().map(|s| Step::Script((*s).to_owned())).collect();
        Ok(recipe)
    }

    /// Takes relative paths in the parameters from `dir`.
    pub(crate) fn place(&self, with: &mut BTreeMap<String, String>, dir: &Path) {
        for parameter in self.parameters {
            let Some(value) = with.get_mut(parameter.name) else { continue };
            if parameter.kind.is_path(value) {
                *value = dir.join(&*value).to_string_lossy().into_owned();
            }
        }
    }

    /// # Errors
    ///
    /// Where a path in the parameters is not there, or the machine lacks what the steps need.
    pub(crate) fn is_ready(&self, with: &BTreeMap<String, String>) -> Result<()> {
        for parameter in self.parameters {
            let Some(value) = with.get(parameter.name) else { continue };
            let is_there = !parameter.kind.is_path(value) || Path::new(value).exists();
            ensure!(is_there, "with.{}: there is no {value}", parameter.name);
        }
        let Some((words, remedy)) = self.needs else { return Ok(()) };
        let tried = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
        let why = match &tried {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "),
            Err(error) => error.to_string(),
        };
        bail!("preset {:?}: `{}` fails here ({why}): {remedy}", self.name, words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_variables_never_shell() {
        let with = BTreeMap::from([
            ("treefile".to_owned(), "$(reboot).yaml".to_owned()),
            ("ref".to_owned(), "fedora/x86_64".to_owned()),
        ]);
        let recipe = find("rpm-ostree").unwrap().recipe(&with).unwrap();
        assert_eq!(recipe.subject, "ostree:{work}/repo:fedora/x86_64");
        assert_eq!(recipe.env["WITH_TREEFILE"], "$(reboot).yaml");
        assert!(recipe.steps.iter().all(|s| !format!("{s:?}").contains("reboot")));
    }

    /// Steps whose tools are not available cannot run here, but a shell can parse them.
    #[test]
    fn every_step_is_shell_and_uses_the_parameters_that_there_are() {
        let variable = regex::Regex::new(r"\$WITH_([A-Z]+)").unwrap();
        for preset in PRESETS {
            for step in preset.steps {
                let shell = std::process::Command::new("sh").args(["-nc", step]).status();
                assert!(shell.unwrap().success(), "{}: {step}", preset.name);
            }
            let text = [preset.steps.join("\n").as_str(), preset.subject].join("\n");
            assert_eq!(preset.name, find(preset.name).unwrap().name, "two of one name");
            let named = |name: &str| preset.parameters.iter().any(|p| p.name == name);
            for found in variable.captures_iter(&text) {
                assert!(named(&found[1].to_lowercase()), "{}: {}", preset.name, &found[0]);
            }
            for Parameter { name, .. } in preset.parameters {
                let used = format!("$WITH_{}", name.to_uppercase());
                assert!(text.contains(&used) || text.contains(&format!("{{{name}}}")), "{name}");
            }
        }
    }

    #[test]
    fn a_path_is_taken_from_the_configurations_folder_and_an_address_stays() {
        let dir = Path::new("/srv/night");
        for (preset, name, given, wanted) in [
            ("rpm-ostree", "treefile", "a/b.yaml", "/srv/night/a/b.yaml"),
            ("rpm-ostree", "treefile", "/abs.yaml", "/abs.yaml"),
            ("rpm-ostree", "ref", "fedora/x86_64", "fedora/x86_64"),
            ("containerfile", "context", ".", "/srv/night/."),
            ("rootfs", "script", "./compose", "/srv/night/./compose"),
            ("rootfs", "script", "compose", "compose"),
            ("cosa", "config", "config", "/srv/night/config"),
            ("cosa", "config", "https://example.com/c.git", "https://example.com/c.git"),
            ("cosa", "config", "git@example.com:c/d", "git@example.com:c/d"),
        ] {
            let mut with = BTreeMap::from([(name.to_owned(), given.to_owned())]);
            find(preset).unwrap().place(&mut with, dir);
            assert_eq!(with[name], wanted, "{preset} {name}");
        }
        let with = BTreeMap::from([("treefile".to_owned(), "/nowhere/a.yaml".to_owned())]);
        let error = find("rpm-ostree").unwrap().is_ready(&with).unwrap_err().to_string();
        assert_eq!(error, "with.treefile: there is no /nowhere/a.yaml");
    }

    #[test]
    fn what_a_preset_needs_of_the_machine_is_tried_before_the_night() {
        let preset = Preset {
            needs: Some((&["sh", "-c", "echo no range >&2; exit 1"], "add a line")),
            ..Preset {
                name: "p",
                parameters: &[],
                steps: &[],
                subject: "",
                spares: &[],
                needs: None,
            }
        };
        let error = preset.is_ready(&BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("(no range): add a line"), "{error}");
        assert!(find("rootless").unwrap().needs.is_some());
    }

    #[test]
    fn what_a_preset_spares_is_a_variation() {
        for (name, why) in PRESETS.iter().flat_map(|preset| preset.spares) {
            assert!(super::super::vary::VARIATIONS.iter().any(|v| v.name == *name), "{name}");
            assert!(!why.is_empty());
        }
        let spared = |preset: &str| find(preset).unwrap().spares.iter().map(|s| s.0).collect();
        let of_tree: Vec<&str> = spared("rpm-ostree");
        assert_eq!(of_tree, ["umask", "directory-order"]);
        assert!(find("rpm-ostree").unwrap().steps.iter().any(|s| s.starts_with("umask 022 ")));
    }

    #[test]
    fn missing_and_unknown_parameters_are_named() {
        let error = find("rootfs").unwrap().recipe(&BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("script"), "{error}");
        let with = BTreeMap::from([("colour".to_owned(), String::new())]);
        assert!(find("rootfs").unwrap().recipe(&with).is_err());
        assert!(find("make").is_err());
    }
}
