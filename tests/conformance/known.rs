//! Where ours and Talos differ on purpose.

use std::collections::BTreeSet;

/// A difference: its name, and why it is one.
pub(crate) struct Known {
    /// The last minor version that it is seen in.
    pub(crate) last: u32,
    pub(crate) name: &'static str,
    pub(crate) why: &'static str,
    /// What the config or the patch has in it.
    pub(crate) text: &'static str,
    /// What Talos says where it alone refuses; none where ours alone refuses.
    pub(crate) talos: Option<&'static str>,
    /// What ours says where it alone refuses.
    pub(crate) ours: Option<&'static str>,
}

/// All of them.
pub(crate) const KNOWN: &[Known] = &[
    Known {
        last: 14,
        name: "conflicts",
        why: "documents that exclude each other are refused by `valid`, which sees all of them",
        text: "",
        talos: Some("conflicting "),
        ours: None,
    },
    Known {
        last: 14,
        name: "keys",
        why: "keys that are no texts in objects of Kubernetes: nothing can use them as JSON",
        text: "",
        talos: None,
        ours: Some("config-key"),
    },
    Known {
        last: 14,
        name: "binary",
        why: "bytes in base64 that are no text: no key of a config holds such",
        text: "!!binary",
        talos: None,
        ours: Some("config-tag"),
    },
    Known {
        last: 12,
        name: "fractions",
        why: "numbers beyond 64 bits become whole ones that depend on the processor",
        text: "",
        talos: None,
        ours: Some("takes a whole number"),
    },
    Known {
        last: 14,
        name: "aliases",
        why: "Talos does not look for unknown keys in what an alias repeats; they are mistakes there too",
        text: "*n",
        talos: None,
        ours: Some("config-unknown-key"),
    },
    Known {
        last: 13,
        name: "addresses",
        why: "before 1.14 Talos cannot patch a document that may have one of these addresses at all",
        text: "RoutingRuleConfig",
        talos: Some("merge not possible"),
        ours: None,
    },
    Known {
        last: 13,
        name: "deletions of nothing",
        why: "before 1.14 Talos adds a deletion in a document that is not there to the config, and breaks over it",
        text: "$patch",
        talos: Some("cannot return value obtained from unexported field"),
        ours: None,
    },
    Known {
        last: 14,
        name: "times",
        why: "Talos breaks over a date in an object of Kubernetes as soon as it copies it",
        text: "2024",
        talos: Some("cannot deep copy time.Time"),
        ours: None,
    },
    Known {
        last: 14,
        name: "keys twice",
        why: "Talos deletes before it looks for keys that come twice",
        text: "$patch",
        talos: None,
        ours: Some("yaml-duplicate-key"),
    },
    Known {
        last: 14,
        name: "merged keys",
        why: "Talos does not look for unknown keys in what `<<` brings in; they are mistakes there too",
        text: "<<",
        talos: None,
        ours: Some("config-unknown-key"),
    },
    Known {
        last: 13,
        name: "aliases of no texts",
        why: "1.13 takes `true` for an expression, and not an alias of it; ours takes both",
        text: "*n",
        talos: Some("(TextUnmarshaler)"),
        ours: None,
    },
    Known {
        last: 14,
        name: "deletions by URL",
        why: "Talos breaks over an item whose URL is empty",
        text: "$patch",
        talos: Some("nil pointer dereference"),
        ours: None,
    },
    Known {
        last: 13,
        name: "empty items",
        why: "before 1.14 Talos reads items that are nothing where it has pointers, and breaks over them later",
        text: "",
        talos: None,
        ours: Some("config-null"),
    },
    Known {
        last: 14,
        name: "no numbers of JSON",
        why: "Talos finds out when it writes JSON; nobody writes such a number",
        text: "overrides",
        talos: Some("json: unsupported value"),
        ours: None,
    },
    Known {
        last: 14,
        name: "nothing",
        why: "a config without documents is a start for what makes one; `MachineConfig` refuses it",
        text: "",
        talos: Some("config not found"),
        ours: None,
    },
    Known {
        last: 14,
        name: "replaced or added",
        why: "Talos lets `replace` add a key, and writes keys that are empty; RFC 6902 says they must exist",
        text: "\"path\"",
        talos: None,
        ours: Some("the path of this operation is not in the config"),
    },
    Known {
        last: 14,
        name: "moved to another type",
        why: "ours moves and copies between keys of one type alone",
        text: "\"from\"",
        talos: None,
        ours: Some("have different types in Talos"),
    },
    Known {
        last: 12,
        name: "colons first",
        why: "1.12 does not read `[::1]`; ours writes it in quotes",
        text: "[:",
        talos: Some("did not find expected node content"),
        ours: None,
    },
    Known {
        last: 13,
        name: "colons last",
        why: "in `[fd00::]` YAML has a mapping, and so has Talos since 1.14",
        text: ":]",
        talos: None,
        ours: Some("takes a text, and this is a mapping"),
    },
];

/// The difference that covers what one side alone refuses.
pub(crate) fn known(
    minor: u32,
    text: &str,
    talos: Option<&str>,
    ours: Option<&str>,
) -> Option<&'static Known> {
    let fits = |expected: Option<&str>, said: Option<&str>| match (expected, said) {
        (Some(expected), Some(said)) => said.contains(expected),
        (None, None) => true,
        _ => false,
    };
    let here = |known: &&Known| minor <= known.last && text.contains(known.text);
    let mut fitting = KNOWN.iter().filter(here);
    fitting.find(|known| fits(known.talos, talos) && fits(known.ours, ours))
}

/// What Talos writes, with the one thing made equal that ours writes on purpose: Talos leaves
/// `version` empty where it was, and ours says it.
pub(crate) fn versioned(text: &str) -> String {
    match text.strip_prefix("version: \"\"\n") {
        Some(rest) => format!("version: v1alpha1\n{rest}"),
        None => text.to_owned(),
    }
}

#[test]
fn each_difference_has_a_name_and_a_reason() {
    let names: BTreeSet<_> = KNOWN.iter().map(|known| known.name).collect();
    assert_eq!(names.len(), KNOWN.len());
    assert!(
        KNOWN
            .iter()
            .all(|known| !known.why.is_empty() && known.talos.is_some() != known.ours.is_some())
    );
}
