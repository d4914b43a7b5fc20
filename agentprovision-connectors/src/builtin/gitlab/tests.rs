use agentprovision_core::ErrorKind;
use serde_json::{Value, json};

use super::connector;
use crate::builtin::probe::{
    answer, answered, assert_failures, assert_samples, header, request, response, sent,
};
use crate::operation::Effect;

#[test]
fn every_operation_has_a_sample_that_makes_a_request() {
    assert_samples(&connector().unwrap(), include_str!("../../../tests/inputs/gitlab.json"));
}

#[test]
fn requests_are_as_gitlab_documents_them() {
    let gitlab = connector().unwrap();
    let made = request(&gitlab, "users.me", json!({})).unwrap();
    assert_eq!(header(&made, "private-token"), "KEY");
    assert_eq!(header(&made, "authorization"), "");
    assert_eq!(header(&made, "accept"), "application/json");
    let trace = request(&gitlab, "jobs.trace", json!({ "project": "1", "job_id": 8 })).unwrap();
    assert_eq!(header(&trace, "accept"), "text/plain, */*");
    assert_eq!(trace.uri(), "https://gitlab.com/api/v4/projects/1/jobs/8/trace");

    for (operation, input, expected) in [
        (
            "files.get",
            json!({ "project": "group/sub/app", "file_path": "src/a b.rs", "ref": "fix/x" }),
            "GET https://gitlab.com/api/v4/projects/group%2Fsub%2Fapp/repository/files/src%2Fa%20b.rs?ref=fix%2Fx",
        ),
        (
            "files.delete",
            json!({ "project": "1", "file_path": "a.md", "branch": "main", "commit_message": "no + more" }),
            "DELETE https://gitlab.com/api/v4/projects/1/repository/files/a.md?branch=main&commit_message=no%20%2B%20more",
        ),
        (
            "branches.get",
            json!({ "project": "1", "branch": "fix/x" }),
            "GET https://gitlab.com/api/v4/projects/1/repository/branches/fix%2Fx",
        ),
        (
            "jobs.list",
            json!({ "project": "1", "pipeline_id": 6, "scope": ["failed", "canceled"] }),
            "GET https://gitlab.com/api/v4/projects/1/pipelines/6/jobs?scope%5B%5D=failed&scope%5B%5D=canceled",
        ),
        (
            "issues.changed",
            json!({ "project": "1", "updated_after": "2025-11-01T00:00:00+01:00" }),
            "GET https://gitlab.com/api/v4/projects/1/issues?updated_after=2025-11-01T00%3A00%3A00%2B01%3A00&pagination=keyset&order_by=updated_at&sort=asc",
        ),
        (
            "issues.changed",
            json!({ "project": "1", "page": "cursor=c%3D&order_by=updated_at&pagination=keyset&sort=asc" }),
            "GET https://gitlab.com/api/v4/projects/1/issues?cursor=c%3D&order_by=updated_at&pagination=keyset&sort=asc",
        ),
        (
            "search.code",
            json!({ "project": "1", "search": "a:b" }),
            "GET https://gitlab.com/api/v4/projects/1/search?search=a%3Ab&scope=blobs",
        ),
    ] {
        let (line, body) = sent(&gitlab, operation, input);
        assert_eq!((&*line, body), (expected, Value::from("")));
    }

    let input = json!({ "project": "g/p", "issue_iid": 7, "labels": "", "assignee_ids": [0], "title": null });
    let (line, body) = sent(&gitlab, "issues.update", input);
    assert_eq!(line, "PUT https://gitlab.com/api/v4/projects/g%2Fp/issues/7");
    assert_eq!(body, json!({ "labels": "", "assignee_ids": [0] }));
    let (line, body) = sent(&gitlab, "pipelines.create", json!({ "project": "1", "ref": "main" }));
    assert_eq!(line, "POST https://gitlab.com/api/v4/projects/1/pipeline");
    assert_eq!(body, json!({ "ref": "main" }));
    let (line, body) = sent(
        &gitlab,
        "merge_requests.merge",
        json!({ "project": "1", "merge_request_iid": 3, "sha": "8888", "squash": false }),
    );
    assert_eq!(line, "PUT https://gitlab.com/api/v4/projects/1/merge_requests/3/merge");
    assert_eq!(body, json!({ "sha": "8888", "squash": false }));

    let own = json!({ "base_url": "https://git.example.com/api/v4/" });
    let base = gitlab.base_of(own.as_object().unwrap()).unwrap();
    assert_eq!(base, "https://git.example.com/api/v4");
}

