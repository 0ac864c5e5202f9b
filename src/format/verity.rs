//! dm-verity's hash partitions (the kernel's `Documentation/admin-guide/device-mapper/verity.rst` and
//! cryptsetup's superblock), and the root hash that systemd's images sign.

use sha2::{Digest, Sha256, Sha512};

use super::Malformed;
use super::bytes::Order::Little;

const MAGIC: &[u8; 8] = b"verity\0\0";
const SUPERBLOCK: usize = 512;

/// What a hash partition says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verity {
    /// Its UUID, byte by byte.
    pub uuid: [u8; 16],
    /// The digest's name, `sha256` or `sha512`.
    pub algorithm: String,
    /// Bytes of a block of data.
    pub data_block: u32,
    /// Blocks of data that are covered.
    pub data_blocks: u64,
    /// What each digest begins with.
    pub salt: Vec<u8>,
    /// The root hash, computed from the topmost block of the tree.
    pub root: Vec<u8>,
}

impl Verity {
    /// The root hash as hexadecimal digits.
    pub fn root_hash(&self) -> String {
        hex(&self.root)
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The words of a kernel command line that follow an image: the root hash of verity, and its
/// signature.
const FOLLOWS_IMAGE: [&[u8]; 4] = [b"roothash=", b"usrhash=", b"rootsignature=", b"usrsignature="];

/// What is said of two texts, with kernel command lines in them, that differ only in root hashes.
pub fn follows_image(a: &[u8], b: &[u8]) -> Option<String> {
    let is_blank = |byte: &u8| byte.is_ascii_whitespace();
    let start = |word: &[u8]| FOLLOWS_IMAGE.into_iter().find(|name| word.starts_with(name));
    let (x, y) = (a.split(is_blank), b.split(is_blank));
    let mut names = Vec::new();
    for (p, q) in x.clone().zip(y.clone()).filter(|(p, q)| p != q) {
        let name = start(p).filter(|name| start(q) == Some(name))?;
        names.push(String::from_utf8_lossy(name).into_owned());
    }
    names.dedup();
    let whole = !names.is_empty() && x.count() == y.count();
    whole.then(|| {
        format!("{} differs: it follows the image that it names the root hash of", names.join(", "))
    })
}

/// Reads the superblock of a hash partition and the topmost block behind it; `None` where there is
/// no superblock.
pub fn read(partition: &[u8]) -> Result<Option<Verity>, Malformed> {
    let Some(head) = partition.get(..SUPERBLOCK).filter(|head| head.starts_with(MAGIC)) else {
        return Ok(None);
    };
    let (version, kind) = (Little.u32(head, 8)?, Little.u32(head, 12)?);
    if version != 1 || kind != 1 {
        return Err(Malformed::at(8, "verity superblock of an unknown version"));
    }
    let (data_block, hash_block) = (Little.u32(head, 64)?, Little.u32(head, 68)?);
    let is_block = |size: u32| (512..=65536).contains(&size) && size.is_power_of_two();
    if !is_block(data_block) || !is_block(hash_block) {
        return Err(Malformed::at(64, "impossible block size of verity"));
    }
    let data_blocks = Little.u64(head, 72)?;
    let salt_len = usize::from(Little.u16(head, 80)?);
    let salt = head[88..344].get(..salt_len);
    let salt = salt.ok_or_else(|| Malformed::at(80, "impossible salt of verity"))?.to_vec();
    let name = head[32..64].split(|byte| *byte == 0).next().unwrap_or_default();
    let algorithm = String::from_utf8_lossy(name).into_owned();
    // The superblock takes a whole block; behind it the tree begins with its topmost one.
    let size = hash_block as usize;
    let top = partition.get(size..2 * size);
    let top = top.ok_or_else(|| Malformed::at(partition.len(), "verity tree is truncated"))?;
    let root = match &*algorithm {
        "sha256" => Sha256::new().chain_update(&salt).chain_update(top).finalize().to_vec(),
        "sha512" => Sha512::new().chain_update(&salt).chain_update(top).finalize().to_vec(),
        _ => return Err(Malformed::at(32, "verity digest of an unknown kind")),
    };
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&head[16..32]);
    Ok(Some(Verity { uuid, algorithm, data_block, data_blocks, salt, root }))
}

/// What a partition with the signature of a root hash holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The root hash that is signed, as it is written.
    pub root_hash: String,
    /// The SHA-256 of the certificate, as it is written.
    pub certificate: String,
    /// Whether the key is an elliptic curve's: such signatures are random.
    pub is_ecdsa: bool,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    root_hash: String,
    #[serde(default)]
    certificate_fingerprint: String,
    signature: String,
}

/// Reads a signature partition: JSON, and zeros behind it.
pub fn signature(partition: &[u8]) -> Result<Signature, Malformed> {
    use base64::Engine as _;
    const JSON_MAX: usize = 4 << 20;
    // ecdsa-with-SHA…, 1.2.840.10045.4, as DER writes the number.
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
    let end = partition.iter().take(JSON_MAX).position(|byte| *byte == 0);
    let text = &partition[..end.unwrap_or(partition.len().min(JSON_MAX))];
    let wrong = |what: &str| Malformed::at(0, format!("signature of a root hash: {what}"));
    let json: Json = serde_json::from_slice(text).map_err(|e| wrong(&e.to_string()))?;
    let engine = base64::engine::general_purpose::STANDARD;
    let der = engine.decode(&json.signature).map_err(|e| wrong(&e.to_string()))?;
    Ok(Signature {
        root_hash: json.root_hash,
        certificate: json.certificate_fingerprint,
        is_ecdsa: memchr::memmem::find(&der, ECDSA).is_some(),
    })
}
