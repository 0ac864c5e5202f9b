//! The manual of the commands for images: OCI, opm catalogs, stacker, composefs.

use super::{
    IMAGES_FILES, NO_ENVIRONMENT, NO_FILES, Page, RUN, SCRATCH, STACKER_FILES, SUBJECTS_FILES,
};

pub(super) const PAGES: &[Page] = &[
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
            "list the digests of each platform's image",
        ]],
        see: &["oci verify", "check"],
    },
    Page {
        name: "oci verify",
        exit: ["every blob is intact", "one is not"],
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
            "write an image that is the same for two builds",
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
            [
                "reprofix opm verify oci:catalog:latest",
                "check whether a catalog starts under every runtime",
            ],
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
                "write a catalog that starts under every runtime",
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
        exit: ["all types of every layer lead to the same root", "they do not"],
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
        exit: ["nothing misleads it any more", "only a new build can repair the rest"],
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
        exit: [
            "every view and every unified kernel image has the same digest",
            "they do not agree",
        ],
        environment: SCRATCH,
        files: SUBJECTS_FILES,
        schema: "reprofix-composefs-1",
        examples: &[
            ["reprofix composefs check oci:image:latest", "check whether a sealed image boots"],
            [
                "reprofix composefs check oci:image:latest dir:root",
                "and compare it with the directory that it was sealed from",
            ],
        ],
        see: &["composefs digest", "initramfs ls"],
    },
];
