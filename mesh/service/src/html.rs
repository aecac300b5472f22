//! Text in HTML pages.

/// Escapes text for the contents of an element. Labels and errors come from targets and files
/// and must not become markup.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
