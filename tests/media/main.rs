//! Whole media, from the site file to what foreign readers find on them.
//!
//! In: sites with boot assets made here. Out: what foreign programs say of the built media.
//!
//! Not here: the formats by themselves (`formats`, `iso9660`), and boots (`boot`).

mod assets;
mod fixture;
mod kinds;
mod oracle;
mod iso;
mod disk;
mod esp;
mod uki;
mod standin;
mod identity;
mod same;
mod files;
mod manifest;
mod map;
mod events;
mod refused_assets;
mod refused_site;
mod refused_world;
mod damage;
mod cost;
mod ready_uki;
