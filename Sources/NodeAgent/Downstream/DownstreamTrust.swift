// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
package import SPIFFE

/// What a server below is told of what is above it
/// (docs/decisions/0020-authorities-under-another.md, "Nested").
///
/// Whole or not at all: a list that was cut would be taken for all there is, and what it lacks
/// would be believed no more, or again.
package struct DownstreamTrust: Hashable, Sendable {
    /// Most roots that a server below takes.
    package static let rootsMax = 32
    /// Most revoked keys that it takes.
    package static let revokedMax = 4_096
    /// Most bytes that it takes: those of a message, with its fields.
    package static let bytesMax = 256 * 1024
    /// What a field costs beside its content.
    private static let fieldBytes = 8

    /// DER of each root that authorities are certified below.
    package let roots: [[UInt8]]
    /// Key IDs, sorted.
    package let revokedKeyIDs: [[UInt8]]

    /// What is to be told of a bundle.
    ///
    /// - Parameters:
    ///   - bundle: Of the trust domain. Of its X.509 authorities those count that may have
    ///     authorities below them: a server's own self-signed one is above nobody, and would be
    ///     below a root that certifies nothing and comes and goes with the day.
    ///   - revoked: The key IDs of what is revoked. What is merely tainted is not told: to revoke
    ///     it below would cut off what is to be replaced, and nothing less can be said.
    /// - Throws: `DownstreamRefusal`: there is no root, or too much.
    package init(
        of bundle: TrustBundle,
        revoked: Set<[UInt8]>
    ) throws(DownstreamRefusal) {
        let roots = bundle.rootsOfAuthorities.filter { der in
            // It leaves the bundle with its revocation.
            (try? LeafCertificate(der: der)).map { !revoked.contains($0.keyIdentifier.bytes) }
                ?? false
        }
        guard !roots.isEmpty else { throw .noRoot }
        try self.init(roots: roots, revoked: revoked)
    }

    /// The same roots, and what is revoked by now.
    ///
    /// - Throws: `DownstreamRefusal` if that is too much.
    func revoking(_ revoked: Set<[UInt8]>) throws(DownstreamRefusal) -> Self {
        try Self(roots: roots, revoked: revoked)
    }

    private init(roots: [[UInt8]], revoked: Set<[UInt8]>) throws(DownstreamRefusal) {
        // Whatever else distrusts a key names none of ours.
        let keyIDs = revoked.filter { $0.count == KeyIdentifier.bytesCount }
        guard roots.count <= Self.rootsMax else {
            throw .tooMuch("the bundle has \(roots.count) roots")
        }
        guard keyIDs.count <= Self.revokedMax else {
            throw .tooMuch("\(keyIDs.count) keys are revoked")
        }
        let bytes = (roots + keyIDs).reduce(0) { $0 + $1.count + Self.fieldBytes }
        guard bytes <= Self.bytesMax else {
            throw .tooMuch("roots and revoked keys are \(bytes) bytes")
        }
        self.roots = roots
        revokedKeyIDs = keyIDs.sorted { $0.lexicographicallyPrecedes($1) }
    }
}

/// What one stream to a server below says, and when it ends.
package struct DownstreamWatch: Sendable {
    /// What is to be done next.
    package enum Step: Hashable, Sendable {
        case end(DownstreamRefusal)
        /// Nothing that was not said.
        case nothing
        /// Say it; end the stream afterwards if there is a reason to.
        case tell(DownstreamTrust, then: DownstreamRefusal?)
    }

    private let pid: Int32
    private var told: DownstreamTrust?

    /// Nothing was said yet.
    ///
    /// - Parameter pid: Who listens.
    package init(pid: Int32) { self.pid = pid }

    /// Something may have changed, or what was said last was taken.
    ///
    /// - Parameter view: What is known now.
    /// - Returns: What is to be done.
    package mutating func next(_ view: DownstreamView) -> Step {
        do throws(DownstreamRefusal) {
            _ = try view.standing.entryID(pid: pid)
            let trust: DownstreamTrust
            do throws(DownstreamRefusal) {
                trust = try DownstreamTrust(of: view.bundle, revoked: view.revoked)
            } catch {
                return try lastWord(view, error)
            }
            guard trust != told else { return .nothing }
            told = trust
            return .tell(trust, then: nil)
        } catch { return .end(error) }
    }

    /// A message without a root would not be taken below, with whatever it revokes: so the one that
    /// ends them all is told beside the roots of before, which stay below in any case.
    private mutating func lastWord(
        _ view: DownstreamView,
        _ refusal: DownstreamRefusal
    ) throws(DownstreamRefusal) -> Step {
        guard refusal == .noRoot, let before = told else { throw refusal }
        let trust = try before.revoking(view.revoked)
        guard trust != before else { throw refusal }
        told = trust
        return .tell(trust, then: refusal)
    }
}

extension DownstreamStanding {
    /// The ID of the one entry that says so.
    ///
    /// - Parameter pid: Whose standing it is.
    /// - Returns: The ID.
    /// - Throws: `DownstreamRefusal` if there is none, or more than one.
    package func entryID(pid: Int32) throws(DownstreamRefusal) -> String {
        switch self {
        case .entry(let id): return id
        case .none: throw .notDownstream(pid: pid)
        case .several(let count): throw .severalEntries(count, pid: pid)
        case .unknown(let sentence):
            throw .unavailable(APIError(.unavailable, "notReady", sentence))
        }
    }
}
