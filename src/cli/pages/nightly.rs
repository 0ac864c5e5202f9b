//! The manual of the nightly job and its history.

use super::{
    FEED_FILES, NIGHTLY, NIGHTLY_FILES, NO_ENVIRONMENT, Page, RUN, SCRATCH, SCRATCH_FILES,
    SUBJECTS_FILES,
};

pub(super) const PAGES: &[Page] = &[
    Page {
        name: "nightly",
        exit: ["every stream reproduced", "one did not"],
        environment: NIGHTLY,
        files: NIGHTLY_FILES,
        schema: "reprofix-nightly-1",
        examples: &[
            ["reprofix nightly --nightly /etc/reprofix/nightly.toml", "the night: every stream"],
            [
                "reprofix nightly --stream fcos --bisect",
                "one stream, and the variation that makes it differ",
            ],
            [
                "reprofix nightly --no-notify --json runs.json",
                "send no notifications, and keep the report",
            ],
        ],
        see: &["nightly compare", "nightly pages", "nightly variations", "history"],
    },
    Page {
        name: "nightly compare",
        exit: ["the builds are the same", "they differ"],
        environment: RUN,
        files: NIGHTLY_FILES,
        schema: "reprofix-nightly-1",
        examples: &[[
            "reprofix nightly compare --stream fcos cosa:official cosa:rebuild",
            "record how last night's official build and a rebuild compare",
        ]],
        see: &["nightly", "check", "history"],
    },
    Page {
        name: "nightly feed",
        exit: ["the feed is printed", ""],
        environment: NO_ENVIRONMENT,
        files: FEED_FILES,
        schema: "",
        examples: &[[
            "reprofix nightly feed --out /srv/feed --url https://builds.example.org/feed /srv/fcos",
            "publish a work directory's builds for rebuilderd",
        ]],
        see: &["nightly rebuild", "nightly manifest"],
    },
    Page {
        name: "nightly manifest",
        exit: ["it is printed", ""],
        environment: NO_ENVIRONMENT,
        files: SUBJECTS_FILES,
        schema: "",
        examples: &[[
            "reprofix nightly manifest cosa:/srv/fcos:39.1",
            "print what rebuilderd compares of a build",
        ]],
        see: &["nightly feed", "nightly explain"],
    },
    Page {
        name: "nightly rebuild",
        exit: ["the manifest is written", ""],
        environment: NIGHTLY,
        files: NIGHTLY_FILES,
        schema: "",
        examples: &[[
            "reprofix nightly rebuild --out /tmp/rebuild fcos-39.1.rebuild.json",
            "build once what a recipe names",
        ]],
        see: &["nightly feed", "nightly explain"],
    },
    Page {
        name: "nightly explain",
        exit: ["the manifests are the same", "they differ"],
        environment: NO_ENVIRONMENT,
        files: FEED_FILES,
        schema: "reprofix-manifests-1",
        examples: &[[
            "reprofix nightly explain published.manifest rebuilt.manifest",
            "say why two manifests differ",
        ]],
        see: &["nightly rebuild", "check"],
    },
    Page {
        name: "nightly pages",
        exit: ["they are written", ""],
        environment: NO_ENVIRONMENT,
        files: NIGHTLY_FILES,
        schema: "",
        examples: &[[
            "reprofix nightly pages --nightly /etc/reprofix/nightly.toml",
            "write the pages again, after a change of their directory",
        ]],
        see: &["nightly", "history"],
    },
    Page {
        name: "nightly variations",
        exit: ["they are listed", ""],
        environment: SCRATCH,
        files: SCRATCH_FILES,
        schema: "reprofix-variations-1",
        examples: &[[
            "reprofix nightly variations",
            "see what can be varied on this machine, and what is missing",
        ]],
        see: &["nightly"],
    },
    Page {
        name: "history",
        exit: ["the runs are listed", ""],
        environment: NO_ENVIRONMENT,
        files: NIGHTLY_FILES,
        schema: "reprofix-history-1",
        examples: &[
            ["reprofix history --stream fcos --limit 10", "the last ten runs of a stream"],
            [
                "reprofix history --history /var/lib/reprofix/history.db",
                "name the history file itself",
            ],
        ],
        see: &["history show", "history blame", "history flaky", "nightly"],
    },
    Page {
        name: "history show",
        exit: ["it is shown", ""],
        environment: NO_ENVIRONMENT,
        files: NIGHTLY_FILES,
        schema: "reprofix-history-1",
        examples: &[
            ["reprofix history show 14", "one run with its differences"],
            ["reprofix history show 14 --log", "and the end of the builds' output"],
        ],
        see: &["history", "history blame"],
    },
    Page {
        name: "history blame",
        exit: ["it is shown", ""],
        environment: NO_ENVIRONMENT,
        files: NIGHTLY_FILES,
        schema: "reprofix-history-1",
        examples: &[[
            "reprofix history blame usr/share/rpm/rpmdb.sqlite",
            "since which run a path differs",
        ]],
        see: &["history", "history show"],
    },
    Page {
        name: "history flaky",
        exit: ["no stream is flaky", "a stream is"],
        environment: NO_ENVIRONMENT,
        files: NIGHTLY_FILES,
        schema: "reprofix-history-1",
        examples: &[[
            "reprofix history flaky",
            "streams in which equal inputs gave unequal verdicts",
        ]],
        see: &["history", "nightly"],
    },
    Page {
        name: "history vacuum",
        exit: ["it is rewritten", ""],
        environment: NO_ENVIRONMENT,
        files: NIGHTLY_FILES,
        schema: "",
        examples: &[["reprofix history vacuum", "return the space of removed runs"]],
        see: &["history", "nightly"],
    },
];
