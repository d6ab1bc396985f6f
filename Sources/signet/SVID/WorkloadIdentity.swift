// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos
package import Foundation
package import SPIFFE

/// Why an answer of the Workload API is not used.
package enum WorkloadIdentityError: Error, Hashable, Sendable, CustomStringConvertible {
    case bundleMalformed
    case federatedBundleMalformed(String)
    case chainMalformed
    case doesNotVerify(PeerVerificationError)
    case idDiffers(named: String)
    case keyMissing
    case leafMalformed(LeafCertificateError)

    package var description: String {
        switch self {
        case .bundleMalformed: "the bundle is not a list of certificates"
        case .federatedBundleMalformed(let name):
            "the bundle of \(name) is not a list of certificates of a trust domain"
        case .chainMalformed: "the SVID is not a list of certificates"
        case .doesNotVerify(let error): "the SVID does not verify with its own bundle: \(error)"
        case .idDiffers(let named): "the SVID is not of the identity it is named for, \(named)"
        case .keyMissing: "the SVID comes without a private key"
        case .leafMalformed(let error): "the SVID cannot be read: \(error)"
        }
    }
}

/// One identity as the Workload API gave it, checked.
package struct WorkloadIdentity: Hashable, Sendable {
    package let id: SPIFFEID
    package let hint: String
    /// DER, leaf first.
    package let chain: [[UInt8]]
    /// PKCS#8 DER.
    package let privateKey: [UInt8]
    /// DER of the authorities of the identity's own trust domain.
    package let authorities: [[UInt8]]
    /// DER of the authorities of each trust domain that the process federates with; a response has
    /// them for all of its identities together.
    package let federated: [TrustDomain: [[UInt8]]]
    package let leaf: LeafCertificate

    /// Reads a response.
    ///
    /// - Returns: Each identity, in the agent's order.
    /// - Throws: `WorkloadIdentityError`: a response that cannot be read entirely is not used.
    package static func all(
        of response: X509SVIDResponse
    ) throws(WorkloadIdentityError) -> [Self] {
        var federated: [TrustDomain: [[UInt8]]] = [:]
        for (name, bundle) in response.federatedBundles {
            // The name becomes that of a file: a trust domain's has no / in it.
            guard let id = try? SPIFFEID(name), id.path.isEmpty,
                let authorities = ConcatenatedDER.split(Array(bundle))
            else { throw .federatedBundleMalformed(name) }
            // A file without any is one that programs refuse to load.
            if !authorities.isEmpty { federated[id.trustDomain] = authorities }
        }
        var identities: [Self] = []
        for message in response.svids {
            identities.append(try Self(message, federated: federated))
        }
        return identities
    }

    /// Reads one element of a response.
    ///
    /// - Parameters:
    ///   - message: The element.
    ///   - federated: What the response has for other trust domains.
    /// - Throws: `WorkloadIdentityError`.
    package init(
        _ message: ControlAPIProtos.X509SVID,
        federated: [TrustDomain: [[UInt8]]] = [:]
    ) throws(WorkloadIdentityError) {
        self.federated = federated
        guard let chain = ConcatenatedDER.split(Array(message.x509Svid)), let first = chain.first
        else { throw .chainMalformed }
        guard let authorities = ConcatenatedDER.split(Array(message.bundle)),
            !authorities.isEmpty
        else { throw .bundleMalformed }
        guard !message.x509SvidKey.isEmpty else { throw .keyMissing }
        do throws(LeafCertificateError) {
            leaf = try LeafCertificate(der: first)
        } catch {
            throw .leafMalformed(error)
        }
        guard let id = leaf.spiffeID, id.description == message.spiffeID else {
            throw .idDiffers(named: message.spiffeID)
        }
        self.id = id
        hint = message.hint
        self.chain = chain
        privateKey = Array(message.x509SvidKey)
        self.authorities = authorities
    }

    /// Checks that a peer with the same bundle would accept the chain now.
    ///
    /// - Throws: `WorkloadIdentityError.doesNotVerify`.
    package func verify(now: Date) async throws(WorkloadIdentityError) {
        let bundle = TrustBundle(
            trustDomain: id.trustDomain,
            x509Authorities: authorities,
            x509Intermediates: [],
            sequenceNumber: 0,
            refreshHintSeconds: 0
        )
        do throws(PeerVerificationError) {
            _ = try await PeerVerifier(bundles: [id.trustDomain: bundle])
                .verify(chain: chain, now: now)
        } catch {
            throw .doesNotVerify(error)
        }
    }

    /// Hexadecimal, as the audit log has it.
    package var serial: String { Hexadecimal.text(leaf.serial) }

    package var chainPEM: String { chain.map { PEM.certificate(Data($0)) + "\n" }.joined() }
    package var privateKeyPEM: String { PEM.privateKey(Data(privateKey)) + "\n" }
    package var bundlePEM: String { Self.pem(authorities) }
    /// By name of the trust domain.
    package var federatedPEM: [String: String] {
        var texts: [String: String] = [:]
        for (trustDomain, authorities) in federated {
            texts[trustDomain.name] = Self.pem(authorities)
        }
        return texts
    }

    private static func pem(_ certificates: [[UInt8]]) -> String {
        certificates.map { PEM.certificate(Data($0)) + "\n" }.joined()
    }
}

