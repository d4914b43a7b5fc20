//! What the answers of all formats have in common.

use agentprovision_core::model::ToolRequest;

/// What an answer says of itself.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// The id of the request, in hex.
    pub(super) request: String,
    /// Seconds since 1970.
    pub(super) created: i64,
    /// The model: the name that was asked for, until the one that answers is known.
    pub(super) model: String,
}

impl Head {
    /// An id in the form of a format.
    pub(super) fn id(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.request)
    }
}

/// The tool calls of a streamed answer so far.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<(usize, ToolRequest)>);

impl Calls {
    /// Takes a piece of a call; true for the first piece of one.
    pub(super) fn push(
        &mut self,
        index: usize,
        id: Option<&str>,
        name: Option<&str>,
        arguments: &str,
    ) -> bool {
        let known = self.0.iter().position(|(at, _)| *at == index);
        let first = known.is_none();
        if first {
            let call = ToolRequest {
                id: String::new(),
                name: String::new(),
                arguments: String::new(),
                complete: false,
            };
            self.0.push((index, call));
        }
        let place = known.unwrap_or(self.0.len().saturating_sub(1));
        if let Some((_, call)) = self.0.get_mut(place) {
            if let Some(id) = id {
                id.clone_into(&mut call.id);
            }
            call.name.push_str(name.unwrap_or_default());
            call.arguments.push_str(arguments);
        }
        first
    }

    /// A call as far as it came.
    pub(super) fn get(&self, index: usize) -> Option<&ToolRequest> {
        self.0.iter().find(|(at, _)| *at == index).map(|(_, call)| call)
    }

    /// Id and name of a call.
    pub(super) fn named(&self, index: usize) -> Option<(&str, &str)> {
        self.get(index).map(|call| (call.id.as_str(), call.name.as_str()))
    }

    /// Whether the arguments of a call have come to their end.
    pub(super) fn is_whole(&self, index: usize) -> bool {
        self.get(index).is_some_and(|call| !call.arguments.trim().is_empty() && call.json().is_some())
    }

    /// Whether the arguments of a call are not whole.
    pub(super) fn any_cut(&self) -> bool {
        self.0.iter().any(|(_, call)| call.name.is_empty() || call.json().is_none())
    }
}
