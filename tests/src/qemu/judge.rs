//! Whether a boot counts, by all that was seen of it.
//!
//! In: evidence, the report, the machine's number. Out: why it does not count, or nothing.
//!
//! Source: the texts are those of Linux, EDK II, SeaBIOS, systemd-boot and GRUB.
//!
//! Not here: watching (`guest`), and whether the config is the one meant (`Verdict`).

use super::guest::{Evidence, GivenUp};
use super::{Failure, Reason};
use crate::report::Report;

/// What a kernel says when all is over. Lower case.
const KERNEL: [(&str, Reason); 3] = [
    ("initramfs unpacking failed", Reason::Initramfs),
    ("unable to mount root fs", Reason::Initramfs),
    ("kernel panic - not syncing", Reason::Panic),
];

/// What a firmware or boot loader says when all is over: the pieces of a line, in their order.
/// Those that say why come first. Lower case.
const FIRMWARE: [(&[&str], Reason); 20] = [
    (&["access denied"], Reason::Refused),
    (&["security violation"], Reason::Refused),
    (&["security policy violation"], Reason::Refused),
    (&["error loading", ".efi"], Reason::BootLoader),
    (&["error loading efi binary"], Reason::BootLoader),
    (&["failed to execute"], Reason::BootLoader),
    (&["failed to load image"], Reason::BootLoader),
    (&["failed to start image"], Reason::BootLoader),
    (&["efi stub: error"], Reason::BootLoader),
    (&["error: ", "not found"], Reason::Grub),
    (&["error: unknown filesystem"], Reason::Grub),
    (&["error: no such"], Reason::Grub),
    (&["error: invalid"], Reason::Grub),
    (&["grub rescue>"], Reason::Grub),
    (&["grub>"], Reason::Grub),
    (&["no bootable device"], Reason::NothingBootable),
    (&["not a bootable disk"], Reason::NothingBootable),
    (&["no bootable option"], Reason::NothingBootable),
    (&["press any key to enter the boot manager"], Reason::NothingBootable),
    (&["uefi interactive shell"], Reason::NothingBootable),
];

/// Why the boot does not count, or nothing where it does.
pub(super) fn judge(evidence: &Evidence, report: &Report, number: &str) -> Option<Failure> {
    fatal(&evidence.console)
        .or_else(|| stopped(report))
        .or_else(|| given_up(evidence))
        .or_else(|| end(evidence))
        .or_else(|| told(report, number))
}

fn failure(reason: Reason, detail: impl Into<String>) -> Option<Failure> {
    Some(Failure { reason, detail: detail.into() })
}

fn stopped(report: &Report) -> Option<Failure> {
    failure(Reason::Stopped, report.get("died")?)
}

fn given_up(evidence: &Evidence) -> Option<Failure> {
    match evidence.given_up? {
        GivenUp::Fatal => failure(Reason::Ended, "given up after a fatal line"),
        GivenUp::Silent(limit) => failure(Reason::Silent, said_nothing(evidence, limit.as_secs())),
        GivenUp::TooSlow(limit) => failure(Reason::TooSlow, format!("over {limit:?}")),
        GivenUp::TooLoud => failure(Reason::TooSlow, "the console does not stop"),
    }
}

/// The last line is where a person starts to look.
fn said_nothing(evidence: &Evidence, seconds: u64) -> String {
    let text = plain(&evidence.console);
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("nothing");
    format!("for {seconds} s after: {last}")
}

fn end(evidence: &Evidence) -> Option<Failure> {
    match (&evidence.shutdown, evidence.exit) {
        (Some(how), Some(0)) if how.guest && how.reason == "guest-shutdown" => None,
        (Some(how), _) if how.reason != "guest-shutdown" => failure(Reason::Ended, &how.reason),
        (_, exit) => {
            let exit = exit.map_or_else(|| "killed".into(), |code| format!("exit code {code}"));
            failure(Reason::Ended, format!("{exit} {}", evidence.errors))
        }
    }
}

fn told(report: &Report, number: &str) -> Option<Failure> {
    if let Some(problem) = &report.problem {
        return failure(Reason::Report, problem);
    }
    match report.get("serial") {
        Some(serial) if serial == number => None,
        other => failure(Reason::Report, format!("of another machine: {other:?}, not {number}")),
    }
}

/// The first kind of fatal line in the list's order, and that line.
pub(super) fn fatal(console: &[u8]) -> Option<Failure> {
    let text = plain(console);
    let lines: Vec<_> = text.lines().map(|line| (line, line.to_ascii_lowercase())).collect();
    let firmware = FIRMWARE.iter().find_map(|(pieces, reason)| {
        let hit = |line: &str| !is_later(line) && !is_harmless(line) && holds(line, pieces);
        let (line, _) = lines.iter().find(|(_, lower)| hit(lower))?;
        failure(*reason, line.trim())
    });
    let kernel = || {
        KERNEL.iter().find_map(|(text, reason)| {
            let hit = |line: &str| !line.starts_with("@lab ") && line.contains(text);
            let (line, _) = lines.iter().find(|(_, lower)| hit(lower))?;
            failure(*reason, line.trim())
        })
    };
    firmware.or_else(kernel)
}

/// Whether a line is the kernel's, which starts with a time, or the report's: their words must not
/// be taken for a firmware's.
fn is_later(line: &str) -> bool {
    line.starts_with('[') || line.starts_with("@lab ")
}

/// systemd-boot may not write its random seed where the file is read-only, as it is on ISOs. It says
/// so and goes on.
fn is_harmless(line: &str) -> bool {
    line.contains("random seed file")
}

