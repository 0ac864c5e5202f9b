//! Every shape of an image in every form that keeps it, and what the real programs make of it: the
//! table in docs/oci.md.
//!
//! `REPROFIX_BLESS=1 cargo test --test it oci_matrix` writes anew the columns of the programs that are
//! here, in the versions that are here, and leaves the others as they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use reprofix::image::programs::{Program, answer};
use reprofix::source::oci::{Digest, Image, Images};
use serde_json::json;

use crate::layout::{Made, archive};
use crate::oci::run;
use crate::oci_shapes::{Shape, shapes};
use crate::oci_stores::Registry;

/// In what an image is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Layout,
    Archive,
    DockerArchive,
    Registry,
}

const FORMS: [Form; 4] = [Form::Layout, Form::Archive, Form::DockerArchive, Form::Registry];

impl Form {
    fn name(self) -> &'static str {
        match self {
            Form::Layout => "layout",
            Form::Archive => "oci-archive",
            Form::DockerArchive => "docker-archive",
            Form::Registry => "registry",
        }
    }
}

/// A shape in one form.
struct Kept<'a> {
    shape: &'a Shape,
    form: Form,
    /// The layout, the archive, or the registry's storage.
    path: PathBuf,
    _dir: tempfile::TempDir,
}

/// One image in one form; `None` where the form cannot hold the shape.
fn kept(shape: &Shape, form: Form) -> Option<Kept<'_>> {
    let dir = tempfile::Builder::new().prefix("reprofix-kept-").tempdir().unwrap();
    let path = match form {
        Form::Layout => shape.layout.path().to_owned(),
        Form::Archive => oci_archive(shape.layout.path(), dir.path()),
        Form::DockerArchive => docker_archive(shape, dir.path())?,
        Form::Registry => storage(shape, dir.path()),
    };
    Some(Kept { shape, form, path, _dir: dir })
}

fn oci_archive(layout: &Path, dir: &Path) -> PathBuf {
    let path = dir.join("image.ociarchive");
    run(Command::new("tar").arg("-cf").arg(&path).arg("-C").arg(layout).arg(".")).unwrap();
    path
}

/// What is an image and is there, as `docker save` writes it; the one for amd64 comes first.
fn docker_archive(shape: &Shape, dir: &Path) -> Option<PathBuf> {
    let subject = shape.open();
    let mut members = Vec::new();
    let mut saved = Vec::new();
    let mut add = |name: String, image: &Image| {
        let bytes = |blob: &str| fs::read(shape.layout.path().join(blob)).unwrap();
        let config = image.config.as_ref()?;
        members.push((format!("{}.json", config.digest.hex()), bytes(&config.name)));
        let layers: Vec<String> =
            image.layers.iter().map(|layer| format!("{}.tar", layer.digest.hex())).collect();
        members.extend(layers.iter().cloned().zip(image.layers.iter().map(|l| bytes(&l.name))));
        saved.push(json!({
            "Config": members[members.len() - 1 - layers.len()].0, "RepoTags": [name], "Layers": layers,
        }));
        Some(())
    };
    for image in subject.images.iter().filter(|i| i.is_image() && i.faults.is_empty()) {
        let platform = image.platform_name();
        add(format!("localhost/{}:v1", platform.rsplit('/').next().unwrap_or("x")), image);
    }
    if saved.is_empty() {
        return None;
    }
    members.sort();
    members.dedup();
    members.push(("manifest.json".to_owned(), json!(saved).to_string().into_bytes()));
    let made = members.into_iter().map(|(name, bytes)| {
        let mut made = Made::new(&name, 0o644, "");
        (made.member.size, made.content) = (bytes.len() as u64, bytes);
        made
    });
    let path = dir.join("image.tar");
    fs::write(&path, archive(&made.collect::<Vec<_>>())).unwrap();
    Some(path)
}

