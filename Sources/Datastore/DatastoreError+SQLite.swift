// SPDX-License-Identifier: Apache-2.0

internal import GRDB

extension DatastoreError {
    /// Maps what the engine reports to the closed set; our own errors pass unchanged.
    init(_ error: any Error) {
        switch error {
        case let error as DatastoreError: self = error
        case let error as DatabaseError: self.init(error)
        default: self = .engine(code: ResultCode.SQLITE_ERROR.rawValue, message: "\(error)")
        }
    }

    private init(_ error: DatabaseError) {
        // Only the message: the statement's arguments may hold what no log should show.
        let message = error.message ?? "no detail"
        switch error.resultCode {
        case .SQLITE_BUSY, .SQLITE_LOCKED: self = .busy
        case .SQLITE_CANTOPEN, .SQLITE_PERM, .SQLITE_AUTH: self = .cannotOpen(message)
        case .SQLITE_CONSTRAINT: self = .constraint(message)
        case .SQLITE_CORRUPT, .SQLITE_NOTADB, .SQLITE_FORMAT: self = .corrupt(message)
        case .SQLITE_FULL: self = .full
        case .SQLITE_INTERRUPT: self = .interrupted
        case .SQLITE_IOERR:
            self = .inputOutput("\(message) (\(error.extendedResultCode.rawValue))")
        // The one misuse within reach of a caller: GRDB reports a closed connection so.
        case .SQLITE_MISUSE: self = .closed
        case .SQLITE_READONLY: self = .readOnly
        default: self = .engine(code: error.extendedResultCode.rawValue, message: message)
        }
    }

    /// The caller's own errors stay what they are; only the engine's are mapped.
    static func mappingEngine(_ error: any Error) -> any Error {
        error is DatabaseError ? DatastoreError(error) : error
    }
}
