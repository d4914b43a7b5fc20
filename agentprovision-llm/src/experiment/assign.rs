//! Sticky assignment of units to the arms of an experiment.

use agentprovision_core::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clip;
use crate::layers::refuse;

/// The whole, of which weights and shares are parts: 10 000.
pub const WHOLE: u32 = 10_000;

/// The longest name of an experiment or an arm, in bytes; names are labels of telemetry.
const LONGEST: usize = 64;

/// One of the ways an experiment tries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Arm {
    /// What the arm is called where it is recorded.
    pub name: String,
    /// The model that answers; the one that was asked for where absent, which is how a control arm is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Its part of the units that take part, in 1/10 000.
    pub weight: u32,
}

impl Arm {
    /// An arm with a model of its own.
    pub fn new(name: impl Into<String>, model: impl Into<String>, weight: u32) -> Self {
        Self { name: name.into(), model: Some(model.into()), weight }
    }

    /// An arm that keeps the model that was asked for.
    pub fn control(name: impl Into<String>, weight: u32) -> Self {
        Self { name: name.into(), model: None, weight }
    }
}

/// A sticky A/B test: the same unit always gets the same arm, on every machine and without a store.
///
/// A unit takes part when `draw("share", unit) < share`. Its arm is the one whose range holds `draw("arm", unit)`; the
/// ranges of the arms lie one after the other from 0 to 10 000, in the order of `arms`, each as wide as its weight. The
/// draw is
///
/// ```text
/// draw(purpose, unit) = first 8 bytes, big-endian, of SHA-256(name 00 salt 00 purpose 00 unit) mod 10 000
/// ```
///
/// with every text in UTF-8 and `00` a zero byte. So the two draws know nothing of each other: raising the share lets
/// units in and moves none that is in already. Weight that goes from an arm to its neighbour moves the units between
/// their old and new border and no others; what is to grow belongs beside what is to shrink. Another name or salt draws
/// everything anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Experiment {
    /// The name, under which the arm is recorded.
    pub name: String,
    /// The model whose requests take part, as they name it.
    pub model: String,
    /// The arms; their weights add up to 10 000.
    pub arms: Vec<Arm>,
    /// Makes another assignment under the same name; empty by default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub salt: String,
    /// The part of the units that takes part, in 1/10 000; all by default.
    pub share: u32,
}

impl Default for Experiment {
    fn default() -> Self {
        Self {
            name: String::new(),
            model: String::new(),
            arms: Vec::new(),
            salt: String::new(),
            share: WHOLE,
        }
    }
}

impl Experiment {
    /// An experiment on the requests to `model`, in which everybody takes part.
    pub fn new(
        name: impl Into<String>,
        model: impl Into<String>,
        arms: impl IntoIterator<Item = Arm>,
    ) -> Self {
        Self { name: name.into(), model: model.into(), arms: arms.into_iter().collect(), ..Self::default() }
    }

    /// The same experiment with another salt.
    #[must_use]
    pub fn salt(mut self, salt: impl Into<String>) -> Self {
        self.salt = salt.into();
        self
    }

    /// The same experiment with a part of the units, in 1/10 000.
    #[must_use]
    pub fn share(mut self, share: u32) -> Self {
        self.share = share;
        self
    }

    /// The arm of a unit; `None` when it does not take part.
    pub fn assign(&self, unit: &str) -> Option<&Arm> {
        if self.draw("share", unit) >= self.share {
            return None;
        }
        let mut place = self.draw("arm", unit);
        self.arms.iter().find(|arm| {
            let here = place < arm.weight;
            place = place.saturating_sub(arm.weight);
            here
        })
    }

    fn draw(&self, purpose: &str, unit: &str) -> u32 {
        draw(&[&self.name, &self.salt, purpose, unit])
    }

    /// Checks everything.
    ///
    /// # Errors
    /// `invalid_input` with every problem: a name or model that is empty, a name that is too long or has control
    /// characters, fewer than two arms, two arms of one name, weights that do not add up, a share above the whole.
    pub fn check(&self) -> Result<()> {
        let mut problems = Vec::new();
        self.problems(&mut problems);
        refuse(&format!("the experiment `{}`", clip(&self.name)), &problems)
    }

    pub(super) fn problems(&self, problems: &mut Vec<String>) {
        let mut name = |path: &str, name: &str| {
            if name.is_empty() {
                problems.push(format!("`{path}`: must not be empty"));
            } else if name.len() > LONGEST || name.chars().any(char::is_control) {
                problems
                    .push(format!("`{path}`: a name has at most {LONGEST} bytes and no control characters"));
            }
        };
        name("name", &self.name);
        for (place, arm) in self.arms.iter().enumerate() {
            name(&format!("arms[{place}].name"), &arm.name);
        }
        if self.model.is_empty() {
            problems.push("`model`: must not be empty".into());
        }
        // A zero byte would let two different texts be one.
        if self.salt.contains('\0') {
            problems.push("`salt`: must not have a zero byte".into());
        }
        if self.share > WHOLE {
            problems.push(format!("`share`: is {}, and at most {WHOLE}", self.share));
        }
        if self.arms.len() < 2 {
            problems.push("`arms`: an experiment has at least two".into());
        }
        for (place, arm) in self.arms.iter().enumerate() {
            if self.arms.iter().take(place).any(|other| other.name == arm.name) {
                problems
                    .push(format!("`arms[{place}].name`: there are two arms named `{}`", clip(&arm.name)));
            }
            if arm.model.as_deref() == Some("") {
                problems.push(format!("`arms[{place}].model`: must not be empty"));
            }
        }
        let sum: u64 = self.arms.iter().map(|arm| u64::from(arm.weight)).sum();
        if sum != u64::from(WHOLE) {
            problems.push(format!("`arms`: the weights add up to {sum}, and not to {WHOLE}"));
        }
    }
}

/// A number below [`WHOLE`] that depends on these texts alone: the first 8 bytes, big-endian, of the SHA-256 of the texts
/// with a zero byte between them, modulo 10 000. What the remainder favours is below 10⁻¹⁵.
pub(crate) fn draw(texts: &[&str]) -> u32 {
    let mut hash = Sha256::new();
    for (place, text) in texts.iter().enumerate() {
        if place > 0 {
            hash.update([0]);
        }
        hash.update(text);
    }
    let mut first = [0; 8];
    first.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    u32::try_from(u64::from_be_bytes(first) % u64::from(WHOLE)).unwrap_or(0)
}
