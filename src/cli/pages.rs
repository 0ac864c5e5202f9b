//! What the manual says of each command beside its options: one table, from which `--help` has its
//! exit codes and `reprofix man` its pages.

/// One command's part of the manual.
pub(super) struct Page {
    /// Its words, without `reprofix`.
    pub(super) name: &'static str,
    /// What exit codes 0 and 1 say; empty where it never ends so.
    pub(super) exit: [&'static str; 2],
    /// Variables that it reads, and what for.
    pub(super) environment: &'static [[&'static str; 2]],
    /// Files that it reads or writes without being told.
    pub(super) files: &'static [[&'static str; 2]],
    /// The schema of its `--json`; empty where it has no report.
    pub(super) schema: &'static str,
    /// Command lines, and what each does.
    pub(super) examples: &'static [[&'static str; 2]],
    /// The commands to read about next.
    pub(super) see: &'static [&'static str],
}

/// The page of a command.
pub(super) fn page(name: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.name == name)
}

/// What exit code 2 says, everywhere.
pub(super) const FAILED: &str = "it could not be done";

/// What all commands read of the environment.
pub(super) const COMMON: &[[&str; 2]] =
    &[["NO_COLOR, CLICOLOR, CLICOLOR_FORCE, TERM", "whether text on a terminal has colours"]];

type Rows = &'static [[&'static str; 2]];

const EPOCH: [&str; 2] = [
    "SOURCE_DATE_EPOCH",
    "the time that no time may exceed, where no option says it: seconds since 1970-01-01 UTC",
];
const TMPDIR: [&str; 2] =
    ["TMPDIR", "where temporary files go that do not fit beside what they are for"];
const NO_ENVIRONMENT: Rows = &[];
const SCRATCH: Rows = &[TMPDIR];
const RUN: Rows = &[EPOCH, TMPDIR];
const RECORD: Rows =
    &[["PATH", "where reprofix-content-checksum is looked for, if it is not beside the program"]];
const NIGHTLY: Rows = &[
    ["GITHUB_ACTIONS", "if it is `true`, findings are printed as annotations of a workflow"],
    ["PATH", "where the builds' programs and reprofix-post are looked for"],
    TMPDIR,
];

const CONFIG: [&str; 2] = [
    "reprofix.toml",
    "the configuration, in the current directory, if it is there and --config names no other",
];
const TREEFILE: [&str; 2] = [
    "ROOTFS/usr/share/rpm-ostree/treefile.json",
    "the treefile of the tree, whose metadata.reprofix has the keys of reprofix.toml",
];
const EXPECT: [&str; 2] = [
    "reprofix-expect.toml",
    "differences that are accepted for a time, in the current directory, if it is there and --expect names no other",
];
const NIGHTLY_TOML: [&str; 2] = [
    "nightly.toml",
    "the nightly job's configuration, in the current directory, unless --nightly names another",
];
const NO_FILES: Rows = &[];
const TREE_FILES: Rows = &[CONFIG, TREEFILE];
const SUBJECTS_FILES: Rows = &[CONFIG, EXPECT];
const COSA_FILES: Rows = &[
    [
        "builds/BUILD/ARCH/meta.json",
        "coreos-assembler's record of a build, which gets the checksum",
    ],
    ["builds/BUILD/ARCH/reprofix.json", "what more there is to say: epoch, plugins"],
];
const NIGHTLY_FILES: Rows = &[
    NIGHTLY_TOML,
    ["history.db", "the record in SQLite; `history` in nightly.toml names another place"],
];
const FEED_FILES: Rows = &[[
    "NAME.manifest, NAME.rebuild.json",
    "what is published of a build: its manifest, and how it is built again",
]];
const SCRATCH_FILES: Rows = &[["$TMPDIR, /var/tmp, /tmp", "temporary files without a name"]];
const IMAGES_FILES: Rows =
    &[["index.json, oci-layout, blobs/", "an OCI layout; an archive has the same inside"]];
const STACKER_FILES: Rows =
    &[["roots/NAME/stacker.meta, overlay_metadata.json", "what stacker keeps of its layers"]];
const DOCS_FILES: Rows =
    &[["docs/sources.md", "in the documentation: each source of difference with an example"]];
