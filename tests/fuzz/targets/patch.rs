//! A config and a patch of random bytes, with a zero byte between them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talforge::config::documents::Documents;
use talforge::config::patch::Patch;
use talforge::config::schema::Schema;

fuzz_target!(|data: &[u8]| {
    let mut halves = data.splitn(2, |&byte| byte == 0);
    let (base, patch) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
    for minor in [12, 14] {
        let schema = Schema::of_minor(minor);
        let Ok(patch) = Patch::read(schema, "patch.yaml", patch) else { continue };
        let documents = Documents::decode(schema, "config.yaml", base);
        let mut documents = documents.unwrap_or_else(|_| Documents::new(schema));
        if documents.apply(&patch).is_ok() {
            let _ = documents.encode();
        }
    }
});
