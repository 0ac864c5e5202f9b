//! Times that something else compares: the readers of `docs/times.md`, before and after `fix`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::oci::have;
use crate::repo::{output, reprofix, run};

const EPOCH: &str = "1700000000";

fn fix(root: &Path, more: &[&str]) -> serde_json::Value {
    let root = root.to_str().unwrap();
    let args = ["fix", root, "--source-date-epoch", EPOCH, "--json", "-", "-q"];
    let mut said = Vec::new();
    for _ in 0..2 {
        let (code, out, err) = reprofix(&[&args[..], more].concat());
        assert_eq!(code, 0, "{err}");
        said.push(serde_json::from_str::<serde_json::Value>(&out).unwrap());
    }
    assert_eq!(said[1]["changes"], serde_json::json!([]), "the second run changes something");
    said.swap_remove(0)
}

fn sh(dir: &Path, script: &str) -> String {
    run("sh", &["-ec", &format!("cd '{}'; {script}", dir.display())])
}

/// Makes a namespace that says whether its compiled class or its source was loaded.
const CLOJURE: &str = r#"
mkdir -p src/demo classes usr/share/java
cat >src/demo/core.clj <<'C'
(ns demo.core (:gen-class))
(defmacro where [] (if *compile-files* "compiled" "source"))
(defn -main [& _] (println (where)))
C
java -cp $CP:src:classes -Dclojure.compile.path=classes clojure.lang.Compile demo.core
mkdir -p classes/demo; cp src/demo/core.clj classes/demo/
find classes -name '*.class' | xargs touch -d @1800000600
"#;

#[test]
fn clojure_loads_what_it_loaded_before() {
    let jars =
        ["clojure", "spec.alpha", "core.specs.alpha"].map(|n| format!("/usr/share/java/{n}.jar"));
    if !have("java") || !jars.iter().all(|jar| Path::new(jar).exists()) {
        let required = std::env::var_os("REPROFIX_REQUIRE_TOOLS").is_some();
        assert!(!required, "libclojure-java or a JDK is not installed");
        return eprintln!("SKIPPED: Clojure is not installed");
    }
    let dir = tempfile::tempdir().unwrap();
    let cp = jars.join(":");
    let at = |script: &str| sh(dir.path(), &format!("CP={cp}; {script}"));
    at(CLOJURE);
    // The class is newer than the source, or the source was edited afterwards.
    for (time, loads) in [(1_800_000_000u32, "compiled"), (1_800_000_900, "source")] {
        at(&format!(
            "touch -d @{time} classes/demo/core.clj; rm -rf root; mkdir -p root/usr/share/java; \
             TZ=UTC jar cf root/usr/share/java/demo.jar -C classes .; cp -a classes root/usr/share/java/"
        ));
        let load = |path: &str| {
            at(&format!("java -cp $CP:root/usr/share/java/{path} clojure.main -m demo.core"))
        };
        let before = ["demo.jar", "classes"].map(load);
        assert_eq!(before.each_ref().map(|said| said.trim()), [loads; 2], "before");
        fix(&dir.path().join("root"), &[]);
        assert_eq!(["demo.jar", "classes"].map(load), before, "after, of a source of {time}");
        let late = at(&format!("find root -newermt @{EPOCH} ! -type l"));
        assert_eq!(late, "", "every time is clamped");
    }
}

/// Bytecode of another source with the same size, so that what is imported says what was used.
const BYTECODE: &str = r#"
import importlib.util, marshal, struct, sys, time, zipfile
kind, path = sys.argv[1:]
stamp = 1800000000
code = importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, stamp, 6) + marshal.dumps(compile("x = 2\n", "m.py", "exec"))
if kind == "egg":
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr(zipfile.ZipInfo("m.py", time.localtime(stamp)[:6]), "x = 1\n")
        z.writestr(zipfile.ZipInfo("m.pyc", time.localtime(stamp)[:6]), code)
else:
    import os
    open(path + "/m.py", "w").write("x = 1\n")
    os.mkdir(path + "/__pycache__")
    open(importlib.util.cache_from_source(path + "/m.py"), "wb").write(code)
    os.utime(path + "/m.py", (stamp, stamp))
"#;

