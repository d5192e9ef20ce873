//! A machine config of random bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talforge::config::MachineConfig;

fuzz_target!(|data: &[u8]| {
    let _ = MachineConfig::parse("config.yaml", data);
});
