//! Prints the content checksum of a commit as libostree computes it, for `reprofix record`.
//!
//! A separate program, the only one that uses libostree: loading libostree's sixty shared libraries
//! takes longer than most comparisons.

use std::process::ExitCode;

use gio::{Cancellable, File};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let [repo, commit] = &args[..] else {
        eprintln!("usage: reprofix-content-checksum REPO COMMIT");
        return ExitCode::from(2);
    };
    match content_checksum(repo.as_ref(), &commit.to_string_lossy()) {
        Ok(sum) => {
            println!("{sum}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn content_checksum(repo: &std::path::Path, commit: &str) -> Result<String, gio::glib::Error> {
    let repo = ostree::Repo::new(&File::for_path(repo));
    repo.open(Cancellable::NONE)?;
    let commit = repo.load_variant(ostree::ObjectType::Commit, commit)?;
    let sum = ostree::commit_get_content_checksum(&commit);
    let none =
        || gio::glib::Error::new(gio::IOErrorEnum::InvalidData, "it has no content checksum");
    Ok(sum.ok_or_else(none)?.into())
}
