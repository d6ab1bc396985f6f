// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import SPIFFE
import TestPKI
import TestSeeds
import Testing

/// A partner who rotates his keys, behind an endpoint that serves his last bundle or any earlier one.
struct BundleSuccessionWalkTests {
    private struct Published {
        let keys: Set<UInt8>
        let document: BundleDocument
    }

    /// Keys have numbers, none of which comes back.
    private struct Partner {
        private var newest: UInt8 = 1
        private var sequence: UInt64 = 1
        private(set) var published: [Published] = []

        init() throws { try publish([newest]) }

        private mutating func publish(_ keys: Set<UInt8>) throws {
            let bundle = TrustBundle(
                trustDomain: try TrustDomain("partner.example"),
                x509Authorities: [],
                x509Intermediates: [],
                jwtAuthorities: try keys.sorted().map {
                    try TestToken.authority($0, id: "k\($0)")
                },
                sequenceNumber: sequence,
                refreshHintSeconds: 60
            )
            let document = try BundleDocument(parsing: bundle.document())
            published.append(Published(keys: keys, document: document))
        }

        mutating func rotate(using random: inout SeededGenerator) throws {
            var keys = published[published.count - 1].keys
            if Bool.random(using: &random), newest < 200 {
                newest += 1
                keys.insert(newest)
            }
            if keys.count > 3 || Bool.random(using: &random), let key = keys.min() {
                keys.remove(key)
            }
            sequence += UInt64.random(in: 1...3, using: &random)
            try publish(keys)
        }
    }

    /// What a server has of it.
    private struct Believer {
        private(set) var bundle: BelievedBundle?
        private(set) var keys: Set<UInt8> = []
        private var gone: Set<UInt8> = []
        private var newKeysAt: Date?

        mutating func fetched(_ served: Published, isLast: Bool, now: Date) -> BundleVerdict {
            let before = bundle
            let verdict = BundleSuccession.judge(bundle, served.document, now: now)
            switch verdict {
            case .confirmed(let sequence):
                #expect(keys == served.keys)
                #expect(sequence == max(before?.sequenceNumber, served.document.sequenceNumber))
                remember(served, sequence)
            case .taken(let taking):
                #expect(!taking.isSequenceReused && !taking.isOlderAccepted)
                #expect(before?.sequenceNumber.map { $0 < taking.sequenceNumber ?? 0 } ?? true)
                if taking.hasNewKeys {
                    #expect(newKeysAt.map { now.timeIntervalSince($0) >= 300 } ?? true)
                    newKeysAt = now
                }
                gone.formUnion(keys.subtracting(served.keys))
                keys = served.keys
                remember(served, taking.sequenceNumber)
                #expect(keys.isDisjoint(with: gone), "a key that was taken away is back")
            case .postponed(let until):
                #expect(!served.keys.isSubset(of: keys))
                #expect(until > now && until == newKeysAt?.addingTimeInterval(300))
            case .refused(let reason):
                #expect(reason == .sequenceWentBack && !isLast)
            }
            return verdict
        }

        private mutating func remember(_ served: Published, _ sequence: UInt64?) {
            bundle = BelievedBundle(
                fetched: served.document,
                sequenceNumber: sequence,
                newKeysAt: newKeysAt
            )
        }

        private func max(_ one: UInt64?, _ other: UInt64?) -> UInt64? {
            [one, other].compactMap(\.self).max()
        }
    }

    @Test(arguments: [UInt64](1...6))
    func `no earlier bundle brings a key back, and the last one is believed in time`(
        seed: UInt64
    ) throws {
        var random = SeededGenerator(seed: seed)
        var partner = try Partner()
        var believer = Believer()
        var now = testNow
        var seen: Set<String> = []
        for _ in 0..<300 {
            now.addTimeInterval(Double.random(in: 30...240, using: &random))
            if Int.random(in: 0..<3, using: &random) == 0 { try partner.rotate(using: &random) }
            let isReplay = Int.random(in: 0..<3, using: &random) == 0
            let last = partner.published.count - 1
            let place = isReplay ? Int.random(in: 0...last, using: &random) : last
            let verdict = believer.fetched(
                partner.published[place],
                isLast: place == last,
                now: now
            )
            seen.insert(String("\(verdict)".prefix { $0 != "(" }))
        }
        #expect(seen == ["confirmed", "postponed", "refused", "taken"])
        // Nothing of that keeps the honest one out for good.
        now.addTimeInterval(300)
        let last = partner.published.count - 1
        _ = believer.fetched(partner.published[last], isLast: true, now: now)
        #expect(believer.keys == partner.published[last].keys)
    }
}
