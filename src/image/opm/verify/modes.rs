//! Finds modes that would make a stored digest right.

use super::{Blame, Format, Pair, Places};
use crate::image::opm::digest;
use crate::image::opm::tree::Directory;
use crate::tree::Kind;

impl Pair<'_> {
    /// Finds modes, the same for all directories and for all files of the catalog or of the cache,
    /// that would make the stored digest right: the results of another umask, `COPY --chmod` or `cp
    /// -r`.
    fn guess_uniform(
        &self,
        cache: &Directory<'_>,
        stored: &str,
        places: &Places,
    ) -> anyhow::Result<Option<Blame>> {
        // The most bytes to digest.
        const BUDGET: u64 = 4 << 30;
        let mut left = BUDGET;
        let mut spend = |directory: &Directory<'_>| {
            let cost = directory.bytes() + 4096;
            let affordable = cost <= left;
            left = left.saturating_sub(cost);
            affordable
        };
        let forms = uniform();
        let mut catalogs = Vec::new();
        for form in &forms {
            if spend(&self.configs) {
                catalogs.push((form, digest::of_catalog(&form.applied(&self.configs))?));
            }
        }
        let found = |catalog: &Uniform, cached: &Uniform| -> Blame {
            // Only this part of the cache counts.
            let (inner, files) =
                (format!("{}/cache", trimmed(&places.cache)), cache.subdirectory("cache"));
            let files = files.iter().map(|files| (&inner, files, cached));
            let roots: Vec<_> =
                [(&places.configs, &self.configs, catalog)].into_iter().chain(files).collect();
            let mut changed = roots.iter().flat_map(|(root, directory, form)| {
                let forms = form.applied(directory);
                let items = directory.iter().zip(forms.iter().map(|(_, item)| item.mode));
                let other = items.filter(|((_, item), mode)| item.mode != *mode);
                other
                    .map(|((path, item), mode)| blame(root, &path, item.kind, item.mode, mode))
                    .collect::<Vec<_>>()
            });
            match (changed.next(), changed.next()) {
                (Some(only), None) => only,
                _ => Blame {
                    path: format!("{}/ and {}/", trimmed(&places.configs), trimmed(&places.cache)),
                    why: format!(
                        "with {} in the catalog and {} in the cache the stored digest is right",
                        catalog.words(),
                        cached.words()
                    ),
                },
            }
        };
        // The same umask for both is more likely than two.
        let one = catalogs.iter().map(|(form, state)| (*form, *state, *form));
        let two = forms.iter().flat_map(|c| catalogs.iter().map(move |(f, state)| (*f, *state, c)));
        for (catalog, state, cached) in one.chain(two) {
            if !spend(cache) {
                return Ok(None);
            }
            if digest::with_cache(state, &cached.applied(cache))? == stored {
                return Ok(Some(found(catalog, cached)));
            }
        }
        Ok(None)
    }

    /// Finds a single path whose usual mode would make the stored digest right.
    pub(super) fn guess(
        &self,
        format: Option<Format>,
        stored: &str,
        places: &Places,
    ) -> anyhow::Result<Vec<Blame>> {
        const USUAL: &[(Kind, &[u32])] = &[
            (Kind::Dir, &[0o755, 0o775, 0o750, 0o770, 0o700, 0o777]),
            (Kind::File, &[0o644, 0o664, 0o640, 0o660, 0o600]),
        ];
        // Every attempt digests everything once.
        const BUDGET: u64 = 1 << 30;
        let Some(cache) = self.cache.as_ref().filter(|_| format == Some(Format::Json)) else {
            return Ok(Vec::new());
        };
        if let Some(found) = self.guess_uniform(cache, stored, places)? {
            return Ok(vec![found]);
        }
        let bytes = self.configs.bytes() + cache.bytes() + 4096;
        let mut tries = BUDGET / bytes;
        for (root, directory) in [(&places.configs, &self.configs), (&places.cache, cache)] {
            let in_configs = std::ptr::eq(directory, &self.configs);
            for (path, item) in directory.iter() {
                let modes = USUAL.iter().find(|(kind, _)| *kind == item.kind).map(|(_, m)| *m);
                for &usual in modes.unwrap_or_default().iter().filter(|&&m| m != item.mode) {
                    if tries == 0 {
                        return Ok(Vec::new());
                    }
                    tries -= 1;
                    let change = |p: &[u8], _, mode| if p == path { usual } else { mode };
                    let (configs, cache) = match in_configs {
                        true => (self.configs.with_modes(change), cache.clone()),
                        false => (self.configs.clone(), cache.with_modes(change)),
                    };
                    if digest::json(&configs, &cache)? == stored {
                        return Ok(vec![blame(root, &path, item.kind, item.mode, usual)]);
                    }
                }
            }
        }
        Ok(Vec::new())
    }
}

/// Modes for all directories and all files; `None` to keep the present ones.
struct Uniform {
    modes: Option<(u32, u32)>,
}

impl Uniform {
    fn applied<'a>(&self, directory: &Directory<'a>) -> Directory<'a> {
        let Some((dirs, files)) = self.modes else { return directory.clone() };
        directory.with_modes(|_, kind, mode| match kind {
            Kind::Dir => dirs,
            Kind::File => files,
            _ => mode,
        })
    }

    fn words(&self) -> String {
        match self.modes {
            None => "the present modes".to_owned(),
            Some((dirs, files)) => format!("directories {dirs:04o} and files {files:04o}"),
        }
    }
}

/// Modes that whole directories may get, the most likely first.
fn uniform() -> Vec<Uniform> {
    const DIRS: [u32; 5] = [0o755, 0o775, 0o700, 0o750, 0o770];
    const FILES: [u32; 5] = [0o644, 0o664, 0o600, 0o640, 0o660];
    let mut all: Vec<(u32, u32)> = DIRS.into_iter().zip(FILES).collect();
    for dirs in DIRS.into_iter().chain(DIRS.map(|mode| mode | 0o2000)) {
        let more = FILES.into_iter().map(|files| (dirs, files));
        let more: Vec<_> = more.filter(|pair| !all.contains(pair)).collect();
        all.extend(more);
    }
    let as_is = Uniform { modes: None };
    [as_is].into_iter().chain(all.into_iter().map(|pair| Uniform { modes: Some(pair) })).collect()
}

fn trimmed(root: &str) -> &str {
    root.trim_end_matches('/')
}

fn blame(root: &str, path: &[u8], kind: Kind, is: u32, was: u32) -> Blame {
    let slash = if kind == Kind::Dir { "/" } else { "" };
    let inner = String::from_utf8_lossy(path);
    let between = if inner.is_empty() { "" } else { "/" };
    let root = trimmed(root);
    let why = format!("mode is {is:04o}; with {was:04o} the stored digest is right");
    Blame { path: format!("{root}{between}{inner}{slash}"), why }
}
