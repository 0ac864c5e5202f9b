//! Files whose content no report may show: password hashes, private keys, key stores, credentials.

use sha2::{Digest as _, Sha256};

/// Bytes at the beginning in which a private key's header is searched.
const HEAD: usize = 64 << 10;

/// The most bytes to search for password hashes that make a whole file a secret.
const TEXT: usize = 2 << 20;

/// Whole paths below a root, with their content; `usr/etc` is written `etc`.
const PATHS: &[(&str, &str)] = &[
    ("etc/shadow", "password hashes"),
    ("etc/shadow-", "password hashes"),
    ("etc/gshadow", "password hashes"),
    ("etc/gshadow-", "password hashes"),
    ("etc/security/opasswd", "password hashes"),
    ("etc/krb5.keytab", "a keytab"),
    ("etc/ostree/auth.json", "a credential"),
    ("run/ostree/auth.json", "a credential"),
    ("usr/lib/ostree/auth.json", "a credential"),
    ("var/lib/systemd/credential.secret", "a credential"),
    ("var/lib/systemd/random-seed", "a random seed"),
];
/// Folders of secret files, wherever they are below `etc`, `usr/lib` and the like.
const FOLDERS: &[(&str, &str)] = &[
    ("etc/credstore/", "a credential"),
    ("etc/credstore.encrypted/", "a credential"),
    ("usr/lib/credstore/", "a credential"),
    ("usr/lib/credstore.encrypted/", "a credential"),
    ("etc/cryptsetup-keys.d/", "a key"),
    ("etc/NetworkManager/system-connections/", "a credential"),
    ("etc/wireguard/", "a private key"),
    ("etc/pki/tls/private/", "a private key"),
    ("etc/ssl/private/", "a private key"),
];
/// Suffixes of names.
const ENDS: &[(&str, &str)] = &[
    (".keytab", "a keytab"),
    (".p12", "a key store"),
    (".pfx", "a key store"),
    (".keystore", "a key store"),
    ("/.netrc", "a credential"),
    ("/.pgpass", "a credential"),
    ("/key3.db", "a key store"),
    ("/key4.db", "a key store"),
    ("/.docker/config.json", "a credential"),
    (".kubeconfig", "a credential"),
];

/// The kind of secret in the file `path` below a root, judged by path and content; `None` if it is
/// not a known secret.
pub(crate) fn kind(path: &[u8], content: &[u8]) -> Option<&'static str> {
    let old = || (is_accounts(path) && has_old_hash(content)).then_some("password hashes");
    by_path(path).or_else(|| by_content(content)).or_else(old)
}

/// Whether the file name is that of a list of accounts, in which any field may be a hash.
fn is_accounts(path: &[u8]) -> bool {
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
    [&b"passwd"[..], b"group"].iter().any(|list| name.starts_with(list))
}

/// Whether the second field of a line is a hash of 13 characters, as in old systems.
fn has_old_hash(content: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/');
    content.split(|b| *b == b'\n').any(|line| {
        let field = line.split(|b| *b == b':').nth(1).unwrap_or_default();
        let hash = field.strip_prefix(b"!").unwrap_or(field);
        hash.len() == 13 && hash.iter().all(plain)
    })
}

fn by_path(path: &[u8]) -> Option<&'static str> {
    let logical = match path.strip_prefix(b"usr/") {
        Some(rest) if rest.starts_with(b"etc/") => rest,
        _ => path,
    };
    let whole = PATHS.iter().find(|(known, _)| logical == known.as_bytes());
    let folder = || FOLDERS.iter().find(|(known, _)| logical.starts_with(known.as_bytes()));
    let end = || ENDS.iter().find(|(known, _)| logical.ends_with(known.as_bytes()));
    let found = whole.or_else(folder).or_else(end);
    let host_key = || {
        let name = logical.strip_prefix(b"etc/ssh/ssh_host_")?;
        name.ends_with(b"_key").then_some("a private key")
    };
    found.map(|(_, what)| *what).or_else(host_key)
}

fn by_content(content: &[u8]) -> Option<&'static str> {
    let head = &content[..content.len().min(HEAD)];
    let has = |needle: &[u8]| memchr::memmem::find(head, needle).is_some();
    let private = || {
        memchr::memmem::find_iter(head, b"-----BEGIN ").any(|at| {
            let line = head[at..].split(|b| *b == b'\n').next().unwrap_or_default();
            memchr::memmem::find(line, b"PRIVATE KEY").is_some()
        })
    };
    match () {
        // Java's JKS and JCEKS, whose certificates are public and whose keys are not.
        () if content.starts_with(b"\xfe\xed\xfe\xed") => Some("a key store"),
        () if content.starts_with(b"\xce\xce\xce\xce") => Some("a key store"),
        () if content.starts_with(b"PuTTY-User-Key-File-") => Some("a private key"),
        () if private() => Some("a private key"),
        () if has(b"grub.pbkdf2.sha512.") => Some("password hashes"),
        () if has(b"AGE-SECRET-KEY-1") => Some("a private key"),
        () if has_hash(&content[..content.len().min(TEXT)]) => Some("password hashes"),
        () => None,
    }
}

