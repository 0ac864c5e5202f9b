//! Where an image's files are: a layout, an archive, or another form that is shown as a layout.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};

use super::containers::Containers;
use super::digest::{Digest, Hasher};
pub use super::files::Part;
use super::files::{Files, is_archive};
use super::folder::Folder;
use super::limits::Meter;
use super::registry::Registry;
use super::stream::Plain;

/// Images on disk, open for reading. Nothing is extracted: members of archives are read where they
/// are.
pub struct Store {
    path: PathBuf,
    files: Arc<Files>,
    form: Form,
    meter: Arc<Meter>,
}

/// In which form images are kept. All but the first two have no `index.json` and no `blobs/`; they
/// are shown as if they had.
pub(super) enum Form {
    /// An OCI layout.
    Layout,
    /// What `docker save` writes.
    Docker,
    /// What skopeo writes for `dir:`.
    Folder(Folder),
    /// A registry's storage.
    Registry(Registry),
    /// Container storage of podman, buildah and CRI-O.
    Containers(Containers),
}

/// What images are kept in, as far as it matters to whoever asks about programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// An OCI layout, in a directory or an archive.
    Layout,
    /// What `docker save` writes.
    Docker,
    /// What skopeo writes for `dir:`.
    Folder,
    /// A registry's storage.
    Registry,
    /// Container storage.
    Containers,
}

impl Store {
    /// Opens what is at `path`. `selector` is what is asked for of it: of a registry's storage,
    /// nothing else is listed.
    ///
    /// # Errors
    ///
    /// If no image is there, or what is there is refused: archives whose members leave the root,
    /// have absolute names or are neither files, directories nor links between members.
    pub fn open(path: &Path, selector: Option<&str>) -> anyhow::Result<Self> {
        let files = Arc::new(Files::open(path)?);
        let reading = || format!("reading {}", path.display());
        let form = form(&files, selector).with_context(reading)?;
        let form = form.with_context(|| {
            format!(
                "{} holds neither index.json (OCI) nor manifest.json (docker save), nor is it a \
                 registry's storage (docker/registry/v2) or container storage: not an image",
                path.display()
            )
        })?;
        Ok(Store { path: path.to_owned(), files, form, meter: Arc::default() })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn form(&self) -> &Form {
        &self.form
    }

    /// What the images are kept in.
    pub fn stored(&self) -> Stored {
        match self.form {
            Form::Layout => Stored::Layout,
            Form::Docker => Stored::Docker,
            Form::Folder(_) => Stored::Folder,
            Form::Registry(_) => Stored::Registry,
            Form::Containers(_) => Stored::Containers,
        }
    }

    /// Whether that is in an archive.
    pub fn is_archive(&self) -> bool {
        matches!(*self.files, Files::Archive(_))
    }

    /// Whether layers are kept unpacked, and nothing says how they were compressed.
    pub(super) fn is_unpacked(&self) -> bool {
        matches!(self.form, Form::Containers(_))
    }

    /// Whether there is a file called `name`.
    pub fn has(&self, name: &str) -> anyhow::Result<bool> {
        if let (Form::Containers(storage), Some(digest)) = (&self.form, blob(name))
            && storage.is_layer(&digest)
        {
            return Ok(true);
        }
        Ok(self.open_file(name)?.is_some())
    }

    /// The whole file `name`, at most `limit` bytes; `None` if there is none.
    pub fn small(&self, name: &str, limit: u64) -> anyhow::Result<Option<Vec<u8>>> {
        if let (Some(index), "index.json") = (self.index(), name) {
            return Ok(Some(index.to_vec()));
        }
        let Some(part) = self.open_file(name)? else { return Ok(None) };
        let reading = || format!("reading {name} in {}", self.path.display());
        part.whole(limit).map(Some).with_context(reading)
    }

    /// The `index.json` that a form would have that has none.
    fn index(&self) -> Option<&[u8]> {
        match &self.form {
            Form::Layout | Form::Docker => None,
            Form::Folder(folder) => Some(&folder.index),
            Form::Registry(registry) => Some(&registry.index),
            Form::Containers(storage) => Some(&storage.index),
        }
    }

    /// The JSON document in the file `name`, at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn json(&self, name: &str, limit: u64) -> anyhow::Result<serde_json::Value> {
        let path = self.path.display();
        let bytes = self.small(name, limit)?;
        let bytes = bytes.with_context(|| format!("{path}: {name} is missing"))?;
        serde_json::from_slice(&bytes).with_context(|| format!("{path}: parsing {name}"))
    }

