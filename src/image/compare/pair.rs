//! Two images of one platform.

use std::collections::BTreeSet;

use super::documents::{Documents, differences, family};
use super::layers::{self, is_archive};
use super::{Class, Pair, Side, class, json, sealed};
use crate::image::flattened::Flattened;
use crate::report::{Progress, composefs};
use crate::run::check::{Job, compare_opened};
use crate::source::hashed::Hashed;
use crate::source::oci::{Digest, Image, Images, Store};
use crate::source::ostree::Encapsulated;

pub(super) fn pair(
    platform: &str,
    (from_a, a): (&Images, &Image),
    (from_b, b): (&Images, &Image),
    job: &Job,
    progress: &Progress,
    warnings: &mut Vec<String>,
) -> anyhow::Result<Pair> {
    let docs_a = Documents::read(&from_a.store, a)?;
    let docs_b = Documents::read(&from_b.store, b)?;
    for (side, docs) in [("A", &docs_a), ("B", &docs_b)] {
        let stale = docs.stale.iter();
        warnings.extend(stale.map(|why| {
            format!("{side}, {platform}: {why}: compared layer by layer, as any image")
        }));
    }
    let settled = settled(&docs_a, &docs_b);
    let mut pair = Pair {
        platform: platform.to_owned(),
        a: side(a, docs_a.ostree.clone()),
        b: side(b, docs_b.ostree.clone()),
        same: false,
        verdict: String::new(),
        classes: BTreeSet::new(),
        details: Vec::new(),
        layers: Vec::new(),
        paths: None,
        composefs: None,
    };
    if !same_shape((from_a, a), (from_b, b)) {
        pair.classes.insert(Class::ListShape);
    }
    pair.documents((a, &docs_a), (b, &docs_b), settled);
    let mut kept = Default::default();
    if a.manifest.is_none() || a.manifest != b.manifest {
        kept = pair.layers((&from_a.store, a), (&from_b.store, b), settled)?;
        if pair.classes.is_empty() && a.id() != b.id() {
            pair.classes.insert(Class::Configuration);
        }
    }
    let deep = [Class::Content, Class::Layering].iter().any(|c| pair.classes.contains(c));
    let archives = a.layers.iter().chain(&b.layers).all(is_archive);
    if deep && archives {
        pair.paths((&from_a.store, a), (&from_b.store, b), settled, kept, job, progress)?;
    }
    pair.verdict = class::headline(pair.classes.iter().copied());
    pair.same = pair.judge(job.strict_metadata, settled);
    if a.diff_ids != b.diff_ids && archives {
        match sealed::compare([(&from_a.store, a, &docs_a), (&from_b.store, b, &docs_b)], &pair) {
            Ok(Some(found)) => pair.add_composefs(found),
            Ok(None) => {}
            Err(error) => {
                warnings.push(format!("{platform}: composefs digests not compared: {error:#}"));
            }
        }
    }
    Ok(pair)
}

/// How many layers of each hold a commit of one content: none, unless both do and where their
/// diff_ids are the same anyway.
pub(super) fn settled(a: &Documents, b: &Documents) -> [usize; 2] {
    match (&a.ostree, &b.ostree) {
        (Some(x), Some(y)) if x.content_checksum == y.content_checksum => [x.layers, y.layers],
        _ => [0, 0],
    }
}

fn side(image: &Image, ostree: Option<Encapsulated>) -> Side {
    Side {
        names: image.names.clone(),
        list: image.list.clone(),
        manifest: image.manifest.clone(),
        config: image.config.as_ref().map(|c| c.digest.clone()),
        diff_ids: image.diff_ids.clone(),
        ostree,
    }
}

/// Whether two images are reached in the same way: as many steps, through a list or not. Lists of
/// the same manifests must be the same bytes; those of others differ anyhow.
fn same_shape((from_a, a): (&Images, &Image), (from_b, b): (&Images, &Image)) -> bool {
    let steps = a.path.len() == b.path.len() && a.list.is_some() == b.list.is_some();
    let listed = |subject: &Images, image: &Image| -> BTreeSet<Option<Digest>> {
        let all = subject.images.iter().filter(|i| i.list == image.list);
        all.map(|i| i.manifest.clone()).collect()
    };
    steps && (a.list == b.list || listed(from_a, a) != listed(from_b, b))
}

impl Pair {
    /// What manifests, configurations and lists say.
    fn documents(
        &mut self,
        (a, x): (&Image, &Documents),
        (b, y): (&Image, &Documents),
        settled: [usize; 2],
    ) {
        if family(a) != family(b) {
            self.classes.insert(Class::MediaType);
        }
        let config = |image: &Image| image.config.as_ref().map(|c| c.digest.clone());
        let written = [
            (x.config == y.config, config(a) != config(b)),
            (x.manifest == y.manifest && !x.manifest.is_null(), a.manifest != b.manifest),
        ];
        if written.contains(&(true, true)) {
            self.classes.insert(Class::JsonEncoding);
        }
        let found = differences((a, x), (b, y), settled);
        self.classes.extend(found.iter().map(json::Difference::class));
        self.details.extend(found.iter().map(json::Difference::line));
    }