#[test]
fn python_imports_the_bytecode_that_it_imported_before() {
    if !have("python3") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let lib = dir.path().join("usr/lib/python3");
    fs::create_dir_all(&lib).unwrap();
    let egg = lib.join("m.egg");
    let import = |path: &Path| {
        let ask = "import sys; sys.dont_write_bytecode = True; sys.path.insert(0, sys.argv[1]); \
                   import m; print('bytecode' if m.x == 2 else 'source')";
        run("python3", &["-I", "-c", ask, path.to_str().unwrap()])
    };
    for zone in ["UTC", "Asia/Kolkata", "America/St_Johns"] {
        let mut make = Command::new("python3");
        make.args(["-c", BYTECODE, "egg", egg.to_str().unwrap()]).env("TZ", zone);
        assert!(make.status().unwrap().success());
        let before = fs::read(&egg).unwrap();
        let report = fix(dir.path(), &[]);
        assert_eq!(fs::read(&egg).unwrap(), before, "{zone}");
        let said = report["remarks"].to_string();
        assert!(said.contains("m.egg") && said.contains("bytecode"), "{said}");
        if zone == "UTC" {
            assert_eq!(import(&egg).trim(), "bytecode");
        }
    }
    // Bytecode that fits nothing any more holds nothing.
    let stale = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1], 'w'); \
        z.writestr(zipfile.ZipInfo('m.py', (2030, 1, 1, 0, 0, 0)), 'x = 1\\n'); \
        z.writestr('m.pyc', b'\\xa7\\r\\r\\n' + bytes(12)); z.close()";
    run("python3", &["-c", stale, egg.to_str().unwrap()]);
    let before = fs::read(&egg).unwrap();
    fix(dir.path(), &[]);
    assert_ne!(fs::read(&egg).unwrap(), before);

    run("python3", &["-c", BYTECODE, "tree", lib.to_str().unwrap()]);
    assert_eq!(import(&lib).trim(), "bytecode");
    fix(dir.path(), &["--skip", "pycache"]);
    assert_eq!(import(&lib).trim(), "bytecode", "mtime alone leaves the time that it records");
    // Whoever keeps the bytecode: the plugin's option, the configuration, a signed RECORD.
    for mode in ["remove", "zero-mtime"] {
        let set = format!("pycache.mode={mode}");
        for keep in [["--set", "pycache.keep=m[.]cpython"], ["--vouched", "**/*.pyc"]] {
            fix(dir.path(), &[&["--set", &set][..], &keep].concat());
            assert_eq!(import(&lib).trim(), "bytecode", "{mode} {keep:?}");
        }
    }
    let config = dir.path().join("reprofix.toml");
    fs::write(&config, "keep = [\"**/__pycache__/**\"]\n").unwrap();
    fix(dir.path(), &["--config", config.to_str().unwrap()]);
    assert_eq!(import(&lib).trim(), "bytecode", "the configuration keeps it");
    fs::remove_file(&config).unwrap();
    let info = lib.join("m-1.dist-info");
    fs::create_dir(&info).unwrap();
    let listed = sh(&lib, "find __pycache__ -name 'm.*.pyc' -printf '%p,,\\n'");
    fs::write(info.join("RECORD"), listed).unwrap();
    fs::write(info.join("RECORD.p7s"), "a signature").unwrap();
    fix(dir.path(), &[]);
    assert_eq!(import(&lib).trim(), "bytecode", "its RECORD is signed");
    fs::remove_dir_all(&info).unwrap();
    fix(dir.path(), &[]);
    assert_eq!(import(&lib).trim(), "source", "the bytecode went");
    assert_eq!(sh(&lib, &format!("find . -newermt @{EPOCH}")), "");
}

#[test]
fn archives_of_a_jvm_that_record_jars_are_named() {
    if !have("java") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let lib = dir.path().join("usr/share/java");
    fs::create_dir_all(&lib).unwrap();
    fs::write(
        lib.join("A.java"),
        "public class A { public static void main(String[] a) { System.out.println(1); } }",
    )
    .unwrap();
    sh(
        &lib,
        "javac A.java; jar cf a.jar A.class; touch -d @1800000000 a.jar; \
         java -XX:ArchiveClassesAtExit=a.jsa -cp a.jar A",
    );
    let starts = || {
        let java = "java -Xshare:on -XX:SharedArchiveFile=a.jsa -cp a.jar A";
        output("sh", &["-c", &format!("cd {}; {java}", lib.display())]).status.success()
    };
    assert!(starts(), "before");
    // An AOT cache is made by JDK 24 or later: it has the magic number of a static archive.
    let made = output(
        "sh",
        &[
            "-c",
            &format!(
                "cd {}; java -XX:AOTCacheOutput=a.aot -cp a.jar A && test -f a.aot",
                lib.display()
            ),
        ],
    );
    if !made.status.success() {
        eprintln!("this JDK makes no AOT cache: its header stands in");
        fs::write(lib.join("a.aot"), b"\xa2\xab\x0b\xf0\x2e\x8b\x08\xa5").unwrap();
    }
    fs::write(lib.join("wasm.aot"), b"\0aot\x03\0\0\0").unwrap();
    let report = fix(dir.path(), &[]);
    assert!(!starts(), "what is reported is so: the jar's time is another");
    let named: Vec<_> = report["remarks"].as_array().unwrap().iter().map(|r| &r["path"]).collect();
    assert_eq!(named, ["usr/share/java/a.aot", "usr/share/java/a.jsa"]);
    assert!(report["remarks"][0]["text"].as_str().unwrap().contains("after `fix`"));
}

