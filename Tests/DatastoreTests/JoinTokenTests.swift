// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import Testing

@Suite(.timeLimit(.minutes(1))) struct JoinTokenTests {
    let directory: TemporaryStore
    let store: ServerStore

    init() throws {
        directory = try TemporaryStore()
        store = try directory.openEstablished()
    }

    private func redeem(_ byte: UInt8, now: Date = noon) throws -> JoinTokenRedemption {
        try store.writeNow {
            try $0.redeemJoinToken(hash: Array(repeating: byte, count: 32), now: now)
        }
    }

    @Test func `of 50 concurrent tries one redeems the token`() async throws {
        let token = try JoinTokenRecord.sample(1)
        try store.writeNow { try $0.put(token) }
        let outcomes = try await withThrowingTaskGroup(of: JoinTokenRedemption.self) { group in
            for _ in 0..<50 {
                group.addTask {
                    try await store.write { try $0.redeemJoinToken(hash: token.hash, now: noon) }
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        var redeemed = 0
        for outcome in outcomes {
            switch outcome {
            case .redeemed(let record):
                redeemed += 1
                #expect(record.selectors == token.selectors)
                #expect(record.usedAt == noon)
            case .alreadyUsed: break
            case .expired, .unknown: Issue.record("\(outcome)")
            }
        }
        #expect(redeemed == 1)
    }

    @Test func `a token is unused again when the act it was for is rolled back`() throws {
        let token = try JoinTokenRecord.sample(1)
        try store.writeNow { try $0.put(token) }
        #expect(throws: Refusal(number: 1)) {
            try store.writeNow { transaction in
                _ = try transaction.redeemJoinToken(hash: token.hash, now: noon)
                throw Refusal(number: 1)
            }
        }
        guard case .redeemed = try redeem(1) else {
            Issue.record("the token is used up")
            return
        }
    }

    @Test func `a token that is expired, unknown or deleted redeems nothing`() throws {
        let token = try JoinTokenRecord.sample(1, expiresAt: noon)
        try store.writeNow { try $0.put(token) }
        #expect(try redeem(1) == .expired(token))
        #expect(try redeem(2) == .unknown)
        let name = token.name
        let deleted = try store.writeNow { try $0.deleteJoinTokens(name: name, unusedOnly: true) }
        #expect(deleted == 1)
        #expect(try redeem(1) == .unknown)
    }

    @Test func `tokens are deleted by name, the used ones only when that is meant`() throws {
        let name = "web"
        for number in 1...3 as ClosedRange<UInt8> {
            let token = try JoinTokenRecord.sample(number, name: name)
            try store.writeNow { try $0.put(token) }
        }
        _ = try redeem(1)
        let others = try store.writeNow { try $0.deleteJoinTokens(name: "-", unusedOnly: false) }
        let unused = try store.writeNow { try $0.deleteJoinTokens(name: name, unusedOnly: true) }
        let used = try store.writeNow { try $0.deleteJoinTokens(name: name, unusedOnly: false) }
        #expect(others == 0)
        #expect(unused == 2)
        #expect(used == 1)
    }

    @Test func `a hash is stored once`() throws {
        try store.writeNow { try $0.put(JoinTokenRecord.sample(1)) }
        let error = #expect(throws: DatastoreError.self) {
            try store.writeNow { try $0.put(JoinTokenRecord.sample(1, expiresAt: noon + 9e6)) }
        }
        guard case .constraint = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }
}
