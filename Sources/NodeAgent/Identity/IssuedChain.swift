// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// A chain from the server that was checked; nothing else can make one.
///
/// It is for the ID asked for and the key it was asked with, and has a path to the current bundle.
package struct IssuedChain: Hashable, Sendable {
    package let chain: [[UInt8]]
    package let id: SPIFFEID
    package let notBefore: Date
    package let notAfter: Date
    package let serial: [UInt8]
    /// The computed ID of the key that signed the leaf.
    package let authorityKeyID: [UInt8]
    package let dnsNames: [String]

    /// Checks a chain.
    ///
    /// - Parameters:
    ///   - chain: DER of each certificate, leaf first.
    ///   - id: What the leaf must say; nil takes what it says.
    ///   - spkiSHA256: The hash of the public key it must be for.
    ///   - verifier: The bundle of the trust domain.
    ///   - now: The wall clock.
    /// - Throws: `IssuedChainError` naming what is wrong; the chain must not be used then.
    package init(
        verifying chain: [[UInt8]],
        id: SPIFFEID?,
        spkiSHA256: [UInt8],
        verifier: PeerVerifier,
        now: Date
    ) async throws(IssuedChainError) {
        let peer: VerifiedPeer
        let leaf: LeafCertificate
        do throws(PeerVerificationError) {
            peer = try await verifier.verify(chain: chain, now: now)
        } catch {
            throw .unverified(error)
        }
        guard let first = chain.first, let read = try? LeafCertificate(der: first) else {
            throw .unverified(.chainEmpty)
        }
        leaf = read
        if let id, peer.id != id { throw .idDiffers(asked: id, got: peer.id) }
        guard peer.spkiSHA256 == spkiSHA256 else { throw .keyDiffers }
        self.chain = chain
        self.id = peer.id
        notBefore = leaf.notBefore
        notAfter = peer.notAfter
        serial = peer.serial
        authorityKeyID = peer.path.first ?? []
        dnsNames = leaf.dnsNames
    }
}

/// Why a chain from the server is not used.
package enum IssuedChainError: Error, Hashable, Sendable, CustomStringConvertible {
    case idDiffers(asked: SPIFFEID, got: SPIFFEID)
    case keyDiffers
    case unverified(PeerVerificationError)

    package var description: String {
        switch self {
        case .idDiffers(let asked, let got): "the server signed \(got) where \(asked) was asked for"
        case .keyDiffers: "the server signed another key than the one it was asked for"
        case .unverified(let error): "what the server signed does not verify: \(error)"
        }
    }
}