/// A registry's storage that has the shape as `demo:v1`: what a push of its manifests would leave.
fn storage(shape: &Shape, dir: &Path) -> PathBuf {
    let root = dir.join("docker/registry/v2");
    let write = |name: String, bytes: &[u8]| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let link = |name: String, digest: &Digest| write(name, digest.as_str().as_bytes());
    let top = shape.top().unwrap_or_else(|| {
        // index.json is the list: as pushed, it is a blob like any other.
        let index = fs::read(shape.layout.path().join("index.json")).unwrap();
        let digest = Digest::of(&index);
        blob(&write, &digest, &index);
        digest
    });
    for entry in fs::read_dir(shape.layout.path().join("blobs/sha256")).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        blob(&write, &Digest::of(&bytes), &bytes);
    }
    for digest in
        shape.open().images.iter().flat_map(|image| image.path.clone()).chain([top.clone()])
    {
        let hex = digest.hex();
        link(format!("repositories/demo/_manifests/revisions/sha256/{hex}/link"), &digest);
    }
    // What a repository may serve.
    for entry in fs::read_dir(shape.layout.path().join("blobs/sha256")).unwrap() {
        let hex = entry.unwrap().file_name().into_string().unwrap();
        let digest = Digest::parse(&format!("sha256:{hex}")).unwrap();
        link(format!("repositories/demo/_layers/sha256/{hex}/link"), &digest);
    }
    link("repositories/demo/_manifests/tags/v1/current/link".to_owned(), &top);
    dir.to_owned()
}

fn blob(write: &impl Fn(String, &[u8]), digest: &Digest, bytes: &[u8]) {
    let hex = digest.hex();
    write(format!("blobs/sha256/{}/{hex}/data", &hex[..2]), bytes);
}

/// Programs that are here, with their versions.
fn programs() -> Vec<(&'static str, String)> {
    let found = ["skopeo", "buildah", "umoci", "oras", "crane"].into_iter().filter_map(|name| {
        let ask = if matches!(name, "oras" | "crane") { "version" } else { "--version" };
        let output = Command::new(name).arg(ask).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut words = text.split_whitespace();
        let version = words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        let version = version.map(|v| v.split(['+', '-']).next().unwrap_or(v).to_owned());
        Some((name, format!("{name} {}", version.unwrap_or_default()).trim_end().to_owned()))
    });
    found.collect()
}

