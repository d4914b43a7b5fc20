//! Dialogs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::operations;
use crate::request::Body;

/// A dialog that is open.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct View {
    /// The id.
    pub id: String,
    /// Changes with it.
    pub hash: Option<String>,
    /// The id that the application gave it.
    pub external_id: Option<String>,
    /// What comes back when it is sent off.
    pub callback_id: Option<String>,
}

/// What the method about a dialog answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InView {
    /// The dialog.
    pub view: View,
}

operations! {
    /// Opens a dialog for a person who has just done something: within three seconds.
    OpenView "views.open" post("/views.open") => InView [.body(Body::FlatForm)] {
        /// What the person's action came with; it can be used once.
        trigger_id: String,
        /// The dialog: an object with `type` `modal`, `title` and `blocks`.
        view: Map<String, Value>,
    }
}
