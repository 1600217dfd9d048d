//! The authority: a key that signs certificates, and nothing else of the herd's.
//!
//! Makes keys and certificates in memory (X.509, RFC 5280; keys on the curve P-256, which every TLS
//! library knows). Files are the business of `make` and `files`, its callers.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};

use crate::wire::certificate::Validity;

/// What the authority is called in its certificate and in those that it signs.
const AUTHORITY_NAME: &str = "herd authority";

/// Something in PEM: the certificate is for everybody, the key for its owner alone.
pub struct Certified {
    /// The certificate.
    pub certificate: String,
    /// The key that belongs to it.
    pub key: String,
}

/// What signs the certificates of a herd.
pub struct Authority {
    key: KeyPair,
}

impl Authority {
    /// A new one. The error is the lack of random numbers.
    pub fn generate() -> Result<Self, String> {
        Ok(Self { key: KeyPair::generate().map_err(|e| e.to_string())? })
    }

    /// The authority of this key, in PEM. The error says what is wrong with it.
    pub fn from_key(pem: &str) -> Result<Self, String> {
        let key = KeyPair::from_pem(pem).map_err(|e| format!("no private key in PEM: {e}"))?;
        Ok(Self { key })
    }

    /// Its key, in PEM.
    pub fn key(&self) -> String {
        self.key.serialize_pem()
    }

    /// Its own certificate, in PEM: good for signing the certificates of servers, and not for a further
    /// authority below it.
    pub fn certificate(&self, validity: Validity) -> Result<String, String> {
        let mut params = draft(AUTHORITY_NAME, validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&self.key).map_err(|e| e.to_string())?;
        Ok(certificate.pem())
    }

    /// A new key for a server, and the certificate that says whose it is. It serves both ends of a link,
    /// since every server dials and is dialled.
    pub fn certify(&self, name: &str, validity: Validity) -> Result<Certified, String> {
        let mut params = draft(name, validity);
        params.subject_alt_names =
            vec![SanType::DnsName(name.try_into().map_err(|e: rcgen::Error| e.to_string())?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let authority = draft(AUTHORITY_NAME, validity);
        let issuer = Issuer::from_params(&authority, &self.key);
        let key = KeyPair::generate().map_err(|e| e.to_string())?;
        let certificate = params.signed_by(&key, &issuer).map_err(|e| e.to_string())?;
        Ok(Certified { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Whether a certificate (in DER) is that of this authority's key.
    pub fn is_of(&self, certificate: &[u8]) -> bool {
        let key = self.key.subject_public_key_info();
        certificate.windows(key.len()).any(|part| part == key)
    }
}

/// What is wrong with a server's name for a certificate, if anything is: TLS takes it for the name of a
/// host, and such a name neither ends in a hyphen nor is a number (RFC 1123, section 2.1).
pub fn name_fault(name: &str) -> Option<String> {
    let number = name.bytes().all(|byte| byte.is_ascii_digit());
    let fault = (number || name.ends_with('-')).then_some(if number {
        "a number"
    } else {
        "a name with a hyphen at its end"
    })?;
    Some(format!("no certificate can be for the server {name:?}: {fault} is no name of a host"))
}

fn draft(name: &str, validity: Validity) -> CertificateParams {
    // Up to the last moment that a certificate can tell, 9999-12-31T23:59:59Z.
    let moment = |seconds: i64| {
        let since_1970 = u64::try_from(seconds).unwrap_or(0).min(253_402_300_799);
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(since_1970)
    };
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) =
        (moment(validity.not_before), moment(validity.not_after));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