/// Which of several identities a command takes.
package struct IdentityChoice: Hashable, Sendable {
    package var spiffeID: String?
    package var hint: String?

    /// Joins what was typed; with neither, the first identity is taken, which is the default one
    /// (Workload API section 4.3).
    package init(spiffeID: String? = nil, hint: String? = nil) {
        self.spiffeID = spiffeID
        self.hint = hint
    }

    /// The first identity that is meant; nil if there is none.
    package func first(of identities: [WorkloadIdentity]) -> WorkloadIdentity? {
        identities.first { identity in
            (spiffeID.map { $0 == identity.id.description } ?? true)
                && (hint.map { $0 == identity.hint } ?? true)
        }
    }
}

extension IdentityChoice {
    /// The identity meant, which a peer with its bundle would accept now.
    ///
    /// - Parameters:
    ///   - identities: What the agent gave.
    ///   - now: The wall clock.
    ///   - remedy: What to type when none of them is meant.
    /// - Returns: The one that is meant.
    /// - Throws: `CommandFailure` naming those there are, or the rule that the identity breaks.
    func verified(
        from identities: [WorkloadIdentity],
        now: Date,
        remedy: String
    ) async throws(CommandFailure) -> WorkloadIdentity {
        guard let identity = first(of: identities) else {
            let ids = identities.map(\.id.description).joined(separator: ", ")
            throw CommandFailure(
                "this process has no such identity; it has \(ids.isEmpty ? "none" : ids)",
                remedy: remedy
            )
        }
        do throws(WorkloadIdentityError) {
            try await identity.verify(now: now)
        } catch {
            throw CommandFailure("\(error)", remedy: "It is not used; see the agent's log.")
        }
        return identity
    }
}

/// DER values one after the other, as the Workload API sends certificates.
package enum ConcatenatedDER {
    /// Splits the bytes into SEQUENCEs; nil unless they are exactly that.
    package static func split(_ bytes: [UInt8]) -> [[UInt8]]? {
        var values: [[UInt8]] = []
        var rest = bytes[...]
        while let first = rest.first {
            guard first == 0x30, let length = length(of: rest), length <= rest.count else {
                return nil
            }
            values.append(Array(rest.prefix(length)))
            rest = rest.dropFirst(length)
        }
        return values
    }

    /// Header and content of the value at the start (X.690 section 8.1.3); nil if the length is
    /// not written in the one form that DER allows, or has more than three bytes.
    private static func length(of bytes: ArraySlice<UInt8>) -> Int? {
        guard let second = bytes.dropFirst().first else { return nil }
        if second < 0x80 { return 2 + Int(second) }
        let count = Int(second & 0x7F)
        let digits = bytes.dropFirst(2).prefix(count)
        guard (1...3).contains(count), digits.count == count, digits.first != 0 else { return nil }
        let length = digits.reduce(0) { $0 << 8 | Int($1) }
        return length >= 0x80 ? 2 + count + length : nil
    }
}
