//! Pages, with their labels and files.

use agentprovision_core::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Body, Format, Links, NewBody, Order, Version, next, with_body};
use crate::answer::Form;
use crate::mapping::Mapping;
use crate::operation;
use crate::operations;
use crate::request::{self, Lists};

choices! {
    /// Whether a page is there for its readers.
    Status {
        /// It is.
        Current "current",
        /// It is being written.
        Draft "draft",
    }
    /// Which pages are meant.
    Which {
        /// Those that are there.
        Current "current",
        /// Those that are closed.
        Archived "archived",
        /// Those that were deleted, and can come back.
        Trashed "trashed",
    }
}

/// The version that a changed page will be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewVersion {
    /// One more than the number of the version that it was made of.
    pub number: u64,
    /// What was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A label to put on a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLabel {
    /// Whose it is: `global` is everybody's.
    pub prefix: Prefix,
    /// The name, in lower case without spaces.
    pub name: String,
}

choices! {
    /// Whose a label is.
    Prefix {
        /// Everybody's.
        Global "global",
        /// The account's.
        My "my",
        /// A team's.
        Team "team",
    }
}

records! {
    /// A page.
    Page {
        /// The id.
        id: String,
        /// The title, which no other page of its space has.
        title: String,
        /// `current`, `draft`, `archived` or `trashed`.
        status: Option<String>,
        /// The space's id.
        #[serde(rename = "spaceId")]
        space_id: Option<String>,
        /// The id of what it is below.
        #[serde(rename = "parentId")]
        parent_id: Option<String>,
        /// Who made it, by the account's id.
        #[serde(rename = "authorId")]
        author_id: Option<String>,
        /// When it was made.
        #[serde(rename = "createdAt")]
        created_at: Option<String>,
        /// Its newest version.
        version: Option<Version>,
        /// The text, where it was asked for.
        body: Option<Body>,
        /// Where people find it.
        #[serde(rename = "_links")]
        links: Option<Links>,
    }
    /// A label of a page.
    Label {
        /// The id.
        id: String,
        /// The name.
        name: String,
        /// Whose it is.
        prefix: Option<String>,
    }
    /// The labels of a page.
    Labels {
        /// All of them.
        results: Vec<Label>,
    }
    /// A file at a page.
    Attachment {
        /// The id.
        id: String,
        /// The name.
        title: String,
        /// The content type.
        #[serde(rename = "mediaType")]
        media_type: Option<String>,
        /// The size in bytes.
        #[serde(rename = "fileSize")]
        file_size: Option<u64>,
        /// What it is.
        comment: Option<String>,
        /// When it was attached.
        #[serde(rename = "createdAt")]
        created_at: Option<String>,
        /// Its newest version.
        version: Option<Version>,
        /// Where its content is: a path under the site's URL and `/wiki`.
        #[serde(rename = "downloadLink")]
        download_link: Option<String>,
    }
}

/// The body of a change, which has the page's id too.
fn changed(input: &Value) -> Result<Value> {
    let id = input.get("id").cloned().unwrap_or_default();
    let mut body = input.clone();
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    Ok(Value::Object(Map::from_iter([("id".to_owned(), id), ("body".to_owned(), body)])))
}

