use agentprovision_core::{ErrorKind, Result};
use http::Request;
use serde_json::{Value, json};

use super::objects::{GetObject, PutObject, content, entries, info};
use super::wire::{Ask, path};
use super::*;
use crate::answer::failure;
use crate::builtin::probe::{NOW, header, response};

const BASE: &str = "https://s3.eu-central-1.amazonaws.com";

fn put(input: Value) -> Result<Request<bytes::Bytes>> {
    let input: PutObject = serde_json::from_value(input).unwrap();
    input.ask()?.request(BASE)
}

#[test]
fn keys_are_encoded_once_and_stay_in_their_bucket() {
    assert_eq!(path("my-bucket", "a b/ü+&=?#%/c~").unwrap(), "/my-bucket/a%20b/%C3%BC%2B%26%3D%3F%23%25/c~");
    assert_eq!(path("my-bucket", "a//b/").unwrap(), "/my-bucket/a//b/");
    for (bucket, key) in [
        ("my-bucket", ""),
        ("my-bucket", ".."),
        ("my-bucket", "a/../../other/secret"),
        ("my-bucket", "./a"),
        ("my/bucket", "a"),
        ("..", "a"),
        ("...", "a"),
        ("my-bucket?x", "a"),
        ("", "a"),
    ] {
        assert_eq!(path(bucket, key).unwrap_err().kind(), ErrorKind::InvalidInput, "{bucket} {key}");
    }
    assert!(path("my-bucket", &"k".repeat(1025)).is_err());
    let ask = Ask::bucket(http::Method::GET, "my-bucket").unwrap().query("prefix", Some("a&b=c d"));
    let url = ask.request(BASE).unwrap().uri().to_string();
    assert_eq!(url, format!("{BASE}/my-bucket?prefix=a%26b%3Dc%20d"));
}

#[test]
fn objects_are_written_from_text_or_bytes() {
    let request =
        put(json!({ "bucket": "reports", "key": "a.txt", "text": "ü", "metadata": { "Made-By": "ada" } }))
            .unwrap();
    assert_eq!((request.method().as_str(), &request.body()[..]), ("PUT", "ü".as_bytes()));
    assert_eq!(header(&request, "content-type"), "text/plain; charset=utf-8");
    assert_eq!(header(&request, "x-amz-meta-made-by"), "ada");
    let request =
        put(json!({ "bucket": "reports", "key": "a", "base64": "AP8=", "if_none_match": "*" })).unwrap();
    assert_eq!(&request.body()[..], [0, 255]);
    assert_eq!(header(&request, "content-type"), "application/octet-stream");
    assert_eq!(header(&request, "if-none-match"), "*");
    for (more, named) in [
        (json!({}), "`text` or `base64`"),
        (json!({ "text": "a", "base64": "AP8=" }), "`text` or `base64`"),
        (json!({ "base64": "%" }), "`base64`"),
        (json!({ "text": "a", "content_type": "a\r\nx-amz-acl: public-read" }), "`content-type`"),
        (json!({ "text": "a", "metadata": { "a: b": "c" } }), "`a: b`"),
        (json!({ "text": "a", "metadata": { "a": "b\r\nc: d" } }), "`x-amz-meta-a`"),
        (json!({ "text": "a", "metadata": { "a": "ü" } }), "`x-amz-meta-a`"),
    ] {
        let mut input = json!({ "bucket": "reports", "key": "a" });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let error = put(input).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().contains(named), "{error:?}");
    }
}

