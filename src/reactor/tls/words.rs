//! What rustls reports, in words for those who did not write it.
//!
//! Every kind of certificate fault has a sentence here, so no client and no log ever sees the debug form of a
//! rustls type. It decides nothing. Called by `session.rs`.

use rustls::{AlertDescription as Alert, CertificateError, Error, InvalidMessage};

/// Whose certificate an error is about, seen from here.
pub(super) const OURS: &str = "our";
pub(super) const SERVERS: &str = "the server's";
pub(super) const CLIENTS: &str = "the client's";

/// An error in words; `whose` is the owner of the certificate that it may be about.
pub(super) fn words(error: &Error, whose: &str) -> String {
    match error {
        Error::InvalidCertificate(fault) => {
            format!("{whose} certificate {}", certificate_fault(fault))
        }
        Error::InconsistentKeys(_) => format!("{whose} certificate is for another key"),
        Error::NoCertificatesPresented => format!("{whose} certificate is missing"),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "TLS: what the peer speaks is no TLS".to_owned()
        }
        Error::AlertReceived(alert) => match alert_meaning(*alert) {
            Some(meaning) => format!("TLS: {error}: {meaning}"),
            None => format!("TLS: {error}"),
        },
        other => format!("TLS: {other}"),
    }
}

/// What an alert says of our certificate.
fn alert_meaning(alert: Alert) -> Option<&'static str> {
    match alert {
        Alert::CertificateExpired => Some("by the peer's clock our certificate has expired"),
        Alert::CertificateRevoked => Some("the peer takes our certificate for revoked"),
        Alert::CertificateRequired | Alert::NoCertificate => Some("the peer wants a certificate"),
        Alert::UnknownCA
        | Alert::DecryptError
        | Alert::BadCertificate
        | Alert::CertificateUnknown
        | Alert::UnsupportedCertificate => Some("the peer does not believe our certificate"),
        _ => None,
    }
}

/// What is wrong with a certificate, to follow the words "the certificate".
fn certificate_fault(fault: &CertificateError) -> &'static str {
    use CertificateError as Fault;
    match fault {
        // A forger who has made an authority of the same name shows a bad signature.
        Fault::UnknownIssuer | Fault::BadSignature => "is not signed by a trusted authority",
        Fault::NotValidForName | Fault::NotValidForNameContext { .. } => "is for another name",
        Fault::Expired | Fault::ExpiredContext { .. } => "has expired",
        Fault::NotValidYet | Fault::NotValidYetContext { .. } => {
            "is not valid yet by the clock of this machine"
        }
        Fault::InvalidPurpose | Fault::InvalidPurposeContext { .. } => "is not for this use",
        Fault::BadEncoding => MALFORMED,
        Fault::Revoked => "has been revoked",
        Fault::UnhandledCriticalExtension => UNKNOWN_EXTENSION,
        Fault::UnknownRevocationStatus
        | Fault::ExpiredRevocationList
        | Fault::ExpiredRevocationListContext { .. } => "cannot be checked for revocation",
        #[expect(deprecated, reason = "rustls still has the first kind, and may report it")]
        Fault::UnsupportedSignatureAlgorithm
        | Fault::UnsupportedSignatureAlgorithmContext { .. }
        | Fault::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => UNKNOWN_ALGORITHM,
        Fault::InvalidOcspResponse => "comes with a proof of validity (OCSP) that is not good",
        Fault::Other(other) => chain_fault(&other.0.to_string()),
        _ => "is not valid",
    }
}

const MALFORMED: &str = "is malformed";
const UNKNOWN_EXTENSION: &str = "has a critical extension that this program does not know";
const UNKNOWN_ALGORITHM: &str = "is signed with an algorithm that this program does not support";

