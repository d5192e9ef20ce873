//! What `fatfs` 0.3 writes amiss, or has no call for, set right.
//!
//! In: a volume with its directories. Out: the same, with
//!
//! * `.` and `..` as the first two entries of each directory, without long names;
//! * `..` of a directory in the root leading to "0", as the specification demands;
//! * times, and the attribute "read-only".
//!
//! Source: Microsoft, "FAT File System Specification", version 1.03, section 6.
//!
//! Not here: names and clusters, which `fatfs` writes well.

use super::super::recorder::Recorder;
use super::geometry::{FIRST_CLUSTER, Geometry, LABEL_ATTRIBUTE};
use super::names::{Entry, SLOT, Tree};
use super::{File, Volume};

/// The attributes of an entry that holds a part of a long name.
const LONG_NAME: u8 = 0x0f;
/// The attribute "read-only".
const READ_ONLY: u8 = 0x01;
/// The first byte of an entry that is free.
const FREE: u8 = 0xe5;

/// Mends the directories of a volume whose root holds `tree`.
pub(super) fn mend(device: &mut Recorder, geometry: &Geometry, tree: &Tree<'_>, volume: &Volume) {
    let stamp = Stamp::of(volume.epoch);
    let mut mender = Mender { device, geometry, files: &volume.files, stamp };
    let root = u32::try_from(FIRST_CLUSTER).expect("it is 2");
    mender.mend(root, tree);
}

struct Mender<'a> {
    device: &'a mut Recorder,
    geometry: &'a Geometry,
    files: &'a [File],
    stamp: Stamp,
}

/// An entry's bytes and where it lies.
struct Slot {
    offset: u64,
    bytes: [u8; 32],
}

impl Slot {
    fn attributes(&mut self) -> &mut u8 {
        &mut self.bytes[11]
    }

    fn first_cluster(&self) -> u32 {
        let [.., high_0, high_1, _, _, _, _, low_0, low_1, _, _, _, _] = self.bytes;
        u32::from_le_bytes([low_0, low_1, high_0, high_1])
    }

    fn set_first_cluster(&mut self, cluster: u32) {
        let [low_0, low_1, high_0, high_1] = cluster.to_le_bytes();
        self.bytes[20..22].copy_from_slice(&[high_0, high_1]);
        self.bytes[26..28].copy_from_slice(&[low_0, low_1]);
    }
}

impl Mender<'_> {
    /// Mends the directory that starts at a cluster, and those in it.
    fn mend(&mut self, first: u32, tree: &Tree<'_>) {
        let is_short = |slot: &Slot| slot.bytes[11] != LONG_NAME && slot.bytes[0] != FREE;
        let shorts: Vec<_> = self.slots(first).into_iter().filter(is_short).collect();
        let (own, held): (Vec<_>, Vec<_>) = shorts
            .into_iter()
            .partition(|slot| slot.bytes[0] == b'.' || slot.bytes[11] == LABEL_ATTRIBUTE);
        own.into_iter().for_each(|slot| self.write(slot));
        let entries: Vec<_> = tree.entries().map(|(_, entry)| entry).collect();
        assert_eq!(held.len(), entries.len(), "each name has one entry, in the order of making");
        for (mut slot, entry) in held.into_iter().zip(entries) {
            match entry {
                Entry::Dir(inner) => {
                    let cluster = slot.first_cluster();
                    self.write(slot);
                    self.mend_dots(cluster, first);
                    self.mend(cluster, inner);
                }
                Entry::File(index) => {
                    if self.files[*index].read_only {
                        *slot.attributes() |= READ_ONLY;
                    }
                    self.write(slot);
                }
            }
        }
    }

    /// Mends the first entries of a directory: `fatfs` writes a long name before each of the two.
    fn mend_dots(&mut self, dir: u32, parent: u32) {
        let mut slots = self.slots(dir);
        slots.truncate(4);
        let Ok([first, dot, third, dots]) = <[Slot; 4]>::try_from(slots) else {
            unreachable!("`fatfs` makes a directory with `.`, `..` and a long name for each")
        };
        let is_in_root = u64::from(parent) == FIRST_CLUSTER;
        let mut up = Slot { offset: dot.offset, ..dots };
        up.set_first_cluster(if is_in_root { 0 } else { parent });
        let free = |offset| {
            let mut bytes = [0; 32];
            bytes[0] = FREE;
            Slot { offset, bytes }
        };
        let fourth = dots.offset;
        self.write(Slot { offset: first.offset, ..dot });
        self.write(up);
        for slot in [free(third.offset), free(fourth)] {
            self.device.write_at(&slot.bytes, slot.offset);
        }
    }

    /// Writes an entry with the volume's time.
    fn write(&mut self, mut slot: Slot) {
        self.stamp.set(&mut slot.bytes);
        self.device.write_at(&slot.bytes, slot.offset);
    }

    /// The entries of a directory up to the first that was never used.
    fn slots(&self, first: u32) -> Vec<Slot> {
        let mut slots = Vec::new();
        let mut cluster = first;
        // The last value of a chain is no cluster's number.
        while u64::from(cluster) < self.geometry.clusters + FIRST_CLUSTER {
            let start = self.geometry.offset(u64::from(cluster) - FIRST_CLUSTER);
            for at in (0..self.geometry.cluster).step_by(1 << SLOT.trailing_zeros()) {
                let mut bytes = [0; 32];
                self.device.read_at(&mut bytes, start + at);
                if bytes[0] == 0 {
                    return slots;
                }
                slots.push(Slot { offset: start + at, bytes });
            }
            let mut next = [0; 4];
            self.device.read_at(&mut next, self.geometry.fat_entry(cluster));
            cluster = u32::from_le_bytes(next);
        }
        slots
    }
}