#[test]
fn inputs_that_are_wrong_are_refused_by_their_field() {
    let gitlab = connector().unwrap();
    for (operation, input, named) in [
        ("projects.get", json!({ "project": 42 }), "project"),
        ("projects.get", json!({ "project": "" }), "project"),
        ("projects.get", json!({ "project": ".." }), "project"),
        ("issues.get", json!({ "project": "1", "issue_iid": "#7" }), "issue_iid"),
        ("issues.list", json!({ "project": "1", "state": "open" }), "state"),
        ("issues.list", json!({ "project": "1", "per_page": 101 }), "per_page"),
        ("issues.list", json!({ "project": "1", "page": "" }), "page"),
        (
            "files.create",
            json!({ "project": "1", "file_path": "a", "branch": "b", "content": "" }),
            "commit_message",
        ),
    ] {
        let error = request(&gitlab, operation, input).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{operation}");
        assert!(error.message().contains(named), "{operation}: {error:?}");
    }
}

#[test]
fn what_looks_needs_less_than_what_changes() {
    let gitlab = connector().unwrap();
    for spec in gitlab.operations() {
        let expected = match spec.effect {
            _ if spec.name.starts_with("hooks.") => "api",
            _ if spec.name == "users.me" => "read_user",
            Effect::Read => "read_api",
            _ => "api",
        };
        assert_eq!(spec.scopes, [expected], "{}", spec.name);
        let is_list = spec.paging.items().is_some();
        assert_eq!(is_list, spec.output.pointer("/properties/items").is_some(), "{}", spec.name);
    }
}

/// Bodies in the form of the examples of GitLab's documentation.
#[test]
fn answers_are_read_and_lists_go_on() {
    let gitlab = connector().unwrap();
    let user = json!({ "id": 1, "username": "root", "name": "Administrator", "state": "active", "avatar_url": null,
        "web_url": "https://gitlab.example.com/root" });
    let issue = json!({
        "id": 84, "iid": 14, "project_id": 4, "title": "Issue with auth", "description": null, "state": "opened",
        "labels": ["bug"], "author": user, "assignees": [], "assignee": null, "milestone": null, "due_date": null,
        "confidential": false, "issue_type": "issue", "user_notes_count": 0, "created_at": "2016-01-07T12:44:33.959Z",
        "updated_at": "2016-01-07T12:44:33.959Z", "closed_at": null, "closed_by": null,
        "web_url": "http://gitlab.example.com/p/issues/14", "references": { "short": "#14" }, "upvotes": 0,
    });
    let link = r#"<https://gitlab.example.com/api/v4/projects/4/issues?cursor=eyJ&pagination=keyset&per_page=1>; rel="next""#;
    let page = answer(&gitlab, "issues.list", &response(200, &[("link", link)], json!([issue]))).unwrap();
    assert_eq!(page["next"], "cursor=eyJ&pagination=keyset&per_page=1");
    assert_eq!(
        (&page["items"][0]["iid"], &page["items"][0]["author"]["username"]),
        (&json!(14), &json!("root"))
    );
    assert_eq!(page["items"][0].get("references"), None);
    assert_eq!(answered(&gitlab, "issues.list", json!([]))["next"], Value::Null);

    let request = json!({
        "id": 1, "iid": 1, "project_id": 3, "title": "test1", "description": "fixed", "state": "merged", "draft": false,
        "source_branch": "test1", "target_branch": "main", "sha": "88", "merge_commit_sha": null, "labels": [],
        "detailed_merge_status": "not_open", "has_conflicts": false, "author": user, "reviewers": [user],
        "head_pipeline": { "id": 47, "iid": 1, "status": "success", "web_url": "https://x", "duration": 12.5 },
        "created_at": "2017-04-29T08:46:00Z", "updated_at": "2017-04-29T08:46:00Z", "merged_at": "2018-09-07T11:16:17.520Z",
    });
    let got = answered(&gitlab, "merge_requests.get", request);
    assert_eq!((&got["head_pipeline"]["status"], &got["reviewers"][0]["id"]), (&json!("success"), &json!(1)));
    let pipeline = json!({ "id": 46, "iid": 11, "project_id": 1, "status": "success", "ref": "main", "sha": "a9", "duration": 123.65,
        "user": user, "created_at": "2016-08-11T11:28:34.085Z", "yaml_errors": null, "web_url": "https://x" });
    let got = answered(&gitlab, "pipelines.get", pipeline);
    assert_eq!((&got["ref"], &got["duration"]), (&json!("main"), &json!(123.65)));
    let file = json!({ "file_name": "key.rb", "file_path": "app/key.rb", "size": 4, "encoding": "base64", "content": "YWJjZA==",
        "ref": "main", "blob_id": "79", "commit_id": "d5", "last_commit_id": "57" });
    assert_eq!(answered(&gitlab, "files.get", file)["last_commit_id"], "57");
    let raw = answer(&gitlab, "files.raw", &response(200, &[], "fn main() {}\n")).unwrap();
    assert_eq!(raw, "fn main() {}\n");
    let binary =
        crate::answer::Response::new(http::StatusCode::OK, http::HeaderMap::new(), vec![0xff, 0xfe].into());
    assert_eq!(answer(&gitlab, "files.raw", &binary).unwrap_err().kind(), ErrorKind::ProviderError);
    assert_eq!(answer(&gitlab, "hooks.delete", &response(204, &[], "")).unwrap(), Value::Null);
    let approved = response(201, &[], json!({ "id": 5, "approved_by": [] }));
    assert_eq!(answer(&gitlab, "merge_requests.approve", &approved).unwrap(), Value::Null);
    let search = json!([{ "basename": "README", "data": "x", "path": "README.md", "filename": "README.md", "id": null,
        "ref": "main", "startline": 46, "project_id": 6 }]);
    assert_eq!(answered(&gitlab, "search.code", search)["items"][0]["startline"], 46);
    let threads = json!([{ "id": "6a9c1750", "individual_note": false, "notes": [{ "id": 1126, "type": "DiffNote",
        "body": "why?", "author": user, "created_at": "2018-03-03T21:54:39.668Z", "system": false, "noteable_id": 3,
        "resolvable": true, "resolved": false, "position": { "new_line": 7 } }] }]);
    let page = answered(&gitlab, "merge_requests.discussions", threads);
    assert_eq!(page["items"][0]["notes"][0]["resolved"], false);
}

