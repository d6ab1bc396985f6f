// SPDX-License-Identifier: Apache-2.0

import MTLSProxy
import Routing
import SPIFFE
import Testing

/// What the log says of listeners whose identity has no certificate.
struct ClosedListenersTests {
    private let web: SPIFFEID
    private let other: SPIFFEID

    init() throws {
        web = try SPIFFEID("spiffe://example.org/web")
        other = try SPIFFEID("spiffe://example.org/other")
    }

    private func lacking(
        _ name: String,
        _ lack: UnservedListener.Lack = .notGranted
    ) -> UnservedListener {
        UnservedListener(name: name, identity: web, lack: lack)
    }

    @Test func `a listener that closes is told of once, and once when it opens again`() {
        var closed = ClosedListeners()
        #expect(closed.changed(open: ["in": web, "out": web], unserved: []) == [])
        let lost = [lacking("out"), lacking("in")]
        #expect(
            closed.changed(open: [:], unserved: lost)
                == [.closed(lacking("in")), .closed(lacking("out"))]
        )
        // The same for another reason is no news.
        let revoked = [lacking("out", .revoked), lacking("in", .missing)]
        #expect(closed.changed(open: [:], unserved: revoked) == [])
        #expect(
            closed.changed(open: ["in": web], unserved: [lacking("out")])
                == [.opened(name: "in", identity: web)]
        )
        #expect(closed.changed(open: ["in": web], unserved: [lacking("out")]) == [])
        #expect(
            closed.changed(open: ["in": web, "out": other], unserved: [])
                == [.opened(name: "out", identity: other)]
        )
        #expect(closed.changed(open: ["in": web, "out": other], unserved: []) == [])
    }

    @Test func `a closed listener that lacks another identity is told of again`() {
        var closed = ClosedListeners()
        _ = closed.changed(open: [:], unserved: [lacking("in")])
        let next = UnservedListener(name: "in", identity: other, lack: .missing)
        #expect(closed.changed(open: [:], unserved: [next]) == [.closed(next)])
    }

    @Test func `one that a state leaves out for a while is told of when it opens`() {
        var closed = ClosedListeners()
        _ = closed.changed(open: ["in": web], unserved: [])
        _ = closed.changed(open: [:], unserved: [lacking("in")])
        #expect(closed.changed(open: [:], unserved: []) == [])
        #expect(
            closed.changed(open: ["in": web], unserved: []) == [.opened(name: "in", identity: web)]
        )
    }

    @Test func `names of states that are gone are bounded`() {
        var closed = ClosedListeners()
        _ = closed.changed(open: [:], unserved: [lacking("first")])
        for round in 0..<2 {
            let names = (0..<Proxy.listenersMax).map { "\(round)-\($0)" }
            _ = closed.changed(open: [:], unserved: names.map { lacking($0) })
        }
        #expect(closed.changed(open: ["first": web], unserved: []) == [])
        #expect(closed.changed(open: ["1-0": web], unserved: []).count == 1)
    }
}
