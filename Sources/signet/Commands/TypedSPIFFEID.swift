// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import AuditLog
internal import SPIFFE

/// A SPIFFE ID as typed after an option; one with a slip would only ever find nothing.
struct TypedSPIFFEID: ExpressibleByArgument, Hashable {
    let text: String

    init?(argument: String) { try? self.init(reading: argument) }

    /// - Throws: What is wrong with the text.
    init(reading text: String) throws(SPIFFEIDError) {
        _ = try SPIFFEID(text)
        self.text = text
    }

    var defaultValueDescription: String { text }

    /// Reads an option's value.
    ///
    /// - Throws: `ValidationError` with what is wrong, and the form.
    static func read(_ text: String) throws -> Self {
        do throws(SPIFFEIDError) {
            return try Self(reading: text)
        } catch {
            throw ValidationError("\(error); a SPIFFE ID is written spiffe://trust-domain/path")
        }
    }
}

/// The number of a process as typed.
enum TypedProcess {
    /// Reads an option's value; whether there is such a process is another question.
    ///
    /// - Throws: `ValidationError` with the form.
    static func read(_ text: String) throws -> Int32 {
        guard let pid = Int32(text) else {
            throw ValidationError("a process is named by its number; `ps -e` lists them")
        }
        return pid
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
