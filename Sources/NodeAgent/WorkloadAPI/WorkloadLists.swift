// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import GRPCPeer
package import NodeSync
internal import SPIFFE

extension WorkloadView {
    /// Largest message that clients of gRPC take unless they are told otherwise.
    package static let messageBytesMax = 4 * 1024 * 1024
    /// What a field costs beside its content: tags and lengths, of some levels.
    private static let fieldBytes = 64
    /// Over how long a change of lists alone is told to streams, and if lists are long.
    private static let spread: Duration = .seconds(1)
    private static let longSpread: Duration = .seconds(30)

    /// How long telling of the lists may take, so that not everybody is told at once.
    var listSpread: Duration {
        lists.bytes > LargeMessages.shortBytesMax ? Self.longSpread : Self.spread
    }

    /// Whether nothing but lists is another than in the view that was shown before, as far as it is
    /// shown.
    func differsInLists(alone before: WorkloadView, for interest: WorkloadInterest) -> Bool {
        guard lists != before.lists else { return false }
        switch interest {
        case .bundles:
            return bundle == before.bundle && federatedBundles == before.federatedBundles
        case .svids: return withoutLists == before.withoutLists
        }
    }

    /// The lists, if a message with the SVIDs has room for them; else none: without the message
    /// nobody would have an SVID.
    package var listsBesideSVIDs: [ShownRevocationList] {
        let own = bundle?.bytes ?? 0
        let bytes = svids.reduce(0) { sum, svid in
            sum + svid.certificateChain.reduce(0) { $0 + $1.count } + svid.privateKeyPKCS8.count
                + svid.id.description.utf8.count + svid.hint.utf8.count + own + Self.fieldBytes
        }
        return listsBeside(bytes + federatedBytes)
    }

    /// The lists, if a message with the bundles has room for them.
    package var listsBesideBundles: [ShownRevocationList] {
        listsBeside((bundle?.bytes ?? 0) + Self.fieldBytes + federatedBytes)
    }

    /// What the certificates of other trust domains' bundles add to a message.
    var federatedBytes: Int {
        federatedBundles.reduce(0) { $0 + $1.bytes + Self.fieldBytes }
    }

    private func listsBeside(_ bytes: Int) -> [ShownRevocationList] {
        let all = bytes + lists.bytes + lists.count * Self.fieldBytes
        return all <= Self.messageBytesMax ? lists : []
    }
}

extension TrustBundle {
    fileprivate var bytes: Int {
        trustDomain.id.description.utf8.count + x509Authorities.reduce(0) { $0 + $1.count }
    }
}

extension [ShownRevocationList] {
    var bytes: Int { reduce(0) { $0 + $1.der.count } }
}
