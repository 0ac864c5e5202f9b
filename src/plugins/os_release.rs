//! `os-release`: the version of the build in the build.

use super::kinds::reader::Reader;
use crate::format::Malformed;
use crate::format::facts::Facts;
use crate::normal::Page;

/// The plugin.
pub(super) static OS_RELEASE: Reader = Reader::new(
    &PAGE,
    &[
        "{usr/lib,etc}/{os,initrd,extension}-release",
        "{usr/lib,etc}/os-release.d/*",
        "usr/lib/os.release.d/*",
        "{usr/lib,etc}/{fedora,redhat,centos,system}-release",
        "{usr/lib,etc}/issue{,.net}",
    ],
    parse,
)
.may_be_empty(&[
    "{usr/lib,etc}/os-release.d/*",
    "usr/lib/os.release.d/*",
    "{usr/lib,etc}/issue{,.net}",
]);

static PAGE: Page = Page {
    name: "os-release",
    summary: "names the fields of os-release that differ",
    default: true,
    paths: "usr/lib/os-release and related files, issue and release files",
    varies: "VERSION, OSTREE_VERSION, BUILD_ID, RELEASE_TYPE: the version of the build as text.",
    why: "rpm-ostree's mutate-os-release and many configurations write the version into the tree, \
          and the version often contains a date or a counter.",
    done: "Nothing: the field says what was built. People write these files, so a truncated one \
           cannot be recognised unless it is empty. dracut copies the file into the initramfs, \
           which then differs too.",
    lost: "Nothing.",
    upstream: "By design: rpm-ostree issue 4305. Give both builds the same version (`--version`, \
               automatic-version-prefix without <date:…>), or leave it to the commit's metadata.",
    payload: false,
    options: &[],
};

/// Parses `NAME=VALUE` lines; other lines are identified by their number.
fn parse(bytes: &[u8], mut facts: Facts) -> Result<Facts, Malformed> {
    for (n, line) in String::from_utf8_lossy(bytes).lines().enumerate() {
        match line.split_once('=') {
            Some((name, value)) if !name.contains(' ') => facts.text("fields", name, value),
            _ => facts.text("lines", format!("line {}", n + 1), line),
        }
    }
    facts.finish()
}
