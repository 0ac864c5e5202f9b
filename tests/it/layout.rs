//! OCI layouts made up for a test, member by member.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use reprofix::format::tar::{Member, Records, Type, Writer};
use reprofix::source::oci::{Digest, Images};
use reprofix::tree::Time;
use serde_json::{Value, json};

/// A member and its content.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) member: Member,
    pub(crate) content: Vec<u8>,
}

impl Made {
    /// A file; a directory if `path` ends in a slash.
    pub(crate) fn new(path: &str, mode: u32, content: &str) -> Self {
        let kind = if path.ends_with('/') { Type::Dir } else { Type::File };
        let member = Member {
            path: path.trim_end_matches('/').as_bytes().into(),
            absolute: false,
            kind,
            mode,
            uid: 0,
            gid: 0,
            uname: Vec::new(),
            gname: Vec::new(),
            size: content.len() as u64,
            mtime: Time { sec: 0, nsec: 0 },
            link: Vec::new(),
            device: (0, 0),
            xattrs: Records::new(),
            records: Records::new(),
            header: 0,
            data: 0,
            sparse: false,
        };
        Made { member, content: content.as_bytes().to_vec() }
    }

    /// A link, or anything else without content.
    pub(crate) fn link(path: &str, kind: Type, target: &str) -> Self {
        let mut made = Made::new(path, 0o777, "");
        (made.member.kind, made.member.link) = (kind, target.into());
        made
    }

    pub(crate) fn at(mut self, sec: i64) -> Self {
        self.member.mtime.sec = sec;
        self
    }

    pub(crate) fn record(mut self, key: &str, value: &str) -> Self {
        self.member.records.insert(key.into(), value.into());
        self
    }
}

/// The bytes of an archive of `members`.
pub(crate) fn archive(members: &[Made]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for made in members {
        writer.append(&made.member, &made.content[..]).unwrap();
    }
    writer.finish().unwrap()
}

/// A layer: plain bytes and how they are stored.
pub(crate) struct Stored {
    pub(crate) plain: Vec<u8>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: String,
}

impl Stored {
    pub(crate) fn gzip(plain: Vec<u8>, level: u32) -> Self {
        let level = flate2::Compression::new(level);
        let mut out = flate2::write::GzEncoder::new(Vec::new(), level);
        out.write_all(&plain).unwrap();
        let media_type = "application/vnd.oci.image.layer.v1.tar+gzip".to_owned();
        Stored { bytes: out.finish().unwrap(), plain, media_type }
    }
}

/// A layout in a directory of its own.
pub(crate) struct Layout(pub(crate) tempfile::TempDir);

impl Layout {
    /// One linux/amd64 image, tagged `demo`, of these layers.
    pub(crate) fn of(layers: &[Stored]) -> Self {
        Self::with(layers, |_| ())
    }

    /// Nothing yet, in a directory whose name buildah takes for an image's.
    pub(crate) fn empty() -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("reprofix-layout-{}-{number}", std::process::id());
        Layout(tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir().unwrap())
    }

    /// The same, its configuration changed.
    pub(crate) fn with(layers: &[Stored], change: impl FnOnce(&mut Value)) -> Self {
        let layout = Layout::empty();
        let manifest = layout.image(layers, change);
        let tag = json!({"org.opencontainers.image.ref.name": "demo"});
        layout.index(&[manifest], tag);
        layout
    }

    /// The image of another layout with more layers, its configuration and manifest changed; tagged
    /// `demo`.
    pub(crate) fn on(
        base: &Path,
        layers: &[Stored],
        change: impl FnOnce(&mut Value, &mut Value),
    ) -> Self {
        let layout = Layout::empty();
        let dir = layout.path().join("blobs/sha256");
        fs::create_dir_all(&dir).unwrap();
        for blob in fs::read_dir(base.join("blobs/sha256")).unwrap().map(Result::unwrap) {
            fs::copy(blob.path(), dir.join(blob.file_name())).unwrap();
        }
        let subject = crate::oci::subject(base);
        let image = subject.one().unwrap();
        let json = |digest: &Digest| -> Value {
            serde_json::from_slice(&fs::read(dir.join(digest.hex())).unwrap()).unwrap()
        };
        let mut config = json(&image.config.as_ref().unwrap().digest);
        let mut manifest = json(image.manifest.as_ref().unwrap());
        for layer in layers {
            let diff_id = Digest::of(&layer.plain).to_string();
            config["rootfs"]["diff_ids"].as_array_mut().unwrap().push(diff_id.into());
            config["history"].as_array_mut().unwrap().push(json!({"created_by": "test"}));
            let blob = layout.blob(&layer.bytes, &layer.media_type);
            manifest["layers"].as_array_mut().unwrap().push(blob);
        }
        change(&mut config, &mut manifest);
        let blob = layout.blob(config.to_string().as_bytes(), "");
        for key in ["digest", "size"] {
            manifest["config"][key] = blob[key].clone();
        }
        let media_type = manifest["mediaType"].as_str().unwrap_or_default().to_owned();
        let manifest = layout.blob(manifest.to_string().as_bytes(), &media_type);
        layout.index(&[manifest], json!({"org.opencontainers.image.ref.name": "demo"}));
        layout
    }

    /// Writes an image's blobs and gives its descriptor.
    pub(crate) fn image(&self, layers: &[Stored], change: impl FnOnce(&mut Value)) -> Value {
        self.image_with(layers, change, |_| ())
    }

    /// The same, its manifest changed as well.
    pub(crate) fn image_with(
        &self,
        layers: &[Stored],
        change: impl FnOnce(&mut Value),
        change_manifest: impl FnOnce(&mut Value),
    ) -> Value {
        let diff_ids: Vec<String> =
            layers.iter().map(|l| Digest::of(&l.plain).to_string()).collect();
        let mut config = json!({
            "architecture": "amd64", "os": "linux", "created": "2023-11-14T22:13:20Z",
            "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": layers.iter().map(|_| json!({"created_by": "test"})).collect::<Vec<_>>(),
        });
        change(&mut config);
        let config =
            self.blob(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
        let layers: Vec<Value> =
            layers.iter().map(|l| self.blob(&l.bytes, &l.media_type)).collect();
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": layers,
        });
        change_manifest(&mut manifest);
        self.blob(manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json")
    }

    /// Writes a blob and gives its descriptor.
    pub(crate) fn blob(&self, bytes: &[u8], media_type: &str) -> Value {
        let digest = Digest::of(bytes);
        let dir = self.0.path().join("blobs/sha256");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// Writes `index.json`; `annotations` are for every entry.
    pub(crate) fn index(&self, entries: &[Value], annotations: Value) {
        let mut entries = entries.to_vec();
        entries.iter_mut().for_each(|e| e["annotations"] = annotations.clone());
        self.write_index(&entries);
    }

    /// Writes `index.json` of these entries.
    pub(crate) fn write_index(&self, entries: &[Value]) {
        let index = json!({"schemaVersion": 2, "manifests": entries});
        fs::write(self.0.path().join("index.json"), index.to_string()).unwrap();
        fs::write(self.0.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn open(&self) -> Images {
        crate::oci::subject(self.path())
    }
}

/// Every file below `dir` with its bytes.
pub(crate) fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let found = walkdir::WalkDir::new(dir).into_iter().map(Result::unwrap);
    let found = found.filter(|e| e.file_type().is_file());
    let name = |path: &Path| path.strip_prefix(dir).unwrap().to_owned();
    found.map(|e| (name(e.path()), fs::read(e.path()).unwrap())).collect()
}
