//! `kernel-modules`: modules signed with a key that is thrown away.

use std::io;
use std::io::Read;

use crate::format::compress::{self, Source};
use crate::format::modsig;
use crate::normal::Context;
use crate::normal::globs::Globs;
use crate::normal::{File, Page, Plugin, Verdict, Want};
use crate::tree::{Entry, Kind};
use std::sync::LazyLock;

/// The plugin.
pub(super) struct KernelModules;

static PAGE: Page = Page {
    name: "kernel-modules",
    summary: "distinguishes modules that differ only in their signature from those whose code differs",
    default: true,
    paths: "usr/lib/modules/*/**/*.ko, also compressed with xz, zstd or gzip",
    varies: "The PKCS#7 signature that the build appends, and therefore the compressed file.",
    why: "A kernel or akmod build makes a key, signs with it and throws it away: the next build \
          cannot make the same signature.",
    done: "Nothing: a module without its signature does not load under lockdown, and the key is \
           gone. `check` says whether the code and the compression are equal. Modules are read \
           only if two builds differ, so `fix` does not notice a damaged one.",
    lost: "Nothing.",
    upstream: "Open by design: aurora issue 2579. Sign with a permanent key, or build out-of-tree \
               modules once, as a package.",
    payload: false,
    options: &[],
};

/// The largest module that is unpacked.
const MAX: u64 = 256 << 20;

static PATHS: LazyLock<Globs> =
    LazyLock::new(|| Globs::new(["{usr/,}lib/modules/*/**.ko{,.xz,.zst,.gz}"]));

impl Plugin for KernelModules {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn wants(&self, entry: &Entry, _cx: &Context) -> Want {
        // There are thousands, and none is ever changed: they are read only to explain differences.
        let ours = entry.kind == Kind::File && PATHS.all(&entry.logical()).next().is_some();
        if ours { Want::Entry } else { Want::No }
    }

    fn canonical(&self, _file: &File<'_>, _cx: &Context) -> io::Result<Verdict> {
        Ok(Verdict::Keep)
    }

    fn explain(&self, a: &File<'_>, b: &File<'_>, _cx: &Context) -> Vec<String> {
        let (left, right) = (unpacked(&a.content()), unpacked(&b.content()));
        let (Some(left), Some(right)) = (left, right) else { return Vec::new() };
        let (Ok(x), Ok(y)) = (modsig::split(&left), modsig::split(&right)) else {
            return Vec::new();
        };
        let signature = match (x.1, y.1) {
            (None, None) => "neither is signed",
            (Some(_), None) => "only the first is signed",
            (None, Some(_)) => "only the second is signed",
            (Some(x), Some(y)) if x == y => "the signatures are equal",
            (Some(_), Some(_)) => "the signatures differ",
        };
        let code = match (x.0 == y.0, left == right) {
            (true, true) => "the code is equal, the compression differs",
            (true, false) => "the code is equal",
            (false, _) => "the code differs",
        };
        vec![format!("{code}; {signature}")]
    }
}

/// Decompresses the module; `None` if it is damaged or too big.
fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    let head = &bytes[..bytes.len().min(compress::HEAD_LEN)];
    let Some(packing) = compress::detect(head) else { return Some(bytes.to_vec()) };
    let mut source = Source::new(bytes);
    let mut out = Vec::new();
    let decoder = packing.decoder(&mut source).ok()?;
    decoder.take(MAX + 1).read_to_end(&mut out).ok()?;
    (out.len() as u64 <= MAX).then_some(out)
}
