//! `cacerts`: Java's trust store and other keystores.

use std::collections::{BTreeMap, BTreeSet};

use super::kinds::reader;
use super::kinds::rewriter::Rewriter;
use crate::format::Malformed;
use crate::format::jks::{self, Keystore};
use crate::format::pkcs12;
use crate::normal::Context;
use crate::normal::{Opt, Page, Verdict};

static PAGE: Page = Page {
    name: "cacerts",
    summary: "clamps the creation times in Java's trust stores, sorts their certificates and \
              updates their digests",
    default: true,
    paths: "etc/pki/ca-trust/extracted/java/cacerts and every other file called cacerts, *.jks, \
            *.p12 or *.pfx that is a keystore",
    varies: "In a JKS store, a creation time for each certificate, in milliseconds, and therefore \
             the SHA-1 digest at the end. The order of the entries. In a PKCS#12 store with a \
             password, the salts.",
    why: "`trust extract --format=java-cacerts` and `keytool -importcert` write the time of the \
          build into every entry; update-ca-trust runs in a scriptlet. Certificates are kept in \
          the order in which they were imported.",
    done: "Times later than SOURCE_DATE_EPOCH become SOURCE_DATE_EPOCH, entries are sorted by \
           alias (Java looks them up by name), and the digest is computed again with the store's \
           password. A PKCS#12 store without a password, like the JDK's own since 18, has neither \
           times nor salts: its certificates are sorted by their friendlyName. The plugin leaves \
           alone and reports: a store whose digest does not match the password; a PKCS#12 store \
           with encrypted entries or a MAC, which have random salts; and JCEKS stores. It ignores \
           a file of such a name that is not a keystore.",
    lost: "When each certificate was added.",
    upstream: "Seen in a published double build: rpm-ostree issue 4305. p11-kit honours \
               SOURCE_DATE_EPOCH since its pull request 418 of 2022, OpenJDK's keytool does not.",
    payload: false,
    options: &[Opt {
        name: "password",
        values: &[],
        default: "changeit",
        help: "the store's password, which its digest depends on",
    }],
};

/// The plugin.
pub(super) static CACERTS: Rewriter = Rewriter {
    page: &PAGE,
    by_ending: false,
    named: |entry| {
        let ends: [&[u8]; 3] = [b".jks", b".p12", b".pfx"];
        let name = entry.name();
        name == b"cacerts" || ends.iter().any(|end| name.ends_with(end))
    },
    is: |_| true,
    verdict: |file, cx| {
        let normal = match &*file.bytes {
            [0xCE, 0xCE, 0xCE, 0xCE, ..] => Ok(Err(JCEKS.to_owned())),
            bytes if jks::is_jks(bytes) => jks_normal(bytes, cx),
            bytes if pkcs12::is_pkcs12(bytes) => pkcs12_normal(bytes),
            _ => return Verdict::Keep,
        };
        match normal {
            Ok(Err(why)) => Verdict::Report(why),
            Ok(Ok(bytes)) => Verdict::of(Ok(bytes), &file.bytes),
            Err(what) => Verdict::Unparsed(what),
        }
    },
    explain: |a, b| {
        if pkcs12::is_pkcs12(a) && pkcs12::is_pkcs12(b) {
            return reader::compare(pkcs12::facts, a, b);
        }
        match (jks::parse(a), jks::parse(b)) {
            (Ok(a), Ok(b)) => compare(&a, &b),
            _ => Vec::new(),
        }
    },
};

const JCEKS: &str = "a JCEKS keystore has random salts; create it as JKS (keytool -storetype JKS, \
                     trust extract --format=java-cacerts)";
const PASSWORD: &str = "the password does not match the store's digest; set cacerts.password";

/// A normal form, or the reason why there is none.
type Normal = Result<Result<Vec<u8>, String>, Malformed>;

/// A PKCS#12 store with its certificates sorted.
fn pkcs12_normal(bytes: &[u8]) -> Normal {
    let store = pkcs12::parse(bytes)?;
    Ok(match store.salted {
        None => Ok(store.sorted(bytes)),
        Some(what) => Err(format!(
            "a PKCS#12 keystore with {what} has random salts; create it without a password \
             (keytool -J-Dkeystore.pkcs12.certProtectionAlgorithm=NONE \
             -J-Dkeystore.pkcs12.macAlgorithm=NONE) or as JKS (keytool -storetype JKS)"
        )),
    })
}

/// A JKS store with its times clamped.
fn jks_normal(bytes: &[u8], cx: &Context) -> Normal {
    let mut store = jks::parse(bytes)?;
    let password = cx.option(&PAGE, "password");
    if store.digest_with(password) != store.digest {
        return Ok(Err(PASSWORD.to_owned()));
    }
    let latest = u64::from(cx.epoch.seconds()) * 1000;
    for entry in &mut store.entries {
        entry.created = entry.created.min(latest);
    }
    // If a name occurs twice, Java uses the last one, so the order matters.
    let names: BTreeSet<_> = store.entries.iter().map(|e| e.alias).collect();
    if names.len() == store.entries.len() {
        store.entries.sort_by_key(|e| e.alias);
    }
    Ok(Ok(store.write(password)))
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
