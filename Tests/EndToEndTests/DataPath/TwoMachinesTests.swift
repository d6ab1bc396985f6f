// SPDX-License-Identifier: Apache-2.0

import TestPrograms
import Testing

/// What a network can do that a loopback cannot: take a machine away without a word.
@Suite(
    .serialized,
    .timeLimit(.minutes(4)),
    .enabled("the kernel lets nobody make network namespaces here") {
        await TwoMachines.areAllowed
    }
)
struct TwoMachinesTests {
    @Test func `a stream whose other machine is gone ends on both sides`() async throws {
        let machines = try await TwoMachines()
        let stream = try await machines.openStream()
        try await machines.service.waitFor("open")
        try await machines.unplug()
        // The kernel asks after 15 s of silence, and gives up after 30 s.
        try await stream.waitFor("ended")
        try await machines.service.waitFor("ended")
        try await machines.plug()
        try await eventually("a new stream") {
            (try? await machines.openStream()) != nil
        }
        try await machines.stop()
    }

    @Test func `requests go to the machine that is there`() async throws {
        let machines = try await TwoMachines()
        try await machines.unplug()
        for _ in 0..<6 { #expect(try await machines.ask() == 200) }
        try await machines.plug()
        for _ in 0..<6 { #expect(try await machines.ask() == 200) }
        try await machines.stop()
    }
}
