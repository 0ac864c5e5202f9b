//! SQLite's record format (<https://sqlite.org/fileformat2.html>, section 2.1).

/// A value of a column.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    /// No value, as in a column that is the row's number.
    Null,
    /// A number.
    Integer(u32),
    /// Text in UTF-8, or bytes stored as such.
    Text(&'a [u8]),
    /// Bytes.
    Blob(&'a [u8]),
}

/// Adds the record of `values` to `out`: a header with the type of each, then their bytes.
pub(super) fn record(out: &mut Vec<u8>, values: &[Value<'_>]) {
    let start = out.len();
    out.push(0);
    for value in values {
        push_varint(out, value.serial_type());
    }
    // At most five types of nine bytes, so the length takes one byte.
    out[start] = (out.len() - start) as u8;
    for value in values {
        value.push(out);
    }
}

impl Value<'_> {
    fn serial_type(&self) -> u64 {
        match *self {
            Value::Null => 0,
            Value::Integer(0) => 8,
            Value::Integer(1) => 9,
            // The number of bytes, with one bit for the sign; five are stored as six, which is type
            // 5.
            Value::Integer(number) => u64::from((u32::BITS - number.leading_zeros()) / 8 + 1),
            Value::Text(bytes) => 2 * bytes.len() as u64 + 13,
            Value::Blob(bytes) => 2 * bytes.len() as u64 + 12,
        }
    }

    fn push(&self, out: &mut Vec<u8>) {
        match *self {
            Value::Null => {}
            Value::Integer(number) => {
                let bytes = u64::from(number).to_be_bytes();
                let length = match self.serial_type() {
                    5 => 6,
                    size @ 1..=4 => size as usize,
                    _ => 0,
                };
                out.extend_from_slice(&bytes[8 - length..]);
            }
            Value::Text(bytes) | Value::Blob(bytes) => out.extend_from_slice(bytes),
        }
    }
}

/// Adds a variable-length integer: seven bits per byte, the highest first. Nothing here needs the
/// ninth byte, which would have eight.
pub(super) fn push_varint(out: &mut Vec<u8>, value: u64) {
    let bytes = (u64::BITS - value.leading_zeros()).div_ceil(7).max(1);
    for n in (0..bytes).rev() {
        let more = if n > 0 { 0x80 } else { 0 };
        out.push((value >> (7 * n)) as u8 & 0x7f | more);
    }
}
