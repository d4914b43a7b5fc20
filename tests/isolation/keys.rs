//! Credentials that do not hold.

use std::sync::Arc;
use std::time::Duration;

use agentprovision::Env;
use agentprovision::clock::OsEntropy;
use agentprovision::context::Credentials;
use agentprovision::prelude::*;
use agentprovision::tenancy::identity::ApiKeyRequest;
use agentprovision::testing::ManualClock;
use secrecy::{ExposeSecret, SecretString};

use super::world::{STORES, builder, open};
use crate::support::{home, in_time};

async fn kind(platform: &Platform, text: &str) -> Option<(ErrorKind, String)> {
    let credentials = Credentials::ApiKey(SecretString::from(text));
    let error = in_time(platform.authenticate(&credentials)).await.err()?;
    Some((error.kind(), error.message().to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_that_does_not_hold_is_refused_in_the_same_words() {
    for store in STORES {
        let folder = tempfile::tempdir().unwrap();
        let backend = open(store, &folder).await;
        let platform = builder().backend(backend.clone()).build().await.unwrap();
        // The same store an hour later, and the same store under another pepper.
        let clock = ManualClock::new(platform.env().now().after(Duration::from_secs(3600)));
        let later = builder().backend(backend.clone()).env(Env::new(Arc::new(clock), Arc::new(OsEntropy)));
        let later = later.build().await.unwrap();
        let other_pepper =
            builder().backend(backend).pepper("another pepper, long enough").build().await.unwrap();
        let (acme, globex) = (home(&platform, "acme").await, home(&platform, "globex").await);
        let make = async |home: &crate::support::Home, request: ApiKeyRequest| {
            let key = platform.keys().create(&home.admin, request).await.unwrap();
            (key.record.id, key.secret.expose_secret().to_owned())
        };
        let in_half_an_hour = platform.env().now().after(Duration::from_secs(1800));
        let (_, good) = make(&acme, ApiKeyRequest::new("good")).await;
        let (_, expiring) = make(&acme, ApiKeyRequest::new("expiring").expires_at(in_half_an_hour)).await;
        let (revoked_id, revoked) = make(&acme, ApiKeyRequest::new("revoked")).await;
        let (_, theirs) = make(&globex, ApiKeyRequest::new("theirs")).await;
        for text in [&good, &expiring, &revoked, &theirs] {
            assert_eq!(kind(&platform, text).await, None);
        }
        platform.keys().revoke(&acme.admin, revoked_id).await.unwrap();

        let refused = Some((ErrorKind::Unauthenticated, "the credential is not valid".to_owned()));
        let ten = |id: agentprovision::id::TenantId| id.uuid().as_simple().to_string();
        let moved = good.replace(&ten(acme.tenant.id), &ten(globex.tenant.id));
        let mixed = format!("{}{}", &good[..70], &theirs[70..]);
        let wrong = format!("{}{}", &good[..133], if good.ends_with('0') { '1' } else { '0' });
        for text in
            [&revoked, &moved, &mixed, &wrong, &"x".repeat(10 << 20), &String::new(), &"apk_\u{0}".into()]
        {
            assert_eq!(kind(&platform, text).await, refused, "{text:.90}");
        }
        assert_eq!(kind(&later, &good).await, None);
        assert_eq!(kind(&later, &expiring).await, refused);
        assert_eq!(kind(&other_pepper, &good).await, refused);
        // A key gives its own tenant, whatever else there is.
        let ctx = platform.authenticate(&Credentials::ApiKey(SecretString::from(theirs))).await.unwrap();
        assert_eq!(ctx.tenant(), globex.tenant.id);
        for platform in [platform, later, other_pepper] {
            in_time(platform.close()).await.unwrap();
        }
    }
}
