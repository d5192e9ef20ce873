//! What the clusters of a qcow2 are used for, and how often.
//!
//! In: uses, in any order. Out: nothing, if each cluster is counted for what it is.
//!
//! Source: QEMU `docs/interop/qcow2.rst`, "Host cluster management"; what `qemu-img check` finds
//! fault with. Clusters that are counted and not used only waste room.
//!
//! Not here: where the counts lie (`qcow2`).

use std::ops::Range;

use crate::inspect::damage::Damage;

/// The most uses: a file of 256 GiB in clusters of 64 KiB.
const USES_LIMIT: usize = 1 << 22;

/// The uses of a file's clusters.
#[derive(Debug)]
pub(super) struct Uses {
    /// The size of a cluster, as a power of two.
    bits: u32,
    list: Vec<(u64, Kind)>,
}

/// What a cluster is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A table, or the header.
    Table,
    /// A table of which its user says that it is used once.
    SoleTable,
    /// A table of which its user says that it is used more than once.
    SharedTable,
    /// A cluster of the disk of which the table says that it is used once.
    Sole,
    /// A cluster of the disk of which the table says that it is used more than once.
    Shared,
    /// Bytes of a compressed cluster.
    Compressed,
}

impl Kind {
    pub(super) fn of_table(is_sole: bool) -> Self {
        if is_sole { Self::SoleTable } else { Self::SharedTable }
    }

    pub(super) fn of_data(is_sole: bool) -> Self {
        if is_sole { Self::Sole } else { Self::Shared }
    }
}

impl Uses {
    /// None yet, of clusters of `1 << bits` bytes.
    pub(super) fn new(bits: u32) -> Self {
        Self { bits, list: Vec::new() }
    }

    /// Adds a use of bytes of the file.
    ///
    /// # Errors
    ///
    /// [`Damage`] where there are too many.
    pub(super) fn add_bytes(&mut self, bytes: Range<u64>, kind: Kind) -> Result<(), Damage> {
        let first = bytes.start >> self.bits;
        let end = if bytes.is_empty() { first } else { ((bytes.end - 1) >> self.bits) + 1 };
        if end - first > (USES_LIMIT - self.list.len()) as u64 {
            let wrong = format!("the file has more than {USES_LIMIT} clusters");
            return Err(Damage::new("qcow2 clusters", bytes.start, wrong));
        }
        self.list.extend((first..end).map(|cluster| (cluster, kind)));
        Ok(())
    }

    /// Compares the uses with what `count` says of a cluster.
    ///
    /// # Errors
    ///
    /// [`Damage`] where a table is used for something else too, or a cluster is counted less often
    /// than it is used, or said to be used once and is not.
    pub(super) fn check(
        mut self,
        count: &mut dyn FnMut(u64) -> Result<u64, Damage>,
    ) -> Result<(), Damage> {
        self.list.sort_unstable();
        for uses in self.list.chunk_by(|a, b| a.0 == b.0) {
            let cluster = uses[0].0;
            let wrong = |wrong: String| Damage::new("qcow2 cluster", cluster << self.bits, wrong);
            // Tables sort before clusters of the disk.
            if uses[0].1 <= Kind::SharedTable && uses.len() > 1 {
                return Err(wrong("a table lies where something else does".to_owned()));
            }
            let counted = count(cluster)?;
            if counted < uses.len() as u64 {
                let text = format!("it is used {} times and counted {counted}", uses.len());
                return Err(wrong(text));
            }
            for (_, kind) in uses {
                let is_amiss = match kind {
                    Kind::Table | Kind::Compressed => false,
                    Kind::Sole | Kind::SoleTable => counted != 1,
                    Kind::Shared | Kind::SharedTable => counted == 1,
                };
                if is_amiss {
                    let text = format!("it is counted {counted}, and its entry says otherwise");
                    return Err(wrong(text));
                }
            }
        }
        Ok(())
    }
}
