//! What many answers of GitHub have parts of.

records! {
    /// A user, an organization or an app, in short.
    Account {
        /// The name in URLs.
        login: String,
        /// The id.
        id: u64,
        /// `User`, `Organization` or `Bot`.
        #[serde(rename = "type")]
        kind: Option<String>,
        /// Its page.
        html_url: Option<String>,
    }

    /// A label of a repository.
    Label {
        /// The name.
        name: String,
        /// The color, six hexadecimal digits.
        color: Option<String>,
        /// What it is for.
        description: Option<String>,
    }

    /// A milestone, in short.
    Milestone {
        /// The number within the repository.
        number: u64,
        /// The title.
        title: String,
        /// `open` or `closed`.
        state: Option<String>,
        /// When it is due, in RFC 3339.
        due_on: Option<String>,
    }
}

choices! {
    /// Which of things that are open or closed.
    Which {
        /// Only open ones.
        Open "open",
        /// Only closed ones.
        Closed "closed",
        /// Open and closed ones.
        All "all",
    }

    /// Whether something is open or closed.
    State {
        /// Open.
        Open "open",
        /// Closed.
        Closed "closed",
    }

    /// In which direction a list is sorted.
    Direction {
        /// The smallest or oldest first.
        Ascending "asc",
        /// The largest or newest first.
        Descending "desc",
    }
}
