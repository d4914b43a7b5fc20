//! Logs of jobs: GitHub answers with a place that anybody may read for a minute.

use agentprovision_core::{Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderValue, Method, Request};
use serde_json::{Value, json};

use crate::answer::{Form, Response};
use crate::call::{Answer, Call};
use crate::operation::Handler;
use crate::request::HttpTemplate;

/// As much as a model can still do something with.
const USUAL: usize = 64 * 1024;

/// Asks for the place of a log, and reads it.
#[derive(Debug)]
pub(super) struct JobLogs;

/// The request for the place of a log.
pub(super) fn template() -> HttpTemplate {
    let mut template = HttpTemplate::new(Method::GET, "/repos/{owner}/{repo}/actions/jobs/{job_id}/logs");
    template.answer = Form::Text;
    template
}

#[async_trait]
impl Handler for JobLogs {
    async fn handle(&self, call: &Call) -> Result<Answer> {
        let mut input = call.input.as_ref().clone();
        let max = input.remove("max_bytes").and_then(|max| max.as_u64());
        let max = max.and_then(|max| usize::try_from(max).ok()).unwrap_or(USUAL);
        let mut request = template().request(&call.base_url()?, &input, &[])?;
        request
            .headers_mut()
            .insert(http::header::ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        let response = call.send(request).await?;
        let response = match place(&response)? {
            Some(place) => {
                // The place proves itself; the token is not for whoever keeps it.
                call.count_request(0);
                call.exchange.exchange(place).await?
            }
            // Enterprise Server may answer with the log itself.
            None => response,
        };
        call.check(&response).await?;
        Ok(Answer::new(end_of(&response.body, max)))
    }
}

/// The request to where a response leads, if it leads elsewhere.
fn place(response: &Response) -> Result<Option<Request<Bytes>>> {
    if !response.status.is_redirection() {
        return Ok(None);
    }
    let nowhere = || crate::answer::unexpected("the log is elsewhere, and it does not say where".to_owned());
    let place = response.header(LOCATION.as_str()).ok_or_else(nowhere)?;
    let request = Request::get(place).body(Bytes::new());
    request.map(Some).map_err(|error: http::Error| Error::with_source(nowhere(), error))
}

/// The last lines of a log, as the output of the operation.
fn end_of(log: &[u8], max: usize) -> Value {
    let from = log.len().saturating_sub(max);
    let mut end = log.get(from..).unwrap_or_default();
    if from > 0 && log.get(from - 1) != Some(&b'\n') {
        // From a whole line, unless one line is all there is.
        let line = end.iter().position(|byte| *byte == b'\n').and_then(|at| end.get(at + 1..));
        end = line.filter(|line| !line.is_empty()).unwrap_or(end);
    }
    let text = String::from_utf8_lossy(end);
    json!({ "text": text, "size": log.len(), "truncated": end.len() < log.len() })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    #[test]
    fn the_end_of_a_log_begins_with_a_line() {
        let log = b"one\ntwo\nthree\n";
        let end = |max| end_of(log, max)["text"].as_str().unwrap().to_owned();
        assert_eq!(end(100), "one\ntwo\nthree\n");
        assert_eq!(
            (end(14), end(13), end(10), end(9)),
            (end(100), "two\nthree\n".into(), "two\nthree\n".into(), "three\n".into())
        );
        assert_eq!(end(4), "ree\n");
        assert_eq!(end(0), "");
        assert_eq!(end_of(log, 10)["truncated"], true);
        assert_eq!(end_of(log, 14), json!({ "text": "one\ntwo\nthree\n", "size": 14, "truncated": false }));
        assert_eq!(end_of(b"", 10), json!({ "text": "", "size": 0, "truncated": false }));
        assert_eq!(end_of(b"\xff\n", 10)["text"], "\u{fffd}\n");
    }

    #[test]
    fn logs_are_read_where_github_says_and_without_the_token() {
        let response = |status, place: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            place.map(|place| headers.insert(LOCATION, HeaderValue::from_static(place)));
            Response::new(StatusCode::from_u16(status).unwrap(), headers, Bytes::new())
        };
        let found = place(&response(302, Some("https://logs.example/a?sig=b"))).unwrap().unwrap();
        assert_eq!(found.uri(), "https://logs.example/a?sig=b");
        assert!(found.headers().is_empty());
        assert!(place(&response(200, None)).unwrap().is_none());
        assert!(place(&response(302, None)).is_err());
        assert!(place(&response(302, Some("not a place at all"))).is_err());
    }
}
