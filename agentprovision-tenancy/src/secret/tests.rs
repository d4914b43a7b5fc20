use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::authz::PermissionSet;
use agentprovision_core::backend::{Backend, Stores};
use agentprovision_core::context::{ContextIssuer, Identity, Principal, RequestInfo};
use agentprovision_core::effect::OperatorEffects;
use agentprovision_core::id::TenantId;
use agentprovision_core::secret::{
    Leased, MAX_SECRET, Sealed, SealedStore, SecretLease, SecretPath, SecretStore,
};
use agentprovision_core::tenant::{Tenant, TenantState};
use agentprovision_core::{Context, Env, Error, ErrorKind, MemoryDb};
use aws_lc_rs::aead::Aad;
use secrecy::{ExposeSecret, SecretString};

use super::keys::{KEY, SealingKeys};
use super::seal::{self, Place, SALT};
use super::sealed::SealedSecrets;

const OLD: [u8; KEY] = [0x11; KEY];
const NEW: [u8; KEY] = [0x22; KEY];
const CANARY: &str = "canary-0123456789";

fn keys(keys: &[[u8; KEY]]) -> SealingKeys {
    SealingKeys::new(keys).unwrap()
}

fn path(text: &str) -> SecretPath {
    SecretPath::new(text).unwrap()
}

/// A store with two tenants.
struct World {
    stores: Stores,
    env: Env,
    one: Context,
    two: Context,
}

impl World {
    async fn new() -> Self {
        let env = Env::default();
        let stores = MemoryDb::new(env.clone()).stores();
        let issuer = ContextIssuer::new(env.clone());
        let op = issuer.operator("root", "test").unwrap();
        let mut contexts = Vec::new();
        for _ in 0..2 {
            let tenant = Tenant {
                id: env.id(),
                name: "Acme".into(),
                domain: None,
                state: TenantState::Active,
                plan: None,
                region: None,
                settings: serde_json::Map::new(),
                created_at: env.now(),
                updated_at: env.now(),
                revision: 1,
            };
            let identity = Identity {
                tenant: tenant.id,
                principal: Principal::User(env.id()),
                scopes: PermissionSet::ALL,
                expires: None,
                key: None,
            };
            stores.tenants.create(&op, tenant, OperatorEffects::default()).await.unwrap();
            contexts.push(issuer.context(&identity, &PermissionSet::ALL, RequestInfo::default()));
        }
        let [one, two] = contexts.try_into().unwrap();
        Self { stores, env, one, two }
    }

    fn secrets(&self, keys: SealingKeys) -> SealedSecrets {
        SealedSecrets::new(self.stores.secrets.clone(), keys, self.env.clone())
    }

    fn sealed(&self) -> &Arc<dyn SealedStore> {
        &self.stores.secrets
    }

    /// Puts these bytes where a secret was, with the version.
    async fn plant(&self, ctx: &Context, path: &SecretPath, sealed: &Sealed) {
        self.sealed().delete(ctx, path).await.unwrap();
        for version in 1..=sealed.version {
            let value = Sealed { version, ..sealed.clone() };
            self.sealed().put(ctx, path, value, None).await.unwrap();
        }
    }
}

async fn refused(secrets: &SealedSecrets, ctx: &Context, path: &SecretPath) -> Error {
    let error = secrets.get(ctx, path).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(CANARY) && !shown.contains("1111"), "{shown}");
    error
}

