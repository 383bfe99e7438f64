//! Keys that clients meet: the TLS certificate, and the RSA pair for passwords of clients without TLS.
//!
//! What the settings name is used. What they do not name is made once and kept in the data directory, under the names
//! that MySQL gives such files, so that clients which pin the certificate or the public key see the same ones after a
//! restart.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::NoServerSessionStorage,
};
use weir_wire::auth::rsa::RsaKeyPair;

/// How long a certificate that Weir makes is valid, as MySQL's own.
const VALIDITY: Duration = Duration::from_secs(3650 * 24 * 3600);
/// Its validity begins this long ago, for clients whose clock is behind.
const CLOCK_SKEW: Duration = Duration::from_secs(24 * 3600);

/// Where keys are found, or kept once they are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyPlaces {
    /// For what the settings do not name.
    pub data_dir: PathBuf,
    /// PEM files of the certificate chain and its private key.
    pub certificate: Option<CertificateFiles>,
    /// PEM file of the RSA private key.
    pub rsa: Option<PathBuf>,
}

/// PEM files of a certificate chain and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateFiles {
    /// The chain, the server's certificate first.
    pub chain: PathBuf,
    /// The private key of the first one.
    pub key: PathBuf,
}

impl KeyPlaces {
    /// TLS as clients meet it, from the files as they are now.
    ///
    /// # Errors
    /// A file cannot be read or made, or key and certificate do not belong together; the message names the file.
    pub(crate) fn tls(&self) -> Result<Arc<ServerConfig>> {
        let files = match &self.certificate {
            Some(files) => files.clone(),
            None => made_certificate(&self.data_dir)?,
        };
        server_config(&files)
    }

    /// The RSA pair, from the file as it is now.
    ///
    /// # Errors
    /// The file cannot be read or made, or holds no usable RSA key; the message names it.
    pub(crate) fn rsa(&self) -> Result<Arc<RsaKeyPair>> {
        let path = match &self.rsa {
            Some(path) => path.clone(),
            None => made_rsa(&self.data_dir)?,
        };
        let pem = fs::read(&path).with_context(|| format!("cannot read the RSA key {}", path.display()))?;
        warn_if_exposed(&path);
        let pair = RsaKeyPair::from_pem(&pem)
            .with_context(|| format!("cannot use the RSA key {}", path.display()))?;
        Ok(Arc::new(pair))
    }
}

/// Sessions are resumed from tickets alone: a cache of sessions would cost memory for each client that ever came.
fn server_config(files: &CertificateFiles) -> Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(&files.chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read the certificate {}", files.chain.display()))?;
    ensure!(!chain.is_empty(), "{} holds no certificate in PEM form", files.chain.display());
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("cannot read the private key {}", files.key.display()))?;
    warn_if_exposed(&files.key);
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .context("TLS cannot be set up")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| {
            format!(
                "cannot use the certificate {} with the key {}",
                files.chain.display(),
                files.key.display()
            )
        })?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // new with each certificate: a resumed session would not see that the certificate changed
    config.ticketer = aws_lc_rs::Ticketer::new().context("TLS session tickets cannot be set up")?;
    // clients that resume at all use the newest ticket
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// The certificate that Weir made for itself, now or at an earlier start.
fn made_certificate(data_dir: &Path) -> Result<CertificateFiles> {
    let _lock = lock(data_dir)?;
    let files =
        CertificateFiles { chain: data_dir.join("server-cert.pem"), key: data_dir.join("server-key.pem") };
    match (files.chain.exists(), files.key.exists()) {
        (true, true) => return Ok(files),
        (false, false) => {}
        (chain, _) => {
            let (there, missing) =
                if chain { (&files.chain, &files.key) } else { (&files.key, &files.chain) };
            bail!(
                "{} is there, but {} is missing: put it back, or remove both and they are made anew",
                there.display(),
                missing.display()
            );
        }
    }
    let authority_key = KeyPair::generate().context("no key could be made")?;
    let mut authority = valid_now(CertificateParams::default());
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(DnType::CommonName, "Weir auto-generated authority");
    let authority_certificate =
        authority.self_signed(&authority_key).context("no certificate could be made")?;

    let server_key = KeyPair::generate().context("no key could be made")?;
    let mut server = valid_now(named(host_name()));
    server.distinguished_name.push(DnType::CommonName, "Weir auto-generated server");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let issuer = Issuer::from_params(&authority, &authority_key);
    let certificate = server.signed_by(&server_key, &issuer).context("no certificate could be made")?;

    write_new(&data_dir.join("ca-key.pem"), &authority_key.serialize_pem(), Readers::Owner)?;
    write_new(&data_dir.join("ca.pem"), &authority_certificate.pem(), Readers::All)?;
    write_new(&files.key, &server_key.serialize_pem(), Readers::Owner)?;
    write_new(&files.chain, &certificate.pem(), Readers::All)?;
    tracing::info!(
        certificate = %files.chain.display(),
        ca = %data_dir.join("ca.pem").display(),
        "made a TLS certificate, since none is configured"
    );
    Ok(files)
}

/// The RSA key that Weir made for itself, now or at an earlier start.
fn made_rsa(data_dir: &Path) -> Result<PathBuf> {
    let _lock = lock(data_dir)?;
    let path = data_dir.join("private_key.pem");
    if path.exists() {
        return Ok(path);
    }
    let pair = RsaKeyPair::generate().context("no RSA key could be made")?;
    let public = data_dir.join("public_key.pem");
    write_new(&public, pair.public_pem(), Readers::All)?;
    write_new(&path, &pair.private_pem().context("no RSA key could be made")?, Readers::Owner)?;
    tracing::info!(public_key = %public.display(), "made an RSA key pair, since none is configured");
    Ok(path)
}