#[test]
fn lists_have_objects_and_what_begins_alike() {
    let body = r#"<?xml version="1.0" encoding="UTF-8"?>
        <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix/><KeyCount>3</KeyCount>
        <MaxKeys>2</MaxKeys><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
        <NextContinuationToken>1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J</NextContinuationToken>
        <Contents><Key>a%26+b%2B</Key><LastModified>2025-11-22T20:00:00.000Z</LastModified>
        <ETag>&quot;70ee1738b6b21e2c8a43f3a5ab0eee71&quot;</ETag><Size>11</Size><StorageClass>STANDARD</StorageClass></Contents>
        <CommonPrefixes><Prefix>photos/</Prefix></CommonPrefixes>
        <Contents><Key>z</Key><Size>0</Size></Contents></ListBucketResult>"#;
    let page = entries(body.as_bytes()).unwrap();
    let keys: Vec<(&str, Option<u64>)> =
        page.items.iter().map(|entry| (entry.key.as_str(), entry.size)).collect();
    assert_eq!(keys, [("photos/", None), ("a& b+", Some(11)), ("z", Some(0))]);
    assert_eq!(page.items[1].etag.as_deref(), Some(r#""70ee1738b6b21e2c8a43f3a5ab0eee71""#));
    assert_eq!(page.next.as_deref(), Some("1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J"));
    let empty = entries(b"<ListBucketResult><Name>b</Name></ListBucketResult>").unwrap();
    assert_eq!((empty.items.len(), empty.next), (0, None));
    for bad in ["", "{}", "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>", "<a"] {
        assert_eq!(entries(bad.as_bytes()).unwrap_err().kind(), ErrorKind::ProviderError, "{bad}");
    }
}

#[test]
fn parts_of_objects_end_with_a_whole_character() {
    let part = |range: &str, body: &str, offset, max| {
        let response = response(206, &[("content-range", range), ("content-type", "text/plain")], body);
        content(&response, offset, max).unwrap()
    };
    let got = part("bytes 0-3/11", "abcd", 0, 4);
    assert_eq!((got.text.as_deref(), got.bytes, got.truncated, got.object.size), (Some("abcd"), 4, true, 11));
    let got = part("bytes 8-10/11", "xyz", 8, 4);
    assert_eq!((got.text.as_deref(), got.bytes, got.truncated), (Some("xyz"), 3, false));
    // `ü` has two bytes, and the first of them is the last that was asked for.
    let mut cut = response(206, &[("content-range", "bytes 0-1/3")], "");
    cut.body = bytes::Bytes::from_static(b"a\xc3");
    let got = content(&cut, 0, 2).unwrap();
    assert_eq!((got.text.as_deref(), got.bytes, got.truncated), (Some("a"), 1, true));
    cut.body = bytes::Bytes::from_static(b"\xff\xc3");
    let got = content(&cut, 0, 2).unwrap();
    assert_eq!((got.text, got.base64.as_deref(), got.bytes), (None, Some("/8M="), 2));
    // A server that does not know ranges.
    let whole = response(200, &[("content-length", "6")], "abcdef");
    let got = content(&whole, 2, 3).unwrap();
    assert_eq!((got.text.as_deref(), got.offset, got.truncated), (Some("cde"), 2, true));
    let empty = response(200, &[("content-length", "0")], "");
    let got = content(&empty, 0, 3).unwrap();
    assert_eq!((got.text.as_deref(), got.bytes, got.truncated), (Some(""), 0, false));
    let told = info(&response(200, &[("content-length", "5"), ("x-amz-meta-by", "ada")], "")).unwrap();
    assert_eq!((told.size, told.metadata["by"].as_str()), (5, "ada"));
    assert!(info(&response(200, &[], "")).is_err());
    let input: Result<GetObject, _> =
        serde_json::from_value(json!({ "bucket": "b", "key": "k", "max_byte": 1 }));
    assert!(input.unwrap_err().to_string().contains("max_byte"));
}

#[test]
fn refusals_mean_what_their_codes_say() {
    let connector = connector().unwrap();
    for (status, code, category) in [
        (403, "AccessDenied", Category::Forbidden),
        (403, "SignatureDoesNotMatch", Category::Credentials),
        (403, "InvalidAccessKeyId", Category::Credentials),
        (400, "ExpiredToken", Category::Credentials),
        (400, "EntityTooLarge", Category::TooLarge),
        (400, "RequestTimeout", Category::Unavailable),
        (404, "NoSuchKey", Category::NotFound),
        (409, "BucketNotEmpty", Category::Conflict),
        (412, "PreconditionFailed", Category::Conflict),
        (500, "InternalError", Category::Failed),
        (503, "SlowDown", Category::RateLimited),
        (418, "Whatever", Category::Invalid),
    ] {
        let body = format!(
            "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>It is so.</Message><RequestId>1</RequestId></Error>"
        );
        let found = failure(&connector, &response(status, &[], body), NOW).unwrap();
        assert_eq!(found.category, category, "{code}");
        assert_eq!(found.message.unwrap(), format!("{code}: It is so."));
    }
    // Answers to `HEAD` have no body, and others may be no XML.
    assert_eq!(failure(&connector, &response(404, &[], ""), NOW).unwrap().category, Category::NotFound);
    assert_eq!(
        failure(&connector, &response(502, &[], "<html></html>"), NOW).unwrap().category,
        Category::Unavailable
    );
    // An object that looks like a refusal is none.
    assert_eq!(
        failure(&connector, &response(200, &[], "<Error><Code>AccessDenied</Code></Error>"), NOW),
        None
    );
}
