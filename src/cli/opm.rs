//! `reprofix opm`.

use std::path::Path;

use anyhow::Result;

use super::oci::Epoch;
use super::output::Output;
use super::{Outcome, complete};
use crate::image::normalize::Options;
use crate::image::opm::access::User;
use crate::image::opm::fix::fix;
use crate::image::opm::verify::{in_images, on_disk};
use crate::source::oci::{Compression, Images};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Compare the stored cache digest with those that opm computes under each container runtime.
    Verify(Verify),
    /// Write an image whose catalog starts under every runtime and that is the same for two builds.
    Fix(Fix),
}

#[derive(Debug, clap::Args)]
struct Fix {
    /// An image, as for `reprofix oci`: oci:LAYOUT[:TAG], registry:STORAGE:REPOSITORY, …
    #[arg(add = complete::image())]
    subject: String,
    /// The output: oci:LAYOUT[:TAG], oci-archive:FILE[:TAG] or a directory; it must not exist.
    #[arg(long, short, value_name = "OUT", add = complete::image())]
    out: String,
    /// Only this platform (may be repeated; they are joined in one list).
    #[arg(long, value_name = "OS/ARCHITECTURE[/VARIANT]")]
    platform: Vec<String>,
    /// The catalog's directory in the image. Default: the image's label, then /configs.
    #[arg(long, value_name = "DIR")]
    configs: Option<String>,
    /// The cache's directory in the image. Default: the image's --cache-dir, then /tmp/cache.
    #[arg(long, value_name = "DIR")]
    cache: Option<String>,
    /// Remove the cache, and --cache-dir from the command: opm then makes one at every start.
    #[arg(long)]
    drop_cache: bool,
    #[command(flatten)]
    epoch: Epoch,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// An image: oci:LAYOUT[:TAG], oci-archive:FILE, docker-archive:FILE, or a path. Without it,
    /// --configs and --cache are directories on disk.
    #[arg(required_unless_present_all = ["configs", "cache"], add = complete::image())]
    subject: Option<String>,
    /// Only this platform (may be repeated).
    #[arg(long, value_name = "OS/ARCHITECTURE[/VARIANT]", requires = "subject")]
    platform: Vec<String>,
    /// The catalog's directory (in the image, if one is given).
    #[arg(long, value_name = "DIR")]
    configs: Option<String>,
    /// The cache's directory (in the image, if one is given).
    #[arg(long, value_name = "DIR")]
    cache: Option<String>,
    /// A user who must be able to open it, with group and supplementary groups (may be repeated).
    /// For an image, its own User and an arbitrary one of group 0 always must; on disk the latter,
    /// if none is given.
    #[arg(long, value_name = "UID[:GID[,GID]...]")]
    user: Vec<String>,
    #[command(flatten)]
    output: Output,
}

impl Args {
    pub(super) fn exec(self) -> Result<Outcome> {
        match self.command {
            Command::Verify(args) => args.exec(),
            Command::Fix(args) => args.exec(),
        }
    }
}

impl Fix {
    fn exec(self) -> Result<Outcome> {
        let options = Options {
            epoch: self.epoch.get()?,
            compression: Compression::Gzip,
            recompress: false,
            attestations: false,
        };
        let subject = Images::open(&self.subject, self.platform.iter().map(String::as_str))?;
        let (configs, cache) = (self.configs.as_deref(), self.cache.as_deref());
        self.output.emit(&fix(&subject, &self.out, options, configs, cache, self.drop_cache)?)
    }
}

impl Verify {
    fn exec(self) -> Result<Outcome> {
        let (configs, cache) = (self.configs.as_deref(), self.cache.as_deref());
        let users: Vec<User> =
            self.user.iter().map(|text| User::parse(text)).collect::<Result<_>>()?;
        let checks = match (&self.subject, configs, cache) {
            (None, Some(configs), Some(cache)) => {
                on_disk(Path::new(configs), Path::new(cache), &users)?
            }
            (subject, ..) => {
                let subject = subject.as_deref().unwrap_or_default();
                let platforms = self.platform.iter().map(String::as_str);
                in_images(&Images::open(subject, platforms)?, configs, cache, &users)?
            }
        };
        self.output.emit(&checks)
    }
}
