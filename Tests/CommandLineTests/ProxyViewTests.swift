// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import Foundation
import SwiftProtobuf
import Testing
import signet

@Suite struct ProxyViewTests {
    private static func view(
        _ change: (inout Signet_Node_V1alpha1_AttachedProxy) -> Void = { _ in }
    ) -> ProxyView {
        ProxyView(
            .with {
                $0.node = "web-1"
                $0.proxy.proxy = "shop/frontend"
                $0.proxy.attached = true
                $0.proxy.pid = 4711
                change(&$0.proxy)
            }
        )
    }

    private static func state(_ view: ProxyView) -> String {
        ProxyView.table([view]).rows[0][2]
    }

    @Test func `its state is told from what it applied, refused and whether it is there`() {
        #expect(Self.state(Self.view()) == "starting")
        let applied = Self.view { $0.applied.number = 7 }
        #expect(Self.state(applied) == "applied")
        #expect(!applied.isFaulty)
        let refused = Self.view {
            $0.applied.number = 7
            $0.refused.number = 9
            $0.refusedReason = "no such listener"
        }
        #expect(Self.state(refused) == "REFUSED")
        #expect(refused.isFaulty)
        let left = Self.view {
            $0.applied.number = 7
            $0.attached = false
        }
        #expect(Self.state(left) == "LEFT")
        #expect(left.isFaulty)
    }

    @Test func `details tell the reason, listeners and how its decision IDs begin`() {
        let view = Self.view {
            $0.applied.number = 7
            $0.refused.number = 9
            $0.refusedReason = "no such listener"
            $0.instance = Data("fooba".utf8)
            $0.listening = [
                .with {
                    $0.listener = "web"
                    $0.identity = "spiffe://example.org/web"
                    $0.address = "127.0.0.1:8443"
                }
            ]
        }
        let text = ProxyView.details([view]).text
        // RFC 4648 section 10: BASE32("fooba") = "MZXW6YTB".
        for part in [
            "refused revision 9: no such listener", "applied revision", "4711", "mzxw6ytb",
            "listens: web", "127.0.0.1:8443 as spiffe://example.org/web",
        ] {
            #expect(text.contains(part), "\(part): \(text)")
        }
    }

    @Test func `a proxy is named as typed or as tables show it`() throws {
        for (text, namespace) in [
            ("frontend", nil), ("shop/frontend", "shop"), ("Proxy/shop/frontend", "shop"),
        ] as [(String, String?)] {
            let typed = try #require(TypedProxy(text))
            #expect(typed.name == "frontend")
            #expect(typed.namespace == namespace)
        }
        for text in ["", "/", "shop/", "/frontend", "Role/shop/a", "a/b/c/d"] {
            #expect(TypedProxy(text) == nil, "\(text)")
        }
    }

    @Test func `a connection without peer has a dash, and ages are for people`() {
        let view = ProxyConnectionView(
            .with {
                $0.direction = "inbound"
                $0.ageMilliseconds = 61_000
            }
        )
        let row = ProxyConnectionView.table([view]).rows[0]
        #expect(row.contains("-"))
        #expect(row.contains("1m1s"))
    }

    @Test func `a peer without certificate has no end, which programs see as empty`() throws {
        let views = [0, 1_767_225_600 as Int64].map { end in
            ProxyConnectionView(.with { $0.peerNotAfterUnixSeconds = end })
        }
        let json = try views.map { String(decoding: try JSONEncoder().encode($0), as: UTF8.self) }
        #expect(json[0].contains(#""peerExpiresAt":"""#), "\(json[0])")
        #expect(json[1].contains(#""peerExpiresAt":"2026-01-01T00:00:00Z""#), "\(json[1])")
        #expect(ProxyConnectionView.table(views).rows.map(\.last) == ["-", "2026-01-01T00:00:00Z"])
    }
}
