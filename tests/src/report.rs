//! What a stand-in told, and whether it was heard whole.
//!
//! In: the bytes of a serial port. Out: keys and values, and the first thing wrong with them.
//!
//! Source: `tests/standin/report.h`, which defines the lines.
//!
//! Not here: whether what was told is what was meant (`qemu`).

use std::collections::BTreeMap;

use talforge::digest::Digest;

/// The parts of a report, in order.
const PARTS: [&str; 2] = ["init", "machined"];

/// What every line starts with.
const MARK: &str = "@lab ";

/// Who writes to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// From the report's first line on, the stand-in alone: anything else is a fault. Before it
    /// the firmware may have spoken.
    Private,
    /// The kernel and the firmware as well: lines that do not start as a report's are passed over.
    Shared,
}

/// A report, perhaps not whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What was told so far.
    pub values: BTreeMap<String, String>,
    /// Why it does not count, or nothing where it is whole.
    pub problem: Option<String>,
}

impl Report {
    /// Reads a report. It is whole if both parts came in order, each with the number of lines and
    /// the digest that its end says, both ended `ok`, no key came twice and nothing came after.
    pub fn read(bytes: &[u8], port: Port) -> Self {
        let mut reader = Reader::default();
        let problem = reader.all(bytes, port).err();
        Self { values: reader.values, problem }
    }

    /// A value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }
}

#[derive(Default)]
struct Reader {
    values: BTreeMap<String, String>,
    /// Whether the first line has come.
    has_begun: bool,
    /// How many parts have ended.
    ended: usize,
    /// The lines of the part under way, each with its line feed.
    text: String,
}

impl Reader {
    fn all(&mut self, bytes: &[u8], port: Port) -> Result<(), String> {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ended = line.strip_suffix(b"\n");
            let Some(text) = std::str::from_utf8(ended.unwrap_or(line))
                .ok()
                .and_then(|line| line.strip_prefix(MARK))
                .filter(|text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)))
            else {
                let is_foreign = port == Port::Private && self.has_begun && line != b"\n";
                if is_foreign {
                    return Err("something else wrote to the report's port".into());
                }
                continue;
            };
            if ended.is_none() {
                return Err("the report stops within a line".into());
            }
            self.has_begun = true;
            self.line(text)?;
        }
        match PARTS.get(self.ended) {
            Some(part) if self.values.is_empty() => Err(format!("no report: `{part}` never spoke")),
            Some(part) => Err(format!("the report's part `{part}` has no end")),
            None => Ok(()),
        }
    }

    fn line(&mut self, text: &str) -> Result<(), String> {
        let part = PARTS.get(self.ended).ok_or("the report goes on after its end")?;
        if let Some(end) = text.strip_prefix("end ") {
            return self.end(part, end);
        }
        let (key, value) = text.split_once('=').ok_or("a line of the report has no value")?;
        let before = self.values.insert(key.to_owned(), value.to_owned());
        self.text.push_str(text);
        self.text.push('\n');
        match before {
            Some(_) => Err(format!("the report says `{key}` twice")),
            None => Ok(()),
        }
    }

    fn end(&mut self, part: &str, end: &str) -> Result<(), String> {
        let lines = self.text.lines().count();
        let digest = Digest::of(self.text.as_bytes());
        let whole = |status: &str| format!("{part} {status} {lines} {digest}");
        if end == whole("failed") {
            return Err(format!("`{part}` stopped: {}", self.values.get("died").map_or("", |s| s)));
        }
        if end != whole("ok") {
            return Err(format!("the report's part `{part}` is not what its end says"));
        }
        self.ended += 1;
        self.text.clear();
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A part as a stand-in sends it.
    pub(crate) fn part(name: &str, status: &str, lines: &[&str]) -> String {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let sent: String = lines.iter().map(|line| format!("@lab {line}\n")).collect();
        let digest = Digest::of(text.as_bytes());
        format!("{sent}@lab end {name} {status} {} {digest}\n", lines.len())
    }

    /// A whole report of a machine.
    pub(crate) fn whole(serial: &str) -> String {
        let serial = format!("serial={serial}");
        part("init", "ok", &[&serial, "layers=1"]) + &part("machined", "ok", &["config=present"])
    }

    fn problem(bytes: &str, port: Port) -> String {
        Report::read(bytes.as_bytes(), port).problem.unwrap_or_else(|| "none".into())
    }

    #[test]
    fn a_whole_report_is_read() {
        let report = Report::read(whole("7").as_bytes(), Port::Private);
        assert_eq!(report.problem, None);
        assert_eq!(report.get("serial"), Some("7"));
        assert_eq!(report.get("config"), Some("present"));
    }

    #[test]
    fn a_firmware_may_speak_before_the_report() {
        assert_eq!(problem(&format!("BdsDxe: loading\r\n\n{}", whole("7")), Port::Private), "none");
    }

    #[test]
    fn a_shared_port_may_carry_other_lines_but_not_lose_one() {
        let text = format!("[ 0.1] Linux\r\n{}[ 2.0] reboot: Power down\n", whole("7"));
        assert_eq!(problem(&text, Port::Shared), "none");
        let text = text.replace("@lab layers=1\n", "@lab lay[ 1.0] oops\n@lab ers=1\n");
        assert_ne!(problem(&text, Port::Shared), "none");
    }

    #[test]
    fn each_fault_of_a_report_is_named() {
        let good = whole("7");
        let init = part("init", "ok", &["layers=1"]);
        let cases = [
            (String::new(), "no report: `init` never spoke"),
            (init.clone(), "the report's part `machined` has no end"),
            (
                good.replace("layers=1", "layers=2"),
                "the report's part `init` is not what its end says",
            ),
            (
                good.replace("@lab layers=1\n", ""),
                "the report's part `init` is not what its end says",
            ),
            (
                good.replace("end machined ok", "end init ok"),
                "the report's part `machined` is not what its end says",
            ),
            (format!("{good}@lab more=1\n"), "the report goes on after its end"),
            (format!("{good}{good}"), "the report goes on after its end"),
            (format!("{init}noise\n"), "something else wrote to the report's port"),
            (format!("{good}tail"), "something else wrote to the report's port"),
            (good.trim_end().to_owned(), "the report stops within a line"),
            (
                format!("{init}{}", part("machined", "ok", &["layers=1"])),
                "the report says `layers` twice",
            ),
            (part("init", "failed", &["died=no layer"]), "`init` stopped: no layer"),
        ];
        for (text, want) in cases {
            assert_eq!(problem(&text, Port::Private), want);
        }
    }

    proptest! {
        /// Whatever byte of a report is changed to whatever other, the report does not count.
        #[test]
        fn a_changed_byte_is_noticed(at in any::<prop::sample::Index>(), change in 1u8..) {
            let mut bytes = whole("7").into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            prop_assert!(Report::read(&bytes, Port::Private).problem.is_some());
        }

        /// Whatever a port says, reading it ends.
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            prop_assert!(Report::read(&bytes, Port::Private).problem.is_some());
        }
    }
}
