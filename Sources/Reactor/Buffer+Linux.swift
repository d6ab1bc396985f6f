// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// A growing queue of bytes with one owner: appended at its end, consumed from its beginning.
///
/// Outside of this file nobody sees a pointer, only spans that cannot outlive a call. What other
/// targets call for each request is inlinable, or every access would be a call into this module.
@safe package struct Buffer: ~Copyable {
    /// The least that is allocated; a leftover of a few bytes shall not cost a page.
    package static let allocationBytesMin = 512
    /// From here on a buffer grows by doubling.
    private static let doublingBytes = 4096

    @usableFromInline internal var base: UnsafeMutableRawPointer?
    @usableFromInline internal var start = 0
    @usableFromInline internal var end = 0
    /// How many bytes are allocated.
    package private(set) var capacity = 0

    /// An empty buffer that owns no memory yet.
    @inlinable package init() { unsafe base = nil }

    /// An empty buffer with room for `capacity` bytes.
    package init(capacity: Int) {
        unsafe base = nil
        reserve(capacity)
    }

    deinit { unsafe free(base) }

    @inlinable package var count: Int { end &- start }
    @inlinable package var isEmpty: Bool { end == start }

    /// The bytes in their order.
    @inlinable package var bytes: Span<UInt8> {
        @_lifetime(borrow self)
        get {
            let range = unsafe UnsafeRawBufferPointer(
                start: base.map { unsafe UnsafeRawPointer($0) + start },
                count: count
            )
            let span = unsafe Span<UInt8>(_unsafeBytes: range)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// Forgets the first bytes.
    ///
    /// - Parameter number: At most `count`.
    @inlinable package mutating func consume(_ number: Int) {
        precondition(number >= 0 && number <= count, "more consumed than there is")
        start &+= number
        if start == end {
            start = 0
            end = 0
        }
    }

    /// Forgets everything and keeps the memory.
    @inlinable package mutating func clear() {
        start = 0
        end = 0
    }

    /// Forgets everything and gives the memory back.
    package mutating func release() {
        unsafe free(base)
        unsafe base = nil
        (start, end, capacity) = (0, 0, 0)
    }

    /// Makes room for so many more bytes.
    package mutating func reserve(_ number: Int) {
        guard number > capacity &- end else { return }
        let have = count
        if start > 0, have + number <= capacity, let base = unsafe base {
            unsafe memmove(base, base + start, have)
            (start, end) = (0, have)
            return
        }
        let wanted = have + number
        let size =
            wanted <= Self.allocationBytesMin
            ? Self.allocationBytesMin
            : wanted <= Self.doublingBytes ? wanted : max(wanted, capacity * 2)
        guard let grown = unsafe malloc(size) else {
            preconditionFailure("no memory for \(size) bytes")
        }
        if let base = unsafe base { unsafe memcpy(grown, base + start, have) }
        unsafe free(base)
        unsafe base = grown
        (start, end, capacity) = (0, have, size)
    }

    /// Adds bytes at the end.
    package mutating func append(_ span: Span<UInt8>) {
        let number = span.count
        guard number > 0 else { return }
        reserve(number)
        unsafe span.withUnsafeBufferPointer { from in
            guard let base = unsafe base, let source = from.baseAddress else { return }
            unsafe memcpy(base + end, source, number)
        }
        end += number
    }

    /// Adds a part of another buffer's bytes.
    package mutating func append(_ other: borrowing Buffer, _ range: Range<Int>) {
        append(other.bytes.extracting(range))
    }

    /// Adds one byte.
    @inlinable package mutating func append(_ byte: UInt8) {
        reserve(1)
        unsafe base?.storeBytes(of: byte, toByteOffset: end, as: UInt8.self)
        end &+= 1
    }

    /// Adds the bytes of a fixed text.
    package mutating func append(_ text: StaticString) {
        let number = text.utf8CodeUnitCount
        guard number > 0 else { return }
        reserve(number)
        if let base = unsafe base { unsafe memcpy(base + end, text.utf8Start, number) }
        end += number
    }

    /// Lets a callee write into the room after the last byte.
    ///
    /// - Parameter fill: Gets the room and returns how many bytes it wrote, and a result.
    /// - Returns: The result.
    mutating func fillTail<Result>(
        _ fill: (UnsafeMutableRawBufferPointer) -> (written: Int, result: Result)
    ) -> Result {
        let room = unsafe UnsafeMutableRawBufferPointer(
            start: base.map { unsafe $0 + end },
            count: capacity - end
        )
        let (written, result) = unsafe fill(room)
        precondition(written >= 0 && written <= room.count, "more written than there was room")
        end += written
        return result
    }

    /// How many bytes fit without allocating or moving.
    @inlinable package var room: Int { capacity &- end }

    /// A copy of the bytes, for tests and for what is told to people.
    package func copy() -> [UInt8] {
        let span = bytes
        var array: [UInt8] = []
        array.reserveCapacity(span.count)
        for index in span.indices { array.append(span[index]) }
        return array
    }
}

extension Span<UInt8> {
    /// Calls with the address of the bytes, which is valid during the call only.
    func withAddress<Result>(_ body: (UnsafePointer<UInt8>?, Int) -> Result) -> Result {
        unsafe withUnsafeBufferPointer { unsafe body($0.baseAddress, $0.count) }
    }
}
