//! The floor under `reprofix fix`: what it costs to walk a tree and to read, once each, the files
//! that the plugins want, and nothing else. `benches/run` compares `fix` with it.
//!
//! usage: floor ROOT [PLUGIN-TO-LEAVE-OUT]...    prints seconds, files and bytes as JSON
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rayon::prelude::*;
use reprofix::disk::Root;
use reprofix::engine::walk;
use reprofix::env::SourceDateEpoch;
use reprofix::normal::Chain;
use reprofix::normal::{Plugin, Want};
use reprofix::plugins::{REGISTRY, default_context};
use reprofix::tree::{Entry, Kind, Tree};
use reprofix::vouchers::Vouchers;

fn main() {
    // `cargo bench` adds --bench.
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let Some(root) = arguments.next() else { return };
    let left_out: Vec<String> = arguments.collect();
    let plugins: Vec<&dyn Plugin> = REGISTRY
        .iter()
        .copied()
        .filter(|p| p.page().default && !left_out.iter().any(|name| name == p.page().name))
        .collect();
    let cx = default_context(SourceDateEpoch::new(1_700_000_000));
    let chain = Chain { plugins: &plugins, cx: &cx, vouchers: &Vouchers::nobody() };
    let root = Root::open(root.as_ref()).unwrap();

    let start = Instant::now();
    let entries = walk(&root, &[]).unwrap();
    let walked = start.elapsed();
    let wanted = wanted(&entries, &chain);
    let start = Instant::now();
    let bytes = AtomicU64::new(0);
    wanted.par_iter().for_each(|entry| {
        let content = root.read_known(entry).unwrap().unwrap();
        bytes.fetch_add(content.len() as u64, Ordering::Relaxed);
    });
    println!(
        "{{\"walk\": {:.6}, \"read\": {:.6}, \"names\": {}, \"files\": {}, \"bytes\": {}}}",
        walked.as_secs_f64(),
        start.elapsed().as_secs_f64(),
        entries.len(),
        wanted.len(),
        bytes.into_inner(),
    );
}

/// The regular files whose bytes some plugin wants, each inode once.
fn wanted<'e>(entries: &'e [Entry], chain: &Chain<'_>) -> Vec<&'e Entry> {
    let mut seen = BTreeSet::new();
    let bytes = |e: &Entry| chain.plugins.iter().any(|p| p.wants(e, chain.cx) == Want::Bytes);
    let files = entries.iter().filter(|e| e.kind == Kind::File && bytes(e));
    files.filter(|e| e.inode.is_none_or(|i| seen.insert((i.dev, i.ino)))).collect()
}
