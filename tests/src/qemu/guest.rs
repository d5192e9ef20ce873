//! One run of the emulator, watched until it ends or is given up.
//!
//! In: its arguments, limits. Out: [`Evidence`] of what happened, not yet judged.
//!
//! Source: "QEMU QMP Reference Manual", `SHUTDOWN`; `setpriv(1)`.
//!
//! Not here: what counts as success (`judge`).

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Limits, judge};
use crate::tools;

/// The log of the first serial port.
pub(super) const CONSOLE: &str = "console.log";
/// The log of the second serial port.
pub(super) const REPORT: &str = "report.txt";

/// How long a machine may speak on after a line that is known to be fatal: what it says next often
/// tells why.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How often the logs are looked at.
const TICK: Duration = Duration::from_millis(25);
/// A machine that says more is given up.
const CONSOLE_MAX: usize = 8 << 20;

/// What was seen of a machine.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// All that came by the first serial port.
    pub(super) console: Vec<u8>,
    /// All that came by the second one.
    pub(super) report: Vec<u8>,
    /// The first shutdown that the emulator told of.
    pub(super) shutdown: Option<Shutdown>,
    /// The emulator's exit code; none where it was killed.
    pub(super) exit: Option<i32>,
    /// Why the machine was given up.
    pub(super) given_up: Option<GivenUp>,
    /// What the emulator said on standard error.
    pub(super) errors: String,
    /// How long it ran.
    pub(super) wall: Duration,
}

/// The emulator's event `SHUTDOWN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shutdown {
    /// Whether the guest asked for it.
    pub(super) guest: bool,
    /// Why: `guest-shutdown`, `guest-reset` and others.
    pub(super) reason: String,
}

/// Why a machine was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// It had said something fatal.
    Fatal,
    /// It had said nothing for so long.
    Silent(Duration),
    /// It had run for so long.
    TooSlow(Duration),
    /// It had said too much.
    TooLoud,
}

/// Runs the emulator to its end.
pub(super) fn run(
    emulator: &str,
    arguments: &[String],
    folder: &Path,
    limits: Limits,
) -> Result<Evidence> {
    fs::write(folder.join("command"), format!("{emulator} {}\n", arguments.join(" ")))?;
    let started = Instant::now();
    let mut guest = Guest::start(emulator, arguments, folder)?;
    let mut evidence = Evidence::default();
    guest.watch(&mut evidence, started, limits)?;
    evidence.wall = started.elapsed();
    let errors = fs::read(folder.join("errors"))?;
    evidence.errors = String::from_utf8_lossy(&errors).trim().to_owned();
    Ok(evidence)
}

/// A running emulator. It is killed when dropped, and where `setpriv` is there, also when this
/// process dies without a chance to do so.
struct Guest {
    child: Child,
    events: Receiver<Value>,
    console: Log,
    report: Log,
    /// Kept open: the monitor's other half.
    _monitor: ChildStdin,
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Both fail only where the emulator has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Guest {
    fn start(emulator: &str, arguments: &[String], folder: &Path) -> Result<Self> {
        let emulator =
            tools::find(emulator).with_context(|| format!("`{emulator}` is not installed"))?;
        let console = Log::create(&folder.join(CONSOLE))?;
        let report = Log::create(&folder.join(REPORT))?;
        let mut command = match tools::find("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(emulator);
                command
            }
            None => Command::new(emulator),
        };
        command.args(arguments).current_dir(folder).env("LC_ALL", "C");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(File::create(folder.join("errors"))?);
        let mut child = command.spawn().context("the emulator did not start")?;
        let stdout = child.stdout.take().context("the monitor's pipe")?;
        let mut monitor = child.stdin.take().context("the monitor's pipe")?;
        // An emulator that has ended already shows so below.
        let _ = monitor.write_all(b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"cont\"}\n");
        let (send, events) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            let values = lines.filter_map(|line| serde_json::from_str(&line).ok());
            values.map_while(|value: Value| send.send(value).ok()).for_each(drop);
        });
        Ok(Self { child, events, console, report, _monitor: monitor })
    }

    fn watch(&mut self, evidence: &mut Evidence, started: Instant, limits: Limits) -> Result<()> {
        let mut last_word = started;
        let mut fatal: Option<Instant> = None;
        while self.hear(evidence) {
            let said = self.console.read(&mut evidence.console)?;
            if said + self.report.read(&mut evidence.report)? > 0 {
                last_word = Instant::now();
            }
            if said > 0
                && fatal.is_none()
                && judge::fatal(newest(&evidence.console, said)).is_some()
            {
                fatal = Some(last_word);
            }
            evidence.given_up = if fatal.is_some_and(|since| since.elapsed() > LAST_WORDS) {
                Some(GivenUp::Fatal)
            } else if last_word.elapsed() > limits.silence {
                Some(GivenUp::Silent(limits.silence))
            } else if started.elapsed() > limits.total {
                Some(GivenUp::TooSlow(limits.total))
            } else if evidence.console.len() + evidence.report.len() > CONSOLE_MAX {
                Some(GivenUp::TooLoud)
            } else {
                None
            };
            if evidence.given_up.is_some() {
                self.child.kill()?;
                break;
            }
        }
        evidence.exit = self.leave()?;
        // The monitor's last events are on their way; a stray heir of the pipe may keep it open.
        let ended = Instant::now();
        while ended.elapsed() < LAST_WORDS && self.hear(evidence) {}
        self.console.read(&mut evidence.console)?;
        self.report.read(&mut evidence.report)?;
        Ok(())
    }

    /// The exit code of an emulator that is about to end, and is killed where it does not.
    fn leave(&mut self) -> Result<Option<i32>> {
        let asked = Instant::now();
        while asked.elapsed() < LAST_WORDS {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            thread::sleep(TICK);
        }
        self.child.kill()?;
        Ok(self.child.wait()?.code())
    }

    /// Hears the monitor for a moment; `false` where it has hung up, as the emulator's end does.
    fn hear(&self, evidence: &mut Evidence) -> bool {
        match self.events.recv_timeout(TICK) {
            Ok(event) => {
                let shutdown = shutdown(&event);
                evidence.shutdown = evidence.shutdown.take().or(shutdown);
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => false,
        }
    }
}

