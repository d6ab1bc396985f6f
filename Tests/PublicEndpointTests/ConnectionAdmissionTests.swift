// SPDX-License-Identifier: Apache-2.0

import PublicEndpoint
import Testing

@Suite struct ConnectionAdmissionTests {
    private func origin(_ number: Int) -> ConnectionOrigin {
        ConnectionOrigin(host: "192.0.\(number / 256).\(number % 256)")
    }

    @Test(arguments: [
        ("192.0.2.1", "192.0.2.1", true), ("192.0.2.1", "192.0.2.2", false),
        ("192.0.2.1", "::ffff:192.0.2.1", true),
        ("2001:db8::1", "2001:db8:0:0:ffff::1", true), ("2001:db8::1", "2001:db8:0:1::1", false),
        ("fe80::1%eth0", "fe80::2", true),
    ])
    func `an IPv6 network counts as one address`(first: String, second: String, isOne: Bool) {
        #expect((ConnectionOrigin(host: first) == ConnectionOrigin(host: second)) == isOne)
    }

    @Test func `an address has its share of connections and gets it back`() {
        var admission = ConnectionAdmission()
        for _ in 0..<ConnectionAdmission.connectionsPerAddressMax {
            #expect(admission.opened(origin(1), now: .zero) == nil)
        }
        #expect(admission.opened(origin(1), now: .zero) == .tooManyOfAddress)
        #expect(admission.opened(origin(2), now: .zero) == nil)
        admission.closed(origin(1))
        #expect(admission.opened(origin(1), now: .zero) == nil)
    }

    @Test func `an address that opens too fast is refused until it has rested`() {
        var admission = ConnectionAdmission()
        for _ in 0..<ConnectionAdmission.connectionsAtOnceMax {
            #expect(admission.opened(origin(1), now: .zero) == nil)
            admission.closed(origin(1))
        }
        #expect(admission.opened(origin(1), now: .milliseconds(10)) == .tooOften)
        #expect(admission.opened(origin(2), now: .milliseconds(10)) == nil)
        for _ in 0..<ConnectionAdmission.connectionsPerSecondMax {
            #expect(admission.opened(origin(1), now: .milliseconds(1011)) == nil)
        }
        #expect(admission.opened(origin(1), now: .milliseconds(1011)) == .tooOften)
    }

    @Test func `all addresses share the places`() {
        var admission = ConnectionAdmission()
        for number in 0..<ConnectionAdmission.connectionsMax {
            #expect(admission.opened(origin(number), now: .zero) == nil)
        }
        #expect(admission.opened(origin(60_000), now: .zero) == .tooMany)
        admission.closed(origin(0))
        #expect(admission.count == ConnectionAdmission.connectionsMax - 1)
        #expect(admission.opened(origin(60_000), now: .zero) == nil)
    }

    @Test func `a web server before the socket is held to all places alone`() {
        var admission = ConnectionAdmission()
        for _ in 0..<ConnectionAdmission.connectionsMax {
            #expect(admission.opened(.local, now: .zero) == nil)
        }
        #expect(admission.opened(.local, now: .zero) == .tooMany)
    }

    @Test func `addresses that have rested are forgotten`() {
        var admission = ConnectionAdmission()
        for number in 0..<ConnectionAdmission.addressesMax {
            #expect(admission.opened(origin(number), now: .zero) == nil)
            admission.closed(origin(number))
        }
        #expect(admission.opened(origin(60_000), now: .zero) == .tooOften)
        // One token comes back in a twentieth of a second; the search is not repeated before.
        #expect(admission.opened(origin(60_000), now: .milliseconds(500)) == .tooOften)
        #expect(admission.opened(origin(60_000), now: .seconds(1)) == nil)
    }
}
