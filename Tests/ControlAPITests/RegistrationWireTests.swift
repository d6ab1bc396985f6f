// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import ControlAPIProtos
import SPIFFE
import SwiftProtobuf
import Testing

@Suite struct RegistrationWireTests {
    private static func message(
        federatingWith count: Int
    ) -> Signet_Node_V1alpha1_RegistrationEntry {
        .with {
            $0.id = "1"
            $0.spiffeID = "spiffe://example.org/web"
            $0.nodeSelectors = ["role:test"]
            $0.workloadSelectors = ["unix:uid:1"]
            $0.federatesWith = (0..<count).map { "p\($0).example" }
        }
    }

    @Test func `an entry that federates with more than a proxy takes is refused by name`() throws {
        let most = RegistrationEntry.federatesWithMax
        let entry = try RegistrationEntry(parsing: Self.message(federatingWith: most))
        #expect(entry.federatesWith.count == most)
        #expect(throws: WireError.tooMany("entry.federates_with", max: most)) {
            try RegistrationEntry(parsing: Self.message(federatingWith: most + 1))
        }
    }

    @Test func `an entry of a server below comes back as such, and no template does`() throws {
        var message = Self.message(federatingWith: 0)
        #expect(try !RegistrationEntry(parsing: message).isDownstream)
        message.downstream = true
        let entry = try RegistrationEntry(parsing: message)
        #expect(entry.isDownstream && entry.message.downstream)
        message.spiffeID = "spiffe://example.org/{unix.user}"
        message.variableBounds = ["unix.user": .with { $0.agentAsserted = true }]
        let refused = #expect(throws: WireError.self) { try RegistrationEntry(parsing: message) }
        #expect(refused?.description.contains("entry.downstream") == true)
    }
}
