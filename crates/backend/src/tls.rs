//! TLS to servers: as strict as the namespace demands.

use std::{fmt, path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use weir_catalog::slice::{BackendTls, BackendTlsMode};

/// Why TLS to the servers of a slice cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds no PEM of the kind.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// rustls refuses the combination.
    #[error("{0}")]
    Config(#[from] rustls::Error),
}

/// TLS to the servers of a slice.
#[derive(Debug)]
pub struct TlsSettings {
    /// For the handshake, which checks signatures but not whose they are.
    pub config: Arc<ClientConfig>,
    check: Check,
    algorithms: WebPkiSupportedAlgorithms,
}

/// TLS settings for servers; `None` if TLS is off.
///
/// # Errors
/// A named file cannot be used.
pub fn tls_settings(tls: &BackendTls) -> Result<Option<Arc<TlsSettings>>, TlsError> {
    let check = match tls.mode {
        BackendTlsMode::Off => return Ok(None),
        BackendTlsMode::Preferred | BackendTlsMode::Required => Check::Nothing,
        BackendTlsMode::VerifyCa => Check::Chain(roots(tls)?),
        BackendTlsMode::VerifyIdentity => Check::ChainAndName(roots(tls)?),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate { algorithms }));
    let config = match &tls.client_certificate {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = certificates(chain)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|e| file_error(key, &e))?;
            builder.with_client_auth_cert(chain, key)?
        }
    };
    Ok(Some(Arc::new(TlsSettings { config: Arc::new(config), check, algorithms })))
}

impl TlsSettings {
    /// Checks what the mode demands of a server's certificate, no more. Done after the handshake, so that a login to
    /// the wrong server can be ended in good form: a server counts broken handshakes against the host.
    ///
    /// # Errors
    /// The chain does not end at a known authority, or the name is another's.
    pub fn check(
        &self,
        chain: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
    ) -> Result<(), rustls::Error> {
        let roots = match &self.check {
            Check::Nothing => return Ok(()),
            Check::Chain(roots) | Check::ChainAndName(roots) => roots,
        };
        let Some((end_entity, intermediates)) = chain.split_first() else {
            return Err(rustls::Error::NoCertificatesPresented);
        };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let now = UnixTime::now();
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        if matches!(self.check, Check::ChainAndName(_)) {
            verify_server_name(&certificate, server_name).map_err(|error| {
                let name = server_name.to_str();
                rustls::Error::General(format!(
                    "the server's certificate does not name {name} as a subject alternative name ({error}); \
                     certificates that a MySQL server made for itself name nobody: give the server one that names it, \
                     or use tls mode \"verify-ca\""
                ))
            })?;
        }
        Ok(())
    }
}

fn file_error(path: &Path, why: &dyn fmt::Display) -> TlsError {
    TlsError::File { path: path.display().to_string(), why: why.to_string() }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let list = read.map_err(|e| file_error(path, &e))?;
    if list.is_empty() {
        return Err(file_error(path, &"holds no PEM certificate"));
    }
    Ok(list)
}

fn roots(tls: &BackendTls) -> Result<RootCertStore, TlsError> {
    let Some(path) = &tls.ca else {
        return Err(TlsError::File {
            path: "tls.ca".into(),
            why: "verify-ca and verify-identity need a file of certificate authorities".into(),
        });
    };
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|e| file_error(path, &e))?;
    }
    Ok(store)
}

#[derive(Debug)]
enum Check {
    Nothing,
    Chain(RootCertStore),
    ChainAndName(RootCertStore),
}

/// Takes any certificate during the handshake: [`TlsSettings::check`] looks at it afterwards. Signatures of the
/// handshake are checked, so whoever answers has the key of the certificate shown.
#[derive(Debug)]
struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