/// A moment as directory entries tell it: a day and two seconds of it, and how many hundredths of a
/// second more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    date: u16,
    time: u16,
    hundredths: u8,
}

/// 1980-01-01 and the last second of 2107, in seconds since 1970.
const FAT_TIMES: std::ops::RangeInclusive<u64> = 315_532_800..=4_354_819_199;
const DAY: u64 = 86_400;

impl Stamp {
    pub(super) fn of(epoch: u64) -> Self {
        let seconds = epoch.clamp(*FAT_TIMES.start(), *FAT_TIMES.end()) - FAT_TIMES.start();
        let (days, second) = (seconds / DAY, seconds % DAY);
        let (year, month, day) = date(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let small = |n: u64| u16::try_from(n).expect("years to 2107 fit in 16 bits");
        Self {
            date: small(year << 9 | month << 5 | day),
            time: small(hour << 11 | minute << 5 | (second / 2)),
            hundredths: if second.is_multiple_of(2) { 0 } else { 100 },
        }
    }

    /// Sets the times of creation, last change and last reading.
    pub(super) fn set(&self, entry: &mut [u8; 32]) {
        let ([date_0, date_1], [time_0, time_1]) =
            (self.date.to_le_bytes(), self.time.to_le_bytes());
        entry[13..20].copy_from_slice(&[
            self.hundredths,
            time_0,
            time_1,
            date_0,
            date_1,
            date_0,
            date_1,
        ]);
        entry[22..26].copy_from_slice(&[time_0, time_1, date_0, date_1]);
    }
}

/// The year since 1980, the month and the day of the month, from 1, of a day since 1980-01-01.
fn date(mut days: u64) -> (u64, u64, u64) {
    // 2100 is the one year of FAT's that is divisible by 4 and has no 29th of February.
    let is_leap = |year: u64| year.is_multiple_of(4) && year != 120;
    let mut year = 0;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for len in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < len {
            break;
        }
        days -= len;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        assert_eq!(date(0), (0, 1, 1));
        assert_eq!(date(59), (0, 2, 29));
        assert_eq!(date(60), (0, 3, 1));
        assert_eq!(date(366), (1, 1, 1));
        // 2100-03-01 and 2107-12-31.
        assert_eq!(date(43_889), (120, 3, 1));
        assert_eq!(date(46_750), (127, 12, 31));
    }

    #[test]
    fn times_that_fat_cannot_hold_become_the_nearest() {
        assert_eq!(Stamp::of(0), Stamp { date: 0x21, time: 0, hundredths: 0 });
        assert_eq!(Stamp::of(u64::MAX), Stamp { date: 0xff9f, time: 0xbf7d, hundredths: 100 });
        // 2023-11-14 22:13:20.
        let want =
            Stamp { date: 43 << 9 | 11 << 5 | 14, time: 22 << 11 | 13 << 5 | 10, hundredths: 0 };
        assert_eq!(Stamp::of(1_700_000_000), want);
    }
}
