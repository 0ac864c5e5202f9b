//! The digest of everything that should determine a run's result: runs with equal digests and
//! unequal verdicts are flaky.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::config::{Step, Stream};
use super::preset::Recipe;
use crate::env::SourceDateEpoch;
use crate::format::ostree::Checksum;

/// The digest for `stream`, built by `recipe` under `epoch` with these variations.
///
/// # Errors
///
/// If an input cannot be read; the error names the file.
pub(crate) fn digest(
    stream: &Stream,
    recipe: &Recipe,
    epoch: SourceDateEpoch,
    variations: &str,
) -> io::Result<String> {
    let mut sum = Sum(Sha256::new());
    sum.field("reprofix", env!("CARGO_PKG_VERSION").as_bytes());
    let machine = crate::env::machine();
    sum.field("architecture", stream.architecture.as_deref().unwrap_or(&machine).as_bytes());
    sum.field("epoch", epoch.to_string().as_bytes());
    sum.field("variations", variations.as_bytes());
    sum.field("subject", recipe.subject.as_bytes());
    for step in &recipe.steps {
        match step {
            Step::Script(text) => sum.field("script", text.as_bytes()),
            Step::Command(words) => words.iter().for_each(|w| sum.field("word", w.as_bytes())),
        }
    }
    for (name, value) in &recipe.env {
        sum.field(name, value.as_bytes());
    }
    let settings = [&stream.expect, &stream.config].into_iter().flatten();
    for path in settings.chain(&stream.inputs) {
        sum.tree(path)?;
    }
    Ok(Checksum(sum.0.finalize().into()).to_string())
}

struct Sum(Sha256);

impl Sum {
    /// Hashes a field with its length, so that different lists of fields never give the same bytes.
    fn field(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), value] {
            self.0.update((part.len() as u64).to_be_bytes());
            self.0.update(part);
        }
    }

    /// Hashes a file, or a directory without `.git`, whose packing is not reproducible.
    fn tree(&mut self, path: &Path) -> io::Result<()> {
        let walk = walkdir::WalkDir::new(path).sort_by_file_name().into_iter();
        for entry in walk.filter_entry(|entry| entry.file_name() != ".git") {
            let entry = entry?;
            let below = entry.path().strip_prefix(path).unwrap_or(Path::new(""));
            self.field("path", below.as_os_str().as_bytes());
            self.file(entry.path()).map_err(|e| {
                io::Error::new(e.kind(), format!("reading input {}: {e}", entry.path().display()))
            })?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> io::Result<()> {
        let metadata = path.symlink_metadata()?;
        if metadata.is_symlink() {
            self.field("target", std::fs::read_link(path)?.as_os_str().as_bytes());
        } else if metadata.is_file() {
            let executable = metadata.permissions().mode() & 0o111 != 0;
            self.field("executable", &[u8::from(executable)]);
            self.field("content", content(path)?.as_slice());
        }
        Ok(())
    }
}

/// The digest of a file, which is streamed.
fn content(path: &Path) -> io::Result<[u8; 32]> {
    let (mut file, mut sum) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(sum.finalize().into()),
            n => sum.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nightly::config::Config;

    #[test]
    fn a_changed_input_changes_the_digest_and_the_clock_does_not() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("conf/.git")).unwrap();
        let file = dir.path().join("conf/treefile.yaml");
        std::fs::write(&file, "a").unwrap();
        let text = "[[stream]]\nname = 'main'\nbuild = ['make']\nsubject = 'dir:{work}'\n\
                    inputs = ['conf']\nsource-date-epoch = 1";
        let config = Config::parse(text, dir.path().to_owned()).unwrap();
        let stream = &config.stream[0];
        let digest = |variations: &str| {
            let recipe = stream.recipe().unwrap();
            digest(stream, &recipe, stream.epoch().unwrap(), variations).unwrap()
        };
        let before = digest("clock");
        std::fs::write(dir.path().join("conf/.git/index"), "x").unwrap();
        std::fs::write(&file, "a").unwrap();
        assert_eq!(digest("clock"), before);
        assert_ne!(digest("umask"), before);
        std::fs::write(&file, "b").unwrap();
        assert_ne!(digest("clock"), before);
    }
}
