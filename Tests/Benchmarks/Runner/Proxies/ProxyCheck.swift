// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// Whether a product does what it is measured for.
///
/// One that lets a wrong certificate in, cuts a body short or chooses another key exchange is not
/// compared.
struct ProxyCheck: Sendable {
    let product: any ProxyProduct
    let setup: ProxySetup
    let stand: ProxyStand

    /// - Throws: `BenchmarkError` with the first thing that is wrong.
    func run() async throws {
        try await checkChoice()
        // The load's own TLS knows X25519; who is let in does not depend on the key exchange.
        var plain = setup
        plain.keyExchange = .x25519
        guard product.obstacle(to: plain) == nil else { return }
        try await ProxyChain.run(product, plain, stand) { chain in
            try await checkTraffic(chain)
            try await checkCallers(chain)
        }
        try await ProxyChain.run(product, plain, stand, serverIdentity: .stranger) { chain in
            let answer = try await probe(chain.clientPort)
            try expect(answer.status != 200, "a server of another identity is used", answer)
        }
    }

    private func probe(
        _ port: Int,
        _ arguments: [String] = [],
        as credentials: LoadProgram.Credentials? = nil
    ) async throws -> LoadProgram.Answer {
        try await stand.load.probe(port: port, arguments, as: credentials)
    }

    private func expect(
        _ isRight: Bool,
        _ what: String,
        _ answer: LoadProgram.Answer
    ) throws {
        guard isRight else {
            throw BenchmarkError("\(product.name), check: \(what) (\(answer.summary))")
        }
    }

    /// Bodies arrive whole, and the identity that the application hears of is the real one.
    private func checkTraffic(_ chain: ProxyChain) async throws {
        let bytes = 3_000_000
        let down = try await probe(chain.clientPort, ["--path", "/b/\(bytes)"])
        try expect(
            down.status == 200 && down.intact && down.bytes == bytes,
            "the answer's body has changed",
            down
        )
        let upload = ["--method", "POST", "--path", "/hash/all", "--send", "\(bytes)"]
        let up = try await probe(chain.clientPort, upload)
        try expect(up.status == 200 && up.intact, "the request's body has changed", up)
        switch setup.traffic {
        case .tcp:
            let raw = try await probe(
                chain.clientPort,
                ["--method", "RAW", "--send", "\(bytes)"]
            )
            try expect(raw.intact, "a half-closed stream is cut short", raw)
        case .http:
            try await checkIdentityField(chain.clientPort)
            // The client's side may have taken it away: a caller without a proxy has none.
            try await checkIdentityField(chain.serverPort, as: stand.credentials(.client))
            if setup.level == .full {
                let denied = try await probe(chain.clientPort, ["--path", ProxyCheck.deniedPath])
                try expect(denied.status == 403, "a denied path is not answered by 403", denied)
            }
        }
    }

    private func checkIdentityField(
        _ port: Int,
        as credentials: LoadProgram.Credentials? = nil
    ) async throws {
        let field = "X-Forwarded-Client-Cert: URI=spiffe://evil.example.org/a"
        let head = try await probe(
            port,
            ["--path", "/head/all", "--field", field],
            as: credentials
        )
        let lines = head.text.lowercased().split(separator: "\r\n").filter {
            $0.hasPrefix("x-forwarded-client-cert:")
        }
        try expect(
            head.status == 200 && lines.count == 1 && !head.text.contains("evil")
                && lines.allSatisfy { $0.contains(ProxyIdentity.client.name) },
            "x-forwarded-client-cert is not replaced",
            head
        )
    }

    /// A path that `ProxyRule.policy` denies to everybody.
    static let deniedPath = "/admin/b/32"

    private func checkCallers(_ chain: ProxyChain) async throws {
        let right = try await probe(chain.serverPort, as: stand.credentials(.client))
        try expect(right.status == 200, "the right certificate is refused", right)
        for (what, credentials) in [
            ("a certificate of another authority", stand.credentials(.forged)),
            ("another identity", stand.credentials(.stranger)),
            ("no certificate", stand.credentials(nil)),
            ("TLS 1.2", stand.credentials(.client, isOldTLS: true)),
        ] {
            let wrong = try await probe(chain.serverPort, as: credentials)
            try expect(wrong.status != 200, "\(what) is let in", wrong)
        }
        let after = try await probe(chain.serverPort, as: stand.credentials(.client))
        try expect(after.status == 200, "the right certificate is refused after others", after)
    }

    /// Between the two proxies: TLS 1.3, the cipher suite that all have, the right key exchange.
    private func checkChoice() async throws {
        let wanted = setup.keyExchange == .hybrid ? 4588 : 29
        let choice = try await ProxyChain.run(product, setup, stand, isTapped: true) { chain in
            let answer = try await probe(chain.clientPort)
            try expect(answer.status == 200, "no answer through the chain", answer)
            return try await chain.choice()
        }
        guard choice.version == 0x0304, choice.cipher == 0x1301, choice.group == wanted else {
            throw BenchmarkError(
                "\(product.name), check: chose version \(choice.version), cipher suite "
                    + "\(choice.cipher), group \(choice.group) in place of 772, 4865, \(wanted)"
            )
        }
    }
}
