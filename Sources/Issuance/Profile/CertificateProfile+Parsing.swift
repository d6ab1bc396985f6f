// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

extension CertificateProfile {
    /// Largest profile file in bytes: those in `pki/profiles` have less than 2 KiB.
    package static let fileBytesMax = 64 * 1024

    /// Reads a file as in `pki/profiles`, strictly.
    ///
    /// A file can only narrow: it says what the code makes, member by member, and may have
    /// `lifetimeSecondsMax`, fewer `subjectKeys`, for those who have DNS names `dnsNames` with `max`
    /// and `suffixes`, and for `authority` `nameConstraints`. What it says and the code does not make is
    /// refused: nobody is to believe that a file changes what it does not.
    ///
    /// - Parameters:
    ///   - bytes: JSON, at most `fileBytesMax`.
    ///   - kind: The kind after which the file is named.
    /// - Throws: `ProfileError` naming the member.
    package init(parsing bytes: [UInt8], kind: ProfileKind) throws(ProfileError) {
        let value: JSONValue
        do throws(JSONError) {
            value = try JSONValue(parsing: bytes, bytesMax: Self.fileBytesMax)
        } catch { throw .json(error) }
        guard case .object(var members) = value else { throw .notObject }
        for (name, fixed) in ProfileStatement.members(of: kind).sorted(by: { $0.key < $1.key }) {
            guard let said = members.removeValue(forKey: name) else { throw .memberMissing(name) }
            guard said == fixed else { throw .profileWidens(name) }
        }
        guard members.removeValue(forKey: "purpose")?.text != nil else {
            throw .memberMissing("purpose")
        }
        let limits = try ProfileLimits(taking: &members, kind: kind)
        if let name = members.keys.min() { throw .memberUnknown(name) }
        self = kind.builtIn.narrowed(by: limits)
    }
}

/// Why a profile file is not taken.
package enum ProfileError: Error, Hashable, Sendable, CustomStringConvertible {
    case json(JSONError)
    case memberMalformed(String, remedy: String)
    case memberMissing(String)
    case memberUnknown(String)
    case notObject
    /// The member says something else than the code makes, or allows more.
    case profileWidens(String)

    package var description: String {
        switch self {
        case .json(let error): error.description
        case .memberMalformed(let name, let remedy): "\(name): \(remedy)"
        case .memberMissing(let name): "\(name) is missing; copy it from pki/profiles"
        case .memberUnknown(let name):
            "\(name) is no member of this profile; it would have no effect"
        case .notObject: "a profile is a JSON object"
        case .profileWidens(let name):
            """
            \(name) is not what this release makes (profileWidens): a file can only narrow, by \
            lifetimeSecondsMax, subjectKeys, dnsNames and nameConstraints; copy \(name) from \
            pki/profiles
            """
        }
    }
}

extension ProfileLimits {
    /// Takes the members that narrow out of a file's.
    fileprivate init(
        taking members: inout [String: JSONValue],
        kind: ProfileKind
    ) throws(ProfileError) {
        let lifetime = try members.removeValue(forKey: "lifetimeSecondsMax").map(Self.lifetime)
        guard let keys = members.removeValue(forKey: "subjectKeys") else {
            throw .memberMissing("subjectKeys")
        }
        var count: Int?
        var suffixes: [String]?
        if ProfileStatement.hasDNSNames(kind), let names = members.removeValue(forKey: "dnsNames") {
            guard case .object(var rules) = names else {
                throw .memberMalformed("dnsNames", remedy: "write an object")
            }
            count = try rules.removeValue(forKey: "max").map(Self.count)
            suffixes = try rules.removeValue(forKey: "suffixes").map(Self.suffixes)
            if let name = rules.keys.min() { throw .memberUnknown("dnsNames.\(name)") }
        }
        var constrainsNames = false
        if kind == .authority, let value = members.removeValue(forKey: "nameConstraints") {
            guard case .boolean(let isConstrained) = value else {
                throw .memberMalformed("nameConstraints", remedy: "write true or false")
            }
            constrainsNames = isConstrained
        }
        self.init(
            lifetimeMax: lifetime,
            keys: try Self.keys(keys, kind: kind),
            dnsNamesMax: count,
            dnsSuffixes: suffixes,
            constrainsNames: constrainsNames
        )
    }

    private static func lifetime(_ value: JSONValue) throws(ProfileError) -> Duration {
        let least = SVIDLifetimes.svidMin.components.seconds
        let most = SVIDLifetimes.authorityMax.components.seconds
        guard case .number(let number) = value, let seconds = number.unsigned,
            (UInt64(least)...UInt64(most)).contains(seconds)
        else {
            throw .memberMalformed(
                "lifetimeSecondsMax",
                remedy: "write a whole number of seconds from \(least) to \(most)"
            )
        }
        return .seconds(Int64(seconds))
    }

    private static func count(_ value: JSONValue) throws(ProfileError) -> Int {
        guard case .number(let number) = value, let count = number.unsigned else {
            throw .memberMalformed("dnsNames.max", remedy: "write a whole number")
        }
        guard count <= UInt64(Issuer.dnsNamesMax) else { throw .profileWidens("dnsNames.max") }
        return Int(count)
    }

    private static func suffixes(_ value: JSONValue) throws(ProfileError) -> [String] {
        let remedy = "write 1 to \(suffixesMax) DNS names in lower case, without a dot in front"
        guard case .array(let values) = value, (1...suffixesMax).contains(values.count) else {
            throw .memberMalformed("dnsNames.suffixes", remedy: remedy)
        }
        var suffixes: [String] = []
        for value in values {
            guard let text = value.text, DNSName.isWellFormed(text) else {
                throw .memberMalformed("dnsNames.suffixes", remedy: remedy)
            }
            suffixes.append(text)
        }
        return suffixes
    }

    private static func keys(
        _ value: JSONValue,
        kind: ProfileKind
    ) throws(ProfileError) -> [SubjectKeyKind]? {
        let builtIn = ProfileStatement.keys(of: kind)
        guard case .array(let values) = value, !values.isEmpty else {
            throw .memberMalformed("subjectKeys", remedy: "name at least one kind of key")
        }
        var kinds: [SubjectKeyKind] = []
        for value in values {
            guard let text = value.text, let key = SubjectKeyKind(parsing: text) else {
                throw .memberMalformed(
                    "subjectKeys",
                    remedy: "write kinds of key as in pki/profiles, such as \"P-256\""
                )
            }
            guard builtIn.contains(where: { $0.includes(key) }) else {
                throw .profileWidens("subjectKeys")
            }
            kinds.append(key)
        }
        // Then nothing has to be looked at twice.
        return kinds == builtIn ? nil : kinds
    }
}
