// SPDX-License-Identifier: Apache-2.0

extension TrustBundle {
    /// The bundle as a SPIFFE bundle document, for the bundle endpoint (section 4).
    ///
    /// First the X.509 authorities, then the JWT ones, each in its order: the same bundle has the
    /// same bytes.
    ///
    /// - Throws: `BundleDocumentError.authorityUnreadable`: nothing is published in part.
    package func document() throws(BundleDocumentError) -> [UInt8] {
        var keys: [JSONValue] = []
        for (index, der) in x509Authorities.enumerated() {
            guard let certificate = try? LeafCertificate(der: der),
                let key = try? JSONWebKey(subjectPublicKeyInfo: certificate.spkiBytes)
            else { throw .authorityUnreadable(index: index) }
            var members = key.members
            members["use"] = .string("x509-svid")
            members["x5c"] = .array([.string(Base64Form.standard.text(der))])
            keys.append(.object(members))
        }
        return JSONValue.object([
            "keys": .array(keys + jwtKeys),
            "spiffe_refresh_hint": .number(JSONNumber(refreshHintSeconds)),
            "spiffe_sequence": .number(JSONNumber(sequenceNumber)),
        ]).encoded
    }

    /// The JWT authorities alone, as the Workload API gives them (section 6.2.2; row A-7).
    package func jwtKeySet() -> [UInt8] { jwtAuthorities.keySet }

    private var jwtKeys: [JSONValue] { jwtAuthorities.members }
}

extension [JWTAuthority] {
    /// The keys as a JWK Set.
    var keySet: [UInt8] { JSONValue.object(["keys": .array(members)]).encoded }

    fileprivate var members: [JSONValue] {
        map { authority in
            var members = authority.key.members
            members["kid"] = .string(authority.keyID)
            members["use"] = .string("jwt-svid")
            if let algorithm = authority.algorithm {
                members["alg"] = .string(algorithm.rawValue)
            }
            return .object(members)
        }
    }
}
