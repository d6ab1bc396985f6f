// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Glibc

/// What commands ask the system directly.
enum SystemCalls {
    /// 0 if somebody accepts connections at the path of a Unix socket, else errno.
    static func probe(socket path: String) -> Int32 {
        unsafe clinux_unix_probe(path)
    }

    /// Longest path of a Unix socket.
    static var socketPathBytesMax: Int { clinux_unix_path_bytes_max() }

    /// What an errno value means.
    static func text(ofErrno number: Int32) -> String {
        unsafe strerror(number).map { unsafe String(cString: $0) } ?? "error \(number)"
    }
}