/// The last `said` bytes, and the line before them that they may end.
fn newest(console: &[u8], said: usize) -> &[u8] {
    let (old, _) = console.split_at(console.len() - said);
    let line = old.iter().rposition(|byte| matches!(byte, b'\n' | b'\r')).map_or(0, |at| at + 1);
    &console[line..]
}

fn shutdown(event: &Value) -> Option<Shutdown> {
    if event.get("event")? != "SHUTDOWN" {
        return None;
    }
    let data = event.get("data")?;
    let reason = data.get("reason")?.as_str()?.to_owned();
    Some(Shutdown { guest: data.get("guest")?.as_bool()?, reason })
}

/// A log that the emulator writes while it is read.
struct Log(File);

impl Log {
    fn create(path: &Path) -> Result<Self> {
        fs::write(path, "")?;
        Ok(Self(File::open(path)?))
    }

    /// Adds what is new, and says how much that is.
    fn read(&mut self, to: &mut Vec<u8>) -> Result<usize> {
        Ok(self.0.read_to_end(to)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Limits =
        Limits { silence: Duration::from_millis(200), total: Duration::from_secs(20) };

    fn run_program(program: &str, arguments: &[&str], limits: Limits) -> Evidence {
        let folder = tempfile::tempdir().unwrap();
        let arguments: Vec<_> = arguments.iter().map(|text| (*text).to_owned()).collect();
        run(program, &arguments, folder.path(), limits).unwrap()
    }

    #[test]
    fn a_silent_machine_is_given_up() {
        let evidence = run_program("sleep", &["1000"], SHORT);
        assert_eq!(evidence.given_up, Some(GivenUp::Silent(SHORT.silence)));
        assert_eq!((evidence.exit, evidence.shutdown), (None, None));
    }

    #[test]
    fn a_machine_that_talks_for_ever_is_given_up() {
        let limits = Limits { silence: SHORT.total, total: SHORT.silence };
        let script = format!("while sleep 0.05; do echo more >> {CONSOLE}; done");
        let evidence = run_program("sh", &["-c", &script], limits);
        assert_eq!(evidence.given_up, Some(GivenUp::TooSlow(limits.total)));
    }

    #[test]
    fn a_fatal_line_ends_a_machine_early_but_not_its_last_words() {
        let script = format!(
            "echo Access Denied >> {CONSOLE}; sleep 0.2; \
                              echo why >> {CONSOLE}; exec sleep 1000"
        );
        let limits = Limits { silence: SHORT.total, total: SHORT.total };
        let evidence = run_program("sh", &["-c", &script], limits);
        assert_eq!(evidence.given_up, Some(GivenUp::Fatal));
        assert_eq!(evidence.console, b"Access Denied\nwhy\n");
        assert!(evidence.wall < Duration::from_secs(10));
    }

    #[test]
    fn what_the_monitor_says_is_heard_to_the_end() {
        let event = r#"{"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-shutdown"}}"#;
        let script = format!("echo '{event}'; echo no json; echo bad >&2; exit 3");
        let evidence = run_program("sh", &["-c", &script], Limits::default());
        let shutdown = Shutdown { guest: true, reason: "guest-shutdown".into() };
        assert_eq!(evidence.shutdown, Some(shutdown));
        assert_eq!((evidence.exit, evidence.errors.as_str()), (Some(3), "bad"));
    }

    #[test]
    fn an_emulator_that_does_not_end_is_killed() {
        let script = "exec sleep 1000 >&-";
        let evidence = run_program("sh", &["-c", script], Limits::default());
        assert_eq!((evidence.given_up, evidence.exit), (None, None));
    }

    #[test]
    fn a_machine_is_gone_once_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let guest = Guest::start("sleep", &["1000".into()], folder.path()).unwrap();
        let process = format!("/proc/{}", guest.child.id());
        assert!(Path::new(&process).exists());
        drop(guest);
        assert!(!Path::new(&process).exists());
    }
}
