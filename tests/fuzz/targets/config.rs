//! A machine config of random bytes; what is read of it is written and read again, to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talforge::config::MachineConfig;
use talforge::config::documents::Documents;
use talforge::config::schema::Schema;

fuzz_target!(|data: &[u8]| {
    let _ = MachineConfig::parse("config.yaml", data);
    for minor in [12, 13, 14] {
        let schema = Schema::of_minor(minor);
        let Ok(mut read) = Documents::decode(schema, "config.yaml", data) else { continue };
        read.list_mut().iter_mut().for_each(|document| _ = document.tree_mut());
        let text = read.encode();
        let again = Documents::decode(schema, "again.yaml", text.as_bytes());
        let Ok(mut again) = again else { panic!("it cannot be read again") };
        again.list_mut().iter_mut().for_each(|document| _ = document.tree_mut());
        assert_eq!(again.encode(), text, "it is not the same when it is read again");
    }
});
