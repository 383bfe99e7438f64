//! A certificate authority and a server certificate for tests, made once and kept in `.weir/tls`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::home::{home, lock, make_folder, remove_folder};

/// PEM files of a server that calls itself `localhost`, `127.0.0.1` and `::1`.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority that clients are to trust.
    pub ca: PathBuf,
    /// The server's certificate, signed by the authority.
    pub certificate: PathBuf,
    /// The server's private key.
    pub key: PathBuf,
}

impl Certificates {
    fn in_folder(folder: &Path) -> Certificates {
        Certificates {
            ca: folder.join("ca.pem"),
            certificate: folder.join("server-cert.pem"),
            key: folder.join("server-key.pem"),
        }
    }
}

/// The certificates that test servers offer.
pub fn certificates() -> Result<Certificates> {
    let _lock = lock("tls")?;
    let folder = home().join("tls");
    if !folder.exists() {
        let unfinished = folder.with_extension("unfinished");
        remove_folder(&unfinished)?;
        make_folder(&unfinished)?;
        generate(&Certificates::in_folder(&unfinished))?;
        fs::rename(&unfinished, &folder).with_context(|| format!("cannot write {}", folder.display()))?;
    }
    Ok(Certificates::in_folder(&folder))
}

/// Makes an authority and a certificate signed by it. Both are valid far beyond any test (rcgen's default:
/// the years 1975 to 4096).
fn generate(into: &Certificates) -> Result<()> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(DnType::CommonName, "Weir test authority");
    let authority_key = KeyPair::generate().context("cannot make a key")?;
    let authority_certificate = authority.self_signed(&authority_key).context("cannot sign the authority")?;

    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut server = CertificateParams::new(names).context("cannot name the server")?;
    server.distinguished_name.push(DnType::CommonName, "Weir test server");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let server_key = KeyPair::generate().context("cannot make a key")?;
    let issuer = Issuer::from_params(&authority, &authority_key);
    let certificate =
        server.signed_by(&server_key, &issuer).context("cannot sign the server's certificate")?;

    let write = |path: &Path, text: String| {
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write(&into.ca, authority_certificate.pem())?;
    write(&into.certificate, certificate.pem())?;
    write(&into.key, server_key.serialize_pem())?;
    fs::set_permissions(&into.key, fs::Permissions::from_mode(0o600)).context("cannot protect the key")
}
