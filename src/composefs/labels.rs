//! The labels that the SELinux policy in a tree gives to its paths.
//!
//! `/etc/selinux/config` names the policy; its `contexts/files/file_contexts`, then `.local` and
//! `.homedirs`, are lists of expressions, the last matching one of which decides; `.subs` and
//! `.subs_dist` say which paths are labelled like others. See selabel_file(5).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::{Anchored, Input, util::syntax};

use super::LABEL;
use crate::format::composefs::{Content, Directory, Leaf, Meta, Node, Tree};

/// Memory for the automaton of all expressions, in bytes. It is built only as far as paths need it.
const CACHE: usize = 16 << 20;

/// The labels of a policy.
pub struct Policy {
    automaton: DFA,
    /// The label of each expression; `None` for `<<none>>`.
    labels: Vec<Option<Vec<u8>>>,
    /// Paths that are labelled like another.
    aliases: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Policy {
    /// The policy that `/etc/selinux/config` names, in a tree whose files `contents` returns;
    /// `None` if there is no policy.
    ///
    /// # Errors
    ///
    /// If the policy cannot be read or parsed; the error names file and line.
    pub fn of(contents: &dyn Fn(&str) -> Result<Option<Vec<u8>>>) -> Result<Option<Self>> {
        let Some(config) = contents("etc/selinux/config")? else { return Ok(None) };
        let Some(name) = policy_type(&config) else { return Ok(None) };
        let folder = format!("etc/selinux/{name}/contexts/files");
        let (mut expressions, mut labels, mut aliases) = (Vec::new(), Vec::new(), BTreeMap::new());
        for end in ["", ".local", ".homedirs"] {
            let file = format!("{folder}/file_contexts{end}");
            match contents(&file)? {
                Some(text) => rules(&text, &mut expressions, &mut labels).context(file)?,
                None => ensure!(!end.is_empty(), "{file} is missing, which {name:?} needs"),
            }
        }
        for end in ["subs", "subs_dist"] {
            let file = format!("{folder}/file_contexts.{end}");
            if let Some(text) = contents(&file)? {
                substitutions(&text, &mut aliases).context(file)?;
            }
        }
        // The automaton reports the first expression that matches; the last one counts.
        expressions.reverse();
        labels.reverse();
        let automaton = automaton(&expressions)?;
        Ok(Some(Policy { automaton, labels, aliases }))
    }

    /// Gives every path of `tree` its label. Names of one inode that get different labels become
    /// separate inodes.
    pub(super) fn apply(&self, tree: &mut Tree) {
        let cache = self.automaton.create_cache();
        let mut labelling = Labelling { policy: self, cache, given: BTreeMap::new() };
        let Tree { root, leaves } = tree;
        labelling.directory(root, b"/", leaves);
    }
}

struct Labelling<'p> {
    policy: &'p Policy,
    cache: Cache,
    /// The labels given to leaves so far.
    given: BTreeMap<usize, Option<Vec<u8>>>,
}

impl Labelling<'_> {
    fn directory(&mut self, directory: &mut Directory, path: &[u8], leaves: &mut Vec<Leaf>) {
        set(&mut directory.meta, self.label(path, b'd'));
        for (name, node) in &mut directory.entries {
            let separator: &[u8] = if path.ends_with(b"/") { b"" } else { b"/" };
            let path = [path, separator, name].concat();
            let path = self.policy.aliases.get(&path).cloned().unwrap_or(path);
            match node {
                Node::Directory(below) => self.directory(below, &path, leaves),
                Node::Leaf(leaf) => *leaf = self.leaf(*leaf, &path, leaves),
            }
        }
    }

    /// Labels a leaf, or a copy of it if it already has another label; returns its index.
    fn leaf(&mut self, leaf: usize, path: &[u8], leaves: &mut Vec<Leaf>) -> usize {
        let label = self.label(path, type_code(&leaves[leaf].content));
        let place = match self.given.get(&leaf) {
            Some(given) if *given != label => {
                leaves.push(leaves[leaf].clone());
                leaves.len() - 1
            }
            _ => leaf,
        };
        set(&mut leaves[place].meta, label.clone());
        self.given.entry(place).or_insert(label);
        place
    }

    fn label(&mut self, path: &[u8], code: u8) -> Option<Vec<u8>> {
        let text = [path, &[code]].concat();
        let input = Input::new(&text).anchored(Anchored::Yes);
        // The search cannot fail: no byte is configured to stop it.
        let found = self.policy.automaton.try_search_fwd(&mut self.cache, &input).ok()?;
        self.policy.labels.get(found?.pattern().as_usize())?.clone()
    }
}

fn set(meta: &mut Meta, label: Option<Vec<u8>>) {
    match label {
        Some(label) => drop(meta.xattrs.insert(LABEL.to_owned(), label)),
        None => drop(meta.xattrs.remove(LABEL)),
    }
}

/// The letter of a type in file_contexts.
fn type_code(content: &Content) -> u8 {
    match content {
        Content::Inline(_) | Content::External { .. } => b'-',
        Content::Symlink(_) => b'l',
        Content::Character(_) => b'c',
        Content::Block(_) => b'b',
        Content::Fifo => b'p',
        Content::Socket => b's',
    }
}

/// SELINUXTYPE in `/etc/selinux/config`.
fn policy_type(config: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(config);
    let value = |line: &str| {
        let (key, value) = line.split_once('=')?;
        key.trim().eq_ignore_ascii_case("SELINUXTYPE").then(|| value.trim().to_owned())
    };
    text.lines().find_map(value)
}

