"""The generators of languages and editors: see generator.py."""

from .generator import Generator

LANGUAGES = {
    "beam": Generator(
        "erlang-base",
        "dpkg-query -W -f '${Version}' erlang-base",
        """
        erlc +debug_info -o /usr/lib/bed x.erl
        """,
        "cd /usr/lib/bed && erl -noshell -eval 'io:format(\"~p~n\", [x:f()]), halt().'",
        """
        erlc +deterministic +debug_info -o /usr/lib/bed x.erl
        """,
        prepare="""
        mkdir -p /usr/lib/bed /tmp/build-$SIDE
        cd /tmp/build-$SIDE
        printf -- '-module(x).\\n-export([f/0]).\\nf() -> 1.\\n' >x.erl
        """,
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
    "elisp": Generator(
        "emacs-nox gcc libc6-dev",
        "emacs --version | head -n 1",
        """
        mkdir -p /usr/share/emacs/site-lisp/bed /usr/lib/emacs/bed /tmp/build-$SIDE
        cd /usr/share/emacs/site-lisp/bed
        printf ';;; x.el -*- lexical-binding: t -*-\\n(defun bed-x () 1)\\n(provide (quote x))\\n' >x.el
        cp x.el /tmp/build-$SIDE
        emacs -Q --batch --eval '(setq native-comp-eln-load-path (list "/usr/lib/emacs/bed/"))' \\
            --eval "(native-compile \\"/tmp/build-$SIDE/x.el\\")"
        emacs -Q --batch -f batch-byte-compile x.el >Install.log 2>&1
        date >>Install.log
        gzip -n Install.log
        """,
        "cd /usr/share/emacs/site-lisp/bed && emacs -Q --batch -l x.elc --eval '(princ (bed-x))'",
        """
        mkdir -p /usr/share/emacs/site-lisp/bed /usr/lib/emacs/bed
        cd /usr/share/emacs/site-lisp/bed
        printf ';;; x.el -*- lexical-binding: t -*-\\n(defun bed-x () 1)\\n(provide (quote x))\\n' >x.el
        emacs -Q --batch --eval '(setq native-comp-eln-load-path (list "/usr/lib/emacs/bed/"))' \\
            --eval '(native-compile "/usr/share/emacs/site-lisp/bed/x.el")'
        """,
    ),
    "ghc": Generator(
        "ghc",
        "ghc --numeric-version",
        """
        place=/var/lib/ghc/package.conf.d
        mkdir /run/ghc
        sort=$(test "$ORDER" = '1 2 3' || echo -r)
        for conf in $(cd $place && ls $sort ./*.conf); do cp $place/$conf /run/ghc; done
        ghc-pkg --package-db=/run/ghc recache
        cp /run/ghc/package.cache $place
        """,
        "ghc-pkg list --simple-output",
        """
        place=/var/lib/ghc/package.conf.d
        mkdir /run/ghc
        for conf in $(cd $place && LC_ALL=C ls ./*.conf); do cp $place/$conf /run/ghc; done
        ghc-pkg --package-db=/run/ghc recache
        cp /run/ghc/package.cache $place
        """,
        large=True,
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
    "luac": Generator(
        "lua5.4",
        "luac5.4 -v",
        """
        luac5.4 -o /usr/share/lua/bed/x.luac /tmp/build-$SIDE/x.lua
        """,
        "lua5.4 /usr/share/lua/bed/x.luac",
        """
        luac5.4 -s -o /usr/share/lua/bed/x.luac /tmp/build-$SIDE/x.lua
        """,
        prepare="""
        mkdir -p /usr/share/lua/bed /tmp/build-$SIDE
        echo 'print(1)' >/tmp/build-$SIDE/x.lua
        """,
    ),
    # The list names the folder of DESTDIR, which differs.
    "perl": Generator(
        "perl make",
        "perl -e 'print $^V'",
        """
        { perl Makefile.PL && make && make install DESTDIR=/tmp/build-$SIDE; } >/dev/null 2>&1
        cp -a /tmp/build-$SIDE/usr/. /usr
        make install >/dev/null 2>&1
        find /tmp/build-$SIDE -name .packlist -printf 'cp %p /%P\\n' | sh
        """,
        "perl -MBed -e 'print $Bed::VERSION'",
        """
        { perl Makefile.PL NO_PACKLIST=1 && make && make install DESTDIR=/tmp/build-$SIDE; } >/dev/null 2>&1
        cp -a /tmp/build-$SIDE/usr/. /usr
        """,
        prepare="""
        mkdir -p /tmp/Bed-1/lib
        cd /tmp/Bed-1
        printf 'package Bed; our $VERSION = 1; 1;\\n' >lib/Bed.pm
        printf 'use ExtUtils::MakeMaker; WriteMakefile(NAME => "Bed", VERSION_FROM => "lib/Bed.pm");\\n' >Makefile.PL
        """,
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
        R CMD INSTALL -l /usr/local/lib/R/site-library /tmp/bed >/dev/null 2>&1
        """,
        "R -q -s -e 'print(bed::f())' 2>&1",
        """
        LC_ALL=C.UTF-8 LANG=C.UTF-8 R CMD INSTALL --built-timestamp='2023-11-14 22:13:20 UTC' \\
            -l /usr/local/lib/R/site-library /tmp/bed >/dev/null 2>&1
        """,
        prepare="""
        mkdir -p /tmp/bed/R /tmp/lib
        printf 'Package: bed\\nVersion: 1.0\\nTitle: x\\nDescription: x.\\nLicense: GPL-2\\nAuthor: x\\nMaintainer: x <x@example.org>\\n' >/tmp/bed/DESCRIPTION
        echo 'export(f)' >/tmp/bed/NAMESPACE
        echo 'f <- function() 1' >/tmp/bed/R/f.R
        mkdir -p /usr/local/lib/R/site-library
        """,
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
        """
        export SOURCE_DATE_EPOCH=1700000000 FORCE_SOURCE_DATE=1
        fmtutil-sys --byfmt pdftex >/dev/null 2>&1
        LC_ALL=C mktexlsr --quiet
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
}
