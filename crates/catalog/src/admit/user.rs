//! Logins.

use weir_wire::auth::{AuthPlugin, Verifier};

use crate::{
    document::At,
    draft::UserDraft,
    user::{Plugin, User},
};

use super::Admission;

impl Admission<'_> {
    /// Every user, or `None` if one of them is wrong.
    pub(super) fn users(&mut self, drafts: &[At<UserDraft>]) -> Option<Vec<User>> {
        let users: Vec<Option<User>> = drafts.iter().map(|draft| self.user(draft)).collect();
        for (index, user) in users.iter().enumerate() {
            let earlier = users.iter().zip(drafts).take(index).filter_map(|(u, d)| Some((u.as_ref()?, d)));
            if let (Some(user), Some(draft)) = (user, drafts.get(index)) {
                self.beside(user, draft, earlier);
            }
        }
        users.into_iter().collect()
    }

    fn user(&mut self, draft: &At<UserDraft>) -> Option<User> {
        let user = &draft.value;
        let password = self.user_password(draft);
        let default = match &password {
            Some(Verifier::Native(_)) => Plugin::Native,
            _ => Plugin::CachingSha2,
        };
        let plugin = user.plugin.as_ref().map_or(default, |plugin| plugin.value);
        if let (Some(password), Some(declared)) = (&password, &user.plugin)
            && !password.serves(plugin.into())
        {
            let other = if plugin == Plugin::Native { AuthPlugin::CachingSha2 } else { AuthPlugin::Native };
            self.report
                .error(&declared.place, format!("this verifier cannot serve {plugin}, only {other}"))
                .hint("`weir passwd` prints verifiers for both plugins");
        }
        Some(User {
            name: user.name.as_ref()?.value.as_str().to_owned(),
            password: password?,
            plugin,
            access: user.access.value,
            split: user.split.value,
            admin: user.admin.value,
        })
    }

    fn user_password(&mut self, draft: &At<UserDraft>) -> Option<Verifier> {
        match (&draft.value.password, &draft.value.verifier) {
            (Some(_), Some(verifier)) => {
                self.report
                    .error(&verifier.place, "both `password` and `verifier` are set")
                    .hint("`verifier` is enough, and the password need not be known then");
                None
            }
            (Some(password), None) => {
                if password.value.is_empty() {
                    self.report.warning(
                        &password.place,
                        "the password is empty: whoever knows the user's name may log in",
                    );
                }
                Some(Verifier::plain(password.value.reveal()))
            }
            (None, Some(verifier)) => {
                if verifier.value.accepts_empty() {
                    self.report.warning(
                        &verifier.place,
                        "the password is empty: whoever knows the user's name may log in",
                    );
                }
                Some(verifier.value.clone())
            }
            (None, None) => {
                if !self.is_blamed(&draft.place, &["password", "verifier"]) {
                    self.report
                        .missing(&draft.place, "the user has neither `password` nor `verifier`")
                        .hint("for example verifier = \"sha2:…\", as `weir passwd` prints it");
                }
                None
            }
        }
    }

    /// Users of one name: one plugin, different passwords.
    fn beside<'u>(
        &mut self,
        user: &User,
        draft: &At<UserDraft>,
        earlier: impl Iterator<Item = (&'u User, &'u At<UserDraft>)>,
    ) {
        for (other, other_draft) in earlier.filter(|(other, _)| other.name == user.name) {
            let there = &other_draft.place.path;
            if other.plugin != user.plugin {
                let place = draft.value.plugin.as_ref().map_or(&draft.place, |plugin| &plugin.place);
                let message = format!(
                    "user `{}` logs in with {} here, but with {} in {there}",
                    user.name, user.plugin, other.plugin
                );
                self.report
                    .error(place, message)
                    .hint("all entries of a user name need the same `plugin`: it must be known before the password is");
                return;
            }
            if other.password.provably_equal(&user.password) {
                self.report
                    .error(&draft.place, format!("user `{}` has the same password as in {there}", user.name))
                    .hint("take one of them away, or change its password");
                return;
            }
        }
    }
}
