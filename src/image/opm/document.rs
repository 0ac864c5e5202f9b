//! Catalog documents: YAML or JSON in, the JSON that Go would write out.
//!
//! opm reads every document into a Go map and hashes what `json.Encoder` with `SetEscapeHTML(false)`
//! makes of it: keys sorted bytewise at every level, numbers through float64.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::rc::Rc;

use anyhow::{Context as _, bail, ensure};
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// Bytes of a YAML file; its parser holds it whole.
const YAML_BYTES: u64 = 64 << 20;
/// Levels of nesting in YAML, as many as serde_json allows in JSON.
const DEPTH: usize = 128;

/// Calls `each` with every document of a file. As opm, takes a file that starts with `{` for JSON, and
/// for YAML where its first document is none: a flow mapping.
pub fn documents(
    file: impl Read,
    mut each: impl FnMut(Value) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut file = BufReader::with_capacity(64 << 10, file);
    let start = file.fill_buf()?;
    if !start.trim_ascii_start().starts_with(b"{") {
        return yaml(file, each);
    }
    let kept = Rc::new(RefCell::new(Some(Vec::new())));
    let tee = Tee { inner: &mut file, kept: Rc::clone(&kept) };
    let mut stream = serde_json::Deserializer::from_reader(tee).into_iter();
    let Some(first) = stream.next() else { return Ok(()) };
    let read = kept.take();
    let first = match (first, read) {
        (Ok(first), _) => first,
        (Err(_), Some(read)) => {
            drop(stream);
            return yaml(read.chain(file), each).context("it is no JSON");
        }
        (Err(why), None) => return Err(why).context("parsing JSON"),
    };
    each(first)?;
    for document in stream {
        each(document.context("parsing JSON")?)?;
    }
    Ok(())
}

/// Keeps what is read, as long as it is little.
struct Tee<R> {
    inner: R,
    kept: Rc<RefCell<Option<Vec<u8>>>>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        let mut kept = self.kept.borrow_mut();
        if let Some(bytes) = &mut *kept {
            bytes.extend(&buf[..n]);
            if bytes.len() as u64 > YAML_BYTES {
                *kept = None;
            }
        }
        Ok(n)
    }
}

fn yaml(file: impl Read, mut each: impl FnMut(Value) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut text = String::new();
    file.take(YAML_BYTES + 1).read_to_string(&mut text).context("reading YAML")?;
    ensure!(text.len() as u64 <= YAML_BYTES, "YAML of more than {YAML_BYTES} bytes is refused");
    let mut reader =
        Yaml { events: Parser::new_from_str(&text), anchors: BTreeMap::new(), nodes: 0 };
    while let Some(event) = reader.events.next() {
        let (event, _) = event.context("parsing YAML")?;
        if matches!(event, Event::DocumentStart(_)) {
            reader.anchors.clear();
            let first = reader.next()?;
            let document = reader.node(first, 0)?;
            if document != Value::Null {
                each(document)?;
            }
        }
    }
    Ok(())
}

/// Nodes that aliases may stand for in one file.
const ALIASED: usize = 1_000_000;

/// A YAML file being read.
struct Yaml<'a> {
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
    /// Nodes with an anchor, and how many nodes each has.
    anchors: BTreeMap<usize, (Value, usize)>,
    /// Nodes so far; those that aliases stand for count again.
    nodes: usize,
}

