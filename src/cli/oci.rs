//! `reprofix oci`.

use anyhow::Result;

use super::output::Output;
use super::{Outcome, complete};
use crate::config::{self, Flags};
use crate::env::{self, SourceDateEpoch};
use crate::image::normalize::{Options, normalize};
use crate::image::programs::Program;
use crate::image::{lint, platforms, verify};
use crate::source::oci::Compression;
use crate::source::oci::Images;
use crate::tree::NOTHING;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Which digest names which image: list, manifest, config and layers of each platform.
    Platforms(Platforms),
    /// Whether every blob has the size, digest and diff_id that it is said to have.
    Verify(ImageArgs),
    /// What unpacks differently under different runtimes, and which layer is to blame.
    Lint(ImageArgs),
    /// Write an image that two builds of one input agree on.
    Normalize(Normalize),
}

#[derive(Debug, clap::Args)]
struct Platforms {
    #[command(flatten)]
    one: ImageArgs,
    /// Which digests this program uses: skopeo, podman, buildah, oc-mirror, oras or umoci. Exit 1 if it takes
    /// none for an image, or another one.
    #[arg(long = "as", value_name = "PROGRAM", value_parser = program)]
    program: Option<Program>,
}

fn program(name: &str) -> std::result::Result<Program, String> {
    Program::parse(name)
        .ok_or_else(|| "known are skopeo, podman, buildah, oc-mirror, oras and umoci".to_owned())
}

#[derive(Debug, clap::Args)]
struct Normalize {
    #[command(flatten)]
    one: ImageArgs,
    /// Where to: oci:LAYOUT[:TAG], oci-archive:FILE[:TAG] or a directory; it must not exist.
    #[arg(long, short, value_name = "OUT", add = complete::image())]
    out: String,
    #[command(flatten)]
    epoch: Epoch,
    /// How layers are compressed that have to be written anew.
    #[arg(long, value_enum, default_value_t)]
    compression: Packing,
    /// Compress every layer anew, so that no other compressor's bytes are left.
    #[arg(long)]
    recompress: bool,
    /// Attestations and other artifacts beside the images.
    #[arg(long, value_enum, default_value_t)]
    attestations: Attestations,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Packing {
    #[default]
    Gzip,
    Zstd,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Attestations {
    /// Leave them out: they are about the old digests.
    #[default]
    Drop,
    /// Copy them, their references set to the new digests.
    Keep,
}

/// The time that nothing exceeds.
#[derive(Debug, clap::Args)]
pub(super) struct Epoch {
    /// No time in the image may be later: seconds since 1970-01-01 UTC. Default: the environment's
    /// SOURCE_DATE_EPOCH, then reprofix.toml.
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    source_date_epoch: Option<String>,
}

impl Epoch {
    pub(super) fn get(&self) -> Result<SourceDateEpoch> {
        let flags = Flags { epoch: self.source_date_epoch.clone(), ..Flags::default() };
        let in_force = config::in_force(&flags, env::source_date_epoch(), &NOTHING)?;
        in_force.warnings.iter().for_each(|w| super::warn(w));
        Ok(in_force.epoch.0)
    }
}

impl Normalize {
    fn exec(&self) -> Result<Outcome> {
        let options = Options {
            epoch: self.epoch.get()?,
            compression: match self.compression {
                Packing::Gzip => Compression::Gzip,
                Packing::Zstd => Compression::Zstd,
            },
            recompress: self.recompress,
            attestations: matches!(self.attestations, Attestations::Keep),
        };
        self.one.output.emit(&normalize(&self.one.open()?, &self.out, options)?)
    }
}

#[derive(Debug, clap::Args)]
struct ImageArgs {
    /// oci:LAYOUT[:TAG], oci-archive:FILE, docker-archive:FILE, dir:FOLDER, registry:STORAGE[:REPOSITORY[:TAG]],
    /// containers-storage:[ROOT]NAME (storage.conf is not read), or a path.
    #[arg(add = complete::image())]
    subject: String,
    /// Only this platform; given several times, these (`normalize` joins them in one list).
    #[arg(long, value_name = "OS/ARCHITECTURE[/VARIANT]")]
    platform: Vec<String>,
    #[command(flatten)]
    output: Output,
}

impl ImageArgs {
    fn open(&self) -> Result<Images> {
        Images::open(&self.subject, self.platform.iter().map(String::as_str))
    }
}

impl Args {
    pub(super) fn exec(self) -> Result<Outcome> {
        match &self.command {
            Command::Platforms(args) => {
                args.one.output.emit(&platforms::platforms(&args.one.open()?, args.program))
            }
            Command::Verify(one) => one.output.emit(&verify::verify(&one.open()?)?),
            Command::Normalize(args) => args.exec(),
            Command::Lint(one) => one.output.emit(&lint::lint(&one.open()?)?),
        }
    }
}