/// A reader that takes a compiled file unless it is older than its source: what it reads, how both are
/// made in the current directory so that the source says another word, and how it is asked. `$C` are
/// the compiled files.
const UNLESS_OLDER: &[(&str, &str, &str, &str)] = &[
    (
        "zsh",
        "m.zsh.zwc",
        "echo echo compiled >m.zsh; zsh -fc 'zcompile m.zsh'; echo echo source >m.zsh",
        "zsh -fc 'source ./m.zsh'",
    ),
    (
        "matchpathcon",
        "file_contexts.bin",
        "echo /a system_u:object_r:compiled_t:s0 >file_contexts; sefcontext_compile file_contexts; \
         echo /a system_u:object_r:source_t:s0 >file_contexts",
        "matchpathcon -f ./file_contexts /a | grep -o '[a-z]*_t' | sed s/_t//",
    ),
    (
        "gtk-update-icon-cache",
        "t/icon-theme.cache",
        "mkdir -p t/16; echo '<svg/>' >t/16/a.svg; printf '[Icon Theme]\nName=t\nDirectories=16\n[16]\nSize=16\n' \
         >t/index.theme; gtk-update-icon-cache -q -i -f t",
        "rm -rf $S; cp -a t $S; gtk-update-icon-cache -i $S 2>&1 | grep -q created && echo source || echo compiled",
    ),
    (
        "emacs",
        "m.elc",
        "echo '(princ \"compiled\")' >m.el; emacs -Q --batch -f batch-byte-compile m.el 2>&1; \
         echo '(princ \"source\")' >m.el",
        "emacs -Q --batch --eval '(setq load-prefer-newer t)' -L . -l m",
    ),
    (
        "racket",
        "compiled/m_rkt.zo",
        "printf '#lang racket/base\\n(display \"compiled\")' >m.rkt; raco make m.rkt; sed -i s/compiled/source/ m.rkt",
        "racket m.rkt",
    ),
    (
        "guile",
        "m.go",
        "echo '(display \"compiled\")' >m.scm; export GUILE_AUTO_COMPILE=0; guile -c \"(use-modules (system base \
         compile)) (compile-file \\\"$PWD/m.scm\\\" #:output-file \\\"$PWD/m.go\\\")\"; sed -i s/compiled/source/ m.scm",
        "GUILE_AUTO_COMPILE=0 guile -C $PWD -L $PWD -c '(load-from-path \"m\")' 2>/dev/null",
    ),
    (
        "sbcl",
        "a.fasl",
        "printf '(defsystem \"m\" :components ((:file \"a\")))' >m.asd; echo '(format t \"compiled~%\")' >a.lisp; \
         $ASDF --eval '(asdf:compile-system \"m\")'; sed -i s/compiled/source/ a.lisp",
        "rm -rf $S; cp -a . $S; cd $S; $ASDF --eval '(asdf:load-system \"m\")' 2>/dev/null | \
         grep -o -m1 -E '^(compiled|source)$'",
    ),
    (
        "swipl",
        "m.qlf",
        "printf ':- module(m,[]).\\n:- initialization(writeln(compiled)).\\n' >m.pl; swipl -g 'qcompile(m)' -t halt; \
         sed -i s/compiled/source/ m.pl",
        "rm -rf $S; cp -a . $S; cd $S; swipl -g 'use_module(m)' -t halt 2>/dev/null",
    ),
    (
        "scheme",
        "m.so",
        "echo '(library (m) (export x) (import (chezscheme)) (define x \"compiled\"))' >m.ss; \
         echo '(compile-library \"m.ss\")' | scheme -q; sed -i s/compiled/source/ m.ss",
        "echo '(library-extensions (quote ((\".ss\" . \".so\")))) (import (m)) (display x)' | scheme -q --libdirs .",
    ),
];

#[test]
fn a_stale_compiled_file_stays_stale_and_a_fresh_one_fresh() {
    for (program, compiled, make, ask) in UNLESS_OLDER {
        let dir = tempfile::tempdir().unwrap();
        if !output("sh", &["-c", &format!("command -v {program}")]).status.success() {
            eprintln!("SKIPPED: {program} is not installed");
            continue;
        }
        let root = dir.path().join("root");
        let place = root.join("usr/share/x");
        fs::create_dir_all(&place).unwrap();
        let at = |script: &str| {
            // Arguments with blanks, which a variable cannot hold apart.
            let asdf = "asdf() { sbcl --noinform --non-interactive --eval '(require :asdf)' --eval \
                \"(asdf:initialize-output-translations '(:output-translations \
                :ignore-inherited-configuration :disable-cache))\" --eval \"(asdf:load-asd (truename \
                \\\"m.asd\\\"))\" \"$@\"; };";
            sh(&place, &format!("S=$PWD/../../../../s; {asdf} {}", script.replace("$ASDF", "asdf")))
        };
        at(make);
        for (time, takes) in [(1_800_000_600, "compiled"), (1_799_999_400, "source")] {
            at(&format!("find . -exec touch -d @1800000000 {{}} +; touch -d @{time} {compiled}"));
            assert_eq!(at(ask).trim(), takes, "{program} before");
            fix(&root, &["--plugin", "mtime"]);
            assert_eq!(at(ask).trim(), takes, "{program} after");
            assert_eq!(sh(&root, &format!("find . -newermt @{EPOCH}")), "", "{program}");
        }
    }
}
