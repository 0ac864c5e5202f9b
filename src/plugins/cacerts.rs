//! `cacerts`: Java's trust store.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::format::Malformed;
use crate::format::jks::{self, Keystore};
use crate::normal::Context;
use crate::normal::{File, Opt, Page, Plugin, Verdict, Want};
use crate::tree::{Entry, Kind};

/// The plugin.
pub(super) struct Cacerts;

static PAGE: Page = Page {
    name: "cacerts",
    summary: "clamps the creation times in Java's trust store and renews its digest",
    default: true,
    paths: "etc/pki/ca-trust/extracted/java/cacerts and every other file called cacerts or *.jks",
    varies: "A creation time for each certificate, in milliseconds, and with them the SHA-1 \
             digest at the end. The order of the entries.",
    why: "`trust extract --format=java-cacerts` and `keytool -importcert` write the time of the \
          build into every entry; update-ca-trust runs in a scriptlet.",
    done: "Times later than SOURCE_DATE_EPOCH become SOURCE_DATE_EPOCH, entries are sorted by \
           alias (Java looks them up by name), and the digest is made anew with the store's \
           password. A store whose digest the password does not open is reported and left alone; \
           so are PKCS#12 and JCEKS stores, whose digests are salted at random.",
    lost: "When each certificate was put in.",
    upstream: "Seen in a published double build: rpm-ostree issue 4305. p11-kit honours \
               SOURCE_DATE_EPOCH since its pull request 418 of 2022, OpenJDK's keytool does not.",
    payload: false,
    options: &[Opt {
        name: "password",
        values: &[],
        default: "changeit",
        help: "the store's password, with which its digest is checked and made anew",
    }],
};

impl Plugin for Cacerts {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn wants(&self, entry: &Entry, _cx: &Context) -> Want {
        let name = entry.name();
        let ours = name == b"cacerts" || name.ends_with(b".jks");
        if ours && entry.kind == Kind::File { Want::Bytes } else { Want::No }
    }

    fn canonical(&self, file: &File<'_>, cx: &Context) -> io::Result<Verdict> {
        if let Some(kind) = foreign(&file.bytes) {
            return Ok(Verdict::Report(format!(
                "a {kind} keystore is salted at random; have it made as JKS \
                 (keytool -storetype JKS, trust extract --format=java-cacerts)"
            )));
        }
        Ok(match normal_form(&file.bytes, cx) {
            Ok(Some(bytes)) if bytes == *file.bytes => Verdict::Keep,
            Ok(Some(bytes)) => Verdict::Rewrite(bytes),
            Ok(None) => Verdict::Report(
                "the password does not fit the store's digest; set cacerts.password".to_owned(),
            ),
            Err(what) => Verdict::Unparsed(what),
        })
    }

    fn explain(&self, a: &File<'_>, b: &File<'_>, _cx: &Context) -> Vec<String> {
        match (jks::parse(&a.bytes), jks::parse(&b.bytes)) {
            (Ok(a), Ok(b)) => compare(&a, &b),
            _ => Vec::new(),
        }
    }
}

/// The name of another keystore format; PKCS#12 is a DER sequence that starts with version 3.
fn foreign(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xCE, 0xCE, 0xCE, 0xCE, ..] => Some("JCEKS"),
        [0x30, 0x80..=0x84, rest @ ..] => {
            let head = &rest[..rest.len().min(7)];
            head.windows(3).any(|w| w == [2, 1, 3]).then_some("PKCS#12")
        }
        _ => None,
    }
}

/// The store with its times clamped; `None` if the password does not fit.
fn normal_form(bytes: &[u8], cx: &Context) -> Result<Option<Vec<u8>>, Malformed> {
    let mut store = jks::parse(bytes)?;
    let password = cx.option(&PAGE, "password");
    if store.digest_with(password) != store.digest {
        return Ok(None);
    }
    let latest = u64::from(cx.epoch.seconds()) * 1000;
    for entry in &mut store.entries {
        entry.created = entry.created.min(latest);
    }
    // Where a name is used twice Java takes the last, so that order has a meaning.
    let names: BTreeSet<_> = store.entries.iter().map(|e| e.alias).collect();
    if names.len() == store.entries.len() {
        store.entries.sort_by_key(|e| e.alias);
    }
    Ok(Some(store.write(password)))
}

fn compare(a: &Keystore<'_>, b: &Keystore<'_>) -> Vec<String> {
    let by_alias = |s: &Keystore<'_>| -> BTreeMap<Vec<u8>, (u64, Vec<u8>)> {
        s.entries.iter().map(|e| (e.alias.to_vec(), (e.created, e.body.to_vec()))).collect()
    };
    let (left, right) = (by_alias(a), by_alias(b));
    let only_a = left.keys().filter(|k| !right.contains_key(*k)).count();
    let only_b = right.keys().filter(|k| !left.contains_key(*k)).count();
    let both = || left.iter().filter_map(|(k, l)| right.get(k).map(|r| (l, r)));
    let bodies = both().filter(|(l, r)| l.1 != r.1).count();
    let times = both().filter(|(l, r)| l.0 != r.0).count();
    let order = a.entries.iter().map(|e| e.alias).ne(b.entries.iter().map(|e| e.alias));
    [
        (only_a, "certificates only in the first"),
        (only_b, "certificates only in the second"),
        (bodies, "certificates differ under one name"),
        (times, "creation times differ"),
        (usize::from(order && only_a + only_b == 0), "order of entries differs"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect()
}
