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
    reprofix(&["man", "--out", to]);
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
    reprofix(&["man", "--out", to]);
    assert_eq!(before, read("reprofix-check.1"));
}

/// Every page of every command, those below others too, as a reader's troff takes it.
#[test]
fn man_pages_are_whole_and_refer_to_pages_that_exist() {
    let dir = tempfile::tempdir().unwrap();
    reprofix(&["man", "--out", dir.path().to_str().unwrap()]);
    let reference = regex::Regex::new(r"(reprofix[a-z-]*)\(1\)").unwrap();
    let mut count = 0;
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let page = fs::read_to_string(&path).unwrap();
        for section in ["EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"] {
            let head = format!(".SH \"{section}\"\n");
            let bare = format!(".SH {section}\n");
            let at = page.find(&head).map(|at| at + head.len());
            let at = at.or_else(|| page.find(&bare).map(|at| at + bare.len()));
            let body = &page[at.unwrap_or_else(|| panic!("{name} has no {section}"))..];
            assert!(!body.is_empty() && !body.starts_with(".SH"), "{name}: {section} is empty");
        }
        let troff = Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).arg(&path).output();
        let said = String::from_utf8_lossy(&troff.expect("groff runs").stderr).into_owned();
        assert_eq!(said, "", "{name}");
        let mut man = Command::new("man");
        man.args(["--warnings", "-l"]).arg(&path).env("LC_ALL", "C.UTF-8").env("MANWIDTH", "100");
        let man = man.output().expect("man runs");
        assert_eq!(String::from_utf8_lossy(&man.stderr), "", "{name}");
        let text = String::from_utf8(man.stdout).unwrap();
        for found in reference.captures_iter(&text) {
            let there = dir.path().join(format!("{}.1", &found[1]));
            assert!(there.exists(), "{name} refers to {}, which is not a page", &found[0]);
        }
        count += 1;
    }
    assert!(count > 40, "{count}");
}

/// What a shell's script asks is answered; tests/e2e/completions presses the key in each shell.
#[test]
fn the_program_says_what_may_come_next() {
    let dir = tempfile::tempdir().unwrap();
    let ask = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let at = (words.len() - 1).to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_reprofix"));
        command.args(["completions", "bash", "--at", &at, "--"]).args(words);
        let out = command.current_dir(dir.path()).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let words = text.lines().map(|line| line.split('\t').next().unwrap().to_owned());
        words.collect::<Vec<_>>()
    };
    assert_eq!(ask("reprofix explain pyc"), ["pycache"]);
    assert_eq!(ask("reprofix explain vou"), ["vouchers"]);
    assert_eq!(ask("reprofix check --ht"), ["--html"]);
    assert_eq!(ask("reprofix check --with xat"), ["xattrs"]);
    assert_eq!(ask("reprofix fix --set pycache.mode=rem"), ["pycache.mode=remove"]);
    assert_eq!(ask("reprofix check oci"), ["oci:", "oci-archive:"]);
    fs::create_dir(dir.path().join("layout")).unwrap();
    assert_eq!(ask("reprofix check oci:lay"), ["oci:layout/"]);
    assert!(!ask("reprofix oci verify o").contains(&"ostree:".to_owned()));
    assert!(ask("reprofix check o").contains(&"ostree:".to_owned()));
    let config = "[[stream]]\nname = \"fcos\"\nbuild = [\"true\"]\nsubject = \"dir:{work}/x\"\n";
    fs::write(dir.path().join("other.toml"), config).unwrap();
    assert_eq!(ask("reprofix nightly --nightly other.toml --stream f"), ["fcos"]);
    assert_eq!(ask("reprofix history --nightly=other.toml --stream f"), ["fcos"]);
    for shell in ["bash", "zsh", "fish", "elvish"] {
        assert!(reprofix(&["completions", shell]).contains("reprofix"), "{shell}");
    }
}
