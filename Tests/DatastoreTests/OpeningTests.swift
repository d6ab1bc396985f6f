// SPDX-License-Identifier: Apache-2.0

import Datastore
import Testing

@Suite struct OpeningTests {
    @Test func `a directory that does not exist cannot be opened`() {
        #expect(throws: DatastoreError.self) {
            try Datastore(path: "/nonexistent/store.db")
        }
    }
}