/// The words of each line that is not a comment, with the line's number.
fn lines(text: &[u8]) -> Result<Vec<(usize, Vec<&str>)>> {
    let text = std::str::from_utf8(text).context("it is not UTF-8")?;
    let all = text.lines().zip(1..);
    let all = all.map(|(line, number)| (number, line.split_whitespace().collect::<Vec<_>>()));
    Ok(all.filter(|(_, w)| w.first().is_some_and(|word| !word.starts_with('#'))).collect())
}

fn rules(
    text: &[u8],
    expressions: &mut Vec<String>,
    labels: &mut Vec<Option<Vec<u8>>>,
) -> Result<()> {
    for (number, words) in lines(text)? {
        let (path, code, label) = match words[..] {
            [path, label] if !label.starts_with('-') => (path, ".", label),
            [path, code, label] if is_type(code) => (path, &code[1..], label),
            _ => bail!("line {number} is not PATH [-TYPE] LABEL"),
        };
        expressions.push(format!("^({path}){code}$"));
        labels.push((label != "<<none>>").then(|| label.as_bytes().to_owned()));
    }
    Ok(())
}

fn is_type(word: &str) -> bool {
    matches!(word, "-b" | "-c" | "-d" | "-p" | "-l" | "-s" | "--")
}

fn substitutions(text: &[u8], aliases: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> Result<()> {
    for (number, words) in lines(text)? {
        let [alias, path] = words[..] else { bail!("line {number} is not ALIAS PATH") };
        aliases.insert(alias.as_bytes().to_owned(), path.as_bytes().to_owned());
    }
    Ok(())
}

/// One automaton of all expressions.
///
/// The error for an expression that needs PCRE (a look-ahead) names it.
fn automaton(expressions: &[String]) -> Result<DFA> {
    let syntax = syntax::Config::new().unicode(false).utf8(false).line_terminator(0);
    let one = |expression: &String| syntax::parse_with(expression, &syntax).err();
    if let Some((expression, error)) =
        expressions.iter().find_map(|expression| Some((expression, one(expression)?)))
    {
        bail!("the expression {expression} of file_contexts is not supported: {error}");
    }
    let config = DFA::config().cache_capacity(CACHE).skip_cache_capacity_check(true);
    DFA::builder()
        .syntax(syntax)
        .configure(config)
        .build_many(expressions)
        .context("file_contexts has too many expressions")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &str) -> Policy {
        let contents = |path: &str| {
            Ok(match path {
                "etc/selinux/config" => Some(b"# SELINUXTYPE=no\nSELINUXTYPE = t \n".to_vec()),
                "etc/selinux/t/contexts/files/file_contexts" => Some(rules.as_bytes().to_vec()),
                "etc/selinux/t/contexts/files/file_contexts.local" => {
                    Some(b"/usr/local(/.*)?  local\n".to_vec())
                }
                "etc/selinux/t/contexts/files/file_contexts.subs" => Some(b"/srv /usr\n".to_vec()),
                _ => None,
            })
        };
        Policy::of(&contents).expect("reads").expect("is there")
    }

    fn label(policy: &Policy, path: &str, code: u8) -> Option<String> {
        let cache = policy.automaton.create_cache();
        let mut labelling = Labelling { policy, cache, given: BTreeMap::new() };
        let label = labelling.label(path.as_bytes(), code);
        label.map(|label| String::from_utf8(label).expect("UTF-8"))
    }

    #[test]
    fn the_last_rule_that_matches_decides() {
        let policy = policy(
            "# a comment\n/.*  any\n/usr(/.*)?  usr\n/usr/bin/.*  -l  link\n/usr/tmp  <<none>>\n",
        );
        let of = |path, code| label(&policy, path, code);
        assert_eq!(of("/etc", b'd').as_deref(), Some("any"));
        assert_eq!(of("/usr/bin/sh", b'-').as_deref(), Some("usr"));
        assert_eq!(of("/usr/bin/sh", b'l').as_deref(), Some("link"));
        assert_eq!(of("/usr/local/bin", b'd').as_deref(), Some("local"));
        assert_eq!(of("/usr/tmp", b'd'), None);
    }

    #[test]
    fn a_substituted_path_is_labelled_as_the_other_and_so_is_all_below_it() {
        let policy = policy("/.*  any\n/usr/x  x\n");
        let leaf = Leaf { meta: Meta::default(), content: Content::Fifo };
        let mut tree = Tree { leaves: vec![leaf], ..Tree::default() };
        let below = Directory {
            entries: [(b"x".to_vec(), Node::Leaf(0)), (b"y".to_vec(), Node::Leaf(0))].into(),
            ..Directory::default()
        };
        tree.root.entries.insert(b"srv".to_vec(), Node::Directory(below));
        policy.apply(&mut tree);
        let labels: Vec<_> =
            tree.leaves.iter().map(|leaf| leaf.meta.xattrs[LABEL].clone()).collect();
        assert_eq!(labels, [b"x".to_vec(), b"any".to_vec()], "one inode, two labels: two inodes");
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let contents = |rules: &'static str| {
            move |path: &str| {
                Ok(match path {
                    "etc/selinux/config" => Some(b"SELINUXTYPE=t".to_vec()),
                    path if path.ends_with("file_contexts") => Some(rules.as_bytes().to_vec()),
                    _ => None,
                })
            }
        };
        for (rules, part) in
            [("/a\n", "line 1"), ("/a -x l\n", "line 1"), ("/ok l\n/a(?!b) l\n", "(?!b)")]
        {
            let error = Policy::of(&contents(rules)).err().expect("refused");
            assert!(format!("{error:#}").contains(part), "{error:#}");
        }
        let none =
            |path: &str| Ok((path == "etc/selinux/config").then(|| b"SELINUXTYPE=t".to_vec()));
        let error = Policy::of(&none).err().expect("refused").to_string();
        assert!(error.contains("file_contexts is missing"), "{error}");
    }
}
