//! Objects in buckets, through all layers: requests are signed for their region, and answers in XML are read.

use agentprovision_connectors::NewIntegration;
use agentprovision_connectors::builtin::s3;
use agentprovision_core::ErrorKind;
use agentprovision_core::integration::Integration;
use axum::body::Body;
use serde_json::json;

use super::world::World;

async fn world() -> (World, Integration) {
    let world = World::of(s3::connector().unwrap()).await;
    let settings = json!({ "base_url": world.url, "region": "eu-central-1" });
    let keys = json!({ "access_key_id": "AKIDEXAMPLE", "secret_access_key": "canary-secret" });
    let new = NewIntegration {
        name: "files".into(),
        connector: "s3".into(),
        auth: None,
        settings: settings.as_object().unwrap().clone(),
        credentials: keys.as_object().unwrap().clone(),
    };
    let integration = world.integrations.create(&world.ctx, new).await.unwrap();
    (world, integration)
}

impl World {
    fn says(&self, status: u16, headers: &[(&'static str, &str)], body: impl Into<Body>) {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.script.lock().unwrap().answers.push_back((status, headers, body.into()));
    }
}

#[tokio::test]
async fn requests_are_signed_for_their_region_and_never_carry_the_secret() {
    let (world, files) = world().await;
    world.says(206, &[("content-range", "bytes 0-3/9"), ("content-type", "text/plain")], "abcd");
    let input = json!({ "bucket": "reports", "key": "a b/ü.txt", "max_bytes": 4 });
    let got = world.run(world.invoke(&files, "objects.get", input)).await.unwrap();
    assert_eq!(
        (&got["text"], &got["truncated"], &got["object"]["size"]),
        (&json!("abcd"), &json!(true), &json!(9))
    );
    let seen = &world.seen()[0];
    assert_eq!(seen.uri, "/reports/a%20b/%C3%BC.txt");
    assert_eq!(seen.headers["range"], "bytes=0-3");
    assert_eq!(seen.headers["x-amz-date"], "20231114T221320Z");
    let authorization = seen.headers["authorization"].to_str().unwrap();
    let scope = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20231114/eu-central-1/s3/aws4_request, \
                 SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Signature=";
    assert!(authorization.starts_with(scope), "{authorization}");
    assert!(!format!("{:?}", seen.headers).contains("canary"));
}

#[tokio::test]
async fn an_empty_object_is_read_though_it_has_no_first_byte() {
    let (world, files) = world().await;
    let refusal = "<Error><Code>InvalidRange</Code><Message>m</Message></Error>";
    world.says(416, &[("content-range", "bytes */0")], refusal);
    world.says(200, &[("etag", "\"e\"")], Body::empty());
    let input = json!({ "bucket": "reports", "key": "empty" });
    let got = world.run(world.invoke(&files, "objects.get", input.clone())).await.unwrap();
    assert_eq!((&got["text"], &got["bytes"], &got["truncated"]), (&json!(""), &json!(0), &json!(false)));
    world.says(416, &[], refusal);
    let mut behind = input;
    behind["offset"] = json!(7);
    let error = world.run(world.invoke(&files, "objects.get", behind)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("InvalidRange"), "{error:?}");
}

#[tokio::test]
async fn lists_go_on_by_their_token() {
    let (world, files) = world().await;
    let list = |key: &str, next: &str| {
        format!(
            "<ListBucketResult><Contents><Key>{key}</Key><Size>1</Size></Contents>{next}</ListBucketResult>"
        )
    };
    world.says(200, &[], list("a", "<NextContinuationToken>t/+=</NextContinuationToken>"));
    world.says(200, &[], list("b", ""));
    let page = world.run(world.invoke(&files, "objects.list", json!({ "bucket": "reports" }))).await.unwrap();
    assert_eq!((&page["items"][0]["key"], &page["next"]), (&json!("a"), &json!("t/+=")));
    let input = json!({ "bucket": "reports", "page": page["next"] });
    let page = world.run(world.invoke(&files, "objects.list", input)).await.unwrap();
    assert_eq!((&page["items"][0]["key"], page["next"].as_str()), (&json!("b"), None));
    assert_eq!(world.seen()[1].uri, "/reports?list-type=2&encoding-type=url&continuation-token=t%2F%2B%3D");
    let owner = "<Owner><ID>1</ID></Owner><Buckets><Bucket><Name>reports</Name></Bucket></Buckets>";
    world.says(200, &[], format!("<ListAllMyBucketsResult>{owner}</ListAllMyBucketsResult>"));
    let page = world.run(world.invoke(&files, "buckets.list", json!({}))).await.unwrap();
    assert_eq!(page["items"][0]["name"], "reports");
}

#[tokio::test]
async fn a_copy_that_fails_after_its_head_is_a_failure_and_is_tried_again() {
    let (world, files) = world().await;
    world.says(200, &[], "<Error><Code>InternalError</Code><Message>m</Message></Error>");
    world.says(200, &[], "<CopyObjectResult><ETag>\"e\"</ETag></CopyObjectResult>");
    let input = json!({ "source_bucket": "reports", "source_key": "a b", "bucket": "archive", "key": "a" });
    let copied = world.run(world.invoke(&files, "objects.copy", input)).await.unwrap();
    assert_eq!(copied["etag"], "\"e\"");
    assert_eq!(world.seen().len(), 2);
    assert_eq!(world.seen()[1].headers["x-amz-copy-source"], "/reports/a%20b");
}

#[tokio::test]
async fn heads_writes_and_deletions_answer_what_their_headers_say() {
    let (world, files) = world().await;
    world.says(200, &[("content-type", "text/plain"), ("x-amz-version-id", "v1")], "12345");
    let input = json!({ "bucket": "reports", "key": "a" });
    let head = world.run(world.invoke(&files, "objects.head", input.clone())).await.unwrap();
    assert_eq!((&head["size"], &head["version_id"]), (&json!(5), &json!("v1")));
    world.says(200, &[("etag", "\"e\"")], Body::empty());
    let mut put = input.clone();
    put["text"] = json!("hello");
    let written = world.run(world.invoke(&files, "objects.put", put)).await.unwrap();
    assert_eq!(written["etag"], "\"e\"");
    let digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(world.seen()[1].headers["x-amz-content-sha256"], digest);
    world.says(204, &[("x-amz-delete-marker", "true"), ("x-amz-version-id", "v2")], Body::empty());
    let deleted = world.run(world.invoke(&files, "objects.delete", input.clone())).await.unwrap();
    assert_eq!(deleted, json!({ "version_id": "v2", "delete_marker": true }));
    world.says(403, &[], "<Error><Code>AccessDenied</Code><Message>no</Message></Error>");
    let error = world.run(world.invoke(&files, "objects.delete", input)).await.unwrap_err();
    assert!(error.message().contains("AccessDenied"), "{error:?}");
}

#[tokio::test]
async fn signed_urls_are_made_without_a_request() {
    let (world, files) = world().await;
    let input = json!({ "bucket": "reports", "key": "a", "method": "PUT", "content_type": "text/plain" });
    let signed = world.run(world.invoke(&files, "objects.presign", input)).await.unwrap();
    let url = signed["url"].as_str().unwrap();
    assert!(url.starts_with(&format!("{}/reports/a?X-Amz-Algorithm=AWS4-HMAC-SHA256&", world.url)), "{url}");
    assert!(
        url.contains("&X-Amz-Expires=900&X-Amz-SignedHeaders=content-type%3Bhost&X-Amz-Signature="),
        "{url}"
    );
    assert!(!url.contains("canary"));
    assert_eq!(signed["expires_at"], "2023-11-14T22:28:20.000000Z");
    assert!(world.seen().is_empty());
    let bad = json!({ "bucket": "reports", "key": "a", "method": "GET", "expires_seconds": 0 });
    let error = world.run(world.invoke(&files, "objects.presign", bad)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}
