//! Issues: making, reading, changing, moving through their workflow, linking.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use agentprovision_core::Result;

use super::adf::{RichText, documents};
use super::types::{Issue, LinkType, Person, Status, Time, issues};
use super::{READ, WRITE, offset};
use crate::answer::Form;
use crate::mapping::Mapping;
use crate::operation::{Effect, Page};
use crate::operations;
use crate::request::{Body, Lists};

/// Names something: by one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ref {
    /// Its id; of a person the account's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its key, of a project or issue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its name, of what has no key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Fields that new issues and issues that are changed have in common.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fields {
    /// The text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<RichText>,
    /// The priority, by id or name, as `High`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Ref>,
    /// Who works on it, by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assignee: Option<Ref>,
    /// Who reported it, by id; default the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reporter: Option<Ref>,
    /// The labels, all of them; without spaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// The issue it is a part of, by key or id: an epic, or the issue of a subtask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Ref>,
    /// The parts of the project it is about, by id or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub components: Option<Vec<Ref>>,
    /// The versions it will be resolved in, by id or name.
    #[serde(rename = "fixVersions", skip_serializing_if = "Option::is_none")]
    pub fix_versions: Option<Vec<Ref>>,
    /// The day it is due, as `2026-01-31`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duedate: Option<String>,
    /// Other fields by id, as `customfield_10010`, in the form of their type; texts of several lines are documents in the
    /// Atlassian Document Format. `create_meta.list_fields` tells which there are.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// Fields of a new issue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NewFields {
    /// The project, by key or id.
    pub project: Ref,
    /// The type, by name or id, as `Task`.
    pub issuetype: Ref,
    /// The title, in one line.
    pub summary: String,
    /// The others.
    #[serde(flatten)]
    pub more: Fields,
}

/// Fields of an issue that is changed; `null` clears one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChangedFields {
    /// The title, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The others.
    #[serde(flatten)]
    pub more: Fields,
}

/// One of several new issues.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewIssue {
    /// Its fields.
    pub fields: NewFields,
}

records! {
    /// A new issue.
    Created {
        /// The id.
        id: String,
        /// The key, as `PROJ-7`.
        key: String,
    }
    /// New issues, and those that could not be made.
    ManyCreated {
        /// Those that were made, in their order.
        issues: Vec<Created>,
        /// Why others were not.
        #[serde(default)]
        errors: Vec<NotCreated>,
    }
    /// Why an issue was not made.
    NotCreated {
        /// Its place in the list that was given, from 0.
        #[serde(rename = "failedElementNumber")]
        at: Option<u64>,
        /// What is wrong with it.
        #[serde(rename = "elementErrors")]
        errors: Option<Wrong>,
    }
    /// What is wrong with an issue.
    Wrong {
        /// As a whole.
        #[serde(default, rename = "errorMessages")]
        messages: Vec<String>,
        /// By field.
        #[serde(default)]
        errors: Map<String, Value>,
    }
    /// Issues that were asked for together.
    ManyIssues {
        /// Those that there are.
        issues: Vec<Issue>,
        /// Those that there are not, or that the account may not see.
        #[serde(default, rename = "issueErrors")]
        errors: Vec<NotRead>,
    }
    /// An issue that could not be read.
    NotRead {
        /// Its id.
        id: Option<String>,
        /// Why.
        #[serde(rename = "errorMessage")]
        message: Option<String>,
    }
    /// The steps of its workflow that an issue can take now.
    Transitions {
        /// The steps.
        transitions: Vec<Transition>,
    }
    /// A step of a workflow.
    Transition {
        /// The id, by which the step is taken.
        id: String,
        /// The name.
        name: String,
        /// The status it leads to.
        to: Option<Status>,
        /// Whether people are asked for fields on the way.
        #[serde(rename = "hasScreen")]
        has_screen: Option<bool>,
    }
    /// A change of an issue.
    Change {
        /// The id.
        id: String,
        /// Who changed it.
        author: Option<Person>,
        /// When.
        created: Option<Time>,
        /// Which fields.
        #[serde(default)]
        items: Vec<FieldChange>,
    }
    /// A change of a field.
    FieldChange {
        /// The field's name.
        field: String,
        /// The field's id.
        #[serde(rename = "fieldId")]
        field_id: Option<String>,
        /// What it was, in words.
        #[serde(rename = "fromString")]
        from_text: Option<String>,
        /// What it is, in words.
        #[serde(rename = "toString")]
        to_text: Option<String>,
    }
    /// The types of links.
    LinkTypes {
        /// All of them.
        #[serde(rename = "issueLinkTypes")]
        types: Vec<LinkType>,
    }
}

