//! Platforms, as image tools spell them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What an image runs on (OCI image-spec, "Image Index", `platform`), normalised by
/// [`Platform::normal`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`, `windows`, …
    #[serde(default)]
    pub os: String,
    /// GOARCH: `amd64`, `arm64`, `s390x`, …
    #[serde(default)]
    pub architecture: String,
    /// `v7` and the like; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// `os.version`; may be empty.
    #[serde(default, rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// `os.features`, sorted.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
}

impl Platform {
    /// Reads `OS/ARCHITECTURE[/VARIANT]`; `None` unless it has two or three parts.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/').map(str::to_owned);
        let (os, architecture) = (parts.next()?, parts.next()?);
        let variant = parts.next().unwrap_or_default();
        let rest = parts.next().is_none();
        let platform = Platform { os, architecture, variant, ..Platform::default() };
        (rest && !platform.os.is_empty()).then(|| platform.normal())
    }

    /// Normalises the spelling: `x86_64` is `amd64`, `aarch64` is `arm64`, `arm64/v8` is `arm64`,
    /// but `arm` alone stays as it is.
    pub fn normal(mut self) -> Self {
        for text in [&mut self.os, &mut self.architecture, &mut self.variant] {
            text.make_ascii_lowercase();
        }
        let (architecture, variant) = match (&*self.architecture, &*self.variant) {
            ("x86_64" | "x86-64", v) => ("amd64", v),
            ("aarch64", "" | "8" | "v8") | ("arm64", "8" | "v8") => ("arm64", ""),
            ("aarch64", v) => ("arm64", v),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "5" | "6" | "7" | "8") => {
                self.variant.insert(0, 'v');
                ("arm", &*self.variant)
            }
            ("i386" | "i686" | "x86", v) => ("386", v),
            (architecture, v) => (architecture, v),
        };
        let variant = if architecture == "amd64" && variant == "v1" { "" } else { variant };
        let (architecture, variant) = (architecture.to_owned(), variant.to_owned());
        self.os_features.sort();
        Platform { architecture, variant, ..self }
    }

    /// Whether it names neither an operating system nor an architecture.
    pub fn is_empty(&self) -> bool {
        self.os.is_empty() && self.architecture.is_empty()
    }

    /// `unknown/unknown`: how builders mark entries that are not images.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        for part in [&self.variant, &self.os_version] {
            if !part.is_empty() {
                write!(f, "/{part}")?;
            }
        }
        self.os_features.iter().try_for_each(|feature| write!(f, "+{feature}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_meet() {
        for (text, want) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("Linux/arm64/v8", "linux/arm64"),
            ("linux/arm/7", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/amd64/v3", "linux/amd64/v3"),
        ] {
            assert_eq!(Platform::parse(text).unwrap().to_string(), want);
        }
        assert_eq!(Platform::parse("linux"), None);
        assert_eq!(Platform::parse("a/b/c/d"), None);
    }
}
