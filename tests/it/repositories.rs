//! Repositories, stores and databases whose word about a file is in another place than beside it, each
//! asked by its own tool before `fix` and after.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::oci::{have, have_daemon};
use crate::repo::{output, run};
use crate::vouchers::{Tree, left};

/// A package of these files below `pkg`, as `NAME.deb`.
fn deb(work: &Tree, name: &str) {
    work.put(
        "pkg/DEBIAN/control",
        format!("Package: {name}\nVersion: 1-1\nArchitecture: all\nMaintainer: t <t@example.org>\nDescription: t\n"),
    );
    work.sh("cd pkg; find usr lib -type f 2>/dev/null | xargs md5sum >DEBIAN/md5sums");
    run("dpkg-deb", &["-b", "-Znone", &work.text("pkg"), &work.text(&format!("{name}.deb"))]);
    work.sh("rm -r pkg");
}

#[test]
fn files_that_dpkg_diverted_verify_as_before() {
    if !have("dpkg-divert") || !have("debsums") {
        return;
    }
    let (tree, work) = (Tree::new(), Tree::new());
    work.make(1, &["pkg/usr/share/x", "pkg/lib/y"]);
    work.sh("rm -r pkg/usr/share/x/__pycache__ pkg/lib/y/__pycache__");
    deb(&work, "t");
    work.make(3, &["pkg/usr/share/x"]);
    work.sh("cd pkg/usr/share/x; find . -type f ! -name z.zip -delete; rmdir __pycache__");
    deb(&work, "d");
    tree.sh(
        "mkdir -p usr/lib usr/share/ours var/lib/dpkg/info var/lib/dpkg/updates; ln -s usr/lib lib; \
         : >var/lib/dpkg/status",
    );
    let root = format!("--root={}", tree.text(""));
    let install = |name: &str| {
        let deb = work.text(&format!("{name}.deb"));
        let options = ["--log=/dev/null", "--force-not-root", "--force-script-chrootless"];
        run("dpkg", &[&[root.as_str()][..], &options, &["-i", &deb]].concat());
    };
    let divert = |by: &[&str], from: &str, to: &str| {
        let options = [root.as_str(), "--quiet", "--add", "--rename", "--divert", to];
        run("dpkg-divert", &[&options, by, &[from]].concat());
    };
    install("t");
    divert(&["--local"], "/usr/share/x/n.gz", "/usr/share/ours/m.gz");
    divert(&["--local"], "/lib/y/l.a", "/lib/y/l.distrib.a");
    divert(&["--package", "d"], "/usr/share/x/z.zip", "/usr/share/x/z.distrib.zip");
    install("d");
    // The administrator's own in the place of what was diverted.
    tree.make(2, &["usr/share/free"]);
    tree.sh("cp usr/share/free/n.gz usr/share/x/n.gz");
    // Of a diverted file that was changed, `dpkg --verify` and debsums (3.0) say nothing at all: only
    // one that is whole is listed.
    let whole = || run("debsums", &[root.as_str(), "t", "d"]);
    let verify = || run("dpkg", &[&root, "--verify"]);
    let before = whole();
    let theirs = ["share/ours/m.gz", "lib/y/l.distrib.a", "share/x/z.distrib.zip", "share/x/z.zip"];
    for path in theirs {
        let line = before.lines().find(|line| line.contains(path)).unwrap_or_default();
        assert!(line.ends_with(" OK"), "{path}: {before}");
    }
    assert_eq!(verify(), "");
    let own = tree.read("usr/share/x/n.gz");
    let report = tree.fix(&[]);
    assert_eq!((verify(), whole()), (String::new(), before));
    assert_ne!(tree.read("usr/share/x/n.gz"), own, "no package ships what is there now");
    assert!(left(&report, "package") >= 4, "{report:#}");
    tree.fix(&["--overrule", "usr/share/ours/m.gz"]);
    assert!(!whole().contains("usr/share/ours/m.gz"), "it follows the diversion: {}", whole());
}

