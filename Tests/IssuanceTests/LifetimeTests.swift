// SPDX-License-Identifier: Apache-2.0

import Issuance
import Testing

struct LifetimeTests {
    @Test func `the standard lifetimes keep every relation`() throws {
        let standard = SVIDLifetimes.standard
        #expect(try SVIDLifetimes() == standard)
        #expect(standard.longestSVID == .seconds(4 * 3600))
        #expect(standard.authority == .seconds(24 * 3600))
    }

    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let error: LifetimeError
        let make: @Sendable () throws -> SVIDLifetimes
    }

    static let refused: [Case] = [
        Case(testDescription: "an agent above a sixth of the authority", error: .authorityTooShort)
        { try SVIDLifetimes(agent: .seconds(4 * 3600 + 1)) },
        Case(testDescription: "a server above a sixth of the authority", error: .authorityTooShort)
        { try SVIDLifetimes(server: .seconds(5 * 3600)) },
        Case(testDescription: "a workload limit above a sixth", error: .authorityTooShort) {
            try SVIDLifetimes(workloadMax: .seconds(4 * 3600 + 1))
        },
        Case(testDescription: "a short authority", error: .authorityTooShort) {
            try SVIDLifetimes(authority: .seconds(6 * 3600))
        },
        Case(testDescription: "an authority of eleven years", error: .authorityTooLong) {
            try SVIDLifetimes(authority: .seconds(11 * 365 * 86_400))
        },
        Case(testDescription: "a negative backdate", error: .backdateOutOfRange) {
            try SVIDLifetimes(backdate: .seconds(-1))
        },
        Case(testDescription: "a backdate above five minutes", error: .backdateOutOfRange) {
            try SVIDLifetimes(backdate: .seconds(301))
        },
        Case(testDescription: "half seconds", error: .notWholeSeconds) {
            try SVIDLifetimes(workload: .milliseconds(10_500))
        },
        Case(testDescription: "workloads of nine seconds", error: .svidTooShort) {
            try SVIDLifetimes(workload: .seconds(9))
        },
        Case(testDescription: "a default above the limit", error: .workloadExceedsMax) {
            try SVIDLifetimes(workload: .seconds(7200), workloadMax: .seconds(3600))
        },
    ]

    @Test(arguments: refused)
    func `lifetimes that contradict each other are refused`(_ refused: Case) {
        #expect(throws: refused.error) { try refused.make() }
    }
}
