// SPDX-License-Identifier: Apache-2.0

internal import ControlAPIProtos
internal import Crypto
internal import Foundation
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import SwiftProtobuf

/// Callers with a certificate each, all of different identities, and the files by which a TLS
/// client shows them: `<number>.pem` and `<number>.key`.
struct Callers: Sendable {
    /// What every identity begins with; the number follows.
    static let prefix = "spiffe://\(ServerHost.trustDomain)/caller"

    private static let node = "bench:caller"
    /// Documents of one call, entries of one page and certificates of one request.
    private static let batchSize = 100

    let folder: String
    /// PEM of the authorities that the server publishes.
    let authorities: String
    /// By their number.
    let certificates: [ShownCertificate]

    /// Has so many signed, by the way that agents take.
    init(count: Int, _ server: ServerHost, _ enrolment: Enrolment) async throws {
        let folder = "\(server.folder)/callers"
        self.folder = folder
        authorities = "\(folder)/authorities.pem"
        try FileManager.default.createDirectory(
            atPath: folder,
            withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o700]
        )
        let entryIDs = try await Self.entries(count, server)
        let nodes = try await enrolment.nodes("caller", count: 1, selectors: [Self.node])
        guard let node = nodes.first else { throw BenchmarkError("no node for the callers") }
        let transport = try enrolment.transport(of: node)
        certificates = try await withGRPCClient(transport: transport) { client in
            let service = Signet_Node_V1alpha1_Node.Client(wrapping: client)
            var signed: [ShownCertificate] = []
            while signed.count < count {
                let numbers = signed.count..<min(signed.count + Self.batchSize, count)
                signed += try await Self.sign(numbers, entryIDs, service, into: folder)
            }
            return signed
        }
        let bundle = try await server.withAdmin { client in
            try await ServerHost.Administration(wrapping: client).getBundle(.init())
        }
        let texts = bundle.x509Authorities.map(Self.pem)
        try Data(texts.joined().utf8).write(to: URL(filePath: authorities))
    }

    /// How a TLS client of signet-bench-load shows the certificate of one caller.
    func credentials(of number: Int) -> [String] {
        [
            "--authorities", authorities, "--certificate", "\(folder)/\(number).pem", "--key",
            "\(folder)/\(number).key",
        ]
    }

    private static func id(_ number: Int) -> String { "\(prefix)/\(number)" }

    /// Writes an entry for each caller.
    ///
    /// - Returns: The entries' own IDs, by SPIFFE ID.
    private static func entries(_ count: Int, _ server: ServerHost) async throws -> [String: String]
    {
        for start in stride(from: 0, to: count, by: batchSize) {
            let texts = (start..<min(start + batchSize, count)).map { number in
                ServerHost.entry(
                    "caller-\(number)",
                    path: "caller/\(number)",
                    node: node,
                    workload: "unix:uid:1"
                )
            }
            try await server.apply(texts.joined(separator: "---\n"))
        }
        return try await server.withAdmin { client in
            let administration = ServerHost.Administration(wrapping: client)
            var found: [String: String] = [:]
            var page = ""
            repeat {
                let token = page
                let answer = try await administration.listEntries(
                    .with {
                        $0.allNamespaces = true
                        $0.limit = UInt32(batchSize)
                        $0.pageToken = token
                    }
                )
                for entry in answer.entries { found[entry.spiffeID] = entry.id }
                page = answer.nextPageToken
            } while !page.isEmpty
            return found
        }
    }

    private static func sign(
        _ numbers: Range<Int>,
        _ entryIDs: [String: String],
        _ service: Signet_Node_V1alpha1_Node.Client<HTTP2ClientTransport.Posix>,
        into folder: String
    ) async throws -> [ShownCertificate] {
        let keys = numbers.map { _ in P256.Signing.PrivateKey() }
        let requests = try zip(numbers, keys).map { number, key in
            let der = try WorkloadRequest(key).der
            guard let entryID = entryIDs[id(number)] else {
                throw BenchmarkError("no entry of caller \(number)")
            }
            return Signet_Node_V1alpha1_SignX509SVID.with {
                $0.entryID = entryID
                $0.spiffeID = id(number)
                $0.csr = Data(der)
            }
        }
        let answer = try await service.signX509SVIDs(.with { $0.requests = requests })
        guard answer.results.count == requests.count else {
            throw BenchmarkError("answers missing")
        }
        var signed: [ShownCertificate] = []
        for (index, number) in numbers.enumerated() {
            guard case .signed(let svid) = answer.results[index].result,
                let leaf = svid.certificateChain.first
            else { throw BenchmarkError("caller \(number) got no certificate") }
            let file = "\(folder)/\(number)"
            let chain = svid.certificateChain.map(pem).joined()
            try Data(chain.utf8).write(to: URL(filePath: "\(file).pem"))
            try Data(keys[index].pemRepresentation.utf8).write(to: URL(filePath: "\(file).key"))
            signed.append(try ShownCertificate(der: Array(leaf)))
        }
        return signed
    }

    private static func pem(_ der: Data) -> String {
        let lines = der.base64EncodedString(options: [
            .lineLength64Characters, .endLineWithLineFeed,
        ])
        return "-----BEGIN CERTIFICATE-----\n\(lines)\n-----END CERTIFICATE-----\n"
    }
}
