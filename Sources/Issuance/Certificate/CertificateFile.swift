// SPDX-License-Identifier: Apache-2.0

internal import SwiftASN1

/// Certificates and requests in PEM (RFC 7468), as the files of a ceremony are.
package enum CertificateFile {
    /// Largest file in bytes: eight certificates with RSA-4096 keys fit many times.
    package static let fileBytesMax = 64 * 1024

    private static let certificateType = "CERTIFICATE"
    private static let requestType = "CERTIFICATE REQUEST"

    /// The certificates of a file, in its order; text around them is passed over.
    ///
    /// - Throws: `CertificateFileError` if it has anything but certificates, or none.
    package static func certificates(
        _ file: [UInt8]
    ) throws(CertificateFileError) -> [[UInt8]] {
        try read(file, as: certificateType)
    }

    /// The one request of a file.
    ///
    /// - Throws: `CertificateFileError` unless there is one.
    package static func request(_ file: [UInt8]) throws(CertificateFileError) -> [UInt8] {
        let requests = try read(file, as: requestType)
        guard let first = requests.first, requests.count == 1 else { throw .notOne(requestType) }
        return first
    }

    private static func read(
        _ file: [UInt8],
        as type: String
    ) throws(CertificateFileError) -> [[UInt8]] {
        guard file.count <= fileBytesMax else { throw .tooLarge }
        let documents: [PEMDocument]
        do {
            documents = try PEMDocument.parseMultiple(
                pemString: String(decoding: file, as: UTF8.self)
            )
        } catch { throw .notPEM }
        guard !documents.isEmpty else { throw .empty(type) }
        for document in documents where document.discriminator != type {
            throw .otherThan(type)
        }
        return documents.map(\.derBytes)
    }

    /// One certificate in PEM, with a line feed at its end.
    package static func text(certificate der: [UInt8]) -> String { text(der, certificateType) }

    /// A request in PEM, with a line feed at its end.
    package static func text(request der: [UInt8]) -> String { text(der, requestType) }

    private static func text(_ der: [UInt8], _ type: String) -> String {
        PEMDocument(type: type, derBytes: der).pemString + "\n"
    }
}

/// Why a file of a ceremony is not taken.
package enum CertificateFileError: Error, Hashable, Sendable, CustomStringConvertible {
    case empty(String)
    case notOne(String)
    case notPEM
    /// Something else is in it, such as a private key.
    case otherThan(String)
    case tooLarge

    package var description: String {
        switch self {
        case .empty(let type): "there is no \(type) in it"
        case .notOne(let type): "there is more than one \(type) in it"
        case .notPEM: "it is not PEM (RFC 7468)"
        case .otherThan(let type): "there is something else than \(type) in it; take that out"
        case .tooLarge: "it has more than \(CertificateFile.fileBytesMax) bytes"
        }
    }
}