impl Kept<'_> {
    /// How reprofix is given it.
    fn subject(&self) -> String {
        let path = self.path.display();
        let tag = self.shape.tag.map(|tag| format!(":{tag}")).unwrap_or_default();
        match self.form {
            Form::Layout => format!("oci:{path}{tag}"),
            Form::Archive => format!("oci-archive:{path}{tag}"),
            Form::DockerArchive => format!("docker-archive:{path}"),
            Form::Registry => format!("registry:{path}:demo:v1"),
        }
    }

    /// How containers/image is given it.
    fn reference(&self, registry: Option<&Registry>) -> String {
        match (self.form, registry) {
            (Form::Registry, Some(registry)) => registry.image("demo:v1"),
            (Form::DockerArchive, _) => {
                let amd64 = self.names().into_iter().find(|name| name.contains("amd64"));
                format!("{}:{}", self.subject(), amd64.unwrap_or("localhost/-:v1".to_owned()))
            }
            _ => self.subject(),
        }
    }

    fn names(&self) -> Vec<String> {
        let subject = Images::open(&self.subject(), None).unwrap();
        subject.images.iter().flat_map(|image| image.names.clone()).collect()
    }

    /// What a digest is, by the shape's own words.
    fn named(&self, digest: &Digest) -> String {
        let found = self.shape.digests.iter().find(|(_, d)| d == digest);
        match (found, self.form) {
            (Some((what, _)), _) => (*what).to_owned(),
            (None, Form::DockerArchive) => "made up".to_owned(),
            (None, _) => {
                let index = fs::read(self.shape.layout.path().join("index.json")).unwrap();
                let what =
                    if *digest == Digest::of(&index) { "list" } else { "a manifest of its own" };
                what.to_owned()
            }
        }
    }

    /// A digest that is named and one that is copied, in words.
    fn steps(&self, top: &Digest, taken: Option<&Digest>) -> String {
        let top = self.named(top);
        match taken.map(|digest| self.named(digest)) {
            None => format!("{top}; refuses to copy"),
            Some(taken) if taken == top => top,
            Some(taken) => format!("{top} → {taken}"),
        }
    }

    fn skopeo(&self, registry: Option<&Registry>) -> String {
        let place = self.reference(registry);
        let mut inspect = Command::new("skopeo");
        inspect.args(["inspect", "--raw", "--tls-verify=false", &place]);
        let Ok(raw) = run(&mut inspect) else { return "refuses".to_owned() };
        let out = tempfile::tempdir().unwrap();
        let mut copy = Command::new("skopeo");
        copy.args(["--insecure-policy", "--override-os", "linux", "--override-arch", "amd64"]);
        copy.args(["copy", "--src-tls-verify=false", "--quiet", &place]);
        let copied = run(copy.arg(format!("dir:{}", out.path().display()))).ok().map(|_| {
            let manifest = fs::read(out.path().join("manifest.json")).unwrap();
            Digest::of(&manifest)
        });
        if self.form == Form::DockerArchive {
            return if copied.is_some() { "takes it".to_owned() } else { "refuses".to_owned() };
        }
        self.steps(&Digest::of(&raw), copied.as_ref())
    }

    fn buildah(&self, registry: Option<&Registry>, store: &Path) -> String {
        let buildah = |arguments: &[&str]| {
            let mut command = Command::new("buildah");
            command.arg("--root").arg(store.join("root")).arg("--runroot").arg(store.join("run"));
            run(command.args(["--storage-driver", "vfs"]).args(arguments))
                .map(|out| String::from_utf8(out).unwrap().trim().to_owned())
        };
        let place = self.reference(registry);
        // A copy in the store may not stand for the one that is asked for.
        let from = ["from", "--pull-always", "--tls-verify=false", "--arch", "amd64", &place];
        let Ok(name) = buildah(&from) else { return "refuses".to_owned() };
        let root = buildah(&["mount", &name]).unwrap();
        let text = fs::read_to_string(Path::new(&root).join("a"));
        buildah(&["rm", &name]).unwrap();
        unpacked(text)
    }

    fn umoci(&self) -> String {
        let Form::Layout = self.form else { return "–".to_owned() };
        let out = tempfile::tempdir().unwrap();
        let tag = self.shape.tag.map(|tag| format!(":{tag}")).unwrap_or_default();
        let mut unpack = Command::new("umoci");
        unpack.args(["unpack", "--image", &format!("{}{tag}", self.path.display())]);
        match run(unpack.arg(out.path().join("bundle"))) {
            Err(_) => "refuses".to_owned(),
            Ok(_) => unpacked(fs::read_to_string(out.path().join("bundle/rootfs/a"))),
        }
    }

    fn oras(&self, registry: Option<&Registry>) -> String {
        let place = match (self.form, registry) {
            (Form::DockerArchive, _) => return "–".to_owned(),
            (Form::Registry, Some(registry)) => {
                vec!["--plain-http".to_owned(), format!("{}/demo:v1", registry.address)]
            }
            _ => {
                let tag = self.shape.tag.unwrap_or("latest");
                vec!["--oci-layout".to_owned(), format!("{}:{tag}", self.path.display())]
            }
        };
        let digest = |more: &[&str]| {
            let mut oras = Command::new("oras");
            let out = run(oras.arg("resolve").args(more).args(&place)).ok()?;
            Digest::parse(String::from_utf8(out).unwrap().trim())
        };
        let Some(top) = digest(&[]) else { return "refuses".to_owned() };
        let taken = digest(&["--platform", "linux/amd64"]);
        self.steps(&top, taken.as_ref()).replace("refuses to copy", "finds no image")
    }

    fn crane(&self, registry: Option<&Registry>) -> String {
        let Some(registry) = registry.filter(|_| self.form == Form::Registry) else {
            return "–".to_owned();
        };
        let name = format!("{}/demo:v1", registry.address);
        let digest = |more: &[&str]| {
            let mut crane = Command::new("crane");
            let out = run(crane.args(["digest", "--insecure"]).args(more).arg(&name)).ok()?;
            Digest::parse(String::from_utf8(out).unwrap().trim())
        };
        let Some(top) = digest(&[]) else { return "refuses".to_owned() };
        let taken = digest(&["--platform", "linux/amd64"]);
        self.steps(&top, taken.as_ref()).replace("refuses to copy", "finds no image")
    }

    fn ask(&self, program: &str, registry: Option<&Registry>, store: &Path) -> String {
        match program {
            "skopeo" => self.skopeo(registry),
            "buildah" => self.buildah(registry, store),
            "umoci" => self.umoci(),
            "oras" => self.oras(registry),
            _ => self.crane(registry),
        }
    }

    /// Exit codes of `oci platforms`, `verify`, `lint`, `normalize` and of `check` with itself.
    fn exits(&self, out: &Path) -> String {
        let subject = self.subject();
        let target = format!("oci:{}:demo", out.display());
        let normalize = ["oci", "normalize", &subject, "-o", &target, "--source-date-epoch", "0"];
        let commands: [&[&str]; 5] = [
            &["oci", "platforms", &subject],
            &["oci", "verify", &subject],
            &["oci", "lint", &subject],
            &normalize,
            &["check", &subject, &subject],
        ];
        let exit = |command: &[&str]| {
            let mut reprofix = Command::new(env!("CARGO_BIN_EXE_reprofix"));
            reprofix.args(command).output().unwrap().status.code().unwrap()
        };
        let codes = commands.iter().enumerate().map(|(number, command)| {
            let code = exit(command);
            // One platform of those that are there can be written where not all can.
            if number == 3 && code == 2 {
                let amd64 = [command, &["--platform", "linux/amd64"][..]].concat();
                return if exit(&amd64) == 0 {
                    "2 (0 for amd64)".to_owned()
                } else {
                    "2".to_owned()
                };
            }
            code.to_string()
        });
        codes.collect::<Vec<_>>().join(" ")
    }
}

