// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import Issuance
package import SPIFFE

/// What certifies the authorities of a server that has `upstream` in its configuration
/// (docs/decisions/0020-authorities-under-another.md).
///
/// Nothing that it says is believed: the server holds every chain to `UpstreamChain` before it
/// publishes an authority, and every `UpstreamTrust` to its limits.
package protocol UpstreamAuthority: Sendable {
    /// As in the configuration; a label of metrics.
    var kind: UpstreamKind { get }

    /// DER of what would be above the next authority, without the root; nil if that is told by its
    /// answers alone, or not at the moment.
    var above: [[UInt8]]? { get }

    /// Has a key certified as an authority's.
    ///
    /// Called through `UpstreamLine`, which waits no longer than `UpstreamLimits.answerDuration`. It
    /// ought to come back when it is cancelled; what a key in a module cannot. The same key may be
    /// asked for again.
    ///
    /// - Parameter request: The key and what its certificate shall be.
    /// - Returns: DER of the certificate for the key and of those above it, in order, without the
    ///   root.
    /// - Throws: `UpstreamError` in the words of what failed.
    func certify(_ request: UpstreamRequest) async throws(UpstreamError) -> [[UInt8]]

    /// Tells what is above, whole each time and first at once, whenever it changes.
    ///
    /// Returns when the task is cancelled, or when nothing will change any more; after an error it is
    /// called again.
    ///
    /// - Parameter tell: Called with each state, one at a time.
    /// - Throws: `UpstreamError` in the words of what failed; what was told before stays.
    func watch(
        _ tell: @Sendable (UpstreamTrust) async -> Void
    ) async throws(UpstreamError)
}

/// The kinds of upstream authority, as `upstream` writes them.
package enum UpstreamKind: String, Hashable, Sendable, CaseIterable {
    /// Another Signet server, through the agent of this machine.
    case agent
    /// A key of this server, certified by hand below an offline root.
    case disk
    /// A process at a Unix socket.
    case service
}

/// A key that shall be an authority's.
package struct UpstreamRequest: Hashable, Sendable {
    /// DER of a PKCS #10 request, signed with the key; it says what the certificate shall say.
    package let csr: [UInt8]
    /// How long from now the certificate shall be valid, in whole seconds.
    package let lifetimeSeconds: Int64
    /// The server that holds the key, for its subject; nil: this one.
    package let serverID: String?

    package init(csr: [UInt8], lifetimeSeconds: Int64, serverID: String? = nil) {
        (self.csr, self.lifetimeSeconds, self.serverID) = (csr, lifetimeSeconds, serverID)
    }
}

/// What an upstream says of what is above.
package struct UpstreamTrust: Hashable, Sendable {
    /// DER of each self-signed root; one that is missing is configured no more.
    package let roots: [[UInt8]]
    /// Key IDs (`KeyIdentifier`) that the upstream has revoked.
    package let revokedKeyIDs: Set<[UInt8]>

    package init(roots: [[UInt8]], revokedKeyIDs: Set<[UInt8]> = []) {
        (self.roots, self.revokedKeyIDs) = (roots, revokedKeyIDs)
    }

    /// DER of the roots that have not ended; of all if every one has, as a bundle without any would
    /// tell nobody more.
    ///
    /// Looked at anew each time: a clock that was ahead once must not have ended one for good.
    func roots(livingAt now: Date) -> [[UInt8]] {
        // What is wrong with one that cannot be read is said where it is published.
        let living = roots.filter { der in
            (try? LeafCertificate(der: der)).map { now <= $0.notAfter } ?? true
        }
        return living.isEmpty ? roots : living
    }

    /// The key IDs of roots.
    static func keyIDs(of roots: [[UInt8]]) -> Set<String> {
        Set(roots.compactMap { try? LeafCertificate(der: $0).keyIdentifier.description })
    }

    /// What is wrong with it, so that the last one stays; nil if nothing is.
    ///
    /// - Parameter trustDomain: Whose roots they have to be.
    /// - Returns: A sentence.
    package func problem(of trustDomain: TrustDomain) -> String? {
        if roots.isEmpty { return "the upstream names no root" }
        if roots.count > UpstreamLimits.rootsMax {
            return "the upstream names more than \(UpstreamLimits.rootsMax) roots"
        }
        if revokedKeyIDs.count > UpstreamLimits.revokedMax {
            return "the upstream names more than \(UpstreamLimits.revokedMax) revoked keys"
        }
        if revokedKeyIDs.contains(where: { $0.count != KeyIdentifier.bytesCount }) {
            return "the upstream names a revoked key by something else than the "
                + "\(KeyIdentifier.bytesCount) bytes of its ID"
        }
        for (index, der) in roots.enumerated() {
            if let problem = UpstreamChain.problem(ofRoot: der, trustDomain: trustDomain) {
                return "root \(index + 1) of the upstream: \(problem)"
            }
        }
        return nil
    }
}

/// How much of an upstream is listened to.
package enum UpstreamLimits {
    /// Longest wait for a certificate.
    package static let answerDuration: Duration = .seconds(30)
    /// Most bytes of one answer.
    package static let answerBytesMax = 256 * 1024
    /// Most revoked keys that an upstream names.
    package static let revokedMax = 4_096
    /// Most roots that an upstream names: half of what a bundle holds.
    package static let rootsMax = 32
}

/// Why an upstream gives no certificate, or does not say what is above.
package enum UpstreamError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Its answer breaks a rule of `UpstreamChain` (`upstreamRefused`).
    case refused(String)
    /// It cannot be used at the moment; one sentence that says what and where.
    case unavailable(String)

    package var description: String {
        switch self {
        case .refused(let rule): "upstreamRefused: \(rule)"
        case .unavailable(let sentence): sentence
        }
    }
}
