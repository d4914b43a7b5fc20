//! The connectors that come with the library, a feature each.
