//! What may stand in a list of kernel arguments.
//!
//! In: one item's text. Out: nothing, or why not.
//!
//! Source: Linux `Documentation/admin-guide/kernel-parameters.rst` and `lib/cmdline.c`; what Talos
//! insists on is in its `pkg/kernel/kspp/kspp.go`; that `-key` removes is in `go-procfs`.
//!
//! Not here: how lists come together to a command line (`plan`).

/// The longest command line that Linux takes on x86-64 and AArch64, with its end mark.
pub const COMMAND_LINE_BYTES: usize = 2048;

/// Why an item is refused, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: &'static str,
}

/// Checks one item: `key`, `key=value`, or, to take it away, `-key` and `-key=value`.
///
/// # Errors
///
/// What the kernel or Talos would not take, or take for something else.
pub fn check(item: &str) -> Result<(), Refusal> {
    check_text(item)?;
    let (removal, rest) = match item.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, item),
    };
    let (key, value) = match rest.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (rest, None),
    };
    if key.is_empty() {
        let message = format!("the kernel argument `{item}` has no name");
        return Err(Refusal { message, help: "write `key=value`, or `-key` to take one away" });
    }
    match (key, value) {
        ("slab_nomerge", None) | ("pti", Some("on")) if !removal => Ok(()),
        ("slab_nomerge" | "pti", _) => Err(Refusal {
            message: format!(
                "the kernel argument `{item}` would keep Talos from booting: it refuses to run \
                 without `slab_nomerge` and `pti=on`"
            ),
            help: "drop the item",
        }),
        ("talos.platform", _) => Err(Refusal {
            message: format!("the kernel argument `{item}` would undo the profile's platform"),
            help: "choose a profile of that platform, or write your own with `platform`",
        }),
        _ => Ok(()),
    }
}

fn check_text(item: &str) -> Result<(), Refusal> {
    let refuse = |message: &str, help| Err(Refusal { message: message.to_owned(), help });
    if item.is_empty() {
        return refuse("a kernel argument is empty", "drop the item");
    }
    if item.len() >= COMMAND_LINE_BYTES {
        return refuse(
            "a kernel argument is longer than the whole command line of 2047 bytes may be",
            "shorten it",
        );
    }
    if item.contains([' ', '\t', '\n', '\r']) {
        return refuse(
            "a kernel argument holds white space",
            "write one list item for each argument; the kernel ends one at white space",
        );
    }
    if item.contains('"') {
        return refuse(
            "a kernel argument holds a double quote, which would swallow those after it",
            "drop the quotes; without white space none are needed",
        );
    }
    if !item.bytes().all(|b| b.is_ascii_graphic()) {
        return refuse(
            "a kernel argument holds a character that is not ASCII",
            "write it in ASCII",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_talos_boots_with_is_taken() {
        for item in [
            "quiet",
            "console=ttyS0,115200n8",
            "-console",
            "-console=tty0",
            "pti=on",
            "slab_nomerge",
            "talos.dashboard.disabled=1",
            "ip=[2001:db8::1]::[2001:db8::2]:64::eth0:off",
            "a=b=c",
        ] {
            assert_eq!(check(item), Ok(()), "{item}");
        }
    }

    #[test]
    fn what_talos_would_not_boot_with_is_refused() {
        for item in ["-pti", "-pti=on", "pti=off", "pti", "-slab_nomerge", "slab_nomerge=0"] {
            assert!(check(item).unwrap_err().message.contains("without `slab_nomerge`"), "{item}");
        }
    }

    #[test]
    fn what_would_fall_apart_on_the_command_line_is_refused() {
        for item in ["", " ", "a b", "a\tb", "a\u{a0}b", "é", "a=\"b", "-", "=x", "-=x", "a\0b"] {
            assert!(check(item).is_err(), "{item:?}");
        }
        assert!(check(&"x".repeat(2047)).is_ok());
        assert!(check(&"x".repeat(2048)).is_err());
        assert!(check("-talos.platform").is_err());
    }
}