#[tokio::test]
async fn a_secret_is_what_was_put() {
    let w = World::new().await;
    let secrets = w.secrets(keys(&[OLD]));
    let longest = "x".repeat(MAX_SECRET);
    for (version, text) in (1..).zip(["", CANARY, "ü\0\u{10ffff}", &longest]) {
        let put = secrets.put(&w.one, &path("a"), text.into(), version - 1, None).await.unwrap();
        let found = secrets.get(&w.one, &path("a")).await.unwrap();
        assert_eq!((put, found.version, found.value.expose_secret()), (version, version, text));
        let stored = w.sealed().get(&w.one, &path("a")).await.unwrap().bytes;
        assert_eq!(stored.len(), 42 + text.len() + 16);
        assert!(text.is_empty() || !stored.windows(text.len()).any(|part| part == text.as_bytes()));
    }
    let there = path("a");
    let put = |text: SecretString, expected| secrets.put(&w.one, &there, text, expected, None);
    let kinds = [
        put("x".repeat(MAX_SECRET + 1).into(), 4).await.unwrap_err().kind(),
        put("x".into(), 3).await.unwrap_err().kind(),
        put("x".into(), u64::MAX).await.unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::TooLarge, ErrorKind::Conflict, ErrorKind::Conflict]);
    assert_eq!(refused(&secrets, &w.one, &path("b")).await.kind(), ErrorKind::NotFound);
    secrets.delete(&w.one, &path("a")).await.unwrap();
    assert_eq!(refused(&secrets, &w.one, &path("a")).await.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_lease_goes_through() {
    let w = World::new().await;
    let (secrets, path, minute) = (w.secrets(keys(&[OLD])), path("a"), Duration::from_secs(60));
    secrets.put(&w.one, &path, "one".into(), 0, None).await.unwrap();
    let Leased::Yours(lease) = secrets.lease(&w.one, &path, w.env.id(), minute).await.unwrap() else {
        panic!("nobody has it")
    };
    assert!(matches!(secrets.lease(&w.one, &path, w.env.id(), minute).await.unwrap(), Leased::Held(_)));
    let other = SecretLease { epoch: lease.epoch + 1, ..lease };
    let fenced = secrets.put(&w.one, &path, "two".into(), 1, Some(other)).await.unwrap_err();
    assert!(fenced.is(ErrorKind::Fenced));
    assert_eq!(secrets.put(&w.one, &path, "two".into(), 1, Some(lease)).await.unwrap(), 2);
}

#[tokio::test]
async fn every_bit_counts() {
    let w = World::new().await;
    let (secrets, path) = (w.secrets(keys(&[OLD])), path("a"));
    secrets.put(&w.one, &path, CANARY.into(), 0, None).await.unwrap();
    let whole = w.sealed().get(&w.one, &path).await.unwrap();
    let mut changed = Vec::new();
    for (place, bit) in (0..whole.bytes.len()).flat_map(|place| (0..8).map(move |bit| (place, bit))) {
        let mut bytes = whole.bytes.clone();
        bytes[place] ^= 1 << bit;
        // Another key's id says that the key is not there.
        let id = (2..10).contains(&place);
        changed.push((bytes, if id { ErrorKind::Unavailable } else { ErrorKind::Corrupt }));
    }
    changed.extend((0..whole.bytes.len()).map(|end| (whole.bytes[..end].to_vec(), ErrorKind::Corrupt)));
    changed.push(([&whole.bytes[..], &[0]].concat(), ErrorKind::Corrupt));
    changed.push(([&whole.bytes[..], &whole.bytes[..]].concat(), ErrorKind::Corrupt));
    for (bytes, kind) in changed {
        w.plant(&w.one, &path, &Sealed { bytes, version: 1 }).await;
        assert_eq!(refused(&secrets, &w.one, &path).await.kind(), kind);
    }
    w.plant(&w.one, &path, &whole).await;
    assert_eq!(secrets.get(&w.one, &path).await.unwrap().value.expose_secret(), CANARY);
}

#[tokio::test]
async fn what_is_sealed_opens_in_its_place_only() {
    let w = World::new().await;
    let secrets = w.secrets(keys(&[OLD]));
    let (here, there) = (path("a/b"), path("a/c"));
    secrets.put(&w.one, &here, CANARY.into(), 0, None).await.unwrap();
    let first = w.sealed().get(&w.one, &here).await.unwrap();
    secrets.put(&w.one, &here, "a newer one".into(), 1, None).await.unwrap();
    for (ctx, path, version) in
        [(&w.two, &here, 1), (&w.one, &there, 1), (&w.one, &here, 2), (&w.one, &here, 3)]
    {
        w.plant(ctx, path, &Sealed { version, ..first.clone() }).await;
        assert_eq!(refused(&secrets, ctx, path).await.kind(), ErrorKind::Corrupt);
    }
    w.plant(&w.one, &here, &first).await;
    assert_eq!(secrets.get(&w.one, &here).await.unwrap().value.expose_secret(), CANARY);
}

#[tokio::test]
async fn a_new_key_takes_over_from_an_old_one() {
    let w = World::new().await;
    let (old, both, new) = (w.secrets(keys(&[OLD])), w.secrets(keys(&[NEW, OLD])), w.secrets(keys(&[NEW])));
    let path = path("a");
    old.put(&w.one, &path, CANARY.into(), 0, None).await.unwrap();
    assert_eq!(both.get(&w.one, &path).await.unwrap().value.expose_secret(), CANARY);
    let id = keys(&[OLD]).first().unwrap().id;
    let error = refused(&new, &w.one, &path).await;
    assert!(error.is(ErrorKind::Unavailable) && error.message().contains(&id.to_string()), "{error:?}");
    both.put(&w.one, &path, "again".into(), 1, None).await.unwrap();
    assert_eq!(new.get(&w.one, &path).await.unwrap().value.expose_secret(), "again");
    assert_eq!(refused(&old, &w.one, &path).await.kind(), ErrorKind::Unavailable);
    // Under the id of another key it opens no more than without.
    let mut sealed = w.sealed().get(&w.one, &path).await.unwrap();
    sealed.bytes[2..10].copy_from_slice(&id.0);
    w.plant(&w.one, &path, &sealed).await;
    assert_eq!(refused(&both, &w.one, &path).await.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn without_a_key_nothing_is_sealed_or_opened() {
    let w = World::new().await;
    let (with, without) = (w.secrets(keys(&[OLD])), w.secrets(SealingKeys::absent()));
    let error = without.put(&w.one, &path("a"), CANARY.into(), 0, None).await.unwrap_err();
    assert!(error.is(ErrorKind::Unsupported) && error.message().contains("sealing key"), "{error:?}");
    assert!(!format!("{error:?}").contains(CANARY));
    assert_eq!(refused(&without, &w.one, &path("a")).await.kind(), ErrorKind::NotFound);
    with.put(&w.one, &path("a"), CANARY.into(), 0, None).await.unwrap();
    assert_eq!(refused(&without, &w.one, &path("a")).await.kind(), ErrorKind::Unavailable);
    without.delete(&w.one, &path("a")).await.unwrap();
}

#[tokio::test]
async fn neither_secrets_nor_keys_are_shown() {
    let w = World::new().await;
    let secrets = w.secrets(keys(&[OLD, NEW]));
    secrets.put(&w.one, &path("a"), CANARY.into(), 0, None).await.unwrap();
    let found = secrets.get(&w.one, &path("a")).await.unwrap();
    let shown = format!("{secrets:?} {secrets:#?} {found:?}");
    for hidden in [CANARY, "1111", "2222", "17, 17", "34, 34", "ERER", "IiIi"] {
        assert!(!shown.contains(hidden), "{hidden}: {shown}");
    }
    assert!(shown.contains(&keys(&[OLD]).first().unwrap().id.to_string()), "{shown}");
}

/// Two values of one secret have nothing in common but the key's id.
#[test]
fn the_same_value_is_sealed_differently_each_time() {
    let (env, keys, path) = (Env::default(), keys(&[OLD]), path("a"));
    let place = Place { tenant: env.id(), path: &path, version: 1 };
    let seal = || seal::seal(keys.first().unwrap(), env.random(), place, CANARY.as_bytes()).unwrap();
    let (one, two) = (seal(), seal());
    assert_eq!(one[..10], two[..10]);
    assert!(one[10..].iter().zip(&two[10..]).filter(|(one, two)| one == two).count() < 16);
}

#[tokio::test]
async fn what_is_no_text_does_not_open() {
    let w = World::new().await;
    let (keys, path) = (keys(&[OLD]), path("a"));
    let place = Place { tenant: w.one.tenant(), path: &path, version: 1 };
    let bytes = seal::seal(keys.first().unwrap(), w.env.random(), place, b"\xff").unwrap();
    assert_eq!(**seal::open(keys.first().unwrap(), place, &bytes).unwrap(), *b"\xff");
    w.plant(&w.one, &path, &Sealed { bytes, version: 1 }).await;
    assert_eq!(refused(&w.secrets(keys), &w.one, &path).await.kind(), ErrorKind::Corrupt);
}

/// A text that GCM opens, as whoever knows two keys can make one for both, has to have the commitment of the key too.
#[test]
fn a_value_is_bound_to_one_key() {
    let (env, keys, path) = (Env::default(), keys(&[OLD]), path("a"));
    let (key, place) = (keys.first().unwrap(), Place { tenant: env.id(), path: &path, version: 1 });
    let craft = |commitment: [u8; 16]| {
        let salt: [u8; SALT] = [7; SALT];
        let derived = seal::derive(key, &salt).unwrap();
        let mut sealed = [&[1, 1], &key.id.0[..], &salt, &commitment].concat();
        let bound = Aad::from(place.bind(&sealed));
        let mut text = CANARY.as_bytes().to_vec();
        derived.key.seal_in_place_append_tag(derived.nonce, bound, &mut text).unwrap();
        sealed.extend(text);
        seal::open(key, place, &sealed)
    };
    let right = seal::derive(key, &[7; SALT]).unwrap().commitment;
    assert_eq!(**craft(right).unwrap(), *CANARY.as_bytes());
    for bit in 0..128 {
        let mut wrong = right;
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert!(craft(wrong).unwrap_err().is(ErrorKind::Corrupt));
    }
}

/// Computed with Python's `cryptography` 48: `HKDF(SHA512, 8, None, b"agentprovision sealing key id 1")` for the id,
/// `HKDF(SHA512, 60, salt, b"agentprovision secret 1")` for key, nonce and commitment, `AESGCM(key).encrypt(nonce, value,
/// aad)`, with `struct.pack(">Q", len(part)) + part` over header, tenant, `secrets`, `sealed`, path and
/// `struct.pack(">Q", version)` as `aad`.
#[test]
fn the_format_is_the_one_that_is_described() {
    let header = "010160cd05c67f80b815404142434445464748494a4b4c4d4e4f4edf6ee424c58df86f48860b8d04570c";
    let known = [
        (
            "correct horse battery staple – ü",
            "213e5a04a959b652a925066c120c572510712e1c2776ff13797b4e5d86d33785e856e11b406d4c1d7b01bba7fe68935e8f18d0",
        ),
        ("", "685b1a22550e3bbc4bf385921f5f1370"),
    ];
    let (keys, path) = (keys(&[std::array::from_fn(|n| n as u8)]), path("integrations/int_1/tokens"));
    let tenant: TenantId = "0190b8a4-aaaa-7000-8000-00000000000a".parse().unwrap();
    let (key, place) = (keys.first().unwrap(), Place { tenant, path: &path, version: 7 });
    for (value, text) in known {
        let expected = hex::decode(format!("{header}{text}")).unwrap();
        let salt = std::array::from_fn(|n| 0x40 | n as u8);
        assert_eq!(seal::seal(key, salt, place, value.as_bytes()).unwrap(), expected);
        assert_eq!(**seal::open(key, place, &expected).unwrap(), *value.as_bytes());
    }
}
