//! `selinux`: the compiled policy and file contexts.

use super::Page;
use super::known::Known;
use crate::format::selinux;

/// The plugin.
pub(super) static SELINUX: Known = Known::new(
    &PAGE,
    &[
        "etc/selinux/*/policy/policy.[0-9]*",
        "{etc,var/lib}/selinux/*/active/policy.{kern,linked}",
        "{etc/selinux/*/contexts/files,{etc,var/lib}/selinux/*/active}/file_contexts{,.homedirs,.local}.bin",
        "usr/share/selinux/*/default/policy.[0-9]*",
    ],
    selinux::parse,
);

static PAGE: Page = Page {
    name: "selinux",
    summary: "explains differences of SELinux's compiled policy and file contexts",
    default: true,
    paths: "etc/selinux/*/policy/policy.NN, etc/selinux/*/contexts/files/*.bin, the policy store",
    varies: "The order of rules in a policy that was rebuilt against one that was shipped; PCRE's \
             version and architecture, and its compiled expressions, in file_contexts.bin.",
    why: "semodule rebuilds the policy or leaves it, depending on whether its inputs changed. \
          sefcontext_compile writes PCRE's memory image.",
    done: "Nothing: only libsepol can say that two policies mean the same. `check` names the \
           header's fields and whether the rules differ. A file_contexts.bin may be removed in a \
           postprocess step: libselinux then reads the text beside it, some milliseconds slower a \
           program.",
    lost: "Nothing.",
    upstream: "Policy: rpm-ostree issue 4122, worked round there; contexts: ostree issue 2569, and \
               libselinux 3.8 no longer stores compiled expressions.",
    payload: false,
    options: &[],
};
