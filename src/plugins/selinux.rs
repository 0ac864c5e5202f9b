//! `selinux`: the compiled policy and file contexts.

use super::kinds::reader::Reader;
use crate::format::selinux;
use crate::normal::Page;

/// The plugin.
pub(super) static SELINUX: Reader = Reader::new(
    &PAGE,
    &[
        "etc/selinux/*/policy/policy.[0-9]*",
        "{etc,var/lib}/selinux/*/active/policy.{kern,linked}",
        "{etc/selinux/*/contexts/files,{etc,var/lib}/selinux/*/active}/file_contexts{,.homedirs,.local}.bin",
        "usr/share/selinux/*/default/policy.[0-9]*",
        // The policy store, and what is compiled from it.
        "{etc,var/lib}/selinux/*/active/{commit_num,modules_checksum,homedir_template,*.local}",
        "{etc,var/lib}/selinux/*/active/{seusers,users_extra}{,.linked}",
        "{etc,var/lib}/selinux/*/active/file_contexts{,.homedirs}",
        "{etc,var/lib}/selinux/*/active/modules/disabled/*",
        "etc/selinux/*/{seusers,contexts/files/file_contexts{,.homedirs,.local,.subs,.subs_dist}}",
    ],
    selinux::parse,
)
.and_unread(&["{etc,var/lib}/selinux/*/active/modules/*/*/{cil,hll,lang_ext}"])
.may_be_empty(&[
    "{etc,var/lib}/selinux/*/active/{homedir_template,*.local,file_contexts{,.homedirs}}",
    "{etc,var/lib}/selinux/*/active/{seusers,users_extra}{,.linked}",
    "{etc,var/lib}/selinux/*/active/modules/disabled/*",
    "etc/selinux/*/{seusers,contexts/files/file_contexts{,.homedirs,.local,.subs,.subs_dist}}",
]);

static PAGE: Page = Page {
    name: "selinux",
    summary: "explains differences of SELinux's compiled policy, file contexts and policy store",
    default: true,
    paths: "etc/selinux/*/policy/policy.NN, etc/selinux/*/contexts/files, the policy store \
            (active/* below etc/selinux or var/lib/selinux)",
    varies: "The order of rules, which differs between a rebuilt and a shipped policy; PCRE's \
             version and architecture, and its compiled expressions, in file_contexts.bin; in the \
             store the number of commits, and modules that only one build has or that were \
             compiled differently.",
    why: "semodule rebuilds the policy or leaves it, depending on whether its inputs changed, and \
          counts its runs. sefcontext_compile writes PCRE's memory image.",
    done: "Nothing: only libsepol can say that two policies mean the same. `check` names the \
           header fields of a policy and says whether its rules differ; the paths whose context or \
           compiled expression differs; in the store the statements of a module (even if \
           compressed with bzip2), the lines of the other files, the number of the commit. A \
           file_contexts.bin may be removed in a postprocess step: libselinux then reads the text \
           beside it, which costs each program some milliseconds. Truncated files are noticed, \
           except: a policy cut after its header, since it contains no size and only libsepol \
           reads all of it; text cut after a line; and modules, which are read only if two builds \
           differ.",
    lost: "Nothing.",
    upstream: "Policy: rpm-ostree issue 4122, with a workaround there; contexts: ostree issue \
               2569, since libselinux 3.8 (version 6, big-endian on every machine) the file is a \
               tree with each context once; it still contains compiled expressions with PCRE's \
               version and architecture, unless `sefcontext_compile -r` omits them.",
    payload: false,
    options: &[],
};
