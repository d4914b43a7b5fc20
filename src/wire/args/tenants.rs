//! What operators say about tenants, their archives, their backups and where they are kept.

use agentprovision_core::id::{BackupId, TenantId};
use agentprovision_core::identity::Role;
use agentprovision_core::page::{Cursor, PageRequest};
use agentprovision_core::{Error, Result};
use agentprovision_tenancy::identity::NewUser;
use agentprovision_tenancy::tenant::{LastArchive, NewTenant, RestoreInto, TenantUpdate};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{UserCreate, nullable, page};

arguments! {
    /// A tenant to be made.
    TenantCreate {
        /// The name, 1 to 255 characters.
        name: String,
        /// The domain, unique among tenants.
        domain: Option<String>,
        /// The plan, 1 to 255 characters.
        plan: Option<String>,
        /// Where the tenant's data must stay, 1 to 255 characters; it cannot be changed later.
        region: Option<String>,
        /// Settings of the host, at most 64 KiB as JSON.
        settings: Option<Map<String, Value>>,
    }

    /// A tenant by id.
    TenantById {
        /// The tenant.
        tenant: TenantId,
    }

    /// A change of a tenant: what is given is replaced, the rest stays.
    TenantChange {
        /// The tenant.
        tenant: TenantId,
        /// The new name.
        name: Option<String>,
        /// The new plan; null for no plan.
        #[serde(default, deserialize_with = "nullable")]
        #[schemars(with = "Option<String>")]
        plan: Option<Option<String>>,
        /// The new settings, instead of all the old ones.
        settings: Option<Map<String, Value>>,
    }

    /// A tenant to be deleted.
    TenantDelete {
        /// The tenant.
        tenant: TenantId,
        /// The path of the file its last archive is written to; null, which has to be said, for no archive and no way
        /// back.
        #[serde(default, deserialize_with = "nullable")]
        #[schemars(with = "Option<String>")]
        archive: Option<Option<String>>,
    }

    /// A tenant to be written to a file.
    ArchiveExport {
        /// The tenant.
        tenant: TenantId,
        /// The path of the file, which is not there yet.
        path: String,
    }

    /// An archive.
    ArchivePath {
        /// The path of the file.
        path: String,
    }

    /// An archive to be restored.
    ArchiveRestore {
        /// The path of the file.
        path: String,
        /// Which tenant it becomes; default `same`.
        into: Option<RestoreInto>,
    }

    /// A page of a tenant's backups.
    BackupsListed {
        /// The tenant.
        tenant: TenantId,
        /// At most this many, 1 to 100; default 20.
        limit: Option<u32>,
        /// Where the page begins: `next` of the one before.
        after: Option<Cursor>,
    }

    /// A backup by id.
    BackupById {
        /// The tenant.
        tenant: TenantId,
        /// The backup.
        backup: BackupId,
    }

    /// A tenant to be moved.
    PlacementMove {
        /// The tenant.
        tenant: TenantId,
        /// The name of the shard it is moved to.
        to: String,
    }

    /// A tenant to be pinned.
    PlacementPin {
        /// The tenant.
        tenant: TenantId,
        /// The name of the shard it belongs in; without one the hash says it again.
        shard: Option<String>,
    }

    /// The first admin of a tenant.
    AdminCreate {
        /// The tenant.
        tenant: TenantId,
        /// The e-mail address, unique within the tenant.
        email: String,
        /// The full name, 1 to 255 characters.
        name: Option<String>,
        /// Roles besides `tenant_admin`, at most 63.
        roles: Option<Vec<Role>>,
    }
}

impl TenantDelete {
    pub(in crate::wire) fn last(&self) -> Result<LastArchive> {
        match &self.archive {
            Some(Some(path)) => Ok(LastArchive::At(path.into())),
            Some(None) => Ok(LastArchive::Nothing),
            None => Err(Error::invalid(
                "say where the `archive` of the tenant is to be written, or null for none",
            )),
        }
    }
}

impl From<BackupsListed> for PageRequest {
    fn from(listed: BackupsListed) -> Self {
        page(listed.limit, listed.after)
    }
}

impl From<TenantCreate> for NewTenant {
    fn from(args: TenantCreate) -> Self {
        let mut new = Self::without_domain(args.name);
        new.domain = args.domain;
        new.plan = args.plan;
        new.region = args.region;
        new.settings = args.settings.unwrap_or_default();
        new
    }
}

impl From<TenantChange> for TenantUpdate {
    fn from(args: TenantChange) -> Self {
        let mut update = Self::new();
        update.name = args.name;
        update.plan = args.plan;
        update.settings = args.settings;
        update
    }
}

impl From<AdminCreate> for NewUser {
    fn from(args: AdminCreate) -> Self {
        UserCreate { email: args.email, name: args.name, roles: args.roles }.into()
    }
}
