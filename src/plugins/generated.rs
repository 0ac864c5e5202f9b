//! `generated`: what compilers and installers of languages, editors and services write.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::kinds::table::{Action, FILE, Row, SYMLINK, Table};
use crate::format::{Malformed, beam, grub, vimspell};
use crate::normal::{Consequence, File, Follows, OtherDifferences, Page};
use crate::tree::{Difference, show};

/// The plugin.
pub(super) static GENERATED: Table =
    Table::new(&PAGE, ROWS).follows(certificate).attributes(ATTRIBUTES);

static PAGE: Page = Page {
    name: "generated",
    summary: "explains what language tools, editors and services generate; sorts and clamps where \
              their readers allow it",
    default: true,
    paths: "TeX, R, GHC, Erlang, Lua, Emacs, Vim and JVM files; alias databases, XML catalogs, \
            grubenv and GRUB's standalone images, links of update-ca-certificates; files of systemd's \
            image tools",
    varies: "Times, paths of the building machine, random ids, and the order in which scriptlets ran.",
    why: "These programs write down where and when they ran, or keep entries in the order in which \
          they came.",
    done: "XML catalogs and GRUB's variables are sorted, times of Vim's word lists are clamped: their \
           readers look entries up by name, and the two files of a word list keep one time. All else \
           stays: the reason of each row says with which option or variable the program writes the \
           same file twice, as tests/e2e/newest tries with the versions of docs/newest.md.",
    lost: "When a word list was compiled; the order of entries in catalogs.",
    upstream: "The reasons name what each program offers: TeX, R, Erlang, Lua, slapd and ukify can be \
               made to write one file; the others cannot.",
    payload: false,
    options: &[],
};

