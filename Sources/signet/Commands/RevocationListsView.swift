// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos
internal import Foundation
internal import SPIFFE

/// The certificate revocation lists of authorities, for programs.
package struct RevocationListsView: Encodable, Sendable {
    struct Certificate: Encodable, Sendable {
        /// Hexadecimal, as `signet svid show` has it.
        var serial: String
        var revokedAt: String
    }

    struct List: Encodable, Sendable {
        var authorityID: String
        /// Decimal (RFC 5280 section 5.2.3); the list with the higher number is the newer one.
        var number: String
        var thisUpdate: String
        var nextUpdate: String
        /// The authority signs none after it.
        var isLast: Bool
        var certificates: [Certificate]
        var pem: String
    }

    var lists: [List]

    /// Reads the lists that a server has sent.
    ///
    /// - Throws: `RevocationListError` for one that breaks RFC 5280.
    package init(_ response: Signet_Admin_V1alpha1_ListRevocationListsResponse) throws {
        lists = try response.lists.map { message in
            let list = try CertificateRevocationList(der: [UInt8](message.der))
            return List(
                authorityID: message.authorityID,
                number: Self.decimal(list.number),
                thisUpdate: list.thisUpdate.formatted(.iso8601),
                nextUpdate: list.nextUpdate.formatted(.iso8601),
                isLast: message.isLast,
                certificates: list.entries.map {
                    Certificate(
                        serial: Hexadecimal.text($0.serial),
                        revokedAt: $0.revokedAt.formatted(.iso8601)
                    )
                },
                pem: PEM.revocationList(message.der)
            )
        }
    }

    package var table: Table {
        Table(
            empty: "no authority has a list",
            headings: [
                "AUTHORITY", "NUMBER", "THIS UPDATE", "NEXT UPDATE", "CERTIFICATES", "LAST",
            ],
            rows: lists.map {
                [
                    String($0.authorityID.prefix(16)), $0.number, $0.thisUpdate, $0.nextUpdate,
                    String($0.certificates.count), $0.isLast ? "yes" : "no",
                ]
            }
        )
    }

    var certificatesTable: Table {
        Table(
            headings: ["SERIAL", "REVOKED"],
            rows: lists.flatMap(\.certificates).map { [$0.serial, $0.revokedAt] }
        )
    }

    /// The number in the digits that people write; up to 20 bytes, so more than any integer has.
    package static func decimal(_ bigEndian: [UInt8]) -> String {
        var rest = bigEndian
        var digits: [Character] = []
        while rest.contains(where: { $0 != 0 }) {
            var remainder = 0
            for place in rest.indices {
                let value = (remainder << 8) | Int(rest[place])
                (rest[place], remainder) = (UInt8(value / 10), value % 10)
            }
            digits.append(Character(String(remainder)))
        }
        return digits.isEmpty ? "0" : String(digits.reversed())
    }
}
