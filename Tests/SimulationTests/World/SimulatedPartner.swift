// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import SPIFFE
import TestPKI

/// Another trust domain: its authorities, its bundle endpoint, and certificates that they made.
///
/// Its keys are no draws of the world: nothing that happens depends on them.
final class SimulatedPartner {
    /// A bundle as it was published.
    struct Publication {
        let sequence: UInt64
        let authorities: Set<[UInt8]>
        let bytes: [UInt8]
        let at: Duration
    }

    /// What whoever has the endpoint serves.
    enum Serving: Hashable {
        case away
        case newest
        /// A bundle of before, counted from the newest.
        case older(Int)
        /// The newest one without its number.
        case unnumbered
    }

    /// A chain that somebody shows.
    struct Sample {
        /// Counts those of the partner.
        let number: Int
        /// The certificate at whose authority it ends.
        let authority: [UInt8]
        let chain: [[UInt8]]
        /// Whose ID it has.
        let claimed: TrustDomain
    }

    /// Longest time for which its server says to believe a bundle that is not fetched again: the
    /// shortest that a document may say.
    static let staleAfter: Duration = .seconds(2 * 3600)
    private static let day = 86_400.0

    private let scheduler: Scheduler
    /// Of the document that federates with it.
    let name: String
    let trustDomain: TrustDomain
    private var authorities: [TestAuthority] = []
    private(set) var publications: [Publication] = []
    /// Chains of every authority that it ever had, under its own name and under others'.
    private(set) var samples: [Sample] = []
    private(set) var serving = Serving.newest
    private var servingSince = Duration.zero
    private let others: [TrustDomain]

    /// - Parameters:
    ///   - scheduler: Of the world.
    ///   - name: The first part of its trust domain.
    ///   - others: Trust domains that its authorities have nothing to say of.
    /// - Throws: If the name is no part of a trust domain's.
    init(_ scheduler: Scheduler, _ name: String, others: [TrustDomain]) throws {
        self.scheduler = scheduler
        self.name = name
        self.others = others
        trustDomain = try Self.trustDomain(name)
        try rotate()
    }

    static func trustDomain(_ name: String) throws -> TrustDomain {
        try TrustDomain("\(name).partner.test")
    }

    var newest: Publication { publications[publications.count - 1] }

    /// Since when the endpoint serves the newest bundle; nil while it does not.
    var isHonestSince: Duration? {
        serving == .newest ? max(servingSince, newest.at) : nil
    }

    /// The document that federates with it.
    var document: String {
        """
        apiVersion: core.signet/v1alpha1
        kind: FederatedTrustDomain
        metadata: {name: \(name)}
        spec:
          trustDomain: \(trustDomain)
          bundleEndpointURL: "https://\(trustDomain)/bundle"
          bundleEndpointProfile: {type: https_web}
          staleAfter: \(Int(Self.staleAfter.seconds) / 3600)h
        """
    }

    // MARK: - The partner

    /// Adds an authority and publishes.
    func rotate() throws {
        let now = SimulatedClock.beginning
        let made = try TestAuthority.root(trustDomain.name, now: now) { profile in
            profile.notBefore = now.addingTimeInterval(-Self.day)
            profile.notAfter = now.addingTimeInterval(30 * Self.day)
        }
        for claimed in [trustDomain] + others {
            let leaf = try made.leaf("spiffe://\(claimed)/client") { profile in
                profile.notBefore = now.addingTimeInterval(-Self.day)
                profile.notAfter = now.addingTimeInterval(2 * Self.day)
            }
            samples.append(
                Sample(
                    number: samples.count,
                    authority: made.der,
                    chain: leaf.chain,
                    claimed: claimed
                )
            )
        }
        authorities.append(made)
        try publish()
    }

    /// Withdraws its oldest authority and publishes.
    func withdraw() throws {
        guard authorities.count > 1 else { return }
        authorities.removeFirst()
        try publish()
    }

    private func publish() throws {
        let sequence = UInt64(publications.count + 1)
        let bundle = TrustBundle(
            trustDomain: trustDomain,
            x509Authorities: authorities.map(\.der),
            x509Intermediates: [],
            sequenceNumber: sequence,
            refreshHintSeconds: 60
        )
        publications.append(
            Publication(
                sequence: sequence,
                authorities: Set(bundle.x509Authorities),
                bytes: try bundle.document(),
                at: scheduler.now
            )
        )
        scheduler.note("partner \(name) publishes bundle \(sequence)")
    }

    // MARK: - The endpoint

    func serve(_ serving: Serving) {
        guard serving != self.serving else { return }
        self.serving = serving
        servingSince = scheduler.now
        scheduler.note("endpoint of \(name) serves \(serving)")
    }

    /// What a fetch brings; nil: nothing.
    var served: [UInt8]? {
        switch serving {
        case .away: nil
        case .newest: newest.bytes
        case .older(let back): publications[max(0, publications.count - 1 - back)].bytes
        case .unnumbered:
            Array(
                String(decoding: newest.bytes, as: UTF8.self)
                    .replacing(",\"spiffe_sequence\":\(newest.sequence)", with: "").utf8
            )
        }
    }
}
