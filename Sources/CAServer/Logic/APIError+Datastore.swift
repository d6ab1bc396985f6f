// SPDX-License-Identifier: Apache-2.0

package import ControlAPI
internal import Datastore

extension APIError {
    /// What a caller is told of a failed transaction; nothing of it has happened.
    package init(datastore error: any Error) {
        switch error {
        case let error as APIError: self = error
        case DatastoreError.conflict(let key, _):
            self.init(
                .conflict,
                "conflict",
                "\(key) was changed meanwhile; read it again and retry"
            )
        case let error as UnreadableDocument:
            self.init(.failedPrecondition, "documentUnreadable", "nothing was changed: \(error)")
        case let error as DatastoreError:
            self.init(
                .unavailable,
                "datastore",
                "nothing was changed: \(error)"
            )
        default:
            self.init(.fault, "fault", "the server failed; its log tells more")
        }
    }
}