/// What a client on this machine, or one that knows the host's name, calls this server.
fn named(host: Option<String>) -> CertificateParams {
    let local = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let names: Vec<String> = local.iter().cloned().chain(host.filter(|host| host != "localhost")).collect();
    // a host may be called something that is no DNS name
    CertificateParams::new(names).or_else(|_| CertificateParams::new(local)).unwrap_or_default()
}

fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    let is_name = !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    is_name.then(|| name.to_owned())
}

fn valid_now(mut params: CertificateParams) -> CertificateParams {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch.saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + (since_epoch + VALIDITY);
    params
}

/// Two processes that start together do not make keys at the same time. Held until dropped.
fn lock(data_dir: &Path) -> Result<File> {
    fs::create_dir_all(data_dir).with_context(|| {
        format!(
            "cannot make the data directory {} (set `data_dir` to one that Weir may write)",
            data_dir.display()
        )
    })?;
    let directory = File::open(data_dir).with_context(|| format!("cannot open {}", data_dir.display()))?;
    directory.lock().with_context(|| format!("cannot lock {}", data_dir.display()))?;
    Ok(directory)
}

#[derive(Clone, Copy)]
enum Readers {
    Owner,
    All,
}

/// Writes a file whole or not at all.
fn write_new(path: &Path, text: &str, readers: Readers) -> Result<()> {
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::All => 0o644,
    };
    let unfinished = path.with_extension("unfinished");
    let write = || {
        // left by a start that was cut short: its mode may be another
        if unfinished.exists() {
            fs::remove_file(&unfinished)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().with_context(|| {
        format!("cannot write {} (set `data_dir` to a directory that Weir may write)", path.display())
    })
}

/// A private key that everybody on the machine may read is served nevertheless: the operator may have reasons.
fn warn_if_exposed(path: &Path) {
    if fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o004 != 0) {
        tracing::warn!(file = %path.display(), "a private key can be read by every user of this machine");
    }
}

/// Carries the bytes of a TLS handshake between two ends without a socket, as many rounds as any handshake has.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's helper fails as its own lines do")]
pub(crate) fn shake_hands(client: &mut rustls::ClientConnection, server: &mut rustls::ServerConnection) {
    for _ in 0..4 {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        bytes.clear();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut bytes.as_slice()).unwrap();
        client.process_new_packets().unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(data_dir: &Path) -> KeyPlaces {
        KeyPlaces { data_dir: data_dir.to_owned(), certificate: None, rsa: None }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn missing_keys_are_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(&dir.path().join("new"));
        let first = places.rsa().unwrap();
        places.tls().unwrap();
        let names = [
            "ca.pem",
            "ca-key.pem",
            "server-cert.pem",
            "server-key.pem",
            "private_key.pem",
            "public_key.pem",
        ];
        let texts = || names.map(|name| fs::read_to_string(places.data_dir.join(name)).unwrap());
        let made = texts();
        places.tls().unwrap();
        assert_eq!(places.rsa().unwrap().public_pem(), first.public_pem());
        assert_eq!(texts(), made);
        assert_eq!(made[5], first.public_pem());
        for name in ["ca-key.pem", "server-key.pem", "private_key.pem"] {
            assert_eq!(mode(&places.data_dir.join(name)), 0o600, "{name}");
        }
        assert_eq!(fs::read_dir(&places.data_dir).unwrap().count(), names.len(), "nothing else is left");
    }

    #[test]
    fn half_of_a_pair_is_an_error_that_says_which_half() {
        for (name, missing) in [("server-cert.pem", "server-key.pem"), ("server-key.pem", "server-cert.pem")]
        {
            let dir = tempfile::tempdir().unwrap();
            places(dir.path()).tls().unwrap();
            fs::remove_file(dir.path().join(missing)).unwrap();
            let error = places(dir.path()).tls().unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(&format!("{missing} is missing")), "{error}");
        }
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let good = places(dir.path());
        good.tls().unwrap();
        good.rsa().unwrap();
        places(other.path()).tls().unwrap();
        let path = |name: &str| dir.path().join(name);
        let empty = path("empty.pem");
        fs::write(&empty, "").unwrap();
        let cases = [
            (path("absent.pem"), path("server-key.pem"), "absent.pem"),
            (empty.clone(), path("server-key.pem"), "holds no certificate"),
            (path("server-cert.pem"), empty.clone(), "empty.pem"),
            (path("server-cert.pem"), other.path().join("server-key.pem"), "with the key"),
        ];
        for (chain, key, expected) in cases {
            let certificate = Some(CertificateFiles { chain, key });
            let error = KeyPlaces { certificate, ..good.clone() }.tls().unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
        for (file, expected) in [(path("absent.pem"), "absent.pem"), (empty, "BEGIN PRIVATE KEY")] {
            let error = KeyPlaces { rsa: Some(file), ..good.clone() }.rsa().unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }

    #[test]
    fn a_client_that_trusts_the_made_authority_reaches_the_server_by_any_of_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let server = places(dir.path()).tls().unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(dir.path().join("ca.pem")).unwrap()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Arc::new(client);
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        for name in names.into_iter().chain(host_name()) {
            let mut client =
                rustls::ClientConnection::new(Arc::clone(&client), name.clone().try_into().unwrap()).unwrap();
            let mut server = rustls::ServerConnection::new(Arc::clone(&server)).unwrap();
            shake_hands(&mut client, &mut server);
            assert!(!client.is_handshaking() && !server.is_handshaking(), "{name}");
        }
    }
}
