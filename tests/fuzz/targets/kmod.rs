//! A kernel module of random bytes, packed or not, and an index of it and its tables.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talforge::blob::Blob;
use talforge::kmod::{self, Module, Search, Tables};

fuzz_target!(|data: &[u8]| {
    let read = |path: &str, bytes: &[u8]| Module::read(path, &Blob::from_bytes("input", bytes));
    let half = data.len() / 2;
    let modules = [
        read("kernel/one.ko", data),
        read("kernel/two.ko", &data[half..]),
        read("extras/one.ko", &data[..half]),
    ];
    let modules: Vec<_> = modules.into_iter().flatten().collect();
    let tables = Tables {
        order: data.to_vec(),
        builtin: data.to_vec(),
        builtin_modinfo: data.to_vec(),
    };
    let search = [Search::Folder("extras".to_owned()), Search::BuiltIn];
    let _ = kmod::index(&modules, &tables, &search);
});
