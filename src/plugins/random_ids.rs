//! `random-ids`: random identities that scriptlets create.

use super::kinds::table::{Action, FILE, LEAF, Row, Table};
use crate::format::Malformed;
use crate::normal::{Opt, Page};

/// The plugin.
pub(super) static RANDOM_IDS: Table = Table::new(&PAGE, ROWS);

static PAGE: Page = Page {
    name: "random-ids",
    summary: "removes random identities that a service creates again, reports the others",
    default: true,
    paths: "iSCSI, NVMe, ssh, brltty, unbound, bind, httpd, snakeoil, NSS, slapd and NetworkManager \
            identities in etc and var/lib; etc/adjtime",
    varies: "Random keys and names, the drift of the building machine's clock.",
    why: "A scriptlet creates them at installation, as if the image were one machine. Every \
          machine made from the image then has the same key.",
    done: "Removed if the tree has the unit or program that creates a new one (the table names it; \
           a unit of another name that runs the same program also counts, and one that runs only \
           at a first boot counts if etc/machine-id is missing or says `uninitialized`); otherwise \
           left and reported. With unsure=remove the others are removed too. In etc/adjtime the \
           drift becomes 0 and the choice between UTC and local time stays.",
    lost: "Nothing but the shared identity.",
    upstream: "iSCSI and brltty: rpm-ostree issue 1211, fixed in Fedora CoreOS only; NVMe: \
               openshift/os issue 1519.",
    payload: false,
    options: &[Opt {
        name: "unsure",
        values: &["report", "remove"],
        default: "report",
        help: "what happens if nothing in the tree is known to create a new one",
    }],
};

static ROWS: &[Row] = &[
    Row::new(
        "etc/iscsi/initiatorname.iscsi",
        FILE,
        Action::Remove,
        "iscsi-init.service runs if the file is missing (its ConditionPathExists)",
    )
    .needs(&["usr/lib/systemd/system/iscsi-init.service"]),
    Row::new(
        "etc/ssh/ssh_host_*_key{,.pub}",
        FILE,
        Action::Remove,
        "sshd-keygen creates missing keys before sshd starts; without such a unit (Debian creates \
         them only when its package is configured) every copy of the image has the same keys, so \
         remove them and let your own unit run `ssh-keygen -A` before sshd",
    )
    .needs(&["usr/lib/systemd/system/sshd-keygen@.service"])
    .or_runs(&["sshd-keygen", "ssh-keygen -A"]),
    Row::new(
        "etc/unbound/unbound_{control,server}.{key,pem}",
        FILE,
        Action::Remove,
        "unbound-keygen.service runs if a key is missing (its ConditionPathExists)",
    )
    .needs(&["usr/lib/systemd/system/unbound-keygen.service"]),
    Row::new(
        "etc/rndc.key",
        FILE,
        Action::Remove,
        "named-setup-rndc.service creates the key if it is missing",
    )
    .needs(&["usr/lib/systemd/system/named-setup-rndc.service"]),
    Row::new(
        "etc/pki/tls/{private/localhost.key,certs/localhost.crt}",
        FILE,
        Action::Remove,
        "httpd-init.service runs if the pair is missing (its ConditionPathExists)",
    )
    .needs(&["usr/lib/systemd/system/httpd-init.service"]),
    Row::new(
        "etc/cockpit/ws-certs.d/0-self-signed*",
        LEAF,
        Action::Remove,
        "cockpit creates its self-signed certificate before it starts",
    )
    .needs(&["usr/libexec/cockpit-certificate-ensure"]),
    Row::new(
        "var/lib/NetworkManager/secret_key",
        FILE,
        Action::Remove,
        "NetworkManager creates the key if it is missing: NetworkManager(8)",
    )
    .needs(&["usr/sbin/NetworkManager", "usr/bin/NetworkManager"]),
    Row::new(
        "var/lib/NetworkManager/{timestamps,seen-bssids,NetworkManager.state}",
        FILE,
        Action::Remove,
        "what NetworkManager saw on the building machine",
    ),
    Row::new(
        "etc/adjtime",
        FILE,
        Action::Rewrite(adjtime),
        "hwclock measures the drift again: adjtime_config(5)",
    ),
    Row::new(
        "etc/brlapi.key",
        FILE,
        Action::Report,
        "a random key of a %post script; remove it in a postprocess step if brltty is not used as \
         it is, or create it on each machine with `mcookie` in a unit",
    ),
    Row::new(
        "etc/ssl/{certs/ssl-cert-snakeoil.pem,private/ssl-cert-snakeoil.key}",
        FILE,
        Action::Report,
        "a key and a certificate that ssl-cert creates when it is installed, which every machine \
         of this image shares; run `make-ssl-cert generate-default-snakeoil` in a unit, and remove \
         both and their hash link in a postprocess step",
    ),
    Row::new(
        "{etc/pki/nssdb,root/.pki/nssdb,var/roothome/.pki/nssdb}/key4.db",
        FILE,
        Action::Explain,
        "NSS adds a random salt to the password of its keys, even an empty one; create the \
         database once (`certutil -N`) and ship it as a file, or create it in a unit",
    ),
    Row::new(
        "etc/{ldap,openldap}/slapd.d/**",
        FILE,
        Action::Explain,
        "slapadd gives an entry without them a random entryUUID, its time and an entryCSN, and a \
         checksum over all; with entryUUID, entryCSN, createTimestamp and modifyTimestamp in the \
         LDIF two runs are equal",
    ),
    Row::new(
        "etc/nvme/host{id,nqn}",
        FILE,
        Action::Report,
        "random names of a %post script, which every machine of this image shares; remove them \
         in a postprocess step and run `nvme gen-hostnqn` in a unit",
    ),
    Row::new(
        "etc/{hostid,munge/munge.key,krb5.keytab}",
        FILE,
        Action::Report,
        "a random or secret identity in an image; create it on each machine",
    ),
];

/// Sets drift and times of adjustment to 0; the third line, UTC or LOCAL, stays.
fn adjtime(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
    let scale: &[u8] = match lines.as_slice() {
        [_, _, scale @ (b"UTC" | b"LOCAL"), b""] => scale,
        _ => return Err(Malformed::at(0, "not the three lines of adjtime_config(5)")),
    };
    let numbers = lines[..2].concat();
    match numbers.iter().position(|b| !(b.is_ascii_digit() || b" .-+e".contains(b))) {
        Some(at) => Err(Malformed::at(at, "not a number of adjtime_config(5)")),
        None => Ok([b"0.0 0 0.0\n0\n", scale, b"\n"].concat()),
    }
}
