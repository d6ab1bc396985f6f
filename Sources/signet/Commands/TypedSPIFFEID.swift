// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import AuditLog
internal import SPIFFE

/// A SPIFFE ID as typed after an option; one with a slip would only ever find nothing.
struct TypedSPIFFEID: ExpressibleByArgument, Hashable {
    let text: String

    init?(argument: String) {
        guard (try? SPIFFEID(argument)) != nil else { return nil }
        text = argument
    }

    var defaultValueDescription: String { text }

    /// Reads an option's value.
    ///
    /// - Throws: `ValidationError` with the form.
    static func read(_ text: String) throws -> Self {
        guard let id = Self(argument: text) else {
            throw ValidationError("a SPIFFE ID is written spiffe://trust-domain/path")
        }
        return id
    }
}

/// What is looked for in the audit log; text of another form would only ever find nothing.
package enum TypedQuery {
    /// Every serial that Signet issues has 17 bytes: 0x01 and 128 random bits.
    private static let serialDigits = 34

    /// Reads a whole serial in hexadecimal.
    ///
    /// - Throws: `ValidationError` with the form.
    package static func serial(_ text: String) throws -> String {
        guard text.utf8.count == serialDigits, text.allSatisfy({ $0.isASCII && $0.isHexDigit })
        else {
            throw ValidationError(
                "a serial is \(serialDigits) hexadecimal digits, whole, as `signet svid fetch` "
                    + "shows it"
            )
        }
        // The log writes them so.
        return text.lowercased()
    }

    /// Reads an actor as the log writes it.
    ///
    /// - Throws: `ValidationError` with the forms.
    package static func actor(_ text: String) throws -> String {
        guard Actor(auditText: text)?.description == text else {
            throw ValidationError(
                "an actor is spiffe://trust-domain/path, uid:N@HOST, person:ISSUER#SUBJECT or "
                    + "system:PART, whole"
            )
        }
        return text
    }
}