#[test]
fn failures_are_what_gitlab_says_they_are() {
    let said = |message: &str| json!({ "message": message });
    assert_failures(
        &connector().unwrap(),
        &[
            (
                301,
                &[("location", "https://gitlab.example.com/api/v4/projects/81")],
                json!("moved"),
                "not_found",
                None,
                "it has moved to https://gitlab.example.com/api/v4/projects/81",
            ),
            (400, &[], said("400 (Bad request) \"title\" not given"), "invalid", None, "\"title\" not given"),
            (
                400,
                &[],
                json!({ "message": { "title": ["can't be blank", "is too short"], "base": { "due": ["is past"] } } }),
                "invalid",
                None,
                "due is past; title can't be blank; title is too short",
            ),
            (
                400,
                &[],
                json!({ "error": "branch is missing, ref is empty" }),
                "invalid",
                None,
                "branch is missing",
            ),
            (400, &[], said("Branch already exists"), "conflict", None, "already exists"),
            (
                400,
                &[],
                json!({ "message": { "name": ["has already been taken"] } }),
                "conflict",
                None,
                "name has already",
            ),
            (
                400,
                &[],
                said("You are attempting to update a file that has changed since you started editing it."),
                "conflict",
                None,
                "has changed",
            ),
            (401, &[], said("401 Unauthorized"), "credentials", None, "401 Unauthorized"),
            (
                401,
                &[],
                json!({ "error": "invalid_token", "error_description": "Token was revoked." }),
                "credentials",
                None,
                "Token was revoked.",
            ),
            (
                403,
                &[],
                json!({ "error": "insufficient_scope", "error_description": "The request requires higher privileges.",
                "scope": "api" }),
                "forbidden",
                None,
                "higher privileges",
            ),
            (404, &[], said("404 Project Not Found"), "not_found", None, "404 Project Not Found"),
            (405, &[], said("405 Method Not Allowed"), "conflict", None, "405"),
            (
                409,
                &[],
                said("SHA does not match HEAD of source branch: 88"),
                "conflict",
                None,
                "SHA does not match",
            ),
            (
                409,
                &[],
                json!({ "message": ["Another open merge request already exists for this source branch: !3"] }),
                "conflict",
                None,
                "!3",
            ),
            (422, &[], said("Branch cannot be merged"), "conflict", None, "cannot be merged"),
            (422, &[], said("422 Unprocessable Entity"), "invalid", None, "422"),
            (429, &[("retry-after", "30")], json!("Retry later"), "rate_limited", Some(30), ""),
            // The clock of the tests is at 1700000000.
            (429, &[("ratelimit-reset", "1700000060")], json!("Retry later"), "rate_limited", Some(60), ""),
            (500, &[], said("500 Internal Server Error"), "failed", None, "500"),
            (502, &[], json!("<html>"), "unavailable", None, ""),
        ],
    );
}
