//! Extended attributes: each distinct list once.
//!
//! In: nodes. Out: their attributes' table, and which of its lists is whose.
//!
//! Source: the Linux kernel's `Documentation/filesystems/squashfs.rst`, section 3.7.
//!
//! Not here: lists of access rights (`system.*`), which the format does not hold.

use std::collections::BTreeMap;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{Immutable, IntoBytes};

use super::metadata::{Metadata, length};
use super::{Node, SquashfsError, Xattr};

/// "None", as a table's start.
pub(super) const NO_TABLE: u64 = u64::MAX;
/// "None", as an index of attributes or of fragments.
pub(super) const NO_INDEX: u32 = u32::MAX;

/// The attributes of all nodes: each distinct list once.
#[derive(Default)]
pub(super) struct Xattrs {
    pairs: Metadata,
    ids: Vec<XattrId>,
}

/// squashfs_fs.h, `squashfs_xattr_id`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct XattrId {
    xattr: U64,
    count: U32,
    size: U32,
}
const _: () = assert!(size_of::<XattrId>() == 16);

impl Xattrs {
    /// The attributes, and for each node the index of its own.
    pub(super) fn of(nodes: &[Node]) -> Result<(Self, Vec<u32>), SquashfsError> {
        let mut table = Self::default();
        let mut known: BTreeMap<&[Xattr], u32> = BTreeMap::new();
        let mut indices = Vec::new();
        for node in nodes {
            let index = match known.get(node.xattrs.as_slice()) {
                _ if node.xattrs.is_empty() => NO_INDEX,
                Some(&index) => index,
                None => table.add(node)?,
            };
            known.insert(&node.xattrs, index);
            indices.push(index);
        }
        Ok((table, indices))
    }

    fn add(&mut self, node: &Node) -> Result<u32, SquashfsError> {
        let xattr = self.pairs.position().packed();
        let mut size = 0;
        for (i, pair) in node.xattrs.iter().enumerate() {
            let is_new = node.xattrs[..i].iter().all(|other| other.name != pair.name);
            let stored = stored_xattr(pair).filter(|_| is_new);
            let error =
                || SquashfsError::Xattr { path: node.path.clone(), name: pair.name.clone() };
            let stored = stored.ok_or_else(error)?;
            self.pairs.push(&stored);
            size += stored.len();
        }
        let count = U32::new(length(node.xattrs.len()));
        self.ids.push(XattrId { xattr, count, size: U32::new(length(size)) });
        Ok(length(self.ids.len() - 1))
    }

    /// The table for `start`, and where in the image its head lies. There is none without attributes.
    pub(super) fn finish(self, start: u64) -> (Vec<u8>, u64) {
        if self.ids.is_empty() {
            return (Vec::new(), NO_TABLE);
        }
        let (mut out, _) = self.pairs.finish(start);
        let mut ids = Metadata::default();
        ids.push(self.ids.as_bytes());
        let (ids, index) = ids.finish(start + out.len() as u64);
        out.extend(ids);
        let head = start + out.len() as u64;
        out.extend(start.to_le_bytes());
        out.extend(length(self.ids.len()).to_le_bytes());
        out.extend([0; 4]);
        out.extend(index);
        (out, head)
    }
}

/// An attribute as it is stored, or nothing where the format or the kernel has no room for it.
fn stored_xattr(Xattr { name, value }: &Xattr) -> Option<Vec<u8>> {
    let (space, rest) = name.split_once('.')?;
    let prefix = match space {
        "user" => 0_u16,
        "trusted" => 1,
        "security" => 2,
        _ => return None,
    };
    let rest_len = u16::try_from(rest.len()).ok()?;
    if rest.is_empty() || rest.contains('\0') || name.len() > 255 || value.len() > 65536 {
        return None;
    }
    let mut out = prefix.to_le_bytes().to_vec();
    out.extend(rest_len.to_le_bytes());
    out.extend(rest.as_bytes());
    out.extend(length(value.len()).to_le_bytes());
    out.extend(value);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::squashfs::Kind;

    fn label(value: &[u8]) -> Xattr {
        Xattr { name: "security.selinux".into(), value: value.into() }
    }

    fn dir(xattrs: Vec<Xattr>) -> Node {
        Node { path: String::new(), permissions: 0o755, kind: Kind::Dir, xattrs }
    }

    #[test]
    fn equal_lists_of_attributes_are_stored_once() {
        let nodes = [vec![label(b"x")], vec![label(b"y")], vec![label(b"x")], vec![]].map(dir);
        let (table, indices) = Xattrs::of(&nodes).unwrap();
        assert_eq!((table.ids.len(), indices), (2, vec![0, 1, 0, NO_INDEX]));
    }

    #[test]
    fn attributes_that_cannot_be_stored_are_refused() {
        let acl = Xattr { name: "system.posix_acl_access".into(), value: Vec::new() };
        for xattrs in [vec![acl], vec![label(b"a"), label(b"b")], vec![label(&[0; 65537])]] {
            assert!(matches!(Xattrs::of(&[dir(xattrs)]), Err(SquashfsError::Xattr { .. })));
        }
    }
}
