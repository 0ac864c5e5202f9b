"""The generators of newer distributions: what each needs, how it runs, and who reads what it wrote.

A script runs as root in a chroot whose layer is thrown away but for what it wrote. `$ORDER` is `1 2 3`
on one side and `3 2 1` on the other: the order in which scriptlets would have come. `$SIDE` is the
name of the side, and `/usr/share/bed` holds three certificates.
A reader prints what a program understands of the files; it must say the same after `fix`. An empty
reader is one for files that `fix` only removes, or that it never writes.
"""

from typing import NamedTuple


class Generator(NamedTuple):
    """One program, or some of one kind."""

    packages: str
    version: str
    script: str
    reader: str = ""
    # Only where the whole bed runs: too large for every run of CI.
    large: bool = False


GENERATORS = {
    "apt": Generator(
        "apt",
        "apt-get --version | head -n 1",
        "apt-cache gencaches >/dev/null",
    ),
    "beam": Generator(
        "erlang-base",
        "dpkg-query -W -f '${Version}' erlang-base",
        """
        mkdir -p /usr/lib/bed /tmp/build-$SIDE
        cd /tmp/build-$SIDE
        printf -- '-module(x).\\n-export([f/0]).\\nf() -> 1.\\n' >x.erl
        erlc +debug_info -o /usr/lib/bed x.erl
        """,
        "cd /usr/lib/bed && erl -noshell -eval 'io:format(\"~p~n\", [x:f()]), halt().'",
    ),
    "cacerts": Generator(
        "default-jre-headless openssl",
        "keytool -version 2>&1",
        """
        mkdir -p /usr/lib/jvm/bed
        for n in $ORDER; do
            keytool -importcert -noprompt -storetype PKCS12 -storepass changeit -alias ca-$n \\
                -J-Dkeystore.pkcs12.certProtectionAlgorithm=NONE -J-Dkeystore.pkcs12.macAlgorithm=NONE \\
                -keystore /usr/lib/jvm/bed/plain.p12 -file /usr/share/bed/$n.pem
            keytool -importcert -noprompt -storetype PKCS12 -storepass changeit -alias ca-$n \\
                -keystore /usr/lib/jvm/bed/salted.p12 -file /usr/share/bed/$n.pem
            keytool -importcert -noprompt -storetype JKS -storepass changeit -alias ca-$n \\
                -keystore /usr/lib/jvm/bed/cacerts -file /usr/share/bed/$n.pem
        done 2>/dev/null
        """,
        """
        for store in plain.p12 salted.p12 cacerts; do
            keytool -list -storepass changeit -keystore /usr/lib/jvm/bed/$store 2>/dev/null |
                sed 's/, [A-Z][a-z]* [0-9]*, [0-9]*//' | sort
        done
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
    "elisp": Generator(
        "emacs-nox",
        "emacs --version | head -n 1",
        """
        mkdir -p /usr/share/emacs/site-lisp/bed
        cd /usr/share/emacs/site-lisp/bed
        printf ';;; x.el -*- lexical-binding: t -*-\\n(defun bed-x () 1)\\n(provide (quote x))\\n' >x.el
        emacs -Q --batch -f batch-byte-compile x.el >Install.log 2>&1
        date >>Install.log
        gzip -n Install.log
        """,
        "cd /usr/share/emacs/site-lisp/bed && emacs -Q --batch -l x.elc --eval '(princ (bed-x))'",
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
    "ghc": Generator(
        "ghc",
        "ghc --numeric-version",
        "rm -f /var/lib/ghc/package.conf.d/package.cache*; ghc-pkg recache",
        "ghc-pkg list --simple-output",
        large=True,
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
    "info": Generator(
        "install-info",
        "install-info --version | head -n 1",
        """
        for n in $ORDER; do
            printf 'x\\n\\nINFO-DIR-SECTION Bed %s\\nSTART-INFO-DIR-ENTRY\\n* Bed%s: (bed%s).  A page.\\nEND-INFO-DIR-ENTRY\\n' $n $n $n >/usr/share/info/bed$n.info
            install-info /usr/share/info/bed$n.info /usr/share/info/dir
        done
        """,
    ),
    "java": Generator(
        "openjdk-25-jdk-headless",
        "java -version 2>&1 | head -n 1",
        """
        mkdir -p /usr/share/bed-java /tmp/java
        cd /tmp/java
        printf 'class A { public static void main(String[] a) { System.out.println("a"); } }\\n' >A.java
        javac A.java
        jar --create --date=2020-01-01T00:00:00Z --file=/usr/share/bed-java/a.jar A.class
        touch -d @1600000000 /usr/share/bed-java/a.jar
        cd /usr/share/bed-java
        java -XX:AOTCacheOutput=a.aot -cp a.jar A >/dev/null 2>&1
        java -XX:ArchiveClassesAtExit=a.jsa -cp a.jar A >/dev/null 2>&1
        """,
        "cd /usr/share/bed-java && java -cp a.jar A",
    ),
    "ldconfig": Generator(
        "libc-bin",
        "ldconfig --version | head -n 1",
        "ldconfig",
        "ldconfig -p",
    ),
    "luac": Generator(
        "lua5.4",
        "luac5.4 -v",
        """
        mkdir -p /usr/share/lua/bed /tmp/build-$SIDE
        echo 'print(1)' >/tmp/build-$SIDE/x.lua
        luac5.4 -o /usr/share/lua/bed/x.luac /tmp/build-$SIDE/x.lua
        """,
        "lua5.4 /usr/share/lua/bed/x.luac",
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
    "perl": Generator(
        "perl make",
        "perl -e 'print $^V'",
        """
        mkdir -p /tmp/Bed-1/lib
        cd /tmp/Bed-1
        printf 'package Bed; our $VERSION = 1; 1;\\n' >lib/Bed.pm
        printf 'use ExtUtils::MakeMaker; WriteMakefile(NAME => "Bed", VERSION_FROM => "lib/Bed.pm");\\n' >Makefile.PL
        { perl Makefile.PL && make && make install; } >/dev/null 2>&1
        """,
        "perl -MBed -e 'print $Bed::VERSION'",
    ),
    "php": Generator(
        "php-cli php-opcache",
        "php --version | head -n 1",
        """
        mkdir -p /var/cache/php-opcache /usr/share/bed-php
        echo '<?php function bed() { return 1; }' >/usr/share/bed-php/x.php
        touch -d @1500000000 /usr/share/bed-php/x.php
        php -d opcache.enable_cli=1 -d opcache.file_cache=/var/cache/php-opcache -d opcache.file_cache_only=1 \\
            -r 'opcache_compile_file("/usr/share/bed-php/x.php");'
        """,
    ),
    "plocate": Generator(
        "plocate",
        "plocate --version | head -n 1",
        "updatedb -U /usr/share/bash-completion -o /var/lib/plocate/plocate.db",
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
    ),
    "python": Generator(
        "python3",
        "python3 --version",
        """
        mkdir -p /usr/lib/python3/dist-packages/bed
        cd /usr/lib/python3/dist-packages/bed
        : >__init__.py
        echo 'X = 1' >x.py
        python3 -m compileall -q .
        """,
        "cd /usr/lib/python3/dist-packages && python3 -B -c 'import bed.x; print(bed.x.X)'",
    ),
    "r": Generator(
        "r-base-core",
        "R --version | head -n 1",
        """
        mkdir -p /tmp/bed/R /tmp/lib
        printf 'Package: bed\\nVersion: 1.0\\nTitle: x\\nDescription: x.\\nLicense: GPL-2\\nAuthor: x\\nMaintainer: x <x@example.org>\\n' >/tmp/bed/DESCRIPTION
        echo 'export(f)' >/tmp/bed/NAMESPACE
        echo 'f <- function() 1' >/tmp/bed/R/f.R
        mkdir -p /usr/local/lib/R/site-library
        R CMD INSTALL -l /usr/local/lib/R/site-library /tmp/bed >/dev/null 2>&1
        """,
        "R -q -s -e 'print(bed::f())' 2>&1",
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
    "tex": Generator(
        "texlive-base",
        "pdftex --version | head -n 1",
        "fmtutil-sys --byfmt pdftex >/dev/null 2>&1; mktexlsr --quiet",
        """
        cd /tmp
        echo '\\\\hsize=3in Hello.\\\\bye' >x.tex
        pdftex -interaction=batchmode x.tex >/dev/null && test -s x.pdf && echo typeset
        """,
    ),
    "vim": Generator(
        "vim",
        "vim --version | head -n 1",
        """
        mkdir -p /usr/share/vim/vimfiles/spell
        cd /usr/share/vim/vimfiles/spell
        printf 'SET UTF-8\\nSOFOFROM abc\\nSOFOTO   abc\\n' >bed.aff
        printf '2\\nabc\\nbca\\n' >bed.dic
        vim -u NONE -es -c 'set encoding=utf-8' -c 'mkspell! bed bed' -c q >/dev/null 2>&1 || :
        test -e bed.utf-8.spl
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

# What may differ after `fix`, and the plugin that explains it.
STAYS = {
    "etc/aliases": "generated",
    "etc/aliases.*": "generated",
    "etc/ldap/slapd.d/*": "random-ids",
    "etc/pki/nssdb/*": "random-ids",
    "etc/selinux/bed/contexts/files/file_contexts*": "selinux",
    "etc/shadow": "accounts",
    "etc/ssh/ssh_host_*": "random-ids",
    "etc/ssl/certs/*.pem": "generated",
    "etc/ssl/certs/*.[0-9]": "generated",
    "etc/ssl/certs/ssl-cert-snakeoil.pem": "random-ids",
    "etc/ssl/private/ssl-cert-snakeoil.key": "random-ids",
    "usr/lib/bed/*.beam": "generated",
    "usr/lib/jvm/bed/salted.p12": "cacerts",
    "usr/share/bed-java/*": "generated",
    "usr/share/lua/bed/*.luac": "generated",
    "usr/local/lib/R/site-library/*": "generated",
    "var/lib/doc-base/info/*.yml": "generated",
    "var/lib/texmf/*.fmt": "generated",
    "var/lib/ghc/*": "generated",
    "var/lib/xml-core/catalog": "generated",
}