impl<'a> Yaml<'a> {
    fn next(&mut self) -> anyhow::Result<Event<'a>> {
        let (event, _) = self.events.next().context("YAML ends early")?.context("parsing YAML")?;
        Ok(event)
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> anyhow::Result<Value> {
        ensure!(depth < DEPTH, "YAML nested more than {DEPTH} deep is refused");
        let before = self.nodes;
        self.nodes += 1;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                (if plain { scalar(&text) } else { Value::String(text.into_owned()) }, anchor)
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => break,
                        event => items.push(self.node(event, depth + 1)?),
                    }
                }
                (Value::Array(items), anchor)
            }
            Event::MappingStart(anchor, _) => (self.mapping(depth)?, anchor),
            Event::Alias(id) => {
                let (value, nodes) = self.anchors.get(&id).context("a YAML alias of nothing")?;
                self.nodes += nodes;
                ensure!(
                    self.nodes <= ALIASED,
                    "YAML aliases of more than {ALIASED} nodes are refused"
                );
                return Ok(value.clone());
            }
            _ => bail!("unexpected end of a YAML node"),
        };
        // 0 is no anchor.
        if anchor > 0 {
            self.anchors.insert(anchor, (value.clone(), self.nodes - before));
        }
        Ok(value)
    }

    fn mapping(&mut self, depth: usize) -> anyhow::Result<Value> {
        let (mut map, mut merged) = (Map::new(), Vec::new());
        loop {
            let key = match self.next()? {
                Event::MappingEnd => break,
                // YAML 1.1's merge key.
                Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<" => {
                    let value = self.next()?;
                    match self.node(value, depth + 1)? {
                        Value::Array(all) => merged.extend(all),
                        one => merged.push(one),
                    }
                    continue;
                }
                event => match self.node(event, depth + 1)? {
                    Value::String(key) => key,
                    Value::Number(key) => key.to_string(),
                    Value::Bool(key) => key.to_string(),
                    _ => bail!("a YAML key that is no scalar"),
                },
            };
            let value = self.next()?;
            map.insert(key, self.node(value, depth + 1)?);
        }
        for other in merged {
            let Value::Object(other) = other else {
                bail!("YAML's << of something else than a map")
            };
            for (key, value) in other {
                map.entry(key).or_insert(value);
            }
        }
        Ok(Value::Object(map))
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
pub enum GoVersion {
    /// Go 1.22 and later: `\b` and `\f`.
    Now,
    /// Go up to 1.21: `\u0008` and `\u000c`.
    Old,
}

/// Appends `value` as Go's encoder writes it, without a line end.
pub fn go_json(value: &Value, go: GoVersion, out: &mut Vec<u8>) {
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

fn go_string(text: &str, go: GoVersion, out: &mut Vec<u8>) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend(b"\\\""),
            '\\' => out.extend(b"\\\\"),
            '\n' => out.extend(b"\\n"),
            '\r' => out.extend(b"\\r"),
            '\t' => out.extend(b"\\t"),
            '\x08' if go == GoVersion::Now => out.extend(b"\\b"),
            '\x0c' if go == GoVersion::Now => out.extend(b"\\f"),
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
            go_json(&document, GoVersion::Now, &mut out);
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
        // A flow mapping is no JSON; aliases and merge keys stand for what they name.
        let text = "{a: b, c: [1]}\n---\nbase: &base {x: 1, z: 2}\nsame: *base\nmore:\n  <<: *base\n  z: 3\n";
        let more = r#"{"base":{"x":1,"z":2},"more":{"x":1,"z":3},"same":{"x":1,"z":2}}"#;
        assert_eq!(written(text), [r#"{"a":"b","c":[1]}"#, more]);
        // Each line stands for ten of the one before.
        let mut laughs = "a0: &a0 [x]\n".to_owned();
        for i in 1..12 {
            let ten = vec![format!("*a{}", i - 1); 10].join(", ");
            laughs += &format!("a{i}: &a{i} [{ten}]\n");
        }
        let error = documents(laughs.as_bytes(), |_| Ok(())).unwrap_err();
        assert!(format!("{error:#}").contains("1000000 nodes are refused"), "{error:#}");
        assert!(documents("a: [".as_bytes(), |_| Ok(())).is_err());
        let deep = "[".repeat(5000);
        assert!(documents(format!("- {deep}").as_bytes(), |_| Ok(())).is_err());
    }
}
