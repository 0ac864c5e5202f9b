//! `oci normalize` of a layer of random members (pax, GNU, global, sparse, links, whiteouts), as GNU
//! tar and Python read it before and after: the bytes are the dice of the tests' generator.
#![no_main]

use std::path::Path;
use std::process::Command;

use libfuzzer_sys::fuzz_target;
use reprofix::env::SourceDateEpoch;
use reprofix::image::normalize::{Options, normalize};
use reprofix::source::oci::Compression;

#[path = "../../tests/it/layout.rs"]
#[allow(dead_code)]
mod layout;
#[path = "../../tests/it/tar_made.rs"]
#[allow(dead_code)]
mod tar_made;

mod oci {
    use std::path::Path;

    use reprofix::source::oci::Images;

    pub(crate) fn subject(path: &Path) -> Images {
        Images::open(path.to_str().expect("UTF-8"), None).expect("a layout")
    }
}

use layout::{Layout, Stored};
use tar_made::{Dice, any_archive};

const EPOCH: u32 = 1000;

/// Bytes as dice; zeros where they end.
struct Bytes<'a>(std::slice::Iter<'a, u8>);

impl Dice for Bytes<'_> {
    fn roll(&mut self, below: usize) -> usize {
        let mut next = || usize::from(self.0.next().copied().unwrap_or(0));
        let low = next();
        (if below > 256 { next() << 8 | low } else { low }) % below
    }
}

/// The plain bytes of the layer's normal form; `None` where it is refused.
fn normal(plain: &[u8]) -> Option<Vec<u8>> {
    let layout = Layout::of(&[Stored::gzip(plain.to_vec(), 1)]);
    let out = layout.path().join("out");
    let options = Options {
        epoch: SourceDateEpoch::new(EPOCH),
        compression: Compression::Gzip,
        recompress: false,
        attestations: false,
    };
    match normalize(&layout.open(), &format!("oci:{}:demo", out.display()), options) {
        Ok(_) => {}
        Err(why) => {
            assert!(format!("{why:#}").contains("sparse member"), "{why:#}");
            return None;
        }
    }
    let image = oci::subject(&out);
    let one = image.one().expect("an image");
    let (layer, diff_id) = (&one.layers[0], &one.diff_ids[0]);
    let stream = image.store.plain(&layer.name, layer.digest.hasher(), diff_id.hasher());
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut stream.expect("opens").expect("is there"), &mut bytes)
        .expect("reads");
    Some(bytes)
}

fuzz_target!(|dice: &[u8]| {
    let archive = any_archive(&mut Bytes(dice.iter()));
    let Some(new) = normal(&archive) else { return };
    assert!(normal(&new).as_ref() == Some(&new), "the normal form has another normal form");
    let dir = tempfile::tempdir().expect("room");
    let places = ["old.tar", "new.tar"].map(|name| dir.path().join(name));
    std::fs::write(&places[0], &archive).expect("room");
    std::fs::write(&places[1], &new).expect("room");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/e2e/layer-oracle");
    let output = Command::new(script).arg(EPOCH.to_string()).args(&places).output();
    let output = output.expect("tests/e2e/layer-oracle runs");
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    // `null`: the two readers do not agree about the archive as it was.
    assert!(output.status.success() && (said == "null" || said == "[]"), "{output:?}");
});