static ROWS: &[Row] = &[
    // Languages.
    Row::new(
        "{var/lib,usr/share,usr/local/share}/tex{mf,mf-dist,live}/{,**/}*.{fmt,base,mem}",
        FILE,
        Action::Explain,
        "a format of TeX remembers the day and minute on which it was made; run fmtutil with \
         SOURCE_DATE_EPOCH and FORCE_SOURCE_DATE=1",
    ),
    Row::new(
        "{var/lib,usr/share,usr/local/share}/tex{mf,mf-dist,live}/{,**/}ls-R",
        FILE,
        Action::Explain,
        "mktexlsr lists folders in the order of the locale; run it with LC_ALL=C",
    ),
    Row::new(
        "usr/{lib,lib64,local/lib,local/lib64,share}/R/{library,site-library}/*/{DESCRIPTION,Meta/*.rds}",
        FILE,
        Action::Explain,
        "R writes the time of installation (Built:) into a package, and the encoding of its locale; \
         install with `R CMD INSTALL --built-timestamp=DATE` under one LC_ALL, into one library path",
    ),
    Row::new(
        "usr/{lib,lib64,local/lib,local/lib64,share}/R/{library,site-library}/**/*.{rds,rdb,rdx}",
        FILE,
        Action::Explain,
        "R saves objects with the encoding of its locale; install packages under one LC_ALL",
    ),
    Row::new(
        "{usr,var}/lib{,64}/{,**/}package.conf.d/package.cache{,.lock}",
        FILE,
        Action::Explain,
        "ghc-pkg writes packages in the order in which the disk lists the folder, at each recache: run \
         it on a copy that was made in sorted order on a tmpfs, and copy package.cache back",
    ),
    Row::new(
        "usr/**/*.beam",
        FILE,
        Action::Explain,
        "erlc writes its options and the path of the source into a module; compile with \
         +deterministic (ERL_COMPILER_OPTIONS=deterministic)",
    )
    .reads(beam::parse),
    Row::new(
        "usr/**/*.luac",
        FILE,
        Action::Explain,
        "luac writes the path of the source as it was given; give a relative path, or strip it with -s",
    ),
    Row::new(
        "usr/**/*.{elc,eln}",
        FILE,
        Action::Explain,
        "Emacs 30 writes the same bytes twice from the same source and with the same libgccjit; the name \
         of native code (.eln) has a hash of its source's path: compile below the path of the installed \
         system",
    ),
    Row::new(
        "usr/**/.packlist",
        FILE,
        Action::Explain,
        "ExtUtils::MakeMaker lists the paths that it wrote to, with DESTDIR's folder in front where that \
         is set; only uninstalling reads it: `perl Makefile.PL NO_PACKLIST=1` writes none",
    ),
    Row::new(
        "usr/**/spell/*.{spl,sug}",
        FILE,
        Action::Clamp(vimspell::clamped),
        "Vim takes suggestions only with the word list of the same time; both get the same one",
    ),
    Row::new(
        "usr/**/*.{aot,jsa}",
        FILE,
        Action::Explain,
        "a JVM archive is a heap dump with addresses, whose size depends on the number of processors, \
         and holds size and time of each jar: make it after `fix`, or not at all",
    ),
    Row::new(
        "**/*.dist-info/uv_cache.json",
        FILE,
        Action::Explain,
        "uv writes the change time of a local wheel; install from an index, or remove this file and \
         its line in RECORD",
    ),
    Row::new(
        "**/node_modules/.modules.yaml",
        FILE,
        Action::Explain,
        "pnpm writes when it last pruned and where its store is; remove it from an image in which \
         pnpm is not run again",
    ),
    // Services.
    Row::new(
        "etc/{,postfix/}aliases.{db,lmdb,cdb,dir,pag}",
        FILE,
        Action::Explain,
        "postalias writes its time and its host name (YP_LAST_MODIFIED, YP_MASTER_NAME) beside the \
         entries, which are in the order of etc/aliases: run `newaliases` in a unit; or once, with \
         etc/aliases sorted, myhostname set and the clock stopped (faketime)",
    ),
    Row::new(
        "etc/aliases",
        FILE,
        Action::Explain,
        "scriptlets append aliases in the order in which they run; ship the file whole",
    ),
    Row::new(
        "{etc,root,var/roothome}/{,.}pki/nssdb/pkcs11.txt",
        FILE,
        Action::Explain,
        "NSS writes the folder as it was given to certutil; give the one of the installed system",
    ),
    Row::new(
        "var/lib/doc-base/info/*.yml",
        FILE,
        Action::Explain,
        "doc-base keeps the change time of each control file, and writes numbers with quotes or \
         without; remove var/lib/doc-base/info in a postprocess step where no document is installed \
         later",
    ),
    Row::new(
        "usr/share/info/dir",
        FILE,
        Action::Explain,
        "install-info sorts sections and entries without regard to case, and those that differ in it \
         stay in the order in which they came (update-info-dir takes the disk's); make it anew at the \
         end with install-info over sorted pages",
    ),
    Row::new(
        "etc/xml/catalog",
        FILE,
        Action::Rewrite(xml_catalog),
        "entries follow each other in no order (xml-core's are those of a hash table); readers look \
         for the longest that fits",
    ),
    Row::new(
        "{var/lib/{xml-core,sgml-base},etc/sgml}/{,**/}*{catalog,.cat}",
        FILE,
        Action::Explain,
        "update-xmlcatalog and update-catalog keep entries in the order of a hash table or of the \
         installation",
    ),
    Row::new(
        "boot/{,efi/EFI/*/}grub{,2}/grubenv",
        FILE,
        Action::Rewrite(grubenv),
        "grub-editenv appends variables in the order in which they are set",
    ),
    Row::new(
        "{boot,boot/efi,efi,usr/lib/{efi,bootupd}/**}/EFI/**/*.{efi,EFI}",
        FILE,
        Action::Explain,
        "grub-mkstandalone 2.06 writes files into the memory disk with the times of their copies, in the \
         order of a folder; 2.12 and later sort them and give them one time: make the image with one",
    )
    .only(grub::is_same_but_for_disk),
    // Certificates.
    Row::new(
        "etc/ssl/certs/*",
        SYMLINK,
        Action::Check(leads_out),
        "a link of update-ca-certificates or `openssl rehash`, named after a certificate or its hash",
    ),
    // Files of systemd's image tools.
    Row::new(
        "**/*.auth",
        FILE,
        Action::Explain,
        "a signed variable of UEFI begins with the time of its signature; give it with \
         `sign-efi-sig-list -t DATE`, or have systemd's bootctl sign, which takes SOURCE_DATE_EPOCH \
         (sign-efi-sig-list and sbvarsign do not)",
    ),
    Row::new(
        "{**/credstore.encrypted/*,**/loader/credentials/*.cred,**/*.cred}",
        FILE,
        Action::Explain,
        "an encrypted credential is random by design (its IV, with the null key and a given time too): \
         ship it as a file that was made once, or make it on the machine (systemd-creds)",
    ),
];

