//! "Did you mean …?"

/// The known name that is most like what was written; `None` if none is like it.
pub(super) fn closest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = fold(written);
    // a third of the letters may be wrong: `cap` is no `max_age`, but `capcity` is `capacity`
    let tolerance = (written.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(&written, &fold(name)), name))
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `Max-Age` and `max_age` are the same to a reader.
fn fold(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_name_is_found_and_strange_ones_have_none() {
        let known = ["capacity", "checkout_timeout", "connect_timeout", "max_age", "min_idle"];
        for (written, expected) in [
            ("capcity", Some("capacity")),
            ("capacity_", Some("capacity")),
            ("chekout_timeout", Some("checkout_timeout")),
            ("checkoutTimeout", Some("checkout_timeout")),
            ("conect_timeout", Some("connect_timeout")),
            ("Max-Age", Some("max_age")),
            ("minidel", Some("min_idle")),
            ("weight", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(closest(written, known), expected, "{written}");
        }
    }
}
