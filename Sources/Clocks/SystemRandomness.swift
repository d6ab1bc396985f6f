// SPDX-License-Identifier: Apache-2.0

/// The system's randomness, for what takes a generator as an argument.
///
/// It has a size, unlike `SystemRandomNumberGenerator`: of a value without one the compiler passes
/// any address, and ThreadSanitizer, which looks at it, stops the process.
package struct SystemRandomness: RandomNumberGenerator, Sendable {
    private var system = SystemRandomNumberGenerator()
    private let size: UInt8 = 0

    package init() {}

    package mutating func next() -> UInt64 { system.next() }
}