/// What the verifier below rustls (webpki) found, by the name of its kind. rustls hands these on as they
/// are, and the type is none of ours to match on.
fn chain_fault(kind: &str) -> &'static str {
    match kind {
        "CaUsedAsEndEntity" => "is an authority's own, which may sign but not speak for a server",
        "EndEntityUsedAsCa" => "is signed with one that is not an authority's",
        "PathLenConstraintViolated" => "has more authorities above it than they allow",
        "NameConstraintViolation" => "has a name that its authority may not give",
        "UnsupportedCertVersion" => "is of an old version; X.509 version 3 is needed",
        "UnsupportedCriticalExtension" => UNKNOWN_EXTENSION,
        "SignatureAlgorithmMismatch" => "names two different signature algorithms",
        "CertDistrusted" => "is of an authority that is no longer trusted",
        "MaximumNameConstraintComparisonsExceeded"
        | "MaximumPathBuildCallsExceeded"
        | "MaximumPathDepthExceeded"
        | "MaximumSignatureChecksExceeded" => {
            "has a chain of authorities that is too long to check"
        }
        kind if kind.starts_with("Malformed")
            || kind.starts_with("Invalid")
            || matches!(
                kind,
                "EmptyEkuExtension" | "ExtensionValueInvalid" | "UnsupportedNameType"
            ) =>
        {
            MALFORMED
        }
        _ => "is not valid",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{ExtendedKeyPurpose, OtherError};

    use super::*;

    fn other(kind: &'static str) -> CertificateError {
        CertificateError::Other(OtherError(Arc::new(std::io::Error::other(kind))))
    }

    #[test]
    fn every_certificate_fault_has_words_of_ours() {
        use CertificateError as Fault;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(7));
        let name = ServerName::try_from("example.com").unwrap();
        let presented = vec![ExtendedKeyPurpose::ClientAuth];
        #[expect(deprecated, reason = "all kinds are tried")]
        let faults = [
            (Fault::BadEncoding, "is malformed"),
            (Fault::Expired, "has expired"),
            (Fault::ExpiredContext { time, not_after: time }, "has expired"),
            (Fault::NotValidYet, "is not valid yet"),
            (Fault::NotValidYetContext { time, not_before: time }, "is not valid yet"),
            (Fault::Revoked, "revoked"),
            (Fault::UnhandledCriticalExtension, "critical extension"),
            (Fault::UnknownIssuer, "not signed by a trusted authority"),
            (Fault::UnknownRevocationStatus, "revocation"),
            (Fault::ExpiredRevocationList, "revocation"),
            (Fault::ExpiredRevocationListContext { time, next_update: time }, "revocation"),
            (Fault::BadSignature, "not signed by a trusted authority"),
            (Fault::UnsupportedSignatureAlgorithm, "algorithm"),
            (
                Fault::UnsupportedSignatureAlgorithmContext {
                    signature_algorithm_id: vec![1],
                    supported_algorithms: Vec::new(),
                },
                "algorithm",
            ),
            (
                Fault::UnsupportedSignatureAlgorithmForPublicKeyContext {
                    signature_algorithm_id: vec![1],
                    public_key_algorithm_id: vec![2],
                },
                "algorithm",
            ),
            (Fault::NotValidForName, "another name"),
            (
                Fault::NotValidForNameContext { expected: name, presented: Vec::new() },
                "another name",
            ),
            (Fault::InvalidPurpose, "not for this use"),
            (
                Fault::InvalidPurposeContext {
                    required: ExtendedKeyPurpose::ServerAuth,
                    presented,
                },
                "not for this use",
            ),
            (Fault::InvalidOcspResponse, "OCSP"),
            (Fault::ApplicationVerificationFailure, "is not valid"),
            (other("CaUsedAsEndEntity"), "may sign but not speak for a server"),
            (other("EndEntityUsedAsCa"), "not an authority's"),
            (other("UnsupportedCertVersion"), "old version"),
            (other("MaximumPathDepthExceeded"), "too long"),
            (other("NameConstraintViolation"), "may not give"),
            (other("MalformedExtensions"), "is malformed"),
            (other("SomethingNew"), "is not valid"),
        ];
        for (fault, expected) in faults {
            let debug = format!("{fault:?}");
            let told = words(&Error::InvalidCertificate(fault), SERVERS);
            assert!(
                told.starts_with("the server's certificate ") && told.contains(expected),
                "{told}"
            );
            assert!(!told.contains("Other") && !told.contains('{'), "{told}");
            assert!(!told.contains(&debug), "{told}");
        }
    }

    #[test]
    fn what_a_peer_says_of_our_certificate_is_told() {
        for (alert, meaning) in [
            (Alert::UnknownCA, "does not believe our certificate"),
            (Alert::CertificateExpired, "has expired"),
            (Alert::CertificateRevoked, "revoked"),
            (Alert::CertificateRequired, "wants a certificate"),
        ] {
            let told = words(&Error::AlertReceived(alert), SERVERS);
            assert!(told.starts_with("TLS: ") && told.ends_with(meaning), "{told}");
        }
        let told = words(&Error::AlertReceived(Alert::InternalError), SERVERS);
        assert!(told.starts_with("TLS: ") && !told.contains("certificate"), "{told}");
    }
}
