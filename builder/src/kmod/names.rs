//! Names of modules and symbols, as depmod folds and orders them.
//!
//! In: bytes of modules and tables. Out: names, and their places in depmod's hash tables.
//!
//! Source: kmod's `shared/util.c` (`path_to_modname`, `alias_normalize`), `shared/hash.c`; the hash
//! is Paul Hsieh's SuperFastHash, <http://www.azillionmonkeys.com/qed/hash.html>.
//!
//! Not here: which names there are (`elf`).

/// depmod's longest name, line or path in bytes: `PATH_MAX` without the NUL.
pub(super) const MAX_NAME: usize = 4095;

/// A list of names, kept as one run of bytes with a NUL after each.
#[derive(Clone, Default)]
pub(super) struct Names(Vec<u8>);

impl Names {
    /// Adds a name, which holds no NUL.
    pub(super) fn push(&mut self, name: &[u8]) {
        self.0.extend_from_slice(name);
        self.0.push(0);
    }

    /// What the list takes, in bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The names, in the order that they were added in.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split_inclusive(|byte| *byte == 0).map(|name| &name[..name.len() - 1])
    }

    /// The same, without room for more.
    pub(super) fn shrunk(mut self) -> Self {
        self.0.shrink_to_fit();
        self
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|name| name.escape_ascii().to_string())).finish()
    }
}

/// The name of the module at a path: the file's name up to the first dot, `-` as `_`.
pub(super) fn of_path(path: &[u8]) -> String {
    let file = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let stem = file.split(|byte| *byte == b'.').next().unwrap_or_default();
    let stem = &stem[..stem.len().min(MAX_NAME)];
    stem.iter().map(|byte| if *byte == b'-' { '_' } else { char::from(*byte) }).collect()
}

/// An alias as the binary indexes spell it: `-` as `_`, but in brackets. Nothing where a bracket
/// has no partner.
pub(super) fn fold_alias(alias: &[u8]) -> Option<Vec<u8>> {
    let mut out = alias[..alias.len().min(MAX_NAME)].to_vec();
    let mut is_inside = false;
    for byte in &mut out {
        match (is_inside, *byte) {
            (false, b'-') => *byte = b'_',
            (false, b'[') => is_inside = true,
            (false, b']') => return None,
            (true, b']') => is_inside = false,
            _ => (),
        }
    }
    (!is_inside).then_some(out)
}

/// The bucket of a key in a hash table of depmod's, of which there are a power of two.
///
/// depmod walks its tables bucket by bucket, and a bucket in the order of bytes.
pub(super) fn bucket(key: &[u8], buckets: u32) -> u32 {
    hash(key) & (buckets - 1)
}

fn hash(key: &[u8]) -> u32 {
    let pair = |bytes: &[u8]| u32::from(u16::from_le_bytes([bytes[0], bytes[1]]));
    // A name is not longer than a file; the C program counts in 32 bits, too.
    let mut hash = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        hash = hash.wrapping_add(pair(word));
        let mixed = (pair(&word[2..]) << 11) ^ hash;
        hash = (hash << 16) ^ mixed;
        hash = hash.wrapping_add(hash >> 11);
    }
    match words.remainder() {
        rest @ [_, _, third] => {
            hash = hash.wrapping_add(pair(rest));
            hash ^= hash << 16;
            hash ^= u32::from(*third) << 18;
            hash = hash.wrapping_add(hash >> 11);
        }
        rest @ [_, _] => {
            hash = hash.wrapping_add(pair(rest));
            hash ^= hash << 11;
            hash = hash.wrapping_add(hash >> 17);
        }
        [last] => {
            hash = hash.wrapping_add(u32::from(*last));
            hash ^= hash << 10;
            hash = hash.wrapping_add(hash >> 1);
        }
        _ => (),
    }
    hash ^= hash << 3;
    hash = hash.wrapping_add(hash >> 5);
    hash ^= hash << 4;
    hash = hash.wrapping_add(hash >> 17);
    hash ^= hash << 25;
    hash.wrapping_add(hash >> 6)
}
