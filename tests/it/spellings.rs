//! Spellings of former versions: they do what the ones of today do, and no help shows them.

use std::process::{Command, Output};

fn reprofix(dir: &std::path::Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reprofix"));
    command.current_dir(dir).args(line.split_whitespace()).env("SOURCE_DATE_EPOCH", "1");
    command.output().expect("runs")
}

/// What they are in, as it was spelled, and as it is spelled.
const SPELLINGS: [[&str; 3]; 11] = [
    ["nightly feed", "--architecture x86_64", "--arch x86_64"],
    ["nightly", "--config none.toml", "--nightly none.toml"],
    ["nightly pages", "--config none.toml", "--nightly none.toml"],
    ["history", "--config none.toml", "--nightly none.toml"],
    ["history", "--json --history none.db", "--json - --history none.db"],
    ["history", "--history none.db show 3 --json", "--history none.db show 3 --json -"],
    ["history", "--history none.db --json show 3", "--history none.db --json - show 3"],
    ["plugins", "--json", "--json -"],
    ["fix", "--report -n root", "--checksums -n root"],
    ["initramfs rewrite", "none.img out.img", "none.img --out out.img"],
    ["man", "pages", "--out pages"],
];

#[test]
fn old_spellings_do_what_the_new_ones_do() {
    let dir = tempfile::tempdir().expect("makes");
    std::fs::create_dir_all(dir.path().join("root/usr")).expect("makes");
    for [command, old, new] in SPELLINGS {
        let more = if command == "nightly feed" { " --out o --url u none" } else { "" };
        let [was, is] =
            [old, new].map(|words| reprofix(dir.path(), &format!("{command} {words}{more}")));
        let text = |out: &[u8]| String::from_utf8_lossy(out).into_owned();
        assert!(!text(&was.stderr).contains("Usage:"), "{command} {old}: {}", text(&was.stderr));
        assert_eq!(text(&was.stdout), text(&is.stdout), "{command} {old}");
        assert_eq!(text(&was.stderr), text(&is.stderr), "{command} {old}");
        assert_eq!(was.status.code(), is.status.code(), "{command} {old}");
    }
}

#[test]
fn no_help_shows_an_old_spelling() {
    let dir = tempfile::tempdir().expect("makes");
    for [command, hidden] in [
        ["nightly feed", "--architecture"],
        ["nightly", "--config"],
        ["history", "--config"],
        ["fix", "--report"],
        ["initramfs rewrite", "[PLACE]"],
        ["man", "[DIR]"],
    ] {
        let help = reprofix(dir.path(), &format!("{command} --help")).stdout;
        let help = String::from_utf8(help).expect("text");
        assert!(help.contains("Usage:") && !help.contains(hidden), "{command}: {help}");
    }
}
