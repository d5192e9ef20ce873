//! What is on a medium now, and whether it is what was meant.
//!
//! In: a medium. Out: [`Custom`]; or the first thing that is not as it was meant.
//!
//! It reads by the readers of [`crate::inspect`] alone, which share no code with those that write.
//!
//! Source: systemd-stub(7); Talos `internal/app/init/main.go`.
//!
//! Not here: how media are changed (`plan`).

use std::sync::Arc;

use crate::asset::initramfs::Initramfs;
use crate::blob::Blob;
use crate::custom::error::CustomError;
use crate::custom::medium::{Bios, INITRAMFS, MENU, Medium, Own, UKIS};
use crate::custom::past::ADDON;
use crate::custom::plan::ISO_SEGMENT;
use crate::custom::{Change, Custom};
use crate::inspect::fat::Fat;
use crate::inspect::grub;
use crate::inspect::init::{self, Layer};
use crate::inspect::initrd;
use crate::inspect::iso::Iso;
use crate::inspect::memo::Memo;
use crate::inspect::uki::Addon;
use crate::talos::Version;

/// The longest menu of GRUB.
const MENU_LIMIT: u64 = 1 << 20;
/// Where the config must be readable by root alone.
const CONFIG_MODE: u16 = 0o400;

/// Reads what is on a medium.
///
/// # Errors
///
/// Where what lies beside the UKI is damaged.
pub(super) fn read(medium: &Medium) -> Result<Custom, CustomError> {
    let fat = Fat::read(&medium.volume())?;
    let Some(own) = medium.ukis.first() else { return Err(CustomError::NoUki) };
    let addon = beside(&fat, own)?;
    let is_ours = addon.is_some();
    let line = addon.as_ref().and_then(|addon| addon.cmdline.clone()).unwrap_or_default();
    let segment = addon.and_then(|addon| addon.initrd);
    let config = match &segment {
        Some(segment) => config(segment)?,
        None => inside(medium, own)?,
    };
    Ok(Custom {
        config,
        kernel_args: line.split_ascii_whitespace().map(str::to_owned).collect(),
        talos: own.uki.version.as_deref().and_then(Version::parse),
        arch: own.uki.arch,
        is_ours,
    })
}

/// Our addon beside a UKI.
fn beside(fat: &Fat, own: &Own) -> Result<Option<Addon>, CustomError> {
    let path = format!("{UKIS}/{}/{ADDON}", own.folder());
    let Some(file) = fat.find(&path)?.filter(|file| !file.is_dir()) else { return Ok(None) };
    let addon = fat.content(&file).and_then(|blob| Addon::read(&blob, &own.uki));
    let addon = addon.map_err(|damage| damage.within(format!("`{path}`")))?;
    addon
        .map(Some)
        .map_err(|why| CustomError::Mismatch(format!("the stub passes `{path}` over: {why}")))
}

/// The config of a segment.
fn config(segment: &Blob) -> Result<Option<Arc<[u8]>>, CustomError> {
    let mut memo = Memo::default();
    memo.allow(segment.len());
    let tree = initrd::unpack(segment, &mut memo)?;
    Ok(init::config(&tree, &mut memo)?.map(|found| found.bytes))
}

/// The config inside a UKI, if there is one.
fn inside(medium: &Medium, own: &Own) -> Result<Option<Arc<[u8]>>, CustomError> {
    let initrd = own.initramfs()?;
    match medium.base(&initrd) {
        Err(CustomError::Inside) => {}
        other => return other.map(|_| None),
    }
    config(&initrd)
}

