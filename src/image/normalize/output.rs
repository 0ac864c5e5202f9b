//! Writes images in normal form into a new layout.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::group::{Group, groups};
use super::layer::{Changes, Rules, plan};
use super::pack::{Hashing, compress};
use super::{Content, Edit, LayerRow, Lifter, Normalized, Options, Row, Target, document, layer};
use crate::disk::{NewDir, atomic_write_with};
use crate::format::tar::{Type, Writer};
use crate::image::compare::is_archive;
use crate::image::unpack::{Disk, Model, apply};
use crate::source::oci::{
    Descriptor, Digest, Image, Images, Keep, Kind, Layer, Store, layers, limits,
};

/// The layout to write.
pub(super) struct Output<'a> {
    pub(super) store: &'a Store,
    pub(super) dir: NewDir,
    pub(super) options: Options,
    pub(super) lift: &'a Lifter<'a>,
    /// New digests of manifests and lists, by the old ones.
    pub(super) renamed: BTreeMap<String, String>,
}

impl Output<'_> {
    pub(super) fn subject(
        &mut self,
        subject: &Images,
        tag: Option<&str>,
    ) -> anyhow::Result<Normalized> {
        let mut report = Normalized {
            schema: "reprofix-normalize-1",
            version: env!("CARGO_PKG_VERSION"),
            source_date_epoch: self.options.epoch.seconds(),
            images: Vec::new(),
            lists: Vec::new(),
            dropped: Vec::new(),
            kept: Vec::new(),
        };
        for image in subject.selected() {
            if let Some(fault) = image.faults.first() {
                bail!("{fault}; or choose an existing platform with --platform");
            }
        }
        let mut groups = groups(subject)?;
        // Artifacts about images come second, since they name the new digests.
        for about in [false, true] {
            for group in
                groups.iter_mut().filter(|g| g.images.iter().all(|i| !i.is_image()) == about)
            {
                group.members = self.group(group, &mut report)?;
            }
        }
        let entries = self.entries(&groups, tag)?;
        let index = json!({"schemaVersion": 2, "mediaType": document::INDEX, "manifests": entries});
        self.dir.write("index.json", &document::canonical(&index)?)?;
        self.dir.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(report)
    }

    /// Writes one list, or one image without a list: the descriptors that lead to it.
    fn group(&mut self, group: &Group<'_>, report: &mut Normalized) -> anyhow::Result<Vec<Value>> {
        let mut members = self.images(&group.images, report)?;
        if members.is_empty() || !(group.joined || group.list.is_some()) {
            return Ok(members);
        }
        if group.joined {
            for (member, image) in members.iter_mut().zip(&group.images) {
                member["platform"] = json!(image.platform);
            }
        }
        let index = self.index(group.list, members)?;
        let after = document::digest(&index)?;
        if let Some(list) = group.list {
            self.renamed.insert(list.to_string(), after.to_string());
        }
        report.lists.push((group.list.cloned(), after));
        Ok(vec![index])
    }

    /// The entries of `index.json`: every descriptor under each of its names, or under the
    /// requested one.
    fn entries(&self, groups: &[Group<'_>], tag: Option<&str>) -> anyhow::Result<Vec<Value>> {
        let is_image = |group: &&Group<'_>| group.images.iter().any(|image| image.is_image());
        let images: Vec<&Group<'_>> = groups.iter().filter(is_image).collect();
        ensure!(!images.is_empty(), "only attestations were selected");
        if let (Some(tag), [_, _, ..]) = (tag, &images[..]) {
            let named = |group: &&Group<'_>| {
                let image = group.images[0];
                let names = image.names.iter().map(|name| format!(":{name}"));
                names.chain([format!("--platform {}", image.platform_name())]).next()
            };
            let offers: Vec<String> = images.iter().filter_map(named).take(20).collect();
            bail!(
                "{tag} would name {} images, of which every tool takes another: choose one ({}), \
                 or omit the tag: each keeps its own",
                images.len(),
                offers.join(", ")
            );
        }
        let mut entries = Vec::new();
        for group in groups {
            let names: BTreeSet<String> = match tag.filter(|_| is_image(&group)) {
                Some(tag) => [tag.to_owned()].into(),
                None => group.names(&self.renamed),
            };
            for member in &group.members {
                if names.is_empty() {
                    entries.push(member.clone());
                }
                for name in &names {
                    let mut named = member.clone();
                    named["annotations"][document::REF_NAME] = name.clone().into();
                    entries.push(named);
                }
            }
        }
        Ok(entries)
    }

    /// Writes images and returns their descriptors; attestations come last in a second pass, since
    /// they name the others.
    fn images(&mut self, images: &[&Image], report: &mut Normalized) -> anyhow::Result<Vec<Value>> {
        let mut written: Vec<Option<Value>> = Vec::new();
        for image in images {
            let descriptor = match image.is_image() {
                true => Some(self.image(image, report)?),
                false => None,
            };
            if let (Some(descriptor), Some(before)) = (&descriptor, &image.manifest) {
                let after = document::digest(descriptor)?;
                self.renamed.insert(before.to_string(), after.to_string());
            }
            written.push(descriptor);
        }
        let mut all = Vec::new();
        for (image, descriptor) in images.iter().zip(written) {
            if let Some(descriptor) = descriptor {
                all.push(descriptor);
                continue;
            }
            let kind = match &image.kind {
                Kind::Artifact(of) => of.as_str(),
                Kind::Attestation => "attestation",
                _ => "unknown platform",
            };
            let name = image.id().map(Digest::to_string).unwrap_or_default();
            let tags: Vec<&str> = image.names.iter().map(String::as_str).collect();
            let line = format!("{kind} {name} {}", tags.join(" ")).trim_end().to_owned();
            if !self.options.attestations {
                report.dropped.push(line);
                continue;
            }
            all.push(self.attestation(image)?);
            report.kept.push(line);
        }
        Ok(all)
    }

    /// Copies an artifact byte for byte. The entry's reference follows its image.
    fn attestation(&mut self, image: &Image) -> anyhow::Result<Value> {
        let digest = image.manifest.as_ref().context("an artifact without a manifest")?;
        let name = Store::blob_name(digest);
        let manifest = self.store.small(&name, limits::MANIFEST_BYTES)?;
        let manifest = manifest.with_context(|| format!("{name} is missing"))?;
        for blob in image.config.iter().chain(&image.layers) {
            self.copy(blob)?;
        }
        let mut descriptor = self.blob(&manifest, &image.media_type)?;
        document::describe(&mut descriptor, image, &self.renamed);
        Ok(descriptor)
    }

    fn image(&mut self, image: &Image, report: &mut Normalized) -> anyhow::Result<Value> {
        let epoch = self.options.epoch.seconds();
        let (parts, lift, edit) = self.layers(image)?;
        let diff_ids: Vec<&Digest> = parts.iter().filter_map(|p| p.row.after.as_ref()).collect();
        let config = image.config.as_ref().context("an image without a configuration")?;
        let mut config = self.store.json(&config.name, limits::CONFIG_BYTES)?;
        document::config(&mut config, epoch, &diff_ids)?;
        edit.map_or(Ok(()), |edit| edit(&mut config))?;
        for part in &parts {
            if let (Some(before), Some(after)) = (&part.row.before, &part.row.after) {
                document::follow_label(&mut config, before, after);
            }
        }
        let gone = parts.iter().filter(|p| p.row.before.is_some()).map(|p| p.row.after.is_none());
        document::history(&mut config, &gone.collect::<Vec<_>>(), lift.as_ref(), epoch);
        let mut manifest = match &image.manifest {
            Some(digest) => self.store.json(&Store::blob_name(digest), limits::MANIFEST_BYTES)?,
            None => json!({}),
        };
        let config = self.blob(&document::canonical(&config)?, document::CONFIG)?;
        let layers: Vec<Value> = parts.iter().filter_map(|p| p.descriptor.clone()).collect();
        document::manifest(&mut manifest, config, layers, epoch);
        let mut descriptor = self.blob(&document::canonical(&manifest)?, document::MANIFEST)?;
        document::describe(&mut descriptor, image, &BTreeMap::new());
        report.images.push(Row {
            platform: image.platform_name(),
            before: image.manifest.clone(),
            after: document::digest(&descriptor)?,
            layers: parts.into_iter().map(|p| p.row).collect(),
        });
        Ok(descriptor)
    }

    /// Writes the layers. The second value is the history entry of the last one, the third the
    /// change of the configuration.
    fn layers(
        &mut self,
        image: &Image,
    ) -> anyhow::Result<(Vec<Piece>, Option<String>, Option<Edit>)> {
        if !image.layers.iter().all(is_archive) {
            let copied = image.layers.iter().zip(&image.diff_ids).map(|(layer, diff_id)| {
                self.copy(layer)?;
                Ok(Piece::kept(layer, diff_id, &layer.media_type, layer.size))
            });
            return Ok((copied.collect::<anyhow::Result<_>>()?, None, None));
        }
        let all = layers(self.store, image, Keep::Spool)?;
        let fixed = self.encapsulated(image)?;
        let lift = (self.lift)(image, &all)?;
        let without = lift.as_ref().map(|l| &l.without[..]).unwrap_or_default();
        let rules = Rules { epoch: self.options.epoch.seconds().into(), without };
        let mut below = Disk::new(&all);
        let mut parts = Vec::new();
        for (number, (layer, descriptor)) in all.iter().zip(&image.layers).enumerate() {
            let part = match number < fixed {
                true => self.unchanged(layer, descriptor),
                false => self.layer(layer, descriptor, &below, rules),
            };
            parts.push(part.with_context(|| format!("layer {number} ({})", layer.sums.diff_id))?);
            apply(&mut below, number, layer, Model::Umoci)
                .map_err(|r| anyhow::anyhow!("layer {} at {}: {}", r.layer, r.path, r.why))?;
        }
        let Some(lift) = lift else { return Ok((parts, None, None)) };
        if lift.members.is_empty() {
            return Ok((parts, None, lift.config));
        }
        let write = |out: &mut dyn Write| -> anyhow::Result<()> {
            let mut writer = Writer::new(out);
            for (member, content) in &lift.members {
                match content {
                    Content::Bytes(bytes) => writer.append(member, &bytes[..])?,
                    Content::Part(part) => writer.append(member, part.clone())?,
                }
            }
            writer.finish()?;
            Ok(())
        };
        let (descriptor, diff_id) = self.packed(&write, &BTreeMap::new())?;
        let changes = Changes::default();
        let row = LayerRow { before: None, after: Some(diff_id), kept: false, changes };
        parts.push(Piece { descriptor: Some(descriptor), row });
        Ok((parts, Some(lift.created_by), lift.config))
    }

    fn layer(
        &mut self,
        layer: &Layer,
        descriptor: &Descriptor,
        below: &Disk<'_>,
        rules: Rules<'_>,
    ) -> anyhow::Result<Piece> {
        let plan = plan(layer, below, rules)?;
        let before = layer.sums.diff_id.clone();
        if plan.is_empty() && !layer.members.is_empty() {
            let row =
                LayerRow { before: Some(before), after: None, kept: false, changes: plan.changes };
            return Ok(Piece { descriptor: None, row });
        }
        if plan.is_unchanged()? {
            return self.unchanged(layer, descriptor);
        }
        let (descriptor, diff_id) = self.packed(&|out| plan.write(out), &descriptor.annotations)?;
        let changes = plan.changes;
        let row = LayerRow { before: Some(before), after: Some(diff_id), kept: false, changes };
        Ok(Piece { descriptor: Some(descriptor), row })
    }

    /// Writes a layer with unchanged plain bytes, with its old blob unless all are to be compressed
    /// again.
    fn unchanged(&mut self, layer: &Layer, descriptor: &Descriptor) -> anyhow::Result<Piece> {
        let (diff_id, sums) = (&layer.sums.diff_id, &layer.sums);
        if !self.options.recompress {
            self.copy_as(descriptor, &sums.digest)?;
            let named = Descriptor { digest: sums.digest.clone(), ..descriptor.clone() };
            let media_type = document::layer_type(sums.compression);
            return Ok(Piece::kept(&named, diff_id, media_type, i64::try_from(sums.size)?));
        }
        let whole = |out: &mut dyn Write| -> anyhow::Result<()> {
            let mut plain = layer.plain(0, sums.plain).context("the layer was not kept")?;
            let copied = io::copy(&mut plain, out)?;
            ensure!(copied == sums.plain, "the layer's temporary file is too short");
            Ok(())
        };
        let (descriptor, after) = self.packed(&whole, &descriptor.annotations)?;
        let row = LayerRow {
            before: Some(diff_id.clone()),
            after: Some(after),
            kept: false,
            changes: Changes::default(),
        };
        Ok(Piece { descriptor: Some(descriptor), row })
    }

    /// The number of layers with an encapsulated ostree commit. They have no times, and importers
    /// need their order, so they stay as they are.
    fn encapsulated(&self, image: &Image) -> anyhow::Result<usize> {
        let config = image.config.as_ref().context("an image without a configuration")?;
        let config = self.store.json(&config.name, limits::CONFIG_BYTES)?;
        let label = |key: &str| config["config"]["Labels"][key].as_str();
        let last = label("ostree.commit").and(label("ostree.final-diffid"));
        let at = image.diff_ids.iter().position(|d| last == Some(d.as_str()));
        Ok(at.map_or(0, |at| at + 1))
    }

    /// Compresses what `write` writes into a blob; returns its descriptor and diff_id.
    fn packed(
        &mut self,
        write: &dyn Fn(&mut dyn Write) -> anyhow::Result<()>,
        annotations: &BTreeMap<String, String>,
    ) -> anyhow::Result<(Value, Digest)> {
        let compression = self.options.compression;
        let (stored, plain, size) = self.dir.write_named(|file| {
            let stored = Hashing::new(file);
            let (stored, plain) = compress(stored, compression, write)?;
            let digest = stored.hasher.finish();
            let name = Store::blob_name(&digest);
            anyhow::Ok((name, (digest, plain, stored.size)))
        })?;
        let media_type = document::layer_type(compression);
        let mut descriptor = json!({"mediaType": media_type, "digest": stored, "size": size});
        let kept: BTreeMap<_, _> =
            annotations.iter().filter(|(key, _)| !document::is_of_blob(key)).collect();
        if !kept.is_empty() {
            descriptor["annotations"] = serde_json::to_value(kept)?;
        }
        Ok((descriptor, plain))
    }

    fn index(&mut self, list: Option<&Digest>, members: Vec<Value>) -> anyhow::Result<Value> {
        let old = match list.map(Store::blob_name) {
            None => json!({}),
            Some(name) if self.store.has(&name)? => {
                self.store.json(&name, limits::MANIFEST_BYTES)?
            }
            // index.json is the list itself.
            Some(_) => self.store.json("index.json", limits::MANIFEST_BYTES)?,
        };
        let epoch = self.options.epoch.seconds();
        let index = document::index(&old, members, epoch);
        self.blob(&document::canonical(&index)?, document::INDEX)
    }

    /// Writes a blob and returns its descriptor.
    fn blob(&mut self, bytes: &[u8], media_type: &str) -> anyhow::Result<Value> {
        let digest = Digest::of(bytes);
        self.dir.write(&Store::blob_name(&digest), bytes)?;
        Ok(json!({"mediaType": media_type, "digest": digest, "size": bytes.len()}))
    }

    /// Copies and verifies a blob.
    fn copy(&mut self, blob: &Descriptor) -> anyhow::Result<()> {
        self.copy_as(blob, &blob.digest)
    }

    fn copy_as(&mut self, blob: &Descriptor, digest: &Digest) -> anyhow::Result<()> {
        let part = self.store.open_file(&blob.name)?;
        let mut part = part.with_context(|| format!("blob {digest} is missing"))?;
        self.dir.create_dir_all(&format!("blobs/{}", digest.algorithm()))?;
        self.dir.write_named(|file| {
            let mut out = Hashing::with(digest.hasher(), file);
            io::copy(&mut part, &mut out)?;
            let found = out.hasher.finish();
            ensure!(found == *digest, "blob {digest} is corrupt: its bytes have digest {found}");
            Ok((Store::blob_name(digest), ()))
        })
    }

    /// Moves the result to its destination.
    pub(super) fn finish(self, target: &Target<'_>) -> anyhow::Result<()> {
        if !target.archive {
            return Ok(self.dir.commit()?);
        }
        let root = self.dir.place();
        let found: Result<Vec<_>, _> =
            walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter().collect();
        atomic_write_with(target.path, 0o644, |out| {
            let mut writer = Writer::new(io::BufWriter::new(out));
            for entry in found? {
                let path = entry.path().strip_prefix(root)?.to_string_lossy().into_owned();
                let epoch = self.options.epoch.seconds().into();
                let mut member = layer::blank(path.as_bytes(), epoch);
                if entry.file_type().is_file() {
                    (member.kind, member.mode) = (Type::File, 0o644);
                    member.size = entry.metadata()?.len();
                    writer.append(&member, File::open(entry.path())?)?;
                } else {
                    writer.append(&member, io::empty())?;
                }
            }
            writer.finish()?.flush()?;
            anyhow::Ok(true)
        })
    }
}

/// A layer of the result.
struct Piece {
    /// `None` if nothing is left of it.
    descriptor: Option<Value>,
    row: LayerRow,
}

impl Piece {
    fn kept(layer: &Descriptor, diff_id: &Digest, media_type: &str, size: i64) -> Self {
        let mut descriptor = json!({"mediaType": media_type, "digest": layer.digest, "size": size});
        if !layer.annotations.is_empty() {
            descriptor["annotations"] = json!(layer.annotations);
        }
        let row = LayerRow {
            before: Some(diff_id.clone()),
            after: Some(diff_id.clone()),
            kept: true,
            changes: Changes::default(),
        };
        Piece { descriptor: Some(descriptor), row }
    }
}