/// Serves a repository of the simple form on this machine, and lets pip download from it: it compares
/// the digest that the index gives.
const PIP: &str = r#"
import functools, http.server, os, subprocess, sys, tempfile, threading
root, form, package = sys.argv[1:]
class Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {"": "application/octet-stream", ".html": "text/html",
        ".v1_json": "application/vnd.pypi.simple.v1+json"}
    def do_GET(self):
        if self.path.endswith("/"):
            self.path += form
        super().do_GET()
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=root))
threading.Thread(target=server.serve_forever, daemon=True).start()
to = tempfile.mkdtemp()
done = subprocess.run(["/usr/bin/python3", "-m", "pip", "--isolated", "--disable-pip-version-check",
    "download", "-q", "--no-deps", "--no-cache-dir", "--dest", to,
    "--index-url", f"http://127.0.0.1:{server.server_port}/simple/", package], text=True,
    stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
print("whole" if done.returncode == 0 else done.stdout)
"#;

#[test]
fn what_a_simple_index_lists_can_still_be_downloaded() {
    if !have("python3") || !output("/usr/bin/python3", &["-m", "pip", "--version"]).status.success()
    {
        return eprintln!("SKIPPED: pip is not installed");
    }
    let html =
        "echo \"<a href='../../$F#sha256=$(sha256sum <$W | cut -d' ' -f1)'>$N</a>\" >index.html";
    let json = "printf '{\"meta\":{\"api-version\":\"1.0\"},\"name\":\"m\",\"files\":[{\"filename\":\"%s\",\
                \"url\":\"../../%s\",\"hashes\":{\"sha256\":\"%s\"}}]}' $N $F $(sha256sum <$W | cut -d' ' -f1) \
                >index.v1_json";
    for (form, index, plus, place) in [
        ("index.html", html, "%2B", "packages/py3"),
        ("index.v1_json", json, "%2B", "packages/py3"),
        ("index.html", html, "+", "simple/m"),
    ] {
        let tree = Tree::new();
        tree.sh(&format!("mkdir -p srv/pypi/simple/m srv/pypi/{place} m-1+l.dist-info"));
        tree.put("m-1+l.dist-info/METADATA", "Metadata-Version: 2.1\nName: m\nVersion: 1+l\n");
        tree.put(
            "m-1+l.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        );
        tree.put("m-1+l.dist-info/RECORD", "");
        let name = "m-1+l-py3-none-any.whl";
        let wheel = format!("srv/pypi/{place}/{name}");
        tree.sh(&format!(
            "touch -d @1800000000 m-1*/*; python3 -m zipfile -c {wheel} m-1+l.dist-info; rm -r m-1*; \
             W=../../../../{wheel} F={place}/$(echo {name} | sed s/+/{plus}/) N={name}; \
             cd srv/pypi/simple/m; {index}"
        ));
        let pip = || run("python3", &["-c", PIP, &tree.text("srv/pypi"), form, "m"]);
        assert_eq!(pip().trim(), "whole", "{form} before");
        let before = tree.read(&wheel);
        let report = tree.fix(&[]);
        assert_eq!(pip().trim(), "whole", "{form} after");
        assert_eq!((tree.read(&wheel), left(&report, "sums-file")), (before, 1), "{form}");
        tree.fix(&["--overrule", "**/*.whl"]);
        assert!(pip().contains("DO NOT MATCH"), "{form}: pip compares: {}", pip());
    }
}

#[test]
fn what_a_debian_archive_lists_can_still_be_downloaded() {
    if !have("apt-get") || !have("xz") {
        return;
    }
    let tree = Tree::new();
    let (pool, lists) = ("srv/debian/pool/main/t/t", "srv/debian/dists/stable/main/source");
    tree.make(1, &[pool]);
    tree.sh(&format!(
        "mkdir -p {lists}; cd {pool}; mv n.gz t_1.tar.gz; echo 'Format: 1.0' >t_1.dsc; cd ../../../..; \
         f() {{ for f in t_1.dsc t_1.tar.gz; do echo \" $($1 <pool/main/t/t/$f | cut -d' ' -f1) \
         $(stat -c %s pool/main/t/t/$f) $f\"; done; }}; \
         {{ printf 'Package: t\\nFormat: 1.0\\nBinary: t\\nVersion: 1\\nArchitecture: all\\n\
         Directory: pool/main/t/t\\nFiles:\\n'; f md5sum; echo Checksums-Sha256:; f sha256sum; }} | \
         xz >dists/stable/main/source/Sources.xz"
    ));
    let work = Tree::new();
    let apt = |command: &[&str]| {
        work.sh("mkdir -p state/lists/partial cache/archives/partial got");
        work.put(
            "list",
            format!("deb-src [trusted=yes] copy:{} stable main\n", tree.text("srv/debian")),
        );
        let at = |name: &str, to: &str| format!("-o{name}={}", work.text(to));
        let options = [
            at("Dir::State", "state"),
            at("Dir::Cache", "cache"),
            at("Dir::Etc::SourceList", "list"),
            "-oDir::Etc::SourceParts=/dev/null".to_owned(),
            "-oAcquire::AllowInsecureRepositories=true".to_owned(),
            "-oAPT::Sandbox::User=root".to_owned(),
        ];
        let options: Vec<&str> =
            options.iter().map(String::as_str).chain(command.iter().copied()).collect();
        let mut apt = Command::new("apt-get");
        let out = apt.args(options).current_dir(work.at("got")).output().unwrap();
        let said = [out.stdout, out.stderr].concat();
        (out.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let download = || {
        work.sh("rm -rf state cache got");
        let (done, said) = apt(&["update", "-q"]);
        assert!(done, "{said}");
        apt(&["source", "-q", "--download-only", "t"])
    };
    let (done, said) = download();
    assert!(done, "before: {said}");
    let (listed, free) = (format!("{pool}/t_1.tar.gz"), format!("{pool}/z.zip"));
    let before = [&listed, &free].map(|path| tree.read(path));
    let report = tree.fix(&[]);
    let (done, said) = download();
    assert!(done, "after: {said}");
    assert_eq!((tree.read(&listed), left(&report, "sums-file")), (before[0].clone(), 1));
    assert_ne!(tree.read(&free), before[1], "it is not listed");
    tree.fix(&["--overrule", "**/pool/**"]);
    let (done, said) = download();
    assert!(!done && said.contains("Hash Sum mismatch"), "apt compares: {said}");
}

/// An image in the form of `docker save`, of the directory in the second argument.
const IMAGE: &str = r#"
import hashlib, io, json, sys, tarfile
to, root = sys.argv[1:]
def pack(members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()
layer = io.BytesIO()
with tarfile.open(fileobj=layer, mode="w") as tar:
    tar.add(root, "usr")
layer = layer.getvalue()
config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers",
    "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}).encode()
manifest = json.dumps([{"Config": "c.json", "RepoTags": ["docker.io/library/app:1"], "Layers": ["l.tar"]}]).encode()
open(to, "wb").write(pack([("c.json", config), ("l.tar", layer), ("manifest.json", manifest)]))
"#;

/// A daemon of ours, ended by SIGTERM.
struct Daemon(Child);

impl Daemon {
    /// Starts it and waits until `ready` holds; `None`, with the reason, where it does not come up.
    fn start(program: &str, args: &[&str], log: &Path, ready: &dyn Fn() -> bool) -> Option<Self> {
        let file = fs::File::create(log).unwrap();
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let mut daemon = Daemon(command.spawn().unwrap());
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if ready() {
                return Some(daemon);
            }
            if daemon.0.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let said = fs::read_to_string(log).unwrap_or_default();
        eprintln!("SKIPPED: {program} does not start here: {}", said.lines().last().unwrap_or(""));
        None
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

/// The storage of a daemon in `var/lib/NAME`: an image goes in, `fix` runs, and it comes out whole.
fn storage_of(
    name: &str,
    tree: &Tree,
    start: &dyn Fn() -> Option<Daemon>,
    load: &dyn Fn(&str),
    save: &dyn Fn(&str),
) {
    let work = Tree::new();
    work.make(1, &["usr/share/x"]);
    run("python3", &["-c", IMAGE, &work.text("image.tar"), &work.text("usr")]);
    let Some(daemon) = start() else { return };
    load(&work.text("image.tar"));
    save(&work.text("before.tar"));
    drop(daemon);
    let place = format!("var/lib/{name}");
    // What a daemon leaves mounted is not of the tree.
    let mounted = format!(
        "grep -o ' {}[^ ]*' /proc/mounts | sort -r | xargs -r umount -l",
        tree.text(&place)
    );
    run("sh", &["-c", &mounted]);
    let files = || {
        tree.sh(&format!(
            "cd {place}; find . -type f ! -name '*.db' | LC_ALL=C sort | xargs -d '\n' sha256sum"
        ))
    };
    let before = files();
    assert!(before.contains("n.gz"), "{name} unpacked the image: {before}");
    let report = tree.fix(&[]);
    assert!(left(&report, "container-storage") > 0, "{report:#}");
    assert_eq!(files(), before);
    let daemon = start().expect("it started before");
    save(&work.text("after.tar"));
    drop(daemon);
    let layers = |archive: &str| {
        let list = format!(
            "tar xOf {} --wildcards '*.tar' 'blobs/sha256/*' 2>/dev/null | sha256sum",
            work.text(archive)
        );
        run("sh", &["-c", &list])
    };
    assert_eq!(layers("after.tar"), layers("before.tar"), "{name}: the image that comes out");
}

#[test]
fn an_image_in_containerds_storage_can_still_be_exported() {
    if !have_daemon("containerd") || !have("ctr") || !have("python3") {
        return;
    }
    let (tree, run_in) = (Tree::new(), Tree::new());
    let (root, state) = (tree.text("var/lib/containerd"), run_in.text("state"));
    let socket = run_in.text("socket");
    let config = format!(
        "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[ttrpc]\naddress = \"{socket}.ttrpc\"\n"
    );
    run_in.put("config.toml", config);
    let ctr = |args: &[&str]| {
        let out = output("ctr", &[&["--address", &socket][..], args].concat());
        (
            out.status.success(),
            String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned(),
        )
    };
    let done = |args: &[&str]| {
        let (done, said) = ctr(args);
        assert!(done, "ctr {args:?}: {said}");
    };
    let start = || {
        let config = run_in.text("config.toml");
        let args = ["--config", &config, "--root", &root, "--state", &state, "--address", &socket];
        Daemon::start("containerd", &args, &run_in.at("log"), &|| ctr(&["version"]).0)
    };
    storage_of(
        "containerd",
        &tree,
        &start,
        &|archive| done(&["images", "import", "--snapshotter", "native", archive]),
        &|archive| done(&["images", "export", archive, "docker.io/library/app:1"]),
    );
}

#[test]
fn an_image_in_dockers_storage_can_still_be_saved() {
    if !have_daemon("dockerd") || !have("docker") || !have("python3") {
        return;
    }
    for driver in ["overlay2", "vfs"] {
        let (tree, run_in) = (Tree::new(), Tree::new());
        let (root, exec) = (tree.text("var/lib/docker"), run_in.text("exec"));
        let (socket, pid) = (format!("unix://{}", run_in.text("socket")), run_in.text("pid"));
        let docker = |args: &[&str]| output("docker", &[&["--host", &socket][..], args].concat());
        let done = |args: &[&str]| {
            let out = docker(args);
            assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        };
        let start = || {
            let args = [
                "--data-root",
                &root,
                "--exec-root",
                &exec,
                "--pidfile",
                &pid,
                "--host",
                &socket,
                "--storage-driver",
                driver,
                "--bridge=none",
                "--iptables=false",
                "--ip6tables=false",
            ];
            Daemon::start("dockerd", &args, &run_in.at("log"), &|| {
                docker(&["version"]).status.success()
            })
        };
        storage_of(
            "docker",
            &tree,
            &start,
            &|archive| done(&["load", "--quiet", "--input", archive]),
            &|archive| done(&["save", "--output", archive, "app:1"]),
        );
    }
}

#[test]
fn a_composefs_repository_in_the_tree_stays_whole() {
    let cache =
        std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/reprofix-ci/bin/cfsctl"));
    let Some(cfsctl) = cache.filter(|path| path.exists()) else {
        return eprintln!("SKIPPED: no cfsctl, which `make sealed` builds");
    };
    let (tree, work) = (Tree::new(), Tree::new());
    work.make(1, &["usr/share/x"]);
    // Files of fewer bytes are in the image itself.
    work.sh("cd usr/share/x; head -c 9000 /dev/urandom | gzip >n.gz; mkdir ../../../etc");
    for place in ["sysroot/composefs", "srv/images"] {
        fs::create_dir_all(tree.at(place)).unwrap();
        let repo = tree.text(place);
        let cfs =
            |args: &[&str]| run(cfsctl.to_str().unwrap(), &[&["--repo", &repo][..], args].concat());
        cfs(&["init", "--insecure"]);
        cfs(&["create-image", &work.text(""), "a.gz"]);
        let state = || {
            tree.sh(&format!("cd {place}; find . | LC_ALL=C sort; find . -type f | LC_ALL=C sort | xargs sha256sum"))
        };
        let before = state();
        cfs(&["fsck"]);
        tree.fix(&[]);
        cfs(&["fsck"]);
        assert_eq!(state(), before, "{place}");
    }
}
