// SPDX-License-Identifier: Apache-2.0

internal import SPIFFE

/// A bundle that is read is written as a document that is read as the same bundle, and so is each
/// bundle of a map.
enum BundleDocumentProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        if let map = try? BundleMapDocument(parsing: input) {
            for (trustDomain, document) in map.bundles {
                try check(document, of: trustDomain)
            }
            return true
        }
        guard let document = try? BundleDocument(parsing: input),
            let trustDomain = try? TrustDomain("example.org")
        else { return false }
        try check(document, of: trustDomain)
        return true
    }

    private static func check(
        _ document: BundleDocument,
        of trustDomain: TrustDomain
    ) throws(PropertyBroken) {
        let bundle = document.bundle(of: trustDomain)
        let again = try expectSuccess("the bundle is written and read") {
            try BundleDocument(parsing: bundle.document())
        }
        try expect(again.bundle(of: trustDomain) == bundle, "the bundle reads as another")
        try expect(again.leftOut.isEmpty, "what was written is left out: \(again.leftOut)")
        let keySet = try expectSuccess("the keys are written and read") {
            try BundleDocument(parsing: bundle.jwtKeySet())
        }
        try expect(
            keySet.jwtAuthorities == bundle.jwtAuthorities && keySet.x509Authorities.isEmpty,
            "the keys for JWT-SVIDs are not those of the bundle"
        )
        for authority in bundle.jwtAuthorities {
            let other = try? JSONWebKey(
                subjectPublicKeyInfo: authority.key.subjectPublicKeyInfo
            )
            try expect(other == authority.key, "the key has another form of another key")
        }
    }
}
