//! The known flows: which steps, and what they must not share.
//!
//! Every parameter reaches the steps as a variable, `WITH_` and its name in capitals, so that no
//! value is ever read as shell. Two builds share nothing: each has its own work directory, and
//! caches, repositories and container storage are below it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use super::config::Step;

/// A flow.
#[derive(Debug)]
pub struct Preset {
    /// Its name in `nightly.toml`.
    pub name: &'static str,
    /// What it builds, in one line.
    pub help: &'static str,
    /// Parameters, their defaults (`None`: required) and meanings.
    pub parameters: &'static [(&'static str, Option<&'static str>, &'static str)],
    /// Shell scripts, run in the build's directory.
    pub steps: &'static [&'static str],
    /// The subject; `{work}` and `{PARAMETER}` are replaced.
    pub subject: &'static str,
    /// Variations that the tool cannot bear, and why; the record has both.
    pub spares: &'static [(&'static str, &'static str)],
}

/// What rpm-ostree cannot bear: seen in composes with v2025.1.
const RPM_OSTREE: &[(&str, &str)] = &[
    (
        "umask",
        "rpm-ostree sets none, so every mode would follow it: its steps are under umask 022 \
         (docs/flows.md)",
    ),
    (
        "directory-order",
        "on disorderfs rpm-ostree fails to rewrite the rpmdb (Directory not empty)",
    ),
];

/// What to run and what comes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipe {
    /// In order.
    pub steps: Vec<Step>,
    /// The subject, with `{work}` still in it.
    pub subject: String,
    /// Variables of the steps.
    pub env: BTreeMap<String, String>,
}

/// Every flow.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "rootfs",
        help: "any program that fills the directory it is given",
        parameters: &[("script", None, "the program; its argument is the directory to fill")],
        steps: &["\"$WITH_SCRIPT\" \"$REPROFIX_WORK/rootfs\""],
        subject: "dir:{work}/rootfs",
        spares: &[],
    },
    Preset {
        name: "rpm-ostree",
        help: "rpm-ostree compose tree, with its own repository and package cache",
        parameters: &[
            ("treefile", None, "the treefile"),
            ("ref", None, "the ref that it names"),
            ("arguments", Some(""), "more arguments, separated by blanks"),
        ],
        steps: &[
            "ostree --repo=repo init --mode=archive",
            "mkdir cache",
            "umask 022 && rpm-ostree compose tree --repo=\"$REPROFIX_WORK/repo\" \
             --cachedir=\"$REPROFIX_WORK/cache\" --unified-core $WITH_ARGUMENTS \"$WITH_TREEFILE\"",
        ],
        subject: "ostree:{work}/repo:{ref}",
        spares: RPM_OSTREE,
    },
    Preset {
        name: "compose-rootfs",
        help: "rpm-ostree compose rootfs",
        parameters: &[
            ("manifest", None, "the treefile"),
            ("arguments", Some(""), "more arguments, separated by blanks"),
        ],
        steps: &[
            "mkdir cache",
            "umask 022 && rpm-ostree compose rootfs --cachedir=\"$REPROFIX_WORK/cache\" $WITH_ARGUMENTS \
             \"$WITH_MANIFEST\" \"$REPROFIX_WORK/rootfs\"",
        ],
        subject: "dir:{work}/rootfs",
        spares: RPM_OSTREE,
    },
    Preset {
        name: "containerfile",
        help: "buildah build of a Containerfile, as coreos-assembler does it, without any cache",
        parameters: &[
            ("context", None, "the directory with the Containerfile"),
            ("arguments", Some(""), "more arguments of buildah build, separated by blanks"),
        ],
        steps: &[
            // Own storage and no layer cache: a cached layer was never built.
            "buildah --root \"$REPROFIX_WORK/storage\" --runroot \"$REPROFIX_WORK/run\" build \
             --no-cache --layers=false --timestamp \"$SOURCE_DATE_EPOCH\" \
             --build-arg SOURCE_DATE_EPOCH=\"$SOURCE_DATE_EPOCH\" $WITH_ARGUMENTS \
             --tag nightly \"$WITH_CONTEXT\"",
            "buildah --root \"$REPROFIX_WORK/storage\" --runroot \"$REPROFIX_WORK/run\" push \
             nightly \"oci-archive:$REPROFIX_WORK/image.ociarchive\"",
        ],
        subject: "oci-archive:{work}/image.ociarchive",
        spares: &[],
    },
    Preset {
        name: "rootless",
        help: "buildah build in a user name space, with the arguments of Konflux's buildah task",
        parameters: &[
            ("context", None, "the directory with the Containerfile"),
            ("arguments", Some(""), "more arguments of buildah build, separated by blanks"),
        ],
        steps: &[
            // --map-auto: the ids that /etc/subuid and /etc/subgid give the user, root too.
            // From buildah 1.41 on the task's parameters SOURCE_DATE_EPOCH and REWRITE_TIMESTAMP are
            // options of buildah; before, --timestamp is all there is.
            "set -- --timestamp \"$SOURCE_DATE_EPOCH\" \
                 --build-arg SOURCE_DATE_EPOCH=\"$SOURCE_DATE_EPOCH\"; \
             if buildah build --help | grep -q -e --source-date-epoch; then \
                 set -- --source-date-epoch \"$SOURCE_DATE_EPOCH\" --rewrite-timestamp; \
             fi; \
             unshare -U -f --keep-caps -r --map-auto --mount \
                 -w \"$WITH_CONTEXT\" -- \
                 buildah --root \"$REPROFIX_WORK/storage\" --runroot \"$REPROFIX_WORK/run\" build \
                 --isolation chroot --no-cache --layers=false --ulimit nofile=4096:4096 --http-proxy=false \
                 \"$@\" $WITH_ARGUMENTS --tag nightly .",
            "unshare -U -f --keep-caps -r --map-auto --mount -- \
                 buildah --root \"$REPROFIX_WORK/storage\" --runroot \"$REPROFIX_WORK/run\" push \
                 nightly \"oci-archive:$REPROFIX_WORK/image.ociarchive\"",
        ],
        subject: "oci-archive:{work}/image.ociarchive",
        spares: &[],
    },
    Preset {
        name: "osbuild",
        help: "osbuild of a manifest, up to the pipeline whose tree holds the repository",
        parameters: &[
            ("manifest", None, "the manifest, of version 2"),
            ("export", Some("ostree-commit"), "the pipeline with org.osbuild.ostree.commit"),
            ("ref", None, "the ref that it commits to"),
            ("arguments", Some(""), "more arguments, separated by blanks"),
        ],
        steps: &[
            // The epoch of a pipeline is in the manifest, not in the environment.
            "jq --argjson epoch \"$SOURCE_DATE_EPOCH\" '.pipelines[][\"source-epoch\"] = $epoch' \
             \"$WITH_MANIFEST\" >manifest.json",
            // Own store: what is in one was never built again.
            "umask 022 && osbuild --store \"$REPROFIX_WORK/store\" --output-directory \
             \"$REPROFIX_WORK/out\" --export \"$WITH_EXPORT\" $WITH_ARGUMENTS manifest.json",
        ],
        subject: "ostree:{work}/out/{export}/repo:{ref}",
        spares: &[],
    },
    Preset {
        name: "cosa",
        help: "coreos-assembler: init, fetch, build, in a directory of its own",
        parameters: &[
            ("config", None, "the configuration repository: a git URL or a directory"),
            ("version", None, "the version to build; a clock in it never reproduces"),
            ("init", Some(""), "more arguments of cosa init, separated by blanks"),
            ("build", Some(""), "more arguments of cosa build, separated by blanks"),
        ],
        steps: &[
            // A fresh directory: in a used one an existing version would not be built again, and
            // the layer cache in cache/ would stand in for a build.
            "mkdir cosa",
            "cd cosa && cosa init $WITH_INIT \"$WITH_CONFIG\"",
            "cd cosa && cosa fetch",
            // --direct: only so does SOURCE_DATE_EPOCH reach the build.
            "cd cosa && cosa build --direct --version \"$WITH_VERSION\" $WITH_BUILD",
        ],
        subject: "cosa:{work}/cosa",
        spares: &[],
    },
];