fn holds(line: &str, pieces: &[&str]) -> bool {
    let mut rest = Some(line);
    for piece in pieces {
        rest = rest.and_then(|text| text.split_once(piece)).map(|(_, after)| after);
    }
    rest.is_some()
}

/// The console's text without the terminal's control sequences. One that moves the cursor ends a
/// line.
fn plain(console: &[u8]) -> String {
    let text = String::from_utf8_lossy(console);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                let end = chars.find(|c| ('@'..='~').contains(c));
                if end == Some('H') {
                    out.push('\n');
                }
            }
            '\u{1b}' => drop(chars.next()),
            '\r' => out.push('\n'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::guest::Shutdown;
    use super::*;
    use crate::report::Port;
    use crate::report::tests::{part, whole};
    use std::time::Duration;

    fn good() -> Evidence {
        Evidence {
            console: b"BdsDxe: starting Boot0001\r\n[    0.000000] Linux version 6.1\r\n".into(),
            report: whole("7-0").into(),
            shutdown: Some(Shutdown { guest: true, reason: "guest-shutdown".into() }),
            exit: Some(0),
            ..Evidence::default()
        }
    }

    fn reason(evidence: &Evidence) -> Option<Reason> {
        let report = Report::read(&evidence.report, Port::Private);
        judge(evidence, &report, "7-0").map(|failure| failure.reason)
    }

    fn with(change: impl FnOnce(&mut Evidence)) -> Option<Reason> {
        let mut evidence = good();
        change(&mut evidence);
        reason(&evidence)
    }

    #[test]
    fn a_good_boot_counts() {
        assert_eq!(reason(&good()), None);
    }

    #[test]
    fn a_boot_counts_only_if_the_guest_powers_off_and_the_emulator_ends_well() {
        let how = |guest, reason: &str| Some(Shutdown { guest, reason: reason.into() });
        assert_eq!(with(|e| e.shutdown = None), Some(Reason::Ended));
        assert_eq!(with(|e| e.shutdown = how(true, "guest-reset")), Some(Reason::Ended));
        assert_eq!(with(|e| e.shutdown = how(false, "guest-shutdown")), Some(Reason::Ended));
        assert_eq!(with(|e| e.shutdown = how(false, "host-signal")), Some(Reason::Ended));
        assert_eq!(with(|e| e.exit = Some(1)), Some(Reason::Ended));
        assert_eq!(with(|e| e.exit = None), Some(Reason::Ended));
    }

    #[test]
    fn a_boot_counts_only_with_the_whole_report_of_this_machine() {
        assert_eq!(with(|e| e.report.clear()), Some(Reason::Report));
        assert_eq!(with(|e| e.report.truncate(100)), Some(Reason::Report));
        assert_eq!(with(|e| e.report = whole("7-1").into()), Some(Reason::Report));
        let unnamed = part("init", "ok", &[]) + &part("machined", "ok", &["config=present"]);
        assert_eq!(with(|e| e.report = unnamed.into()), Some(Reason::Report));
        let stopped = part("init", "failed", &["serial=7-0", "died=no layer"]);
        assert_eq!(with(|e| e.report = stopped.into()), Some(Reason::Stopped));
    }

    #[test]
    fn a_machine_given_up_does_not_count() {
        let silent = GivenUp::Silent(Duration::from_secs(30));
        assert_eq!(with(|e| e.given_up = Some(silent)), Some(Reason::Silent));
        let slow = GivenUp::TooSlow(Duration::from_secs(90));
        assert_eq!(with(|e| e.given_up = Some(slow)), Some(Reason::TooSlow));
        assert_eq!(with(|e| e.given_up = Some(GivenUp::TooLoud)), Some(Reason::TooSlow));
        assert_eq!(with(|e| e.given_up = Some(GivenUp::Fatal)), Some(Reason::Ended));
    }

    /// Even a whole report does not save a boot whose console says that it went wrong.
    #[test]
    fn each_fatal_line_is_known() {
        let cases = [
            ("[    1.0] Initramfs unpacking failed: junk", Reason::Initramfs),
            ("[    1.0] VFS: Unable to mount root fs on unknown-block(0,0)", Reason::Initramfs),
            ("[    1.0] Kernel panic - not syncing: Attempted to kill init!", Reason::Panic),
            ("\x1b[2J\x1b[01;01H\x1b[0mNo bootable device.\r", Reason::NothingBootable),
            ("BdsDxe: No bootable option or device was found.", Reason::NothingBootable),
            ("BdsDxe: failed to load Boot0001: Access Denied", Reason::Refused),
            ("Error loading \\EFI\\Linux\\Talos.efi: Load error", Reason::BootLoader),
            ("error: file `/A/vmlinuz' not found.", Reason::Grub),
            ("grub rescue> ", Reason::Grub),
        ];
        for (line, want) in cases {
            let more = |e: &mut Evidence| e.console.extend(format!("{line}\r\n").bytes());
            assert_eq!(with(more), Some(want), "{line}");
        }
    }

    #[test]
    fn what_the_kernel_or_a_config_says_is_not_taken_for_a_firmwares_word() {
        let lines = [
            "[    1.0] foo: Access Denied",
            "@lab cmdline=grub> kernel panic - not syncing",
            "Failed to open random seed file: Access denied",
        ];
        for line in lines {
            let more = |e: &mut Evidence| e.console.extend(format!("{line}\r\n").bytes());
            assert_eq!(with(more), None, "{line}");
        }
    }
}