fn unpacked(text: std::io::Result<String>) -> String {
    match text.as_deref() {
        Ok("arm64") => "unpacks arm64".to_owned(),
        Ok(_) => "unpacks".to_owned(),
        Err(_) => "unpacks nothing".to_owned(),
    }
}

/// What the normal form is: a shape of its own.
fn normal(out: &Path) -> Option<Shape> {
    let subject = Images::open(out.to_str()?, None).ok()?;
    let amd64 = subject.images.iter().find(|i| i.platform_name() == "linux/amd64");
    let image = amd64.or(subject.images.first())?;
    let mut digests = Vec::new();
    digests.extend(image.list.clone().map(|digest| ("list", digest)));
    digests.extend(image.manifest.clone().map(|digest| ("manifest", digest)));
    let layout = crate::layout::Layout::empty();
    for entry in fs::read_dir(out).unwrap().map(Result::unwrap) {
        fs::rename(entry.path(), layout.path().join(entry.file_name())).unwrap();
    }
    Some(Shape { name: "", layout, tag: Some("demo"), digests })
}

/// One row: shape and form, our exit codes, what becomes of it, and a cell a program.
struct Row {
    key: [String; 2],
    ours: [String; 2],
    cells: BTreeMap<String, String>,
}

fn row(kept: &Kept<'_>, programs: &[(&'static str, String)], store: &Path) -> Row {
    let served = (kept.form == Form::Registry
        && Command::new("docker-registry").arg("--version").output().is_ok())
    .then(|| Registry::serve(&kept.path));
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let exits = kept.exits(&out);
    let normal = normal(&out);
    let becomes = match &normal {
        None => "–",
        Some(shape) if shape.digests.len() == 2 => "a list",
        Some(_) => "a manifest",
    };
    let mut cells = BTreeMap::new();
    for (name, column) in programs {
        if kept.form == Form::Registry && served.is_none() {
            continue;
        }
        let before = kept.ask(name, served.as_ref(), store);
        let after = normal.as_ref().filter(|_| kept.form == Form::Layout).map(|shape| {
            let (path, _dir) = (shape.layout.path().to_owned(), tempfile::tempdir().unwrap());
            Kept { shape, form: Form::Layout, path, _dir }.ask(name, None, store)
        });
        let cell = match after {
            Some(after) if after != before => format!("{before} ⇒ {after}"),
            _ => before,
        };
        cells.insert(column.clone(), cell);
    }
    let key = [kept.shape.name.to_owned(), kept.form.name().to_owned()];
    Row { key, ours: [exits, becomes.to_owned()], cells }
}

/// Rows of a table by their first two cells, and its header.
fn parse(text: &str) -> (Vec<String>, BTreeMap<[String; 2], Vec<String>>) {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut lines = text.lines();
    let header = lines.next().map(cells).unwrap_or_default();
    let rows = lines.skip(1).map(cells).filter(|row| row.len() == header.len());
    let rows = rows.map(|row| ([row[0].clone(), row[1].clone()], row)).collect();
    (header, rows)
}

const OURS: [&str; 4] = ["shape", "kept in", "exit codes", "normal form"];

