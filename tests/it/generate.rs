//! Completions and man pages, which `make install` puts in place.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

fn reprofix(args: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_reprofix")).args(args).output().unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// The subcommands that the help lists.
fn commands() -> BTreeSet<String> {
    let help = reprofix(&["--help"]);
    let listed = help.lines().skip_while(|l| !l.starts_with("Commands:")).skip(1);
    let names = listed.take_while(|l| !l.is_empty()).filter(|l| !l.starts_with("     "));
    let names = names.filter_map(|l| l.split_whitespace().next()).map(str::to_owned);
    names.filter(|name| name != "help").collect()
}

/// The long options of one command's help.
fn options(command: &str) -> BTreeSet<String> {
    let help = reprofix(&[command, "--help"]);
    let words = help.split_whitespace().filter(|w| w.starts_with("--"));
    let name = |w: &str| w.split(['=', '[', ',', '`', ')', ';']).next().unwrap_or("").to_owned();
    words.map(name).filter(|w| w.len() > 2).collect()
}

/// Options that commands share have words of their own, which are not the command's.
#[test]
fn every_command_says_the_same_of_itself_in_its_own_help() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let all = words(&reprofix(&["--help"]));
    for command in commands() {
        let help = reprofix(&[&command, "--help"]);
        let about = help.split("\n\n").next().map(words).unwrap_or_default();
        assert!(all.contains(&format!(" {command} {about} ")), "{command}: {about}");
    }
}

/// A page a command, each with all options of its help; the same bytes every time.
#[test]
fn every_command_has_a_man_page_with_its_options() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().to_str().unwrap();
    reprofix(&["man", to]);
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    let commands = commands();
    assert!(commands.contains("check") && commands.len() > 8, "{commands:?}");
    for command in &commands {
        let page = read(&format!("reprofix-{command}.1")).replace('\\', "");
        assert!(page.contains(".TH"), "{command}");
        for option in options(command).iter().filter(|o| !o.starts_with("--help")) {
            assert!(page.contains(option.as_str()), "{option} in the page of {command}");
        }
    }
    let before = read("reprofix-check.1");
    reprofix(&["man", to]);
    assert_eq!(before, read("reprofix-check.1"));
}

/// The shell itself takes bash's completions, and they complete `check`'s options.
#[test]
fn bash_completes_options() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reprofix");
    fs::write(&file, reprofix(&["completions", "bash"])).unwrap();
    let script = format!(
        "source {}; COMP_WORDS=(reprofix check --ht); COMP_CWORD=2; \
         _reprofix reprofix --ht check; echo \"${{COMPREPLY[@]}}\"",
        file.display()
    );
    let out = Command::new("bash").args(["--norc", "-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert_eq!(said.trim(), "--html", "{}", String::from_utf8_lossy(&out.stderr));
    for shell in ["zsh", "fish", "elvish"] {
        assert!(reprofix(&["completions", shell]).contains("html"), "{shell}");
    }
}
