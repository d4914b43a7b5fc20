//! Reads what test and benchmark programs print.

use std::fmt;

/// Test results, summed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }

    /// Reads what a test program says at its end, whichever of the three languages it is written in.
    pub(crate) fn from_result_line(line: &str) -> Option<Counts> {
        Counts::from_libtest(line).or_else(|| Counts::from_pytest(line)).or_else(|| Counts::from_node(line))
    }

    /// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …`, which is also what libtest-mimic prints.
    fn from_libtest(line: &str) -> Option<Counts> {
        let (_, numbers) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
        Counts::from_parts(numbers.split(';'))
    }

    /// Reads `3 passed, 1 skipped in 0.12s`, in a frame of `=` or without one.
    fn from_pytest(line: &str) -> Option<Counts> {
        let (numbers, time) = line.trim().trim_matches('=').trim().rsplit_once(" in ")?;
        // Long runs have a second form of the time behind the seconds.
        let seconds = time.split(' ').next()?.strip_suffix('s')?;
        seconds.parse::<f64>().ok()?;
        let mut counts = Counts::default();
        for part in numbers.split(", ") {
            let (number, word) = part.split_once(' ')?;
            let number: u64 = number.parse().ok()?;
            match word {
                "passed" | "xpassed" => counts.passed += number,
                "failed" | "error" | "errors" => counts.failed += number,
                "skipped" | "xfailed" => counts.ignored += number,
                "deselected" | "warning" | "warnings" | "rerun" => {}
                _ => return None,
            }
        }
        Some(counts)
    }

    /// Reads one of the lines that end a run of `node --test`: `# pass 3` in its TAP form, `ℹ pass 3` in the other.
    fn from_node(line: &str) -> Option<Counts> {
        let line = line.strip_prefix("# ").or_else(|| line.strip_prefix("\u{2139} "))?;
        let (word, number) = line.trim_end().split_once(' ')?;
        let number = number.parse().ok()?;
        let none = Counts::default();
        match word {
            "pass" => Some(Counts { passed: number, ..none }),
            "fail" | "cancelled" => Some(Counts { failed: number, ..none }),
            "skipped" | "todo" => Some(Counts { ignored: number, ..none }),
            _ => None,
        }
    }

    /// Reads the `3 passed, 0 failed` that ends a run of this program.
    pub(crate) fn from_closing_line(line: &str) -> Option<Counts> {
        let counts = Counts::from_parts(line.split(','))?;
        (counts.to_string() == line.trim()).then_some(counts)
    }

    fn from_parts<'a>(parts: impl Iterator<Item = &'a str>) -> Option<Counts> {
        let (mut passed, mut failed, mut ignored) = (None, None, None);
        for part in parts {
            let Some((number, word)) = part.trim().split_once(' ') else { continue };
            let field = match word {
                "passed" => &mut passed,
                "failed" => &mut failed,
                "ignored" => &mut ignored,
                _ => continue,
            };
            *field = Some(number.parse().ok()?);
        }
        Some(Counts { passed: passed?, failed: failed?, ignored: ignored.unwrap_or(0) })
    }
}

/// The closing line: CI reads exactly this form.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// One `ratio <name> <value>` line of a benchmark; the value keeps the digits it was printed with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ratio {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Ratio {
    pub(crate) fn from_line(line: &str) -> Option<Ratio> {
        let mut words = line.split_whitespace();
        let (Some("ratio"), Some(name), Some(value), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return None;
        };
        value.parse::<f64>().ok().filter(|number| number.is_finite())?;
        Some(Ratio { name: name.to_owned(), value: value.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_result_line() {
        let line =
            "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 1 filtered out; finished in 0.02s";
        assert_eq!(Counts::from_result_line(line), Some(Counts { passed: 12, failed: 0, ignored: 3 }));
        let line = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(Counts::from_result_line(line), Some(Counts { passed: 1, failed: 2, ignored: 0 }));
    }

    #[test]
    fn reads_a_result_line_of_pytest() {
        let counts = |passed, failed, ignored| Some(Counts { passed, failed, ignored });
        for (line, expected) in [
            ("12 passed in 3.21s", counts(12, 0, 0)),
            ("12 passed, 1 skipped in 3.21s\n", counts(12, 0, 1)),
            ("===== 2 failed, 10 passed, 1 error, 3 warnings in 63.00s (0:01:03) =====", counts(10, 3, 0)),
            ("== 1 passed, 2 deselected, 1 xfailed, 1 xpassed, 2 errors in 0.10s ==", counts(2, 2, 1)),
        ] {
            assert_eq!(Counts::from_result_line(line), expected, "{line}");
        }
    }

    #[test]
    fn reads_the_result_lines_of_node() {
        let mut total = Counts::default();
        let tap = "1..2\n# tests 20\n# suites 2\n# pass 12\n# fail 3\n# cancelled 1\n# skipped 3\n# todo 1\n# duration_ms 9";
        tap.lines().filter_map(Counts::from_result_line).for_each(|found| total.add(found));
        assert_eq!(total, Counts { passed: 12, failed: 4, ignored: 4 });
        let line = "\u{2139} pass 7";
        assert_eq!(Counts::from_result_line(line), Some(Counts { passed: 7, failed: 0, ignored: 0 }));
    }

    #[test]
    fn other_lines_are_no_result() {
        for line in [
            "",
            "running 3 tests",
            "test store::reads ... ok",
            "test result: ok. many passed; 0 failed; 0 ignored",
            "test result: ok. 4 passed",
            "the test result: ok. 1 passed; 0 failed; 0 ignored",
            "collected 3 items",
            "no tests ran in 0.01s",
            "3 passed in the end",
            "the 3 passed in 0.12s",
            "# Subtest: pass 3",
            "    # pass 3",
            "# pass many",
            "# tests 4",
            "# duration_ms 12.5",
        ] {
            assert_eq!(Counts::from_result_line(line), None, "{line}");
        }
    }

    #[test]
    fn sums() {
        let mut total = Counts { passed: 1, failed: 0, ignored: 2 };
        total.add(Counts { passed: 4, failed: 3, ignored: 1 });
        assert_eq!(total, Counts { passed: 5, failed: 3, ignored: 3 });
    }

    #[test]
    fn the_closing_line_reads_back() {
        let counts = Counts { passed: 120, failed: 1, ignored: 0 };
        assert_eq!(counts.to_string(), "120 passed, 1 failed");
        assert_eq!(Counts::from_closing_line("120 passed, 1 failed\n"), Some(counts));
        assert_eq!(Counts::from_closing_line("120 passed, 1 failed, 3 ignored"), None);
        assert_eq!(Counts::from_closing_line("so 120 passed, 1 failed"), None);
    }

    #[test]
    fn reads_a_ratio_line() {
        let ratio = Ratio::from_line("ratio sqlite/merged-vs-single 4.70\n");
        assert_eq!(ratio, Some(Ratio { name: "sqlite/merged-vs-single".into(), value: "4.70".into() }));
        for line in
            ["ratio a", "ratio a b", "ratio a NaN", "ratio a 1.0 x", "the ratio a 1.0", "ratios a 1.0"]
        {
            assert_eq!(Ratio::from_line(line), None, "{line}");
        }
    }
}
