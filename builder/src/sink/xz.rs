//! Files compressed by xz, what nodes have in common but once.
//!
//! In: a blob. Out: a blob.
//!
//! A file is one stream of several blocks, as `xz -T0` writes: readers that stop after the first
//! stream have all of it, and those with several threads read several blocks at a time, because each
//! says how long it is. The check is CRC-32: the specification asks every reader to know it, and
//! the kernel's and BusyBox' may know no other.
//!
//! Source: "The .xz File Format", version 1.2.1, <https://tukaani.org/xz/xz-file-format.txt>.
//!
//! Not here: how files are written (`file`).

use std::io::{self, Write};
use std::path::Path;

use lzma_rust2::{Lzma2Options, Lzma2Writer, LzmaOptions};

use crate::blob::{Blob, Builder};
use crate::sink::Tell;
use crate::sink::pieces::Pieces;

/// As Talos' own images are made (`xz -0`).
const LEVEL: u32 = 0;

/// Section 2.1.1.1: the six bytes every file starts with.
const MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];

/// Section 2.1.1.2, "Stream Flags": the check is CRC-32.
const FLAGS: [u8; 2] = [0, 1];

/// Section 5.3.1, "LZMA2": its ID, the length of its properties, and a dictionary of 256 KiB.
const FILTER: [u8; 3] = [0x21, 1, 12];

/// The dictionary of level 0, in bytes.
const DICTIONARY: u32 = 256 << 10;

/// What compresses by xz, with memory of what it compressed.
#[derive(Debug)]
pub struct Packer {
    pieces: Pieces<Record>,
}

/// Section 4.3, "List of Records": a block's lengths in bytes.
#[derive(Clone, Copy, Debug)]
struct Record {
    /// From the header to the check; without the padding before the check.
    unpadded: u64,
    uncompressed: u64,
}

impl Packer {
    /// Nothing compressed so far. Pieces go into nameless files of a folder.
    pub fn new(folder: &Path) -> Self {
        Self { pieces: Pieces::new(folder, press) }
    }

    /// Compresses a file. The result depends on the file alone.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, a piece cannot be written, or `tell` wants an end.
    pub fn pack(&self, file: &Blob, tell: Tell<'_>) -> io::Result<Blob> {
        let packed = self.pieces.pack(file, tell)?;
        let index = index(&packed.facts);
        let footer = footer(index.len())?;
        let end = Builder::default().bytes("xz index", index).bytes("xz footer", footer).finish();
        let end = if file.own().is_empty() { end } else { end.owned() };
        let header = [&MAGIC[..], &FLAGS, &crc32fast::hash(&FLAGS).to_le_bytes()].concat();
        Ok(Builder::default().bytes("xz header", header).blob(&packed.blob).blob(&end).finish())
    }
}

/// Compresses a chunk into a block.
fn press(bytes: &[u8]) -> io::Result<(Vec<u8>, Record)> {
    let lzma_options = LzmaOptions { dict_size: DICTIONARY, ..LzmaOptions::with_preset(LEVEL) };
    let options = Lzma2Options { lzma_options, ..Lzma2Options::default() };
    let mut writer = Lzma2Writer::new(Vec::with_capacity(bytes.len() / 2), options);
    writer.write_all(bytes)?;
    let data = writer.finish()?;
    let mut block = block_header(data.len() as u64, bytes.len() as u64)?;
    block.extend(data);
    // "Unpadded Size" has the check in it, which comes after the padding.
    let unpadded = block.len() as u64 + 4;
    pad(&mut block);
    block.extend(crc32fast::hash(bytes).to_le_bytes());
    Ok((block, Record { unpadded, uncompressed: bytes.len() as u64 }))
}

/// Section 3.1, "Block Header", with both lengths.
fn block_header(compressed: u64, uncompressed: u64) -> io::Result<Vec<u8>> {
    let mut header = vec![0, 0xc0];
    number(&mut header, compressed);
    number(&mut header, uncompressed);
    header.extend(FILTER);
    pad(&mut header);
    header[0] = u8::try_from(header.len() / 4).map_err(io::Error::other)?;
    header.extend(crc32fast::hash(&header).to_le_bytes());
    Ok(header)
}

/// Section 4, "Index".
fn index(records: &[Record]) -> Vec<u8> {
    let mut index = vec![0];
    number(&mut index, records.len() as u64);
    for record in records {
        number(&mut index, record.unpadded);
        number(&mut index, record.uncompressed);
    }
    pad(&mut index);
    index.extend(crc32fast::hash(&index).to_le_bytes());
    index
}

/// Section 2.1.2, "Stream Footer".
fn footer(index_len: usize) -> io::Result<Vec<u8>> {
    let backward = u32::try_from(index_len / 4 - 1).map_err(io::Error::other)?;
    let body = [&backward.to_le_bytes()[..], &FLAGS].concat();
    Ok([&crc32fast::hash(&body).to_le_bytes()[..], &body, b"YZ"].concat())
}

/// Section 1.2, "Multibyte Integers".
fn number(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

/// Zeros up to a multiple of four bytes.
fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests;
