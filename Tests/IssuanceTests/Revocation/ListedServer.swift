// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Issuance
import SPIFFE

/// A server's authorities, what is revoked, and the lists that it has committed.
struct ListedServer {
    struct Record {
        var state = Authority.State.active
        var notBefore = Workshop.now.addingTimeInterval(-3600)
        var notAfter = Workshop.now.addingTimeInterval(7 * 86_400)
        var lastCertificateNotAfter: Date? = Workshop.now.addingTimeInterval(3600)
        var hasKey = true
    }

    var records = ["a": Record()]
    var committed: [String: RevocationListContent] = [:]
    var serials: [RevocationListPlan.RevokedSerial] = []
    var identities: [RevocationListPlan.RevokedHolder] = []
    var places = RevocationListPlan.placesMax

    var authorities: [ListedAuthority] {
        records.sorted { $0.key < $1.key }.compactMap { id, record in
            ListedAuthority(
                Authority(
                    id: id,
                    serverID: "server-1",
                    state: record.state,
                    certificateDER: [],
                    notBefore: record.notBefore,
                    notAfter: record.notAfter
                ),
                lastCertificateNotAfter: record.lastCertificateNotAfter,
                hasKey: record.hasKey,
                previous: committed[id]
            )
        }
    }

    func plan(at now: Date) -> RevocationListPlan {
        RevocationListPlan(
            authorities: authorities,
            serials: serials,
            identities: identities,
            places: places,
            now: now
        )
    }

    /// Plans, and takes every list for committed.
    @discardableResult
    mutating func round(at now: Date) -> RevocationListPlan {
        let plan = plan(at: now)
        for list in plan.lists { committed[list.authorityID] = list }
        return plan
    }

    /// Revokes a certificate by its serial number.
    mutating func revoke(
        serial: [UInt8],
        of authority: String = "a",
        notAfter: Date = Workshop.now.addingTimeInterval(3600),
        at revokedAt: Date = Workshop.now
    ) {
        let certificate = RevocationListPlan.Certificate(
            authorityID: authority,
            serial: serial,
            notAfter: notAfter
        )
        serials.append(.init(certificate, revokedAt: revokedAt))
    }

    /// Revokes an identity with certificates whose serial numbers begin with `first`.
    mutating func revoke(
        identity name: String,
        first: UInt8,
        count: Int,
        of authority: String = "a",
        notAfter: Date = Workshop.now.addingTimeInterval(3600),
        at revokedAt: Date = Workshop.now
    ) throws {
        identities.append(
            try Self.holder(
                name,
                first: first,
                count: count,
                of: authority,
                notAfter: notAfter,
                at: revokedAt
            )
        )
    }

    static func holder(
        _ name: String,
        first: UInt8,
        count: Int,
        of authority: String,
        notAfter: Date = Workshop.now.addingTimeInterval(3600),
        at revokedAt: Date = Workshop.now
    ) throws -> RevocationListPlan.RevokedHolder {
        .init(
            spiffeID: try SPIFFEID("spiffe://example.org/\(name)"),
            revokedAt: revokedAt,
            certificates: (0..<count).map {
                .init(authorityID: authority, serial: serial(first, $0), notAfter: notAfter)
            }
        )
    }

    static func serial(_ first: UInt8, _ number: Int) -> [UInt8] {
        [first, UInt8(number >> 16 & 0xFF), UInt8(number >> 8 & 0xFF), UInt8(number & 0xFF)]
    }

    /// How many certificates are on the list of an authority.
    func count(_ authority: String = "a") -> Int? { committed[authority]?.entries.count }

    /// Whether a certificate is on the committed list of an authority.
    func lists(_ serial: [UInt8], of authority: String = "a") -> Bool {
        committed[authority]?.entries.contains { $0.serial == serial } ?? false
    }
}

extension Date {
    /// So many seconds after the moment of the tests.
    static func after(_ seconds: Double) -> Date { Workshop.now.addingTimeInterval(seconds) }
}
