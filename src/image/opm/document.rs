//! Catalog documents: YAML or JSON in, the JSON that Go would write out.
//!
//! opm reads every document into a Go map and hashes what `json.Encoder` with `SetEscapeHTML(false)`
//! makes of it: keys sorted bytewise at every level, numbers through float64.

use std::io::{BufRead, BufReader, Read};

use anyhow::{Context as _, bail, ensure};
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// Bytes of a YAML file; its parser holds it whole.
const YAML_BYTES: u64 = 64 << 20;
/// Levels of nesting in YAML, as many as serde_json allows in JSON.
const DEPTH: usize = 128;

/// Calls `each` with every document of a file. A file is JSON if its first character is `{`.
pub fn documents(
    file: impl Read,
    mut each: impl FnMut(Value) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut file = BufReader::with_capacity(64 << 10, file);
    let start = file.fill_buf()?;
    if start.trim_ascii_start().starts_with(b"{") {
        for document in serde_json::Deserializer::from_reader(file).into_iter() {
            each(document.context("parsing JSON")?)?;
        }
        return Ok(());
    }
    let mut text = String::new();
    file.take(YAML_BYTES + 1).read_to_string(&mut text).context("reading YAML")?;
    ensure!(text.len() as u64 <= YAML_BYTES, "YAML of more than {YAML_BYTES} bytes is refused");
    let mut events = Parser::new_from_str(&text);
    while let Some(event) = events.next() {
        let (event, _) = event.context("parsing YAML")?;
        if matches!(event, Event::DocumentStart(_)) {
            let document = next(&mut events)?;
            let document = node(document, &mut events, 0)?;
            if document != Value::Null {
                each(document)?;
            }
        }
    }
    Ok(())
}

type Events<'a> = Parser<'a, saphyr_parser::StrInput<'a>>;

fn next<'a>(events: &mut Events<'a>) -> anyhow::Result<Event<'a>> {
    let (event, _) = events.next().context("YAML ends early")?.context("parsing YAML")?;
    Ok(event)
}

fn node<'a>(event: Event<'a>, events: &mut Events<'a>, depth: usize) -> anyhow::Result<Value> {
    ensure!(depth < DEPTH, "YAML nested more than {DEPTH} deep is refused");
    match event {
        Event::Scalar(text, style, _, tag) => {
            let plain = style == ScalarStyle::Plain && tag.is_none();
            Ok(if plain { scalar(&text) } else { Value::String(text.into_owned()) })
        }
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            loop {
                match next(events)? {
                    Event::SequenceEnd => return Ok(Value::Array(items)),
                    event => items.push(node(event, events, depth + 1)?),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut map = Map::new();
            loop {
                let key = match next(events)? {
                    Event::MappingEnd => return Ok(Value::Object(map)),
                    event => match node(event, events, depth + 1)? {
                        Value::String(key) => key,
                        Value::Number(key) => key.to_string(),
                        Value::Bool(key) => key.to_string(),
                        _ => bail!("a YAML key that is no scalar"),
                    },
                };
                let value = next(events)?;
                map.insert(key, node(value, events, depth + 1)?);
            }
        }
        Event::Alias(_) => bail!("YAML aliases are not supported in catalogs"),
        _ => bail!("unexpected end of a YAML node"),
    }
}

/// A plain scalar as YAML 1.1 and Go's parser understand it.
fn scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => {
            return Value::Bool(true);
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    let digits = text.replace('_', "");
    let (sign, rest) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let radix = |prefix: &str, radix| rest.strip_prefix(prefix).map(|r| (r, radix));
    let (body, base) = radix("0x", 16)
        .or_else(|| radix("0b", 2))
        .or_else(|| radix("0o", 8))
        .or_else(|| radix("0", 8).filter(|(r, _)| !r.is_empty()))
        .unwrap_or((rest, 10));
    let number = rest.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if number
        && body.starts_with(|c: char| c.is_ascii_alphanumeric())
        && let Ok(n) = u64::from_str_radix(body, base)
    {
        return format!("{sign}{n}").parse().map_or(Value::Null, Value::Number);
    }
    let float = rest.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    match digits.parse::<f64>() {
        Ok(n) if number && float && n.is_finite() => {
            go_float(n).parse::<Number>().map_or(Value::Null, Value::Number)
        }
        _ => Value::String(text.to_owned()),
    }
}

