//! What Slack tells of.

use super::Event;
use crate::webhook::json::{Json, object};

object! {
    /// An event with what Slack says around it.
    Callback {
        needs {
            /// What happened.
            event: Event,
        }
        has {
            /// `event_callback`.
            kind "type": String,
            /// The id of the event, the same in every attempt. It is what tells repeats; times are not.
            event_id: String,
            /// When, in seconds since 1970.
            event_time: i64,
            /// The workspace.
            team_id: String,
            /// The organization of the workspace.
            enterprise_id: String,
            /// The app that is told.
            api_app_id: String,
            /// For whom it is told, at least one of them.
            authorizations: Vec<Authorization>,
            /// Whether the channel is shared with another organization.
            is_ext_shared_channel: bool,
        }
    }

    /// For whom an event is told.
    Authorization {
        needs {}
        has {
            /// The workspace.
            team_id: String,
            /// The organization.
            enterprise_id: String,
            /// The user who installed the app, or its bot.
            user_id: String,
            /// Whether it is a bot.
            is_bot: bool,
            /// Whether the app is installed in the whole organization.
            is_enterprise_install: bool,
        }
    }

    /// Slack asks whether the endpoint is there; the answer is the challenge.
    UrlVerification {
        needs {
            /// What to answer.
            challenge: String,
        }
        has {
            /// `url_verification`.
            kind "type": String,
        }
    }

    /// Slack held events back, because there were too many.
    RateLimited {
        needs {
            /// The minute from which on, in seconds since 1970.
            minute_rate_limited: i64,
        }
        has {
            /// `app_rate_limited`.
            kind "type": String,
            /// The workspace.
            team_id: String,
            /// The app.
            api_app_id: String,
        }
    }

    /// A message, or what became of one.
    Message {
        needs {}
        has {
            /// `message` or `app_mention`.
            kind "type": String,
            /// What kind of message; absent for what a person writes.
            subtype: String,
            /// The channel.
            channel: String,
            /// `channel`, `group`, `im` or `mpim`.
            channel_type: String,
            /// Who wrote it.
            user: String,
            /// The bot that wrote it.
            bot_id: String,
            /// The text.
            text: String,
            /// The message's id within its channel.
            ts: String,
            /// The message that the thread is under.
            thread_ts: String,
            /// When the event happened.
            event_ts: String,
            /// The workspace of the writer.
            team: String,
            /// What it is laid out as.
            blocks: Json,
            /// Its files.
            files: Json,
            /// The message as it is now, after a change.
            message: Json,
            /// The message as it was.
            previous_message: Json,
            /// The id of a message that was deleted.
            deleted_ts: String,
        }
    }

    /// A reaction was put on or taken off.
    Reaction {
        needs {
            /// The emoji's name.
            reaction: String,
        }
        has {
            /// Who did it.
            user: String,
            /// To whose message.
            item_user: String,
            /// To what.
            item: Item,
            /// When.
            event_ts: String,
        }
    }

    /// What a reaction is on.
    Item {
        needs {}
        has {
            /// `message` and others.
            kind "type": String,
            /// The channel.
            channel: String,
            /// The message's id within it.
            ts: String,
            /// The file, if it is one.
            file: String,
        }
    }

    /// Somebody joined or left a channel.
    Member {
        needs {
            /// Who.
            user: String,
            /// Which.
            channel: String,
        }
        has {
            /// `C` or `G`.
            channel_type: String,
            /// The workspace.
            team: String,
            /// Who asked them in.
            inviter: String,
            /// When.
            event_ts: String,
        }
    }

    /// A channel was made, renamed, archived or deleted.
    Channel {
        needs {
            /// Which: an id, or the channel itself.
            channel: Json,
        }
        has {
            /// Who did it.
            user: String,
            /// When.
            event_ts: String,
        }
    }

    /// A file was made, shared, changed or deleted.
    File {
        needs {
            /// Which.
            file_id: String,
        }
        has {
            /// Whose it is.
            user_id: String,
            /// Where it was shared.
            channel_id: String,
            /// When.
            event_ts: String,
        }
    }

    /// Links to a domain of the app were written.
    Links {
        needs {
            /// The links, with domain and URL.
            links: Vec<Link>,
        }
        has {
            /// The channel.
            channel: String,
            /// Who wrote them.
            user: String,
            /// The message they are in.
            message_ts: String,
            /// The message its thread is under.
            thread_ts: String,
            /// What to unfurl them by.
            unfurl_id: String,
        }
    }

    /// A link.
    Link {
        needs {
            /// Where it leads.
            url: String,
        }
        has {
            /// The domain that was asked for.
            domain: String,
        }
    }

    /// Somebody joined the workspace, or their profile changed.
    Profile {
        needs {
            /// Who.
            user: Person,
        }
        has {
            /// When.
            event_ts: String,
        }
    }

    /// A person.
    Person {
        needs {
            /// The id.
            id: String,
        }
        has {
            /// The workspace.
            team_id: String,
            /// The name they are mentioned by.
            name: String,
            /// How people are called.
            real_name: String,
            /// The zone they live in.
            tz: String,
            /// Whether they are gone.
            deleted: bool,
            /// Whether it is a bot.
            is_bot: bool,
        }
    }

    /// The app's home was opened.
    HomeOpened {
        needs {
            /// By whom.
            user: String,
        }
        has {
            /// The channel of the app and that person.
            channel: String,
            /// `home` or `messages`.
            tab: String,
            /// What they see.
            view: Json,
            /// When.
            event_ts: String,
        }
    }

    /// Tokens of the app are no longer good.
    TokensRevoked {
        needs {
            /// Whose.
            tokens: Tokens,
        }
        has {}
    }

    /// Whose tokens.
    Tokens {
        needs {}
        has {
            /// Users.
            oauth: Vec<String>,
            /// Users of bots.
            bot: Vec<String>,
        }
    }

    /// The app was uninstalled.
    Uninstalled {
        needs {}
        has {
            /// `app_uninstalled`.
            kind "type": String,
        }
    }

    /// Anything else that happened.
    Activity {
        needs {}
        has {
            /// What.
            kind "type": String,
            /// To whom, or by whom: an id, or the user itself.
            user: Json,
            /// Where: an id, or the channel itself.
            channel: Json,
            /// When.
            event_ts: String,
        }
    }
}