operations! {
    /// Lists pages, without their text unless a format is given; with `title` (and `space-id`) it finds a page by its title.
    List "pages.list" get("/api/v2/pages") => operation::Page<Page>
    [.page(next()).lists(Lists::Commas).scopes(["read:page:confluence"])] {
        /// Only those in these spaces, by id.
        #[serde(rename = "space-id")]
        space_id: Option<Vec<String>>,
        /// Only the one with exactly this title, in each space.
        title: Option<String>,
        /// Which ones; default those that are there and those that are closed.
        status: Option<Vec<Which>>,
        /// Tells the text too, in this format.
        #[serde(rename = "body-format")]
        body_format: Option<Format>,
        /// In which order.
        sort: Option<Order>,
        /// How many a page of the list has at most, up to 250; default 25.
        limit: Option<u32>,
    }
    /// Reads a page with its text.
    Get "pages.get" get("/api/v2/pages/{id}") => Page
    [.map_input(Mapping::function(with_body)).scopes(["read:page:confluence"])] {
        /// The page's id.
        id: String,
        /// The format of the text; default `storage`.
        #[serde(rename = "body-format")]
        body_format: Option<Format>,
        /// This version instead of the newest one.
        version: Option<u64>,
    }
    /// Makes a page. Its title must be new in its space.
    Create "pages.create" post("/api/v2/pages") => Page [.scopes(["write:page:confluence"])] {
        /// The space's id.
        #[serde(rename = "spaceId")]
        space_id: String,
        /// The title.
        title: String,
        /// The page it is below, by id; default the space's first page.
        #[serde(rename = "parentId")]
        parent_id: Option<String>,
        /// Whether it is there for readers; default `current`.
        status: Option<Status>,
        /// The text.
        body: Option<NewBody>,
    }
    /// Replaces title and text of a page. It is refused with `conflict` if somebody else has changed the page since the version
    /// that it was made of.
    Update "pages.update" put("/api/v2/pages/{id}") => Page
    [
        .map_input(Mapping::function(changed))
        .body(request::Body::Field("body".into()))
        .scopes(["write:page:confluence"])
    ] {
        /// The page's id.
        id: String,
        /// The title.
        title: String,
        /// Whether it is there for readers: `current` publishes a draft.
        status: Status,
        /// The whole new text.
        body: NewBody,
        /// The version it will be.
        version: NewVersion,
        /// Moves it below this page, by id.
        #[serde(rename = "parentId")]
        parent_id: Option<String>,
    }
    /// Puts a page into the trash, from which people can take it back.
    Delete "pages.delete" delete("/api/v2/pages/{id}") => ()
    [.answers(Form::Ignored).scopes(["delete:page:confluence"])] {
        /// The page's id.
        id: String,
        /// Deletes a page in the trash for good; default false.
        purge: Option<bool>,
        /// Deletes a draft; default false.
        draft: Option<bool>,
    }
    /// Lists the pages right below a page.
    ListChildren "pages.list_children" get("/api/v2/pages/{id}/children") => operation::Page<Page>
    [.page(next()).scopes(["read:page:confluence"])] {
        /// The page's id.
        id: String,
        /// How many a page of the list has at most, up to 250; default 25.
        limit: Option<u32>,
    }
    /// Lists the labels of a page.
    ListLabels "labels.list" get("/api/v2/pages/{id}/labels") => operation::Page<Label>
    [.page(next()).scopes(["read:label:confluence"])] {
        /// The page's id.
        id: String,
        /// How many a page of the list has at most, up to 250; default 25.
        limit: Option<u32>,
    }
    /// Puts labels on a page. Those that are there stay. Answers all of them.
    AddLabels "labels.add" post("/rest/api/content/{id}/label") => Labels
    [.body(request::Body::Field("labels".into())).natural().scopes(["write:label:confluence"])] {
        /// The page's id.
        id: String,
        /// The labels.
        labels: Vec<NewLabel>,
    }
    /// Takes a label off a page.
    RemoveLabel "labels.remove" delete("/rest/api/content/{id}/label") => ()
    [.answers(Form::Ignored).scopes(["write:label:confluence"])] {
        /// The page's id.
        id: String,
        /// The label's name.
        name: String,
    }
    /// Lists the files at a page.
    ListAttachments "attachments.list" get("/api/v2/pages/{id}/attachments") => operation::Page<Attachment>
    [.page(next()).scopes(["read:attachment:confluence"])] {
        /// The page's id.
        id: String,
        /// Only the one with this name.
        filename: Option<String>,
        /// Only those of this content type.
        #[serde(rename = "mediaType")]
        media_type: Option<String>,
        /// How many a page of the list has at most, up to 250; default 50.
        limit: Option<u32>,
    }
}