const RPMDB_FILES: Rows = &[[
    "rpmdb.sqlite, Packages.db, Packages",
    "an rpm database, in usr/share/rpm, usr/lib/sysimage/rpm or var/lib/rpm below a root",
]];
const COMPLETIONS_FILES: Rows = &[
    [
        "PREFIX/share/bash-completion/completions/reprofix",
        "where `make install` puts those of bash",
    ],
    ["PREFIX/share/zsh/site-functions/_reprofix", "those of zsh"],
    ["PREFIX/share/fish/vendor_completions.d/reprofix.fish", "those of fish"],
];
const MAN_FILES: Rows = &[["PREFIX/share/man/man1", "where `make install` puts the pages"]];

/// All of them. A group of commands has neither exit codes nor examples of its own.
pub(super) const PAGES: &[Page] = &[
    Page {
        name: "fix",
        exit: ["the tree is in normal form", "with --check: something would change"],
        environment: RUN,
        files: TREE_FILES,
        schema: "reprofix-fix-1",
        examples: &[
            [
                "reprofix fix --source-date-epoch 1700000000 target-rootfs",
                "bring a tree into normal form",
            ],
            [
                "reprofix fix --dry-run target-rootfs",
                "see what that would change, and change nothing",
            ],
            ["reprofix fix --check --quiet target-rootfs", "ask whether a tree is in normal form"],
            [
                "reprofix fix --set pycache.mode=unowned --skip mtime target-rootfs",
                "with an option of a plugin, and without a plugin",
            ],
            [
                "buildah unshare reprofix fix target-rootfs",
                "without being root, on a tree that a rootless build owns",
            ],
        ],
        see: &["check", "explain", "config"],
    },
    Page {
        name: "check",
        exit: [
            "both are the same; the one is sound",
            "they differ; the one is not in normal form or does not match its record",
        ],
        environment: RUN,
        files: SUBJECTS_FILES,
        schema: "reprofix-check-1",
        examples: &[
            [
                "reprofix check cosa:work:39.1 cosa:work:39.2",
                "compare two builds of coreos-assembler",
            ],
            [
                "reprofix check --html check.html ostree:repo-a ostree:repo-b",
                "compare the only refs of two repositories, and write a page for a browser",
            ],
            [
                "reprofix check oci:a:latest oci:b:latest",
                "compare two images, platform by platform",
            ],
            ["reprofix check target-rootfs", "ask whether one tree is in normal form"],
        ],
        see: &["fix", "explain", "oci platforms", "nightly compare"],
    },
    Page {
        name: "record",
        exit: ["it is recorded", ""],
        environment: RECORD,
        files: COSA_FILES,
        schema: "reprofix-recorded-1",
        examples: &[
            [
                "reprofix record --workdir /srv/fcos",
                "record the latest build's checksum, right after cosa build",
            ],
            [
                "reprofix record --meta builds/39.1/x86_64/meta.json --repo tmp/repo",
                "say where both are",
            ],
        ],
        see: &["check"],
    },
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
                "one stream, and which variation makes it differ",
            ],
            ["reprofix nightly --no-notify --json runs.json", "tell nobody, and keep the report"],
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
            ["reprofix history --history /var/lib/reprofix/history.db", "name the record itself"],
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
        examples: &[["reprofix history vacuum", "give back the space of forgotten runs"]],
        see: &["history", "nightly"],
    },
    Page {
        name: "oci",
        exit: ["", ""],
        environment: NO_ENVIRONMENT,
        files: NO_FILES,
        schema: "",
        examples: &[],
        see: &["check", "opm", "stacker"],
    },
    Page {
        name: "oci platforms",
        exit: ["it is listed", ""],
        environment: NO_ENVIRONMENT,
        files: IMAGES_FILES,
        schema: "reprofix-platforms-1",
        examples: &[[
            "reprofix oci platforms oci:layout:latest",
            "list which digest names which image",
        ]],
        see: &["oci verify", "check"],
    },
    Page {
        name: "oci verify",
        exit: ["every blob is whole", "one is not"],
        environment: NO_ENVIRONMENT,
        files: IMAGES_FILES,
        schema: "reprofix-verify-1",
        examples: &[[
            "reprofix oci verify oci-archive:image.tar",
            "check every size, digest and diff_id",
        ]],
        see: &["oci lint", "oci platforms"],
    },
    Page {
        name: "oci lint",
        exit: ["all runtimes unpack the same tree", "they do not"],
        environment: NO_ENVIRONMENT,
        files: IMAGES_FILES,
        schema: "reprofix-lint-1",
        examples: &[[
            "reprofix oci lint oci:layout:latest",
            "find what unpacks differently, and the layer to blame",
        ]],
        see: &["oci normalize", "opm verify"],
    },
    Page {
        name: "oci normalize",
        exit: ["it is written", ""],
        environment: RUN,
        files: IMAGES_FILES,
        schema: "reprofix-normalize-1",
        examples: &[[
            "reprofix oci normalize --out oci:normal:latest oci:layout:latest",
            "write an image that two builds agree on",
        ]],
        see: &["oci lint", "check", "opm fix"],
    },
    Page {
        name: "opm",
        exit: ["", ""],
        environment: NO_ENVIRONMENT,
        files: NO_FILES,
        schema: "",
        examples: &[],
        see: &["oci", "oci lint"],
    },
    Page {
        name: "opm verify",
        exit: ["the cache's digest holds under every runtime", "it does not"],
        environment: NO_ENVIRONMENT,
        files: IMAGES_FILES,
        schema: "reprofix-opm-verify-1",
        examples: &[
            ["reprofix opm verify oci:catalog:latest", "ask whether a catalog starts everywhere"],
            ["reprofix opm verify --configs configs --cache cache", "two directories on disk"],
        ],
        see: &["opm fix", "oci lint"],
    },
    Page {
        name: "opm fix",
        exit: ["it is written", ""],
        environment: RUN,
        files: IMAGES_FILES,
        schema: "reprofix-normalize-1",
        examples: &[
            [
                "reprofix opm fix --out oci:fixed:latest oci:catalog:latest",
                "write a catalog that starts everywhere",
            ],
            ["reprofix opm fix --drop-cache --out oci:fixed oci:catalog", "without its cache"],
        ],
        see: &["opm verify", "oci normalize"],
    },
    Page {
        name: "stacker",
        exit: ["", ""],
        environment: NO_ENVIRONMENT,
        files: NO_FILES,
        schema: "",
        examples: &[],
        see: &["oci"],
    },
    Page {
        name: "stacker check",
        exit: ["all types of every layer lead to one root", "they do not"],
        environment: NO_ENVIRONMENT,
        files: STACKER_FILES,
        schema: "reprofix-stacker-1",
        examples: &[[
            "reprofix stacker check --roots roots --oci oci",
            "check what stacker's next build will mount",
        ]],
        see: &["stacker fix", "oci verify"],
    },
    Page {
        name: "stacker fix",
        exit: ["nothing misleads it any more", "something is left that only a build repairs"],
        environment: NO_ENVIRONMENT,
        files: STACKER_FILES,
        schema: "reprofix-stacker-fix-1",
        examples: &[
            ["reprofix stacker fix --dry-run", "see which layer types would be dropped"],
            ["reprofix stacker fix", "drop them"],
        ],
        see: &["stacker check"],
    },
    Page {
        name: "composefs",
        exit: ["", ""],
        environment: NO_ENVIRONMENT,
        files: NO_FILES,
        schema: "",
        examples: &[],
        see: &["check", "oci verify"],
    },
    Page {
        name: "composefs digest",
        exit: ["it is printed", ""],
        environment: SCRATCH,
        files: SUBJECTS_FILES,
        schema: "reprofix-composefs-digest-1",
        examples: &[
            [
                "reprofix composefs digest oci:image:latest",
                "the digest that a sealed image must carry",
            ],
            [
                "reprofix composefs digest --dumpfile tree.dump dir:root",
                "and the text that is hashed",
            ],
        ],
        see: &["composefs check"],
    },
    Page {
        name: "composefs check",
        exit: ["every view and every unified kernel image has one digest", "they do not agree"],
        environment: SCRATCH,
        files: SUBJECTS_FILES,
        schema: "reprofix-composefs-1",
        examples: &[
            ["reprofix composefs check oci:image:latest", "ask whether a sealed image boots"],
            [
                "reprofix composefs check oci:image:latest dir:root",
                "and compare it with the directory that it was sealed from",
            ],
        ],
        see: &["composefs digest", "initramfs ls"],
    },
    Page {
        name: "plugins",
        exit: ["they are listed", ""],
        environment: NO_ENVIRONMENT,
        files: DOCS_FILES,
        schema: "reprofix-plugins-1",
        examples: &[
            ["reprofix plugins", "one line a plugin"],
            ["reprofix plugins --json plugins.json", "their pages, for a program"],
        ],
        see: &["explain", "config"],
    },
    Page {
        name: "explain",
        exit: ["the page is printed", ""],
        environment: NO_ENVIRONMENT,
        files: DOCS_FILES,
        schema: "reprofix-explain-1",
        examples: &[
            [
                "reprofix explain pycache",
                "what varies, why, what is done, what is lost, and the options",
            ],
            ["reprofix explain vouchers", "who vouches for bytes, so that no plugin changes them"],
        ],
        see: &["plugins", "fix"],
    },
    Page {
        name: "config",
        exit: ["it is printed", ""],
        environment: RUN,
        files: TREE_FILES,
        schema: "reprofix-in-force-1",
        examples: &[
            [
                "reprofix config target-rootfs",
                "what is in force for a tree, and where each value came from",
            ],
            ["reprofix config --schema", "the JSON schema of reprofix.toml"],
        ],
        see: &["fix", "explain"],
    },
    Page {
        name: "initramfs",
        exit: ["", ""],
        environment: NO_ENVIRONMENT,
        files: NO_FILES,
        schema: "",
        examples: &[],
        see: &["fix", "check"],
    },
    Page {
        name: "initramfs ls",
        exit: ["it is listed", ""],
        environment: SCRATCH,
        files: SCRATCH_FILES,
        schema: "reprofix-initramfs-list-1",
        examples: &[
            [
                "reprofix initramfs ls initramfs.img",
                "archives and entries, as they are in the file",
            ],
            ["reprofix initramfs ls --unpacked initramfs.img", "what the kernel unpacks it to"],
        ],
        see: &["initramfs diff", "initramfs rewrite"],
    },
    Page {
        name: "initramfs diff",
        exit: ["they are the same", "they differ"],
        environment: SCRATCH,
        files: SCRATCH_FILES,
        schema: "reprofix-initramfs-diff-1",
        examples: &[["reprofix initramfs diff a/initramfs.img b/initramfs.img", "entry by entry"]],
        see: &["initramfs ls", "check"],
    },
    Page {
        name: "initramfs rewrite",
        exit: ["it is written", ""],
        environment: RUN,
        files: SCRATCH_FILES,
        schema: "reprofix-initramfs-rewrite-1",
        examples: &[[
            "reprofix initramfs rewrite --out initramfs.img initramfs.img",
            "bring an image into canonical form in place",
        ]],
        see: &["initramfs diff", "fix"],
    },
    Page {
        name: "rpmdb",
        exit: ["", ""],
        environment: NO_ENVIRONMENT,
        files: NO_FILES,
        schema: "",
        examples: &[],
        see: &["check", "fix"],
    },
    Page {
        name: "rpmdb dump",
        exit: ["it is printed", ""],
        environment: NO_ENVIRONMENT,
        files: RPMDB_FILES,
        schema: "",
        examples: &[
            ["reprofix rpmdb dump target-rootfs", "the database of a tree as text"],
            [
                "reprofix rpmdb dump --no-times rpmdb.sqlite",
                "a file of packages, without the times of installation",
            ],
        ],
        see: &["rpmdb diff"],
    },
    Page {
        name: "rpmdb diff",
        exit: ["they are the same", "they differ"],
        environment: NO_ENVIRONMENT,
        files: RPMDB_FILES,
        schema: "reprofix-rpmdb-1",
        examples: &[[
            "reprofix rpmdb diff a/rpmdb.sqlite b/Packages",
            "compare two databases, of two kinds",
        ]],
        see: &["rpmdb dump", "check"],
    },
    Page {
        name: "completions",
        exit: ["it is printed", ""],
        environment: NO_ENVIRONMENT,
        files: COMPLETIONS_FILES,
        schema: "",
        examples: &[
            ["reprofix completions bash", "print the script that bash loads"],
            ["source <(reprofix completions zsh)", "try them in a running shell"],
        ],
        see: &["man"],
    },
    Page {
        name: "man",
        exit: ["they are written", ""],
        environment: NO_ENVIRONMENT,
        files: MAN_FILES,
        schema: "",
        examples: &[[
            "reprofix man --out /usr/local/share/man/man1",
            "write this page and all others",
        ]],
        see: &["completions"],
    },
];
