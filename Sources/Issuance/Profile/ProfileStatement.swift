// SPDX-License-Identifier: Apache-2.0

internal import SPIFFE

/// How long what a ceremony makes lives.
package enum CeremonyLifetime {
    /// Ten years: whoever has the root in a bundle need not follow anything for so long.
    package static let root: Duration = .seconds(10 * 365 * 86_400)
    /// A year: a ceremony is due before it ends.
    package static let intermediate: Duration = .seconds(365 * 86_400)
}

/// What profile files say of everything that no file can change, as JSON.
///
/// The tests compare it with the files in `pki/profiles`, and these with issued certificates.
enum ProfileStatement {
    static func hasDNSNames(_ kind: ProfileKind) -> Bool { kind == .server || kind == .workload }

    /// The keys that are certified; an authority's are those of `AuthorityKeyType`.
    static func keys(of kind: ProfileKind) -> [SubjectKeyKind] {
        let (least, most) = (SubjectPublicKey.rsaModulusBitsMin, SubjectPublicKey.rsaModulusBitsMax)
        return kind.builtIn.isAuthority
            ? [.p256, .p384, .rsa(bits: least...least), .rsa(bits: most...most)]
            : [.p256, .p384, .rsa(bits: least...most)]
    }

    /// The members that have to be there with exactly these values.
    static func members(of kind: ProfileKind) -> [String: JSONValue] {
        let lifetimes = SVIDLifetimes.standard
        let (path, lifetime): (String, Duration) =
            switch kind {
            case .agent: ("/signet/agent/<name>", lifetimes.agent)
            case .authority, .root: ("", lifetimes.authority)
            case .intermediate: ("", CeremonyLifetime.intermediate)
            case .server: ("/signet/server/<id>", lifetimes.server)
            case .upstreamRoot: ("", CeremonyLifetime.root)
            case .workload: ("/<path of the registration entry>", lifetimes.workload)
            }
        return [
            "role": .string(kind.rawValue),
            "spiffeID": .string("spiffe://<trust domain>\(path)"),
            // What a server does that says nothing else: its configuration has the lifetimes.
            "lifetimeSeconds": .number(JSONNumber(lifetime.components.seconds)),
            "backdateSeconds": .number(JSONNumber(lifetimes.backdate.components.seconds)),
            "version": .number(JSONNumber(3)),
            "serialBytes": .number(JSONNumber(17)),
            "signatureAlgorithms": .object([
                "ec-p256": .string("1.2.840.10045.4.3.2"),
                "ec-p384": .string("1.2.840.10045.4.3.3"),
                "rsa-2048": .string("1.2.840.113549.1.1.11"),
                "rsa-4096": .string("1.2.840.113549.1.1.11"),
            ]),
            "subjectIsEmpty": .boolean(!kind.builtIn.isAuthority),
            "isSelfSigned": .boolean(kind.builtIn.isSelfSigned),
            "extensions": .array(extensions(of: kind)),
        ]
    }

    private static func extensions(of kind: ProfileKind) -> [JSONValue] {
        let pathLength = kind.builtIn.pathLength
        let isAuthority = pathLength != nil
        var result = [
            described(
                "keyUsage",
                "2.5.29.15",
                isCritical: true,
                isAuthority ? ["keyCertSign", "cRLSign"] : ["digitalSignature"]
            )
        ]
        if !isAuthority {
            result.append(
                described(
                    "extendedKeyUsage",
                    "2.5.29.37",
                    isCritical: false,
                    ["serverAuth", "clientAuth"]
                )
            )
        }
        let names = isAuthority ? "one URI: the trust domain's SPIFFE ID" : "one URI: the SPIFFE ID"
        return result + [
            described(
                "basicConstraints",
                "2.5.29.19",
                isCritical: true,
                pathLength.map { ["cA TRUE", "pathLenConstraint \($0)"] } ?? ["cA FALSE"]
            ),
            described(
                "subjectKeyIdentifier",
                "2.5.29.14",
                isCritical: false,
                ["RFC 7093 section 2 method 1"]
            ),
            described("authorityKeyIdentifier", "2.5.29.35", isCritical: false, ["keyIdentifier"]),
            described(
                "subjectAltName",
                "2.5.29.17",
                isCritical: !isAuthority,
                hasDNSNames(kind) ? [names, "DNS names, at most \(Issuer.dnsNamesMax)"] : [names]
            ),
        ]
    }

    private static func described(
        _ name: String,
        _ identifier: String,
        isCritical: Bool,
        _ values: [String]
    ) -> JSONValue {
        .object([
            "oid": .string(identifier),
            "name": .string(name),
            "critical": .boolean(isCritical),
            "values": .array(values.map { .string($0) }),
        ])
    }
}
