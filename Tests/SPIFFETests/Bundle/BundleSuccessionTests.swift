// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import SPIFFE
import TestPKI
import Testing

/// The table "What is taken" of docs/decisions/0021-federation.md.
struct BundleSuccessionTests {
    private let authorities: [TestAuthority]
    private let noon = testNow

    init() throws {
        authorities = try (0..<3).map { _ in try TestAuthority.root("partner.example") }
    }

    /// The document of some of the authorities, by their places.
    private func document(
        _ places: [Int],
        tokens: [UInt8] = [],
        sequence: UInt64?
    ) throws -> BundleDocument {
        let bundle = TrustBundle(
            trustDomain: try TrustDomain("partner.example"),
            x509Authorities: places.map { authorities[$0].der },
            x509Intermediates: [],
            jwtAuthorities: try tokens.map { try TestToken.authority($0, id: "k\($0)") },
            sequenceNumber: sequence ?? 0,
            refreshHintSeconds: 300
        )
        var text = String(decoding: try bundle.document(), as: UTF8.self)
        if sequence == nil { text = text.replacing(",\"spiffe_sequence\":0", with: "") }
        let document = try BundleDocument(parsing: Array(text.utf8))
        try #require(document.sequenceNumber == sequence)
        return document
    }

    private func believed(
        _ places: [Int],
        tokens: [UInt8] = [],
        sequence: UInt64?,
        newKeysAt: Date? = nil
    ) throws -> BelievedBundle {
        BelievedBundle(
            fetched: try document(places, tokens: tokens, sequence: sequence),
            sequenceNumber: sequence,
            newKeysAt: newKeysAt
        )
    }

    private func judge(
        _ stored: BelievedBundle?,
        _ fetched: BundleDocument,
        asking: BundleSuccession.Asking = .schedule
    ) -> BundleVerdict {
        BundleSuccession.judge(stored, fetched, asking: asking, now: noon)
    }