/// What every program that is here makes of every shape in every form is what the table says.
#[test]
fn the_table_of_shapes_is_what_the_programs_do() {
    let programs = programs();
    for needed in ["skopeo", "buildah", "umoci", "docker-registry"] {
        if !crate::oci::have(needed) {
            return;
        }
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/oci.md");
    let text = fs::read_to_string(&page).unwrap();
    let written = table(&text);
    let start = text.find(written).unwrap();
    let stop = start + written.len();
    let bless = std::env::var_os("REPROFIX_BLESS").is_some();
    let (header, old) = parse(&text[start..stop]);
    let known = |column: &String| header.contains(column);
    for (_, column) in programs.iter().filter(|(_, column)| !bless && !known(column)) {
        eprintln!("SKIPPED: the table has no column for {column}");
    }
    let asked: Vec<_> = programs.into_iter().filter(|(_, column)| bless || known(column)).collect();
    let mut columns: Vec<String> = OURS.map(str::to_owned).to_vec();
    columns.extend(header.into_iter().skip(OURS.len()));
    for (_, column) in &asked {
        if !columns.contains(column) {
            columns.push(column.clone());
        }
    }
    let store = tempfile::tempdir().unwrap();
    let mut new = format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
    for shape in &shapes() {
        for form in FORMS {
            let Some(kept) = kept(shape, form) else { continue };
            let row = row(&kept, &asked, store.path());
            let was = old.get(&row.key);
            let mut cells: Vec<String> = row.key.iter().chain(&row.ours).cloned().collect();
            for column in &columns[OURS.len()..] {
                let at = parse(&text[start..stop]).0.iter().position(|c| c == column);
                let old = at.and_then(|at| Some(was?[at].clone()));
                cells.push(row.cells.get(column).cloned().or(old).unwrap_or("?".to_owned()));
            }
            new += &format!("| {} |\n", cells.join(" | "));
        }
    }
    if bless {
        fs::write(&page, [&text[..start], &new, &text[stop..]].concat()).unwrap();
        return;
    }
    for (new, old) in new.lines().zip(text[start..stop].lines()) {
        assert_eq!(new, old, "REPROFIX_BLESS=1 writes the table anew");
    }
    assert_eq!(new.lines().count(), text[start..stop].lines().count(), "rows are missing");
}

/// What `oci platforms --as PROGRAM` says is what that program did: the columns of the versions that it
/// means, which the table has from a run of them.
#[test]
fn what_is_said_of_programs_is_what_they_did() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/oci.md");
    let (header, rows) = parse(table(&fs::read_to_string(&page).unwrap()));
    let mut compared = 0;
    let mut wrong = Vec::new();
    for shape in &shapes() {
        for form in FORMS {
            let Some(kept) = kept(shape, form) else { continue };
            let row = &rows[&[shape.name.to_owned(), form.name().to_owned()]];
            for program in Program::ALL {
                // podman reads and unpacks images by the code of buildah.
                let of = program.name().replace("podman 5.8", "buildah 1.43");
                let Some(at) = header.iter().position(|column| column.starts_with(&of)) else {
                    assert_eq!(program, Program::OcMirror, "no column for {of}");
                    continue;
                };
                // The registry gives out another manifest than it has.
                if shape.name == "Docker's schema 1" && form == Form::Registry {
                    continue;
                }
                let did = row[at].split(" ⇒ ").next().unwrap().replace("–", "refuses");
                let said = kept.said(program);
                compared += 1;
                // From a docker-archive, which gives no media type, buildah makes nothing of a filesystem.
                if did.replace("unpacks nothing", "unpacks") != said {
                    wrong.push(format!("{} {of}: did {did:?}, said {said:?}", row[..2].join(", ")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > 250, "{compared}");
}

impl Kept<'_> {
    /// What the model says, in the words of the table.
    fn said(&self, program: Program) -> String {
        let images = Images::open(&self.subject(), None).unwrap();
        let all = || images.images.iter().filter(|image| image.is_image());
        let Some(image) = all().find(|i| i.platform_name() == "linux/amd64").or(all().next())
        else {
            return "refuses".to_owned();
        };
        let answer = answer(program, &images, image);
        let refuses = "refuses".to_owned();
        match program {
            Program::Podman | Program::Umoci => match &answer.takes {
                None => refuses,
                Some(_) if self.shape.name.starts_with("an entry of another arch") => {
                    "unpacks arm64".to_owned()
                }
                Some(digest) if self.named(digest).starts_with("arm64") => {
                    "unpacks arm64".to_owned()
                }
                Some(_) => "unpacks".to_owned(),
            },
            _ if self.form == Form::DockerArchive => match &answer.takes {
                Some(_) => "takes it".to_owned(),
                None => refuses,
            },
            _ => match &answer.names {
                None => refuses,
                Some(top) => {
                    let said = self.steps(top, answer.takes.as_ref());
                    match program {
                        Program::Oras => said.replace("refuses to copy", "finds no image"),
                        _ => said,
                    }
                }
            },
        }
    }
}

/// The table in a page.
fn table(page: &str) -> &str {
    let (begin, end) = ("<!-- shapes: begin -->\n", "<!-- shapes: end -->");
    let start = page.find(begin).unwrap() + begin.len();
    &page[start..page.find(end).unwrap()]
}
