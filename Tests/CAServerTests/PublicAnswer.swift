// SPDX-License-Identifier: Apache-2.0

import TestPrograms

/// What a stranger is answered on the socket of the public endpoint.
func publicAnswer(_ path: String, at socket: String) async throws -> String {
    try await UnixClient.answer(to: "GET \(path) HTTP/1.1\r\nHost: any\r\n\r\n", at: socket)
}
