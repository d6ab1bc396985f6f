// SPDX-License-Identifier: Apache-2.0

/// A reader of foreign bytes, and what must hold for every input it is given.
///
/// The raw value names the folder of the target's kept inputs.
package enum FuzzTarget: String, CaseIterable, Sendable {
    /// The encoding of an access policy, and both evaluators of it.
    case accessPolicy = "access-policy"
    /// One record of the audit log, against Foundation's JSON reader.
    case auditLeaf = "audit-leaf"
    /// Edits of a whole log: the verifier finds every one.
    case auditLog = "audit-log"
    /// A tile of records and the path of a tile.
    case auditTile = "audit-tile"
    /// The content of a backup, and bytes that are none.
    case backupFile = "backup-file"
    /// A SPIFFE bundle or a map of them, against its own output.
    case bundleDocument = "bundle-document"
    /// A certificate, against swift-certificates.
    case certificate
    /// A request for a certificate, against swift-certificates, and what is issued for it.
    case certificateRequest = "certificate-request"
    /// A signed checkpoint, a verifier key and a proof that a record was logged.
    case checkpoint
    /// A segment of the decision log, whole or without its digest.
    case decisionSegment = "decision-segment"
    /// A token "A, through B", or claims that are signed, against what its key says of it.
    case delegatedToken = "delegated-token"
    /// A file of documents, against libyaml and against its own output.
    case document
    /// What a bundle endpoint answers, in pieces and whole.
    case fetchedResponse = "fetched-response"
    /// A chunked body, against a reader that splits at line ends.
    case httpChunkedBody = "http-chunked-body"
    /// A path or an authority, against a decoder.
    case httpPath = "http-path"
    /// A client and a server joined by two relays, in pieces and whole.
    case httpRelay = "http-relay"
    /// The head of a request, against a reader of lines and against what is passed on.
    case httpRequestHead = "http-request-head"
    /// The head of a response, in the same way.
    case httpResponseHead = "http-response-head"
    /// The URL of a bundle endpoint, and where a redirect leads.
    case httpsURL = "https-url"
    /// Any JSON, against Foundation and against its own output.
    case json
    /// A JWT-SVID, or claims that are signed, against what its key says of it.
    case jwtSVID = "jwt-svid"
    /// What an agent tells a proxy.
    case proxyMessage = "proxy-message"
    /// What a proxy tells its agent.
    case proxyReport = "proxy-report"
    /// The state of a proxy, as the server composes it.
    case proxyState = "proxy-state"
    /// A request of a verifier outside, in pieces and whole, and what is answered.
    case publicRequest = "public-request"
    /// A certificate revocation list, against another parser and what its key says of it.
    case revocationList = "revocation-list"
    /// A SPIFFE ID, against a grammar written down a second time.
    case spiffeID = "spiffe-id"
    /// What server and agent push to each other.
    case syncMessage = "sync-message"
    /// A workload's request for an exchange, in pieces and whole, and its form against a decoder.
    case tokenRequest = "token-request"

    /// Reads one input.
    ///
    /// - Returns: Whether the input was accepted as what the target reads.
    /// - Throws: `PropertyBroken` if the reader says something that it must not; a trap inside the
    ///   reader ends the process, which is a finding as well.
    @discardableResult
    package func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        switch self {
        case .accessPolicy: try AccessPolicyProperty.check(input)
        case .auditLeaf: try AuditLeafProperty.check(input)
        case .auditLog: try AuditLogProperty.check(input)
        case .auditTile: try AuditTileProperty.check(input)
        case .backupFile: try BackupFileProperty.check(input)
        case .bundleDocument: try BundleDocumentProperty.check(input)
        case .certificate: try CertificateProperty.check(input)
        case .certificateRequest: try CertificateRequestProperty.check(input)
        case .checkpoint: try CheckpointProperty.check(input)
        case .decisionSegment: try DecisionSegmentProperty.check(input)
        case .delegatedToken: try DelegatedTokenProperty.check(input)
        case .document: try DocumentProperty.check(input)
        case .fetchedResponse: try FetchedResponseProperty.check(input)
        case .httpChunkedBody: try HTTPChunkedBodyProperty.check(input)
        case .httpPath: try HTTPPathProperty.check(input)
        case .httpRelay: try HTTPRelayProperty.check(input)
        case .httpRequestHead: try HTTPRequestHeadProperty.check(input)
        case .httpResponseHead: try HTTPResponseHeadProperty.check(input)
        case .httpsURL: try HTTPSURLProperty.check(input)
        case .json: try JSONProperty.check(input)
        case .jwtSVID: try JWTSVIDProperty.check(input)
        case .proxyMessage: try ProxyMessageProperty.check(input)
        case .proxyReport: try ProxyReportProperty.check(input)
        case .proxyState: try ProxyStateProperty.check(input)
        case .publicRequest: try PublicRequestProperty.check(input)
        case .revocationList: try RevocationListProperty.check(input)
        case .spiffeID: try SPIFFEIDProperty.check(input)
        case .syncMessage: try SyncMessageProperty.check(input)
        case .tokenRequest: try TokenRequestProperty.check(input)
        }
    }
}

/// A rule that an input has shown not to hold.
package struct PropertyBroken: Error, CustomStringConvertible {
    package let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// Throws unless the rule holds.
func expect(
    _ holds: Bool,
    _ rule: @autoclosure () -> String
) throws(PropertyBroken) {
    guard holds else { throw PropertyBroken(rule()) }
}

/// Turns an error where there must be none into a finding.
func expectSuccess<Value>(
    _ rule: String,
    _ body: () throws -> Value
) throws(PropertyBroken) -> Value {
    do { return try body() } catch { throw PropertyBroken("\(rule): \(error)") }
}
