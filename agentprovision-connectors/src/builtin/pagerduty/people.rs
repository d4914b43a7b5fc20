//! Users and teams, and who is on call when.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Reference, Usual as _};
use crate::operation::Page;
use crate::operations;
use crate::request::Lists;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// The id, as `PXPGF42`.
    pub id: String,
    /// The name.
    pub name: Option<String>,
    /// The e-mail address.
    pub email: Option<String>,
    /// What the user may do, as `admin` or `limited_user`.
    pub role: Option<String>,
    /// What the user does.
    pub job_title: Option<String>,
    /// The user's time zone, as `Europe/Paris`.
    pub time_zone: Option<String>,
    /// The user's teams.
    pub teams: Option<Vec<Reference>>,
    /// The page about the user.
    pub html_url: Option<String>,
}

/// A team.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Team {
    /// The id.
    pub id: String,
    /// The name.
    pub name: Option<String>,
    /// What it does.
    pub description: Option<String>,
    /// The page about it.
    pub html_url: Option<String>,
}

/// Who is notified, one after the other, until somebody acknowledges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EscalationPolicy {
    /// The id.
    pub id: String,
    /// The name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// How often its rules are gone through again.
    pub num_loops: Option<u64>,
    /// Its rules, in their order.
    pub escalation_rules: Option<Vec<EscalationRule>>,
    /// The services that use it.
    pub services: Option<Vec<Reference>>,
    /// The teams it concerns.
    pub teams: Option<Vec<Reference>>,
    /// The page about it.
    pub html_url: Option<String>,
}

/// A level of an escalation policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EscalationRule {
    /// The id.
    pub id: Option<String>,
    /// After how many minutes the next one follows.
    pub escalation_delay_in_minutes: Option<u64>,
    /// The users and schedules that are notified.
    pub targets: Option<Vec<Reference>>,
}

/// Who is on call when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Schedule {
    /// The id.
    pub id: String,
    /// The name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Its time zone, as `Europe/Paris`.
    pub time_zone: Option<String>,
    /// The users in it.
    pub users: Option<Vec<Reference>>,
    /// The policies that use it.
    pub escalation_policies: Option<Vec<Reference>>,
    /// The teams it concerns.
    pub teams: Option<Vec<Reference>>,
    /// What comes of all its layers and exceptions, for the time that was asked for.
    pub final_schedule: Option<FinalSchedule>,
    /// The page about it.
    pub html_url: Option<String>,
}

/// What comes of all layers and exceptions of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FinalSchedule {
    /// Who is on call, in the order of time.
    pub rendered_schedule_entries: Option<Vec<Shift>>,
}

/// A time in which a user is on call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shift {
    /// Its begin.
    pub start: Option<String>,
    /// Its end.
    pub end: Option<String>,
    /// The user.
    pub user: Option<Reference>,
}

/// Who is on call, for what and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OnCall {
    /// The user.
    pub user: Option<Reference>,
    /// The policy.
    pub escalation_policy: Option<Reference>,
    /// The level of the policy; 1 is notified first.
    pub escalation_level: Option<u64>,
    /// The schedule; none where the policy names the user.
    pub schedule: Option<Reference>,
    /// Since when; none where that is always.
    pub start: Option<String>,
    /// Until when; none where that is always.
    pub end: Option<String>,
}

operations! {
    /// Says whose the API key is. A key of the account is nobody's and is refused.
    GetMe "users.me" get("/users/me") => User [.takes("user").scopes(["users.read"])] {}

    /// Lists users.
    ListUsers "users.list" get("/users") => Page<User> [.list("/users").scopes(["users.read"])] {
        /// Only those whose name or e-mail address has this in it.
        query: Option<String>,
        /// Only those of these teams, by id.
        team_ids: Option<Vec<String>>,
        /// Items on a page, 1 to 100; default 25.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Gets a user by id.
    GetUser "users.get" get("/users/{id}") => User [.takes("user").scopes(["users.read"])] {
        /// Id of the user.
        id: String,
    }

    /// Lists teams.
    ListTeams "teams.list" get("/teams") => Page<Team> [.list("/teams").scopes(["teams.read"])] {
        /// Only those whose name has this in it.
        query: Option<String>,
        /// Items on a page, 1 to 100; default 25.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Lists who is on call, for what and when: now, or in a time.
    ListOnCalls "oncalls.list" get("/oncalls") => Page<OnCall> [.list("/oncalls").scopes(["oncalls.read"])] {
        /// Only these users, by id.
        user_ids: Option<Vec<String>>,
        /// Only by these policies, by id.
        escalation_policy_ids: Option<Vec<String>>,
        /// Only by these schedules, by id.
        schedule_ids: Option<Vec<String>>,
        /// Begin of the time, as `2025-11-22T20:00:00Z`; default is now.
        since: Option<String>,
        /// End of the time; default is now. At most 90 days after `since`.
        until: Option<String>,
        /// Whether to have only the earliest of each user, policy, level and schedule; default false.
        earliest: Option<bool>,
        /// Items on a page, 1 to 100; default 25.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Lists escalation policies.
    ListEscalationPolicies "escalation_policies.list" get("/escalation_policies") => Page<EscalationPolicy> [
        .list("/escalation_policies").scopes(["escalation_policies.read"])
    ] {
        /// Only those whose name has this in it.
        query: Option<String>,
        /// Only those that have one of these users, by id.
        user_ids: Option<Vec<String>>,
        /// Only those of these teams, by id.
        team_ids: Option<Vec<String>>,
        /// Items on a page, 1 to 100; default 25.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Gets an escalation policy by id.
    GetEscalationPolicy "escalation_policies.get" get("/escalation_policies/{id}") => EscalationPolicy [
        .takes("escalation_policy").scopes(["escalation_policies.read"])
    ] {
        /// Id of the policy.
        id: String,
    }

    /// Lists schedules.
    ListSchedules "schedules.list" get("/schedules") => Page<Schedule> [.list("/schedules").scopes(["schedules.read"])] {
        /// Only those whose name has this in it.
        query: Option<String>,
        /// Items on a page, 1 to 100; default 25.
        #[schemars(range(min = 1, max = 100))]
        limit: Option<u32>,
    }

    /// Gets a schedule by id: who is on call in a time, by default in the next two weeks.
    GetSchedule "schedules.get" get("/schedules/{id}") => Schedule [.takes("schedule").scopes(["schedules.read"])] {
        /// Id of the schedule.
        id: String,
        /// Begin of the time, as `2025-11-22T20:00:00Z`; default is two weeks before `until`, or now.
        since: Option<String>,
        /// End of the time; default is two weeks after `since`.
        until: Option<String>,
        /// The zone of times in the answer, as `Europe/Paris`; default is the schedule's.
        time_zone: Option<String>,
    }

    /// Lists the users that are on call by a schedule in a time.
    ListScheduleUsers "schedules.users" get("/schedules/{id}/users") => Page<User> [
        .lists(Lists::Brackets).takes("{items: users}").scopes(["users.read"])
    ] {
        /// Id of the schedule.
        id: String,
        /// Begin of the time, as `2025-11-22T20:00:00Z`.
        since: Option<String>,
        /// End of the time.
        until: Option<String>,
    }
}