choices! {
    /// Whether the parts of an issue go with it.
    Subtasks {
        /// They do.
        Delete "true",
        /// An issue with parts is not deleted.
        Refuse "false",
    }
}

/// The body that says who works on an issue: `null` is nobody, and cannot be left out.
fn assigned(input: &Value) -> Result<Value> {
    let mut input = input.clone();
    if let Some(fields) = input.as_object_mut() {
        let account = fields.remove("accountId").unwrap_or_default();
        fields.insert("accountId".to_owned(), serde_json::json!({ "accountId": account }));
    }
    Ok(input)
}

operations! {
    /// Makes an issue. What a project demands beyond project, type and title, `create_meta.list_fields` tells.
    Create "issues.create" post("/rest/api/3/issue") => Created
    [.map_input(Mapping::function(documents)).scopes([WRITE])] {
        /// Its fields.
        fields: NewFields,
        /// Changes by field as lists of operations, as `{"comment": [{"add": {"body": "text"}}]}`.
        update: Option<Map<String, Value>>,
    }
    /// Makes up to 50 issues; one that cannot be made does not keep the others from it.
    CreateBulk "issues.create_bulk" post("/rest/api/3/issue/bulk") => ManyCreated
    [.map_input(Mapping::function(documents)).scopes([WRITE])] {
        /// The issues.
        #[serde(rename = "issueUpdates")]
        issue_updates: Vec<NewIssue>,
    }
    /// Reads an issue, with its text, links and files.
    Get "issues.get" get("/rest/api/3/issue/{issueIdOrKey}") => Issue
    [.lists(Lists::Commas).map_output(Mapping::function(issues)).scopes([READ])] {
        /// The issue's key or id.
        #[serde(rename = "issueIdOrKey")]
        issue_id_or_key: String,
        /// Only these fields, by id; default all of them.
        fields: Option<Vec<String>>,
    }
    /// Reads up to 100 issues by their keys or ids.
    GetBulk "issues.get_bulk" post("/rest/api/3/issue/bulkfetch") => ManyIssues
    [.effect(Effect::Read).map_output(Mapping::function(issues)).scopes([READ])] {
        /// The issues' keys or ids.
        #[serde(rename = "issueIdsOrKeys")]
        issue_ids_or_keys: Vec<String>,
        /// Only these fields, by id; default all that people can see.
        fields: Option<Vec<String>>,
    }
    /// Changes fields of an issue. Its status is changed by `issues.transition`.
    Update "issues.update" put("/rest/api/3/issue/{issueIdOrKey}") => ()
    [
        .query(["notifyUsers"])
        .answers(Form::Ignored)
        .map_input(Mapping::function(documents))
        .scopes([WRITE])
    ] {
        /// The issue's key or id.
        #[serde(rename = "issueIdOrKey")]
        issue_id_or_key: String,
        /// Fields and what they become; others stay.
        fields: Option<ChangedFields>,
        /// Changes by field as lists of operations, as `{"labels": [{"add": "urgent"}, {"remove": "later"}]}`.
        update: Option<Map<String, Value>>,
        /// Whether people who watch it get an e-mail; default true.
        #[serde(rename = "notifyUsers")]
        notify_users: Option<bool>,
    }
    /// Deletes an issue for good.
    Delete "issues.delete" delete("/rest/api/3/issue/{issueIdOrKey}") => ()
    [.answers(Form::Ignored).scopes([WRITE])] {
        /// The issue's key or id.
        #[serde(rename = "issueIdOrKey")]
        issue_id_or_key: String,
        /// Whether its parts go with it; default `false`, which refuses to delete an issue with parts.
        #[serde(rename = "deleteSubtasks")]
        delete_subtasks: Option<Subtasks>,
    }
    /// Says who works on an issue.
    Assign "issues.assign" put("/rest/api/3/issue/{issueIdOrKey}/assignee") => ()
    [
        .body(Body::Field("accountId".into()))
        .map_input(Mapping::function(assigned))
        .answers(Form::Ignored)
        .scopes([WRITE])
    ] {
        /// The issue's key or id.
        #[serde(rename = "issueIdOrKey")]
        issue_id_or_key: String,
        /// The account's id; `-1` is whoever the project assigns to; absent is nobody.
        #[serde(rename = "accountId")]
        account_id: Option<String>,
    }
    /// Lists the steps of its workflow that an issue can take now.
    ListTransitions "issues.list_transitions" get("/rest/api/3/issue/{issueIdOrKey}/transitions") => Transitions
    [.scopes([READ])] {
        /// The issue's key or id.
        #[serde(rename = "issueIdOrKey")]
        issue_id_or_key: String,
    }
    /// Takes an issue a step through its workflow, to another status.
    Transit "issues.transition" post("/rest/api/3/issue/{issueIdOrKey}/transitions") => ()
    [.map_input(Mapping::function(documents)).answers(Form::Ignored).scopes([WRITE])] {
        /// The issue's key or id.
        #[serde(rename = "issueIdOrKey")]
        issue_id_or_key: String,
        /// The step, by the id that `issues.list_transitions` tells.
        transition: Ref,
        /// Fields that the step asks for.
        fields: Option<ChangedFields>,
        /// Changes by field as lists of operations, as `{"comment": [{"add": {"body": "text"}}]}`.
        update: Option<Map<String, Value>>,
    }
    /// Lists the changes of an issue, the oldest first.
    ListChanges "issues.list_changes" get("/rest/api/3/issue/{issueIdOrKey}/changelog") => Page<Change>
    [.page(super::until_last()).scopes([READ])] {
        /// The issue's key or id.
        #[serde(rename = "issueIdOrKey")]
        issue_id_or_key: String,
        /// How many changes a page has at most; default 100.
        #[serde(rename = "maxResults")]
        max_results: Option<u32>,
    }
    /// Links two issues, as `PROJ-1 blocks PROJ-2`: from the inward to the outward one, in the words of the type.
    Link "issues.link" post("/rest/api/3/issueLink") => ()
    [.map_input(Mapping::function(documents)).answers(Form::Ignored).scopes([WRITE])] {
        /// The type, by name or id, as `Blocks`; `link_types.list` tells them.
        #[serde(rename = "type")]
        kind: Ref,
        /// The issue that the link comes from, by key or id.
        #[serde(rename = "inwardIssue")]
        inward_issue: Ref,
        /// The issue that the link leads to, by key or id.
        #[serde(rename = "outwardIssue")]
        outward_issue: Ref,
    }
    /// Lists the types of links between issues.
    ListLinkTypes "link_types.list" get("/rest/api/3/issueLinkType") => LinkTypes [.scopes([READ])] {}
    /// Lists the types of issues that the account can make in a project.
    ListCreatable "create_meta.list_issue_types"
    get("/rest/api/3/issue/createmeta/{projectIdOrKey}/issuetypes") => Page<super::types::IssueType>
    [.page(offset("/issueTypes")).scopes([READ])] {
        /// The project's key or id.
        #[serde(rename = "projectIdOrKey")]
        project_id_or_key: String,
        /// How many a page has at most; default 50.
        #[serde(rename = "maxResults")]
        max_results: Option<u32>,
    }
    /// Lists the fields of new issues of a type in a project: which are required, and which values they take.
    ListCreateFields "create_meta.list_fields"
    get("/rest/api/3/issue/createmeta/{projectIdOrKey}/issuetypes/{issueTypeId}") => Page<CreateField>
    [.page(offset("/fields")).scopes([READ])] {
        /// The project's key or id.
        #[serde(rename = "projectIdOrKey")]
        project_id_or_key: String,
        /// The type's id.
        #[serde(rename = "issueTypeId")]
        issue_type_id: String,
        /// How many a page has at most; default 50.
        #[serde(rename = "maxResults")]
        max_results: Option<u32>,
    }
}

records! {
    /// A field of new issues.
    CreateField {
        /// The id.
        #[serde(rename = "fieldId")]
        field_id: String,
        /// The name.
        name: String,
        /// Whether a new issue needs it.
        required: bool,
        /// Whether there is a value where none is given.
        #[serde(rename = "hasDefaultValue")]
        has_default: Option<bool>,
        /// Its type.
        schema: Option<FieldSchema>,
        /// The values it takes, where they are a few.
        #[serde(rename = "allowedValues")]
        allowed: Option<Vec<Allowed>>,
    }
    /// The type of a field.
    FieldSchema {
        /// The type, as `string`, `array` or `user`.
        #[serde(rename = "type")]
        kind: String,
        /// The type of items, of an `array`.
        items: Option<String>,
        /// Which of the site's own types it is.
        custom: Option<String>,
    }
    /// A value that a field takes.
    Allowed {
        /// The id.
        id: Option<String>,
        /// The name.
        name: Option<String>,
        /// The value, of an option.
        value: Option<String>,
    }
}
