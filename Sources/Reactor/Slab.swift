// SPDX-License-Identifier: Apache-2.0

package import BasicContainers
package import ContainersPreview

/// The only handle of a connection anywhere: in events, peers, pools, queues and the wheel.
///
/// An index into a slab and the generation of its slot: a key that has outlived its connection is
/// refused, never another connection's. Generation 0 is no connection's, so that keys of listeners
/// and mailboxes cannot be mistaken for one.
package struct Key: Hashable, Sendable {
    package let rawValue: UInt64

    /// The key of nothing.
    package static let none = Key(rawValue: 0)

    @inlinable package init(rawValue: UInt64) { self.rawValue = rawValue }

    @inlinable package init(index: Int, generation: UInt32) {
        rawValue = UInt64(generation) << 32 | UInt64(UInt32(truncatingIfNeeded: index))
    }

    @inlinable package var index: Int { Int(truncatingIfNeeded: rawValue & 0xFFFF_FFFF) }
    @inlinable package var generation: UInt32 { UInt32(truncatingIfNeeded: rawValue >> 32) }
    @inlinable package var isNone: Bool { rawValue == 0 }
}

/// Connections by key, each in a box with one owner.
///
/// Whoever works on one checks it out, so that nobody else reaches it meanwhile, and settles it
/// afterwards: back into its slot, or out of the slab for good. One that is never settled closes
/// with its box, and its slot stays empty.
///
/// Generic and used by another target for each event: inlinable, so that it is specialised there.
package struct Slab<Element: ~Copyable>: ~Copyable {
    @usableFromInline internal struct Slot: ~Copyable {
        @usableFromInline internal var held: UniqueBox<Element>?
        @usableFromInline internal var generation: UInt32

        @inlinable internal init(held: consuming UniqueBox<Element>?, generation: UInt32) {
            self.held = held
            self.generation = generation
        }
    }

    @usableFromInline internal var slots = UniqueArray<Slot>()
    @usableFromInline internal var vacant: [Int] = []
    /// How many connections there are, those that are checked out included.
    package var live = 0

    @inlinable package init() {}

    /// Takes a connection in.
    ///
    /// - Returns: Its key.
    @inlinable package mutating func insert(_ element: consuming Element) -> Key {
        live += 1
        if let index = vacant.popLast() {
            let generation = slots[index].generation
            slots[index].held = UniqueBox(element)
            return Key(index: index, generation: generation)
        }
        slots.append(Slot(held: UniqueBox(element), generation: 1))
        return Key(index: slots.count - 1, generation: 1)
    }

    /// Whether the key's connection is still there, checked out or not.
    @inlinable package func isLive(_ key: Key) -> Bool {
        key.index < slots.count && slots[key.index].generation == key.generation
    }

    /// Takes a connection out to work on it.
    ///
    /// - Returns: nil if the key is stale, or the connection is out already.
    @inlinable package mutating func checkOut(_ key: Key) -> UniqueBox<Element>? {
        guard isLive(key) else { return nil }
        return slots[key.index].held.take()
    }

    /// Looks at a connection without taking it out.
    ///
    /// - Returns: nil if the key is stale, or the connection is out.
    @inlinable package func look<Result>(
        at key: Key,
        _ body: (borrowing Element) -> Result
    ) -> Result? {
        guard isLive(key) else { return nil }
        switch slots[key.index].held {
        case .some(let held): return body(held.value)
        case .none: return nil
        }
    }

    /// Puts a connection back.
    @inlinable package mutating func checkIn(_ key: Key, _ held: consuming UniqueBox<Element>) {
        precondition(isLive(key), "a connection is put back where it does not belong")
        slots[key.index].held = consume held
    }

    /// Ends a connection that is checked out; its key is refused from now on.
    @inlinable package mutating func remove(_ key: Key, _ held: consuming UniqueBox<Element>) {
        precondition(isLive(key), "a connection is removed that is not there")
        let next = slots[key.index].generation &+ 1
        slots[key.index].generation = next == 0 ? 1 : next
        vacant.append(key.index)
        live -= 1
    }

    /// How many slots there are, for going through all connections.
    @inlinable package var slotCount: Int { slots.count }

    /// The key of the connection in a slot; nil if there is none in it now.
    @inlinable package func key(at index: Int) -> Key? {
        guard slots[index].held != nil else { return nil }
        return Key(index: index, generation: slots[index].generation)
    }
}