/// The preset called `name`.
pub fn find(name: &str) -> Result<&'static Preset> {
    PRESETS.iter().find(|p| p.name == name).with_context(|| {
        let names: Vec<&str> = PRESETS.iter().map(|p| p.name).collect();
        format!("unknown preset {name:?}; there are {}", names.join(", "))
    })
}

impl Preset {
    /// The steps for these parameters.
    ///
    /// # Errors
    ///
    /// On a parameter that is unknown, or missing.
    pub fn recipe(&self, with: &BTreeMap<String, String>) -> Result<Recipe> {
        for name in with.keys() {
            if !self.parameters.iter().any(|p| p.0 == name) {
                bail!("preset {:?} has no parameter {name:?}", self.name);
            }
        }
        let mut recipe = Recipe { subject: self.subject.to_owned(), ..Recipe::default() };
        for (name, default, help) in self.parameters {
            let value = with.get(*name).map(String::as_str).or(*default).with_context(|| {
                format!("preset {:?} needs the parameter {name:?}: {help}", self.name)
            })?;
            recipe.env.insert(format!("WITH_{}", name.to_ascii_uppercase()), value.to_owned());
            recipe.subject = recipe.subject.replace(&format!("{{{name}}}"), value);
        }
        recipe.steps = self.steps.iter().map(|s| Step::Script((*s).to_owned())).collect();
        Ok(recipe)
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

    /// What no machine of ours has cannot be run here, but a shell can read it.
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
            let named = |name: &str| preset.parameters.iter().any(|p| p.0 == name);
            for found in variable.captures_iter(&text) {
                assert!(named(&found[1].to_lowercase()), "{}: {}", preset.name, &found[0]);
            }
            for (name, ..) in preset.parameters {
                let used = format!("$WITH_{}", name.to_uppercase());
                assert!(text.contains(&used) || text.contains(&format!("{{{name}}}")), "{name}");
            }
        }
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
