"""The generators of newer distributions, and what is expected of each path that they write."""

import platform

from .generator import Generator
from .languages import LANGUAGES

# As Debian names this machine in its packages.
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "amd64")

SERVICES = {
    "apt": Generator(
        "apt",
        "apt-get --version | head -n 1",
        "apt-cache gencaches >/dev/null",
    ),
    "boot-keys": Generator(
        "efitools openssl",
        "dpkg-query -W -f '${Version}' efitools",
        """
        sign-efi-sig-list -k /usr/share/bed/key.pem -c /usr/share/bed/key.crt db /tmp/db.esl \\
            /boot/loader/keys/auto/db.auth >/dev/null
        """,
        remedy="""
        sign-efi-sig-list -t '2023-11-14 22:13:20' -k /usr/share/bed/key.pem -c /usr/share/bed/key.crt \\
            db /tmp/db.esl /boot/loader/keys/auto/db.auth >/dev/null
        """,
        prepare="""
        mkdir -p /boot/loader/keys/auto
        cert-to-efi-sig-list -g 11111111-2222-3333-4444-555555555555 /usr/share/bed/key.crt /tmp/db.esl
        """,
    ),
    "ca-certificates": Generator(
        "ca-certificates openssl",
        "dpkg-query -W -f '${Version}' ca-certificates",
        """
        root=/opt/build-$SIDE
        mkdir -p "$root/etc/ssl/certs" "$root/usr/share" "$root/usr/local/share/ca-certificates"
        grep -o '^mozilla/ISRG.*' /etc/ca-certificates.conf >"$root/etc/ca-certificates.conf"
        cp -a /usr/share/ca-certificates "$root/usr/share"
        update-ca-certificates --sysroot "$root" >/dev/null 2>&1
        rm -rf /etc/ssl/certs/ISRG_* /etc/ssl/certs/ca-certificates.crt
        cp -a "$root/etc/ssl/certs/." /etc/ssl/certs
        rm -rf "$root"
        """,
        remedy="rm -rf /etc/ssl/certs/ISRG_*; update-ca-certificates --fresh >/dev/null 2>&1",
    ),
    "credentials": Generator(
        "systemd",
        "systemctl --version | head -n 1",
        """
        mkdir -p /usr/lib/credstore.encrypted
        echo secret | systemd-creds encrypt --with-key=null --timestamp=@1700000000 --name=bed - \\
            /usr/lib/credstore.encrypted/bed 2>/dev/null
        """,
    ),
    "dconf": Generator(
        "dconf-cli dconf-gsettings-backend",
        "dpkg-query -W -f '${Version}' dconf-cli",
        """
        mkdir -p /etc/dconf/db/local.d/locks /etc/dconf/profile
        printf 'user-db:user\\nsystem-db:local\\n' >/etc/dconf/profile/user
        printf '[org/example/one]\\nsize=1\\n[org/example/two]\\ncolor="red"\\n' >/etc/dconf/db/local.d/00-x
        for m in $ORDER; do
            for n in $ORDER; do
                printf '/org/example/%s%s/key\\n/org/example/%s%s/other\\n' $m $n $m $n \\
                    >/etc/dconf/db/local.d/locks/$m$n
            done
        done
        dconf update
        """,
        """
        dconf dump /
        dconf list /org/example/
        for m in 1 2 3; do for n in 1 2 3; do
            dconf write /org/example/$m$n/key 1 2>&1 | grep -c 'not writable' || :
        done; done
        """,
    ),
    "debconf": Generator(
        "debconf",
        "dpkg-query -W -f '${Version}' debconf",
        """
        for n in $ORDER; do
            echo "bed bed/$n string $n" | debconf-set-selections
        done
        """,
    ),
    "desktop": Generator(
        "libglib2.0-bin shared-mime-info gtk-update-icon-cache libgtk-3-common hicolor-icon-theme",
        "dpkg-query -W -f '${Version}' libglib2.0-bin",
        """
        for n in $ORDER; do
            printf '<?xml version="1.0"?><mime-info xmlns="http://www.freedesktop.org/standards/shared-mime-info"><mime-type type="application/x-bed%s"><comment>x</comment><glob pattern="*.bed%s"/></mime-type></mime-info>' $n $n \\
                >/usr/share/mime/packages/bed$n.xml
            printf '<schemalist><schema id="org.bed%s" path="/org/bed%s/"><key name="size" type="i"><default>1</default></key></schema></schemalist>' $n $n \\
                >/usr/share/glib-2.0/schemas/org.bed$n.gschema.xml
            mkdir -p /usr/share/icons/hicolor/16x16/apps
            echo '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>' >/usr/share/icons/hicolor/16x16/apps/bed$n.svg
        done
        update-mime-database /usr/share/mime
        glib-compile-schemas /usr/share/glib-2.0/schemas
        gtk-update-icon-cache -q -f /usr/share/icons/hicolor
        """,
        "gsettings list-keys org.bed1",
    ),
    "doc-base": Generator(
        "doc-base",
        "dpkg-query -W -f '${Version}' doc-base",
        """
        for n in $ORDER; do
            mkdir -p /usr/share/doc/bed$n
            echo x >/usr/share/doc/bed$n/index.html
            printf 'Document: bed%s\\nTitle: x\\nSection: Programming\\n\\nFormat: HTML\\nIndex: /usr/share/doc/bed%s/index.html\\nFiles: /usr/share/doc/bed%s/*.html\\n' $n $n $n >/usr/share/doc-base/bed$n
            install-docs --install /usr/share/doc-base/bed$n
        done >/dev/null 2>&1
        """,
        "install-docs --status bed1 2>&1 | sort",
    ),
    "dpkg": Generator(
        "dpkg",
        "dpkg --version | head -n 1",
        """
        for n in $ORDER; do
            mkdir -p /tmp/bed$n/DEBIAN
            printf 'Package: bed%s\\nVersion: 1\\nArchitecture: all\\nMaintainer: x <x@example.org>\\nDescription: x\\n' $n >/tmp/bed$n/DEBIAN/control
            dpkg-deb -b /tmp/bed$n /tmp/bed$n.deb
            dpkg -i /tmp/bed$n.deb
        done >/dev/null 2>&1
        """,
        "dpkg --audit; dpkg -l 'bed*' | tail -n 3",
    ),
    "firstboot": Generator(
        "systemd passwd",
        "systemctl --version | head -n 1",
        """
        systemd-firstboot --force --root-password=secret --hostname=bed --locale=C.UTF-8 --timezone=UTC
        """,
        "getent -s files shadow root | cut -d: -f 1,4-; test ! -e /etc/shadow- || true",
    ),
    "fontconfig": Generator(
        "fontconfig fonts-dejavu-core",
        "fc-cache --version 2>&1",
        "fc-cache -s -f",
        "fc-list | sort",
    ),
    # grub-editenv 2.14 writes no file on an overlay.
    "grubenv": Generator(
        "grub-common",
        "grub-editenv --version",
        """
        mkdir -p /boot/grub
        grub-editenv /run/grubenv create
        for n in $ORDER; do grub-editenv /run/grubenv set bed$n=$n; done
        cp /run/grubenv /boot/grub/grubenv
        """,
        "cp /boot/grub/grubenv /run && grub-editenv /run/grubenv list | sort",
    ),
    # Only 2.06 writes another image: it is read in src/format/grub.rs.
    "grub-mkstandalone": Generator(
        f"grub-common grub-efi-{ARCHITECTURE}-bin",
        "grub-mkstandalone --version",
        """
        mkdir -p /boot/efi/EFI/bed
        echo 'set timeout=1' >/tmp/grub.cfg
        grub-mkstandalone -O "$(cd /usr/lib/grub && echo *-efi)" -o /boot/efi/EFI/bed/grub.efi \\
            --modules=normal --install-modules='normal linux' --fonts= --locales= --themes= \\
            boot/grub/grub.cfg=/tmp/grub.cfg
        """,
    ),
    # Sections that differ in case only stay in the order in which they came.
    "info": Generator(
        "install-info",
        "install-info --version | head -n 1",
        "for n in $ORDER; do install-info /usr/share/info/bed$n.info /usr/share/info/dir; done",
        "grep -c '^[*] Bed' /usr/share/info/dir",
        """
        rm -f /usr/share/info/dir /usr/share/info/dir.old
        for page in $(ls /usr/share/info/*.info* | LC_ALL=C sort); do
            install-info "$page" /usr/share/info/dir
        done
        """,
        """
        for n in $ORDER; do
            section=$(echo bed | sed "s/./\\U&/$n")
            printf 'x\\n\\nINFO-DIR-SECTION %s\\nSTART-INFO-DIR-ENTRY\\n* Bed%s: (bed%s).  A page.\\nEND-INFO-DIR-ENTRY\\n' $section $n $n >/usr/share/info/bed$n.info
        done
        """,
    ),
    "ldconfig": Generator(
        "libc-bin",
        "ldconfig --version | head -n 1",
        "ldconfig",
        "ldconfig -p",
    ),
    "man-db": Generator(
        "man-db",
        "mandb --version",
        """
        mkdir -p /usr/share/man/man1
        for n in $ORDER; do
            printf '.TH BED%s 1\\n.SH NAME\\nbed%s \\\\- a page\\n' $n $n >/usr/share/man/man1/bed$n.1
        done
        mandb -q -c
        """,
    ),
    "nss": Generator(
        "libnss3-tools",
        "dpkg-query -W -f '${Version}' libnss3-tools",
        """
        mkdir -p /etc/pki/nssdb
        certutil -N -d sql:/etc/pki/nssdb --empty-password
        """,
        "certutil -L -d sql:/etc/pki/nssdb",
    ),
    "plocate": Generator(
        "plocate",
        "plocate --version | head -n 1",
        """
        mkdir -p /usr/share/bed-plocate/x
        updatedb -U /usr/share/bed-plocate
        plocate -d /var/lib/plocate/plocate.db bed-plocate >/dev/null
        """,
    ),
    "postfix": Generator(
        "postfix postfix-lmdb postfix-cdb",
        "postconf -h mail_version",
        """
        for n in $ORDER; do echo "bed$n: root" >>/etc/aliases; done
        postconf compatibility_level=3.6
        postalias lmdb:/etc/aliases
        postalias cdb:/etc/aliases
        """,
        "postalias -q bed1 cdb:/etc/aliases; postalias -q bed1 lmdb:/etc/aliases",
        """
        for n in 1 2 3; do echo "bed$n: root" >>/etc/aliases; done
        postconf compatibility_level=3.6 myhostname=bed.example
        # The clock of the side stands still.
        export TZ=UTC FAKETIME='2023-11-14 22:13:20'
        postalias lmdb:/etc/aliases
        postalias cdb:/etc/aliases
        """,
    ),
    "selinux": Generator(
        "selinux-utils",
        "dpkg-query -W -f '${Version}' selinux-utils",
        """
        mkdir -p /etc/selinux/bed/contexts/files
        cd /etc/selinux/bed/contexts/files
        for n in $ORDER; do printf '/bed%s(/.*)?\\tsystem_u:object_r:etc_t:s0\\n' $n; done >file_contexts
        sefcontext_compile file_contexts
        """,
    ),
    "slapd": Generator(
        "slapd",
        "dpkg-query -W -f '${Version}' slapd",
        """
        rm -rf /etc/ldap/slapd.d
        mkdir -p /etc/ldap/slapd.d
        printf 'dn: cn=config\\nobjectClass: olcGlobal\\ncn: config\\n\\n' >/tmp/config.ldif
        slapadd -n 0 -F /etc/ldap/slapd.d -l /tmp/config.ldif
        """,
        "slapcat -n 0 -F /etc/ldap/slapd.d | grep -v -e entryCSN -e entryUUID -e Timestamp -e contextCSN",
        """
        rm -rf /etc/ldap/slapd.d
        mkdir -p /etc/ldap/slapd.d
        {
            printf 'dn: cn=config\\nobjectClass: olcGlobal\\ncn: config\\nstructuralObjectClass: olcGlobal\\n'
            printf 'entryUUID: 11111111-2222-3333-4444-555555555555\\ncreatorsName: cn=config\\nmodifiersName: cn=config\\n'
            printf 'createTimestamp: 20231114221320Z\\nmodifyTimestamp: 20231114221320Z\\n'
            printf 'entryCSN: 20231114221320.000000Z#000000#000#000000\\n\\n'
        } >/tmp/config.ldif
        slapadd -n 0 -F /etc/ldap/slapd.d -l /tmp/config.ldif
        """,
    ),
    "snakeoil": Generator(
        "ssl-cert openssl",
        "dpkg-query -W -f '${Version}' ssl-cert",
        "make-ssl-cert generate-default-snakeoil --force-overwrite",
    ),
    "ssh": Generator(
        "openssh-server",
        "ssh -V 2>&1",
        "rm -f /etc/ssh/ssh_host_*; ssh-keygen -q -A",
    ),
    "systemd": Generator(
        "systemd udev",
        "systemctl --version | head -n 1",
        """
        for n in $ORDER; do
            mkdir -p /etc/udev/hwdb.d
            printf 'evdev:name:bed%s*:\\n X_BED=%s\\n' $n $n >/etc/udev/hwdb.d/bed$n.hwdb
            printf 'u bed%s -\\n' $n >/usr/lib/sysusers.d/bed$n.conf
        done
        systemd-hwdb update
        systemd-sysusers
        journalctl --update-catalog
        rm -f /etc/machine-id
        systemd-machine-id-setup >/dev/null 2>&1
        """,
        "systemd-hwdb query evdev:name:bed1:",
    ),
    "tmpfiles": Generator(
        "systemd",
        "systemctl --version | head -n 1",
        """
        printf 'f+ /etc/bed-host - - - - made on %%H\\nd /var/lib/bed-%%H - - - -\\n' >/usr/lib/tmpfiles.d/bed.conf
        systemd-tmpfiles --create /usr/lib/tmpfiles.d/bed.conf
        """,
        remedy="""
        printf 'f+ /etc/bed-host - - - - made\\nd /var/lib/bed - - - -\\n' >/usr/lib/tmpfiles.d/bed.conf
        systemd-tmpfiles --create /usr/lib/tmpfiles.d/bed.conf
        """,
    ),
    "xml": Generator(
        "xml-core",
        "dpkg-query -W -f '${Version}' xml-core",
        """
        for n in $ORDER; do
            mkdir -p /usr/share/xml/bed$n
            printf '<?xml version="1.0"?><catalog xmlns="urn:oasis:names:tc:entity:xmlns:xml:catalog"/>' >/usr/share/xml/bed$n/catalog.xml
            update-xmlcatalog --add --type public --id "-//Bed//$n" --package bed$n --local /usr/share/xml/bed$n/catalog.xml
            update-xmlcatalog --add --type public --id "-//Bed//$n" --root --package bed$n
        done >/dev/null 2>&1
        """,
        "grep -c delegate /etc/xml/catalog",
    ),
}