    /// Compares layer by layer; gives the layers that were read and hold different files.
    fn layers(
        &mut self,
        (store_a, a): (&Store, &Image),
        (store_b, b): (&Store, &Image),
        settled: [usize; 2],
    ) -> anyhow::Result<[layers::LayersByNumber; 2]> {
        let mut kept = Default::default();
        let of_commit = [&a.diff_ids[..settled[0]], &b.diff_ids[..settled[1]]];
        let [from_a, from_b] = match of_commit[0] == of_commit[1] {
            true => [0, 0],
            false => {
                self.classes.insert(Class::Encapsulation);
                let [x, y] = settled;
                self.details.push(format!("layers of one commit: {x} → {y}, not compared"));
                settled
            }
        };
        let (x, y) = (a.layers.len() - from_a, b.layers.len() - from_b);
        if x != y {
            self.classes.insert(Class::Layering);
            self.details.push(format!("layers: {} → {}", a.layers.len(), b.layers.len()));
            return Ok(kept);
        }
        let one = a.layers.iter().zip(&a.diff_ids).skip(from_a);
        let other = b.layers.iter().zip(&b.diff_ids).skip(from_b);
        for (number, (x, y)) in one.zip(other).enumerate() {
            let number = from_a + number;
            let x = layers::Side { store: store_a, layer: x.0, diff_id: x.1 };
            let y = layers::Side { store: store_b, layer: y.0, diff_id: y.1 };
            let found = layers::compare(number, x, y, &mut kept)?;
            self.classes.extend(&found.classes);
            if !found.classes.is_empty() {
                self.layers.push(found);
            }
        }
        Ok(kept)
    }

    /// Lays the layers over one another and compares path by path. One tree is a matter of its
    /// division into layers.
    fn paths(
        &mut self,
        (store_a, a): (&Store, &Image),
        (store_b, b): (&Store, &Image),
        settled: [usize; 2],
        [read_a, read_b]: [layers::LayersByNumber; 2],
        job: &Job,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        // Objects of commits with one content differ where the commits do.
        let [from_a, from_b] =
            if self.classes.contains(&Class::Encapsulation) { settled } else { [0, 0] };
        let (x, y) = rayon::join(
            || Flattened::beside(store_a, a, from_a, read_a),
            || Flattened::beside(store_b, b, from_b, read_b),
        );
        let (x, y) = (x?, y?);
        let mut differ = x.others() != y.others();
        for (path, line) in x.others().iter().filter(|(p, l)| y.others().get(*p) != Some(l)) {
            self.details.push(format!("A: {}: {line}", String::from_utf8_lossy(path)));
        }
        for (path, line) in y.others().iter().filter(|(p, l)| x.others().get(*p) != Some(l)) {
            self.details.push(format!("B: {}: {line}", String::from_utf8_lossy(path)));
        }
        let linked = x.hard_links() != y.hard_links();
        let times = x.first_other_time(&y);
        let open = |store: &Store, image: &Image, flat| -> anyhow::Result<_> {
            progress.phase("hashing", 0);
            let merkle = Hashed::new(flat, &|| progress.advance(1))?;
            let name = format!("{} {}", store.path().display(), image.platform_name());
            Ok(crate::source::Subject::new(name, Box::new(merkle)))
        };
        let report = compare_opened(job, &open(store_a, a, x)?, &open(store_b, b, y)?, progress)?;
        differ |= !report.same;
        if linked {
            self.details
                .push("names of one file are hard links in one, files in the other".to_owned());
        }
        if differ || linked {
            self.classes.insert(Class::Content);
        } else {
            self.is_layering(times);
        }
        self.paths = (!report.same).then(|| Box::new(report));
        Ok(())
    }

    /// The tree is one: what layers have and others lack is how it is divided.
    fn is_layering(&mut self, times: Option<String>) {
        let layers = self.layers.iter_mut().map(|layer| &mut layer.classes);
        for classes in layers.chain([&mut self.classes]) {
            if classes.remove(&Class::Content) {
                classes.insert(Class::Layering);
            }
        }
        if let Some(line) = times {
            self.classes.insert(Class::TimesAndHistory);
            self.details.push(line);
        }
    }

    /// Adds the composefs digests. What `fix` makes equal path by path, it does there too.
    fn add_composefs(&mut self, found: composefs::Pair) {
        self.same &= found.same;
        match &mut self.paths {
            Some(paths) => {
                paths.add_composefs(found);
                self.composefs = paths.composefs.take();
            }
            None => self.composefs = Some(found),
        }
    }

    fn judge(&self, strict: bool, settled: [usize; 2]) -> bool {
        const FREE: &[Class] = &[
            Class::ListShape,
            Class::MediaType,
            Class::Encapsulation,
            Class::Compression,
            Class::JsonEncoding,
        ];
        let same_layers = self.a.diff_ids == self.b.diff_ids
            || self.a.diff_ids[settled[0]..] == self.b.diff_ids[settled[1]..];
        let counts = |class: &Class| {
            let history = *class == Class::TimesAndHistory && same_layers;
            strict || !(FREE.contains(class) || history)
        };
        !self.classes.iter().any(counts)
    }
}