/// Attributes that tools write, by the beginnings of their names.
static ATTRIBUTES: &[(&str, &str)] = &[(
    "user.validatefs.",
    "systemd-repart writes label, type and mount point of a partition into the root directory of its \
     file system (since systemd 258), so a version in Label= changes the root hash of verity: \
     AddValidateFS=no leaves them out",
)];

/// A link with the path of a build in it, which leads nowhere on the installed system.
fn leads_out(file: &File<'_>) -> io::Result<Option<String>> {
    let target = file.tree.readlink(&file.entry.path)?;
    let Some(target) = target.filter(|target| target.is_absolute()) else { return Ok(None) };
    let below = target.strip_prefix("/").unwrap_or(&target);
    if file.tree.lookup(below)?.is_some() || below.starts_with("etc") {
        return Ok(None);
    }
    let stores = [Path::new("usr/share"), Path::new("usr/local/share")];
    if stores.iter().any(|store| below.starts_with(store)) {
        return Ok(None);
    }
    Ok(Some(format!(
        "leads to {}, which is not in the tree: `update-ca-certificates --sysroot` writes the path of \
         the build into its links, so that no program finds the certificate; run it in a chroot",
        show(&target)
    )))
}

/// A catalog whose lines that delegate are sorted; others keep their places.
fn xml_catalog(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    const DELEGATES: [&[u8]; 3] = [b"<delegatePublic ", b"<delegateSystem ", b"<delegateURI "];
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
    if lines.last().is_none_or(|line| !line.trim_ascii().ends_with(b"</catalog>")) {
        return Err(Malformed::at(bytes.len(), "the catalog is truncated"));
    }
    let delegates = |line: &&[u8]| {
        let line = line.trim_ascii();
        DELEGATES.iter().any(|start| line.starts_with(start)) && line.ends_with(b"/>")
    };
    let places: Vec<usize> = (0..lines.len()).filter(|n| delegates(&lines[*n])).collect();
    let mut sorted: Vec<&[u8]> = places.iter().map(|n| lines[*n]).collect();
    // Of two for one identifier the first is asked first.
    let wanted = |line: &[u8]| line.split(|b| *b == b'"').nth(1).unwrap_or_default().to_vec();
    let unique: BTreeSet<Vec<u8>> = sorted.iter().map(|line| wanted(line)).collect();
    if unique.len() == sorted.len() {
        sorted.sort_unstable();
    }
    for (place, line) in places.into_iter().zip(sorted) {
        lines[place] = line;
    }
    Ok(lines.concat())
}

/// GRUB's variables by name. The block keeps its size: GRUB writes into it where it is.
fn grubenv(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    const HEADER: &[u8] = b"# GRUB Environment Block\n";
    const SIZE: usize = 1024;
    if !bytes.starts_with(HEADER) || bytes.len() != SIZE {
        return Err(Malformed::at(0, "not an environment block of GRUB"));
    }
    let end = bytes.iter().rposition(|b| *b != b'#').map_or(SIZE, |last| last + 1);
    let mut lines: Vec<&[u8]> = bytes[..end].split_inclusive(|b| *b == b'\n').collect();
    let first = lines.iter().take_while(|line| line.starts_with(b"#")).count();
    let continued = |line: &&[u8]| line.ends_with(b"\\\n") || !line.contains(&b'=');
    if !lines[first..].iter().any(continued) {
        lines[first..].sort_unstable();
    }
    Ok([&lines.concat()[..], &bytes[end..]].concat())
}

/// A link named after the hash of a certificate follows it, where that differs too.
fn certificate(difference: &Difference, around: &OtherDifferences<'_>) -> Option<Follows> {
    let name = difference.path.file_name().and_then(|name| name.to_str()?.split_once('.'));
    let is_hash = name.is_some_and(|(hash, number)| {
        hash.len() == 8
            && hash.bytes().all(|b| b.is_ascii_hexdigit())
            && number.bytes().all(|b| b.is_ascii_digit())
    });
    let of = around.target(difference).filter(|_| is_hash)?;
    Some(Follows {
        how: Consequence::Checksum,
        of,
        why: "the link's name is a hash of that certificate".to_owned(),
    })
}