    /// The file name of a blob in a layout.
    pub fn blob_name(digest: &Digest) -> String {
        format!("blobs/{}/{}", digest.algorithm(), digest.hex())
    }

    /// The file `name` as a stream of its plain bytes; `None` if there is none. `stored` says
    /// which digest to take of the bytes as stored, `plain` which of the plain ones.
    pub fn plain(
        &self,
        name: &str,
        stored: Hasher,
        plain: Hasher,
    ) -> anyhow::Result<Option<Plain>> {
        let meter = || Arc::clone(&self.meter);
        if let (Form::Containers(storage), Some(digest)) = (&self.form, blob(name))
            && let Some(layer) = self.in_store(storage.layer(&self.files, &digest))?
        {
            return Ok(Some(Plain::new(layer, stored, plain, meter())));
        }
        let file = self.open_file(name)?;
        Ok(file.map(|file| Plain::new(file, stored, plain, meter())))
    }

    /// The file `name`, its bytes as stored; `None` if there is none. A layer of container storage is
    /// put together in a temporary file for it.
    pub fn open_file(&self, name: &str) -> anyhow::Result<Option<Part>> {
        let opened = match (&self.form, blob(name)) {
            (Form::Layout | Form::Docker, _) => self.files.file(name),
            (_, None) => Ok(None),
            (Form::Folder(folder), Some(digest)) => folder.blob(&self.files, &digest),
            (Form::Registry(registry), Some(digest)) => registry.blob(&self.files, &digest),
            (Form::Containers(storage), Some(digest)) => storage.blob(&self.files, &digest),
        };
        self.in_store(opened.with_context(|| format!("opening {name}")))
    }

    fn in_store<T>(&self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        result.with_context(|| format!("in {}", self.path.display()))
    }
}

/// The form of what is there, by its marks.
fn form(files: &Files, selector: Option<&str>) -> anyhow::Result<Option<Form>> {
    if files.has("index.json")? {
        return Ok(Some(Form::Layout));
    }
    if let Some(folder) = Folder::open(files)? {
        return Ok(Some(Form::Folder(folder)));
    }
    if let Some(registry) = Registry::open(files, selector)? {
        return Ok(Some(Form::Registry(registry)));
    }
    if let Some(storage) = Containers::open(files)? {
        return Ok(Some(Form::Containers(storage)));
    }
    Ok(files.has("manifest.json")?.then_some(Form::Docker))
}

/// The digest of a blob's file name.
fn blob(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.strip_prefix("blobs/")?.split_once('/')?;
    Digest::parse(&format!("{algorithm}:{hex}"))
}

/// An `index.json` of these manifests and their names.
pub(super) fn index_of<'a>(
    entries: impl Iterator<Item = (&'a Digest, Option<&'a str>)>,
) -> anyhow::Result<Vec<u8>> {
    use serde_json::json;
    let entry = |(digest, name): (&Digest, Option<&str>)| {
        // Nothing but the file says how large it is.
        let mut entry = json!({"digest": digest, "size": -1});
        if let Some(name) = name {
            entry["annotations"] = json!({ super::model::REF_NAME: name });
        }
        entry
    };
    let entries: Vec<_> = entries.map(entry).collect();
    let most = super::limits::DESCRIPTORS;
    ensure!(entries.len() <= most, "more than {most} images: refused; choose a repository");
    Ok(serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": entries}))?)
}

/// Whether an image is at `path`, as far as its marks say: a layout, a registry's storage, container
/// storage, what skopeo writes for `dir:`, or an archive of any of them.
pub fn is_image(path: &Path) -> bool {
    if !path.is_dir() {
        return is_archive(path).unwrap_or(false);
    }
    let layout = path.join("index.json").is_file() && path.join("blobs").is_dir();
    layout || Files::directory(path).is_ok_and(|files| has_marks(&files))
}

/// Whether `path` is what skopeo writes for `dir:`.
pub fn is_folder(path: &Path) -> bool {
    path.is_dir()
        && Files::directory(path).and_then(|files| Folder::is_one(&files)).unwrap_or(false)
}

fn has_marks(files: &Files) -> bool {
    let folder = Folder::is_one(files).unwrap_or(false);
    folder
        || Registry::root(files).is_ok_and(|root| root.is_some())
        || Containers::driver(files).is_ok_and(|driver| driver.is_some())
        || files.list("").is_ok_and(|names| names.iter().any(|name| super::files::is_mirror(name)))
}