/// Whether a password hash of `crypt(5)`, `$ID$PARAMETERS$HASH`, is anywhere in the content, for
/// example of an image or a database, whose bytes must not be shown then.
pub(crate) fn has_hash(content: &[u8]) -> bool {
    const IDS: &[&[u8]] =
        &[b"y", b"gy", b"7", b"6", b"5", b"2a", b"2b", b"2x", b"2y", b"1", b"sha1"];
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/' | b'=' | b',');
    let run = |bytes: &[u8]| bytes.iter().take_while(|b| plain(b)).count();
    let is_hash = |start: usize| {
        let rest = &content[start + 1..];
        let starts = |id: &&&[u8]| rest.starts_with(id) && rest.get(id.len()) == Some(&b'$');
        let Some(id) = IDS.iter().find(starts) else { return false };
        // Salt and hash, with rounds or parameters before them.
        let mut rest = &rest[id.len() + 1..];
        for _ in 0..4 {
            let length = run(rest);
            if length >= 22 {
                return true;
            }
            match rest.get(length) {
                Some(b'$') => rest = &rest[length + 1..],
                _ => return false,
            }
        }
        false
    };
    memchr::memchr_iter(b'$', content).any(is_hash)
}

/// The description of two contents of which one is a secret of this kind.
pub(crate) fn masked(kind: &str, a: &[u8], b: &[u8]) -> String {
    format!("{kind}, not shown: {} → {}", digest(a), digest(b))
}

/// A secret's length and digest.
pub(crate) fn digest(content: &[u8]) -> String {
    let digest: String =
        Sha256::digest(content).iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!("{} bytes, sha256 {digest}…", content.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_path_and_by_content() {
        for (path, content, wanted) in [
            ("etc/gshadow-", "", Some("password hashes")),
            ("usr/etc/ssh/ssh_host_ed25519_key", "", Some("a private key")),
            ("usr/etc/ssh/ssh_host_ed25519_key.pub", "ssh-ed25519 AAAA", None),
            ("etc/credstore.encrypted/db", "", Some("a credential")),
            ("srv/a.p12", "", Some("a key store")),
            ("k", "-----BEGIN OPENSSH PRIVATE KEY-----\nx", Some("a private key")),
            ("k", "# note\n-----BEGIN ENCRYPTED PRIVATE KEY-----\nx", Some("a private key")),
            ("k", "-----BEGIN PGP PRIVATE KEY BLOCK-----\nx", Some("a private key")),
            ("k", "-----BEGIN PUBLIC KEY-----\nPRIVATE KEY", None),
            (
                "root/ks.cfg",
                "rootpw --iscrypted $6$abcdefgh$0123456789012345678901234567890123456789\n",
                Some("password hashes"),
            ),
            (
                "x",
                "u:$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7:1\n",
                Some("password hashes"),
            ),
            ("x", "echo \"$1$2\" $5$6$7 $2b$\n", None),
            ("x", "price $6$", None),
            ("boot/user.cfg", "GRUB2_PASSWORD=grub.pbkdf2.sha512.1.AB.CD", Some("password hashes")),
            ("etc/passwd-", "old:!abcdefghijklm:1:2\n", Some("password hashes")),
            ("etc/passwd", "root:x:0:0::/:/bin/sh\n", None),
        ] {
            assert_eq!(kind(path.as_bytes(), content.as_bytes()), wanted, "{path} {content}");
        }
        assert_eq!(kind(b"cacerts", b"\xfe\xed\xfe\xed\0\0\0\x02"), Some("a key store"));
        // In binary data, far from the beginning.
        let hash = b"$6$abcdefgh$0123456789012345678901234567890123456789\0";
        let binary = [vec![0xff; 5 << 20], hash.to_vec()].concat();
        assert!(has_hash(&binary) && !has_hash(&binary[..5 << 20]));
    }

    #[test]
    fn nothing_of_a_secret_is_said_but_length_and_digest() {
        let said = masked("a private key", b"one", b"");
        assert_eq!(
            said,
            "a private key, not shown: 3 bytes, sha256 7692c3ad3540bb80… → 0 bytes, sha256 \
             e3b0c44298fc1c14…"
        );
    }
}
