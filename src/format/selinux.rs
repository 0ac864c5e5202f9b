//! What can be told of SELinux's compiled files without their compiler.
//!
//! Binary policies follow libsepol's `policydb`, compiled file contexts libselinux's
//! `label_file.h`. Both start with a magic number and a version; sizes are little-endian.

use super::Malformed;
use super::facts::{Facts, Image};

const POLICY: u32 = 0xF97C_FF8C;
const CONTEXTS: u32 = 0xF97C_FF8A;
/// The first versions of compiled file contexts that hold PCRE's version, and its architecture.
const WITH_PCRE: u32 = 2;
const WITH_ARCH: u32 = 4;

/// Version, compiler's parameters and size.
///
/// # Errors
/// [`Malformed`] unless the header is one of a policy or of compiled file contexts.
pub fn parse(bytes: &[u8]) -> Result<Facts, Malformed> {
    let image = Image { bytes, big: false };
    let mut facts = Facts::of(bytes);
    match image.u32(0, "header")? {
        POLICY => policy(image, &mut facts)?,
        CONTEXTS => contexts(image, &mut facts)?,
        _ => return Err(Malformed::at(0, "neither a policy nor compiled file contexts")),
    }
    facts.text("fields", "size", bytes.len().to_string());
    facts.finish()
}

fn policy(image: Image<'_>, facts: &mut Facts) -> Result<(), Malformed> {
    let len = u64::from(image.u32(4, "header")?);
    if image.slice(8, len, "policy's name")? != b"SE Linux" {
        return Err(Malformed::at(8, "not a kernel policy"));
    }
    let fields = ["policy version", "configuration", "symbol tables", "context tables"];
    for (n, name) in fields.into_iter().enumerate() {
        let value = image.u32(8 + len + 4 * n as u64, "header")?;
        facts.text("fields", name, format!("{value:#x}"));
    }
    facts.opaque("fields", "the rules after the header", &image.bytes[24 + len as usize..]);
    Ok(())
}

fn contexts(image: Image<'_>, facts: &mut Facts) -> Result<(), Malformed> {
    let version = image.u32(4, "header")?;
    let mut at = 8;
    for (since, name) in [(WITH_PCRE, "PCRE version"), (WITH_ARCH, "PCRE architecture")] {
        if version >= since {
            let len = u64::from(image.u32(at, "header")?);
            let text = image.slice(at + 4, len, name)?;
            facts.text("fields", name, String::from_utf8_lossy(text));
            at += 4 + len;
        }
    }
    facts.text("fields", "version", version.to_string());
    let rest = image.slice(at, image.bytes.len() as u64 - at, "contexts")?;
    facts.opaque("fields", "the compiled contexts after the header", rest);
    Ok(())
}
