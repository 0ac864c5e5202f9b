//! What the signatures of a unified kernel image differ in: those of its measurements (`.pcrsig`, as
//! systemd-measure writes it) and the one for Secure Boot.

use std::collections::BTreeSet;

use serde_json::Value;

/// What two sections `.pcrsig` differ in; `None` unless both are JSON of systemd-measure's form.
pub(super) fn measurements(a: &str, b: &str) -> Option<Vec<String>> {
    let (x, y) = (policies(a)?, policies(b)?);
    let only = |of: fn(&Policy) -> &String| {
        let all = |policies: &[Policy]| policies.iter().map(of).cloned().collect::<BTreeSet<_>>();
        (all(&x), all(&y))
    };
    let mut lines = Vec::new();
    let (keys, others) = only(|policy| &policy.key);
    if keys != others {
        let shown = |keys: &BTreeSet<String>| {
            keys.iter().map(|key| key.chars().take(16).collect::<String>()).collect::<Vec<_>>()
        };
        let (keys, others) = (shown(&keys).join(", "), shown(&others).join(", "));
        lines.push(format!("signed with another key ({keys}… | {others}…), see .pcrpkey"));
    }
    let (measured, others) = only(|policy| &policy.policy);
    if measured != others {
        lines.push("it signs other measurements: they follow the sections that differ".to_owned());
    }
    let (banks, others) = only(|policy| &policy.bank);
    if banks != others {
        lines.push("for other banks of the TPM (--pcr-banks=)".to_owned());
    }
    if lines.is_empty() {
        lines.push("the same measurements and keys, other signatures".to_owned());
    }
    Some(lines)
}

/// One signature: its bank, and the fingerprint of the key and the policy that it is for.
struct Policy {
    bank: String,
    key: String,
    policy: String,
}

fn policies(text: &str) -> Option<Vec<Policy>> {
    let Value::Object(banks) = serde_json::from_str(text).ok()? else { return None };
    let mut all = Vec::new();
    for (bank, signatures) in banks {
        for signature in signatures.as_array()? {
            let field = |name: &str| signature.get(name)?.as_str().map(str::to_owned);
            let (key, policy) = (field("pkfp")?, field("pol")?);
            all.push(Policy { bank: bank.clone(), key, policy });
        }
    }
    Some(all)
}

/// What is said where nothing but the signature for Secure Boot differs.
pub(super) const ONLY_SIGNATURE: &str = "nothing else differs but the PE checksum: sbsign and pesign write the time of signing whatever \
     SOURCE_DATE_EPOCH says; systemd-sbsign (systemd 257 and later) writes SOURCE_DATE_EPOCH";