    @Test func `same keys confirm, in any order, and the highest sequence is remembered`() throws {
        let stored = try believed([0, 1], tokens: [1, 2], sequence: 7)
        for (sequence, remembered) in [(7, 7), (9, 9), (3, 7), (nil, 7)] as [(UInt64?, UInt64)] {
            let fetched = try document([1, 0], tokens: [2, 1], sequence: sequence)
            #expect(judge(stored, fetched) == .confirmed(sequenceNumber: remembered))
        }
        let without = try believed([0], sequence: nil)
        #expect(
            judge(without, try document([0], sequence: nil)) == .confirmed(sequenceNumber: nil)
        )
    }

    @Test func `at a first fetch anything is taken, or what follows the configured bundle`()
        throws
    {
        #expect(
            judge(nil, try document([0], sequence: 1)) == .taken(.init(sequenceNumber: 1))
        )
        #expect(
            judge(nil, try document([0], sequence: nil)) == .taken(.init(sequenceNumber: nil))
        )
        let configured = BelievedBundle(configured: try document([0], sequence: 4))
        #expect(
            judge(configured, try document([0], sequence: 3)) == .taken(.init(sequenceNumber: 4))
        )
        for places in [[1], []] {
            let fetched = try document(places, sequence: 5)
            #expect(judge(configured, fetched) == .taken(.init(sequenceNumber: 5)))
        }
        #expect(judge(configured, try document([1], sequence: 3)) == .refused(.sequenceWentBack))
        #expect(judge(configured, try document([1], sequence: nil)) == .refused(.sequenceMissing))
    }

    @Test func `other keys are taken with a higher sequence, or if none was stored`() throws {
        let fetched = try document([1], sequence: 8)
        let taken = BundleVerdict.taken(.init(sequenceNumber: 8))
        #expect(judge(try believed([0], sequence: 7), fetched) == taken)
        #expect(judge(try believed([0], sequence: nil), fetched) == taken)
        #expect(
            judge(try believed([0], sequence: nil), try document([1], sequence: nil))
                == .taken(.init(sequenceNumber: nil))
        )
        let last = try believed([0], sequence: .max - 1)
        #expect(
            judge(last, try document([1], sequence: .max)) == .taken(.init(sequenceNumber: .max))
        )
    }

    @Test func `other keys with the same sequence are taken, and told of`() throws {
        let stored = try believed([0], sequence: 7)
        #expect(
            judge(stored, try document([1], sequence: 7))
                == .taken(.init(sequenceNumber: 7, isSequenceReused: true))
        )
    }

    @Test func `other keys with a lower sequence, or without one, are refused`() throws {
        let stored = try believed([0, 1], tokens: [1], sequence: 7)
        for places in [[0], [1, 2], []] {
            let older = try document(places, tokens: [1], sequence: 6)
            #expect(judge(stored, older) == .refused(.sequenceWentBack))
            #expect(judge(stored, older, asking: .admin) == .refused(.sequenceWentBack))
            let without = try document(places, tokens: [1], sequence: nil)
            #expect(judge(stored, without) == .refused(.sequenceMissing))
        }
        // The key of another ID, or bound to an algorithm, is another key.
        let other = try document([0, 1], tokens: [2], sequence: 6)
        #expect(judge(stored, other) == .refused(.sequenceWentBack))
    }

    @Test func `what its sequence alone forbids is taken on an admin's word, and remembered`()
        throws
    {
        let stored = try believed([0], sequence: 7, newKeysAt: noon)
        for sequence in [6, nil] as [UInt64?] {
            let taken = BundleTaking(sequenceNumber: sequence, isOlderAccepted: true)
            let fetched = try document([1], sequence: sequence)
            #expect(judge(stored, fetched, asking: .adminAcceptingOlder) == .taken(taken))
        }
        // A number that nothing exceeds is forgotten before the partner changes his keys.
        #expect(
            judge(
                try believed([0], sequence: .max),
                try document([0], sequence: 6),
                asking: .adminAcceptingOlder
            ) == .confirmed(sequenceNumber: 6)
        )
        // So it is before the first fetch, and told of.
        let configured = BelievedBundle(configured: try document([0], sequence: 9))
        #expect(
            judge(
                configured,
                try document([0], sequence: 6),
                asking: .adminAcceptingOlder
            ) == .taken(.init(sequenceNumber: 6, isOlderAccepted: true))
        )
        #expect(
            judge(
                configured,
                try document([0], sequence: 9),
                asking: .adminAcceptingOlder
            ) == .taken(.init(sequenceNumber: 9))
        )
        // What is in order is taken as ever.
        #expect(
            judge(stored, try document([1], sequence: 8), asking: .adminAcceptingOlder)
                == .taken(.init(sequenceNumber: 8))
        )
    }

    @Test func `B-1 no key that can be used revokes everything, as other keys`() throws {
        let stored = try believed([0], tokens: [1], sequence: 7, newKeysAt: noon)
        #expect(
            judge(stored, try document([], sequence: 8))
                == .taken(.init(sequenceNumber: 8, hasNewKeys: false))
        )
        #expect(judge(stored, try document([], sequence: 6)) == .refused(.sequenceWentBack))
    }

    @Test func `new keys are taken once in five minutes, a removal alone and an admin's at once`()
        throws
    {
        let since = noon.addingTimeInterval(-299)
        let stored = try believed([0, 1], tokens: [1], sequence: 7, newKeysAt: since)
        let until = BundleVerdict.postponed(until: since.addingTimeInterval(300))
        let added = try document([0, 1, 2], tokens: [1], sequence: 8)
        #expect(judge(stored, added) == until)
        #expect(judge(stored, try document([0, 1], tokens: [1, 2], sequence: 8)) == until)
        #expect(judge(stored, try document([2], sequence: 7)) == until)
        #expect(judge(stored, added, asking: .admin) == .taken(.init(sequenceNumber: 8)))
        let removal = BundleTaking(sequenceNumber: 8, hasNewKeys: false)
        #expect(judge(stored, try document([0], tokens: [1], sequence: 8)) == .taken(removal))
        #expect(judge(stored, try document([0, 1], sequence: 8)) == .taken(removal))
        for seconds in [-300.0, 1] {
            let other = try believed(
                [0, 1],
                sequence: 7,
                newKeysAt: noon.addingTimeInterval(seconds)
            )
            #expect(judge(other, added) == .taken(.init(sequenceNumber: 8)), "\(seconds)")
        }
    }

    @Test func `RFC 7515 5.3 key IDs differ in their bytes, whatever Unicode says of them`() throws
    {
        let (composed, decomposed) = ("\u{E9}", "e\u{301}")
        try #require(composed == decomposed)
        func document(_ ids: String..., sequence: UInt64) throws -> BundleDocument {
            let bundle = TrustBundle(
                trustDomain: try TrustDomain("partner.example"),
                x509Authorities: [],
                x509Intermediates: [],
                jwtAuthorities: try ids.map { try TestToken.authority(1, id: $0) },
                sequenceNumber: sequence,
                refreshHintSeconds: 300
            )
            return try BundleDocument(parsing: bundle.document())
        }
        let stored = BelievedBundle(
            fetched: try document(composed, sequence: 7),
            sequenceNumber: 7,
            newKeysAt: nil
        )
        // Tokens of the new ID verify by the new document alone.
        #expect(
            judge(stored, try document(decomposed, sequence: 8))
                == .taken(.init(sequenceNumber: 8))
        )
        let both = try document(composed, decomposed, sequence: 8)
        #expect(both.jwtAuthorities.count == 2)
        #expect(Set(both.jwtAuthorities).count == 2)
    }

    @Test func `a bundle that is too large is refused, whatever its sequence`() throws {
        // Its name stands in it three times.
        let der = try TestAuthority.root(String(repeating: "a", count: 250)).der
        func document(_ count: Int) throws -> BundleDocument {
            let bundle = TrustBundle(
                trustDomain: try TrustDomain("partner.example"),
                x509Authorities: Array(repeating: der, count: count),
                x509Intermediates: [],
                sequenceNumber: 9,
                refreshHintSeconds: 300
            )
            return try BundleDocument(parsing: bundle.document())
        }
        let count = BundleSuccession.certificateBytesMax / der.count
        try #require(count < TrustBundle.authoritiesMax)
        let large = try document(count + 1)
        #expect(judge(nil, large) == .refused(.bundleTooLarge))
        #expect(
            judge(try believed([0], sequence: 7), large, asking: .adminAcceptingOlder)
                == .refused(.bundleTooLarge)
        )
        #expect(judge(nil, try document(count)) == .taken(.init(sequenceNumber: 9)))
    }

    @Test func `a bundle is stale after its time, or when it was confirmed well after now`() {
        let limit = Duration.seconds(7200)
        for (seconds, isStale) in [
            (0.0, false), (-7200, false), (-7201, true),
            // A small step back of the clock withholds nothing.
            (1, false), (60, false), (61, true),
        ] {
            #expect(
                BundleFreshness.isStale(
                    confirmedAt: noon.addingTimeInterval(seconds),
                    limit: limit,
                    now: noon
                ) == isStale
            )
        }
    }
}
