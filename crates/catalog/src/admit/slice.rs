//! Replication groups.

use std::path::PathBuf;

use crate::{
    document::At,
    draft::{AccountDraft, BackendTlsDraft, InstanceDraft, SliceDraft},
    secret::Secret,
    slice::{Address, BackendAccount, BackendTls, BackendTlsMode, Instance, Slice},
    surroundings::Exposure,
};

use super::Admission;

impl Admission<'_> {
    /// Every slice, or `None` if one of them is wrong.
    pub(super) fn slices(&mut self, drafts: &[At<SliceDraft>]) -> Option<Vec<Slice>> {
        let slices: Vec<Option<Slice>> = drafts.iter().map(|draft| self.slice(&draft.value)).collect();
        let names: Vec<At<String>> = drafts
            .iter()
            .filter_map(|draft| draft.value.name.as_ref())
            .map(|name| At { value: name.value.as_str().to_owned(), place: name.place.clone() })
            .collect();
        self.duplicates(&names, String::clone, "slice");
        let addresses: Vec<&At<Address>> = drafts
            .iter()
            .flat_map(|draft| draft.value.primary.iter().chain(&draft.value.replicas.value))
            .filter_map(|instance| instance.value.address.as_ref())
            .collect();
        self.same_servers(&addresses);
        slices.into_iter().collect()
    }

    fn same_servers(&mut self, addresses: &[&At<Address>]) {
        for (index, address) in addresses.iter().enumerate() {
            if let Some(earlier) = addresses.iter().take(index).find(|earlier| earlier.value == address.value)
            {
                self.report
                    .error(
                        &address.place,
                        format!("{} is declared in {} already", address.value, earlier.place.path),
                    )
                    .hint("a server has one place in a namespace");
            }
        }
    }

    fn slice(&mut self, slice: &SliceDraft) -> Option<Slice> {
        let primary = slice.primary.as_ref().and_then(|primary| instance(&primary.value));
        let replicas: Option<Vec<Instance>> =
            slice.replicas.value.iter().map(|draft| instance(&draft.value)).collect();
        self.replicas_take_reads(slice);
        let account = slice.account.as_ref().and_then(|account| self.account(account));
        let tls = self.backend_tls(&slice.tls);
        self.tls_fits_addresses(slice);
        Some(Slice {
            name: slice.name.as_ref()?.value.as_str().to_owned(),
            primary: primary?,
            replicas: replicas?,
            account: account?,
            tls: tls?,
            compression: slice.compression.value,
            flavour: slice.flavour.as_ref().map(|flavour| flavour.value),
        })
    }

    fn replicas_take_reads(&mut self, slice: &SliceDraft) {
        let replicas = &slice.replicas.value;
        if !replicas.is_empty() && replicas.iter().all(|replica| replica.value.weight.value == 0) {
            self.report
                .warning(
                    &slice.replicas.place,
                    "every replica has weight 0, so the primary answers all reads",
                )
                .hint("a weight of 1 or more takes reads");
        }
    }

    fn account(&mut self, draft: &At<AccountDraft>) -> Option<BackendAccount> {
        let account = &draft.value;
        let places = [
            account.password.as_ref().map(|at| &at.place),
            account.password_file.as_ref().map(|at| &at.place),
            account.password_env.as_ref().map(|at| &at.place),
        ];
        let password = match (&account.password, &account.password_file, &account.password_env) {
            (Some(password), None, None) => Some(password.value.clone()),
            (None, Some(file), None) => self.password_file(file),
            (None, None, Some(variable)) => match self.surroundings.variable(variable.value.as_str()) {
                Ok(password) => Some(password),
                Err(why) => {
                    self.report
                        .error(&variable.place, format!("environment variable {} {why}", variable.value))
                        .hint("it is taken from the environment of `weir serve`");
                    None
                }
            },
            (None, None, None) => {
                if !self.is_blamed(&draft.place, &["password", "password_file", "password_env"]) {
                    self.report
                        .missing(&draft.place, "the account has no password")
                        .hint("one of `password_file`, `password_env` and `password`");
                }
                None
            }
            _ => {
                let place = places.into_iter().flatten().max().unwrap_or(&draft.place);
                self.report
                    .error(place, "the account has more than one password")
                    .hint("exactly one of `password_file`, `password_env` and `password`");
                None
            }
        };
        Some(BackendAccount { user: account.user.as_ref()?.value.as_str().to_owned(), password: password? })
    }

    fn password_file(&mut self, file: &At<PathBuf>) -> Option<Secret> {
        let path = self.resolve(&file.value);
        let shown = path.display();
        let found = match self.surroundings.secret_file(&path) {
            Ok(found) => found,
            Err(why) => {
                self.report.error(&file.place, format!("{shown} cannot be read: {why}"));
                return None;
            }
        };
        let private = format!("chmod 600 {shown}");
        match found.exposure {
            Exposure::Private => {}
            Exposure::WorldReadable => {
                self.report
                    .warning(&file.place, format!("everybody on this machine can read {shown}"))
                    .hint(private);
            }
            Exposure::WorldWritable => {
                self.report
                    .error(&file.place, format!("everybody on this machine can change {shown}"))
                    .hint(private);
            }
        }
        Some(found.secret)
    }

    fn backend_tls(&mut self, draft: &At<BackendTlsDraft>) -> Option<BackendTls> {
        let tls = &draft.value;
        let mode = tls.mode.value;
        let verifies = matches!(mode, BackendTlsMode::VerifyCa | BackendTlsMode::VerifyIdentity);
        let ca = tls.ca.as_ref().map(|ca| self.readable(ca));
        match &tls.ca {
            None if verifies => self
                .report
                .missing(&tls.mode.place, format!("mode \"{mode}\" needs `ca`"))
                .hint("the PEM file of the authorities that signed the servers' certificates"),
            Some(_) if self.is_blamed(&draft.place, &["mode", "ca"]) => {}
            Some(ca) if !verifies => self
                .report
                .warning(
                    &ca.place,
                    format!("`ca` has no effect in mode \"{mode}\": no certificate is checked"),
                )
                .hint("mode = \"verify-identity\" or \"verify-ca\""),
            None | Some(_) => {}
        }
        let client_certificate = match (&tls.certificate, &tls.key) {
            (Some(certificate), Some(key)) => Some((self.readable(certificate), self.readable(key))),
            (Some(alone), None) => {
                self.report.missing(&alone.place, "`certificate` needs `key`");
                None
            }
            (None, Some(alone)) => {
                self.report.missing(&alone.place, "`key` needs `certificate`");
                None
            }
            (None, None) => None,
        };
        if let (Some(certificate), BackendTlsMode::Off) = (&tls.certificate, mode) {
            self.report.warning(&certificate.place, "`certificate` has no effect in mode \"off\"");
        }
        Some(BackendTls { mode, ca, client_certificate })
    }

    fn tls_fits_addresses(&mut self, slice: &SliceDraft) {
        let mode = slice.tls.value.mode.value;
        if !matches!(mode, BackendTlsMode::VerifyCa | BackendTlsMode::VerifyIdentity) {
            return;
        }
        for instance in slice.primary.iter().chain(&slice.replicas.value) {
            let Some(At { value: Address::Unix(_), place }) = &instance.value.address else { continue };
            self.report.warning(place, format!("mode \"{mode}\" checks nothing on a Unix socket"));
        }
    }
}

fn instance(draft: &InstanceDraft) -> Option<Instance> {
    Some(Instance {
        address: draft.address.as_ref()?.value.clone(),
        weight: draft.weight.value,
        zone: draft.zone.as_ref().map(|zone| zone.value.as_str().to_owned()),
    })
}
