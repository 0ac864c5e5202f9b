//! `gzip`: compressed files with a time and a name in the header.

use super::kinds::rewriter::Rewriter;
use crate::format::gzip::{self, Member};
use crate::format::time::utc;
use crate::normal::globs::ends_with_any;
use crate::normal::{Page, Verdict};
use crate::text::counted;

static PAGE: Page = Page {
    name: "gzip",
    summary: "removes time and name from the headers of gzip files",
    default: true,
    paths: "*.gz, *.tgz, *.taz, *.svgz, *.dz that begin like gzip files",
    varies: "In each member's header: a modification time, a file name, the operating system.",
    why: "`gzip FILE` without -n stores the time and name of FILE; libraries store the time of \
          compression, or a temporary name, or an unknown operating system.",
    done: "The time becomes 0, the name is removed, the system becomes Unix: the header of `gzip -n`. \
           Compressed data, comment and extra field stay. The file is inflated and its checksum \
           verified before anything changes; one that inflates to more than 16 GiB is left alone.",
    lost: "`gunzip -N` cannot restore name and time.",
    upstream: "gzip has -n since 1.2, nowhere by default; rpm's brp-compress uses it.",
    payload: false,
    options: &[],
};

/// The plugin.
pub(super) static GZIP: Rewriter = Rewriter {
    page: &PAGE,
    by_ending: true,
    named: |entry| ends_with_any(entry.name(), &["gz", "tgz", "taz", "svgz", "dz"]),
    is: gzip::is_gzip,
    verdict: |file, _| Verdict::of_changed(gzip::canonical(&file.bytes)),
    explain: |a, b| match (gzip::members(a), gzip::members(b)) {
        (Ok((a, _)), Ok((b, _))) => compare(&a, &b),
        _ => Vec::new(),
    },
};

fn compare(a: &[Member<'_>], b: &[Member<'_>]) -> Vec<String> {
    if a.len() != b.len() {
        return vec![format!("{} and {}", a.len(), counted(b.len(), "member"))];
    }
    let any = |differs: fn(&Member<'_>, &Member<'_>) -> bool| {
        a.iter().zip(b).find(|(x, y)| differs(x, y))
    };
    let mut out = Vec::new();
    if let Some((x, y)) = any(|x, y| x.header.mtime != y.header.mtime) {
        let [a, b] = [x, y].map(|member| utc(member.header.mtime.into()));
        out.push(format!("header times {a} and {b}"));
    }
    if let Some((x, y)) = any(|x, y| x.header.name != y.header.name) {
        let name = |m: &Member<'_>| match m.header.name {
            Some(name) => format!("{:?}", String::from_utf8_lossy(name)),
            None => "none".to_owned(),
        };
        out.push(format!("stored names {} and {}", name(x), name(y)));
    }
    if let Some((x, y)) = any(|x, y| (x.header.os, x.header.xfl) != (y.header.os, y.header.xfl)) {
        out.push(format!(
            "operating systems {} and {}, extra flags {} and {}",
            x.header.os, y.header.os, x.header.xfl, y.header.xfl
        ));
    }
    if let Some((x, y)) = any(|x, y| (x.crc, x.len) != (y.crc, y.len)) {
        out.push(format!("compressed contents differ: {} and {} bytes", x.len, y.len));
    } else if any(|x, y| x.body != y.body).is_some() {
        out.push("the same content, compressed by another program or level".to_owned());
    }
    out
}
