// SPDX-License-Identifier: Apache-2.0

/// The bundles of several trust domains in one JSON document (SPIFFE Trust Domain and Bundle,
/// "bundle map"): all of it is read, or nothing.
package struct BundleMapDocument: Hashable, Sendable {
    /// Longest document: sixteen bundles of the largest size, or hundreds of usual ones.
    package static let bytesMax = 16 * BundleDocument.bytesMax
    /// Most trust domains of one document: nobody reviews more federations than that.
    package static let trustDomainsMax = 1000

    /// Each bundle, as if it had no hint: those inside count for nothing, whatever they are (row B-6).
    package let bundles: [TrustDomain: BundleDocument]

    /// Reads a document.
    ///
    /// - Throws: `BundleMapError`; the last good document stays in force.
    package init(parsing bytes: [UInt8]) throws(BundleMapError) {
        let value: JSONValue
        do throws(JSONError) {
            value = try JSONValue(parsing: bytes, bytesMax: Self.bytesMax)
        } catch {
            throw .notJSON(error)
        }
        guard case .object(let members) = value, case .object(let map)? = members["trust_domains"]
        else { throw .trustDomainsMissing }
        guard map.count <= Self.trustDomainsMax else { throw .trustDomainsTooMany }
        var bundles: [TrustDomain: BundleDocument] = [:]
        // In one order, so that the same document is refused for the same reason.
        for (name, value) in map.sorted(by: { $0.key < $1.key }) {
            let trustDomain: TrustDomain
            do throws(SPIFFEIDError) { trustDomain = try TrustDomain(name) } catch {
                throw .trustDomainMalformed(error)
            }
            do throws(BundleDocumentError) {
                bundles[trustDomain] = try BundleDocument(Self.withoutHint(value))
            } catch {
                throw .bundle(trustDomain, error)
            }
        }
        self.bundles = bundles
    }

    /// What holds is how often the map is fetched.
    private static func withoutHint(_ bundle: JSONValue) -> JSONValue {
        guard case .object(var members) = bundle else { return bundle }
        members["spiffe_refresh_hint"] = nil
        return .object(members)
    }
}

/// Why a bundle map is refused.
package enum BundleMapError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The bundle of one of the trust domains is refused.
    case bundle(TrustDomain, BundleDocumentError)
    case notJSON(JSONError)
    case trustDomainMalformed(SPIFFEIDError)
    case trustDomainsMissing
    case trustDomainsTooMany

    package var description: String {
        switch self {
        case .bundle(let trustDomain, let error): "trust domain \(trustDomain): \(error)"
        case .notJSON(let error): "the bundle map: \(error)"
        case .trustDomainMalformed(let error):
            "a name in \"trust_domains\" is no trust domain: \(error)"
        case .trustDomainsMissing: "the bundle map has no object \"trust_domains\""
        case .trustDomainsTooMany:
            "the bundle map has more than \(BundleMapDocument.trustDomainsMax) trust domains"
        }
    }
}
