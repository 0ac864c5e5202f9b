//! The manual of the commands for trees, commits, databases and boot images, and for reprofix
//! itself.

use super::{
    COMPLETIONS_FILES, COSA_FILES, DOCS_FILES, MAN_FILES, NO_ENVIRONMENT, NO_FILES, Page, RECORD,
    RPMDB_FILES, RUN, SCRATCH, SCRATCH_FILES, SUBJECTS_FILES, TREE_FILES,
};

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
                "see what that would change, but change nothing",
            ],
            [
                "reprofix fix --check --quiet target-rootfs",
                "check whether a tree is in normal form",
            ],
            [
                "reprofix fix --set pycache.mode=unowned --skip mtime target-rootfs",
                "with an option of a plugin, and without a plugin",
            ],
            [
                "buildah unshare reprofix fix target-rootfs",
                "without being root, on a tree of a rootless build",
            ],
        ],
        see: &["check", "explain", "config"],
    },
    Page {
        name: "check",
        exit: [
            "both are the same, or the only one is sound",
            "they differ, or the only one is not in normal form or does not match its record",
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
            ["reprofix check target-rootfs", "check whether a tree is in normal form"],
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
                "name meta.json and repository",
            ],
        ],
        see: &["check"],
    },
    Page {
        name: "plugins",
        exit: ["they are listed", ""],
        environment: NO_ENVIRONMENT,
        files: DOCS_FILES,
        schema: "reprofix-plugins-1",
        examples: &[
            ["reprofix plugins", "one line per plugin"],
            ["reprofix plugins --json plugins.json", "the pages, for a program"],
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
            ["reprofix explain vouchers", "what vouches for bytes, so that no plugin changes them"],
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
                "the configuration in force for a tree, with the origin of each value",
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
            ["reprofix initramfs ls --unpacked initramfs.img", "the tree that the kernel unpacks"],
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
            "bring a boot image into canonical form in place",
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
                "a package file, without the times of installation",
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
            "compare two databases with different backends",
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