/// Whether every door leads to just `change`.
///
/// # Errors
///
/// The first that does not.
pub(super) fn check(medium: &Medium, change: &Change) -> Result<(), CustomError> {
    let fat = Fat::read(&medium.volume())?;
    let wanted = change.kernel_args.join(" ");
    for own in &medium.ukis {
        let addon = beside(&fat, own)?;
        let is_wanted = change.config.is_some() || !change.kernel_args.is_empty();
        if addon.is_some() != is_wanted {
            let what = if is_wanted { "nothing lies" } else { "an addon lies" };
            return Err(CustomError::Mismatch(format!("{what} beside `{}`", own.path())));
        }
        let Some(addon) = addon else { continue };
        if addon.cmdline.unwrap_or_default() != wanted {
            let wrong = format!("the addon of `{}` has other kernel arguments", own.path());
            return Err(CustomError::Mismatch(wrong));
        }
        let base = || medium.base(&own.initramfs()?);
        check_segment(&own.path(), addon.initrd.as_ref(), change, base)?;
    }
    match &medium.bios {
        Bios::Iso(iso) => check_menu(medium, iso, change, &wanted),
        Bios::None | Bios::Disk => Ok(()),
    }
}

fn check_menu(
    medium: &Medium,
    iso: &Iso,
    change: &Change,
    wanted: &str,
) -> Result<(), CustomError> {
    let content = |path: &'static str| match iso.find(path)?.filter(|file| !file.is_dir) {
        Some(file) => Ok(iso.content(&file)),
        None => Err(CustomError::Menu(path)),
    };
    let menu = content(MENU)?;
    let menu = menu.slice(0..menu.len().min(MENU_LIMIT)).to_vec()?;
    let text = String::from_utf8(menu).map_err(|_| CustomError::Menu(MENU))?;
    let mut segment = None;
    for entry in grub::read(&text)? {
        let wrong =
            |what| Err(CustomError::Mismatch(format!("GRUB's entry `{}` {what}", entry.title)));
        if !format!(" {}", entry.cmdline).ends_with(&format!(" {wanted}")) && !wanted.is_empty() {
            return wrong("has other kernel arguments");
        }
        let is_last = entry.initrds.last().is_some_and(|path| path == ISO_SEGMENT);
        if is_last != change.config.is_some() {
            return wrong("has another number of initramfs files");
        }
        let others = entry.initrds.len() - usize::from(is_last);
        for path in entry.initrds[..others].iter().skip(1) {
            let file = iso.find(path)?.filter(|file| !file.is_dir && !file.is_empty());
            let other = file.map(|file| config(&iso.content(&file))).transpose()?.flatten();
            if other.is_some() {
                return wrong("leads to a second config");
            }
        }
        if is_last {
            segment = Some(content(ISO_SEGMENT.trim_start_matches('/'))?);
        }
    }
    let base = || medium.base(&content(INITRAMFS)?);
    check_segment("boot/grub/grub.cfg", segment.as_ref(), change, base)
}

/// Whether a segment holds the config, and lists the base's layers before it.
fn check_segment(
    place: &str,
    segment: Option<&Blob>,
    change: &Change,
    base: impl FnOnce() -> Result<Arc<Initramfs>, CustomError>,
) -> Result<(), CustomError> {
    let wrong = |what: &str| Err(CustomError::Mismatch(format!("`{place}` {what}")));
    let (Some(segment), Some(config)) = (segment, &change.config) else {
        return match segment.is_some() == change.config.is_some() {
            true => Ok(()),
            false => wrong("has a config where none was meant, or none where one was meant"),
        };
    };
    let mut memo = Memo::default();
    memo.allow(segment.len());
    let tree = initrd::unpack(segment, &mut memo)?;
    match init::config(&tree, &mut memo)? {
        Some(found) if *found.bytes == **config && found.mode == CONFIG_MODE => {}
        _ => return wrong("leads to another config"),
    }
    let layers = init::layers(&tree, &mut memo)?;
    let base = base()?.list.as_deref().map(init::parse).transpose();
    let base: Vec<Layer> = base.ok().flatten().unwrap_or_default();
    match layers.split_last() {
        Some((_, before)) if before == base => Ok(()),
        _ => wrong("has other layers than the initramfs before it"),
    }
}