GENERATORS = dict(sorted({**LANGUAGES, **SERVICES}.items()))

# What may differ after `fix`, and the plugin that explains it, or the path whose difference or lines
# it follows.
STAYS = {
    "boot/loader/keys/auto/db.auth": "generated",
    "etc/aliases": "generated",
    "etc/aliases.*": "generated",
    "etc/bed-host": "usr/lib/tmpfiles.d/bed.conf",
    "etc/ldap/slapd.d/*": "random-ids",
    "etc/pki/nssdb/*": "random-ids",
    "etc/selinux/bed/contexts/files/file_contexts*": "selinux",
    "etc/shadow": "accounts",
    "etc/ssh/ssh_host_*": "random-ids",
    "etc/ssl/certs/*.pem": "generated",
    "etc/ssl/certs/*.[0-9]": "etc/ssl/certs/ssl-cert-snakeoil.pem",
    "etc/ssl/certs/ssl-cert-snakeoil.pem": "random-ids",
    "etc/ssl/private/ssl-cert-snakeoil.key": "random-ids",
    "usr/lib/bed/*.beam": "generated",
    "usr/lib/credstore.encrypted/bed": "generated",
    "usr/lib/emacs/bed/*.eln": "generated",
    "usr/lib/jvm/bed/salted.p12": "cacerts",
    "usr/share/bed-java/*": "generated",
    "usr/share/info/dir": "generated",
    "usr/share/lua/bed/*.luac": "generated",
    "usr/local/lib/*/.packlist": "generated",
    "usr/local/lib/R/site-library/*": "generated",
    "var/lib/bed-*": "usr/lib/tmpfiles.d/bed.conf",
    "var/lib/doc-base/info/*.yml": "generated",
    "var/lib/ghc/*": "generated",
    "var/lib/texmf/*.fmt": "generated",
    "var/lib/xml-core/catalog": "generated",
}

# What `fix` makes equal, and by which plugin.
FIXED = {
    "boot/grub/grubenv": "generated",
    "etc/dconf/db/local": "dconf",
    "etc/machine-id": "machine-state",
    "etc/shadow-": "machine-state",
    "etc/xml/catalog": "generated",
    "etc/xml/catalog.old": "build-traces",
    "usr/lib/jvm/bed/cacerts": "cacerts",
    "usr/lib/jvm/bed/plain.p12": "cacerts",
    "usr/lib/python3/dist-packages/bed/*.pyc": "pycache",
    "usr/local/lib/*/perllocal.pod": "build-traces",
    "usr/share/emacs/site-lisp/bed/Install.log.gz": "build-traces",
    "usr/share/info/dir.old": "build-traces",
    "usr/share/vim/vimfiles/spell/bed.utf-8.*": "generated",
    "var/cache/*": "build-traces",
    "var/lib/doc-base/info/*-old.yml": "build-traces",
    "var/lib/dpkg/status-old": "build-traces",
    "var/lib/plocate/plocate.db": "build-traces",
    "var/lib/texmf/*.log": "build-traces",
    "var/log/*": "machine-state",
}