/// Which Go built opm: the encoder's escapes changed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// Go 1.22 and later: `\b` and `\f`.
    Now,
    /// Go up to 1.21: `\u0008` and `\u000c`.
    Old,
}

/// Appends `value` as Go's encoder writes it, without a line end.
pub fn go_json(value: &Value, go: Go, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend(b"null"),
        Value::Bool(b) => out.extend(b.to_string().as_bytes()),
        Value::Number(n) => {
            let float = n.to_string().parse().unwrap_or(f64::NAN);
            out.extend(go_float(float).as_bytes());
        }
        Value::String(text) => go_string(text, go, out),
        Value::Array(items) => {
            list(out, b"[", b"]", items.iter(), |item, out| go_json(item, go, out));
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_bytes());
            list(out, b"{", b"}", entries.into_iter(), |(key, value), out| {
                go_string(key, go, out);
                out.push(b':');
                go_json(value, go, out);
            });
        }
    }
}

fn list<T>(
    out: &mut Vec<u8>,
    open: &[u8],
    close: &[u8],
    items: impl Iterator<Item = T>,
    each: impl Fn(T, &mut Vec<u8>),
) {
    out.extend(open);
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        each(item, out);
    }
    out.extend(close);
}

fn go_string(text: &str, go: Go, out: &mut Vec<u8>) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend(b"\\\""),
            '\\' => out.extend(b"\\\\"),
            '\n' => out.extend(b"\\n"),
            '\r' => out.extend(b"\\r"),
            '\t' => out.extend(b"\\t"),
            '\x08' if go == Go::Now => out.extend(b"\\b"),
            '\x0c' if go == Go::Now => out.extend(b"\\f"),
            '\0'..='\x1f' | '\u{2028}' | '\u{2029}' => {
                out.extend(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            c => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// The shortest digits that give the number back, in Go's choice of notation.
fn go_float(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let sign = if exponent.starts_with('-') { "" } else { "+" };
        return format!("{digits}e{sign}{exponent}");
    }
    format!("{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Vec<String> {
        let mut all = Vec::new();
        documents(text.as_bytes(), |document| {
            let mut out = Vec::new();
            go_json(&document, Go::Now, &mut out);
            all.push(String::from_utf8(out)?);
            Ok(())
        })
        .unwrap();
        all
    }

    #[test]
    fn json_comes_out_as_go_writes_it() {
        let text = r#"{"b":1.0,"a":{"z":1e-07,"y":1e21,"x":123456789012345678},"<":"\u2028<&>\u0001\b\/é"}
            {"n":[null,true,-0.5,100000000000000000000,0.000001]}"#;
        assert_eq!(
            written(text),
            [
                r#"{"<":"\u2028<&>\u0001\b/é","a":{"x":123456789012345680,"y":1e+21,"z":1e-7},"b":1}"#,
                r#"{"n":[null,true,-0.5,100000000000000000000,0.000001]}"#,
            ]
        );
    }

    #[test]
    fn yaml_is_read_as_go_reads_it() {
        let text = "---\nschema: olm.bundle\nyes: no\nmode: 0644\nversion: '1.0'\nf: 1.50\n\
                    list:\n- 1_000\n- 0x1F\n- 1.2.3\n- ~\n- 2001-01-01\ntext: |\n  a\n  b\n---\n{a: b}\n";
        assert_eq!(
            written(text),
            [
                r#"{"f":1.5,"list":[1000,31,"1.2.3",null,"2001-01-01"],"mode":420,"schema":"olm.bundle","text":"a\nb\n","true":false,"version":"1.0"}"#,
                r#"{"a":"b"}"#,
            ]
        );
        assert!(documents("a: [".as_bytes(), |_| Ok(())).is_err());
        let deep = "[".repeat(5000);
        assert!(documents(format!("- {deep}").as_bytes(), |_| Ok(())).is_err());
    }
}
