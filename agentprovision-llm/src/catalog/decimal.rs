//! Amounts of money from their text, without a float on the way.

use agentprovision_core::money::PicoUsd;

/// What is read from the text of an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Amount {
    /// The amount times a power of ten, rounded half to even.
    pub(super) units: i64,
    /// Whether nothing was rounded.
    pub(super) exact: bool,
}

/// Reads decimal text such as `2.5`, `-0.1` or, as JSON has it, `6e-09`, times ten to the power of `shift`. `None` for
/// anything else and for what is out of range.
pub(super) fn read(text: &str, shift: i32) -> Option<Amount> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        // A sign on its own and a second one are refused by the parser.
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() || mantissa.ends_with('.') || mantissa.len() > 36 {
        return None;
    }
    let mut digits: i128 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        let digit = char::from(byte).to_digit(10)?;
        digits = digits.checked_mul(10)?.checked_add(digit.into())?;
    }
    let places = exponent.checked_add(shift)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let (units, exact) = if digits == 0 {
        (0, true)
    } else if let Ok(more) = u32::try_from(places) {
        (digits.checked_mul(10_i128.checked_pow(more)?)?, true)
    } else {
        // Where the divisor does not fit, next to nothing is left.
        match 10_i128.checked_pow(places.unsigned_abs()) {
            None => (0, false),
            Some(divisor) => {
                let (quotient, rest) = (digits / divisor, digits % divisor);
                let up = rest > divisor / 2 || (rest == divisor / 2 && quotient % 2 == 1);
                (quotient + i128::from(up), rest == 0)
            }
        }
    };
    let units = if negative { -units } else { units };
    Some(Amount { units: i64::try_from(units).ok()?, exact })
}

/// US dollars for each of something as pico-USD for each, and whether that is exact.
pub(super) fn dollars(text: &str) -> Option<(PicoUsd, bool)> {
    read(text, 12).map(|amount| (PicoUsd(amount.units), amount.exact))
}

/// Pico-USD per token as US dollars per million tokens, or pico-USD as US dollars: `units` with so many decimals.
pub(super) fn show(units: i64, decimals: usize) -> String {
    let digits = format!("{:0width$}", units.unsigned_abs(), width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    let fraction = fraction.trim_end_matches('0');
    let sign = if units < 0 { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_exactly_and_rounded_half_to_even() {
        let picos = |text: &str| dollars(text).map(|(price, exact)| (price.0, exact));
        for (text, expected) in [
            ("6e-09", (6_000, true)),
            ("1.25E-07", (125_000, true)),
            ("0.00001", (10_000_000, true)),
            ("0", (0, true)),
            ("0.0", (0, true)),
            ("0e400", (0, true)),
            ("1", (1_000_000_000_000, true)),
            ("-2.5e-6", (-2_500_000, true)),
            ("1e+0", (1_000_000_000_000, true)),
            // What a float of 0.000003 times something left behind.
            ("0.0000029999900000000002", (3_000_000 - 10, false)),
            ("0.5e-12", (0, false)),
            ("1.5e-12", (2, false)),
            ("2.5e-12", (2, false)),
            ("2.5000001e-12", (3, false)),
            ("1e-30", (0, false)),
            ("1e-400", (0, false)),
        ] {
            assert_eq!(picos(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "-",
            ".",
            ".5",
            "5.",
            "1,5",
            "e5",
            "1e",
            "1e5e5",
            "--1",
            "+1",
            " 1",
            "1_0",
            "0x1",
            "NaN",
            "inf",
            "1e30",
            "9e999999999999",
            "١",
            "1.2.3",
            "1234567890123456789012345678901234567890",
        ] {
            assert_eq!(picos(text), None, "{text}");
        }
        assert!(!read("0.0000001", 6).unwrap().exact);
    }

    #[test]
    fn what_is_shown_is_read_again() {
        for (units, text) in
            [(2_500_000, "2.5"), (1, "0.000001"), (0, "0"), (10_000_000, "10"), (-150_000, "-0.15")]
        {
            assert_eq!(show(units, 6), text);
            assert_eq!(read(text, 6), Some(Amount { units, exact: true }));
        }
        assert_eq!(show(2_000_000_000, 12), "0.002");
    }
}
