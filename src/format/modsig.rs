//! The signature that a kernel build appends to a module.
//!
//! Follows the kernel's `include/linux/module_signature.h`: code, PKCS#7 message, twelve bytes that
//! say how long it is, a marker line.

use super::Malformed;

const MARKER: &[u8] = b"~Module signature appended~\n";
const TRAILER: usize = 12;

/// A module's code and the signature after it; `None` if there is no signature.
///
/// # Errors
/// [`Malformed`] if the trailer does not fit the file.
pub(crate) fn split(bytes: &[u8]) -> Result<(&[u8], Option<&[u8]>), Malformed> {
    let Some(signed) = bytes.strip_suffix(MARKER) else { return Ok((bytes, None)) };
    let bad = || Malformed::at(signed.len(), "the signature's length exceeds the module");
    let at = signed.len().checked_sub(TRAILER).ok_or_else(bad)?;
    let (before, trailer) = signed.split_at(at);
    let len = trailer[8..].iter().fold(0, |n: usize, b| n << 8 | usize::from(*b));
    let code = before.len().checked_sub(len).ok_or_else(bad)?;
    Ok((&before[..code], Some(&before[code..])))
}
