//! Templates of e-mails.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::operation::Page;
use crate::operations;
use crate::paging::Paging;
use crate::request::Lists;

/// A template of e-mails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Template {
    /// The id; those of dynamic ones begin with `d-`.
    pub id: String,
    /// The name.
    pub name: String,
    /// `dynamic` or `legacy`.
    pub generation: String,
    /// When it was last changed, as `2025-11-22 20:00:00`.
    pub updated_at: String,
    /// Its versions; one of them is used.
    pub versions: Option<Vec<TemplateVersion>>,
}

/// A version of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateVersion {
    /// The id.
    pub id: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// 1 where it is the one that is used, else 0.
    pub active: Option<u8>,
    /// The subject.
    pub subject: Option<String>,
    /// The text in HTML, with fields as `{{name}}`; lists of templates do not have it.
    pub html_content: Option<String>,
    /// The plain text, likewise.
    pub plain_content: Option<String>,
    /// When it was last changed.
    pub updated_at: Option<String>,
}

/// A kind of templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Generation {
    /// Filled by `substitutions`.
    Legacy,
    /// Filled by `dynamic_template_data`.
    Dynamic,
}

operations! {
    /// Lists templates.
    ListTemplates "templates.list" get("/v3/templates") => Page<Template> [
        .lists(Lists::Commas)
        .page(Paging::NextUrl { items: "/result".into(), from: "/_metadata/next".into() })
        .scopes(["templates.read"])
    ] {
        /// Which kinds; SendGrid lists legacy ones alone where none is named.
        generations: Option<Vec<Generation>>,
        /// Items on a page, 1 to 200.
        #[schemars(range(min = 1, max = 200))]
        page_size: u32,
    }

    /// Gets a template by id, with the texts of its versions.
    GetTemplate "templates.get" get("/v3/templates/{template_id}") => Template [.scopes(["templates.read"])] {
        /// Id of the template.
        template_id: String,
    }
}
