//! What ours makes of configs and patches, beside what Talos' own packages make of them.
//!
//! `TALFORGE_CASES` is the number of random cases of each kind and release, `TALFORGE_SEED` the
//! first seed; what fails is printed as small as it still fails.

#[cfg(test)]
mod draw;
#[cfg(test)]
mod known;
#[cfg(test)]
mod raw;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod patching;
#[cfg(test)]
mod table;
#[cfg(test)]
mod site;
#[cfg(test)]
mod whole;

#[cfg(test)]
mod bench {
    use std::panic::resume_unwind;
    use std::thread;

    use lab::talos::{MINORS, Oracle};
    use talforge::config::documents::Documents;
    use talforge::config::schema::Schema;
    use talforge::report::Diagnostic;

    /// Runs a check against each release, side by side.
    pub(crate) fn each_release(check: fn(&mut Oracle)) {
        thread::scope(|scope| {
            let run = |minor| move || Oracle::start(minor).unwrap().as_mut().map(check);
            let threads: Vec<_> = MINORS.map(|minor| scope.spawn(run(minor))).into();
            for thread in threads {
                thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            }
        });
    }

    /// How many random cases there are, and the seed of each.
    pub(crate) fn seeds(usual: u64) -> impl Iterator<Item = u64> {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let first = number("TALFORGE_SEED").unwrap_or(0);
        first..first + number("TALFORGE_CASES").unwrap_or(usual)
    }

    /// How many failures end a run: the first, or `TALFORGE_FAILURES`.
    pub(crate) fn stand() -> usize {
        std::env::var("TALFORGE_FAILURES").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
    }

    /// What ours makes of a config.
    pub(crate) fn decode(minor: u32, text: &str) -> Result<Documents, Vec<Diagnostic>> {
        Documents::decode(Schema::of_minor(minor), "config.yaml", text.as_bytes())
    }

    /// The documents' text, with each written anew.
    pub(crate) fn rewritten(mut documents: Documents) -> String {
        documents.list_mut().iter_mut().for_each(|document| _ = document.tree_mut());
        documents.encode()
    }

    /// The first finding, for messages.
    pub(crate) fn first(problems: &[Diagnostic]) -> String {
        problems
            .first()
            .map_or_else(String::new, |first| format!("{}: {}", first.code, first.message))
    }
}
