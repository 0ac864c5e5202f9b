//! Prints the results for people.

use std::io::{self, Write};

use super::{Check, Checks, Format, Places, Verdict};
use crate::image::opm::access;
use crate::image::{Findings, table};

impl Check {
    /// What to do, in one line.
    pub fn remedy(&self) -> &'static str {
        match self.verdict {
            Verdict::Stable => "nothing to do",
            Verdict::Unused
                if matches!(self.otherwise, Some(Verdict::Stable | Verdict::Missing)) =>
            {
                "nothing to do; with a cache in the image and --cache-dir opm starts sooner"
            }
            Verdict::Unused => {
                "nothing to do as long as no --cache-dir is given; reprofix opm fix --drop-cache \
                 removes the cache"
            }
            Verdict::CannotBeRead => {
                "reprofix opm fix IMAGE -o OUT gives group 0 the owner's bits; or chgrp -R 0 and \
                 chmod -R g=u before the layer is made"
            }
            Verdict::BreaksOnOverlay | Verdict::BreaksOnVfs => {
                "reprofix opm fix IMAGE -o OUT; or give every layer entries for its directories \
                 (COPY whole directories, do not append single files)"
            }
            Verdict::Stale if !self.blame.is_empty() => {
                "restore the modes (reprofix opm fix writes an image with usual ones), or build \
                 the cache again: opm serve CONFIGS --cache-dir=CACHE --cache-only"
            }
            Verdict::Stale | Verdict::Missing => {
                "build the cache from this catalog: opm serve CONFIGS --cache-dir=CACHE --cache-only"
            }
        }
    }
}

impl Findings for Checks {
    fn sound(&self) -> bool {
        self.catalogs.iter().all(|c| matches!(c.verdict, Verdict::Stable | Verdict::Unused))
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for check in &self.catalogs {
            let verdict = match check.verdict {
                Verdict::Stable => "stable",
                Verdict::BreaksOnOverlay => "breaks on overlay",
                Verdict::BreaksOnVfs => "breaks on vfs",
                Verdict::Stale => "stale",
                Verdict::Missing => "missing: there is no cache",
                Verdict::CannotBeRead => "cannot be read by every user",
                Verdict::Unused => "no cache is used: the command has no --cache-dir",
            };
            let format = match check.format {
                Some(Format::Json) => "json",
                Some(Format::Pogreb) => "pogreb.v1",
                None => "none",
            };
            let Places { configs, cache, .. } = &check.places;
            writeln!(out, "{}: {verdict}", check.platform)?;
            writeln!(out, "  catalog {configs}, cache {cache}, format {format}")?;
            let stored = check.stored.as_deref().unwrap_or("-");
            let mut rows = vec![vec!["  stored".to_owned(), stored.to_owned(), String::new()]];
            for row in &check.rows {
                let verdict = match (row.matches, &row.refusal) {
                    (_, Some(refusal)) => format!("cannot unpack it: {refusal}"),
                    (true, None) => "matches".to_owned(),
                    (false, None) if check.format.is_none() => String::new(),
                    (false, None) if row.model == "fsgroup" => {
                        "cache requires rebuild (where copied into a volume with an fsGroup)".into()
                    }
                    (false, None) => "cache requires rebuild".to_owned(),
                };
                let computed = row.computed.as_deref().unwrap_or("-").to_owned();
                rows.push(vec![format!("  {}", row.model), computed, verdict]);
            }
            table(out, &rows)?;
            for blame in &check.blame {
                writeln!(out, "  because of {}: {}", blame.path, blame.why)?;
            }
            access::print(&check.denied, out)?;
            if let Some(otherwise) = check.otherwise
                && !matches!(otherwise, Verdict::Stable | Verdict::Missing)
            {
                writeln!(out, "  would be refused with --cache-dir={cache}")?;
            }
            writeln!(out, "  remedy: {}", check.remedy())?;
        }
        Ok(())
    }
}
