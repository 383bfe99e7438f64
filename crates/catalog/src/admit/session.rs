//! Times and defaults of a session.

use crate::{document::At, draft::SessionDraft, name::CharsetName, namespace::SessionSettings};

use super::Admission;

/// Character sets that no client can use (MySQL manual, "Impermissible client character sets").
const NOT_FOR_CLIENTS: [&str; 4] = ["ucs2", "utf16", "utf16le", "utf32"];
/// Collations of MariaDB that belong to every Unicode character set.
const ANY_UNICODE: &str = "uca1400_";

impl Admission<'_> {
    pub(super) fn session(&mut self, draft: &At<SessionDraft>) -> SessionSettings {
        let session = &draft.value;
        if let Some(charset) = &session.charset
            && NOT_FOR_CLIENTS.contains(&charset.value.as_str())
        {
            self.report
                .error(&charset.place, format!("character set {} cannot be used by clients", charset.value))
                .hint("for example \"utf8mb4\"");
        }
        match (&session.charset, &session.collation) {
            (Some(charset), Some(collation)) => self.belong_together(charset, collation),
            (None, Some(_)) if self.is_blamed(&draft.place, &["charset"]) => {}
            (None, Some(collation)) => {
                let likely = collation.value.as_str().split('_').next().unwrap_or_default();
                self.report
                    .error(&collation.place, "`collation` is set without `charset`")
                    .hint(format!("for example charset = \"{likely}\""));
            }
            (_, None) => {}
        }
        let text = |name: &Option<At<CharsetName>>| name.as_ref().map(|name| name.value.as_str().to_owned());
        SessionSettings {
            idle_timeout: session.idle_timeout.value,
            idle_in_transaction_timeout: session.idle_in_transaction_timeout.value,
            client_write_timeout: session.client_write_timeout.value,
            charset: text(&session.charset),
            collation: text(&session.collation),
        }
    }

    fn belong_together(&mut self, charset: &At<CharsetName>, collation: &At<CharsetName>) {
        if belongs(charset.value.as_str(), collation.value.as_str()) {
            return;
        }
        let message =
            format!("collation {} does not belong to character set {}", collation.value, charset.value);
        let prefix = format!("{}_", charset.value);
        self.report.error(&collation.place, message).hint(format!("its collations start with \"{prefix}\""));
    }
}

/// A collation is named after its character set. `utf8` and `utf8mb3` are one.
fn belongs(charset: &str, collation: &str) -> bool {
    let canonical = |name: &str| match name.strip_prefix("utf8mb3") {
        Some(rest) => format!("utf8{rest}"),
        None => name.to_owned(),
    };
    let (charset, collation) = (canonical(charset), canonical(collation));
    let unicode = matches!(charset.as_str(), "utf8" | "utf8mb4");
    collation == "binary" && charset == "binary"
        || collation.strip_prefix(&charset).is_some_and(|rest| rest.starts_with('_'))
        || (unicode && collation.starts_with(ANY_UNICODE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collation_belongs_to_the_character_set_that_it_is_named_after() {
        for (charset, collation, expected) in [
            ("utf8mb4", "utf8mb4_0900_ai_ci", true),
            ("utf8mb4", "utf8mb4_bin", true),
            ("utf8", "utf8mb3_general_ci", true),
            ("utf8mb3", "utf8_general_ci", true),
            ("utf8mb4", "uca1400_ai_ci", true),
            ("binary", "binary", true),
            ("latin1", "latin1_swedish_ci", true),
            ("utf8", "utf8mb4_bin", false),
            ("utf8mb4", "utf8_bin", false),
            ("latin1", "uca1400_ai_ci", false),
            ("latin1", "latin1", false),
            ("latin1", "utf8mb4_bin", false),
            ("utf8mb4", "binary", false),
        ] {
            assert_eq!(belongs(charset, collation), expected, "{charset} {collation}");
        }
    }
}
